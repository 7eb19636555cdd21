//! What crosses the border between hub and plugin, as plain values: items, pages, operations, outcomes, classified errors.
//!
//! The WIT types of each version are converted to and from these in exactly one place on either side.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;

/// What kind of failure this is. The hub's retry policy is a function of it, so a connector must choose honestly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The configuration is wrong: the connection pauses and asks for attention.
    Config,
    /// Credentials refused or expired: one refresh, then the connection asks to be re-connected.
    Auth,
    /// The credentials are good but may not do this.
    Permission,
    /// The silo asks for patience: pauses that budget, never counts as an attempt.
    RateLimited,
    /// Worth trying again: connection refused, timed out before sending, 500, 503.
    Transient,
    /// The request may have taken effect: time-out after sending, 502, 504. Read back before deciding.
    Ambiguous,
    /// The record changed meanwhile: re-read, re-merge, at most five times.
    Conflict,
    /// This record can never be accepted as it is: dead letter, with the field's path.
    InvalidRecord,
    /// The record does not exist any more.
    Gone,
    /// The silo or the plugin cannot do this.
    Unsupported,
    /// The hub asked for the end of the call.
    Cancelled,
    /// The plugin's own fault: trap, limit exceeded, output that breaks its schema.
    Bug,
}

/// A classified failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectorError {
    /// What the retry policy goes by.
    pub class: ErrorClass,
    /// For a person: what went wrong, lower case, without secrets.
    pub message: String,
    /// The field at fault, as a JSON pointer or a config field's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// How long the silo asked us to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Anything else worth keeping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl ConnectorError {
    /// An error of this class with this message and nothing else.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), field: None, retry_after_ms: None, details: None }
    }
    /// Names the field at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
    /// Adds how long the silo asked us to wait.
    #[must_use]
    pub fn with_retry_after_ms(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }
    /// Adds structured details.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
    /// Whether this is only "nothing arrived within the time-out", which a listener meets all day long.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.get("timeout") == Some(&Value::Bool(true)))
    }
}

impl fmt::Display for ConnectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{:?} at {field}: {}", self.class, self.message),
            None => write!(f, "{:?}: {}", self.class, self.message),
        }
    }
}

impl std::error::Error for ConnectorError {}

/// What kind of news an [`Item`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A record as the silo holds it now; `data` maps canonical field names to values.
    Record,
    /// The silo deleted the record.
    Deleted,
    /// The silo merged the record into another: `data` is `{"into": "<key>"}`.
    Merged,
    /// Something happened: `data` is an [`InteractionFact`](crate::InteractionFact).
    Interaction,
}

/// One piece of news from a silo. (connection, entity, key) names it; the same key with the same version is the same news.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Item {
    /// What kind of news.
    pub kind: ItemKind,
    /// The entity as the manifest or `check` names it.
    pub entity: String,
    /// The silo's own id of it.
    pub key: String,
    /// Whatever the silo orders or compares versions by. Two whole numbers compare as numbers, anything else as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it happened by the silo's clock, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// See [`ItemKind`].
    pub data: Value,
}

/// One page of a walk over an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The news, in the silo's order.
    pub items: Vec<Item>,
    /// Set while the same walk has more pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Value>,
    /// Where to go on after everything up to here is durable.
    pub checkpoint: Value,
    /// Hints, for instance `{"complete_listing": true}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// The answer for one key asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It is there.
    Record(Item),
    /// It is not there any more.
    Gone,
    /// It was merged into the record with this key.
    MovedTo(String),
}

/// What a write is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// A new record.
    Create,
    /// Change named fields of an existing record.
    Update,
    /// Create or update by key.
    Upsert,
    /// Remove the record.
    Delete,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Names the op within its batch; the [`Outcome`] repeats it.
    pub id: String,
    /// Stable over retries; sent on where the silo has such a thing.
    pub idempotency_key: String,
    /// What to do.
    pub kind: OpKind,
    /// The silo's id of the record; none for a create.
    pub key: Option<String>,
    /// Refuse with class `conflict` if the silo holds another version.
    pub expect_version: Option<String>,
    /// Canonical field names to values: only what is to change.
    pub data: Value,
    /// Fields to empty.
    pub clear: Vec<String>,
}

/// What the silo now holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The silo's id.
    pub key: String,
    /// Its version after the write.
    pub version: Option<String>,
    /// The record as the silo stored it, in canonical field names, if it said so.
    pub record: Option<Value>,
}

/// The result of one [`Op`].
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The op's id.
    pub op_id: String,
    /// What came of it.
    pub result: Result<Written, ConnectorError>,
}

/// An HTTP request, as a webhook receives it or a plugin sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, upper case.
    pub method: String,
    /// Absolute for requests that go out; path and query, below the connection's hook, for those that come in.
    pub url: String,
    /// Names as sent; compare without case.
    pub headers: Vec<(String, String)>,
    /// The raw bytes.
    pub body: Option<Vec<u8>>,
}

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names as received; compare without case.
    pub headers: Vec<(String, String)>,
    /// The raw bytes.
    pub body: Vec<u8>,
}

/// What `check` says of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckReport {
    /// The silo's id of the account we are in; kept, and compared when the credentials change.
    pub account_id: String,
    /// Its name, for a person.
    pub account_name: String,
    /// Scopes or rights that are missing for what the connection is configured to do.
    #[serde(default)]
    pub missing_scopes: Vec<String>,
    /// Anything an admin should know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Entities that this configuration adds to the manifest's (a connector whose entities come from its config).
    #[serde(default)]
    pub entities: Vec<crate::manifest::Entity>,
}

/// A message to send on a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutboundMessage {
    /// Whom to: addresses in the channel's own form.
    pub to: Vec<String>,
    /// The first recipient's name to show, as the profile has it when the message is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_name: Option<String>,
    /// Our address to send from; the connection's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The sender's name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_name: Option<String>,
    /// The subject, where the channel has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text.
    pub text: String,
    /// The id the silo is to know it by, where we may choose (an e-mail's Message-ID, without brackets).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// The thread so far, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// A continuity token to carry where the channel can (a plus-address in Reply-To).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The silo's thread key, for channels that have conversations of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_key: Option<String>,
    /// Sent by a rule, not by a person: stamped so (RFC 3834).
    #[serde(default)]
    pub automatic: bool,
    /// When the hub was asked to send it. A message that carries a time carries this one, so that it is the same at every attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_classes_are_spelled_as_the_wit_spells_them() {
        assert_eq!(serde_json::to_string(&ErrorClass::RateLimited).unwrap(), "\"rate_limited\"");
        assert_eq!(serde_json::from_str::<ErrorClass>("\"invalid_record\"").unwrap(), ErrorClass::InvalidRecord);
    }

    #[test]
    fn a_timeout_is_told_from_other_transient_failures() {
        let timeout = ConnectorError::new(ErrorClass::Transient, "no data").with_details(serde_json::json!({"timeout": true}));
        assert!(timeout.is_timeout());
        assert!(!ConnectorError::new(ErrorClass::Transient, "refused").is_timeout());
    }
}
