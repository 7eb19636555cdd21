//! The hub's side of a connection in memory: what a connector emits, keeps and stores, to be looked at afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use throughline_domain::connector::{BlobWriter, BoxFuture, HubServices, Secret, StateChanges};
use throughline_schemas::Timestamp;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use tokio::sync::Notify;

/// What one connection has handed over.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kept {
    /// Everything emitted, in order.
    pub(crate) items: Vec<Item>,
    /// The last checkpoint emitted.
    pub(crate) checkpoint: Option<Value>,
    /// The state as committed.
    pub(crate) state: BTreeMap<String, Value>,
}

/// The hub's services, kept in memory.
#[derive(Default)]
pub(crate) struct Desk {
    kept: Mutex<Kept>,
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    news: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// What has been handed over so far.
    pub(crate) fn kept(&self) -> Kept {
        lock(&self.kept).clone()
    }

    /// Everything that could be looked at, as one text: for the search for secrets.
    pub(crate) fn text(&self) -> String {
        let kept = self.kept();
        let blobs = lock(&self.blobs);
        let files: Vec<_> = blobs.values().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        format!("{:?} {}", kept, files.join("\n"))
    }

    /// Commits what a call did to the state.
    pub(crate) fn commit(&self, changes: StateChanges) {
        let mut kept = lock(&self.kept);
        for (key, value) in changes {
            match value {
                Some(value) => drop(kept.state.insert(key, value)),
                None => drop(kept.state.remove(&key)),
            }
        }
    }

    /// Waits until something more was emitted.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}

impl HubServices for Desk {
    fn emit(&self, items: Vec<Item>, checkpoint: Option<Value>, state: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move {
            self.commit(state);
            let mut kept = lock(&self.kept);
            kept.items.extend(items);
            kept.checkpoint = checkpoint.or(kept.checkpoint.take());
            drop(kept);
            self.news.notify_one();
            Ok(())
        })
    }

    fn state(&self, key: &str) -> Result<Option<Value>, ConnectorError> {
        Ok(lock(&self.kept).state.get(key).cloned())
    }

    fn blob_writer(&self, _media_type: &str, _name: Option<&str>, limit: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        Ok(Box::new(Blob { bytes: Vec::new(), limit, blobs: self.blobs.clone() }))
    }

    fn blob_read(&self, reference: &str, offset: u64, max: u32) -> Result<Vec<u8>, ConnectorError> {
        let blobs = lock(&self.blobs);
        let blob = blobs.get(reference).ok_or_else(|| ConnectorError::new(ErrorClass::Gone, "no such file"))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(blob.len());
        let end = start.saturating_add(usize::try_from(max).unwrap_or(usize::MAX)).min(blob.len());
        Ok(blob[start..end].to_vec())
    }

    /// Nothing of the kit outlives its run: a refresh token that the silo replaced must be fetched anew for the next one.
    fn store_secrets(&self, secrets: BTreeMap<String, Secret>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        if secrets.contains_key(crate::oauth::REFRESH_TOKEN) {
            tracing::warn!("the silo replaced the refresh token, and the new one ends with this run");
        }
        Box::pin(async { Ok(()) })
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

struct Blob {
    bytes: Vec<u8>,
    limit: u64,
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl BlobWriter for Blob {
    fn write(&mut self, data: &[u8]) -> Result<(), ConnectorError> {
        let size = self.bytes.len().saturating_add(data.len());
        if u64::try_from(size).unwrap_or(u64::MAX) > self.limit {
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, format!("the file is larger than {} bytes", self.limit)));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, ConnectorError> {
        let digest: String = Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let reference = format!("sha256:{digest}");
        lock(&self.blobs).insert(reference.clone(), self.bytes);
        Ok(reference)
    }
}
