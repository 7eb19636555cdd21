//! The way out: records.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_engine::{Clock, ConflictChoice, Paging};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ErrorClass, HttpRequest, Item, OpKind, Page};
use throughline_store::{MemoryDisk, Options, Store};

use crate::scripted::Fault;
use crate::support::{World, error, mail, until};

/// A person and a case, created in the silo.
async fn created(world: &World, id: ConnectionId) {
    world.take(id, vec![mail("m", "ada@example.com", "Late", world.clock.now())]).await;
    until(|| world.silo.keys("contact").len() == 1 && world.silo.keys("case").len() == 1).await;
    world.quiet(id).await;
}

fn hook(items: &[Item]) -> HttpRequest {
    HttpRequest { method: "POST".to_owned(), url: "/".to_owned(), headers: vec![], body: Some(serde_json::to_vec(items).unwrap()) }
}

#[tokio::test]
async fn an_enquiry_is_created_once_with_its_customer_and_only_changes_are_written() {
    let world = World::new();
    let id = world.crm().await;
    created(&world, id).await;
    let (contact, case) = (world.silo.keys("contact").remove(0), world.silo.keys("case").remove(0));
    assert_eq!(world.silo.field("case", &case, "customer"), json!(contact), "persons are written before what refers to them");
    let link = world.hub.link(id, "contact", &contact).unwrap();
    assert_eq!((&link.shadow["email"], link.version.as_deref()), (&json!("ada@example.com"), Some("1")));
    let ada = world.who("email:ada@example.com").id;
    world.name(ada, "company", json!("Engines")).await;
    until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
    world.quiet(id).await;
    let state = world.silo.state();
    let (_, op) = state.ops.last().unwrap();
    assert_eq!((op.kind, &op.data), (OpKind::Update, &json!({"company": "Engines"})));
    assert_eq!(state.records.len(), 2);
}

#[tokio::test]
async fn an_echo_before_during_or_after_the_answer_is_not_written_again() {
    let world = World::new();
    let id = world.crm().await;
    // The silo calls our webhook and waits for its answer before it answers the write.
    let hub = world.hub.clone();
    let on_write = move |item: Item| -> throughline_domain::connector::BoxFuture<'static, ()> {
        let hub = hub.clone();
        Box::pin(async move {
            tokio::time::timeout(Duration::from_secs(5), hub.inbound_hook(id, hook(&[item]))).await.expect("no lane is held").unwrap();
        })
    };
    world.silo.state().on_write = Some(std::sync::Arc::new(on_write));
    created(&world, id).await;
    assert_eq!((world.profiles().len(), world.enquiries().len()), (1, 1));
    let ada = world.profiles()[0].id;
    world.name(ada, "company", json!("Engines")).await;
    until(|| world.silo.ops() == 3).await;
    world.quiet(id).await;
    let records: Vec<Item> =
        ["contact", "case"].iter().flat_map(|of| world.silo.keys(of).into_iter().map(|key| world.silo.edit(of, &key, json!({})))).collect();
    world.take(id, records).await;
    world.quiet(id).await;
    assert_eq!(world.silo.ops(), 3, "{:?}", world.silo.state().ops);
    assert_eq!((world.profiles().len(), world.enquiries().len()), (1, 1));
}

#[tokio::test]
async fn what_the_silo_makes_of_a_value_and_what_others_changed_meanwhile_is_taken_from_its_answer() {
    let world = World::new();
    let id = world.crm().await;
    created(&world, id).await;
    let contact = world.silo.keys("contact").remove(0);
    world.silo.state().rewrite.insert("company".to_owned(), json!("ENGINES"));
    // Somebody changes the language, and nobody tells us.
    world.silo.state().records.get_mut(&("contact".to_owned(), contact.clone())).unwrap().1.insert("language".to_owned(), json!("fr"));
    let ada = world.profiles()[0].id;
    world.name(ada, "company", json!("Engines")).await;
    until(|| world.profiles()[0].text("company") == Some("ENGINES")).await;
    world.quiet(id).await;
    assert_eq!(world.profiles()[0].text("language"), Some("fr"));
    let ops = world.silo.ops();
    world.name(ada, "unmapped", json!("x")).await;
    world.quiet(id).await;
    assert_eq!(world.silo.ops(), ops, "and it is not fought about");
}

