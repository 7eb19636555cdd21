//! Everything outside the hub: silos, the network between them and the hub, virtual time, what is still to happen, what has happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use throughline_engine::Clock;
use throughline_schemas::Timestamp;
use throughline_schemas::connector::Item;
use throughline_store::{MemoryDisk, Store};
use tokio::sync::Notify;

use crate::edits::Edits;
use crate::random::Random;
use crate::silo::Silo;
use crate::trace::Trace;

/// Virtual time 0, in milliseconds since the Unix epoch.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A person changes a field in a silo.
    Edit {
        /// Which silo.
        silo: usize,
        /// Which subject.
        subject: usize,
        /// Which field.
        field: &'static str,
    },
    /// A person changes a field in the hub.
    HubEdit {
        /// Which subject.
        subject: usize,
        /// Which field.
        field: &'static str,
    },
    /// A webhook arrives.
    Webhook {
        /// Of which silo.
        silo: usize,
        /// What it says.
        items: Vec<Item>,
        /// How often it was tried.
        tries: u32,
    },
    /// A silo's own rule looks at a record.
    Automation {
        /// Which silo.
        silo: usize,
        /// Which record.
        key: String,
    },
    /// The power of the hub fails.
    PowerCut,
    /// The power fails in the middle of the so-many-th commit from now on; the commit survives or it does not.
    CutAtCommit {
        /// Which.
        after: u64,
        /// Whether it survives.
        kept: bool,
    },
    /// The power fails when the so-many-th write from now on has taken effect, before its answer.
    CutAtWrite(u64),
    /// A person settles all open conflicts.
    Settle,
}

/// Why a silo does not answer as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Every call fails at once.
    Dead,
    /// Requests get lost: nothing happens and nothing is answered.
    Partition,
    /// Answers get lost: it happens and nothing is answered.
    Deaf,
}

/// A time in which a silo does not answer as it should.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// Which silo.
    pub(crate) silo: usize,
    /// From, in milliseconds.
    pub(crate) from: u64,
    /// To.
    pub(crate) to: u64,
    /// What is wrong.
    pub(crate) outage: Outage,
}

/// Writes, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Writes {
    /// Writes that took effect.
    pub(crate) all: u64,
    /// Those that brought something new.
    pub(crate) necessary: u64,
    /// Those after everything should have been quiet.
    pub(crate) late: u64,
}

/// What changes.
pub(crate) struct State {
    /// Drawn from by everything outside the hub.
    pub(crate) random: Random,
    /// The silos.
    pub(crate) silos: Vec<Silo>,
    /// What is going to happen, by time and order of planning.
    pub(crate) queue: BTreeMap<(u64, u64), Event>,
    planned: u64,
    /// What was changed, and what those who changed it had before them.
    pub(crate) edits: Edits,
    /// What happened.
    pub(crate) trace: Trace,
    /// Writes so far.
    pub(crate) writes: Writes,
    /// Times of trouble.
    pub(crate) windows: Vec<Window>,
    /// After this nothing fails any more.
    pub(crate) calm_at: u64,
    /// After this nothing is to be written any more.
    pub(crate) quiet_at: u64,
    /// The power fails after so many more writes.
    pub(crate) cut_after_writes: Option<u64>,
    /// The hub has no power: nobody hears its calls.
    pub(crate) dark: bool,
    store: Option<Store>,
    time: Arc<Time>,
}

/// Virtual time. Apart from all else, because the hub asks for it while the world is being looked at.
#[derive(Debug, Default)]
struct Time(Mutex<(u64, Option<tokio::time::Instant>)>);

impl Time {
    fn now(&self) -> u64 {
        let (at, running) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at + running.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(0))
    }

    fn set(&self, at: u64, running: Option<tokio::time::Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (at, running);
    }
}

/// The world, shared by the driver and the connectors.
pub(crate) struct World {
    state: Mutex<State>,
    time: Arc<Time>,
    /// The hub's disk.
    pub(crate) disk: MemoryDisk,
    /// Told when something was planned by others than the driver itself.
    pub(crate) planned: Notify,
    /// Told when the power fails.
    pub(crate) cut: Notify,
}

