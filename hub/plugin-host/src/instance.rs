//! Running a component: one Store, owned by one task; what it ends with; when it is thrown away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_domain::connector::{Called, InstalledPlugin, PluginError};
use throughline_schemas::connector::ConnectorError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store, Trap, UpdateDeadline};

use crate::call::{Answer, Call, bug, cancelled};
use crate::connection::Connection;
use crate::guest::Guest;
use crate::imports::wasi;
use crate::keys::PublicKey;
use crate::manifest::Examined;
use crate::supervise::{Budget, Supervised};
use crate::wit::v0_1_0::{Exports, Indices};

/// A component ready to be instantiated.
pub(crate) struct Program {
    pub(crate) plugin: InstalledPlugin,
    /// Whose signature it bears.
    pub(crate) signer: Option<PublicKey>,
    engine: Engine,
    linked: InstancePre<Guest>,
    indices: Indices,
}

impl Program {
    pub(crate) fn new(
        engine: &Engine,
        linker: &Linker<Guest>,
        component: &Component,
        Examined { plugin, signer }: Examined,
    ) -> Result<Self, PluginError> {
        let mismatch = |error: wasmtime::Error| PluginError::Mismatch(format!("it does not fit throughline:connector: {error:#}"));
        let with_wasi = wasi::linker_for(linker, engine, component).map_err(mismatch)?;
        let linked = with_wasi.as_ref().unwrap_or(linker).instantiate_pre(component).map_err(mismatch)?;
        let indices = Indices::new(&linked, &plugin.exports).map_err(mismatch)?;
        Ok(Self { plugin, signer, engine: engine.clone(), linked, indices })
    }

    /// A fresh instance; waits while as many as allowed are alive.
    pub(crate) async fn start(
        &self,
        connection: Arc<Connection>,
        cancel: watch::Receiver<bool>,
        slots: &Arc<Semaphore>,
    ) -> Result<Live, ConnectorError> {
        let slot = slots.clone().acquire_owned().await.map_err(|_| bug("the plugin host is shutting down"))?;
        let limits = connection.limits.clone();
        let mut store = Store::new(&self.engine, Guest::new(connection, cancel));
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        let budget = Budget { wall: Some(limits.short_call), cpu: limits.call_cpu, window: None };
        let started = Supervised::new(self.instantiate(&mut store), budget).await;
        match started {
            Ok(Ok(exports)) => Ok(Live { store, exports, _slot: slot }),
            Ok(Err(error)) => Err(trapped(&store, "starting", &error)),
            Err(overrun) => Err(Call::Check.overrun(overrun)),
        }
    }

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        let instance = self.linked.instantiate_async(&mut *store).await?;
        self.indices.load(store, &instance)
    }
}

/// A running instance. Dropping it frees all it held: memory, sockets, files being written.
pub(crate) struct Live {
    pub(crate) store: Store<Guest>,
    pub(crate) exports: Exports,
    _slot: OwnedSemaphorePermit,
}

/// What a call ended with, and whether the instance can take another.
pub(crate) struct Ended {
    pub(crate) result: Result<Called<Answer>, ConnectorError>,
    pub(crate) alive: bool,
}

impl Live {
    /// Makes one call under its budget.
    pub(crate) async fn run(&mut self, call: &Call) -> Ended {
        let limits = &self.store.data().connection.limits;
        let budget = call.budget(limits);
        self.prepare(budget.wall);
        let mut supervised = Supervised::new(self.exports.invoke(&mut self.store, call), budget);
        let ended = (&mut supervised).await;
        let cpu = supervised.used();
        drop(supervised);
        let guest = self.store.data();
        guest.connection.usage.note(guest.memory.used(), cpu);
        match ended {
            Ok(Ok(Ok(answer))) => Ended { result: self.finished(call, answer).await, alive: true },
            Ok(Ok(Err(error))) => Ended { result: Err(error), alive: true },
            Ok(Err(trap)) => Ended { result: Err(trapped(&self.store, call.name(), &trap)), alive: false },
            Err(overrun) => Ended { result: Err(call.overrun(overrun)), alive: false },
        }
    }

    fn prepare(&mut self, wall: Option<Duration>) {
        let guest = self.store.data_mut();
        guest.pending.discard();
        guest.memory.was_reached = false;
        guest.last_error = None;
        guest.deadline = wall.map(|wall| Instant::now() + wall);
    }

    async fn finished(&mut self, call: &Call, answer: Answer) -> Result<Called<Answer>, ConnectorError> {
        let guest = self.store.data_mut();
        if guest.pending.is_empty() {
            return Ok(Called { value: answer, state: Vec::new() });
        }
        let connection = guest.connection.clone();
        let changes = guest.pending.changes();
        if call.keeps_state() {
            guest.pending.committed(&connection);
            return Ok(Called { value: answer, state: changes });
        }
        if matches!(call, Call::Listen { .. }) {
            connection.services.emit(Vec::new(), None, changes).await?;
            self.store.data_mut().pending.committed(&connection);
        } else {
            tracing::warn!(connection = connection.id, plugin = connection.plugin, "state set during {} is not kept", call.name());
        }
        Ok(Called { value: answer, state: Vec::new() })
    }
}

/// The error for an instance that died, and the log entry with its stack.
fn trapped(store: &Store<Guest>, what: &str, error: &wasmtime::Error) -> ConnectorError {
    let guest = store.data();
    let redactor = &guest.connection.redactor;
    let (connection, plugin) = (&guest.connection.id, &guest.connection.plugin);
    let stack = format!("{error:?}");
    tracing::error!(connection, plugin, call = what, stack = %redactor.log(&stack), "the plugin's instance died");
    if let Some(error) = guest.memory.error() {
        return error;
    }
    if matches!(error.downcast_ref::<wasi::Ended>(), Some(wasi::Ended::Cancelled)) {
        return cancelled();
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("{what} trapped: {trap}"),
        // wasmtime keeps this error's type to itself.
        None if error.root_cause().to_string().contains("hostcalls") => {
            format!("{what} handed over more than {} bytes at once", guest.connection.limits.output_bytes)
        }
        None => format!("{what} failed: {}", error.root_cause()),
    };
    let last_words = guest.last_error.as_ref().map(|words| format!("; last it logged: {words}")).unwrap_or_default();
    redactor.error(bug(format!("{reason}{last_words}")))
}
