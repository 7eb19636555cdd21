//! Plans: what is shown is what is done, once, and nothing that changed since.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_engine::{HubError, HubOptions, Paging};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind, Page};
use throughline_schemas::plan::{Plan, PlanAction, PlanState, StepOutcome};
use throughline_schemas::{ChangeKind, ChangeOrigin, ConnectionId, PlanId};
use throughline_store::{MemoryDisk, Options, Store};

use crate::support::{World, all, until};

fn page(items: Vec<Item>, next: Option<Value>) -> Result<Page, ConnectorError> {
    Ok(Page { items, next, checkpoint: json!("end"), details: None })
}

fn put(world: &World, pages: Vec<Result<Page, ConnectorError>>) {
    world.silo.state().pages.entry("contact".to_owned()).or_default().extend(pages);
}

fn person(world: &World, key: &str, company: &str) -> Item {
    world.silo.edit("contact", key, json!({"email": format!("{key}@example.com"), "company": company}))
}

/// A connection whose own walks find nothing.
async fn connected(world: &World) -> ConnectionId {
    let id = world.connect("crm", json!({"sync": {"contact": {"poll_seconds": 3600}}})).await;
    until(|| !world.silo.state().reads.is_empty()).await;
    id
}

async fn reached(world: &World, id: PlanId, state: PlanState) -> Plan {
    until(|| world.hub.plan(id).unwrap().state == state).await;
    world.hub.plan(id).unwrap()
}

fn outcomes(world: &World, id: PlanId) -> Vec<(String, Option<StepOutcome>)> {
    let steps = all(|paging| world.hub.plan_steps(id, paging).map(|page| (page.items, page.next)));
    steps.into_iter().map(|step| (step.key, step.outcome)).collect()
}

#[tokio::test]
async fn a_backfill_shows_first_and_does_what_it_showed() {
    let world = World::new();
    world.hub.start().await.unwrap();
    let id = connected(&world).await;
    world.take(id, vec![person(&world, "known", "Old"), person(&world, "same", "Same")]).await;
    let before = world.hub.head();
    let found = vec![person(&world, "known", "New"), person(&world, "new", "Engines")];
    let twin = Item { key: "twin".to_owned(), ..person(&world, "new", "Engines") };
    let same = world.silo.edit("contact", "same", json!({}));
    let nobody = world.silo.edit("contact", "odd", json!({}));
    put(&world, vec![page(found, Some(json!(2))), page(vec![twin, same, nobody], None)]);
    let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
    let plan = reached(&world, plan.id, PlanState::Waiting).await;
    let count = |action| plan.counts.get(&action).copied().unwrap_or_default();
    assert_eq!((count(PlanAction::Create), count(PlanAction::Update), plan.steps), (3, 1, 4), "{plan:?}");
    assert_eq!(world.profiles().len(), 2, "nothing is taken in yet");
    assert!(matches!(world.hub.approve_plan(plan.id, "other", "anna").await, Err(HubError::Conflict { .. })));
    world.hub.approve_plan(plan.id, &plan.hash, "anna").await.unwrap();
    let done = reached(&world, plan.id, PlanState::Done).await;
    assert_eq!((done.done, done.applied, done.changed, done.failed), (4, 4, 0, 0), "{:?}", outcomes(&world, plan.id));
    assert_eq!(world.who("email:known@example.com").text("company"), Some("New"));
    assert_eq!(world.who("email:new@example.com").text("company"), Some("Engines"), "one person, although there are two records");
    let changes = world.hub.changes(before, 500).unwrap();
    let of_plan: Vec<_> = changes.iter().filter(|(_, change)| change.kind == ChangeKind::ProfileUpdated).collect();
    assert!(!of_plan.is_empty() && of_plan.iter().all(|(_, change)| change.origin == Some(ChangeOrigin::Backfill)), "{of_plan:?}");
    assert!(matches!(world.hub.approve_plan(plan.id, &plan.hash, "anna").await, Err(HubError::Conflict { .. })), "once");
}

