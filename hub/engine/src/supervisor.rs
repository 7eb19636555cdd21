//! Keeps connections alive: opens connectors, runs their listener, polls their entities, dispatches to them, backs off, stops.

mod health;
mod hook;
mod poll;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use throughline_domain::connector::{ConnectionSpec, Connector, InstalledPlugin, Secret};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_store::tables::{ConnectionRecord, Connections, Cursors, Secrets, leading_id, read, scan_rows, trailing_name};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) use health::Health;
pub(crate) use hook::Hook;

use crate::error::Result;
use crate::hub::Hub;
use crate::lanes::LaneGuard;
use crate::metrics::Counter;
use crate::services::{ConnectionServices, to_connector_error};
use crate::signal::{Listener, Signal};
use crate::{HubError, dispatch};

/// The name under which a listener's checkpoint is kept among the cursors.
pub(crate) const LISTEN_CURSOR: &str = "listen";
/// A listener that has run for so long without an error is taken to work.
const SETTLED: Duration = Duration::from_millis(500);

/// The first wait of [`Patience`].
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// A running connection.
pub(crate) struct Running {
    pub(crate) health: Arc<Health>,
    pub(crate) hook: Arc<Hook>,
    /// Wakes the pollers: an admin asked for a sync.
    pub(crate) poll_now: Signal<()>,
    connector: Arc<dyn Connector>,
    stop: Signal<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    pub(crate) fn connector(&self) -> Arc<dyn Connector> {
        Arc::clone(&self.connector)
    }

    /// Stops everything: what waits ends at once, a write or a message under way gets half of the time to end well, then the
    /// connector ends it.
    pub(crate) async fn stop(mut self, within: Duration) {
        self.stop.set(true);
        let gently = tokio::time::timeout(within / 2, async { while self.tasks.join_next().await.is_some() {} }).await;
        if tokio::time::timeout(within / 4, self.connector.stop()).await.is_err() {
            tracing::warn!("a connector did not stop in time");
        }
        if gently.is_ok() {
            return;
        }
        let drained = tokio::time::timeout(within / 4, async { while self.tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("a connection's tasks did not end in time and are aborted");
            self.tasks.shutdown().await;
        }
    }
}

/// How long a loop that fails waits at the least, whatever else works.
#[derive(Debug, Default)]
pub(crate) struct Patience(u32);

impl Patience {
    /// Doubles with every failure in a row: one second, two, four, …
    fn next(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        LEAST_WAIT.saturating_mul(1 << self.0.saturating_sub(1).min(12))
    }
    /// It works again.
    pub(crate) fn renew(&mut self) {
        self.0 = 0;
    }
}

/// What the tasks of one connection share.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) hub: Hub,
    pub(crate) id: ConnectionId,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) health: Arc<Health>,
    hook: Arc<Hook>,
    /// Somebody left a delivery for this connection.
    pub(crate) wake: Arc<Notify>,
    pub(crate) poll_now: Listener<()>,
    /// When each entity was last read to its end.
    pub(crate) walks: Arc<dispatch::Walks>,
    /// How many entities of persons have not been walked once since the start.
    pub(crate) persons_to_walk: Signal<usize>,
    stop: Listener<bool>,
}

impl Task {
    /// Runs `work` unless the connection is stopped first.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.until(|stop| *stop) => None,
            done = work => Some(done),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get()
    }

    /// Waits until the next attempt may be made; false if the connection is stopped first. A sign that the silo is back cuts the wait
    /// short, less and less so as such signs prove wrong.
    pub(crate) async fn back_off(&self, error: &ConnectorError, patience: &mut Patience) -> bool {
        let mut back = self.health.back();
        let now = self.hub.now();
        let next = self.health.failed(error.clone(), now);
        let wait = Duration::from_millis(u64::try_from(next.since(now)).unwrap_or(0));
        let at_least = patience.next().min(wait);
        let mut poll_now = self.poll_now.clone();
        poll_now.skip();
        let waited = async {
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                // Somebody wants it now.
                () = poll_now.changed() => {}
                () = async { tokio::time::sleep(at_least).await; back.changed().await } => {}
            }
        };
        self.unless_stopped(waited).await.is_some()
    }
}

impl Hub {
    pub(crate) fn all_connections(&self) -> Result<Vec<(ConnectionId, ConnectionRecord)>> {
        let page = scan_rows::<Connections>(&self.inner.store, &[], None, usize::MAX)?;
        Ok(page.rows.into_iter().filter_map(|(key, row)| Some((ConnectionId::from_bytes(leading_id(&key)?), row.value))).collect())
    }

