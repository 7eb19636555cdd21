//! A hub with a scripted silo, a clock that can be set forward, and news in short.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_domain::sync::retry::RetryPolicy;
use throughline_engine::{Accepted, Clock, Hub, HubOptions, IngestBatch, NewConnection, Paging, SystemClock};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_schemas::{ConnectionId, Enquiry, Interaction, Profile, ProfileId, Timestamp};
use throughline_store::blobs::Blobs;
use throughline_store::{MemoryDisk, Options, Store};

use crate::scripted::{ScriptedHost, Silo};

/// The machine's clock, set forward.
#[derive(Default)]
pub(crate) struct Ahead(AtomicI64);

impl Ahead {
    pub(crate) fn by(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) silo: Arc<Silo>,
    pub(crate) clock: Arc<Ahead>,
    dir: Arc<tempfile::TempDir>,
}

fn open(store: Store, silo: &Arc<Silo>, clock: &Arc<Ahead>, dir: &tempfile::TempDir) -> Hub {
    open_as(store, silo, clock, dir, |options| options)
}

fn open_as(
    store: Store,
    silo: &Arc<Silo>,
    clock: &Arc<Ahead>,
    dir: &tempfile::TempDir,
    change: impl FnOnce(HubOptions) -> HubOptions,
) -> Hub {
    let blobs = Blobs::open(&dir.path().join("files")).unwrap();
    let retry = RetryPolicy { base_ms: 5, cap_ms: 20, ..RetryPolicy::default() };
    let public_url = Some("https://hub.example/".to_owned());
    let options = HubOptions { clock: clock.clone(), retry, stop_within: Duration::from_secs(1), public_url, ..HubOptions::new([7; 32]) };
    Hub::open(change(options), store, blobs, Arc::new(ScriptedHost(silo.clone()))).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Store::in_memory(Options::new(|| 0)).unwrap())
    }
    pub(crate) fn on(store: Store) -> Self {
        let (silo, clock, dir) = (Arc::<Silo>::default(), Arc::<Ahead>::default(), Arc::new(tempfile::tempdir().unwrap()));
        Self { hub: open(store, &silo, &clock, &dir), silo, clock, dir }
    }
    /// With other options than usual.
    pub(crate) fn on_as(store: Store, change: impl FnOnce(HubOptions) -> HubOptions) -> Self {
        let (silo, clock, dir) = (Arc::<Silo>::default(), Arc::<Ahead>::default(), Arc::new(tempfile::tempdir().unwrap()));
        Self { hub: open_as(store, &silo, &clock, &dir, change), silo, clock, dir }
    }
    /// As [`Self::again`], with other options than usual.
    pub(crate) fn again_as(&self, store: Store, change: impl FnOnce(HubOptions) -> HubOptions) -> Self {
        let (silo, clock, dir) = (self.silo.clone(), self.clock.clone(), self.dir.clone());
        Self { hub: open_as(store, &silo, &clock, &dir, change), silo, clock, dir }
    }
    pub(crate) fn on_disk(disk: &MemoryDisk) -> Self {
        Self::on(Store::on_memory_disk(disk, Options::new(|| 0)).unwrap())
    }
    /// The same silo, met by a hub on another store: after a crash.
    pub(crate) fn again(&self, store: Store) -> Self {
        let (silo, clock, dir) = (self.silo.clone(), self.clock.clone(), self.dir.clone());
        Self { hub: open(store, &silo, &clock, &dir), silo, clock, dir }
    }
    pub(crate) async fn connect(&self, name: &str, more: Value) -> ConnectionId {
        let mut new = json!({"name": name, "plugin": "scripted", "region": "GB"});
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let new: NewConnection = serde_json::from_value(new).unwrap();
        self.hub.create_connection(new).await.unwrap().value.id
    }
    /// A connection whose contacts and cases go both ways and are created.
    pub(crate) async fn crm(&self) -> ConnectionId {
        self.crm_with(json!({})).await
    }
    pub(crate) async fn crm_with(&self, fields: Value) -> ConnectionId {
        let both = json!({"direction": "both", "create_remote": true, "poll_seconds": 3600, "fields": fields});
        self.connect("crm", json!({"sync": {"contact": both, "case": both}})).await
    }
    pub(crate) async fn take(&self, id: ConnectionId, items: Vec<Item>) -> Accepted {
        self.hub.ingest(id, IngestBatch { items, ..IngestBatch::default() }).await.unwrap()
    }
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        all(|paging| self.hub.profiles(None, paging).map(|page| (page.items.into_iter().map(|stored| stored.value).collect(), page.next)))
    }
    pub(crate) fn enquiries(&self) -> Vec<Enquiry> {
        let filter = Default::default();
        all(|paging| {
            self.hub.enquiries(filter, paging).map(|page| (page.items.into_iter().map(|stored| stored.value).collect(), page.next))
        })
    }
    pub(crate) fn timeline(&self, id: ProfileId) -> Vec<Interaction> {
        all(|paging| self.hub.timeline(id, paging).map(|page| (page.items, page.next)))
    }
    pub(crate) fn letters(&self) -> Vec<throughline_engine::DeadLetter> {
        all(|paging| self.hub.dead_letters(paging).map(|page| (page.items, page.next)))
    }
    /// The profile of a mail address or number.
    pub(crate) fn who(&self, identity: &str) -> Profile {
        let found = self.hub.profiles(Some(identity), Paging { cursor: None, limit: 10 }).unwrap().items;
        assert_eq!(found.len(), 1, "{identity}");
        found.into_iter().next().unwrap().value
    }
    pub(crate) async fn name(&self, id: ProfileId, field: &str, value: Value) {
        let version = self.hub.profile(id).unwrap().version;
        let patch = serde_json::from_value(json!({"fields": {field: value}})).unwrap();
        self.hub.update_profile(id, version, patch).await.unwrap();
    }
    /// Nothing waits and the dispatcher has seen everything.
    pub(crate) async fn quiet(&self, id: ConnectionId) {
        self.quiet_but(id, 0).await;
    }
    /// Nothing waits but so many deliveries that are not due.
    pub(crate) async fn quiet_but(&self, id: ConnectionId, waiting: u64) {
        for _ in 0..1000 {
            let health = self.hub.connection_health(id).await.unwrap();
            if health.deliveries_waiting == waiting && health.dispatch_lag == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never got quiet: {:?}", self.hub.connection_health(id).await);
    }
}

