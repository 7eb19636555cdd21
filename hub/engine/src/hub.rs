//! The handle to everything, and its life: open, run, shut down.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use throughline_domain::connector::{Connector, PluginHost};
use throughline_domain::continuity::ContinuityPolicies;
use throughline_domain::outbound::Poster;
use throughline_domain::sync::Protections;
use throughline_domain::sync::retry::RetryPolicy;
use throughline_schemas::{ApiKeyId, ConnectionId, Timestamp};
use throughline_store::Store;
use throughline_store::blobs::Blobs;

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::lanes::Lanes;
use crate::metrics::Counters;
use crate::sealed::MasterKey;
use crate::signal::Signal;
use crate::supervisor::Running;

/// How the hub is to run.
#[derive(Clone)]
pub struct HubOptions {
    /// The key that seals secrets and signs tokens.
    pub master_key: MasterKey,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// How failed deliveries are tried again.
    pub retry: RetryPolicy,
    /// Which protective rules of synchronisation are in force: all of them, but in a simulation that shows what each is for.
    pub protections: Protections,
    /// How long connections may take to stop.
    pub stop_within: Duration,
    /// Sends to webhooks; without it there are none.
    pub poster: Option<Arc<dyn Poster>>,
    /// Where the hub is reached from outside: silos are told to post there, and it is the `source` of its events.
    pub public_url: Option<String>,
    /// Whether long computations stay on the caller's thread: for simulations, where another thread would make two runs differ.
    pub single_thread: bool,
    /// How fast approved plans are carried out.
    pub plan_steps_per_second: u32,
}

impl HubOptions {
    /// The defaults, with this key.
    #[must_use]
    pub fn new(master_key: [u8; 32]) -> Self {
        Self {
            master_key: MasterKey::new(master_key),
            clock: Arc::new(SystemClock),
            retry: RetryPolicy::default(),
            protections: Protections::default(),
            stop_within: Duration::from_secs(10),
            poster: None,
            public_url: None,
            single_thread: false,
            plan_steps_per_second: 50,
        }
    }
}

