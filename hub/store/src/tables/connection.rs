//! Connections: configuration, sealed secrets, cursors, plugin state, place in the change log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_domain::connector::Grants;
use throughline_domain::extract::ExtractRule;
use throughline_schemas::manifest::Entity;
use throughline_schemas::sync::EntitySync;
use throughline_schemas::{ConnectionId, Timestamp};

use super::{Table, key};

/// A plugin configured for one real system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionRecord {
    /// For people; unique.
    pub name: String,
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub plugin_version: String,
    /// Its config, as checked against the plugin's schema.
    pub config: Value,
    /// What the admin granted.
    pub grants: Grants,
    /// How its entities are synchronised.
    pub sync: BTreeMap<String, EntitySync>,
    /// What is taken from message texts as context variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extract: Vec<ExtractRule>,
    /// The brand its enquiries belong to.
    pub brand: String,
    /// ISO 3166 region for national phone numbers, for instance `GB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Stopped by an admin, or by the hub with the reason.
    pub paused: bool,
    /// Why the hub paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// The silo's account, as `check` first said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Entities that `check` reported for this config, beside the manifest's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    /// Another version of the plugin that waits for an admin's word, because it asks for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_update: Option<PendingUpdate>,
    /// Created.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
}

/// An update that asks for more than its predecessor did, until somebody grants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PendingUpdate {
    /// The version to move to.
    pub plugin_version: String,
    /// The hosts it asks for that the connection was not granted, in the manifest's words.
    pub hosts: Vec<String>,
    /// Since when it waits.
    pub since: Timestamp,
}

/// Connection id -> connection.
pub struct Connections;

impl Table for Connections {
    const PREFIX: u8 = 0x20;
    const NAME: &'static str = "connections";
    type Key = ConnectionId;
    type Value = ConnectionRecord;
    fn suffix(key: &ConnectionId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// A secret, encrypted with the hub's key; the store never holds it in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Nonce and ciphertext, base64.
    pub sealed: String,
    /// When it was set.
    pub set_at: Timestamp,
}

/// (connection, secret's name) -> sealed secret.
pub struct Secrets;

impl Table for Secrets {
    const PREFIX: u8 = 0x21;
    const NAME: &'static str = "secrets";
    type Key = (ConnectionId, String);
    type Value = SealedSecret;
    fn suffix(key: &Self::Key) -> Vec<u8> {
        scoped(key)
    }
}

/// Where a walk goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredCursor {
    /// As the plugin handed it out.
    pub cursor: Value,
    /// When it was committed.
    pub at: Timestamp,
}

/// (connection, entity or `listen`) -> cursor.
pub struct Cursors;

impl Table for Cursors {
    const PREFIX: u8 = 0x22;
    const NAME: &'static str = "cursors";
    type Key = (ConnectionId, String);
    type Value = StoredCursor;
    fn suffix(key: &Self::Key) -> Vec<u8> {
        scoped(key)
    }
}

/// (connection, key) -> the plugin's own small state.
pub struct PluginState;

impl Table for PluginState {
    const PREFIX: u8 = 0x23;
    const NAME: &'static str = "plugin_state";
    type Key = (ConnectionId, String);
    type Value = Value;
    fn suffix(key: &Self::Key) -> Vec<u8> {
        scoped(key)
    }
}

/// How far a connection's dispatcher has read the change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchCursor {
    /// The last entry that was turned into deliveries.
    pub sequence: u64,
}

/// Connection -> place in the change log.
pub struct DispatchCursors;

impl Table for DispatchCursors {
    const PREFIX: u8 = 0x24;
    const NAME: &'static str = "dispatch_cursors";
    type Key = ConnectionId;
    type Value = DispatchCursor;
    fn suffix(key: &ConnectionId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

fn scoped((connection, name): &(ConnectionId, String)) -> Vec<u8> {
    let mut bytes = connection.as_bytes().to_vec();
    key::text(&mut bytes, name);
    bytes
}
