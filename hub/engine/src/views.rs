//! What the hub shows and what it takes: request and answer shapes of its commands.
//!
//! None of these is stored; each is built from stored rows when asked for, so that formats can change without the API noticing.

mod proofs;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use throughline_domain::connector::Grants;
use throughline_domain::continuity::token::TokenForm;
use throughline_domain::extract::ExtractRule;
use throughline_schemas::connector::ConnectorError;
use throughline_schemas::manifest::Entity;
use throughline_schemas::sync::EntitySync;
use throughline_schemas::{
    ApiKeyId, Assurance, Classification, ConnectionId, ConversationId, Enquiry, EnquiryId, EnquiryStatus, Interaction, InteractionId,
    Profile, ProfileId, ProfileState, Timestamp, VariableScope,
};
use throughline_store::tables::PendingUpdate;

pub use proofs::*;

use crate::Scope;

/// A connection to be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConnection {
    /// For people; unique among connections.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// Its version; the newest installed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_version: Option<String>,
    /// Its config, checked against the plugin's JSON Schema.
    #[serde(default)]
    pub config: Value,
    /// Secrets by name: written, never shown again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// What the plugin may reach: patterns from its manifest, and private hosts by name.
    #[serde(default)]
    pub grants: Grants,
    /// How its entities are synchronised.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sync: BTreeMap<String, EntitySync>,
    /// What is taken from message texts as context variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extract: Vec<ExtractRule>,
    /// The brand its enquiries belong to.
    #[serde(default = "default_brand")]
    pub brand: String,
    /// ISO 3166 region for national phone numbers, for instance `GB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Make it without starting it.
    #[serde(default)]
    pub paused: bool,
}

fn default_brand() -> String {
    "default".to_owned()
}

/// What of a connection is to change; absent fields stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionPatch {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// Another installed version of the plugin.
    #[serde(default)]
    pub plugin_version: Option<String>,
    /// The whole new config.
    #[serde(default)]
    pub config: Option<Value>,
    /// Secrets to set; `null` removes one. Others stay.
    #[serde(default)]
    pub secrets: BTreeMap<String, Option<String>>,
    /// The whole new grants.
    #[serde(default)]
    pub grants: Option<Grants>,
    /// The whole new synchronisation.
    #[serde(default)]
    pub sync: Option<BTreeMap<String, EntitySync>>,
    /// The whole new list of extraction rules.
    #[serde(default)]
    pub extract: Option<Vec<ExtractRule>>,
    /// New brand.
    #[serde(default)]
    pub brand: Option<String>,
    /// New region.
    #[serde(default)]
    pub region: Option<String>,
}

/// A connection, as shown. Secrets appear by name only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionView {
    /// Its id.
    pub id: ConnectionId,
    /// For people.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub plugin_version: String,
    /// The config.
    pub config: Value,
    /// Which secrets are set.
    pub secret_names: Vec<String>,
    /// What it may reach.
    pub grants: Grants,
    /// How its entities are synchronised.
    pub sync: BTreeMap<String, EntitySync>,
    /// What is taken from message texts.
    pub extract: Vec<ExtractRule>,
    /// Its brand.
    pub brand: String,
    /// Its region.
    pub region: Option<String>,
    /// Whether it is stopped.
    pub paused: bool,
    /// Why the hub stopped it, if the hub did.
    pub paused_because: Option<String>,
    /// The silo's account.
    pub account_id: Option<String>,
    /// The path silos post to: append to the hub's public address.
    pub hook_path: String,
    /// Entities its config adds to the manifest's.
    pub entities: Vec<Entity>,
    /// Another version of the plugin that waits for approval, because it asks for more hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_update: Option<PendingUpdate>,
    /// Made.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
}

/// What became of a connection when its plugin was to be updated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginUpdate {
    /// Which connection.
    pub connection: ConnectionId,
    /// Its name.
    pub name: String,
    /// The version it had.
    pub from: String,
    /// The version it was to have.
    pub to: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: UpdateOutcome,
}

