//! Flows start upon changes, do their steps once, wait through restarts, and stop each other from running for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_engine::{Clock, DryRun, FlowView, HubError, NewFlow, Paging, RunFilter, RunState, RunView, Stored};
use throughline_schemas::connector::ErrorClass;
use throughline_schemas::{ChangeKind, ConnectionId, FlowId, RunId};
use throughline_store::{MemoryDisk, Options, Store};

use crate::desk::Leaping;
use crate::support::{World, error, mail};

/// Looks until something is given up, as the paused clock has it.
const STEPS: u32 = 10_000;

pub(crate) struct Flowing {
    pub(crate) world: World,
    pub(crate) clock: Arc<Leaping>,
}

impl Flowing {
    pub(crate) fn on(store: Store) -> Self {
        let clock = Leaping::new();
        let now = clock.clone();
        let world = World::on_as(store, |mut options| {
            options.clock = now;
            options
        });
        Self { world, clock }
    }

    pub(crate) async fn new() -> Self {
        let flowing = Self::on(Store::inline_on_memory_disk(&MemoryDisk::default(), Options::new(|| 0)).unwrap());
        flowing.world.hub.start().await.unwrap();
        flowing
    }

    /// A hub on what a crash left, with the same clock and silo.
    pub(crate) fn again(&self, store: Store) -> Self {
        let now = self.clock.clone();
        let world = self.world.again_as(store, |mut options| {
            options.clock = now;
            options
        });
        Self { world, clock: self.clock.clone() }
    }

    /// Makes a flow and publishes it.
    pub(crate) async fn flow(&self, name: &str, trigger: Value, condition: Option<&str>, steps: Value) -> FlowId {
        let spec = json!({"trigger": trigger, "condition": condition, "steps": steps});
        let made = self.world.hub.create_flow(NewFlow { name: name.to_owned(), spec, enabled: true }).await.unwrap();
        self.world.hub.publish_flow(made.value.id, None, "test").await.unwrap();
        made.value.id
    }

    /// A connection that can send.
    pub(crate) async fn mailbox(&self) -> ConnectionId {
        match self.world.hub.connections(Paging { cursor: None, limit: 1 }).unwrap().items.first() {
            Some(connection) => connection.value.id,
            None => self.world.connect("mail", json!({})).await,
        }
    }

    /// Opens an enquiry by mail.
    pub(crate) async fn enquiry(&self, name: &str) {
        let connection = self.mailbox().await;
        self.world.take(connection, vec![mail(name, &format!("{name}@example.com"), name, self.clock.now())]).await;
    }

    pub(crate) fn runs(&self, flow: FlowId) -> Vec<RunView> {
        self.world.hub.runs(flow, RunFilter::default(), Paging { cursor: None, limit: 200 }).unwrap().items
    }

    /// Waits until so many runs are so.
    pub(crate) async fn until(&self, flow: FlowId, count: usize, state: RunState) -> Vec<RunView> {
        for step in 0..STEPS {
            let found: Vec<RunView> = self.runs(flow).into_iter().filter(|run| run.state == state).collect();
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1 + u64::from(step))).await;
        }
        panic!("{count} runs never were {state:?}: {:#?}", self.runs(flow));
    }

    pub(crate) fn run(&self, flow: FlowId, id: RunId) -> RunView {
        self.world.hub.run(flow, id).unwrap()
    }

    pub(crate) fn variable(&self, name: &str) -> Option<Value> {
        self.world.enquiries().first()?.variables.get(name).map(|variable| variable.value.clone())
    }

    pub(crate) fn emitted(&self) -> Vec<Value> {
        let changes = self.world.hub.changes(0, 10_000).unwrap();
        changes.into_iter().filter(|(_, change)| change.kind == ChangeKind::FlowEmitted).map(|(_, change)| change.data).collect()
    }
}

pub(crate) fn opened() -> Value {
    json!({"change": ["enquiry.opened"]})
}

fn set(name: &str, variable: &str, value: Value) -> Value {
    json!({"name": name, "do": {"set_context": {"variables": {variable: {"value": value}}}}})
}

pub(crate) fn emit(name: &str, kind: &str, data: Value) -> Value {
    json!({"name": name, "do": {"emit": {"type": kind, "data": data}}})
}