#[tokio::test]
async fn both_changed_it_and_the_policy_decides() {
    for (policy, wanted) in [("theirs", "Theirs"), ("ours", "Ours"), ("newest", "Theirs")] {
        let world = World::new();
        let id = world.crm_with(json!({"company": policy})).await;
        created(&world, id).await;
        let contact = world.silo.keys("contact").remove(0);
        world.hub.pause_connection(id).await.unwrap();
        world.name(world.profiles()[0].id, "company", json!("Ours")).await;
        world.clock.by(Duration::from_secs(1));
        let news = world.silo.edit("contact", &contact, json!({"company": "Theirs"}));
        world.take(id, vec![news]).await;
        world.hub.resume_connection(id).await.unwrap();
        until(|| world.silo.field("contact", &contact, "company") == json!(wanted)).await;
        world.quiet(id).await;
        assert_eq!(world.profiles()[0].text("company"), Some(wanted), "{policy}");
    }
}

#[tokio::test]
async fn both_changed_an_enquiry_and_the_later_wins() {
    for (silo_later, wanted) in [(true, "Theirs"), (false, "Ours")] {
        let world = World::new();
        let id = world.crm().await;
        created(&world, id).await;
        let case = world.silo.keys("case").remove(0);
        world.hub.pause_connection(id).await.unwrap();
        let now = world.clock.now().as_millis() + if silo_later { 2_000 } else { 0 };
        let news = Item { at_ms: u64::try_from(now).ok(), ..world.silo.edit("case", &case, json!({"reason": "Theirs"})) };
        world.clock.by(Duration::from_secs(1));
        let enquiry = world.hub.enquiry(world.enquiries()[0].id).unwrap();
        let ours = serde_json::from_value(json!({"reason": "Ours"})).unwrap();
        world.hub.update_enquiry(enquiry.value.id, enquiry.version, ours).await.unwrap();
        world.clock.by(Duration::from_secs(5));
        world.take(id, vec![news]).await;
        world.hub.resume_connection(id).await.unwrap();
        until(|| world.silo.field("case", &case, "reason") == json!(wanted)).await;
        world.quiet(id).await;
        assert_eq!(world.enquiries()[0].reason, wanted);
    }
}

#[tokio::test]
async fn a_conflict_is_raised_once_and_nothing_is_written_until_a_person_decides() {
    let choices = [(ConflictChoice::Theirs, "Theirs 2"), (ConflictChoice::Ours, "Ours"), (ConflictChoice::Value(json!("Third")), "Third")];
    for (choice, wanted) in choices {
        let world = World::new();
        let id = world.crm_with(json!({"company": "manual"})).await;
        created(&world, id).await;
        let contact = world.silo.keys("contact").remove(0);
        world.hub.pause_connection(id).await.unwrap();
        let ada = world.profiles()[0].id;
        world.name(ada, "company", json!("Ours")).await;
        for value in ["Theirs", "Theirs 2"] {
            let news = world.silo.edit("contact", &contact, json!({"company": value}));
            world.take(id, vec![news.clone(), news]).await;
        }
        world.hub.resume_connection(id).await.unwrap();
        world.name(ada, "language", json!("fr")).await;
        until(|| world.silo.field("contact", &contact, "language") == json!("fr")).await;
        world.quiet(id).await;
        assert_eq!(world.silo.field("contact", &contact, "company"), json!("Theirs 2"));
        let conflicts = world.hub.conflicts(Paging { cursor: None, limit: 10 }).unwrap().items;
        assert_eq!((conflicts.len(), &conflicts[0].theirs, &conflicts[0].ours), (1, &json!("Theirs 2"), &json!("Ours")));
        world.hub.resolve_conflict(conflicts[0].id, choice.clone()).await.unwrap();
        until(|| world.silo.field("contact", &contact, "company") == json!(wanted)).await;
        world.quiet(id).await;
        assert_eq!(world.profiles()[0].text("company"), Some(wanted));
        assert!(world.hub.resolve_conflict(conflicts[0].id, choice).await.is_err());
    }
}

