//! What a running connector may ask of the hub: one object for each connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use throughline_domain::connector::{BlobWriter, BoxFuture, HubServices, Secret, StateChanges};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::{ConnectionId, Timestamp};
use throughline_store::tables::{PluginState, read};

use crate::hub::{Hub, Inner};
use crate::ingest::IngestBatch;
use crate::{HubError, supervisor::LISTEN_CURSOR};

/// The hub, as one connection sees it. Weak, so that an open connector does not keep the hub alive.
pub(crate) struct ConnectionServices {
    hub: std::sync::Weak<Inner>,
    connection: ConnectionId,
}

impl ConnectionServices {
    pub(crate) fn new(hub: &Hub, connection: ConnectionId) -> Arc<Self> {
        Arc::new(Self { hub: Arc::downgrade(&hub.inner), connection })
    }

    fn hub(&self) -> Result<Hub, ConnectorError> {
        let inner = self.hub.upgrade().ok_or_else(|| ConnectorError::new(ErrorClass::Cancelled, "the hub is shutting down"))?;
        Ok(Hub { inner })
    }
}

/// How a failure of the hub looks to a connector: never its own fault, so always worth trying again later.
pub(crate) fn to_connector_error(error: &HubError) -> ConnectorError {
    match error {
        HubError::Connector(error) => error.clone(),
        HubError::TooLarge { detail } => ConnectorError::new(ErrorClass::InvalidRecord, detail.clone()),
        other => ConnectorError::new(ErrorClass::Transient, format!("the hub could not take it: {other}")),
    }
}

impl HubServices for ConnectionServices {
    fn emit(&self, items: Vec<Item>, checkpoint: Option<Value>, state: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move {
            let hub = self.hub()?;
            let cursor = checkpoint.map(|cursor| (LISTEN_CURSOR.to_owned(), cursor));
            let batch = IngestBatch { items, cursor, state };
            hub.ingest(self.connection, batch).await.map_err(|error| to_connector_error(&error))?;
            Ok(())
        })
    }

    fn state(&self, key: &str) -> Result<Option<Value>, ConnectorError> {
        let hub = self.hub()?;
        let row =
            read::<PluginState>(&hub.inner.store, &(self.connection, key.to_owned())).map_err(|error| to_connector_error(&error.into()))?;
        Ok(row.map(|row| row.value))
    }

    fn blob_writer(&self, _media_type: &str, _name: Option<&str>, limit: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        let hub = self.hub()?;
        let writer = hub.inner.blobs.writer(limit).map_err(|error| blob_error(&error))?;
        Ok(Box::new(FileWriter(writer)))
    }

    fn blob_read(&self, reference: &str, offset: u64, max: u32) -> Result<Vec<u8>, ConnectorError> {
        self.hub()?.inner.blobs.read(reference, offset, max as usize).map_err(|error| blob_error(&error))
    }

    fn store_secrets(&self, secrets: BTreeMap<String, Secret>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move { self.hub()?.store_secrets(self.connection, secrets).await.map_err(|error| to_connector_error(&error)) })
    }

    fn now(&self) -> Timestamp {
        self.hub.upgrade().map_or_else(Timestamp::default, |inner| inner.options.clock.now())
    }
}

struct FileWriter(throughline_store::blobs::BlobWriter);

impl BlobWriter for FileWriter {
    fn write(&mut self, data: &[u8]) -> Result<(), ConnectorError> {
        self.0.write(data).map_err(|error| blob_error(&error))
    }
    fn finish(self: Box<Self>) -> Result<String, ConnectorError> {
        self.0.finish().map_err(|error| blob_error(&error))
    }
}

fn blob_error(error: &throughline_store::blobs::BlobError) -> ConnectorError {
    let class = if is_callers_fault(error) { ErrorClass::InvalidRecord } else { ErrorClass::Transient };
    ConnectorError::new(class, error.to_string())
}

/// Whether the reference or the size was wrong, rather than the disk.
pub(crate) fn is_callers_fault(error: &throughline_store::blobs::BlobError) -> bool {
    use throughline_store::blobs::BlobError;
    matches!(error, BlobError::Malformed(_) | BlobError::Missing(_) | BlobError::TooLarge { .. })
}
