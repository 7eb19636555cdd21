//! An engine in memory, for tests and for hubs that need not remember; and a pretended disk under it that loses what was not
//! synchronised and fails when told to.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{EngineError, EnginePage, KvEngine, WriteBatch};
use crate::port::{Key, KeyRange};

type Map = BTreeMap<Key, Vec<u8>>;

/// A planned failure. Calls are counted from 1, over the life of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This apply fails and changes nothing.
    ApplyLost(u64),
    /// This apply fails, yet its batch is there.
    ApplyKept(u64),
    /// This sync fails and nothing more has become durable.
    SyncLost(u64),
    /// This sync fails, yet everything has become durable.
    SyncKept(u64),
}

/// What survives a crash: shared by the engines that are opened on it, one after the other.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    durable: Map,
    pending: Vec<WriteBatch>,
    faults: Vec<Fault>,
    applies: u64,
    syncs: u64,
    /// Rises with every crash: engines of an earlier life reach nothing any more.
    life: u64,
}

impl MemoryDisk {
    /// An empty disk that will fail as told.
    #[must_use]
    pub fn with_faults(faults: &[Fault]) -> Self {
        let disk = Self::default();
        disk.lock().faults = faults.to_vec();
        disk
    }

    /// Cuts the power: what was not synchronised is gone, and engines open on it can do nothing more.
    pub fn crash(&self) {
        let mut disk = self.lock();
        disk.pending.clear();
        disk.life += 1;
    }

    /// Plans one more failure.
    pub fn plan(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// How often an engine has applied a batch.
    #[must_use]
    pub fn applies(&self) -> u64 {
        self.lock().applies
    }

    /// How often an engine has synchronised.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn fails(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Counts an apply; whether the batch arrives and whether the caller hears of it.
    fn apply(&mut self, batch: &WriteBatch) -> (bool, Result<(), EngineError>) {
        self.applies += 1;
        if self.fails(Fault::ApplyLost(self.applies)) {
            return (false, Err(EngineError::Io("planned failure of an apply".to_owned())));
        }
        self.pending.push(batch.clone());
        if self.fails(Fault::ApplyKept(self.applies)) {
            return (true, Err(EngineError::Io("planned failure after an apply".to_owned())));
        }
        (true, Ok(()))
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.syncs += 1;
        if self.fails(Fault::SyncLost(self.syncs)) {
            return Err(EngineError::Io("planned failure of a sync".to_owned()));
        }
        for batch in std::mem::take(&mut self.pending) {
            write(&mut self.durable, batch);
        }
        if self.fails(Fault::SyncKept(self.syncs)) {
            return Err(EngineError::Io("planned failure after a sync".to_owned()));
        }
        Ok(())
    }
}

/// Keys and values in memory.
#[derive(Debug)]
pub struct MemoryEngine {
    /// None once closed.
    live: RwLock<Option<Map>>,
    disk: Option<(MemoryDisk, u64)>,
    syncs: AtomicU64,
}

impl MemoryEngine {
    /// An empty engine that nothing survives.
    #[must_use]
    pub fn new() -> Self {
        Self { live: RwLock::new(Some(Map::new())), disk: None, syncs: AtomicU64::new(0) }
    }

    /// An engine with what a disk has kept.
    #[must_use]
    pub fn on(disk: &MemoryDisk) -> Self {
        let (map, life) = {
            let held = disk.lock();
            let mut map = held.durable.clone();
            // What the last engine wrote without a sync is still there after an orderly end, as it would be in a page cache.
            for batch in held.pending.clone() {
                write(&mut map, batch);
            }
            (map, held.life)
        };
        Self { live: RwLock::new(Some(map)), disk: Some((disk.clone(), life)), syncs: AtomicU64::new(0) }
    }

    fn read<T>(&self, task: impl FnOnce(&Map) -> T) -> Result<T, EngineError> {
        self.living_disk()?;
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().map(task).ok_or(EngineError::Closed)
    }

    /// The disk, unless the power was cut since this engine was opened.
    fn living_disk(&self) -> Result<Option<MutexGuard<'_, Disk>>, EngineError> {
        let Some((disk, life)) = &self.disk else { return Ok(None) };
        let disk = disk.lock();
        if disk.life == *life { Ok(Some(disk)) } else { Err(EngineError::Closed) }
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl KvEngine for MemoryEngine {
    fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.read(|map| keys.iter().map(|key| map.get(*key).cloned()).collect())
    }

    fn scan(&self, range: &KeyRange, reverse: bool, limit: usize) -> Result<EnginePage, EngineError> {
        if range.start >= range.end {
            return Ok(EnginePage::default());
        }
        self.read(|map| {
            let bounds = (Bound::Included(range.start.as_slice()), Bound::Excluded(range.end.as_slice()));
            let found = map.range::<[u8], _>(bounds);
            if reverse { page(found.rev(), limit) } else { page(found, limit) }
        })
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let (arrives, result) = match self.living_disk()? {
            Some(mut disk) => disk.apply(&batch),
            None => (true, Ok(())),
        };
        if arrives {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            write(live.as_mut().ok_or(EngineError::Closed)?, batch);
        }
        result
    }

    fn sync(&self) -> Result<(), EngineError> {
        if let Some(mut disk) = self.living_disk()? {
            disk.sync()?;
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, EngineError> {
        Ok(0)
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn close(&self) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn write(map: &mut Map, batch: WriteBatch) {
    for (key, value) in batch {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

fn page<'a>(mut found: impl Iterator<Item = (&'a Key, &'a Vec<u8>)>, limit: usize) -> EnginePage {
    let entries = found.by_ref().take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
    EnginePage { entries, more: found.next().is_some() }
}
