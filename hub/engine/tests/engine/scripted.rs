//! A plugin host whose connectors talk to a silo in memory that does what the test says, and remembers what was done to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};
use throughline_domain::connector::{
    BoxFuture, Called, ConnectionSpec, Connector, HubServices, InstalledPlugin, PluginError, PluginHost, StateChanges,
};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, ItemKind, Op, OpKind, OutboundMessage, Outcome, Page,
    Written,
};

/// What goes wrong with a write or a message.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The op fails, and nothing was done.
    Op(ConnectorError),
    /// The op is carried out, and the answer is lost.
    OpAfter(ConnectorError),
    /// The call fails as a whole.
    Call(ConnectorError),
    /// Carried out, and then there is never an answer.
    Hang,
}

/// Called with each record that was written, before the answer goes out.
pub(crate) type OnWrite = Arc<dyn Fn(Item) -> BoxFuture<'static, ()> + Send + Sync>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) records: BTreeMap<(String, String), (u64, Map<String, Value>)>,
    pub(crate) moved: HashMap<String, String>,
    pub(crate) ops: Vec<(String, Op)>,
    pub(crate) calls: usize,
    pub(crate) sent: Vec<(OutboundMessage, String)>,
    /// Action, input and key of each call.
    pub(crate) acts: Vec<(String, Value, String)>,
    /// One for each call of an action to come.
    pub(crate) act_errors: VecDeque<ConnectorError>,
    /// One for each op to come; when there are none left all goes well.
    pub(crate) faults: VecDeque<Fault>,
    /// By our record's id: every op on it fails so.
    pub(crate) poison: HashMap<String, ConnectorError>,
    pub(crate) pages: HashMap<String, VecDeque<Result<Page, ConnectorError>>>,
    pub(crate) reads: Vec<(String, Option<Value>)>,
    /// How listening ends, one after the other; when there are none left it goes on.
    pub(crate) listens: VecDeque<ConnectorError>,
    pub(crate) listened: Vec<Option<Value>>,
    pub(crate) account: Option<String>,
    pub(crate) refuse_open: bool,
    /// What `migrate` makes of `config` or `cursor:ENTITY`; as it was if it is not said.
    pub(crate) migrations: HashMap<String, Result<Value, ConnectorError>>,
    /// What, from which version, and the value.
    pub(crate) migrated: Vec<(String, String, Value)>,
    /// Addresses that our webhook was to be registered under.
    pub(crate) ensured: Vec<String>,
    /// How registering or removing it fails, one after the other.
    pub(crate) hook_faults: VecDeque<ConnectorError>,
    pub(crate) removed: usize,
    /// What the silo makes of a field's value.
    pub(crate) rewrite: HashMap<String, Value>,
    pub(crate) on_write: Option<OnWrite>,
    pub(crate) services: HashMap<ConnectionId, Arc<dyn HubServices>>,
    pub(crate) specs: Vec<ConnectionSpec>,
    next: u64,
}

/// The silo.
#[derive(Default)]
pub(crate) struct Silo(Mutex<State>);

impl Silo {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
    pub(crate) fn services(&self, id: ConnectionId) -> Arc<dyn HubServices> {
        self.state().services[&id].clone()
    }
    /// A record that somebody made or changed in the silo, as news.
    pub(crate) fn edit(&self, entity: &str, key: &str, fields: Value) -> Item {
        let mut state = self.state();
        let record = state.records.entry((entity.to_owned(), key.to_owned())).or_default();
        record.0 += 1;
        record.1.extend(fields.as_object().unwrap().clone());
        item(entity, key, record)
    }
    /// Somebody deletes a record in the silo; the news of it.
    pub(crate) fn delete(&self, entity: &str, key: &str) -> Item {
        self.state().records.remove(&(entity.to_owned(), key.to_owned()));
        Item { kind: ItemKind::Deleted, ..item(entity, key, &Default::default()) }
    }
    pub(crate) fn field(&self, entity: &str, key: &str, field: &str) -> Value {
        self.state().records[&(entity.to_owned(), key.to_owned())].1.get(field).cloned().unwrap_or_default()
    }
    pub(crate) fn keys(&self, entity: &str) -> Vec<String> {
        self.state().records.keys().filter(|(of, _)| of == entity).map(|(_, key)| key.clone()).collect()
    }
    pub(crate) fn fault(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }
    pub(crate) fn ops(&self) -> usize {
        self.state().ops.len()
    }
}