/// A change of the company, whose write meets a fault.
async fn with_fault(fault: Fault) -> (World, ConnectionId, String) {
    let world = World::new();
    let id = world.crm().await;
    created(&world, id).await;
    let contact = world.silo.keys("contact").remove(0);
    world.silo.fault(fault);
    world.name(world.profiles()[0].id, "company", json!("Engines")).await;
    (world, id, contact)
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_was_done_is_not_done_twice() {
    let faults = [
        (Fault::Op(error(ErrorClass::Transient)), 2),
        (Fault::Call(error(ErrorClass::Transient)), 2),
        (Fault::Op(error(ErrorClass::RateLimited).with_retry_after_ms(10)), 2),
        (Fault::Op(error(ErrorClass::Auth)), 2),
        (Fault::Op(error(ErrorClass::Bug)), 2),
        (Fault::OpAfter(error(ErrorClass::Ambiguous)), 1),
        (Fault::Op(error(ErrorClass::Ambiguous)), 2),
        (Fault::Op(error(ErrorClass::Conflict)), 2),
    ];
    for (fault, tries) in faults {
        let (world, id, contact) = with_fault(fault.clone()).await;
        until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
        world.quiet(id).await;
        assert_eq!(world.silo.ops(), 2 + tries, "{fault:?}");
        assert!(world.letters().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_given_up_and_can_be_replayed() {
    for class in [ErrorClass::InvalidRecord, ErrorClass::Unsupported, ErrorClass::Permission] {
        let (world, id, contact) = with_fault(Fault::Op(error(class))).await;
        until(|| world.letters().len() == 1).await;
        world.quiet(id).await;
        assert_eq!(world.silo.field("contact", &contact, "company"), Value::Null);
        world.hub.replay_dead_letter(world.letters()[0].id).await.unwrap();
        until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
        assert!(world.letters().is_empty(), "{class:?}");
    }
    let (world, _, _) = with_fault(Fault::Op(error(ErrorClass::Bug))).await;
    world.silo.fault(Fault::Op(error(ErrorClass::Bug)));
    world.silo.fault(Fault::Op(error(ErrorClass::Bug)));
    until(|| world.letters().len() == 1).await;
    assert_eq!(world.silo.ops(), 5, "three tries");
}

#[tokio::test]
async fn a_refused_field_is_left_out_and_the_rest_is_sent_until_it_is_put_right() {
    let world = World::new();
    let id = world.crm().await;
    world.silo.fault(Fault::Op(error(ErrorClass::InvalidRecord).with_field("/data/email")));
    world.take(id, vec![mail("m", "ada@example.com", "Late", world.clock.now())]).await;
    until(|| world.silo.keys("contact").len() == 1).await;
    world.quiet(id).await;
    let contact = world.silo.keys("contact").remove(0);
    assert_eq!((world.silo.field("contact", &contact, "email"), world.letters().len()), (Value::Null, 1), "also when it is created");
    let ada = world.profiles()[0].id;
    let refuse = |field: &str| world.silo.fault(Fault::Op(error(ErrorClass::InvalidRecord).with_field(field)));
    refuse("company");
    let version = world.hub.profile(ada).unwrap().version;
    let both = serde_json::from_value(json!({"fields": {"company": "?", "language": "fr"}})).unwrap();
    world.hub.update_profile(ada, version, both).await.unwrap();
    until(|| world.silo.field("contact", &contact, "language") == json!("fr")).await;
    world.quiet(id).await;
    assert_eq!(world.silo.field("contact", &contact, "company"), Value::Null);
    world.name(ada, "company", json!("Engines")).await;
    until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
}

#[tokio::test]
async fn what_is_gone_is_dropped_and_what_moved_is_followed() {
    let (world, id, contact) = with_fault(Fault::Op(error(ErrorClass::Gone))).await;
    world.quiet(id).await;
    assert!(world.hub.link(id, "contact", &contact).unwrap().deleted_at.is_some());
    world.name(world.profiles()[0].id, "company", json!("Other")).await;
    world.quiet(id).await;
    assert_eq!((world.silo.ops(), world.silo.keys("contact").len()), (3, 1), "not made again");

    let world = World::new();
    let id = world.crm().await;
    created(&world, id).await;
    let contact = world.silo.keys("contact").remove(0);
    world.silo.edit("contact", "new", json!({"email": "ada@example.com"}));
    world.silo.state().moved.insert(contact, "new".to_owned());
    world.silo.fault(Fault::Op(error(ErrorClass::Gone)));
    world.name(world.profiles()[0].id, "company", json!("Engines")).await;
    until(|| world.silo.field("contact", "new", "company") == json!("Engines")).await;
}

#[tokio::test]
async fn what_only_a_person_can_mend_pauses_the_connection_and_it_catches_up_afterwards() {
    let (world, id, contact) = with_fault(Fault::Op(error(ErrorClass::Config))).await;
    until(|| world.hub.connection(id).unwrap().value.paused).await;
    let view = world.hub.connection(id).unwrap().value;
    assert!(view.paused_because.unwrap().contains("as scripted"));
    world.name(world.profiles()[0].id, "language", json!("fr")).await;
    world.hub.resume_connection(id).await.unwrap();
    until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
    until(|| world.silo.field("contact", &contact, "language") == json!("fr")).await;
    assert_eq!(world.hub.connection(id).unwrap().value.paused_because, None);
}

/// A create whose answer never came before the hub lost power; the hub after it.
async fn cut_in_the_middle_of_a_create(plugin: &str) -> (World, ConnectionId) {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    let both = json!({"direction": "both", "create_remote": true, "poll_seconds": 3600});
    let id = world.connect("crm", json!({"plugin": plugin, "sync": {"contact": both}})).await;
    world.silo.fault(Fault::Hang);
    world.take(id, vec![mail("m", "ada@example.com", "Late", world.clock.now())]).await;
    until(|| world.silo.keys("contact").len() == 1).await;
    disk.crash();
    let world = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    world.hub.start().await.unwrap();
    (world, id)
}

#[tokio::test]
async fn a_create_of_unknown_outcome_is_doubled_by_no_restart() {
    let (world, id) = cut_in_the_middle_of_a_create("upserter").await;
    world.quiet(id).await;
    assert_eq!((world.silo.keys("contact").len(), world.letters().len()), (1, 0));
    assert_eq!(world.hub.connection_links(id, Paging { cursor: None, limit: 9 }).unwrap().items.len(), 1);

    let (world, id) = cut_in_the_middle_of_a_create("scripted").await;
    // Nor does any later change make it.
    world.name(world.profiles()[0].id, "company", json!("Engines")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((world.silo.keys("contact").len(), world.silo.ops()), (1, 1));
    // The silo's records are read, and there it is.
    let contact = world.silo.keys("contact").remove(0);
    let found = world.silo.edit("contact", &contact, json!({}));
    read_later(&world, id, vec![found]).await;
    until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
    world.quiet(id).await;
    assert_eq!((world.silo.keys("contact").len(), world.letters().len()), (1, 0));
}

#[tokio::test]
async fn what_is_not_there_when_the_silo_was_read_again_was_not_made_and_is_made() {
    let (world, id) = cut_in_the_middle_of_a_create("scripted").await;
    world.silo.state().records.clear();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.silo.ops(), 1);
    read_later(&world, id, vec![]).await;
    world.name(world.profiles()[0].id, "company", json!("Engines")).await;
    until(|| world.silo.keys("contact").len() == 1).await;
    world.quiet(id).await;
    assert_eq!((world.silo.ops(), world.letters().len()), (2, 0));
}

/// The silo's contacts are read when nothing of an earlier call can still take effect.
async fn read_later(world: &World, id: ConnectionId, items: Vec<Item>) {
    world.clock.by(Duration::from_secs(120));
    let page = Page { items, next: None, checkpoint: json!("later"), details: None };
    world.silo.state().pages.entry("contact".to_owned()).or_default().push_back(Ok(page));
    let reads = world.silo.state().reads.len();
    world.hub.sync_connection(id).await.unwrap();
    until(|| world.silo.state().reads.len() > reads).await;
}

#[tokio::test]
async fn a_thousand_drain_in_batches_and_one_that_fails_holds_up_none() {
    let world = World::new();
    let id = world.crm().await;
    world.hub.pause_connection(id).await.unwrap();
    let now = world.clock.now();
    world.take(id, (0..500).map(|index| mail(&format!("m{index}"), &format!("u{index}@example.com"), "Hi", now)).collect()).await;
    let bad = world.who("email:u7@example.com").id;
    world.silo.state().poison.insert(bad.to_string(), error(ErrorClass::Transient));
    world.hub.resume_connection(id).await.unwrap();
    until(|| world.silo.keys("contact").len() == 499 && world.silo.keys("case").len() == 500).await;
    assert!(world.silo.state().calls < 300, "{} calls", world.silo.state().calls);
    world.silo.state().poison.clear();
    // It may have been made: it is looked for before it is tried again.
    read_later(&world, id, vec![]).await;
    world.name(bad, "language", json!("fr")).await;
    until(|| world.silo.keys("contact").len() == 500).await;
    world.quiet(id).await;
    let customers: Vec<_> = world.silo.keys("case").iter().map(|key| world.silo.field("case", key, "customer")).collect();
    assert!(customers.iter().all(Value::is_string), "every case has its customer in the end");
}

#[tokio::test]
async fn the_place_in_the_log_survives_and_what_comes_in_only_is_never_written() {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    let id = world.crm().await;
    created(&world, id).await;
    world.hub.shut_down().await.unwrap();
    let world = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    world.name(world.profiles()[0].id, "company", json!("Engines")).await;
    world.hub.start().await.unwrap();
    let contact = world.silo.keys("contact").remove(0);
    until(|| world.silo.field("contact", &contact, "company") == json!("Engines")).await;
    world.quiet(id).await;
    assert_eq!(world.silo.ops(), 3);

    let world = World::new();
    let id = world.connect("in", json!({"sync": {"contact": {"direction": "in", "fields": {"company": "ours"}}}})).await;
    let news = world.silo.edit("contact", "1", json!({"email": "ada@example.com", "company": "A"}));
    world.take(id, vec![news]).await;
    world.name(world.profiles()[0].id, "company", json!("B")).await;
    let news = world.silo.edit("contact", "1", json!({"company": "C"}));
    world.take(id, vec![news]).await;
    world.quiet(id).await;
    assert_eq!((world.silo.ops(), world.profiles()[0].text("company")), (0, Some("B")));
}

#[tokio::test]
async fn a_dispatcher_with_nothing_to_do_rests() {
    let world = World::new();
    let id = world.crm().await;
    created(&world, id).await;
    let commits = || world.hub.metrics().iter().find(|metric| metric.name == "throughline_store_commits_total").unwrap().value;
    world.hub.create_api_key("moves the head", vec![throughline_engine::Scope::Read], None).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_millis(300), world.hub.changed(last_entry(&world))).await;
    assert!(woken.is_err(), "a commit without an entry is no change");
    let before = commits();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(commits() - before <= 1.0);
}

fn last_entry(world: &World) -> u64 {
    world.hub.changes(0, 10_000).unwrap().last().unwrap().0
}
