//! Runs the hub through its lives: each is a runtime of its own, on one thread, in virtual time; a power cut ends it where it stands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use throughline_domain::sync::Protections;
use throughline_engine::{ConflictChoice, Hub, HubOptions, Paging, seed_this_thread};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{HttpRequest, Item};
use throughline_store::blobs::Blobs;
use throughline_store::port::StoreError;
use throughline_store::{Fault, Options, Store};

use crate::connector::SimulatedHost;
use crate::edits::Edit;
use crate::scenario::{END, Scenario, field_for, value_of};
use crate::silo::number_of;
use crate::world::{Event, SimulatedClock, World};

/// The power stays away for this long.
const DARK_MS: u64 = 7_000;
/// While the power may fail within a commit, it is looked at so often.
const WATCH: Duration = Duration::from_millis(250);
/// A silo sends a webhook so often before it gives up.
const TRIES: u32 = 3;

enum End {
    Cut,
    Over,
}

/// Runs a scenario to its end; gives the hub as it is then.
pub(crate) fn run(scenario: &Scenario, seed: u64, protections: Protections, files: &Path) -> (Hub, tokio::runtime::Runtime) {
    let world = &scenario.world;
    seed_this_thread(seed, Arc::new(SimulatedClock(Arc::clone(world))));
    let mut at = 0;
    let mut connections = Vec::new();
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO needs nothing of the system");
        let (hub, end) = runtime.block_on(async {
            let hub = open(world, at, protections, files);
            let mut life = Life { scenario, world: Arc::clone(world), hub: hub.clone(), connections: std::mem::take(&mut connections) };
            let end = life.live().await;
            connections = life.connections;
            world.stop_time();
            (hub, end)
        });
        if matches!(end, End::Over) {
            return (hub, runtime);
        }
        at = world.end_life() + DARK_MS;
        drop(runtime);
        drop(hub);
        world.state().trace.say(at, "hub", "has power again");
    }
}

fn open(world: &Arc<World>, at: u64, protections: Protections, files: &Path) -> Hub {
    // The power may fail again while the store is being opened.
    let store = loop {
        match Store::inline_on_memory_disk(&world.disk, Options::new(|| 0)) {
            Ok(store) => break store,
            Err(StoreError::Io(_)) => world.disk.crash(),
            Err(error) => panic!("what survived cannot be opened: {error}"),
        }
    };
    world.begin_life(at, store.clone());
    let clock = Arc::new(SimulatedClock(Arc::clone(world)));
    let options = HubOptions { clock, protections, single_thread: true, ..HubOptions::new([7; 32]) };
    let blobs = Blobs::open(files).expect("the folder is there");
    Hub::open(options, store, blobs, Arc::new(SimulatedHost::new(world))).expect("a hub opens on an open store")
}

struct Life<'a> {
    scenario: &'a Scenario,
    world: Arc<World>,
    hub: Hub,
    /// By silo, once they were made.
    connections: Vec<ConnectionId>,
}

