//! What is asked of webhooks and what is shown of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_schemas::{Timestamp, WebhookId};
use throughline_store::tables::WebhookOutcome;

/// An endpoint to be told of changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// For people; unique among webhooks.
    pub name: String,
    /// Where to: `https://…`. Plain `http` and private addresses only if the hub's configuration names the host.
    pub url: String,
    /// Only these types: `enquiry.opened`, `enquiry.*`. The prefix `io.throughline.` may be left out. All if empty.
    #[serde(default)]
    pub types: Vec<String>,
    /// Whether it is also told of what an approved plan takes in of a silo's past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// How many requests may be under way at once, 1 to 16. With 1, events arrive in their order as long as all goes well.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub at_once: u8,
    /// The secret to sign with, `whsec_…`; made if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

const fn one() -> u8 {
    1
}

/// What of a webhook is to change; absent fields stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookPatch {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// New place.
    #[serde(default)]
    pub url: Option<String>,
    /// The whole new list of types.
    #[serde(default)]
    pub types: Option<Vec<String>>,
    /// Whether it is also told of what an approved plan takes in of a silo's past.
    #[serde(default)]
    pub backfill: Option<bool>,
    /// How many at once.
    #[serde(default)]
    pub at_once: Option<u8>,
    /// Stop sending, or go on where it stopped.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Forget what the endpoint has not been told yet and begin with what changes from now on.
    #[serde(default)]
    pub skip_missed: bool,
}

/// A secret, without itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// Since when it signs.
    pub since: Timestamp,
    /// Until when, if it was rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A webhook, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// For people.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Which types; all if empty.
    pub types: Vec<String>,
    /// Whether it is also told of what an approved plan takes in of a silo's past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// How many requests may be under way at once.
    pub at_once: u8,
    /// Whether changes are sent.
    pub enabled: bool,
    /// Since when not.
    pub disabled_at: Option<Timestamp>,
    /// Why the hub disabled it, if the hub did.
    pub disabled_because: Option<String>,
    /// The secrets that sign, the newest first.
    pub secrets: Vec<SecretView>,
    /// Events that wait to be tried again, counted up to 1000.
    pub waiting: usize,
    /// The last change that was tried or of no interest to it.
    pub told: u64,
    /// When something last arrived.
    pub last_success: Option<Timestamp>,
    /// Made.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
}

/// A webhook with its new secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookMade {
    /// The webhook.
    #[serde(flatten)]
    pub view: WebhookView,
    /// Its version.
    pub version: u64,
    /// The secret, `whsec_…`. It is kept sealed and cannot be shown again.
    pub secret: String,
}

/// What is to be sent again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// These events, by their ids in attempts and headers (`evt_…`), whatever their type.
    #[serde(default)]
    pub events: Vec<String>,
    /// Events of the webhook's types behind this place in the change log.
    #[serde(default)]
    pub after: Option<u64>,
    /// Up to this place; the newest if absent.
    #[serde(default)]
    pub until: Option<u64>,
}

/// What will be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// So many events.
    pub queued: usize,
    /// The range was too long for one go: ask again with this as `after`.
    pub next: Option<u64>,
}

/// One attempt, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookAttemptView {
    /// The event, as `webhook-id` named it.
    pub event_id: String,
    /// Its type.
    pub r#type: String,
    /// When.
    pub at: Timestamp,
    /// The how-manieth attempt.
    pub attempt: u32,
    /// The answer's status.
    pub status: Option<u16>,
    /// Why there was no answer.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What came of it.
    pub outcome: WebhookOutcome,
    /// When it is tried again.
    pub next_at: Option<Timestamp>,
}