/// How the update of one connection went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum UpdateOutcome {
    /// It runs with the new version; config and cursors were carried over.
    Moved,
    /// It runs with the old version until somebody approves what the new one asks for.
    Pending {
        /// The hosts it newly asks for.
        hosts: Vec<String>,
    },
    /// It runs with the old version, unchanged.
    Failed {
        /// Why.
        detail: String,
    },
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Not started.
    Paused,
    /// Started, nothing known yet.
    Starting,
    /// Works.
    Healthy,
    /// The last attempt failed; it is being tried again.
    Failing,
    /// Failed too often: waiting longer before the next attempt.
    Broken,
    /// Only a person can help: wrong config or credentials.
    NeedsAttention,
}

/// A connection's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// Overall.
    pub state: HealthState,
    /// The last failure.
    pub last_error: Option<ConnectorError>,
    /// When it failed.
    pub last_error_at: Option<Timestamp>,
    /// When something last worked.
    pub last_success_at: Option<Timestamp>,
    /// When the next attempt is due, while failing.
    pub next_attempt_at: Option<Timestamp>,
    /// Deliveries waiting.
    pub deliveries_waiting: u64,
    /// Entries of the change log not yet looked at for this connection.
    pub dispatch_lag: u64,
    /// Whether the silo knows where to post, for a running connection whose plugin takes webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<HookView>,
}

/// Whether a silo knows where to post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// The plugin registered our address.
    Registered,
    /// The plugin has no way to register it: enter the address at the silo by hand.
    ByHand,
    /// The last attempt failed; it is being tried again.
    Failed,
    /// Somebody had it removed.
    Removed,
    /// The hub does not know where it is reached from outside: set `public_url`.
    NoPublicUrl,
}

/// A webhook's registration at a silo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HookView {
    /// Where it stands.
    pub state: HookState,
    /// The address the silo is to post to.
    pub url: Option<String>,
    /// What the silo said of the registration.
    pub registration: Option<Value>,
    /// Why the last attempt failed.
    pub error: Option<ConnectorError>,
    /// Since when.
    pub at: Timestamp,
}

impl HookView {
    pub(crate) fn new(state: HookState, url: Option<String>, at: Timestamp) -> Self {
        Self { state, url, registration: None, error: None, at }
    }
}

/// Where a walk goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CursorView {
    /// Which entity, or `listen`.
    pub entity: String,
    /// As the plugin handed it out.
    pub cursor: Value,
    /// When it was committed.
    pub at: Timestamp,
}

/// Fields of a profile to set; `null` removes one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    /// Canonical field -> value.
    pub fields: BTreeMap<String, Option<Value>>,
}

/// Everything an agent needs on one screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContextView {
    /// Who.
    pub profile: Profile,
    /// What they want now, newest first.
    pub enquiries: Vec<Enquiry>,
    /// What happened last, newest first.
    pub recent: Vec<Interaction>,
}

/// Whom a look-up is for: exactly one identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookupQuery {
    /// A telephone number.
    pub phone: Option<String>,
    /// A mail address.
    pub email: Option<String>,
    /// `namespace:value` of a handle.
    pub handle: Option<String>,
    /// `namespace:value` of an external id.
    pub external: Option<String>,
    /// Region for a national number.
    pub region: Option<String>,
    /// How sure the caller is of who it is.
    pub assurance: Assurance,
    /// A continuity token that came with it, in whatever form; it may stand alone.
    pub token: Option<String>,
    /// The brand that was addressed, for keyed digits; `default` if none is said.
    pub brand: Option<String>,
    /// The conversation in which it is asked: its customer, as sure as the hub itself is of who speaks there.
    pub conversation: Option<ConversationId>,
}

/// What the hub knows of an identifier, cut to what the assurance allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookupAnswer {
    /// Whether exactly one person is known by it.
    pub known: bool,
    /// Whether it is shared: nobody is named then.
    pub ambiguous: bool,
    /// Who.
    pub profile: Option<LookupProfile>,
    /// Live enquiries, newest first.
    pub enquiries: Vec<LookupEnquiry>,
    /// How many values were kept back because the assurance is too low.
    pub withheld: u32,
    /// What the token that was given says; absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<LookupToken>,
}

/// A person, as a look-up shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookupProfile {
    /// Its id.
    pub id: ProfileId,
    /// How well it is known.
    pub state: ProfileState,
    /// What to call them; personal data, so only from assurance `proven` on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The language to speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Fields that the assurance allows.
    pub fields: BTreeMap<String, Value>,
}

