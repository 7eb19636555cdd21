//! The way in.

use serde_json::json;
use throughline_engine::IngestBatch;
use throughline_schemas::connector::{ItemKind, Page};
use throughline_store::{Fault, MemoryDisk, Options, Store};

use crate::support::{World, call, item, mail, until};
use throughline_engine::Clock;

#[tokio::test]
async fn the_same_news_is_taken_once_and_only_a_newer_version_changes_it() {
    let world = World::new();
    let id = world.connect("pbx", json!({})).await;
    let now = world.clock.now();
    let at = |version: &str, phase: &str| call("c1", version, Some("+447700900001"), phase, &[], now);
    assert_eq!(world.take(id, vec![at("2", "talking"), at("2", "talking"), at("1", "ringing")]).await.duplicates, 2);
    assert_eq!(world.take(id, vec![at("10", "ended")]).await.accepted, 1);
    let timeline = world.timeline(world.who("phone:+447700900001").id);
    assert_eq!(timeline.len(), 1);
    assert_eq!(
        (timeline[0].version.as_deref(), serde_json::to_value(&timeline[0]).unwrap()["content"]["phase"].as_str()),
        (Some("10"), Some("ended"))
    );
    let other = world.connect("pbx 2", json!({})).await;
    assert_eq!(world.take(other, vec![at("2", "talking")]).await.accepted, 1, "another connection's key is another thing");
}

#[tokio::test]
async fn the_same_message_id_under_another_key_is_kept_but_takes_nothing_over() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    let first = mail("a", "ada@example.com", "Late", now);
    let mut second = mail("b", "eve@example.org", "Late", now);
    second.data["thread"] = first.data["thread"].clone();
    let mut reply = mail("c", "ada@example.com", "Re: Late", now);
    reply.data["thread"]["in_reply_to"] = json!([first.data["thread"]["message_id"]]);
    world.take(id, vec![first, second, reply]).await;
    let (ada, eve) = (world.timeline(world.who("email:ada@example.com").id), world.timeline(world.who("email:eve@example.org").id));
    assert_eq!((ada.len(), eve.len()), (2, 1));
    assert_eq!(ada[0].conversation_id, ada[1].conversation_id);
    assert_ne!(ada[0].conversation_id, eve[0].conversation_id);
}

#[tokio::test]
async fn batches_of_any_size_go_in_whole_with_the_cursor_behind_them() {
    for size in [0, 1, 64, 65, 1000] {
        let world = World::new();
        let id = world.connect("mail", json!({})).await;
        let now = world.clock.now();
        let items = (0..size).map(|index| mail(&format!("m{index}"), &format!("user{index}@example.com"), "Hi", now)).collect();
        let batch = IngestBatch { items, cursor: Some(("message".to_owned(), json!(size))), state: vec![("k".to_owned(), Some(json!(1)))] };
        assert_eq!(world.hub.ingest(id, batch).await.unwrap().accepted, size);
        assert_eq!(world.hub.connection_cursors(id).unwrap()[0].cursor, json!(size));
        assert_eq!(world.silo.services(id).state("k").unwrap(), Some(json!(1)));
        assert_eq!((world.profiles().len(), world.enquiries().len()), (size as usize, size as usize));
    }
}

