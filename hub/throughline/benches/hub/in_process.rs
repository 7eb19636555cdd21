//! A hub in this process, on a store of its own, with scripted silos; and its API on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;
use throughline_api::{ApiOptions, RateLimit};
use throughline_domain::connector::PluginHost;
use throughline_engine::{Hub, HubOptions, IngestBatch, Scope};
use throughline_schemas::connector::Item;
use throughline_schemas::{ConnectionId, Timestamp};
use throughline_store::blobs::Blobs;
use throughline_store::{Options, Store};

use crate::counting::{CountingEngine, Seen};
use crate::scripted::{Script, ScriptedHost};

/// A running hub; its folder goes with it.
pub(crate) struct InProcess {
    pub(crate) hub: Hub,
    pub(crate) script: Arc<Script>,
    folder: TempDir,
}

impl InProcess {
    /// A new hub, as `throughline serve` makes it.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::open(|folder| Ok(Store::open_sled(folder, store_options())?), None)
    }

    /// The same with a real plugin host for what is not scripted.
    pub(crate) fn with_plugins(real: Arc<dyn PluginHost>) -> anyhow::Result<Self> {
        Self::open(|folder| Ok(Store::open_sled(folder, store_options())?), Some(real))
    }

    /// The same, with everything that reaches the engine noted.
    pub(crate) fn counted(seen: Arc<Seen>) -> anyhow::Result<Self> {
        let wrap = |sled| Arc::new(CountingEngine::new(sled, seen)) as Arc<_>;
        Self::open(|folder| Ok(Store::open_sled_wrapped(folder, store_options(), wrap)?), None)
    }

    fn open(store: impl FnOnce(&std::path::Path) -> anyhow::Result<Store>, real: Option<Arc<dyn PluginHost>>) -> anyhow::Result<Self> {
        let folder = folder()?;
        let store = store(&folder.path().join("store"))?;
        let blobs = Blobs::open(&folder.path().join("store"))?;
        let script = Arc::new(Script::default());
        let host = ScriptedHost::new(Arc::clone(&script), real)?;
        let hub = Hub::open(HubOptions::new([7; 32]), store, blobs, Arc::new(host))?;
        Ok(Self { hub, script, folder })
    }

    /// Makes and starts a connection.
    pub(crate) async fn connect(&self, connection: Value) -> anyhow::Result<ConnectionId> {
        Ok(self.hub.create_connection(serde_json::from_value(connection)?).await?.value.id)
    }

    /// Serves the API; where, and a key for it.
    pub(crate) async fn serve(&self) -> anyhow::Result<(SocketAddr, String)> {
        let unlimited = RateLimit { per_second: 1_000_000, burst: 1_000_000 };
        let app = throughline_api::router(self.hub.clone(), ApiOptions { rate: unlimited, ..ApiOptions::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // Ends with the process: nothing is measured after the last part.
        tokio::spawn(async move { axum::serve(listener, app.into_make_service()).await });
        let (_, key) = self.hub.create_api_key("bench", vec![Scope::Lookup], None).await?;
        Ok((address, key))
    }

    /// Closes everything and removes the folder.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.hub.shut_down().await?;
        self.folder.close().context("the folder of a benchmark")
    }
}

/// A new folder on the disk that the workspace is on; the system's own may be in memory.
pub(crate) fn folder() -> anyhow::Result<TempDir> {
    let base = crate::target_folder().join("tmp");
    std::fs::create_dir_all(&base)?;
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(base)?)
}

fn store_options() -> Options {
    Options::new(|| u64::try_from(now().as_millis()).unwrap_or(0))
}

/// The time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Has the hub take in all items, `batch` at a time, `in_flight` batches at once, in turn from these connections. How long it took.
pub(crate) async fn take_in(
    hub: &Hub,
    connections: &[ConnectionId],
    items: Vec<Item>,
    batch: usize,
    in_flight: usize,
) -> anyhow::Result<Duration> {
    let wanted = items.len();
    let items = Arc::new(Mutex::new(items.into_iter()));
    let accepted = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (task, connection) in (0..in_flight).zip(connections.iter().cycle().copied()) {
        let (hub, items, accepted) = (hub.clone(), Arc::clone(&items), Arc::clone(&accepted));
        tasks.spawn(async move {
            for turn in 0_u64.. {
                let taken: Vec<Item> = items.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(batch).collect();
                if taken.is_empty() {
                    break;
                }
                // As a listener does, with its checkpoint.
                let cursor = Some((format!("listen-{task}"), serde_json::json!({ "uid": turn })));
                let done = hub.ingest(connection, IngestBatch { items: taken, cursor, state: Vec::new() }).await?;
                accepted.fetch_add(usize::try_from(done.accepted).unwrap_or(0), Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = began.elapsed();
    let accepted = accepted.load(Ordering::Relaxed);
    anyhow::ensure!(accepted == wanted, "the hub accepted {accepted} of {wanted} items");
    Ok(took)
}