pub(crate) fn all<T>(page: impl Fn(Paging) -> throughline_engine::Result<(Vec<T>, Option<String>)>) -> Vec<T> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let (more, next) = page(Paging { cursor, limit: 200 }).unwrap();
        items.extend(more);
        match next {
            Some(next) => cursor = Some(next),
            None => return items,
        }
    }
}

/// Waits for something to become true.
#[track_caller]
pub(crate) fn until<F: FnMut() -> bool>(mut condition: F) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(15), "it never came true: {place}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn error(class: ErrorClass) -> ConnectorError {
    ConnectorError::new(class, "as scripted")
}

pub(crate) fn item(key: &str, version: Option<&str>, data: Value) -> Item {
    Item {
        kind: ItemKind::Interaction,
        entity: "message".to_owned(),
        key: key.to_owned(),
        version: version.map(str::to_owned),
        at_ms: None,
        data,
    }
}

/// A mail from a customer.
pub(crate) fn mail(key: &str, from: &str, subject: &str, now: Timestamp) -> Item {
    let data = json!({
        "channel": "email", "direction": "inbound", "endpoint": "shop@shop.test", "occurred_at": now,
        "participants": [{"role": "customer", "type": "email", "address": from, "sender": true}],
        "thread": {"message_id": format!("{key}@customer.test")},
        "content": {"kind": "message", "subject": subject, "text": "Hello"},
    });
    item(key, None, data)
}

/// A call from a customer; no number if it is withheld.
pub(crate) fn call(key: &str, version: &str, from: Option<&str>, phase: &str, ringing: &[&str], now: Timestamp) -> Item {
    let data = json!({
        "channel": "phone", "direction": "inbound", "endpoint": "+442079460000", "occurred_at": now, "conversation_key": key,
        "participants": [{"role": "customer", "type": "phone", "address": from, "sender": true}],
        "content": {"kind": "call", "phase": phase, "ringing": ringing},
    });
    item(key, Some(version), data)
}