/// An enquiry, as a look-up shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookupEnquiry {
    /// Its id.
    pub id: EnquiryId,
    /// What it is about; may hold personal data, so only from assurance `proven` on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it stands.
    pub status: EnquiryStatus,
    /// Context variables that the assurance allows.
    pub variables: BTreeMap<String, Value>,
}

/// An enquiry to be opened.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnquiry {
    /// Whose.
    pub profile_id: ProfileId,
    /// What it is about.
    pub reason: String,
    /// Brand; `default` if absent.
    #[serde(default)]
    pub brand: Option<String>,
    /// Who owns it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Context variables.
    #[serde(default)]
    pub variables: BTreeMap<String, NewVariable>,
}

/// A context variable to be set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVariable {
    /// The value.
    pub value: Value,
    /// Who may see it.
    #[serde(default)]
    pub classification: Classification,
    /// How far it reaches.
    #[serde(default)]
    pub scope: VariableScope,
    /// When it stops to hold.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// What of an enquiry is to change; absent fields stay, `owner: null` frees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnquiryPatch {
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who owns it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub owner: Option<Option<String>>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EnquiryStatus>,
}

/// Tells `null` from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Which enquiries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnquiryFilter {
    /// Of this profile.
    pub profile: Option<ProfileId>,
    /// In this state.
    pub status: Option<EnquiryStatus>,
}

/// A continuity token to be issued.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// How it is to travel, which is where it will be taken; `any` for everywhere.
    #[serde(default)]
    pub form: TokenForm,
    /// How long it holds, at most ninety days: a week if absent, an hour for digits (which hold at most a week).
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    /// How often it leads to its enquiry, 1 to 15. If absent: digits three times, a callback's id and a User-to-User header once, all
    /// others as often as one likes.
    #[serde(default)]
    pub max_uses: Option<u8>,
    /// The mail address or the link to put it into, for `plus_address` and `deep_link`.
    #[serde(default)]
    pub at: Option<String>,
    /// The fewest digits for `ivr_digits`, 6 to 8; there are more where many hold at a time.
    #[serde(default)]
    pub digits: Option<u8>,
}

/// A continuity token, shown once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// The code.
    pub token: String,
    /// How it travels.
    pub form: TokenForm,
    /// The code as it is handed out in that form: the whole plus-address, link, header value, callback id; null where it was not said
    /// what to put it into.
    pub value: Option<String>,
    /// When it stops to hold.
    pub expires_at: Timestamp,
    /// How often it leads to its enquiry; null for as often as one likes.
    pub max_uses: Option<u8>,
}

/// What a token that came with a look-up says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookupToken {
    /// Whether it holds.
    pub valid: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// Whether the identifier given beside it is of the enquiry's customer. If not, only what is public is told: a token proves
    /// possession of the token, not who holds it.
    pub participant: bool,
    /// The enquiry it points to.
    pub enquiry: Option<LookupEnquiry>,
}

/// A message to be sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The text.
    pub text: String,
    /// The subject, where the channel has one; the conversation's if absent.
    #[serde(default)]
    pub subject: Option<String>,
    /// Whom to; the conversation's customer if absent.
    #[serde(default)]
    pub to: Option<Vec<String>>,
    /// Written by a rule or a bot, not by a person.
    #[serde(default)]
    pub automatic: bool,
    /// What the customer said that this answers: a second answer to the same is refused with 409, whoever is faster.
    #[serde(default)]
    pub answers: Option<InteractionId>,
    /// The enquiry's fencing token as you know it: refused with 409 if somebody else got hold of the enquiry meanwhile.
    #[serde(default)]
    pub fencing_token: Option<u64>,
}

/// How a person settles a conflict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictChoice {
    /// The silo's value.
    Theirs,
    /// The hub's value.
    Ours,
    /// Another value.
    Value(Value),
}

/// An API key, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyView {
    /// Its public id.
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Made.
    pub created_at: Timestamp,
    /// Last used, to the minute; not kept over a restart of the hub.
    pub last_used_at: Option<Timestamp>,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Refused since then.
    pub revoked_at: Option<Timestamp>,
}

/// What to do with a request that carries an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// First time: do it, then say how it went.
    Fresh,
    /// It is being done right now.
    Running,
    /// It was done: answer this.
    Stored {
        /// Status.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
    /// The key was used with another body.
    Mismatch,
}

/// Whether the hub can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// It can.
    pub ready: bool,
    /// Why not, or what is degraded.
    pub reasons: Vec<String>,
}