#[tokio::test(start_paused = true)]
async fn a_flow_does_its_steps_when_its_condition_is_met() {
    let flowing = Flowing::new().await;
    let steps = json!([
        set("mark", "urgent", json!("{{ enquiry.reason.contains('urgent') }}")),
        emit("tell", "desk.urgent", json!({"reason": "{{ enquiry.reason }}", "marked": "{{ enquiry.variables.urgent }}"})),
        {"name": "take", "do": {"write": {"to": "enquiry", "fields": {"owner": "desk-{{ 1 + 1 }}"}}}},
        {"name": "answer", "do": {"send": {"text": "We have it: {{ enquiry.reason }}"}}},
    ]);
    let flow = flowing.flow("urgent", opened(), Some("enquiry.reason.startsWith('urgent')"), steps).await;
    flowing.enquiry("calm").await;
    flowing.enquiry("urgent-one").await;
    let run = flowing.until(flow, 1, RunState::Succeeded).await.remove(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(flowing.runs(flow).len(), 1, "the other did not meet the condition");
    let enquiry = flowing.world.enquiries().into_iter().find(|enquiry| enquiry.reason == "urgent-one").unwrap();
    assert_eq!((&enquiry.variables["urgent"].value, enquiry.owner.as_deref()), (&json!(true), Some("desk-2")));
    assert_eq!(flowing.emitted(), [json!({"type": "desk.urgent", "data": {"reason": "urgent-one", "marked": true}})]);
    let sent = flowing.world.silo.state().sent.clone();
    assert_eq!((sent.len(), sent[0].0.text.as_str(), sent[0].0.automatic), (1, "We have it: urgent-one", true));
    let steps = flowing.run(flow, run.id).steps.unwrap();
    assert_eq!(steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["mark", "tell", "take", "answer"]);
    assert_eq!((steps[1].pointer.as_str(), &steps[1].input["data"]["marked"]), ("/steps/1", &json!(true)));
    assert_eq!(run.event_type.as_deref(), Some("enquiry.opened"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_survives_a_restart() {
    let disk = MemoryDisk::default();
    let flowing = Flowing::on(Store::inline_on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    flowing.world.hub.start().await.unwrap();
    let steps =
        json!([set("a", "before", json!(1)), {"name": "w", "do": {"wait": {"seconds": 86_400}}}, set("b", "after", json!("{{ now }}"))]);
    let flow = flowing.flow("slow", opened(), None, steps).await;
    flowing.enquiry("x").await;
    let run = flowing.until(flow, 1, RunState::Waiting).await.remove(0);
    let until = run.due.unwrap();
    assert_eq!((flowing.variable("before"), flowing.variable("after")), (Some(json!(1)), None));
    flowing.world.hub.shut_down().await.unwrap();
    let flowing = flowing.again(Store::inline_on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    flowing.world.hub.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(80_000)).await;
    assert_eq!(flowing.run(flow, run.id).state, RunState::Waiting);
    flowing.until(flow, 1, RunState::Succeeded).await;
    let after: throughline_schemas::Timestamp = serde_json::from_value(flowing.variable("after").unwrap()).unwrap();
    assert!(after >= until && after.since(until) < 60_000, "{after} {until}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_neither_loses_nor_doubles_a_step() {
    let steps = || {
        json!([
            set("a", "n", json!("{{ has(enquiry.variables.n) ? enquiry.variables.n + 1 : 1 }}")),
            {"name": "each", "do": {"for_each": {"in": "[1, 2, 3]", "at_most": 3, "steps": [emit("e", "tick", json!({"item": "{{ item }}"}))]}}},
            {"name": "w", "do": {"wait": {"seconds": 5}}},
            {"name": "fork", "do": {"branch": {"if": "enquiry.variables.n == 1", "then": [emit("f", "one", json!({}))], "else": [emit("g", "many", json!({}))]}}},
        ])
    };
    for commits in 0..12 {
        let disk = MemoryDisk::default();
        let flowing = Flowing::on(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        let flow = flowing.flow("counts", opened(), None, steps()).await;
        flowing.world.hub.start().await.unwrap();
        flowing.enquiry("x").await;
        let before = disk.applies();
        for _ in 0..100 {
            if disk.applies() >= before + commits {
                break;
            }
            // A blocking task keeps tokio's clock from leaping; without it the wait would never be met.
            if commits < 6 {
                tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
            } else {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        disk.crash();
        let flowing = flowing.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        flowing.world.hub.start().await.unwrap();
        flowing.until(flow, 1, RunState::Succeeded).await;
        let mut counted = BTreeMap::<String, usize>::new();
        for data in flowing.emitted() {
            *counted.entry(format!("{}{}", data["type"].as_str().unwrap(), data["data"]["item"])).or_default() += 1;
        }
        let wanted = ["onenull", "tick1", "tick2", "tick3"].map(|name| (name.to_owned(), 1)).into();
        assert_eq!((flowing.variable("n"), counted), (Some(json!(1)), wanted), "crashed after {commits} commits");
        assert_eq!(flowing.runs(flow).len(), 1);
        flowing.world.hub.shut_down().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn flows_that_cause_each_other_are_stopped() {
    let flowing = Flowing::new().await;
    let ping =
        flowing.flow("ping", json!({"change": ["flow.emitted", "enquiry.opened"]}), None, json!([emit("p", "ping", json!({}))])).await;
    flowing.enquiry("x").await;
    flowing.until(ping, 1, RunState::Failed).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let runs = flowing.runs(ping);
    assert_eq!(runs.len(), 6, "{runs:#?}");
    assert_eq!(runs.iter().map(|run| run.depth).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
    assert!(runs[0].error.as_deref().unwrap().contains("in a row"));
    assert!(matches!(flowing.world.hub.retry_run(ping, runs[0].id).await, Err(HubError::Conflict { .. })));
    assert_eq!(flowing.emitted().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_under_one_key_retried_and_pinned_to_its_plugin() {
    let flowing = Flowing::new().await;
    let connection = flowing.mailbox().await;
    let steps = json!([
        {"name": "ring", "do": {"call": {"connection": "mail", "action": "note", "input": {"about": "{{ enquiry.reason }}"}}}, "retry": {"attempts": 3, "wait_seconds": 60}},
        emit("tell", "rang", json!({"said": "{{ steps.ring.about }}"})),
    ]);
    let flow = flowing.flow("rings", opened(), None, steps).await;
    flowing.world.silo.state().act_errors.extend([error(ErrorClass::Transient), error(ErrorClass::Transient)]);
    flowing.enquiry("x").await;
    let run = flowing.until(flow, 1, RunState::Succeeded).await.remove(0);
    let acts = flowing.world.silo.state().acts.clone();
    assert_eq!(acts.len(), 3);
    assert!(
        acts.iter().all(|(action, input, key)| (action.as_str(), input, key) == ("note", &json!({"about": "x"}), &format!("{}:0", run.id)))
    );
    assert_eq!(flowing.emitted(), [json!({"type": "rang", "data": {"said": "x"}})]);
    let steps = flowing.run(flow, run.id).steps.unwrap();
    assert_eq!(steps.iter().map(|step| step.error.is_some()).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(steps[1].at.since(steps[0].at) >= 60_000 && steps[2].at.since(steps[1].at) >= 120_000);

    // What will not go better is not tried again; the run can be retried when the cause is removed.
    flowing.world.silo.state().act_errors.push_back(error(ErrorClass::InvalidRecord));
    flowing.enquiry("y").await;
    let failed = flowing.until(flow, 1, RunState::Failed).await.remove(0);
    assert!(failed.error.as_deref().unwrap().starts_with("ring: "));
    let failures = flowing.world.hub.changes(0, 10_000).unwrap();
    assert!(failures.iter().any(|(_, change)| change.kind == ChangeKind::FlowFailed && change.data["run"] == json!(failed.id)));
    flowing.world.hub.retry_run(flow, failed.id).await.unwrap();
    flowing.until(flow, 2, RunState::Succeeded).await;
    assert_eq!(flowing.emitted().len(), 2);
    let _ = connection;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_may_be_passed_over() {
    let flowing = Flowing::new().await;
    let steps = json!([
        {"name": "bad", "do": {"emit": {"type": "x", "data": "{{ enquiry.variables.missing }}"}}, "on_error": "continue"},
        emit("tell", "went_on", json!({"why": "{{ has(steps.bad.error) }}"})),
    ]);
    let flow = flowing.flow("goes on", opened(), None, steps).await;
    flowing.enquiry("x").await;
    flowing.until(flow, 1, RunState::Succeeded).await;
    assert_eq!(flowing.emitted(), [json!({"type": "went_on", "data": {"why": true}})]);
}

#[tokio::test(start_paused = true)]
async fn fields_schedules_and_requests_start_flows_too() {
    let flowing = Flowing::new().await;
    flowing.enquiry("x").await;
    let field = json!({"field": {"of": "enquiry", "names": ["owner", "order"]}});
    let owner =
        flowing.flow("owner", field, Some("event.data.fields.exists(name, name == 'owner')"), json!([emit("a", "owner", json!({}))])).await;
    let id = flowing.world.enquiries()[0].id;
    flowing.world.hub.resolve_enquiry(id).await.unwrap();
    flowing.world.hub.assign_enquiry(id, Some("eve".to_owned())).await.unwrap();
    flowing.until(owner, 1, RunState::Succeeded).await;

    let timer = flowing.flow("timer", json!({"schedule": {"every_seconds": 3600}}), None, json!([emit("a", "timer", json!({}))])).await;
    let begun = flowing.clock.now();
    let runs = flowing.until(timer, 3, RunState::Succeeded).await;
    for (index, run) in runs.iter().rev().enumerate().take(3) {
        let after = run.started_at.since(begun) - 3_600_000 * (index as i64 + 1);
        assert!((-1000..120_000).contains(&after), "{index}: {after}");
    }

    let asked = flowing.flow("asked", json!({"webhook": {}}), Some("input.n > 1"), json!([set("a", "n", json!("{{ input.n }}"))])).await;
    let trigger = |input| flowing.world.hub.trigger_flow(asked, input);
    assert!(matches!(trigger(json!({"n": 1})).await, Err(HubError::Conflict { .. })));
    assert!(matches!(trigger(json!([1])).await, Err(HubError::Invalid { .. })));
    trigger(json!({"n": 7, "enquiry_id": id})).await.unwrap();
    flowing.until(asked, 1, RunState::Succeeded).await;
    assert_eq!(flowing.variable("n"), Some(json!(7)));
    assert_eq!(flowing.runs(owner).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn published_versions_do_not_change_and_runs_end_with_the_one_they_began_with() {
    let flowing = Flowing::new().await;
    let waits = |kind: &str| json!([{"name": "w", "do": {"wait": {"seconds": 3600}}}, emit("a", kind, json!({}))]);
    let flow = flowing.flow("changes", opened(), None, waits("first")).await;
    flowing.enquiry("x").await;
    flowing.until(flow, 1, RunState::Waiting).await;
    let hub = &flowing.world.hub;
    let update = async |spec: Value| {
        let version = hub.flow(flow).unwrap().version;
        let patch = serde_json::from_value(json!({"spec": spec})).unwrap();
        hub.update_flow(flow, version, patch).await.unwrap()
    };
    let changed: Stored<FlowView> = update(json!({"trigger": opened(), "steps": waits("second")})).await;
    assert!(changed.value.has_unpublished_changes);
    let published = hub.publish_flow(flow, None, "eve").await.unwrap().value;
    assert_eq!((published.published, published.has_unpublished_changes), (Some(2), false));
    flowing.enquiry("y").await;
    flowing.until(flow, 2, RunState::Succeeded).await;
    let mut kinds: Vec<String> = flowing.emitted().iter().map(|data| data["type"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["first", "second"]);
    let versions = hub.flow_versions(flow, Paging { cursor: None, limit: 10 }).unwrap().items;
    assert_eq!(
        versions.iter().map(|version| (version.version, version.published_by.as_str())).collect::<Vec<_>>(),
        [(1, "test"), (2, "eve")]
    );
    // Back to the first.
    assert_eq!(hub.publish_flow(flow, Some(1), "eve").await.unwrap().value.published, Some(1));
    assert!(matches!(hub.publish_flow(flow, Some(3), "eve").await, Err(HubError::Invalid { .. })));

    // A dry run tells where they part, and does nothing.
    let head = hub.head();
    let dry = DryRun { last: Some(500), version: Some(2), against: Some(1) };
    let report = hub.dry_run_flow(flow, &dry).unwrap();
    assert_eq!((report.triggered, report.started, report.entries.len()), (2, 2, 2));
    let differences = report.differences.unwrap();
    assert_eq!(differences.len(), 2);
    let names = |entry: &throughline_engine::DryRunEntry| entry.steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(differences[0].this.as_ref().unwrap()), ["w", "a"]);
    let same = hub.dry_run_flow(flow, &DryRun { last: None, version: Some(2), against: Some(2) }).unwrap();
    assert_eq!(same.differences, Some(vec![]));
    assert_eq!(hub.head(), head);
}

#[tokio::test(start_paused = true)]
async fn a_runs_history_holds_nothing_personal_and_ends() {
    let flowing = Flowing::new().await;
    let steps = json!([
        {"name": "pin", "do": {"set_context": {"variables": {"pin": {"value": "s3cret", "classification": "pii"}}}}},
        emit("tell", "told", json!({"who": "{{ profile.identities[0].value }}", "pin": "is {{ enquiry.variables.pin }}"})),
        {"name": "answer", "do": {"send": {"text": "Dear ada@example.com"}}},
    ]);
    let flow = flowing.flow("private", opened(), None, steps).await;
    flowing.enquiry("ada").await;
    let run = flowing.until(flow, 1, RunState::Succeeded).await.remove(0);
    let history = serde_json::to_string(&flowing.run(flow, run.id)).unwrap();
    assert!(!history.contains("ada@example.com") && !history.contains("s3cret"), "{history}");
    assert!(history.contains("[redacted]") && history.contains("[20 characters]"), "{history}");
    assert_eq!(flowing.emitted()[0]["data"], json!({"who": "ada@example.com", "pin": "is s3cret"}), "what is done is done with the values");
    // Thirty days later an hourly look removes it.
    tokio::time::sleep(Duration::from_secs(31 * 24 * 3600)).await;
    assert_eq!(flowing.runs(flow), []);
    assert!(matches!(flowing.world.hub.run(flow, run.id), Err(HubError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_named_and_a_deleted_flow_leaves_nothing() {
    let flowing = Flowing::new().await;
    let hub = &flowing.world.hub;
    let create = |spec: Value| hub.create_flow(NewFlow { name: "f".to_owned(), spec, enabled: true });
    let good = json!([{"name": "w", "do": {"wait": {"seconds": 3600}}}]);
    for (spec, pointer, word) in [
        (json!({"trigger": opened(), "steps": [{"name": "a", "do": {"wait": {"second": 1}}}]}), "/spec/steps/0/do/wait", "second"),
        (json!({"trigger": {"change": ["enquiry.eaten"]}, "steps": good}), "/spec/trigger/change/0", "eaten"),
        (json!({"trigger": opened(), "steps": []}), "/spec/steps", ""),
        (json!({"trigger": opened(), "steps": good, "history": {"days": 0}}), "/spec/history/days", ""),
        (
            json!({"trigger": opened(), "condition": "enquiry.status ==\n 'open' && nobody", "steps": good}),
            "/spec/condition",
            "line 2, column 12",
        ),
    ] {
        let Err(HubError::Invalid { errors }) = create(spec.clone()).await else { panic!("{spec} was taken") };
        assert!(errors[0].pointer.starts_with(pointer) && errors[0].detail.contains(word), "{errors:?}");
    }
    let flow = flowing.flow("f", opened(), None, good.clone()).await;
    assert!(matches!(create(json!({"trigger": opened(), "steps": good})).await, Err(HubError::Invalid { .. })), "the name is taken");
    let calls = json!([{"name": "c", "do": {"call": {"connection": "nobody", "action": "x"}}}]);
    let made =
        hub.create_flow(NewFlow { name: "g".to_owned(), spec: json!({"trigger": opened(), "steps": calls}), enabled: true }).await.unwrap();
    assert!(matches!(hub.publish_flow(made.value.id, None, "test").await, Err(HubError::Invalid { .. })));

    flowing.enquiry("x").await;
    flowing.until(flow, 1, RunState::Waiting).await;
    let version = hub.flow(flow).unwrap().version;
    hub.delete_flow(flow, version).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert!(matches!(hub.flow(flow), Err(HubError::NotFound { .. })));
}