impl World {
    /// A world before anything happened.
    #[must_use]
    pub(crate) fn new(random: Random, silos: Vec<Silo>, windows: Vec<Window>, calm_at: u64, quiet_at: u64) -> Arc<Self> {
        let time = Arc::<Time>::default();
        let state = State {
            random,
            silos,
            queue: BTreeMap::new(),
            planned: 0,
            edits: Edits::default(),
            trace: Trace::default(),
            writes: Writes::default(),
            windows,
            calm_at,
            quiet_at,
            cut_after_writes: None,
            dark: false,
            store: None,
            time: Arc::clone(&time),
        };
        Arc::new(Self { state: Mutex::new(state), time, disk: MemoryDisk::default(), planned: Notify::new(), cut: Notify::new() })
    }

    /// What changes. Never held over an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life of the hub begins at this time, on this store.
    pub(crate) fn begin_life(&self, at: u64, store: Store) {
        let mut state = self.state();
        state.dark = false;
        self.time.set(at, Some(tokio::time::Instant::now()));
        state.store = Some(store);
    }

    /// The power fails: from now on nothing of this life reaches anything.
    pub(crate) fn end_life(&self) -> u64 {
        let mut state = self.state();
        let now = self.stop_time();
        state.dark = true;
        state.cut_after_writes = None;
        drop(state.store.take());
        drop(state);
        self.disk.crash();
        now
    }

    /// Now, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.time.now()
    }

    /// Time stands still from now on, at this time.
    pub(crate) fn stop_time(&self) -> u64 {
        let now = self.time.now();
        self.time.set(now, None);
        now
    }

    /// Whether the hub still has power; a store that failed in the middle of a commit has lost it at that moment.
    pub(crate) fn has_power(&self) -> bool {
        let state = self.state();
        !state.dark && state.store.as_ref().is_none_or(|store| store.failure().is_none())
    }

    /// A call of the hub's that nobody hears: it never comes back.
    pub(crate) async fn lost<T>(&self) -> T {
        self.cut.notify_one();
        std::future::pending().await
    }
}

impl State {
    /// Now, in milliseconds.
    #[must_use]
    pub(crate) fn now(&self) -> u64 {
        self.time.now()
    }

    /// Plans something.
    pub(crate) fn plan(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.queue.insert((at, self.planned), event);
    }

    /// Why a silo does not answer right now.
    #[must_use]
    pub(crate) fn outage(&self, silo: usize, now: u64) -> Option<Outage> {
        let mut windows = self.windows.iter();
        windows.find(|window| window.silo == silo && (window.from..window.to).contains(&now)).map(|window| window.outage)
    }

    /// Somebody changed fields of a record in a silo.
    pub(crate) fn changed_in_silo(&mut self, silo: usize, entity: &str, key: &str, now: u64) {
        let temper = self.silos[silo].temper.clone();
        if temper.automation.is_some() && entity == "contact" {
            let after = self.random.between(500, 20_000);
            self.plan(now + after, Event::Automation { silo, key: key.to_owned() });
        }
        if !temper.hooks {
            return;
        }
        let Some(item) = self.silos[silo].item(entity, key) else { return };
        let calm = now >= self.calm_at;
        let copies = match self.random.between(0, 100) {
            drawn if !calm && drawn < temper.hooks_lost => 0,
            drawn if !calm && drawn >= 100 - temper.hooks_doubled => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = self.random.between(1, if calm { 200 } else { temper.hooks_late_ms });
            self.plan(now + late, Event::Webhook { silo, items: vec![item.clone()], tries: 0 });
        }
    }

    /// Sets fields of a record, as a person or a rule of the silo does.
    pub(crate) fn put(&mut self, silo: usize, entity: &str, key: &str, fields: Map<String, Value>, now: u64) {
        self.silos[silo].put(entity, key, fields, now);
        self.changed_in_silo(silo, entity, key, now);
    }
}

/// The hub's clock.
pub(crate) struct SimulatedClock(pub(crate) Arc<World>);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(EPOCH_MS + self.0.now()).unwrap_or(i64::MAX))
    }
}
