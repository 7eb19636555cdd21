//! Outbound webhooks: where changes are sent to, how far each endpoint has been told, what waits to be tried again, what was tried.

use serde::{Deserialize, Serialize};
use throughline_schemas::{ChangeKind, Timestamp, WebhookId};

use super::{SealedSecret, Table, key};

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRecord {
    /// For people; unique among webhooks.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Which kinds of change; `enquiry.*` stands for all of that thing, none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Whether it is also told of what an approved plan takes in of a silo's past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// How many requests may be under way at once; with one, events arrive in order.
    pub at_once: u8,
    /// What messages are signed with, the newest first.
    pub secrets: Vec<WebhookSecretRow>,
    /// Since when nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Why, if it was the hub that disabled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_because: Option<String>,
    /// Made.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
}

/// One of an endpoint's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecretRow {
    /// Sealed, and since when.
    #[serde(flatten)]
    pub secret: SealedSecret,
    /// Signs no more from then on; it was rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Webhook id -> endpoint.
pub struct Webhooks;

impl Table for Webhooks {
    const PREFIX: u8 = 0x68;
    const NAME: &'static str = "webhooks";
    type Key = WebhookId;
    type Value = WebhookRecord;
    fn suffix(key: &WebhookId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// How far an endpoint has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookCursor {
    /// The last entry of the change log that was tried, or is of no interest to it.
    pub sequence: u64,
    /// When something last arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
}

/// Webhook -> place in the change log.
pub struct WebhookCursors;

impl Table for WebhookCursors {
    const PREFIX: u8 = 0x69;
    const NAME: &'static str = "webhook_cursors";
    type Key = WebhookId;
    type Value = WebhookCursor;
    fn suffix(key: &WebhookId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// An event behind the cursor that an endpoint still has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookPending {
    /// Failed attempts so far.
    pub attempts: u32,
    /// When it was first tried, or asked for again.
    pub since: Timestamp,
    /// Not before.
    pub not_before: Timestamp,
}

/// (webhook, sequence of the event in the change log) -> what waits.
pub struct WebhookPendings;

impl WebhookPendings {
    /// The event of a row's key.
    #[must_use]
    pub fn sequence(key: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(key.get(17..25)?.try_into().ok()?))
    }
}

impl Table for WebhookPendings {
    const PREFIX: u8 = 0x6a;
    const NAME: &'static str = "webhook_pendings";
    type Key = (WebhookId, u64);
    type Value = WebhookPending;
    fn suffix((webhook, sequence): &Self::Key) -> Vec<u8> {
        [webhook.as_bytes().as_slice(), &sequence.to_be_bytes()].concat()
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookOutcome {
    /// It arrived.
    Delivered,
    /// It is tried again.
    WillRetry,
    /// It was the last attempt.
    GivenUp,
}

/// One attempt. Neither what was sent nor what was answered is kept: the event is in the change log, and an answer may say anything
/// about anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookAttempt {
    /// The event's place in the change log.
    pub sequence: u64,
    /// What kind of change it is.
    pub kind: ChangeKind,
    /// When it was made.
    pub at: Timestamp,
    /// The how-manieth it was.
    pub attempt: u32,
    /// The answer's status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What came of it.
    pub outcome: WebhookOutcome,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
}

/// (webhook, newest first, unique id) -> attempt.
pub struct WebhookAttempts;

impl Table for WebhookAttempts {
    const PREFIX: u8 = 0x6b;
    const NAME: &'static str = "webhook_attempts";
    type Key = (WebhookId, Timestamp, [u8; 16]);
    type Value = WebhookAttempt;
    fn suffix((webhook, at, id): &Self::Key) -> Vec<u8> {
        [webhook.as_bytes().as_slice(), &key::newest_first(at.as_millis()), &key::inverted(id)].concat()
    }
}
