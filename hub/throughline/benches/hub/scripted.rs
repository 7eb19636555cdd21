//! A plugin host without plugins: `mail` only reports what the benchmark hands it, `crm` takes every write at once and notes when.
//! What neither is asked for, a real host does, if there is one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};
use throughline_domain::connector::{
    BoxFuture, Called, ConnectionSpec, Connector, Hooked, HubServices, InstalledPlugin, PluginError, PluginHost, StateChanges,
};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, Op, OutboundMessage, Outcome, Page, Written,
};

/// What the benchmark and the connectors share.
#[derive(Default)]
pub(crate) struct Script {
    services: Mutex<HashMap<ConnectionId, Arc<dyn HubServices>>>,
    written: Mutex<HashMap<String, Instant>>,
}

impl Script {
    /// The hub's side of a connection, by which its silo is played.
    pub(crate) fn services(&self, id: ConnectionId) -> anyhow::Result<Arc<dyn HubServices>> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(&id).cloned().context("the connection was never opened")
    }

    /// Notes that a record with this order number is in the silo now.
    pub(crate) fn note_written(&self, order: &str) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).entry(order.to_owned()).or_insert_with(Instant::now);
    }

    /// When a record with this order number was first written.
    pub(crate) fn written_at(&self, order: &str) -> Option<Instant> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(order).copied()
    }

    /// How many order numbers were written.
    pub(crate) fn written(&self) -> usize {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The host.
pub(crate) struct ScriptedHost {
    plugins: Vec<InstalledPlugin>,
    script: Arc<Script>,
    real: Option<Arc<dyn PluginHost>>,
}

impl ScriptedHost {
    /// `real` runs everything but `mail` and `crm`.
    pub(crate) fn new(script: Arc<Script>, real: Option<Arc<dyn PluginHost>>) -> anyhow::Result<Self> {
        Ok(Self { plugins: vec![mail()?, crm()?], script, real })
    }
}

fn mail() -> anyhow::Result<InstalledPlugin> {
    let entities = json!([{ "name": "messages", "canonical": "interaction", "cursor": "opaque" }]);
    installed("mail", &entities, &[])
}

fn crm() -> anyhow::Result<InstalledPlugin> {
    let field = json!({ "writable": true });
    let entities = json!([
        {
            "name": "contacts", "canonical": "profile", "cursor": "timestamp",
            "fields": { "display_name": field, "given_name": field, "family_name": field, "email": field, "phone": field, "company": field },
        },
        {
            "name": "cases", "canonical": "enquiry", "cursor": "timestamp",
            "writes": { "create": true, "update": true, "upsert_key": "hub_id", "batch": 50 },
            "fields": { "reason": field, "status": field, "order_number": field, "hub_id": field },
        },
    ]);
    installed("crm", &entities, &["sink"])
}

fn installed(name: &str, entities: &Value, exports: &[&str]) -> anyhow::Result<InstalledPlugin> {
    let manifest = json!({
        "name": name, "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "scripted", "kinds": ["crm"],
        "config": { "type": "object" }, "entities": entities,
    });
    Ok(InstalledPlugin {
        signed_by: None,
        manifest: serde_json::from_value(manifest).context("the scripted manifest")?,
        digest: format!("sha256:{}", "0".repeat(64)),
        exports: exports.iter().map(ToString::to_string).collect(),
        imports: Vec::new(),
    })
}

impl PluginHost for ScriptedHost {
    fn install(&self, component: Vec<u8>) -> BoxFuture<'_, Result<InstalledPlugin, PluginError>> {
        match &self.real {
            Some(real) => real.install(component),
            None => Box::pin(async { Err(PluginError::Internal("there is no real host".to_owned())) }),
        }
    }

    fn installed(&self) -> Vec<InstalledPlugin> {
        self.plugins.iter().cloned().chain(self.real.iter().flat_map(|real| real.installed())).collect()
    }

    fn remove(&self, name: &str, version: &str) -> Result<(), PluginError> {
        Err(PluginError::NotInstalled { name: name.to_owned(), version: Some(version.to_owned()) })
    }

    fn open(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        let Some(plugin) = self.plugins.iter().find(|plugin| plugin.manifest.name == spec.plugin) else {
            let missing = || PluginError::NotInstalled { name: spec.plugin.clone(), version: Some(spec.version.clone()) };
            return self.real.as_ref().ok_or_else(missing)?.open(spec.clone(), services);
        };
        self.script.services.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.id, services);
        Ok(Arc::new(Scripted { plugin: plugin.clone(), script: Arc::clone(&self.script) }))
    }
}

struct Scripted {
    plugin: InstalledPlugin,
    script: Arc<Script>,
}

impl Scripted {
    fn take(&self, op: Op) -> Outcome {
        if let Some(order) = op.data["order_number"].as_str() {
            self.script.note_written(order);
        }
        let key = op.key.unwrap_or_else(|| format!("case-{}", op.id));
        Outcome { op_id: op.id, result: Ok(Written { key, version: None, record: None }) }
    }
}

fn unsupported<T: Send + 'static>() -> BoxFuture<'static, Result<T, ConnectorError>> {
    Box::pin(async { Err(ConnectorError::new(ErrorClass::Unsupported, "not scripted")) })
}

impl Connector for Scripted {
    fn plugin(&self) -> &InstalledPlugin {
        &self.plugin
    }
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, ConnectorError>> {
        let report = json!({ "account_id": "a", "account_name": "an account" });
        Box::pin(async { serde_json::from_value(report).map_err(|error| ConnectorError::new(ErrorClass::Bug, error.to_string())) })
    }
    fn options<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        unsupported()
    }
    fn read<'a>(&'a self, _: &'a str, _: Option<&'a Value>, _: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>> {
        unsupported()
    }
    fn get<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<Vec<Found>, ConnectorError>> {
        unsupported()
    }
    fn write<'a>(&'a self, _: &'a str, ops: Vec<Op>) -> BoxFuture<'a, Result<Called<Vec<Outcome>>, ConnectorError>> {
        let value = ops.into_iter().map(|op| self.take(op)).collect();
        Box::pin(async { Ok(Called { value, state: StateChanges::new() }) })
    }
    fn webhook(&self, _: HttpRequest) -> BoxFuture<'_, Result<Called<Hooked>, ConnectorError>> {
        unsupported()
    }
    fn webhook_ensure<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        unsupported()
    }
    fn webhook_list(&self) -> BoxFuture<'_, Result<Value, ConnectorError>> {
        unsupported()
    }
    fn webhook_remove(&self) -> BoxFuture<'_, Result<Called<()>, ConnectorError>> {
        unsupported()
    }
    fn listen(&self, _: Option<Value>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(std::future::pending())
    }
    fn send<'a>(&'a self, _: &'a OutboundMessage, _: &'a str) -> BoxFuture<'a, Result<Called<Written>, ConnectorError>> {
        unsupported()
    }
    fn act<'a>(&'a self, _: &'a str, _: &'a Value, _: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        unsupported()
    }
    fn migrate<'a>(&'a self, _: &'a str, _: &'a str, value: &'a Value) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async move { Ok(value.clone()) })
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
