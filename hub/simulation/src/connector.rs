//! The connector of a simulated silo: every call crosses the network, and anything may become of it there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::connector::{
    BoxFuture, Called, ConnectionSpec, Connector, HubServices, InstalledPlugin, PluginError, PluginHost, StateChanges,
};
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, Op, OutboundMessage, Outcome, Page, Written,
};

use crate::world::{Outage, World};

/// Records in one page.
const PAGE: usize = 3;
/// How long a request waits for an answer that does not come, in milliseconds.
const TIME_OUT_MS: u64 = 30_000;

/// What becomes of a call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// It fails before anything happens.
    Refused,
    /// The silo asks for patience.
    Throttled,
    /// It never arrives, and whoever sent it does not know that.
    NeverArrives,
    /// It takes effect, and the answer is lost.
    AnswerLost,
    /// It takes effect, and the answer says that it failed.
    Lies,
}

/// Opens connections with the silos: plugin `silo0` speaks with the first.
pub(crate) struct SimulatedHost {
    world: Arc<World>,
    plugins: BTreeMap<String, InstalledPlugin>,
}

impl SimulatedHost {
    /// A host for a world's silos.
    #[must_use]
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let plugins = world.state().silos.iter().map(|silo| (silo.name.clone(), silo.temper.plugin(&silo.name))).collect();
        Self { world: Arc::clone(world), plugins }
    }
}

impl PluginHost for SimulatedHost {
    fn install(&self, _: Vec<u8>) -> BoxFuture<'_, Result<InstalledPlugin, PluginError>> {
        Box::pin(async { Err(PluginError::Internal("nothing is installed in a simulation".to_owned())) })
    }
    fn installed(&self) -> Vec<InstalledPlugin> {
        self.plugins.values().cloned().collect()
    }
    fn remove(&self, name: &str, _: &str) -> Result<(), PluginError> {
        Err(PluginError::NotInstalled { name: name.to_owned(), version: None })
    }
    fn open(&self, spec: ConnectionSpec, _: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        let unknown = || PluginError::NotInstalled { name: spec.plugin.clone(), version: None };
        let plugin = self.plugins.get(&spec.plugin).cloned().ok_or_else(unknown)?;
        let silo = self.world.state().silos.iter().position(|silo| silo.name == spec.plugin).ok_or_else(unknown)?;
        Ok(Arc::new(Simulated { world: Arc::clone(&self.world), silo, plugin }))
    }
}

struct Simulated {
    world: Arc<World>,
    silo: usize,
    plugin: InstalledPlugin,
}

fn called<T>(value: T) -> Result<Called<T>, ConnectorError> {
    Ok(Called { value, state: StateChanges::new() })
}

fn lost_answer() -> ConnectorError {
    ConnectorError::new(ErrorClass::Ambiguous, "no answer came")
}

impl Simulated {
    async fn pass(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        if !self.world.has_power() {
            self.world.lost::<()>().await;
        }
    }

    /// Half of the way there and back, in milliseconds.
    fn half_way(&self) -> u64 {
        let mut state = self.world.state();
        let most = state.silos[self.silo].temper.latency_ms;
        let most = if state.now() >= state.calm_at { most.min(200) } else { most };
        state.random.between(1, most / 2 + 2)
    }

    fn fate(&self, writes: bool) -> Fate {
        let mut state = self.world.state();
        let now = state.now();
        match state.outage(self.silo, now) {
            Some(Outage::Dead) => return Fate::Refused,
            Some(Outage::Partition) => return Fate::NeverArrives,
            Some(Outage::Deaf) if writes => return Fate::AnswerLost,
            Some(Outage::Deaf) => return Fate::NeverArrives,
            None if now >= state.calm_at => return Fate::Good,
            None => {}
        }
        let temper = state.silos[self.silo].temper.clone();
        let mut drawn = state.random.between(0, 100);
        let fates = [(temper.refusals, Fate::Refused), (temper.refusals / 2, Fate::Throttled)];
        let of_writes = [(temper.answers_lost, Fate::AnswerLost), (temper.answers_lost / 2, Fate::NeverArrives), (temper.lies, Fate::Lies)];
        for (share, fate) in fates.into_iter().chain(of_writes.into_iter().filter(|_| writes)) {
            if drawn < share {
                return fate;
            }
            drawn -= share;
        }
        Fate::Good
    }

    /// The way there; an error if the call does not arrive.
    async fn arrive(&self, writes: bool) -> Result<Fate, ConnectorError> {
        if !self.world.has_power() {
            self.world.lost::<()>().await;
        }
        self.pass(self.half_way()).await;
        match self.fate(writes) {
            Fate::Refused => Err(ConnectorError::new(ErrorClass::Transient, "503")),
            Fate::Throttled => Err(ConnectorError::new(ErrorClass::RateLimited, "429").with_retry_after_ms(5_000)),
            Fate::NeverArrives => {
                self.pass(TIME_OUT_MS).await;
                let class = if writes { ErrorClass::Ambiguous } else { ErrorClass::Transient };
                Err(ConnectorError::new(class, "no answer came"))
            }
            fate => Ok(fate),
        }
    }

