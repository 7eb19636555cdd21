//! A host in a folder of its own, connections to the hostile plugin, and the hub's side of them in memory.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use throughline_domain::connector::{
    BlobWriter, BoxFuture, Called, ConnectionSpec, Connector, Grants, HubServices, PluginHost, Secret, StateChanges,
};
use throughline_plugin_host::{Host, HostOptions, Limits, Resolver};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, Page};
use throughline_schemas::{ConnectionId, Timestamp};
use tokio::sync::Semaphore;

use crate::build::{hostile, with_manifest};

pub(crate) const CANARY: &str = "c4nary+s3cret/value";

/// Names that lead where the tests want.
pub(crate) struct Names;

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            match host {
                "silo.example" | "other.example" | "localhost" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                "metadata.example" => Ok(vec![IpAddr::from([169, 254, 169, 254])]),
                "slow.example" => std::future::pending().await,
                _ => Err(io::Error::other("no such name")),
            }
        })
    }
}

/// A host with the hostile plugin installed.
pub(crate) struct Rig {
    pub(crate) host: Arc<Host>,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Shares the compiled component with all other tests: compiling it takes seconds, and only the first is to wait for it.
    pub(crate) async fn with(change: impl FnOnce(&mut HostOptions)) -> Self {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-cache");
        Self::in_folders(|options| {
            options.cache_dir = shared;
            change(options);
        })
        .await
    }

    /// A rig whose cache is its own as well.
    pub(crate) async fn in_folders(change: impl FnOnce(&mut HostOptions)) -> Self {
        static ONE_COMPILES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let folder = TempDir::new().unwrap();
        let host = Host::new(options(&folder, change)).unwrap();
        let guard = ONE_COMPILES.lock().await;
        host.install(hostile().to_vec()).await.unwrap();
        drop(guard);
        Self { host, folder }
    }

    pub(crate) fn connect(&self, config: Value) -> Connected {
        self.connect_with(config, &[], &[])
    }

    /// A connection with these grants.
    pub(crate) fn connect_with(&self, config: Value, hosts: &[&str], private_hosts: &[&str]) -> Connected {
        let services = Arc::new(Services::default());
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let spec = ConnectionSpec { grants: Grants { hosts: owned(hosts), private_hosts: owned(private_hosts) }, config, ..spec() };
        Connected { connector: self.host.open(spec, services.clone()).unwrap(), services }
    }

    /// A connection to `silo.example` of the hostile plugin with its manifest changed, and with OAuth's secrets.
    pub(crate) async fn connect_as(&self, port: u16, change: impl FnOnce(&mut Value)) -> Connected {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let mut manifest: Value = serde_json::from_str(include_str!("../guests/hostile/manifest.json")).unwrap();
        change(&mut manifest);
        // The same name and version with other bytes is refused.
        manifest["version"] = json!(format!("1.1.{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let installed = self.host.install(with_manifest(hostile(), manifest.to_string().as_bytes())).await.unwrap();
        let services = Arc::new(Services::default());
        let oauth =
            [("oauth_client_id", "client"), ("oauth_access_token", "stale-access-token"), ("oauth_refresh_token", "first-refresh-token")];
        let spec = ConnectionSpec {
            version: installed.manifest.version,
            config: json!({"host": "silo.example", "port": port}),
            grants: Grants { hosts: vec![crate::network::HTTP.to_owned()], private_hosts: vec!["silo.example".to_owned()] },
            secrets: oauth.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
            ..spec()
        };
        Connected { connector: self.host.open(spec, services.clone()).unwrap(), services }
    }

    /// Runs `work` while another connection is called all the time; every one of its calls must succeed, and at least one must be
    /// answered before the work ends: for work that takes its time.
    pub(crate) async fn while_another_is_served<T>(&self, work: impl Future<Output = T>) -> T {
        let (done, meanwhile) = self.beside_another(work).await;
        assert!(meanwhile > 0, "the other connection was never served");
        done
    }

    /// Runs `work` while another connection is called all the time; every one of its calls must succeed, and one at least overlaps the
    /// work: it begins before the work has ended and is answered, be it after. Gives how many were answered before the end too.
    pub(crate) async fn beside_another<T>(&self, work: impl Future<Output = T>) -> (T, u32) {
        let other = self.connect(json!({}));
        other.read("echo", &json!("warm")).await.unwrap();
        let mut meanwhile = 0_u32;
        tokio::pin!(work);
        loop {
            let cursor = json!(meanwhile);
            let call = other.read("echo", &cursor);
            tokio::pin!(call);
            // Both are begun before either can be seen to have ended.
            let done = tokio::select! {
                biased;
                answer = &mut call => {
                    assert_eq!(answer.unwrap(), cursor);
                    meanwhile += 1;
                    None
                }
                done = &mut work => Some(done),
            };
            if let Some(done) = done {
                assert_eq!(call.await.unwrap(), cursor, "what another connection asked meanwhile is answered");
                return (done, meanwhile);
            }
        }
    }

    /// Waits until so many instances exist.
    pub(crate) async fn eventually_alive(&self, instances: usize) {
        eventually(&format!("{instances} instances"), || self.host.alive() == instances).await;
    }
}

pub(crate) fn options(folder: &TempDir, change: impl FnOnce(&mut HostOptions)) -> HostOptions {
    let mut options = HostOptions::new(folder.path().join("plugins"), folder.path().join("cache"));
    options.max_instances = 32;
    options.guest_threads = 2;
    options.resolver = Arc::new(Names);
    options.limits = Limits { grace: Duration::from_millis(300), ..Limits::default() };
    change(&mut options);
    options
}

pub(crate) fn spec() -> ConnectionSpec {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    ConnectionSpec {
        id: ConnectionId::from_bytes([NEXT.fetch_add(1, Ordering::Relaxed); 16]),
        plugin: "hostile".to_owned(),
        version: "1.0.0".to_owned(),
        config: json!({}),
        secrets: BTreeMap::from([("password".to_owned(), Secret::new(CANARY))]),
        grants: Grants::default(),
    }
}

/// A connection and the hub's side of it.
pub(crate) struct Connected {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) services: Arc<Services>,
}

impl Connected {
    /// Has the plugin do something through `read` and returns the data of the one record it answers with.
    pub(crate) async fn read(&self, deed: &str, cursor: &Value) -> Result<Value, ConnectorError> {
        self.page(deed, cursor).await.map(|called| called.value.items[0].data.clone())
    }