    /// Opens a connection's connector, whether it is to run or only to be checked.
    pub(crate) fn open_connector(&self, id: ConnectionId, record: &ConnectionRecord) -> Result<Arc<dyn Connector>> {
        self.open_with(id, record, self.secrets(id)?)
    }

    /// Opens a connector with secrets that need not be stored yet.
    pub(crate) fn open_with(
        &self,
        id: ConnectionId,
        record: &ConnectionRecord,
        secrets: BTreeMap<String, Secret>,
    ) -> Result<Arc<dyn Connector>> {
        let spec = ConnectionSpec {
            id,
            plugin: record.plugin.clone(),
            version: record.plugin_version.clone(),
            config: record.config.clone(),
            secrets,
            grants: record.grants.clone(),
        };
        Ok(self.inner.plugins.open(spec, ConnectionServices::new(self, id))?)
    }

    pub(crate) fn secrets(&self, id: ConnectionId) -> Result<BTreeMap<String, Secret>> {
        let page = scan_rows::<Secrets>(&self.inner.store, id.as_bytes(), None, usize::MAX)?;
        let mut secrets = BTreeMap::new();
        for (key, row) in page.rows {
            let name = trailing_name(&key).unwrap_or_default();
            let opened = self.inner.options.master_key.open(&format!("{id}/{name}"), &row.value.sealed);
            let opened = opened.ok_or_else(|| {
                HubError::Internal(format!("secret {name:?} of {id} cannot be opened: the hub's key is not the one it was sealed with"))
            })?;
            secrets.insert(name, Secret::new(opened));
        }
        Ok(secrets)
    }

    /// One thing at a time is done to a connection's life: a new run must not begin while the last one is still ending.
    pub(crate) async fn lifecycle(&self, id: ConnectionId) -> LaneGuard {
        self.inner.lifecycles.enter([id.to_string()]).await
    }

    /// The health of a connection that runs.
    pub(crate) fn health_of(&self, id: ConnectionId) -> Option<Arc<Health>> {
        self.inner.healths.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).cloned()
    }

    /// Tells a connection's dispatcher, if it runs, that there is something for it.
    pub(crate) fn wake_dispatcher(&self, id: ConnectionId) {
        if let Some(wake) = self.inner.wakes.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id) {
            wake.notify_one();
        }
    }

    /// Starts a connection's tasks. Starting a running one is no change. The caller holds its lifecycle.
    pub(crate) async fn start_connection(&self, id: ConnectionId) -> Result<()> {
        let mut running = self.inner.running.lock().await;
        if running.contains_key(&id) || self.inner.stopping.get() {
            return Ok(());
        }
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        let connector = self.open_connector(id, &row.value)?;
        self.forget_context(id);
        let context = self.connection_context(id)?;
        let stop = Signal::<bool>::default();
        let poll_now = Signal::<()>::default();
        let task = Task {
            hub: self.clone(),
            id,
            connector: Arc::clone(&connector),
            health: Arc::new(Health::default()),
            hook: Arc::new(Hook::default()),
            wake: Arc::new(Notify::new()),
            poll_now: poll_now.listen(),
            walks: Arc::new(dispatch::Walks::of(walked_entities(connector.plugin(), &context).map(|(name, _)| name.clone()))),
            persons_to_walk: Signal::default(),
            stop: stop.listen(),
        };
        let tasks = spawn_tasks(&task, &context);
        self.inner.wakes.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, Arc::clone(&task.wake));
        self.inner.healths.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, Arc::clone(&task.health));
        self.inner.open.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, Arc::clone(&connector));
        running.insert(id, Running { health: task.health, hook: task.hook, poll_now, connector, stop, tasks });
        tracing::info!(connection = %id, plugin = %row.value.plugin, "connection started");
        Ok(())
    }

    /// Stops a running connection and starts it again, from one of its own tasks.
    fn start_anew(&self, id: ConnectionId) {
        let hub = self.clone();
        // Detached on purpose: it ends the very task that asks for it.
        tokio::spawn(async move {
            let _lifecycle = hub.lifecycle(id).await;
            if !hub.inner.running.lock().await.contains_key(&id) {
                return;
            }
            hub.stop_connection(id).await;
            if let Err(error) = hub.start_connection(id).await {
                tracing::error!(connection = %id, %error, "the connection could not be started again");
            }
        });
    }

    /// Stops a connection's tasks, if it runs. The caller holds its lifecycle.
    pub(crate) async fn stop_connection(&self, id: ConnectionId) {
        let running = self.inner.running.lock().await.remove(&id);
        self.inner.open.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
        self.inner.wakes.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
        self.inner.healths.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
        if let Some(running) = running {
            running.stop(self.inner.options.stop_within).await;
            tracing::info!(connection = %id, "connection stopped");
        }
        self.forget_context(id);
    }
}