    fn carry_out(&self, entity: &str, op: &Op) -> Result<Written, ConnectorError> {
        let mut state = self.world.state();
        let now = state.now();
        let late = now >= state.quiet_at;
        let name = state.silos[self.silo].name.clone();
        let applied = match state.silos[self.silo].apply(entity, op, now) {
            Ok(applied) => applied,
            Err(error) => {
                state.trace.say(now, &name, format!("refuses {:?} {} {}: {error}", op.kind, op.key.as_deref().unwrap_or("-"), op.data));
                return Err(error);
            }
        };
        state.writes.all += 1;
        state.writes.necessary += u64::from(applied.necessary);
        state.writes.late += u64::from(late);
        let needless = if applied.necessary { "" } else { " (nothing new)" };
        let line = format!("the hub writes {:?} {entity} {} {} clear {:?}{needless}", op.kind, applied.written.key, op.data, op.clear);
        state.trace.say(now, &name, line);
        state.changed_in_silo(self.silo, entity, &applied.written.key, now);
        Ok(applied.written)
    }

    /// Whether the power is to fail now that a write has taken effect.
    fn cuts(&self) -> bool {
        let mut state = self.world.state();
        match state.cut_after_writes {
            Some(0) => {
                state.dark = true;
                true
            }
            Some(left) => {
                state.cut_after_writes = Some(left - 1);
                false
            }
            None => false,
        }
    }

    fn page(&self, entity: &str, cursor: Option<&Value>) -> Page {
        let state = self.world.state();
        let silo = &state.silos[self.silo];
        let lists = silo.temper.lists;
        let after = cursor.and_then(Value::as_u64).unwrap_or(0);
        let found = silo.after(entity, after);
        let more = found.len() > PAGE;
        let last = found.iter().take(PAGE).next_back().map_or(after, |(order, _)| *order);
        let items: Vec<Item> = found.into_iter().take(PAGE).map(|(_, item)| item).collect();
        let checkpoint = if lists && !more { json!(0) } else { json!(last) };
        let details = (lists && !more).then(|| {
            let keys: Vec<&String> = silo.records.keys().filter(|(of, _)| of == entity).map(|(_, key)| key).collect();
            json!({"complete_listing": true, "keys": keys})
        });
        Page { items, next: more.then(|| json!(last)), checkpoint, details }
    }
}

impl Connector for Simulated {
    fn plugin(&self) -> &InstalledPlugin {
        &self.plugin
    }
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, ConnectorError>> {
        let report = CheckReport {
            account_id: "account".to_owned(),
            account_name: self.plugin.manifest.name.clone(),
            missing_scopes: Vec::new(),
            warnings: Vec::new(),
            entities: Vec::new(),
        };
        Box::pin(async { Ok(report) })
    }
    fn options<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async { Ok(json!([])) })
    }
    fn read<'a>(&'a self, entity: &'a str, cursor: Option<&'a Value>, _: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>> {
        Box::pin(async move {
            self.arrive(false).await?;
            let page = self.page(entity, cursor);
            self.pass(self.half_way()).await;
            called(page)
        })
    }
    fn get<'a>(&'a self, entity: &'a str, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Found>, ConnectorError>> {
        Box::pin(async move {
            self.arrive(false).await?;
            let found = {
                let state = self.world.state();
                let look = |key: &String| state.silos[self.silo].item(entity, key).map_or(Found::Gone, Found::Record);
                keys.iter().map(look).collect()
            };
            self.pass(self.half_way()).await;
            Ok(found)
        })
    }
    fn write<'a>(&'a self, entity: &'a str, ops: Vec<Op>) -> BoxFuture<'a, Result<Called<Vec<Outcome>>, ConnectorError>> {
        Box::pin(async move {
            let fate = self.arrive(true).await?;
            let mut outcomes = Vec::with_capacity(ops.len());
            for op in ops {
                let result = self.carry_out(entity, &op);
                if result.is_ok() && self.cuts() {
                    self.world.lost::<()>().await;
                }
                let lied = fate == Fate::Lies && result.is_ok();
                let result = if lied { Err(ConnectorError::new(ErrorClass::Transient, "500")) } else { result };
                outcomes.push(Outcome { op_id: op.id, result });
            }
            if fate == Fate::AnswerLost {
                self.pass(TIME_OUT_MS).await;
                return Err(lost_answer());
            }
            self.pass(self.half_way()).await;
            called(outcomes)
        })
    }
    fn webhook(&self, request: HttpRequest) -> BoxFuture<'_, Result<Called<(HttpResponse, Vec<Item>)>, ConnectorError>> {
        Box::pin(async move {
            let items = serde_json::from_slice(&request.body.unwrap_or_default())
                .map_err(|error| ConnectorError::new(ErrorClass::InvalidRecord, error.to_string()))?;
            called((HttpResponse { status: 204, headers: Vec::new(), body: Vec::new() }, items))
        })
    }
    fn webhook_ensure<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        Box::pin(async { called(Value::Null) })
    }
    fn webhook_list(&self) -> BoxFuture<'_, Result<Value, ConnectorError>> {
        Box::pin(async { Ok(Value::Null) })
    }
    fn webhook_remove(&self) -> BoxFuture<'_, Result<Called<()>, ConnectorError>> {
        Box::pin(async { called(()) })
    }
    fn listen(&self, _: Option<Value>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(std::future::pending())
    }
    fn send<'a>(&'a self, _: &'a OutboundMessage, _: &'a str) -> BoxFuture<'a, Result<Called<Written>, ConnectorError>> {
        Box::pin(async { Err(ConnectorError::new(ErrorClass::Unsupported, "no messages in this simulation")) })
    }
    fn act<'a>(&'a self, _: &'a str, _: &'a Value, _: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        Box::pin(async { Err(ConnectorError::new(ErrorClass::Unsupported, "no actions in this simulation")) })
    }
    fn migrate<'a>(&'a self, _: &'a str, _: &'a str, value: &'a Value) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        Box::pin(async move { Ok(value.clone()) })
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
