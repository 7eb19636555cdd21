//! A plugin host whose one plugin does what the test says.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use throughline_domain::connector::{
    BoxFuture, Called, ConnectionSpec, Connector, HubServices, InstalledPlugin, PluginError, PluginHost, Secret, StateChanges,
};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, ItemKind, Op, OutboundMessage, Outcome, Page, Written,
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
    secrets: Mutex<HashMap<ConnectionId, BTreeMap<String, Secret>>>,
    /// Connections opened from now on do not use OAuth.
    pub(crate) no_oauth: AtomicBool,
    /// Codes, verifiers and redirect URIs that were to be exchanged for tokens.
    pub(crate) exchanged: Mutex<Vec<(String, String, String)>>,
    /// The account that checks find, unless it is empty.
    pub(crate) account: Mutex<String>,
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

    /// The secrets with which a connection was last opened.
    pub(crate) fn secrets(&self, id: ConnectionId) -> BTreeMap<String, Secret> {
        self.secrets.lock().unwrap()[&id].clone()
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
        "auth": [{
            "method": "oauth2", "authorize_url": "https://silo.example/authorize", "token_url": "https://silo.example/token",
            "scopes": ["mail"],
        }],
        "entities": [
            {"name": "message", "canonical": "interaction", "readable": false, "cursor": "none"},
            {"name": "contact", "canonical": "profile", "readable": true, "cursor": "opaque", "fields": {"email": {}, "company": {}}},
        ],
        "channels": [{"channel": "email", "can": ["message"]}],
        "actions": {
            "echo": {"summary": "gives back", "input": {}, "output": {}},
            "slow": {"summary": "takes its time", "input": {}, "output": {}},
        },
    });
    InstalledPlugin {
        manifest: serde_json::from_value(manifest).unwrap(),
        digest: format!("sha256:{}", "ab".repeat(32)),
        exports: vec!["source".to_owned(), "webhook".to_owned(), "channel".to_owned()],
        imports: vec![],
        signed_by: None,
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
        self.0.secrets.lock().unwrap().insert(spec.id, spec.secrets);
        let mut plugin = plugin();
        if self.0.no_oauth.load(Ordering::SeqCst) {
            plugin.manifest.auth.clear();
        }
        Ok(Arc::new(Scripted { script: self.0.clone(), plugin, id: spec.id }))
    }
}

struct Scripted {
    script: Arc<Script>,
    plugin: InstalledPlugin,
    id: ConnectionId,
}

/// PKCE's challenge for a verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
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
            let account = self.script.account.lock().unwrap().clone();
            Ok(CheckReport {
                account_id: if account.is_empty() { "acct-1".to_owned() } else { account },
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
    /// One contact.
    fn read<'a>(&'a self, entity: &'a str, _: Option<&'a Value>, _: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>> {
        let data = json!({"email": "grace@customer.example", "company": "Engines"});
        let (entity, key) = (entity.to_owned(), "7".to_owned());
        let contact = Item { kind: ItemKind::Record, entity, key, version: Some("1".to_owned()), at_ms: None, data };
        Box::pin(async { called(Page { items: vec![contact], next: None, checkpoint: Value::Null, details: None }) })
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
    fn webhook_ensure<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        Box::pin(async move { called(json!({"url": url})) })
    }
    fn webhook_list(&self) -> BoxFuture<'_, Result<Value, ConnectorError>> {
        Box::pin(async { Ok(json!([{"id": "wh1"}])) })
    }
    fn webhook_remove(&self) -> BoxFuture<'_, Result<Called<()>, ConnectorError>> {
        Box::pin(async { called(()) })
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
    fn oauth_url(&self, redirect_uri: &str, state: &str, challenge: &str) -> Result<String, ConnectorError> {
        Ok(format!("https://silo.example/authorize?redirect_uri={redirect_uri}&state={state}&challenge={challenge}"))
    }
    fn oauth_connect(&self, code: Secret, verifier: Secret, redirect_uri: String) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move {
            if code.expose() == "refused" {
                return Err(ConnectorError::new(ErrorClass::Auth, "the silo refuses it: connect again"));
            }
            let tokens = ["access", "refresh"]
                .map(|kind| (format!("oauth_{kind}_token"), Secret::new(format!("{kind}-token-for-{}", code.expose()))));
            self.script.exchanged.lock().unwrap().push((code.expose().to_owned(), verifier.expose().to_owned(), redirect_uri));
            self.script.services(self.id).store_secrets(tokens.into()).await
        })
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
