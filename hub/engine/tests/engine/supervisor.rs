//! Connections: kept alive, changed, ended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_engine::{Clock, HealthState, HubError, Paging};
use throughline_schemas::connector::{ErrorClass, Page};
use throughline_schemas::plan::{PlanAction, PlanState};

use throughline_store::{MemoryDisk, Options, Store};

use crate::scripted::Fault;
use crate::support::{World, error, mail, until};

#[tokio::test]
async fn a_listener_that_fails_is_started_again_and_the_health_says_so() {
    let world = World::new();
    world.silo.state().listens.extend([error(ErrorClass::Transient), error(ErrorClass::Cancelled)]);
    let id = world.connect("pbx", json!({})).await;
    until(|| !world.silo.state().listened.is_empty()).await;
    let mut states = Vec::new();
    for _ in 0..2000 {
        let health = world.hub.connection_health(id).await.unwrap();
        if states.last() != Some(&health.state) {
            states.push(health.state);
        }
        if health.state == HealthState::Healthy && world.silo.state().listened.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(states.last(), Some(&HealthState::Healthy), "{states:?}");
    assert!(states.contains(&HealthState::Failing), "{states:?}");
}

#[tokio::test]
async fn a_full_listing_marks_what_is_missing_but_not_most_of_it() {
    let world = World::new();
    let edit = |index: usize| world.silo.edit("contact", &index.to_string(), json!({"email": format!("u{index}@example.com")}));
    let listing = |range: std::ops::Range<usize>| {
        let details = Some(json!({"complete_listing": true}));
        Ok(Page { items: range.map(edit).collect(), next: None, checkpoint: json!("done"), details })
    };
    let put = |page| world.silo.state().pages.entry("contact".to_owned()).or_default().push_back(page);
    put(listing(0..40));
    let id = world.connect("crm", json!({"sync": {"contact": {"poll_seconds": 3600}}})).await;
    let links = || world.hub.connection_links(id, Paging { cursor: None, limit: 200 }).unwrap().items;
    let deleted = || links().iter().filter(|link| link.deleted_at.is_some()).count();
    until(|| links().len() == 40).await;
    world.clock.by(Duration::from_secs(1));
    put(listing(3..40));
    world.hub.sync_connection(id).await.unwrap();
    until(|| deleted() == 3).await;
    world.clock.by(Duration::from_secs(1));
    put(listing(39..40));
    world.hub.sync_connection(id).await.unwrap();
    let waiting = || world.hub.plans(Some(id), Some(PlanState::Waiting), Paging { cursor: None, limit: 10 }).unwrap().items;
    until(|| waiting().len() == 1).await;
    assert_eq!((waiting()[0].counts[&PlanAction::Delete], deleted()), (36, 3), "held back");
    let reads = world.silo.state().reads.len();
    world.hub.sync_connection(id).await.unwrap();
    until(|| world.silo.state().reads.len() > reads).await;
}

#[tokio::test]
async fn an_end_comes_in_time_and_loses_nothing() {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    let id = world.crm().await;
    world.silo.fault(Fault::Hang);
    world.take(id, vec![mail("m", "ada@example.com", "Hi", world.clock.now())]).await;
    until(|| world.silo.ops() == 1).await;
    let begun = Instant::now();
    world.hub.shut_down().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(!world.hub.readiness().ready);
    let again = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    assert_eq!((again.profiles().len(), again.enquiries().len()), (1, 1));
}

#[tokio::test]
async fn a_deleted_connection_leaves_nothing_of_its_own() {
    let world = World::new();
    let manual = json!({"company": "manual"});
    let id = world.crm_with(manual).await;
    let patch = serde_json::from_value(json!({"secrets": {"password": "geheim"}})).unwrap();
    let version = world.hub.connection(id).unwrap().version;
    world.hub.update_connection(id, version, patch).await.unwrap();
    world.take(id, vec![mail("m", "ada@example.com", "Hi", world.clock.now())]).await;
    until(|| world.silo.keys("case").len() == 1 && world.silo.keys("contact").len() == 1).await;
    world.quiet(id).await;
    world.hub.pause_connection(id).await.unwrap();
    world.name(world.profiles()[0].id, "company", json!("Ours")).await;
    let contact = world.silo.keys("contact").remove(0);
    let news = world.silo.edit("contact", &contact, json!({"company": "Theirs"}));
    world.take(id, vec![news, crate::support::item("bad", None, Value::Null)]).await;
    let batch = throughline_engine::IngestBatch {
        cursor: Some(("x".to_owned(), json!(1))),
        state: vec![("k".to_owned(), Some(json!(1)))],
        ..Default::default()
    };
    world.hub.ingest(id, batch).await.unwrap();
    assert!(!world.letters().is_empty());
    let version = world.hub.connection(id).unwrap().version;
    world.hub.delete_connection(id, version).await.unwrap();
    assert!(matches!(world.hub.connection(id), Err(HubError::NotFound { .. })));
    assert!(world.letters().is_empty() && world.hub.conflicts(Paging { cursor: None, limit: 9 }).unwrap().items.is_empty());
    assert!(world.hub.link(id, "contact", &contact).is_err() && world.silo.services(id).state("k").unwrap().is_none());
    assert_eq!((world.profiles().len(), world.timeline(world.profiles()[0].id).len()), (1, 1), "what it brought stays");
    let conversation = world.timeline(world.profiles()[0].id)[0].conversation_id;
    assert!(world.hub.send_message(conversation, serde_json::from_value(json!({"text": "x"})).unwrap()).await.is_err());
}

#[tokio::test]
async fn a_change_that_cannot_be_opened_changes_nothing_and_secrets_are_never_shown() {
    let world = World::new();
    let id = world.connect("crm", json!({"config": {"host": "old"}, "secrets": {"password": "geheim"}})).await;
    let shown = world.hub.connection(id).unwrap();
    assert_eq!(shown.value.secret_names, ["password"]);
    assert!(!serde_json::to_string(&shown.value).unwrap().contains("geheim"));
    let patch = || serde_json::from_value(json!({"config": {"host": "new"}, "secrets": {"password": "neu"}})).unwrap();
    world.silo.state().refuse_open = true;
    assert!(world.hub.update_connection(id, shown.version, patch()).await.is_err());
    assert_eq!(world.hub.connection(id).unwrap(), shown);
    world.silo.state().refuse_open = false;
    assert!(matches!(world.hub.update_connection(id, shown.version + 1000, patch()).await, Err(HubError::Stale { .. })));
    world.hub.pause_connection(id).await.unwrap();
    world.hub.resume_connection(id).await.unwrap();
    assert_eq!(world.silo.state().specs.last().unwrap().secrets["password"].expose(), "geheim", "the old secret is still there");
    let version = world.hub.connection(id).unwrap().version;
    world.hub.update_connection(id, version, patch()).await.unwrap();
    let spec = world.silo.state().specs.last().unwrap().clone();
    assert_eq!((spec.config["host"].as_str(), spec.secrets["password"].expose()), (Some("new"), "neu"));
}

#[tokio::test]
async fn another_accounts_credentials_start_nothing() {
    let world = World::new();
    let id = world.connect("crm", json!({})).await;
    world.silo.state().account = Some("somebody else's".to_owned());
    world.hub.resume_connection(id).await.unwrap();
    let view = world.hub.connection(id).unwrap().value;
    assert!(view.paused && view.paused_because.unwrap().contains("somebody else's"));
    assert_eq!(world.hub.connection_health(id).await.unwrap().state, HealthState::NeedsAttention);
}

async fn state_of(world: &World, id: throughline_schemas::ConnectionId) -> HealthState {
    world.hub.connection_health(id).await.unwrap().state
}

async fn becomes(world: &World, id: throughline_schemas::ConnectionId, wanted: HealthState) {
    for _ in 0..2000 {
        if state_of(world, id).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never became {wanted:?}: {:?}", world.hub.connection_health(id).await);
}

#[tokio::test]
async fn writes_that_fail_show_in_the_health_without_a_poll() {
    let world = World::new();
    let id = world.crm().await;
    until(|| world.silo.state().reads.len() == 2).await;
    becomes(&world, id, HealthState::Healthy).await;
    let polls = world.silo.state().reads.len();
    // Each write is answered, and each with "not now"; the call itself goes well.
    for _ in 0..40 {
        world.silo.fault(Fault::Op(error(ErrorClass::Transient).with_retry_after_ms(20)));
    }
    world.take(id, vec![mail("m", "ada@example.com", "Hi", world.clock.now())]).await;
    for _ in 0..2000 {
        if matches!(state_of(&world, id).await, HealthState::Failing | HealthState::Broken) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let health = world.hub.connection_health(id).await.unwrap();
    assert!(matches!(health.state, HealthState::Failing | HealthState::Broken), "{health:?}");
    assert_eq!(health.last_error.map(|error| error.class), Some(ErrorClass::Transient));
    world.silo.state().faults.clear();
    becomes(&world, id, HealthState::Healthy).await;
    assert_eq!(world.silo.state().reads.len(), polls, "no poll has told");
}

#[tokio::test]
async fn a_sign_that_the_silo_is_back_cuts_a_long_wait_short() {
    let world = World::new();
    let put = |page| world.silo.state().pages.entry("contact".to_owned()).or_default().push_back(page);
    // The poll is to wait for ten minutes each time.
    let patience = || Err(error(ErrorClass::Transient).with_retry_after_ms(600_000));
    put(patience());
    let id = world.connect("crm", json!({"sync": {"contact": {"poll_seconds": 3600}}})).await;
    let polls = || world.silo.state().reads.len();
    until(|| polls() == 1).await;
    becomes(&world, id, HealthState::Failing).await;
    put(patience());
    world.hub.check_connection(id).await.unwrap();
    until(|| polls() == 2).await;
    becomes(&world, id, HealthState::Failing).await;
    let posted = throughline_schemas::connector::HttpRequest {
        method: "POST".to_owned(),
        url: "/".to_owned(),
        headers: Vec::new(),
        body: Some(b"[]".to_vec()),
    };
    world.hub.inbound_hook(id, posted).await.unwrap();
    until(|| polls() == 3).await;
    becomes(&world, id, HealthState::Healthy).await;
}

#[tokio::test]
async fn kept_answers_are_removed_when_they_have_served_their_time() {
    use throughline_store::tables::{IdempotentResponses, count_rows};
    let store = Store::in_memory(Options::new(|| 0)).unwrap();
    let world = World::on(store.clone());
    let keep = async |key: String| {
        world.hub.idempotent_begin("scope", &key, [1; 32]).await.unwrap();
        world.hub.idempotent_finish("scope", &key, [1; 32], 201, b"{}").await.unwrap();
    };
    for number in 0..600 {
        keep(format!("old {number}")).await;
    }
    world.clock.by(Duration::from_secs(25 * 3600));
    keep("young".to_owned()).await;
    let place = world.hub.forget_old_answers(None).await.unwrap();
    assert!(place.is_some(), "a round is bounded");
    assert_eq!(world.hub.forget_old_answers(place).await.unwrap(), None);
    assert_eq!(count_rows::<IdempotentResponses>(&store, &[], 1000).unwrap(), 1);
    assert!(matches!(world.hub.idempotent_begin("scope", "young", [1; 32]).await.unwrap(), throughline_engine::Begin::Stored { .. }));
}

#[tokio::test]
async fn a_hub_without_room_says_so_before_anybody_is_refused() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let free_space: throughline_store::FreeSpace = {
        let free = free.clone();
        Arc::new(move || Ok(free.load(Ordering::SeqCst)))
    };
    let world = World::on(Store::in_memory(Options { free_space: Some(free_space), ..Options::new(|| 0) }).unwrap());
    assert!(world.hub.readiness().ready);
    free.store(1000, Ordering::SeqCst);
    let readiness = world.hub.readiness();
    assert!(!readiness.ready && readiness.reasons[0].contains("1000 bytes are left"), "{readiness:?}");
    free.store(u64::MAX, Ordering::SeqCst);
    assert!(world.hub.readiness().ready, "by itself, when there is room again");
}
