//! What a plugin declares about itself: JSON in the component's custom section `throughline:manifest`, read without running it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of the custom section that holds the manifest.
pub const MANIFEST_SECTION: &str = "throughline:manifest";

/// A plugin's declaration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's id: lower-case letters, digits and hyphens.
    pub name: String,
    /// Semantic version of the plugin.
    pub version: String,
    /// The WIT version it was built against, for instance `0.1.0`.
    pub wit: String,
    /// SPDX expression.
    pub licence: String,
    /// One line for a list.
    pub summary: String,
    /// Where its documentation is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// What it is for: `pbx email crm sms social chat kb helpdesk`.
    pub kinds: Vec<String>,
    /// JSON Schema 2020-12 of the connection's config. `x-secret: true` marks a secret's name, `x-order`, `x-group`, `x-options` help forms.
    pub config: Value,
    /// What it asks to be allowed.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How it can authenticate at the silo.
    #[serde(default)]
    pub auth: Vec<AuthMethod>,
    /// The silo's rate limits.
    #[serde(default)]
    pub rate_budgets: Vec<RateBudget>,
    /// What it reads and writes. Connectors whose entities come from config leave this empty and name them in `check`.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// What it can send and do.
    #[serde(default)]
    pub channels: Vec<ChannelCapability>,
    /// Actions by name.
    #[serde(default)]
    pub actions: BTreeMap<String, Action>,
    /// Breaking changes by version, newest first: what an admin must know before updating.
    #[serde(default)]
    pub breaking_changes: BTreeMap<String, String>,
}

impl Manifest {
    /// The patterns of all hosts it asks for: those of its capabilities, and where the hub is to get its OAuth tokens.
    #[must_use]
    pub fn hosts_asked(&self) -> Vec<String> {
        let mut asked = self.capabilities.hosts.clone();
        let origins = self.auth.iter().filter_map(|method| match method {
            AuthMethod::Oauth2 { token_url, .. } => Some(origin_pattern(token_url)),
            _ => None,
        });
        for origin in origins {
            if !asked.iter().any(|host| host == origin) {
                asked.push(origin.to_owned());
            }
        }
        asked
    }
}

/// Scheme, host and port of a URL, or the `{config.field}` that it begins with.
fn origin_pattern(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    url[start..].find(['/', '?', '#']).map_or(url, |end| &url[..start + end])
}

/// What a plugin asks for. Effective is what it asks AND what the admin granted AND what the component imports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// `https://api.example.com`, `https://*.example.com:8443`, `tls://{config.host}:{config.port}`, `tcp://…`, `wss://…`. Never a bare `*`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// `http`, `tls`, `tcp`, `websocket`.
    #[serde(default)]
    pub transports: Vec<String>,
    /// Limits other than the defaults.
    #[serde(default)]
    pub limits: Limits,
}

/// Limits a plugin asks for; absent means the hub's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory in MiB; default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Open sockets; default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u32>,
    /// Largest HTTP body or stored blob in MiB; default 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_mib: Option<u32>,
}

/// How a plugin authenticates at its silo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "method", deny_unknown_fields)]
pub enum AuthMethod {
    /// None needed.
    None {},
    /// User name in the config, password as a secret.
    Basic {
        /// The secret's name.
        secret: String,
    },
    /// A token placed in a header or a query parameter.
    ApiKey {
        /// The secret's name.
        secret: String,
        /// For instance `header:Authorization` or `query:api_key`.
        placement: String,
    },
    /// Requests signed with a shared secret.
    Hmac {
        /// The secret's name.
        secret: String,
    },
    /// OAuth 2.0; the hub does the dance and the refresh. Secrets `oauth_client_id` and perhaps `oauth_client_secret`; requests carry
    /// `{secret:oauth_access_token}`. The URLs may hold `{config.field}`.
    Oauth2 {
        /// Where the user consents.
        authorize_url: String,
        /// Where tokens are had and refreshed. Its origin counts as a host asked for.
        token_url: String,
        /// What is asked for.
        scopes: Vec<String>,
    },
}

