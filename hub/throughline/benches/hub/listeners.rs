//! A thousand connections that listen: of the smallest plugin there can be, which only sleeps, and of a real one, each logged in
//! at a manager interface and waiting for calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use throughline_domain::connector::{
    BlobWriter, BoxFuture, ConnectionSpec, Connector, Grants, HubServices, InstalledPlugin, PluginHost, Secret, StateChanges,
};
use throughline_plugin_host::{Host, HostOptions};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::{ConnectionId, Timestamp};

use crate::in_process::{folder, now};
use crate::measure::resident;
use crate::stand_ins::StandIns;

const COUNT: u32 = 1_000;
/// Opened before the first look at the memory, so that what all share is not counted as theirs.
const FIRST: u32 = 20;

/// What was seen.
pub(crate) struct Listeners {
    pub(crate) count: u32,
    pub(crate) resident_kib: f64,
    pub(crate) anonymous_kib: f64,
    pub(crate) once_kib: f64,
    pub(crate) opened_us: f64,
    pub(crate) stopped_us: f64,
}

/// Which plugin listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Asks for the time and sleeps.
    Smallest,
    /// Holds a TCP connection to a PBX on which nobody calls.
    Asterisk,
}

pub(crate) async fn measure(kind: Kind, component: &[u8]) -> anyhow::Result<Listeners> {
    let folder = folder()?;
    let mut options = HostOptions::new(folder.path().join("plugins"), folder.path().join("cache"));
    options.max_instances = FIRST + COUNT;
    let stand_ins = StandIns::start()?;
    let first = Host::new(options.clone())?;
    let plugin = first.install(component.to_vec()).await?;
    drop(first);
    // Opened anew, so that the compiler's own memory is not there to be used again.
    let host = Host::new(options)?;
    let ready = Arc::new(AtomicUsize::new(0));
    let mut open = start(&host, &plugin, kind, stand_ins.ports.ami, 0..FIRST, &ready)?;
    until(&ready, FIRST).await?;
    let before = resident("self")?;
    let began = Instant::now();
    open.extend(start(&host, &plugin, kind, stand_ins.ports.ami, FIRST..FIRST + COUNT, &ready)?);
    until(&ready, FIRST + COUNT).await?;
    let opened = began.elapsed();
    let after = resident("self")?;
    let began = Instant::now();
    let stops: Vec<_> = open.into_iter().map(|connector| tokio::spawn(async move { connector.stop().await })).collect();
    for stop in stops {
        stop.await?;
    }
    let stopped = began.elapsed();
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / f64::from(COUNT);
    Ok(Listeners {
        count: COUNT,
        resident_kib: (after.all - before.all) / f64::from(COUNT),
        anonymous_kib: (after.anonymous - before.anonymous) / f64::from(COUNT),
        once_kib: (after.once - before.once) / f64::from(COUNT),
        opened_us: each(opened),
        stopped_us: each(stopped),
    })
}

fn start(
    host: &Arc<Host>,
    plugin: &InstalledPlugin,
    kind: Kind,
    port: u16,
    numbers: std::ops::Range<u32>,
    ready: &Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Arc<dyn Connector>>> {
    let mut open = Vec::new();
    for number in numbers {
        let connector = host.open(spec(plugin, kind, port, number), Arc::new(Services { kind, ready: Arc::clone(ready) }))?;
        let listening = Arc::clone(&connector);
        tokio::spawn(async move {
            if let Err(error) = listening.listen(None).await
                && error.class != ErrorClass::Cancelled
            {
                eprintln!("a listener ended: {error}");
            }
        });
        open.push(connector);
    }
    Ok(open)
}

fn spec(plugin: &InstalledPlugin, kind: Kind, port: u16, number: u32) -> ConnectionSpec {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let (config, grants) = match kind {
        Kind::Smallest => (json!({}), Grants::default()),
        Kind::Asterisk => asterisk(port, number),
    };
    ConnectionSpec {
        id: ConnectionId::from_bytes(id),
        plugin: plugin.manifest.name.clone(),
        version: plugin.manifest.version.clone(),
        config,
        secrets: BTreeMap::from([("ami_secret".to_owned(), Secret::new("secret"))]),
        grants,
    }
}

fn asterisk(port: u16, number: u32) -> (Value, Grants) {
    let config = json!({
        "pbx_id": format!("pbx-{number}"), "ami_host": "127.0.0.1", "ami_port": port, "ami_security": "plain", "ami_username": "hub",
    });
    let hosts = vec!["tcp://{config.ami_host}:{config.ami_port}".to_owned()];
    (config, Grants { hosts, private_hosts: vec!["127.0.0.1".to_owned()] })
}

/// Waits for all to be logged in, and then for them to be asleep again.
async fn until(ready: &AtomicUsize, wanted: u32) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while ready.load(Ordering::Relaxed) < wanted as usize {
        ensure!(Instant::now() < deadline, "only {} of {wanted} listeners logged in", ready.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The hub's side: counts who has come to the last thing it does before it waits.
struct Services {
    kind: Kind,
    ready: Arc<AtomicUsize>,
}

fn refused() -> ConnectorError {
    ConnectorError::new(ErrorClass::Unsupported, "a benchmark has no files")
}

impl HubServices for Services {
    fn emit(&self, _items: Vec<Item>, _checkpoint: Option<Value>, _state: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async { Ok(()) })
    }
    fn state(&self, key: &str) -> Result<Option<Value>, ConnectorError> {
        if self.kind == Kind::Asterisk && key == "booted" {
            self.ready.fetch_add(1, Ordering::Relaxed);
        }
        Ok(None)
    }
    fn blob_writer(&self, _media_type: &str, _name: Option<&str>, _limit: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        Err(refused())
    }
    fn blob_read(&self, _reference: &str, _offset: u64, _max: u32) -> Result<Vec<u8>, ConnectorError> {
        Err(refused())
    }
    fn now(&self) -> Timestamp {
        if self.kind == Kind::Smallest {
            self.ready.fetch_add(1, Ordering::Relaxed);
        }
        now()
    }
}
