//! A real component in the real host, in folders of its own, with connections whose hub is memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use throughline_domain::connector::{ConnectionSpec, Connector, Grants, InstalledPlugin, PluginError, Secret};
use throughline_schemas::ConnectionId;

use super::desk::Desk;
use crate::connection::Connection;
use crate::connector::Running;
use crate::host::Host;
use crate::instance::Program;
use crate::options::{HostOptions, Limits};
use crate::usage::Usage;

/// What a connection is opened with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) config: Value,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) grants: Grants,
}

/// A host with one plugin.
pub(crate) struct Rig {
    host: Arc<Host>,
    program: Arc<Program>,
    /// What all connections used up together.
    pub(crate) usage: Arc<Usage>,
    // Holds the plugins' folder until the host is gone.
    _folder: TempDir,
}

/// An open connection and the hub's side of it.
pub(crate) struct Connected {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) desk: Arc<Desk>,
}

impl Rig {
    /// Checks and compiles the component. Compiled code is kept in `cache`, so that the next run does not compile again.
    pub(crate) async fn open(component: Vec<u8>, cache: PathBuf, limits: Limits) -> Result<Self, PluginError> {
        let folder = TempDir::new().map_err(|error| PluginError::Internal(format!("no temporary folder: {error}")))?;
        let plugins = folder.path().join("plugins");
        let prepared = tokio::task::spawn_blocking(move || {
            let mut options = HostOptions::new(plugins, cache);
            options.limits = limits;
            options.max_instances = 64;
            let host = Host::new(options)?;
            let program = Arc::new(host.prepare(&component)?);
            Ok((host, program))
        });
        let prepared = prepared.await.map_err(|error| PluginError::Internal(format!("preparing was broken off: {error}")))?;
        prepared.map(|(host, program)| Self { host, program, usage: Arc::default(), _folder: folder })
    }

    pub(crate) fn plugin(&self) -> &InstalledPlugin {
        &self.program.plugin
    }

    /// A connection with a hub of its own.
    pub(crate) fn connect(&self, settings: &Settings) -> Result<Connected, PluginError> {
        self.connect_to(settings, Arc::new(Desk::default()))
    }

    /// A connection to a hub that other connections may have had before.
    pub(crate) fn connect_to(&self, settings: &Settings, desk: Arc<Desk>) -> Result<Connected, PluginError> {
        let connection = self.connection(settings, desk.clone())?;
        Ok(self.run(connection, desk))
    }

    /// A connection with other limits than the host's.
    pub(crate) fn connect_limited(&self, settings: &Settings, change: impl FnOnce(&mut Limits)) -> Result<Connected, PluginError> {
        let desk = Arc::new(Desk::default());
        let mut connection = self.connection(settings, desk.clone())?;
        change(&mut Arc::get_mut(&mut connection).expect("nobody else has it yet").limits);
        Ok(self.run(connection, desk))
    }

    fn connection(&self, settings: &Settings, desk: Arc<Desk>) -> Result<Arc<Connection>, PluginError> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let manifest = &self.program.plugin.manifest;
        let spec = ConnectionSpec {
            id: ConnectionId::from_bytes([NEXT.fetch_add(1, Ordering::Relaxed); 16]),
            plugin: manifest.name.clone(),
            version: manifest.version.clone(),
            config: settings.config.clone(),
            secrets: settings.secrets.iter().map(|(name, value)| (name.clone(), Secret::new(value))).collect(),
            grants: settings.grants.clone(),
        };
        let mut connection = self.host.connect(&self.program, spec, desk)?;
        Arc::get_mut(&mut connection).expect("nobody else has it yet").usage = self.usage.clone();
        Ok(connection)
    }

    fn run(&self, connection: Arc<Connection>, desk: Arc<Desk>) -> Connected {
        let (slots, runtime) = (self.host.slots.clone(), self.host.runtime().handle().clone());
        let connector = Arc::new(Running::new(self.program.clone(), connection, slots, runtime));
        Connected { connector, desk }
    }
}

/// Where compiled components are kept from one run to the next: this user's cache folder.
#[must_use]
pub fn default_cache() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(|| Path::new("target").to_owned()).join("throughline").join("compiled")
}
