//! What is still to be done at silos, what was given up, and what a person must decide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_schemas::connector::{ConnectorError, Item, OutboundMessage};
use throughline_schemas::{ConflictId, ConnectionId, DeadLetterId, HandoffId, InteractionId, Timestamp};

use super::{Table, key};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum DeliveryWork {
    /// Bring the silo's record up to ours: what to send is computed when it is sent, so that bursts coalesce.
    Write {
        /// The silo's entity.
        entity: String,
        /// Our record's id: `pro_…` or `enq_…`.
        canonical_id: String,
    },
    /// Send a message.
    Send {
        /// The interaction it is.
        interaction: InteractionId,
        /// The message.
        message: Box<OutboundMessage>,
    },
    /// Carry out an action of the connection's plugin: place the call of a handoff.
    Act {
        /// The handoff that wants it.
        handoff: HandoffId,
        /// The action, as the plugin's manifest names it.
        action: String,
        /// Its input.
        input: Box<Value>,
    },
}

/// One delivery, waiting or being tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Delivery {
    /// What.
    #[serde(flatten)]
    pub work: DeliveryWork,
    /// Since when.
    pub since: Timestamp,
    /// Not before.
    pub not_before: Timestamp,
    /// Failed attempts so far.
    pub attempts: u32,
    /// It was sent and its outcome is not known yet: look, or ask a person, before sending it again.
    #[serde(default)]
    pub in_doubt: bool,
    /// Since when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt_since: Option<Timestamp>,
    /// What was sent and not acknowledged yet, null for fields that are emptied: if the silo tells of these values, they are ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, Value>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ConnectorError>,
    /// Fields that the silo refused when the record was to be created, with its words: left out from then on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
    /// When the silo deleted the record that this makes anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
}

impl Delivery {
    /// Due at once, never tried yet.
    #[must_use]
    pub const fn new(work: DeliveryWork, now: Timestamp) -> Self {
        Self {
            work,
            since: now,
            not_before: now,
            attempts: 0,
            in_doubt: false,
            doubt_since: None,
            sent: BTreeMap::new(),
            last_error: None,
            left_out: BTreeMap::new(),
            restored_at: None,
        }
    }
}

/// Names a delivery: one for each record and entity (so that bursts coalesce), one for each message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// Which connection.
    pub connection: ConnectionId,
    /// Lane and subject: `w/<entity>/<canonical id>`, `s/<interaction id>`, `a/<handoff id>`, or `d/…` for a write in doubt.
    pub name: String,
}

impl DeliveryKey {
    /// Of a write.
    #[must_use]
    pub fn write(connection: ConnectionId, entity: &str, canonical_id: &str) -> Self {
        Self { connection, name: format!("w/{entity}/{canonical_id}") }
    }
    /// Marks a record of which it is not known whether the silo made it: it is not made again without a person's word.
    #[must_use]
    pub fn doubt(connection: ConnectionId, entity: &str, canonical_id: &str) -> Self {
        Self { connection, name: format!("d/{entity}/{canonical_id}") }
    }
    /// Of a message.
    #[must_use]
    pub fn send(connection: ConnectionId, interaction: InteractionId) -> Self {
        Self { connection, name: format!("s/{interaction}") }
    }
    /// Of an action that a handoff wants.
    #[must_use]
    pub fn act(connection: ConnectionId, handoff: HandoffId) -> Self {
        Self { connection, name: format!("a/{handoff}") }
    }
}

/// Waiting deliveries, by connection.
pub struct Deliveries;

impl Table for Deliveries {
    const PREFIX: u8 = 0x27;
    const NAME: &'static str = "deliveries";
    type Key = DeliveryKey;
    type Value = Delivery;
    fn suffix(delivery: &DeliveryKey) -> Vec<u8> {
        let mut bytes = delivery.connection.as_bytes().to_vec();
        key::text(&mut bytes, &delivery.name);
        bytes
    }
}

/// Something given up, kept whole so that it can be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// Which connection.
    pub connection_id: ConnectionId,
    /// What could not be delivered; none for an item that could not be taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What could not be taken in, as the plugin emitted it; `data` is cut to a blob reference when long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// Why.
    pub error: ConnectorError,
    /// When.
    pub at: Timestamp,
}

/// Dead letter id -> dead letter.
pub struct DeadLetters;

impl Table for DeadLetters {
    const PREFIX: u8 = 0x28;
    const NAME: &'static str = "dead_letters";
    type Key = DeadLetterId;
    type Value = DeadLetter;
    fn suffix(key: &DeadLetterId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// Both sides changed a field and a person must decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConflictItem {
    /// Its id.
    pub id: ConflictId,
    /// Which connection.
    pub connection_id: ConnectionId,
    /// Which of its entities.
    pub entity: String,
    /// The silo's key of the record.
    pub key: String,
    /// Our record's id.
    pub canonical_id: String,
    /// The field.
    pub field: String,
    /// What both had.
    pub base: Value,
    /// What the silo has.
    pub theirs: Value,
    /// What we have.
    pub ours: Value,
    /// Since when.
    pub at: Timestamp,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
}

/// Conflict id -> conflict.
pub struct Conflicts;

impl Table for Conflicts {
    const PREFIX: u8 = 0x29;
    const NAME: &'static str = "conflicts";
    type Key = ConflictId;
    type Value = ConflictItem;
    fn suffix(key: &ConflictId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// (link's connection, entity, the silo's key, field) -> the open conflict there: one at a time for each field.
pub struct OpenConflicts;

impl Table for OpenConflicts {
    const PREFIX: u8 = 0x2a;
    const NAME: &'static str = "open_conflicts";
    type Key = (ConnectionId, String, String, String);
    type Value = ConflictId;
    fn suffix((connection, entity, external, field): &Self::Key) -> Vec<u8> {
        let mut bytes = connection.as_bytes().to_vec();
        key::text(&mut bytes, entity);
        key::text(&mut bytes, external);
        key::text(&mut bytes, field);
        bytes
    }
}