fn item(entity: &str, key: &str, (version, fields): &(u64, Map<String, Value>)) -> Item {
    Item {
        kind: ItemKind::Record,
        entity: entity.to_owned(),
        key: key.to_owned(),
        version: Some(version.to_string()),
        at_ms: None,
        data: Value::Object(fields.clone()),
    }
}

pub(crate) fn plugin(name: &str) -> InstalledPlugin {
    version_of(name, "1.0.0")
}

/// Later versions of `moving` want `place` instead of `host`, and 2.0.0 asks for one more host.
pub(crate) fn version_of(name: &str, version: &str) -> InstalledPlugin {
    let hosts: &[&str] = if version == "2.0.0" { &["https://a.example", "https://b.example"] } else { &["https://a.example"] };
    let setting = if version == "1.0.0" { "host" } else { "place" };
    let field = json!({"writable": true});
    let writes = |batch: u32| {
        let mut writes = json!({"create": true, "update": true, "delete": true, "concurrency": "version", "batch": batch});
        if name == "upserter" {
            writes["upsert_key"] = json!("hub_id");
        }
        writes
    };
    let manifest = json!({
        "name": name, "version": version, "wit": "0.1.0", "licence": "MIT", "summary": "for tests", "kinds": ["crm"],
        "config": {"type": "object", "properties": {(setting): {"type": "string"}}, "additionalProperties": name != "moving"},
        "capabilities": {"hosts": hosts},
        "entities": [
            {"name": "message", "canonical": "interaction", "readable": false, "cursor": "none"},
            {"name": "contact", "canonical": "profile", "readable": true, "cursor": "opaque", "deletes": "full_list", "writes": writes(16),
             "fields": {"hub_id": field, "display_name": field, "email": field, "phone": {"writable": true, "normalisers": ["phone_digits"]},
                        "company": field, "language": field}},
            {"name": "case", "canonical": "enquiry", "readable": true, "cursor": "opaque", "writes": writes(4),
             "fields": {"hub_id": field, "reason": field, "status": field, "customer": field, "order": field}},
        ],
        "channels": [{"channel": "email", "can": ["message"]}, {"channel": "phone", "can": ["call"]}],
        "actions": {
            "note": {"summary": "makes a note", "input": {"type": "object"}, "output": {"type": "object"}},
            "originate": {
                "summary": "places a call",
                "input": {"type": "object", "required": ["customer", "agent"], "properties": {"customer": {"type": "string", "minLength": 3}}},
                "output": {},
            },
            "redirect": {
                "summary": "sends a call to an agent's phone",
                "input": {"type": "object", "required": ["call", "agent"], "properties": {"agent": {"type": "string", "maxLength": 80}}},
                "output": {},
            },
        },
    });
    let exports = ["source", "sink", "webhook", "listener", "channel"];
    InstalledPlugin {
        manifest: serde_json::from_value(manifest).unwrap(),
        digest: format!("sha256:{}", "ab".repeat(32)),
        exports: exports.map(str::to_owned).to_vec(),
        imports: vec![],
        signed_by: None,
    }
}

/// The host.
pub(crate) struct ScriptedHost(pub(crate) Arc<Silo>);

impl PluginHost for ScriptedHost {
    fn install(&self, _: Vec<u8>) -> BoxFuture<'_, Result<InstalledPlugin, PluginError>> {
        Box::pin(async { Ok(plugin("scripted")) })
    }
    fn installed(&self) -> Vec<InstalledPlugin> {
        let moving = ["1.0.0", "1.1.0", "2.0.0"].map(|version| version_of("moving", version));
        [plugin("scripted"), plugin("upserter")].into_iter().chain(moving).collect()
    }
    fn remove(&self, name: &str, _: &str) -> Result<(), PluginError> {
        Err(PluginError::NotInstalled { name: name.to_owned(), version: None })
    }
    fn open(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        let mut state = self.0.state();
        if state.refuse_open {
            return Err(PluginError::Grants("scripted to refuse".to_owned()));
        }
        state.services.insert(spec.id, services);
        let plugin = version_of(&spec.plugin, &spec.version);
        state.specs.push(spec);
        Ok(Arc::new(Scripted { silo: self.0.clone(), plugin }))
    }
}