/// A rate limit of the silo, spent by every call that matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RateBudget {
    /// Its name.
    pub name: String,
    /// `connection` or `account`; both are kept for each connection.
    pub scope: String,
    /// Which requests spend it: URL prefixes, which may hold `{config.field}`; empty means all.
    #[serde(default)]
    pub matching: Vec<String>,
    /// How many requests in `per_seconds`.
    pub requests: u32,
    /// The window in seconds.
    pub per_seconds: u32,
    /// Response headers that say what is left (`x-ratelimit-remaining`) and when it begins anew (`x-ratelimit-reset`).
    #[serde(default)]
    pub headers: Vec<String>,
}

/// What an entity is, canonically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Canonical {
    /// Records about a person.
    Profile,
    /// Records about what a customer wants: cases, tickets, deals.
    Enquiry,
    /// Things that happened.
    Interaction,
}

/// How reading goes on where it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CursorKind {
    /// Every read is a full listing.
    None,
    /// By time of last change, re-read with an overlap.
    Timestamp,
    /// Whatever the silo hands out.
    Opaque,
    /// The silo replays what was missed when it is reconnected.
    Replay,
}

/// How deletions become known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    /// They do not.
    #[default]
    None,
    /// The silo tells of each.
    Feed,
    /// A field of the record says so.
    Flag,
    /// By comparing with a full listing that finished cleanly.
    FullList,
}

/// One entity of a silo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// Its name in calls.
    pub name: String,
    /// What it is canonically.
    pub canonical: Canonical,
    /// Whether `read` serves it.
    #[serde(default)]
    pub readable: bool,
    /// How reading goes on.
    pub cursor: CursorKind,
    /// How deletions become known.
    #[serde(default)]
    pub deletes: Deletes,
    /// What `write` can do with it.
    #[serde(default)]
    pub writes: Writes,
    /// Canonical field name to what is known of it.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
    /// How long after a write a read may still show the old value, in milliseconds.
    #[serde(default)]
    pub read_lag_ms: u64,
}

/// What a plugin can write of an entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Writes {
    /// Can create.
    #[serde(default)]
    pub create: bool,
    /// Can update.
    #[serde(default)]
    pub update: bool,
    /// Can delete.
    #[serde(default)]
    pub delete: bool,
    /// Creates are idempotent by a key of ours, held in this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsert_key: Option<String>,
    /// `etag`, `version` or absent: how lost updates are prevented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<String>,
    /// Ops in one call; 0 means one.
    #[serde(default)]
    pub batch: u32,
}

/// A field of an entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Can be written.
    #[serde(default)]
    pub writable: bool,
    /// Longest value in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// What the silo does to a value when it stores it: `trim`, `lowercase`, `uppercase`, `collapse_spaces`, `newlines`,
    /// `phone_digits`, `date`, `truncate:N` (characters), `as:A=B` (it has no word for A and keeps it as B).
    #[serde(default)]
    pub normalisers: Vec<String>,
}

/// What a plugin can do on a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChannelCapability {
    /// Which channel.
    pub channel: crate::Channel,
    /// `message`, `call`, `transfer`, `media`.
    pub can: Vec<String>,
    /// Longest text in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
}

/// An action a plugin can carry out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// For a person.
    pub summary: String,
    /// JSON Schema of its input.
    pub input: Value,
    /// JSON Schema of its output.
    pub output: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_urls_origin_is_asked_for() {
        let cases = [
            ("https://auth.example.com/oauth/token", "https://auth.example.com"),
            ("https://{config.host}:{config.port}/token?x=1", "https://{config.host}:{config.port}"),
            ("{config.base_url}/oauth/token", "{config.base_url}"),
            ("https://auth.example.com", "https://auth.example.com"),
        ];
        for (url, expected) in cases {
            assert_eq!(origin_pattern(url), expected, "{url}");
        }
    }
}
