//! Commands, as the API gives them.

use std::time::Duration;

use serde_json::json;
use throughline_engine::{Begin, Clock, EnquiryFilter, HubError, LookupQuery, Paging, Scope};
use throughline_schemas::{Assurance, EnquiryId, ProfileId};

use crate::support::{World, mail};

#[tokio::test]
async fn lists_are_walked_to_their_end_and_refuse_each_others_cursors() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    let mut items: Vec<_> = (0..450).map(|index| mail(&format!("m{index}"), "ada@example.com", "Hi", now)).collect();
    items.extend((0..450).map(|index| mail(&format!("n{index}"), &format!("u{index}@example.com"), "Hi", now)));
    world.take(id, items).await;
    assert_eq!((world.profiles().len(), world.enquiries().len()), (451, 451));
    let ada = world.who("email:ada@example.com").id;
    let timeline = world.timeline(ada);
    let mut ids: Vec<_> = timeline.iter().map(|interaction| interaction.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((timeline.len(), ids.len()), (450, 450));
    let some = |cursor: Option<String>| Paging { cursor, limit: 5 };
    let of_profiles = world.hub.profiles(None, some(None)).unwrap().next;
    assert!(of_profiles.is_some());
    for cursor in [of_profiles, Some("nonsense!".to_owned()), Some("AAAA".to_owned())] {
        assert!(matches!(world.hub.enquiries(EnquiryFilter::default(), some(cursor.clone())), Err(HubError::Invalid { .. })), "{cursor:?}");
        assert!(matches!(world.hub.timeline(ada, some(cursor.clone())), Err(HubError::Invalid { .. })), "{cursor:?}");
        assert!(matches!(world.hub.dead_letters(some(cursor.clone())), Err(HubError::Invalid { .. })), "{cursor:?}");
    }
    let profile = ProfileId::from_bytes([9; 16]);
    assert!(matches!(world.hub.profile(profile), Err(HubError::NotFound { .. })));
    assert!(matches!(world.hub.enquiry(EnquiryId::from_bytes([9; 16])), Err(HubError::NotFound { .. })));
    assert!(matches!(world.hub.timeline(profile, some(None)), Err(HubError::NotFound { .. })));
}

#[tokio::test]
async fn of_two_who_change_the_same_version_one_is_told() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    world.take(id, vec![mail("m", "ada@example.com", "Hi", world.clock.now())]).await;
    let ada = world.profiles()[0].id;
    let version = world.hub.profile(ada).unwrap().version;
    let patch = |value: &str| serde_json::from_value(json!({"fields": {"company": value}})).unwrap();
    let (one, other) = tokio::join!(world.hub.update_profile(ada, version, patch("a")), world.hub.update_profile(ada, version, patch("b")));
    let refused = [one, other].into_iter().filter(|result| matches!(result, Err(HubError::Stale { .. }))).count();
    assert_eq!(refused, 1);
    let enquiry = world.enquiries()[0].id;
    let stale = world.hub.update_enquiry(enquiry, 1, serde_json::from_value(json!({"reason": "x"})).unwrap()).await;
    assert!(matches!(stale, Err(HubError::Stale { .. })));
}

#[tokio::test]
async fn keys_are_refused_once_they_expire_or_are_revoked() {
    let world = World::new();
    let soon = world.clock.now().plus_millis(60_000);
    let (view, text) = world.hub.create_api_key("k", vec![Scope::Read], Some(soon)).await.unwrap();
    let (other, other_text) = world.hub.create_api_key("o", vec![Scope::Admin], None).await.unwrap();
    assert_eq!(world.hub.authenticate(&text).unwrap().map(|key| key.id), Some(view.id));
    assert_eq!(world.hub.authenticate("tl_nonsense").unwrap(), None);
    world.clock.by(Duration::from_secs(61));
    assert_eq!(world.hub.authenticate(&text).unwrap(), None);
    world.hub.revoke_api_key(other.id).await.unwrap();
    assert_eq!(world.hub.authenticate(&other_text).unwrap(), None);
    assert_eq!(world.hub.ensure_first_admin_key().await.unwrap(), None);
}

#[tokio::test]
async fn a_request_is_carried_out_once() {
    let world = World::new();
    let begin = async |body: u8| world.hub.idempotent_begin("s", "k", [body; 32]).await.unwrap();
    assert_eq!(begin(1).await, Begin::Fresh);
    assert_eq!(begin(1).await, Begin::Running);
    world.hub.idempotent_abandon("s", "k");
    assert_eq!(begin(1).await, Begin::Fresh);
    world.hub.idempotent_finish("s", "k", [1; 32], 201, b"done").await.unwrap();
    assert_eq!(begin(1).await, Begin::Stored { status: 201, body: b"done".to_vec() });
    assert_eq!(begin(2).await, Begin::Mismatch);
    world.clock.by(crate::support::DAY * 2);
    assert_eq!(begin(2).await, Begin::Fresh);
}

#[tokio::test]
async fn a_look_up_tells_as_much_as_the_caller_is_trusted() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    world.take(id, vec![mail("m", "ada@example.com", "Late", world.clock.now())]).await;
    world.name(world.profiles()[0].id, "display_name", json!("Ada")).await;
    let variables = json!({"order": {"value": "4711"}, "card": {"value": "x", "classification": "pii"}});
    world.hub.set_enquiry_variables(world.enquiries()[0].id, serde_json::from_value(variables).unwrap()).await.unwrap();
    let ask = |assurance| {
        world.hub.lookup(&LookupQuery { email: Some("Ada@example.com".to_owned()), assurance, ..LookupQuery::default() }).unwrap()
    };
    let asserted = ask(Assurance::Asserted);
    assert_eq!((asserted.known, asserted.profile.unwrap().display_name, asserted.enquiries[0].reason.clone()), (true, None, None));
    assert_eq!(asserted.enquiries[0].variables.keys().collect::<Vec<_>>(), ["order"]);
    let proven = ask(Assurance::Proven);
    assert_eq!((proven.profile.unwrap().display_name.as_deref(), proven.enquiries[0].variables.len()), (Some("Ada"), 2));
    assert!(world.hub.lookup(&LookupQuery::default()).is_err());
}

#[tokio::test]
async fn a_long_conversation_moves_whole() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    let items = (0..300).map(|index| {
        let mut item = mail(&format!("m{index}"), "ada@example.com", "Hi", now);
        item.data["conversation_key"] = json!("thread");
        item.data["content"]["text"] = json!("t".repeat(5000));
        item
    });
    world.take(id, items.collect()).await;
    let ada = world.profiles()[0].id;
    let new = serde_json::from_value(json!({"profile_id": ada, "reason": "Other"})).unwrap();
    let other = world.hub.create_enquiry(new).await.unwrap().value.id;
    let conversation = world.timeline(ada)[0].conversation_id;
    world.hub.attach_conversation(conversation, Some(other), "agent").await.unwrap();
    assert!(world.timeline(ada).iter().all(|interaction| interaction.enquiry_id == Some(other)));
    let moved = crate::support::all(|paging| world.hub.enquiry_interactions(other, paging).map(|page| (page.items, page.next)));
    assert_eq!(moved.len(), 300);
}
