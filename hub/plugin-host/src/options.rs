//! What the host is told at its start, and the limits a guest runs under.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use throughline_domain::connector::PluginError;
use throughline_schemas::manifest::Manifest;

use crate::dial::{Resolver, SystemResolver};
use crate::trust::PluginTrust;

/// How to run plugins.
#[derive(Clone)]
pub struct HostOptions {
    /// Where components are kept: `<plugins_dir>/<name>/<version>.wasm`.
    pub plugins_dir: PathBuf,
    /// Where compiled code is kept; private to this user, safe to delete at any time.
    pub cache_dir: PathBuf,
    /// Whose plugins to take; everyone's unless it says otherwise.
    pub trust: PluginTrust,
    /// What guests may use up.
    pub limits: Limits,
    /// Threads of the guests' own runtime.
    pub guest_threads: usize,
    /// Instances alive at once; a call beyond it waits.
    pub max_instances: u32,
    /// Certificate authorities to trust besides the public ones, as PEM.
    pub extra_ca_pem: Option<String>,
    /// Turns names into addresses; replaced in tests.
    pub resolver: Arc<dyn Resolver>,
}

impl HostOptions {
    /// The defaults, with these two folders.
    #[must_use]
    pub fn new(plugins_dir: impl Into<PathBuf>, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            plugins_dir: plugins_dir.into(),
            cache_dir: cache_dir.into(),
            trust: PluginTrust::default(),
            limits: Limits::default(),
            guest_threads: std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            max_instances: 1024,
            extra_ca_pem: None,
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// What one instance of a guest may use up. A plugin's manifest may ask for more memory, sockets and body size, up to the maxima here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in MiB, unless the manifest asks for something else.
    pub memory_mib: u32,
    /// The most a manifest may ask for; also the address space reserved for each instance.
    pub max_memory_mib: u32,
    /// Wall time of `check`, `options`, `migrate` and everything about webhooks.
    pub short_call: Duration,
    /// Wall time of `read`, `get`, `write`, `send` and `act`.
    pub long_call: Duration,
    /// CPU time of one call: the time during which the guest held its thread.
    pub call_cpu: Duration,
    /// CPU time of a listener in each minute.
    pub listen_cpu_per_minute: Duration,
    /// Log text in each second; what is beyond it is dropped, with one notice.
    pub log_bytes_per_second: u32,
    /// A connection's state: keys and values as JSON text.
    pub state_bytes: usize,
    /// Open connections, WebSockets and downloads of one instance, unless the manifest asks for something else.
    pub sockets: u32,
    /// The most sockets a manifest may ask for.
    pub max_sockets: u32,
    /// Largest HTTP body or stored file in MiB, unless the manifest asks for something else.
    pub body_mib: u32,
    /// The largest body a manifest may ask for.
    pub max_body_mib: u32,
    /// The most that a guest may hand over at once, as a return value or as arguments of an import.
    pub output_bytes: usize,
    /// How long a guest may take to end after it was told to.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mib: 64,
            max_memory_mib: 256,
            short_call: Duration::from_secs(30),
            long_call: Duration::from_secs(300),
            call_cpu: Duration::from_secs(10),
            listen_cpu_per_minute: Duration::from_secs(20),
            log_bytes_per_second: 64 * 1024,
            state_bytes: 1024 * 1024,
            sockets: 4,
            max_sockets: 32,
            body_mib: 16,
            max_body_mib: 128,
            output_bytes: 32 * 1024 * 1024,
            grace: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// These limits with what the manifest asks for, if that is within the maxima.
    pub(crate) fn for_plugin(&self, manifest: &Manifest) -> Result<Self, PluginError> {
        let asked = &manifest.capabilities.limits;
        Ok(Self {
            memory_mib: within(asked.memory_mib, self.memory_mib, self.max_memory_mib, "memory_mib")?,
            sockets: within(asked.sockets, self.sockets, self.max_sockets, "sockets")?,
            body_mib: within(asked.body_mib, self.body_mib, self.max_body_mib, "body_mib")?,
            ..self.clone()
        })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        mebibytes(self.memory_mib)
    }

    pub(crate) fn max_memory_bytes(&self) -> usize {
        mebibytes(self.max_memory_mib.max(self.memory_mib))
    }

    pub(crate) fn body_bytes(&self) -> usize {
        mebibytes(self.body_mib)
    }
}

fn mebibytes(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(1024 * 1024)
}

fn within(asked: Option<u32>, default: u32, maximum: u32, name: &str) -> Result<u32, PluginError> {
    match asked {
        None => Ok(default),
        Some(0) => Err(limit_error(name, "0 is no limit a plugin can run under".to_owned())),
        Some(asked) if asked > maximum => Err(limit_error(name, format!("the plugin asks for {asked}; this hub gives {maximum} at most"))),
        Some(asked) => Ok(asked),
    }
}

fn limit_error(name: &str, detail: String) -> PluginError {
    PluginError::Manifest { pointer: format!("/capabilities/limits/{name}"), detail }
}