#[tokio::test]
async fn what_is_no_news_goes_to_the_dead_letters_and_holds_up_nothing() {
    let world = World::new();
    let id = world.connect("mail", json!({"sync": {"contact": {}}})).await;
    let now = world.clock.now();
    let garbage = [
        json!(null),
        json!([1, 2]),
        json!("x".repeat(200_000)),
        json!({"channel": "x".repeat(70_000)}),
        json!({"channel": "email", "participants": 7}),
    ];
    let mut items = vec![mail("good", "ada@example.com", "Hi", now)];
    items.extend(garbage.iter().enumerate().map(|(index, data)| item(&format!("bad{index}"), Some("1"), data.clone())));
    let mut no_entity = item("x", None, json!({"display_name": "Ada"}));
    (no_entity.kind, no_entity.entity) = (ItemKind::Record, "nothing".to_owned());
    let mut long_entity = item("y", None, json!({}));
    long_entity.entity = "e".repeat(5000);
    let mut huge = mail("huge", "bob@example.com", "Hi", now);
    huge.data["content"]["text"] = json!("t".repeat(100_000));
    let mut many = item("many", None, json!({"email": (0..5000).map(|index| format!("u{index}@many.example")).collect::<Vec<_>>()}));
    (many.kind, many.entity) = (ItemKind::Record, "contact".to_owned());
    items.extend([no_entity, long_entity, huge, many, item("", None, json!({})), item(&"k".repeat(300), Some("1"), json!({}))]);
    items.push(mail("last", "carol@example.com", "Hi", now));
    let batch = IngestBatch { items, cursor: Some(("message".to_owned(), json!("behind"))), state: vec![] };
    let accepted = world.hub.ingest(id, batch).await.unwrap();
    assert_eq!((accepted.accepted, accepted.rejected), (2, 11), "{accepted:?}");
    let cursors = world.hub.connection_cursors(id).unwrap();
    assert!(cursors.iter().any(|cursor| cursor.entity == "message" && cursor.cursor == json!("behind")));
    let letters = world.letters();
    assert_eq!(letters.len(), 11);
    for letter in &letters {
        let replayed = world.hub.replay_dead_letter(letter.id).await;
        let named = letter.error.field.as_deref().is_some_and(|field| ["/key", "/entity", "/version"].contains(&field));
        assert_eq!(replayed.is_err(), named, "{letter:?} {replayed:?}");
    }
    assert_eq!(world.letters().len(), 11, "what is refused again is kept again");
}

#[tokio::test]
async fn a_dead_letter_is_taken_in_when_its_cause_is_gone() {
    let world = World::new();
    let id = world.connect("crm", json!({"sync": {"case": {}, "contact": {}}})).await;
    let case = world.silo.edit("case", "7", json!({"reason": "Late", "status": "open", "customer": "c1", "note": "n".repeat(20_000)}));
    assert_eq!(world.take(id, vec![case]).await.rejected, 1);
    let contact = world.silo.edit("contact", "c1", json!({"display_name": "Ada", "email": "ada@example.com"}));
    world.take(id, vec![contact]).await;
    world.hub.replay_dead_letter(world.letters()[0].id).await.unwrap();
    assert!(world.letters().is_empty());
    let enquiries = world.enquiries();
    assert_eq!((enquiries.len(), enquiries[0].profile_id), (1, world.who("email:ada@example.com").id));
    assert_eq!(enquiries[0].variables["note"].value.as_str().unwrap().len(), 20_000);
}

#[tokio::test]
async fn long_rows_and_long_commits_come_back_whole() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    let items = (0..64)
        .map(|index| {
            let mut item = mail(&format!("m{index}"), "ada@example.com", "Hi", now);
            item.data["content"]["text"] = json!(format!("{index} {}", "ü".repeat(20_000)));
            item
        })
        .collect();
    assert_eq!(world.take(id, items).await.accepted, 64);
    let timeline = world.timeline(world.who("email:ada@example.com").id);
    assert_eq!(timeline.len(), 64);
    assert!(timeline.iter().all(|interaction| serde_json::to_string(interaction).unwrap().len() > 40_000));
}