/// The entities that are read again and again.
fn walked_entities<'c>(
    plugin: &'c InstalledPlugin,
    context: &'c crate::ingest::ConnectionContext,
) -> impl Iterator<Item = (&'c String, &'c Entity)> {
    context.entities.iter().filter(|(name, entity)| {
        // What a listener brings need not be polled as well, unless somebody says so.
        let wanted = context.sync.contains_key(*name) || (entity.canonical == Canonical::Interaction && !plugin.exports("listener"));
        plugin.exports("source") && entity.readable && wanted
    })
}

fn spawn_tasks(task: &Task, context: &crate::ingest::ConnectionContext) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let plugin = task.connector.plugin();
    if plugin.exports("listener") {
        tasks.spawn(listen(task.clone()));
    }
    if plugin.exports("webhook") {
        tasks.spawn(hook::run(task.clone()));
    }
    let walked: Vec<_> = walked_entities(plugin, context).collect();
    task.persons_to_walk.set(walked.iter().filter(|(_, entity)| entity.canonical == Canonical::Profile).count());
    for (name, entity) in walked {
        let seconds = context.sync.get(name).map_or(60, |sync| sync.poll_seconds).max(1);
        tasks.spawn(poll::run(task.clone(), name.clone(), entity.canonical, Duration::from_secs(u64::from(seconds))));
    }
    if plugin.exports("source") && context.entities.is_empty() {
        tasks.spawn(learn(task.clone()));
    }
    if plugin.exports("sink") || plugin.exports("channel") {
        tasks.spawn(dispatch::run(task.clone()));
    }
    tasks
}

/// Asks for the entities of a config-driven connector until the silo answers, then has the connection started with them.
async fn learn(task: Task) {
    let mut patience = Patience::default();
    loop {
        let Some(checked) = task.unless_stopped(task.hub.check_connection(task.id)).await else { return };
        match checked {
            Ok(report) if report.entities.is_empty() => return task.health.worked(task.hub.now()),
            Ok(_) => return task.hub.start_anew(task.id),
            Err(error) => {
                tracing::warn!(connection = %task.id, %error, "the silo does not say what it holds; it will be asked again");
                if !task.back_off(&to_connector_error(&error), &mut patience).await {
                    return;
                }
            }
        }
    }
}

/// Runs a listener over and over.
async fn listen(task: Task) {
    let mut patience = Patience::default();
    loop {
        let checkpoint = match read::<Cursors>(&task.hub.inner.store, &(task.id, LISTEN_CURSOR.to_owned())) {
            Ok(row) => row.map(|row| row.value.cursor),
            Err(error) => {
                let error = ConnectorError::new(ErrorClass::Transient, error.to_string());
                if task.back_off(&error, &mut patience).await {
                    continue;
                }
                return;
            }
        };
        let health = Arc::clone(&task.health);
        let hub = task.hub.clone();
        let settle = async move {
            tokio::time::sleep(SETTLED).await;
            health.worked(hub.now());
            std::future::pending::<()>().await;
        };
        let run = async {
            tokio::select! {
                biased;
                ended = task.connector.listen(checkpoint) => ended,
                () = settle => unreachable!("it waits for ever"),
            }
        };
        let begun = tokio::time::Instant::now();
        let Some(ended) = task.unless_stopped(run).await else { return };
        let error = match ended {
            Ok(()) => ConnectorError::new(ErrorClass::Transient, "the silo ended the connection"),
            // Cancelled or not: nobody stopped the connection, so it goes on.
            Err(error) => error,
        };
        tracing::warn!(connection = %task.id, %error, "listener ended; it will be started again");
        task.hub.inner.counters.add(Counter::Restarts, task.id, 1);
        // One that ran well for a while has proven that the silo was there.
        if begun.elapsed() >= SETTLED {
            patience.renew();
        }
        if !task.back_off(&error, &mut patience).await {
            return;
        }
    }
}
