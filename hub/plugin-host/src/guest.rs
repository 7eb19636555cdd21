//! What one instance carries in its Store: its connection, its resources, its limits and what it has used of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use throughline_domain::connector::StateChanges;
use throughline_schemas::connector::ConnectorError;
use tokio::sync::watch;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use crate::call::{bug, cancelled};
use crate::connection::Connection;
use crate::imports::log::LogBudget;

/// Handles of all kinds that one instance may hold at once.
const MOST_HANDLES: usize = 10_000;

/// The data of one Store.
pub(crate) struct Guest {
    pub(crate) connection: Arc<Connection>,
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryLimit,
    pub(crate) pending: PendingState,
    pub(crate) log: LogBudget,
    /// The last thing the guest logged as an error in this call: with a trap, most likely its panic.
    pub(crate) last_error: Option<String>,
    /// When the call will be ended.
    pub(crate) deadline: Option<Instant>,
    pub(crate) born: Instant,
    pub(crate) sockets: u32,
    cancel: watch::Receiver<bool>,
}

impl Guest {
    pub(crate) fn new(connection: Arc<Connection>, cancel: watch::Receiver<bool>) -> Self {
        let limits = &connection.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_HANDLES);
        Self {
            table,
            memory: MemoryLimit::new(limits.memory_bytes()),
            pending: PendingState::default(),
            log: LogBudget::new(limits.log_bytes_per_second),
            last_error: None,
            deadline: None,
            born: Instant::now(),
            sockets: 0,
            cancel,
            connection,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }

    /// Runs an import that waits; ends it with the class `cancelled` as soon as the hub wants the call to end.
    pub(crate) fn or_cancelled<T: Send, F>(&self, work: F) -> impl Future<Output = Result<T, ConnectorError>> + Send + use<T, F>
    where
        F: Future<Output = Result<T, ConnectorError>> + Send,
    {
        let mut cancel = self.cancel.clone();
        async move {
            tokio::select! {
                biased;
                // An error means that the connection itself is gone, which ends its calls as well.
                _ = cancel.wait_for(|cancelled| *cancelled) => Err(cancelled()),
                result = work => result,
            }
        }
    }

    /// Refuses one more socket than allowed. The caller counts it once it is open.
    pub(crate) fn check_sockets(&self) -> Result<(), ConnectorError> {
        let limit = self.connection.limits.sockets;
        if self.sockets < limit {
            return Ok(());
        }
        Err(bug(format!("all {limit} sockets are open: close one, or ask for more in the manifest's capabilities.limits.sockets")))
    }
}

/// Refuses memory beyond the limit and remembers that it did, so that the trap that follows can be reported as what it was.
pub(crate) struct MemoryLimit {
    limit: usize,
    used: usize,
    pub(crate) was_reached: bool,
}

/// Tables hold function references; an interpreter with its libraries has the most, some ten thousand.
const TABLE_LIMIT: usize = 65_536;

impl MemoryLimit {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0, was_reached: false }
    }

    /// What the instance has; it never becomes less.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The error for a trap after the limit was reached.
    pub(crate) fn error(&self) -> Option<ConnectorError> {
        self.was_reached.then(|| bug(format!("memory limit of {} MiB reached", self.limit / (1024 * 1024))))
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            self.was_reached = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_LIMIT)
    }

    fn memories(&self) -> usize {
        2
    }
}

/// What the running call has changed in the state: not yet committed, visible to the guest itself.
#[derive(Debug, Default)]
pub(crate) struct PendingState {
    changes: BTreeMap<String, Option<Value>>,
    sizes: BTreeMap<String, Option<usize>>,
}

impl PendingState {
    pub(crate) fn get(&self, key: &str) -> Option<&Option<Value>> {
        self.changes.get(key)
    }

    pub(crate) fn sizes_with(&self, key: &str, size: usize) -> BTreeMap<String, Option<usize>> {
        let mut sizes = self.sizes.clone();
        sizes.insert(key.to_owned(), Some(size));
        sizes
    }

    pub(crate) fn put(&mut self, key: String, value: Option<(Value, usize)>) {
        let (value, size) = value.unzip();
        self.sizes.insert(key.clone(), size);
        self.changes.insert(key, value);
    }

    /// The changes, to be committed; they stay pending until [`PendingState::committed`].
    pub(crate) fn changes(&self) -> StateChanges {
        self.changes.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The changes are the caller's to commit now.
    pub(crate) fn committed(&mut self, connection: &Connection) {
        for (key, size) in std::mem::take(&mut self.sizes) {
            connection.note_state_size(&key, size);
        }
        self.changes.clear();
    }

    pub(crate) fn discard(&mut self) {
        self.changes.clear();
        self.sizes.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
