//! The connector port: what the engine asks of a running connector, and what a connector may ask of the hub.
//!
//! The plugin host implements [`PluginHost`] and [`Connector`] with WASM components; the engine's tests implement them with
//! scripts. The engine implements [`HubServices`], one for each connection. Neither side sees the other's types.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, Op, OutboundMessage, Outcome, Page, Written,
};
use throughline_schemas::manifest::Manifest;
use throughline_schemas::{ConnectionId, Timestamp};

/// A boxed future: keeps the port object-safe without an async runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A secret's value. Never printed: `Debug` shows only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
    /// The value itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An installed plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct InstalledPlugin {
    /// What it declares.
    pub manifest: Manifest,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// The export interfaces it has: `source`, `sink`, `webhook`, `listener`, `channel`.
    pub exports: Vec<String>,
    /// The import interfaces it uses: `http`, `net`, …
    pub imports: Vec<String>,
    /// Who signed it: the name of a key the admin trusts, or `unknown key ed25519:…`. None if it is not signed. A signature that does
    /// not fit is never among these: such a component is refused.
    pub signed_by: Option<String>,
}

impl InstalledPlugin {
    /// Whether it exports this interface.
    #[must_use]
    pub fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|export| export == interface)
    }
}

/// Why a component cannot be installed or opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginError {
    /// The bytes are no WebAssembly component.
    NotAComponent(String),
    /// There is no manifest, or it does not hold what it must; the pointer names the place.
    Manifest {
        /// JSON pointer into the manifest.
        pointer: String,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// It was built against a WIT version this hub does not load.
    WitVersion {
        /// What the plugin says.
        found: String,
        /// What this hub loads.
        supported: Vec<String>,
    },
    /// Manifest and component disagree: it imports or exports what it does not declare, or the other way round.
    Mismatch(String),
    /// No such plugin or version is installed.
    NotInstalled {
        /// Its name.
        name: String,
        /// Its version, if one was asked for.
        version: Option<String>,
    },
    /// Its signature does not fit, or is not of anybody whose plugins this hub takes.
    Signature(String),
    /// The grants are not within what the manifest asks, or are malformed.
    Grants(String),
    /// The machine failed us: disk, memory, compiler.
    Internal(String),
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAComponent(detail) => write!(f, "this is not a WebAssembly component: {detail}"),
            Self::Manifest { pointer, detail } => write!(f, "the plugin's manifest is wrong at {pointer:?}: {detail}"),
            Self::WitVersion { found, supported } => {
                write!(f, "the plugin was built for throughline:connector@{found}; this hub loads {}", supported.join(", "))
            }
            Self::Mismatch(detail) => write!(f, "manifest and component disagree: {detail}"),
            Self::Signature(detail) => write!(f, "the plugin's signature is not accepted: {detail}"),
            Self::NotInstalled { name, version: Some(version) } => write!(f, "plugin {name} {version} is not installed"),
            Self::NotInstalled { name, version: None } => write!(f, "plugin {name} is not installed"),
            Self::Grants(detail) => write!(f, "the capabilities granted are not usable: {detail}"),
            Self::Internal(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for PluginError {}

/// What an admin gives a connection. Nothing is given by default; what is given beyond the manifest's asking is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Host patterns exactly as the manifest asks for them, `{config.field}` included.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Hosts (as resolved) that may be private, loopback or link-local addresses: `127.0.0.1`, `localhost`, `crm.internal`.
    #[serde(default)]
    pub private_hosts: Vec<String>,
}

/// Everything needed to run one connection.
#[derive(Debug, Clone)]
pub struct ConnectionSpec {
    /// Which connection.
    pub id: ConnectionId,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The config, already checked against the manifest's schema.
    pub config: Value,
    /// Secrets by name; never handed to the plugin.
    pub secrets: BTreeMap<String, Secret>,
    /// What the admin gave.
    pub grants: Grants,
}

/// Changes a call made to the connection's state: key to new value, or none to delete.
pub type StateChanges = Vec<(String, Option<Value>)>;

/// A call's result with what it did to the state, to be committed together.
#[derive(Debug, Clone, PartialEq)]
pub struct Called<T> {
    /// What the plugin returned.
    pub value: T,
    /// What it set in its state.
    pub state: StateChanges,
}

/// What a webhook request came to: the answer for the silo, and the news.
pub type Hooked = (HttpResponse, Vec<Item>);

/// Installs plugins and opens connections with them.
pub trait PluginHost: Send + Sync {
    /// Verifies a component, reads its manifest without running it, compiles it ahead and keeps it. Installing the same bytes again
    /// is no change; other bytes under an installed name and version are refused.
    fn install(&self, component: Vec<u8>) -> BoxFuture<'_, Result<InstalledPlugin, PluginError>>;
    /// All installed plugins, by name and version.
    fn installed(&self) -> Vec<InstalledPlugin>;
    /// Removes one. Connections already open with it go on until closed.
    fn remove(&self, name: &str, version: &str) -> Result<(), PluginError>;
    /// Opens a connection: resolves grants against manifest and config, starts nothing yet.
    fn open(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError>;
    /// Opens a connector that reaches no host and knows no secret, for [`Connector::migrate`] alone: the config may be one that this
    /// version cannot run with yet.
    fn open_to_migrate(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        self.open(ConnectionSpec { secrets: BTreeMap::new(), grants: Grants::default(), ..spec }, services)
    }
}

/// One connection's running connector. Reads, writes and webhooks have an instance each and wait for others of their kind only;
/// `listen` runs beside them in an instance of its own.
///
/// Every method may fail with class `bug` (trap, limit), after which the next call gets a fresh instance.
pub trait Connector: Send + Sync {
    /// The plugin it runs.
    fn plugin(&self) -> &InstalledPlugin;
    /// Are config and credentials good, and whose account is it?
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, ConnectorError>>;
    /// Choices for a config field.
    fn options<'a>(&'a self, field: &'a str, query: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>>;
    /// One page of an entity from a cursor on; `want` is a wish.
    fn read<'a>(&'a self, entity: &'a str, cursor: Option<&'a Value>, want: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>>;
    /// Records by key.
    fn get<'a>(&'a self, entity: &'a str, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Found>, ConnectorError>>;
    /// Writes; one outcome for each op.
    fn write<'a>(&'a self, entity: &'a str, ops: Vec<Op>) -> BoxFuture<'a, Result<Called<Vec<Outcome>>, ConnectorError>>;
    /// A webhook request, raw. Items are to be durable before the response is sent.
    fn webhook(&self, request: HttpRequest) -> BoxFuture<'_, Result<Called<Hooked>, ConnectorError>>;
    /// Registers our webhook at the silo under this address; again, or in place of an earlier address, is fine.
    fn webhook_ensure<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>>;
    /// What the silo says is registered there.
    fn webhook_list(&self) -> BoxFuture<'_, Result<Value, ConnectorError>>;
    /// Removes our webhook at the silo.
    fn webhook_remove(&self) -> BoxFuture<'_, Result<Called<()>, ConnectorError>>;
    /// Listens until the silo ends it, it fails, or [`Connector::stop`] is called (then `Ok` or class `cancelled`).
    fn listen(&self, checkpoint: Option<Value>) -> BoxFuture<'_, Result<(), ConnectorError>>;
    /// Sends a message.
    fn send<'a>(&'a self, message: &'a OutboundMessage, idempotency_key: &'a str)
    -> BoxFuture<'a, Result<Called<Written>, ConnectorError>>;
    /// Carries out an action.
    fn act<'a>(
        &'a self,
        action: &'a str,
        input: &'a Value,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>>;
    /// Converts a config or cursor written by an older version of the plugin.
    fn migrate<'a>(&'a self, what: &'a str, from_version: &'a str, value: &'a Value) -> BoxFuture<'a, Result<Value, ConnectorError>>;
    /// Where a user is sent to consent to this connection, for a plugin that declares OAuth 2.0. `challenge` is PKCE's, by S256.
    fn oauth_url(&self, redirect_uri: &str, state: &str, challenge: &str) -> Result<String, ConnectorError> {
        let _ = (redirect_uri, state, challenge);
        Err(no_oauth())
    }
    /// Exchanges the code that came back for tokens, stores them through [`HubServices::store_secrets`] and uses them from then on.
    fn oauth_connect(&self, code: Secret, verifier: Secret, redirect_uri: String) -> BoxFuture<'_, Result<(), ConnectorError>> {
        drop((code, verifier, redirect_uri));
        Box::pin(async { Err(no_oauth()) })
    }
    /// Cancels what runs: imports answer `cancelled`, after a grace period the instances are dropped. Returns when they are gone.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

fn no_oauth() -> ConnectorError {
    ConnectorError::new(ErrorClass::Unsupported, "this connector does not use OAuth 2.0")
}

/// A file being written to the hub's content-addressed store.
pub trait BlobWriter: Send {
    /// Adds bytes.
    fn write(&mut self, data: &[u8]) -> Result<(), ConnectorError>;
    /// Makes it durable and returns `sha256:<hex>`.
    fn finish(self: Box<Self>) -> Result<String, ConnectorError>;
}

/// What one connection's connector may ask of the hub.
pub trait HubServices: Send + Sync {
    /// Durably accepts items, state and checkpoint together; returns when they are.
    fn emit(&self, items: Vec<Item>, checkpoint: Option<Value>, state: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>>;
    /// The committed state under a key.
    fn state(&self, key: &str) -> Result<Option<Value>, ConnectorError>;
    /// Begins a file. `limit` is the largest size in bytes.
    fn blob_writer(&self, media_type: &str, name: Option<&str>, limit: u64) -> Result<Box<dyn BlobWriter>, ConnectorError>;
    /// A piece of a stored file; empty at its end.
    fn blob_read(&self, reference: &str, offset: u64, max: u32) -> Result<Vec<u8>, ConnectorError>;
    /// Durably replaces secrets of the connection; returns when they are. For tokens that the silo has replaced.
    fn store_secrets(&self, secrets: BTreeMap<String, Secret>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        drop(secrets);
        Box::pin(async { Err(ConnectorError::new(ErrorClass::Unsupported, "this hub keeps no secrets")) })
    }
    /// The hub's clock, which the plugin sees as its own.
    fn now(&self) -> Timestamp;
}