impl Life<'_> {
    async fn live(&mut self) -> End {
        if self.hub.start().await.is_err() {
            return End::Cut;
        }
        if self.connect().await.is_err() {
            return End::Cut;
        }
        loop {
            if !self.world.has_power() {
                return End::Cut;
            }
            let (now, next) = {
                let state = self.world.state();
                (state.now(), state.queue.first_key_value().map_or(END, |((at, _), _)| (*at).min(END)))
            };
            if next > now {
                let wait = Duration::from_millis(next - now);
                let watch = if self.watches() { wait.min(WATCH) } else { wait };
                tokio::select! {
                    biased;
                    () = self.world.cut.notified() => {}
                    () = self.world.planned.notified() => {}
                    () = tokio::time::sleep(watch) => {}
                }
                continue;
            }
            if now >= END {
                return End::Over;
            }
            let event = self.world.state().queue.pop_first();
            if let Some((_, event)) = event
                && let Some(end) = self.happens(event).await
            {
                return end;
            }
        }
    }

    /// Whether the store may fail any moment.
    fn watches(&self) -> bool {
        let state = self.world.state();
        state.now() < state.calm_at
    }

    /// Makes what connections are missing: in the first life all of them.
    async fn connect(&mut self) -> throughline_engine::Result<()> {
        if self.connections.is_empty() {
            // A life that was cut while they were made may have left some.
            let known = self.hub.connections(Paging { cursor: None, limit: 100 })?.items;
            self.connections.extend(known.into_iter().map(|stored| stored.value.id));
        }
        for number in self.connections.len()..self.scenario.policies.len() {
            let new = {
                let state = self.world.state();
                let silo = &state.silos[number];
                let sync = silo.temper.sync(&self.scenario.policies[number]);
                json!({"name": silo.name, "plugin": silo.name, "region": "GB", "sync": sync})
            };
            let new = serde_json::from_value(new).expect("written above");
            self.connections.push(self.hub.create_connection(new).await?.value.id);
        }
        Ok(())
    }

    async fn happens(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Edit { silo, subject, field } => edit_in_silo(&self.world, silo, subject, field),
            Event::HubEdit { subject, field } => self.edit_in_hub(subject, field).await,
            Event::Webhook { silo, items, tries } => self.webhook(silo, items, tries),
            Event::Automation { silo, key } => automation(&self.world, silo, &key),
            Event::PowerCut => {
                let mut state = self.world.state();
                let now = state.now();
                state.trace.say(now, "hub", "loses power");
                return Some(End::Cut);
            }
            Event::CutAtCommit { after, kept } => {
                let commit = self.world.disk.syncs() + after;
                self.world.disk.plan(if kept { Fault::SyncKept(commit) } else { Fault::SyncLost(commit) });
            }
            Event::CutAtWrite(after) => self.world.state().cut_after_writes = Some(after),
            Event::Settle => self.settle_conflicts().await,
        }
        None
    }

    fn webhook(&self, silo: usize, items: Vec<Item>, tries: u32) {
        let (hub, world) = (self.hub.clone(), Arc::clone(&self.world));
        let Some(id) = self.connections.get(silo).copied() else { return };
        // It ends with the runtime, like everything of this life.
        tokio::spawn(async move {
            let body = serde_json::to_vec(&items).unwrap_or_default();
            let request = HttpRequest { method: "POST".to_owned(), url: "/".to_owned(), headers: Vec::new(), body: Some(body) };
            let outcome = hub.inbound_hook(id, request).await;
            let mut state = world.state();
            let (now, who) = (state.now(), state.silos[silo].name.clone());
            let told = items.first().map(|item| format!("{} {} {}", item.entity, item.key, item.data)).unwrap_or_default();
            match outcome {
                Ok(_) => state.trace.say(now, &who, format!("tells of {told}")),
                Err(error) => {
                    state.trace.say(now, &who, format!("is not heard ({error}) about {told}"));
                    if tries < TRIES {
                        state.plan(now + 10_000, Event::Webhook { silo, items, tries: tries + 1 });
                    }
                }
            }
        });
    }

    async fn edit_in_hub(&self, subject: usize, drawn: &'static str) {
        let Some((subject, name)) = ({
            let state = self.world.state();
            let subject = subject % state.edits.subjects.len();
            let known = &state.edits.subjects[subject];
            (known.entity == "contact").then(|| (subject, known.name.clone()))
        }) else {
            return;
        };
        let found = self.hub.profiles(Some(&format!("email:{name}")), Paging { cursor: None, limit: 2 });
        let Some(profile) = found.ok().and_then(|page| page.items.into_iter().next()) else { return };
        // A number is changed where it is a fact of a system; the hub's agents change the rest.
        let field = if drawn == "phone" { "language" } else { drawn };
        let parent = profile.value.fields.get(field).and_then(|said| number_of(&said.value));
        let number = {
            let mut state = self.world.state();
            let number = state.edits.next();
            state.edits.note(number, Edit { subject, field, parent, uncertain: false });
            let now = state.now();
            state.trace.say(now, "hub", format!("an agent sets {field} of {name} to {}", value_of(field, number)));
            number
        };
        let patch = serde_json::from_value(json!({"fields": {field: value_of(field, number)}})).expect("written here");
        if self.hub.update_profile(profile.value.id, profile.version, patch).await.is_err() {
            self.world.state().edits.doubt(number);
        }
    }

    async fn settle_conflicts(&self) {
        let Ok(page) = self.hub.conflicts(Paging { cursor: None, limit: 100 }) else { return };
        for conflict in page.items {
            let choice = self.choose(&conflict);
            // One that cannot be settled now is looked at the next time.
            let _ = self.hub.resolve_conflict(conflict.id, choice).await;
        }
    }

    fn choose(&self, conflict: &throughline_engine::ConflictItem) -> ConflictChoice {
        let mut state = self.world.state();
        let choice = if state.random.percent(50) { ConflictChoice::Theirs } else { ConflictChoice::Ours };
        let now = state.now();
        let line = format!("a person settles {} of {}: {choice:?} ({} / {})", conflict.field, conflict.key, conflict.theirs, conflict.ours);
        state.trace.say(now, "hub", line);
        choice
    }
}

/// A person changes a field of a record, if the silo has one of the subject.
fn edit_in_silo(world: &World, silo: usize, subject: usize, drawn: &'static str) {
    let mut state = world.state();
    let subject = subject % state.edits.subjects.len();
    let known = state.edits.subjects[subject].clone();
    let field = field_for(&known, drawn);
    let Some(key) = crate::checks::records_of(&state, silo, subject).into_iter().next() else { return };
    let now = state.now();
    let record = &state.silos[silo].records[&(known.entity.to_owned(), key.clone())];
    let parent = record.fields.get(field).and_then(number_of);
    let number = state.edits.next();
    state.edits.note(number, Edit { subject, field, parent, uncertain: false });
    let value = value_of(field, number);
    let who = state.silos[silo].name.clone();
    state.trace.say(now, &who, format!("a person sets {field} of {} {key} to {value}", known.entity));
    state.put(silo, known.entity, &key, Map::from_iter([(field.to_owned(), value)]), now);
}

fn automation(world: &World, silo: usize, key: &str) {
    let mut state = world.state();
    let Some(rule) = state.silos[silo].temper.automation else { return };
    let Some(record) = state.silos[silo].records.get(&("contact".to_owned(), key.to_owned())) else { return };
    let value = record.fields.get("company").and_then(Value::as_str).unwrap_or_default();
    let Some(rewritten) = rule.rewrites(value) else { return };
    let now = state.now();
    let who = state.silos[silo].name.clone();
    state.trace.say(now, &who, format!("its rule sets company of contact {key} to {rewritten:?}"));
    state.put(silo, "contact", key, Map::from_iter([("company".to_owned(), Value::String(rewritten))]), now);
}