struct Scripted {
    silo: Arc<Silo>,
    plugin: InstalledPlugin,
}

fn called<T>(value: T) -> Result<Called<T>, ConnectorError> {
    Ok(Called { value, state: StateChanges::new() })
}

impl Scripted {
    fn carry_out(&self, entity: &str, op: &Op) -> Result<(Written, Item), ConnectorError> {
        let mut state = self.silo.state();
        let by_our_key = |state: &State| {
            let found = state.records.iter().find(|((of, _), (_, fields))| of == entity && fields.get("hub_id") == Some(&json!(op.id)));
            found.map(|((_, key), _)| key.clone())
        };
        let key = match op.kind {
            OpKind::Update | OpKind::Delete => op.key.clone().unwrap(),
            OpKind::Upsert => by_our_key(&state).unwrap_or_default(),
            _ => String::new(),
        };
        let key = if key.is_empty() {
            state.next += 1;
            format!("k{}", state.next)
        } else {
            key
        };
        let place = (entity.to_owned(), key.clone());
        if op.kind == OpKind::Delete {
            let news = Item { kind: ItemKind::Deleted, ..item(entity, &key, &Default::default()) };
            state.records.remove(&place);
            return Ok((Written { key, version: None, record: None }, news));
        }
        if op.kind == OpKind::Update && !state.records.contains_key(&place) {
            return Err(ConnectorError::new(ErrorClass::Gone, "no such record"));
        }
        let rewrite = state.rewrite.clone();
        let record = state.records.entry(place).or_default();
        if let Some(expected) = &op.expect_version
            && *expected != record.0.to_string()
        {
            return Err(ConnectorError::new(ErrorClass::Conflict, "it has changed"));
        }
        record.0 += 1;
        for (name, value) in op.data.as_object().unwrap() {
            record.1.insert(name.clone(), rewrite.get(name).unwrap_or(value).clone());
        }
        op.clear.iter().for_each(|name| drop(record.1.insert(name.clone(), Value::Null)));
        let item = item(entity, &key, record);
        Ok((Written { key, version: item.version.clone(), record: Some(item.data.clone()) }, item))
    }

