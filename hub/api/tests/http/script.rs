//! A plugin host whose one plugin does what the test says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use throughline_domain::connector::{
    BoxFuture, Called, ConnectionSpec, Connector, HubServices, InstalledPlugin, PluginError, PluginHost, StateChanges,
};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, Op, OutboundMessage, Outcome, Page, Written,
};
use tokio::sync::Notify;

/// The bytes that the scripted host takes for a component.
pub(crate) const COMPONENT: &[u8] = b"\0asm the scripted plugin";
/// Bytes at which it panics.
pub(crate) const PANICS: &[u8] = b"\0asm panic";

/// What the test and the connectors share.
#[derive(Default)]
pub(crate) struct Script {
    installed: Mutex<Vec<InstalledPlugin>>,
    services: Mutex<HashMap<ConnectionId, Arc<dyn HubServices>>>,
    /// Requests that webhooks got.
    pub(crate) hooked: Mutex<Vec<HttpRequest>>,
    /// What webhooks answer.
    pub(crate) hook_answer: Mutex<Option<HttpResponse>>,
    /// How often an action was carried out.
    pub(crate) acted: Mutex<Vec<(String, String)>>,
    /// Actions named `slow` wait for this.
    pub(crate) release: Notify,
}

impl Script {
    /// The hub's side of a connection, by which a test plays the silo.
    pub(crate) fn services(&self, id: ConnectionId) -> Arc<dyn HubServices> {
        self.services.lock().unwrap()[&id].clone()
    }
}

fn plugin() -> InstalledPlugin {
    let manifest = json!({
        "name": "scripted", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "for tests", "kinds": ["email"],
        "config": {
            "type": "object",
            "properties": {"host": {"type": "string"}, "password": {"type": "string", "x-secret": true}},
            "required": ["host"],
            "additionalProperties": false,
        },
        "entities": [{"name": "message", "canonical": "interaction", "readable": false, "cursor": "none"}],
        "channels": [{"channel": "email", "can": ["message"]}],
        "actions": {
            "echo": {"summary": "gives back", "input": {}, "output": {}},
            "slow": {"summary": "takes its time", "input": {}, "output": {}},
        },
    });
    InstalledPlugin {
        manifest: serde_json::from_value(manifest).unwrap(),
        digest: format!("sha256:{}", "ab".repeat(32)),
        exports: vec!["webhook".to_owned(), "channel".to_owned()],
        imports: vec![],
    }
}

/// The host.
pub(crate) struct ScriptedHost(pub(crate) Arc<Script>);

impl PluginHost for ScriptedHost {
    fn install(&self, component: Vec<u8>) -> BoxFuture<'_, Result<InstalledPlugin, PluginError>> {
        Box::pin(async move {
            assert_ne!(component, PANICS, "asked to panic");
            if component != COMPONENT {
                return Err(PluginError::NotAComponent("no magic number".to_owned()));
            }
            let mut installed = self.0.installed.lock().unwrap();
            if installed.is_empty() {
                installed.push(plugin());
            }
            Ok(plugin())
        })
    }
    fn installed(&self) -> Vec<InstalledPlugin> {
        self.0.installed.lock().unwrap().clone()
    }
    fn remove(&self, name: &str, version: &str) -> Result<(), PluginError> {
        let mut installed = self.0.installed.lock().unwrap();
        let before = installed.len();
        installed.retain(|plugin| plugin.manifest.name != name || plugin.manifest.version != version);
        if installed.len() == before {
            return Err(PluginError::NotInstalled { name: name.to_owned(), version: Some(version.to_owned()) });
        }
        Ok(())
    }
    fn open(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        self.0.services.lock().unwrap().insert(spec.id, services);
        Ok(Arc::new(Scripted { script: self.0.clone(), plugin: plugin() }))
    }
}

struct Scripted {
    script: Arc<Script>,
    plugin: InstalledPlugin,
}

fn unsupported<T>() -> Result<T, ConnectorError> {
    Err(ConnectorError::new(ErrorClass::Unsupported, "not scripted"))
}

fn called<T>(value: T) -> Result<Called<T>, ConnectorError> {
    Ok(Called { value, state: StateChanges::new() })
}

impl Connector for Scripted {
    fn plugin(&self) -> &InstalledPlugin {
        &self.plugin
    }
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, ConnectorError>> {
        Box::pin(async {
            Ok(CheckReport {
                account_id: "acct-1".to_owned(),
                account_name: "Test".to_owned(),
                missing_scopes: vec![],
                warnings: vec![],
                entities: vec![],
            })
        })
    }
    fn options<'a>(&'a self, field: &'a str, query: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async move { Ok(json!([{"value": field, "label": query}])) })
    }
    fn read<'a>(&'a self, _: &'a str, _: Option<&'a Value>, _: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>> {
        Box::pin(async { called(Page { items: vec![], next: None, checkpoint: Value::Null, details: None }) })
    }
    fn get<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<Vec<Found>, ConnectorError>> {
        Box::pin(async { unsupported() })
    }
    fn write<'a>(&'a self, _: &'a str, _: Vec<Op>) -> BoxFuture<'a, Result<Called<Vec<Outcome>>, ConnectorError>> {
        Box::pin(async { unsupported() })
    }
    fn webhook(&self, request: HttpRequest) -> BoxFuture<'_, Result<Called<(HttpResponse, Vec<Item>)>, ConnectorError>> {
        Box::pin(async move {
            self.script.hooked.lock().unwrap().push(request);
            let answer = self.script.hook_answer.lock().unwrap().clone();
            called((answer.unwrap_or(HttpResponse { status: 204, headers: vec![], body: vec![] }), vec![]))
        })
    }
    fn webhook_ensure<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async { Ok(Value::Null) })
    }
    fn webhook_remove(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async { Ok(()) })
    }
    fn listen(&self, _: Option<Value>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(std::future::pending())
    }
    fn send<'a>(&'a self, _: &'a OutboundMessage, key: &'a str) -> BoxFuture<'a, Result<Called<Written>, ConnectorError>> {
        Box::pin(async move { called(Written { key: key.to_owned(), version: None, record: None }) })
    }
    fn act<'a>(&'a self, action: &'a str, input: &'a Value, key: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        Box::pin(async move {
            self.script.acted.lock().unwrap().push((action.to_owned(), key.to_owned()));
            if action == "slow" {
                self.script.release.notified().await;
            }
            called(input.clone())
        })
    }
    fn migrate<'a>(&'a self, _: &'a str, _: &'a str, value: &'a Value) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async move { Ok(value.clone()) })
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