#[tokio::test]
async fn what_changed_since_is_left_out_and_reported() {
    let world = World::new();
    world.hub.start().await.unwrap();
    let id = connected(&world).await;
    world.take(id, ["a", "b", "c"].map(|key| person(&world, key, "Old")).to_vec()).await;
    let found = ["a", "b", "c", "d"].map(|key| person(&world, key, "Planned")).to_vec();
    put(&world, vec![page(found, None)]);
    let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
    let plan = reached(&world, plan.id, PlanState::Waiting).await;
    // The silo says something newer of one, a person says something of another, and one that was to be made came by itself.
    world.take(id, vec![person(&world, "a", "Live")]).await;
    world.name(world.who("email:b@example.com").id, "company", json!("By hand")).await;
    world.take(id, vec![person(&world, "d", "Live")]).await;
    world.hub.approve_plan(plan.id, &plan.hash, "anna").await.unwrap();
    let done = reached(&world, plan.id, PlanState::Done).await;
    let company = |key: &str| world.who(&format!("email:{key}@example.com")).text("company").unwrap().to_owned();
    assert_eq!(["a", "b", "c", "d"].map(company), ["Live", "By hand", "Planned", "Live"]);
    assert_eq!((done.applied, done.changed), (1, 3), "{:?}", outcomes(&world, plan.id));
    assert_eq!(outcomes(&world, plan.id)[1].1, Some(StepOutcome::Changed));
}

#[tokio::test]
async fn a_crash_at_any_commit_neither_loses_nor_doubles_a_step() {
    for commits in 0..7 {
        let disk = MemoryDisk::default();
        let world = World::on_disk(&disk);
        world.hub.start().await.unwrap();
        let id = connected(&world).await;
        put(&world, vec![page(["a", "b", "c", "d"].map(|key| person(&world, key, "X")).to_vec(), None)]);
        let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
        let waiting = reached(&world, plan.id, PlanState::Waiting).await;
        let before = disk.applies();
        world.hub.approve_plan(plan.id, &waiting.hash, "anna").await.unwrap();
        until(|| disk.applies() >= before + commits || world.hub.plan(plan.id).unwrap().state == PlanState::Done).await;
        disk.crash();
        let again = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        again.hub.start().await.unwrap();
        if again.hub.plan(plan.id).unwrap().state == PlanState::Waiting {
            again.hub.approve_plan(plan.id, &waiting.hash, "anna").await.unwrap();
        }
        let done = reached(&again, plan.id, PlanState::Done).await;
        assert_eq!((done.done, done.applied, done.changed), (4, 4, 0), "crashed after {commits} commits: {:?}", outcomes(&again, plan.id));
        assert_eq!(again.profiles().len(), 4);
        again.hub.shut_down().await.unwrap();
    }
}

#[tokio::test]
async fn reading_goes_on_behind_the_last_page_that_was_noted() {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    world.hub.start().await.unwrap();
    // Nothing else reads.
    let id = world.connect("crm", json!({})).await;
    put(&world, vec![page(vec![person(&world, "a", "X")], Some(json!(2))), Err(ConnectorError::new(ErrorClass::Transient, "busy"))]);
    let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
    until(|| world.hub.plan(plan.id).unwrap().steps == 1).await;
    until(|| world.silo.state().pages["contact"].is_empty()).await;
    world.hub.shut_down().await.unwrap();
    put(&world, vec![page(vec![person(&world, "b", "X")], None)]);
    let again = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    again.hub.start().await.unwrap();
    let waiting = reached(&again, plan.id, PlanState::Waiting).await;
    assert_eq!(waiting.steps, 2);
    assert_eq!(world.silo.state().reads.last().unwrap().1, Some(json!(2)));
}

