//! What cannot be taken in is kept, so that it is not lost and can be tried again.

use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::{ConnectionId, DeadLetterId};
use throughline_store::tables::{DeadLetter, DeadLetters, Tx};

use super::context::{MAX_DEAD_LETTER_DATA, MAX_KEY};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

/// Longest entity name and version of an item, in bytes.
const MAX_NAME: usize = 100;
const MAX_VERSION: usize = 200;
/// Longest message and details of an error that is kept, in bytes: they are the plugin's, or the silo's.
const MAX_MESSAGE: usize = 1000;
const MAX_DETAILS: usize = 2000;

impl Hub {
    /// Keeps an item that cannot be taken in.
    pub(super) fn refuse(&self, tx: &mut Tx, connection: ConnectionId, item: &Item, error: ConnectorError) -> Result<()> {
        let error = bounded(error);
        tracing::warn!(%connection, entity = %item.entity, key = %item.key, %error, "item refused");
        let id = DeadLetterId::from_bytes(fresh());
        let data = serde_json::to_vec(&item.data).unwrap_or_default();
        let kept = Item {
            kind: item.kind,
            entity: cut(&item.entity, MAX_NAME),
            key: cut(&item.key, MAX_KEY),
            version: item.version.as_deref().map(|version| cut(version, MAX_VERSION)),
            at_ms: item.at_ms,
            data: if data.len() > MAX_DEAD_LETTER_DATA { self.keep_as_file(&data)? } else { item.data.clone() },
        };
        let letter = DeadLetter { id, connection_id: connection, delivery: None, item: Some(kept), error, at: self.now() };
        Ok(tx.put::<DeadLetters>(&id, &letter)?)
    }

    fn keep_as_file(&self, data: &[u8]) -> Result<serde_json::Value> {
        let failed = |error: throughline_store::blobs::BlobError| HubError::Internal(error.to_string());
        let mut writer = self.inner.blobs.writer(data.len() as u64).map_err(failed)?;
        writer.write(data).map_err(failed)?;
        Ok(serde_json::json!({ "blob": writer.finish().map_err(failed)? }))
    }

    /// Keeps one item whose commit would be too large.
    pub(super) async fn refuse_alone(&self, connection: ConnectionId, item: &Item, detail: String) -> Result<()> {
        let error = ConnectorError::new(ErrorClass::InvalidRecord, detail);
        self.transact(|tx| self.refuse(tx, connection, item, error.clone())).await
    }
}

/// Refuses names that no silo has: they become parts of keys.
pub(super) fn check_names(item: &Item) -> Result<()> {
    let version = item.version.as_deref().unwrap_or("-");
    for (pointer, text, limit) in
        [("/key", item.key.as_str(), MAX_KEY), ("/entity", &item.entity, MAX_NAME), ("/version", version, MAX_VERSION)]
    {
        if text.is_empty() || text.len() > limit {
            let detail = format!("an item's {} must have 1 to {limit} bytes, this one has {}", &pointer[1..], text.len());
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field(pointer).into());
        }
    }
    Ok(())
}

/// An error that is short enough to be kept: what plugins and silos say has no limit of its own.
pub(crate) fn bounded(mut error: ConnectorError) -> ConnectorError {
    error.message = cut(&error.message, MAX_MESSAGE);
    error.field = error.field.map(|field| cut(&field, MAX_VERSION));
    error.details = error.details.filter(|details| details.to_string().len() <= MAX_DETAILS);
    error
}

/// The beginning of a text, whole characters only.
fn cut(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