#[tokio::test]
async fn a_crash_anywhere_leaves_no_cursor_ahead_of_what_precedes_it() {
    for apply in 1..24 {
        let disk = MemoryDisk::with_faults(&[Fault::SyncLost(apply)]);
        let Ok(store) = Store::on_memory_disk(&disk, Options::new(|| 0)) else { continue };
        let world = World::on(store);
        let new = serde_json::from_value(json!({"name": "mail", "plugin": "scripted", "paused": true})).unwrap();
        let Ok(connection) = world.hub.create_connection(new).await else { continue };
        let id = connection.value.id;
        let now = world.clock.now();
        let items: Vec<_> = (0..200).map(|index| mail(&format!("m{index}"), &format!("u{index}@example.com"), "Hi", now)).collect();
        let batch =
            IngestBatch { items, cursor: Some(("message".to_owned(), json!(200))), state: vec![("s".to_owned(), Some(json!(200)))] };
        let first = world.hub.ingest(id, batch.clone()).await;
        disk.crash();
        // The fault may be met by the opening itself; it happens once.
        let reopen = || Store::on_memory_disk(&disk, Options::new(|| 0));
        let world = world.again(reopen().or_else(|_| reopen()).unwrap());
        let cursors = world.hub.connection_cursors(id).unwrap();
        assert!(first.is_err() || cursors.len() == 1, "what was acknowledged is there");
        if !cursors.is_empty() {
            assert_eq!(world.profiles().len(), 200, "fault at {apply}");
        }
        let again = match world.hub.ingest(id, batch.clone()).await {
            Ok(again) => again,
            Err(_) => continue,
        };
        assert_eq!(again.accepted + again.duplicates, 200);
        assert_eq!((world.profiles().len(), world.enquiries().len()), (200, 200), "fault at {apply}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_about_one_person_make_one_profile_and_one_enquiry_and_lose_nothing() {
    let world = World::new();
    let id = world.connect("crm", json!({"sync": {"contact": {}}})).await;
    let addresses: Vec<String> = (0..8).map(|index| format!("ada{index}@example.com")).collect();
    let contact = world.silo.edit("contact", "1", json!({"display_name": "Ada", "email": addresses}));
    world.take(id, vec![contact]).await;
    let now = world.clock.now();
    let tasks: Vec<_> = (0..32)
        .map(|index| {
            let (hub, from) = (world.hub.clone(), addresses[index % 8].clone());
            tokio::spawn(async move {
                for round in 0..4 {
                    let items = vec![mail(&format!("{index}-{round}"), &from, "Hi", now)];
                    hub.ingest(id, IngestBatch { items, ..IngestBatch::default() }).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.profiles().len(), 1);
    assert_eq!(world.timeline(world.profiles()[0].id).len(), 128);
    assert_eq!(world.enquiries().len(), 1);
}

#[tokio::test]
async fn what_a_listener_hands_over_is_durable_with_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open_sled(&dir.path().join("store"), Options { reserve_bytes: 0, ..Options::new(|| 0) }).unwrap();
    let world = World::on(open());
    let id = world.connect("mail", json!({})).await;
    let items = vec![mail("a", "ada@example.com", "Hi", world.clock.now())];
    world.silo.services(id).emit(items, Some(json!(41)), vec![("k".to_owned(), Some(json!("v")))]).await.unwrap();
    world.hub.shut_down().await.unwrap();
    let again = world.again(open());
    again.hub.start().await.unwrap();
    until(|| again.silo.state().listened.last() == Some(&Some(json!(41)))).await;
    assert_eq!(again.silo.services(id).state("k").unwrap(), Some(json!("v")));
    assert_eq!(again.timeline(again.who("email:ada@example.com").id).len(), 1);
    again.hub.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_walk_reads_page_by_page_and_goes_on_where_it_stopped() {
    let world = World::new();
    let page = |from: u64, next: Option<u64>| {
        let items =
            (from..from + 2).map(|index| world.silo.edit("contact", &index.to_string(), json!({"email": format!("u{index}@example.com")})));
        Ok(Page { items: items.collect(), next: next.map(|next| json!(next)), checkpoint: json!(from + 2), details: None })
    };
    let pages = [page(0, Some(2)), page(2, Some(4)), page(4, None)];
    world.silo.state().pages.insert("contact".to_owned(), pages.into_iter().collect());
    let id = world.connect("crm", json!({"sync": {"contact": {"poll_seconds": 3600}}})).await;
    until(|| world.profiles().len() == 6).await;
    world.hub.sync_connection(id).await.unwrap();
    until(|| world.silo.state().reads.iter().filter(|(entity, _)| entity == "contact").count() == 4).await;
    let cursors: Vec<_> = world.silo.state().reads.iter().map(|(_, cursor)| cursor.clone()).collect();
    assert_eq!(cursors, [None, Some(json!(2)), Some(json!(4)), Some(json!(6))]);
}