#[tokio::test]
async fn a_cancelled_plan_does_nothing_more() {
    let world = World::new();
    world.hub.start().await.unwrap();
    let id = connected(&world).await;
    put(&world, vec![page(vec![person(&world, "a", "X")], None)]);
    let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
    let waiting = reached(&world, plan.id, PlanState::Waiting).await;
    assert!(matches!(world.hub.begin_backfill(id, "contact").await, Err(HubError::Conflict { .. })), "one at a time");
    world.hub.cancel_plan(plan.id, "anna").await.unwrap();
    assert!(matches!(world.hub.approve_plan(plan.id, &waiting.hash, "anna").await, Err(HubError::Conflict { .. })));
    assert!(matches!(world.hub.cancel_plan(plan.id, "anna").await, Err(HubError::Conflict { .. })));
    assert!(world.profiles().is_empty());
    put(&world, vec![page(vec![person(&world, "a", "X")], None)]);
    let again = world.hub.begin_backfill(id, "contact").await.unwrap();
    reached(&world, again.id, PlanState::Waiting).await;
    assert!(outcomes(&world, plan.id).is_empty(), "the steps of the one before are forgotten");
}

#[tokio::test]
async fn a_silo_that_cannot_be_read_fails_the_plan_or_is_asked_again() {
    let world = World::new();
    world.hub.start().await.unwrap();
    let id = connected(&world).await;
    put(&world, vec![Err(ConnectorError::new(ErrorClass::Permission, "not for you"))]);
    let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
    let failed = reached(&world, plan.id, PlanState::Failed).await;
    assert!(failed.because.unwrap().contains("not for you"));
    put(&world, vec![Err(ConnectorError::new(ErrorClass::Transient, "busy")), page(vec![person(&world, "a", "X")], None)]);
    let plan = world.hub.begin_backfill(id, "contact").await.unwrap();
    reached(&world, plan.id, PlanState::Waiting).await;
    let Err(HubError::Invalid { errors }) = world.hub.begin_backfill(id, "message").await else { panic!("it was begun") };
    assert_eq!(errors[0].pointer, "/entity");
}

#[tokio::test]
async fn many_deletions_wait_and_the_same_ones_wait_once() {
    let world =
        World::on_as(Store::in_memory(Options::new(|| 0)).unwrap(), |options| HubOptions { plan_steps_per_second: 1000, ..options });
    world.hub.start().await.unwrap();
    let id = connected(&world).await;
    let keys: Vec<String> = (0..40).map(|index| format!("u{index:02}")).collect();
    world.take(id, keys.iter().map(|key| person(&world, key, "X")).collect()).await;
    let gone = |keys: &[String]| keys.iter().map(|key| Item { kind: ItemKind::Deleted, ..person(&world, key, "X") }).collect::<Vec<_>>();
    let plans = || world.hub.plans(Some(id), None, Paging { cursor: None, limit: 50 }).unwrap().items;
    let waiting = || plans().into_iter().filter(|plan| plan.state == PlanState::Waiting).collect::<Vec<_>>();
    let deleted = || {
        let links = world.hub.connection_links(id, Paging { cursor: None, limit: 200 }).unwrap().items;
        links.iter().filter(|link| link.deleted_at.is_some()).count()
    };
    // The first page is within what is believed; with the second it is not.
    put(&world, vec![page(gone(&keys[..15]), Some(json!(2))), page(gone(&keys[15..30]), None)]);
    world.hub.sync_connection(id).await.unwrap();
    until(|| waiting().len() == 1).await;
    assert_eq!((deleted(), waiting()[0].steps), (15, 15));
    let reads = world.silo.state().reads.len();
    put(&world, vec![page(gone(&keys[..15]), Some(json!(2))), page(gone(&keys[15..30]), None)]);
    world.hub.sync_connection(id).await.unwrap();
    until(|| world.silo.state().reads.len() >= reads + 2).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(plans().len(), 1, "the same ones");
    world.take(id, vec![person(&world, &keys[15], "Alive")]).await;
    let plan = waiting().remove(0);
    world.hub.approve_plan(plan.id, &plan.hash, "anna").await.unwrap();
    let done = reached(&world, plan.id, PlanState::Done).await;
    assert_eq!((done.applied, done.changed, deleted()), (14, 1, 29), "one was seen again meanwhile");
}
