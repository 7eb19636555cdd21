//! What `cargo xtask bench` measures: calls, instances and listeners without the engine around them. Not part of the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use throughline_domain::connector::{
    BlobWriter, BoxFuture, ConnectionSpec, Connector, Grants, HubServices, PluginError, PluginHost, StateChanges,
};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::{ConnectionId, Timestamp};
use tokio::sync::watch;

use crate::connection::Connection;
use crate::host::Host;
use crate::instance::{Live, Program};

/// A host with one plugin, ready to be measured. The plugin's `migrate` should return its value as it got it.
pub struct Bench {
    host: Arc<Host>,
    program: Arc<Program>,
    config: Value,
}

impl Bench {
    /// Compiles the component, without installing it.
    pub fn new(host: Arc<Host>, component: &[u8], config: Value) -> Result<Self, PluginError> {
        let program = Arc::new(host.prepare(component)?);
        Ok(Self { host, program, config })
    }

    fn spec(&self) -> ConnectionSpec {
        let manifest = &self.program.plugin.manifest;
        ConnectionSpec {
            id: ConnectionId::from_bytes([0; 16]),
            plugin: manifest.name.clone(),
            version: manifest.version.clone(),
            config: self.config.clone(),
            secrets: BTreeMap::new(),
            grants: Grants::default(),
        }
    }

    fn connection(&self) -> Result<Arc<Connection>, PluginError> {
        self.host.connect(&self.program, self.spec(), Arc::new(NoServices))
    }

    async fn start(program: &Program, host: &Host, connection: Arc<Connection>) -> Result<Live, ConnectorError> {
        program.start(connection, watch::Sender::new(false).subscribe(), &host.slots).await
    }

    /// Time of `count` calls with a payload of so many bytes each way, on one warm instance.
    pub async fn calls(&self, count: u32, payload: usize) -> Result<Duration, String> {
        let connection = self.connection().map_err(|error| error.to_string())?;
        let (program, host) = (self.program.clone(), self.host.clone());
        let value = format!("\"{}\"", "x".repeat(payload.saturating_sub(2)));
        let work = async move {
            let Live { mut store, exports, .. } = Self::start(&program, &host, connection).await.map_err(|error| error.to_string())?;
            let began = Instant::now();
            for _ in 0..count {
                exports.echo(&mut store, &value).await.map_err(|error| error.to_string())?;
            }
            Ok(began.elapsed())
        };
        self.host.runtime().spawn(work).await.map_err(|error| error.to_string())?
    }

    /// Time of starting `count` instances one after the other, each dropped at once.
    pub async fn instantiate(&self, count: u32) -> Result<Duration, String> {
        let connection = self.connection().map_err(|error| error.to_string())?;
        let (program, host) = (self.program.clone(), self.host.clone());
        let work = async move {
            let began = Instant::now();
            for _ in 0..count {
                drop(Self::start(&program, &host, connection.clone()).await.map_err(|error| error.to_string())?);
            }
            Ok(began.elapsed())
        };
        self.host.runtime().spawn(work).await.map_err(|error| error.to_string())?
    }

    /// Instances alive in the host now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.host.alive()
    }

    /// Opens `count` connections of an installed plugin that are all listening; the caller stops them.
    pub fn listeners(&self, count: u32) -> Result<Vec<Arc<dyn Connector>>, PluginError> {
        (0..count)
            .map(|_| {
                let connector = self.host.open(self.spec(), Arc::new(NoServices))?;
                let listening = connector.clone();
                // How it ends is of no interest: the caller ends it.
                self.host.runtime().spawn(async move { drop(listening.listen(None).await) });
                Ok(connector)
            })
            .collect()
    }
}

struct NoServices;

fn refused() -> ConnectorError {
    ConnectorError::new(ErrorClass::Unsupported, "a benchmark has no files")
}

impl HubServices for NoServices {
    fn emit(&self, _items: Vec<Item>, _checkpoint: Option<Value>, _state: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async { Ok(()) })
    }
    fn state(&self, _key: &str) -> Result<Option<Value>, ConnectorError> {
        Ok(None)
    }
    fn blob_writer(&self, _media_type: &str, _name: Option<&str>, _limit: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        Err(refused())
    }
    fn blob_read(&self, _reference: &str, _offset: u64, _max: u32) -> Result<Vec<u8>, ConnectorError> {
        Err(refused())
    }
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}