    pub(crate) async fn page(&self, deed: &str, cursor: &Value) -> Result<Called<Page>, ConnectorError> {
        self.connector.read(deed, Some(cursor), 1).await
    }

    /// Does a deed that must fail with class `bug` and these words, then asks whether the connection lives on in a fresh instance.
    pub(crate) async fn is_contained(&self, deed: &str, cursor: Value, words: &str) {
        let error = self.read(deed, &cursor).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Bug, "{deed}: {error}");
        assert!(error.message.contains(words), "{deed}: {error}");
        assert_eq!(self.read("calls", &Value::Null).await.unwrap(), json!(1), "after {deed} the next call has a fresh instance");
    }
}

/// Items, checkpoint and state of one emit.
pub(crate) type Emitted = (Vec<Item>, Option<Value>, StateChanges);

/// The hub's services in memory.
pub(crate) struct Services {
    pub(crate) emitted: Mutex<Vec<Emitted>>,
    pub(crate) state: Mutex<BTreeMap<String, Value>>,
    pub(crate) secrets: Mutex<BTreeMap<String, Secret>>,
    pub(crate) blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// How many emits are accepted; the rest waits.
    pub(crate) room: Semaphore,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            emitted: Mutex::default(),
            state: Mutex::default(),
            secrets: Mutex::default(),
            blobs: Arc::default(),
            room: Semaphore::new(1_000_000),
        }
    }
}

impl HubServices for Services {
    fn emit(&self, items: Vec<Item>, checkpoint: Option<Value>, state: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move {
            self.room.acquire().await.unwrap().forget();
            self.emitted.lock().unwrap().push((items, checkpoint, state));
            Ok(())
        })
    }
    fn state(&self, key: &str) -> Result<Option<Value>, ConnectorError> {
        Ok(self.state.lock().unwrap().get(key).cloned())
    }
    fn blob_writer(&self, _media_type: &str, _name: Option<&str>, _limit: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        Ok(Box::new(Blob { bytes: Vec::new(), blobs: self.blobs.clone() }))
    }
    fn blob_read(&self, reference: &str, offset: u64, max: u32) -> Result<Vec<u8>, ConnectorError> {
        let blobs = self.blobs.lock().unwrap();
        let blob = blobs.get(reference).ok_or_else(|| ConnectorError::new(ErrorClass::Gone, "no such file"))?;
        let start = usize::try_from(offset).unwrap().min(blob.len());
        let end = (start + usize::try_from(max).unwrap()).min(blob.len());
        Ok(blob[start..end].to_vec())
    }
    fn store_secrets(&self, secrets: BTreeMap<String, Secret>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        self.secrets.lock().unwrap().extend(secrets);
        Box::pin(async { Ok(()) })
    }
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
}

struct Blob {
    bytes: Vec<u8>,
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl BlobWriter for Blob {
    fn write(&mut self, data: &[u8]) -> Result<(), ConnectorError> {
        self.bytes.extend_from_slice(data);
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<String, ConnectorError> {
        let reference = format!("sha256:{}", self.bytes.len());
        self.blobs.lock().unwrap().insert(reference.clone(), self.bytes);
        Ok(reference)
    }
}

/// Waits until something is so; fails after ten seconds.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
