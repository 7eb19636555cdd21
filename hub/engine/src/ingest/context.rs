//! What the way in needs to know of a connection, ready at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use throughline_domain::extract::Extractor;
use throughline_domain::identity::{IdentityKey, Normalised, normalise};
use throughline_schemas::connector::Item;
use throughline_schemas::manifest::Entity;
use throughline_schemas::sync::EntitySync;
use throughline_schemas::{ConnectionId, IdentityType};
use throughline_store::tables::{ConnectionRecord, Connections, read};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

/// Longest key of a silo's record, in bytes.
pub(super) const MAX_KEY: usize = 240;
/// Longest data kept in a dead letter itself, in bytes; what is longer goes to a file.
pub(super) const MAX_DEAD_LETTER_DATA: usize = 16 * 1024;

/// A connection, as the way in and the dispatcher see it.
pub(crate) struct ConnectionContext {
    pub(crate) id: ConnectionId,
    pub(crate) name: String,
    pub(crate) brand: String,
    pub(crate) region: Option<String>,
    /// The manifest's entities and those of the config.
    pub(crate) entities: BTreeMap<String, Entity>,
    pub(crate) sync: BTreeMap<String, EntitySync>,
    pub(crate) extractors: Vec<Extractor>,
}

impl ConnectionContext {
    pub(crate) fn new(id: ConnectionId, record: &ConnectionRecord, manifest_entities: &[Entity]) -> Self {
        let entities = manifest_entities.iter().chain(&record.entities).map(|entity| (entity.name.clone(), entity.clone())).collect();
        // Patterns were checked when they were set; one that a newer version refuses is left out rather than stopping the connection.
        let extractors = record.extract.iter().filter_map(|rule| Extractor::new(rule.clone()).ok()).collect();
        Self {
            id,
            name: record.name.clone(),
            brand: record.brand.clone(),
            region: record.region.clone(),
            entities,
            sync: record.sync.clone(),
            extractors,
        }
    }

    /// Handles and external ids mean something only within the connection they come from, unless they say otherwise.
    pub(crate) fn normalise(&self, kind: IdentityType, raw: &str) -> Option<Normalised> {
        let namespace = match kind {
            IdentityType::Phone | IdentityType::Email => String::new(),
            IdentityType::Handle | IdentityType::External => self.id.to_string(),
        };
        normalise(kind, &namespace, raw, self.region.as_deref()).ok()
    }

    /// The identity that a silo's record is itself.
    pub(crate) fn record_identity(&self, entity: &str, key: &str) -> IdentityKey {
        IdentityKey { kind: IdentityType::External, namespace: format!("{}/{entity}", self.id), value: key.to_owned() }
    }

    /// The lanes an item must hold: its own, its conversation's, those of everybody it names.
    pub(crate) fn lanes_of(&self, item: &Item) -> Vec<String> {
        let mut lanes = vec![format!("{}/{}/{}", self.id, item.entity, item.key)];
        if let Some(thread) = item.data.get("conversation_key").and_then(Value::as_str) {
            lanes.push(format!("{}/thread/{thread}", self.id));
        }
        let participants = item.data.get("participants").and_then(Value::as_array).into_iter().flatten();
        for participant in participants {
            let kind = participant.get("type").and_then(|kind| serde_json::from_value(kind.clone()).ok());
            let address = participant.get("address").and_then(Value::as_str);
            if let (Some(kind), Some(address)) = (kind, address) {
                lanes.extend(self.normalise(kind, address).map(|identity| identity.key.to_string()));
            }
        }
        for (field, kind) in [("email", IdentityType::Email), ("phone", IdentityType::Phone)] {
            for raw in texts(item.data.get(field)) {
                lanes.extend(self.normalise(kind, raw).map(|identity| identity.key.to_string()));
            }
        }
        lanes
    }
}

/// A silo's thread key as it is kept: long ones by their digest, since keys of the store are short.
pub(super) fn thread_key(key: &str) -> String {
    const LONGEST: usize = 200;
    if key.len() <= LONGEST {
        return key.to_owned();
    }
    format!("sha256:{}", Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A value that is a text or a list of texts.
pub(super) fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

impl Hub {
    /// The context of a connection, read once and kept until the connection changes.
    pub(crate) fn connection_context(&self, id: ConnectionId) -> Result<Arc<ConnectionContext>> {
        let known = &self.inner.contexts;
        if let Some(context) = known.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(context));
        }
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        let entities = self
            .inner
            .plugins
            .installed()
            .into_iter()
            .find(|plugin| plugin.manifest.name == row.value.plugin && plugin.manifest.version == row.value.plugin_version)
            .map(|plugin| plugin.manifest.entities)
            .unwrap_or_default();
        let context = Arc::new(ConnectionContext::new(id, &row.value, &entities));
        known.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, Arc::clone(&context));
        Ok(context)
    }

    /// Forgets what was kept of a connection: it has changed.
    pub(crate) fn forget_context(&self, id: ConnectionId) {
        self.inner.contexts.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
    }
}