    async fn one(&self, entity: &str, op: Op) -> Result<Result<Written, ConnectorError>, ConnectorError> {
        let (fault, poison, on_write) = {
            let mut state = self.silo.state();
            state.ops.push((entity.to_owned(), op.clone()));
            (state.faults.pop_front(), state.poison.get(&op.id).cloned(), state.on_write.clone())
        };
        if let Some(error) = poison {
            return Ok(Err(error));
        }
        match &fault {
            Some(Fault::Op(error)) => return Ok(Err(error.clone())),
            Some(Fault::Call(error)) => return Err(error.clone()),
            _ => {}
        }
        let (written, item) = match self.carry_out(entity, &op) {
            Ok(done) => done,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(on_write) = on_write {
            on_write(item).await;
        }
        match fault {
            Some(Fault::OpAfter(error)) => Ok(Err(error)),
            Some(Fault::Hang) => std::future::pending().await,
            _ => Ok(Ok(written)),
        }
    }
}

impl Connector for Scripted {
    fn plugin(&self) -> &InstalledPlugin {
        &self.plugin
    }
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, ConnectorError>> {
        Box::pin(async {
            let account_id = self.silo.state().account.clone().unwrap_or_else(|| "account".to_owned());
            Ok(CheckReport { account_id, account_name: "Test".to_owned(), missing_scopes: vec![], warnings: vec![], entities: vec![] })
        })
    }
    fn options<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async { Ok(json!([])) })
    }
    fn read<'a>(&'a self, entity: &'a str, cursor: Option<&'a Value>, _: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>> {
        Box::pin(async move {
            let mut state = self.silo.state();
            state.reads.push((entity.to_owned(), cursor.cloned()));
            match state.pages.get_mut(entity).and_then(VecDeque::pop_front) {
                Some(page) => called(page?),
                None => called(Page { items: vec![], next: None, checkpoint: cursor.cloned().unwrap_or(json!("start")), details: None }),
            }
        })
    }
    fn get<'a>(&'a self, entity: &'a str, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Found>, ConnectorError>> {
        Box::pin(async move {
            let state = self.silo.state();
            let find = |key: &String| match (state.moved.get(key), state.records.get(&(entity.to_owned(), key.clone()))) {
                (Some(into), _) => Found::MovedTo(into.clone()),
                (None, Some(record)) => Found::Record(item(entity, key, record)),
                (None, None) => Found::Gone,
            };
            Ok(keys.iter().map(find).collect())
        })
    }
    fn write<'a>(&'a self, entity: &'a str, ops: Vec<Op>) -> BoxFuture<'a, Result<Called<Vec<Outcome>>, ConnectorError>> {
        Box::pin(async move {
            self.silo.state().calls += 1;
            let mut outcomes = Vec::new();
            for op in ops {
                outcomes.push(Outcome { op_id: op.id.clone(), result: self.one(entity, op).await? });
            }
            called(outcomes)
        })
    }
    fn webhook(&self, request: HttpRequest) -> BoxFuture<'_, Result<Called<(HttpResponse, Vec<Item>)>, ConnectorError>> {
        Box::pin(async move {
            let items = serde_json::from_slice(&request.body.unwrap_or_default())
                .map_err(|error| ConnectorError::new(ErrorClass::InvalidRecord, error.to_string()))?;
            called((HttpResponse { status: 204, headers: vec![], body: vec![] }, items))
        })
    }
    fn webhook_ensure<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        Box::pin(async move {
            let mut state = self.silo.state();
            state.ensured.push(url.to_owned());
            match state.hook_faults.pop_front() {
                Some(error) => Err(error),
                None => Ok(Called { value: json!({"id": "wh1"}), state: vec![("registration".to_owned(), Some(json!(url)))] }),
            }
        })
    }
    fn webhook_list(&self) -> BoxFuture<'_, Result<Value, ConnectorError>> {
        Box::pin(async { Ok(json!(self.silo.state().ensured)) })
    }
    fn webhook_remove(&self) -> BoxFuture<'_, Result<Called<()>, ConnectorError>> {
        Box::pin(async {
            let mut state = self.silo.state();
            state.removed += 1;
            match state.hook_faults.pop_front() {
                Some(error) => Err(error),
                None => Ok(Called { value: (), state: vec![("registration".to_owned(), None)] }),
            }
        })
    }
    fn listen(&self, checkpoint: Option<Value>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move {
            let ends = {
                let mut state = self.silo.state();
                state.listened.push(checkpoint);
                state.listens.pop_front()
            };
            match ends {
                Some(error) => Err(error),
                None => std::future::pending().await,
            }
        })
    }
    fn send<'a>(&'a self, message: &'a OutboundMessage, key: &'a str) -> BoxFuture<'a, Result<Called<Written>, ConnectorError>> {
        Box::pin(async move {
            let fault = {
                let mut state = self.silo.state();
                let fault = state.faults.pop_front();
                if !matches!(fault, Some(Fault::Op(_) | Fault::Call(_))) {
                    state.sent.push((message.clone(), key.to_owned()));
                }
                fault
            };
            match fault {
                Some(Fault::Op(error) | Fault::Call(error) | Fault::OpAfter(error)) => Err(error),
                Some(Fault::Hang) => std::future::pending().await,
                None => called(Written { key: format!("sent-{key}"), version: None, record: None }),
            }
        })
    }
    fn act<'a>(&'a self, action: &'a str, input: &'a Value, key: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        Box::pin(async move {
            let (fault, refused) = {
                let mut state = self.silo.state();
                // Calls of our handoffs meet the faults of what is sent; notes have errors of their own.
                let fault = if action == "originate" { state.faults.pop_front() } else { None };
                if !matches!(fault, Some(Fault::Op(_) | Fault::Call(_))) {
                    state.acts.push((action.to_owned(), input.clone(), key.to_owned()));
                }
                (fault, state.act_errors.pop_front())
            };
            match fault {
                Some(Fault::Op(error) | Fault::Call(error) | Fault::OpAfter(error)) => Err(error),
                Some(Fault::Hang) => std::future::pending().await,
                None if refused.is_some() => Err(refused.unwrap()),
                None => called(input.clone()),
            }
        })
    }
    fn migrate<'a>(&'a self, what: &'a str, from: &'a str, value: &'a Value) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async move {
            let mut state = self.silo.state();
            state.migrated.push((what.to_owned(), from.to_owned(), value.clone()));
            state.migrations.get(what).cloned().unwrap_or_else(|| Ok(value.clone()))
        })
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