/// A value with its version, which becomes its ETag.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// Its version.
    pub version: u64,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paging {
    /// As an earlier page's `next` said.
    pub cursor: Option<String>,
    /// How many; at most 200.
    pub limit: usize,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct PageOf<T> {
    /// The things.
    pub items: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// The hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) plugins: Arc<dyn PluginHost>,
    pub(crate) options: HubOptions,
    pub(crate) lanes: Lanes,
    /// Starting, stopping, changing a connection: one at a time for each.
    pub(crate) lifecycles: Lanes,
    /// Held by those who lost too often against others who decide about the same person.
    pub(crate) contended: tokio::sync::Mutex<()>,
    pub(crate) counters: Counters,
    /// What is known of each connection without asking the store: read on every accepted item.
    pub(crate) contexts: RwLock<HashMap<ConnectionId, Arc<crate::ingest::ConnectionContext>>>,
    /// Connections that are running; a tokio mutex because starting and stopping awaits.
    pub(crate) running: tokio::sync::Mutex<BTreeMap<ConnectionId, Running>>,
    /// How to tell a running dispatcher that somebody left a delivery.
    pub(crate) wakes: RwLock<HashMap<ConnectionId, Arc<tokio::sync::Notify>>>,
    /// How each running connection is.
    pub(crate) healths: RwLock<HashMap<ConnectionId, Arc<crate::supervisor::Health>>>,
    /// Connectors that are open, for calls from the API.
    pub(crate) open: RwLock<HashMap<ConnectionId, Arc<dyn Connector>>>,
    /// Idempotent requests being carried out.
    pub(crate) in_flight: Mutex<std::collections::HashSet<(String, String)>>,
    /// When each API key was last used.
    pub(crate) key_uses: Mutex<HashMap<ApiKeyId, Timestamp>>,
    /// OAuth consents that were used, until they expire.
    pub(crate) oauth_used: Mutex<HashMap<[u8; 16], Timestamp>>,
    /// How enquiries are found, as it is set now.
    pub(crate) continuity: RwLock<Arc<ContinuityPolicies>>,
    /// All profiles as likeness compares them.
    pub(crate) likeness: crate::likeness::Likeness,
    pub(crate) stopping: Signal<bool>,
    /// How to tell the task of a webhook that there is something for it; held for a look only.
    pub(crate) webhook_wakes: Mutex<crate::webhooks::Wakes>,
    pub(crate) flows: crate::flow::FlowState,
    /// How far the clock of each connection's silo is off: learned anew by every run, held for a look only.
    pub(crate) skews: Mutex<HashMap<ConnectionId, throughline_domain::sync::skew::Skew>>,
    /// How to wake whoever carries plans out.
    pub(crate) plans: crate::plans::PlanSignal,
    /// Tasks that end by themselves when the hub stops.
    pub(crate) background: Mutex<tokio::task::JoinSet<()>>,
    /// How to wake what happens by time alone.
    pub(crate) watchdog: crate::handoff::Watchdog,
}

impl Hub {
    /// Opens the hub on a store. Connections are started by [`Hub::start`].
    pub fn open(options: HubOptions, store: Store, blobs: Blobs, plugins: Arc<dyn PluginHost>) -> Result<Self> {
        let continuity = RwLock::new(Arc::new(crate::commands::stored_policies(&store)?));
        let inner = Inner {
            store,
            continuity,
            blobs,
            plugins,
            options,
            lanes: Lanes::new(),
            lifecycles: Lanes::new(),
            contended: tokio::sync::Mutex::default(),
            counters: Counters::default(),
            contexts: RwLock::default(),
            running: tokio::sync::Mutex::default(),
            wakes: RwLock::default(),
            healths: RwLock::default(),
            open: RwLock::default(),
            in_flight: Mutex::default(),
            key_uses: Mutex::default(),
            oauth_used: Mutex::default(),
            likeness: crate::likeness::Likeness::default(),
            stopping: Signal::default(),
            webhook_wakes: Mutex::default(),
            flows: crate::flow::FlowState::default(),
            plans: crate::plans::PlanSignal::default(),
            skews: Mutex::default(),
            background: Mutex::default(),
            watchdog: crate::handoff::Watchdog::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts the watchdog and every connection that is not paused. A connection that cannot be opened does not hold up the others.
    pub async fn start(&self) -> Result<()> {
        self.spawn_background(self.clone().keep_comparing());
        self.start_watchdog();
        self.drop_broken_plans().await?;
        self.spawn_background(self.clone().keep_plans());
        for (id, record) in self.all_connections()? {
            if record.paused {
                continue;
            }
            let _lifecycle = self.lifecycle(id).await;
            if let Err(error) = self.start_connection(id).await {
                tracing::error!(connection = %id, %error, "connection could not be started");
            }
        }
        self.start_webhooks()?;
        self.start_flows().await
    }

    /// Runs a task that ends by itself when the hub stops.
    pub(crate) fn spawn_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.inner.stopping.get() {
            return;
        }
        let mut background = self.inner.background.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Those that have ended need not be remembered.
        while background.try_join_next().is_some() {}
        background.spawn(task);
    }

    /// Stops connections in good order, then the store: what was accepted is durable, what was not is left to the silos.
    pub async fn shut_down(&self) -> Result<()> {
        self.inner.stopping.set(true);
        let running = std::mem::take(&mut *self.inner.running.lock().await);
        let stops: Vec<_> = running.into_values().map(|running| tokio::spawn(running.stop(self.inner.options.stop_within))).collect();
        for stop in stops {
            if let Err(error) = stop.await {
                tracing::error!(%error, "a connection did not stop cleanly");
            }
        }
        let mut background = std::mem::take(&mut *self.inner.background.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let ended = tokio::time::timeout(self.inner.options.stop_within, async { while background.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("some work in the background did not end in time and is aborted");
        }
        self.inner.open.write().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        self.comparing_has_ended().await;
        let store = self.inner.store.clone();
        self.apart(move || Ok(store.close()?)).await
    }

    /// Does what takes long without holding up what runs beside it.
    pub(crate) async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        if self.inner.options.single_thread {
            return work();
        }
        tokio::task::spawn_blocking(work).await.map_err(|error| crate::HubError::Internal(error.to_string()))?
    }

    /// Resolves when the hub is being shut down: streams that would last for ever end then.
    pub async fn stopping(&self) {
        self.inner.stopping.listen().until(|stop| *stop).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.options.clock.now()
    }
}
