//! Whose it is and which enquiry it belongs to, through the whole hub.

use serde_json::json;
use throughline_engine::{Clock, Paging};
use throughline_schemas::{ChangeKind, EnquiryStatus};

use crate::support::{DAY, World, call, mail};

fn page() -> Paging {
    Paging { cursor: None, limit: 50 }
}

#[tokio::test]
async fn mail_then_call_of_a_person_the_crm_knows_is_one_profile_and_one_enquiry() {
    let world = World::new();
    let extract = json!([{"variable": "order", "pattern": "order #(\\d+)"}]);
    let id = world.connect("crm", json!({"sync": {"contact": {}}, "extract": extract})).await;
    let now = world.clock.now();
    let contact = world.silo.edit("contact", "1", json!({"display_name": "Ada", "email": "ada@example.com", "phone": "07700 900001"}));
    world.take(id, vec![contact, mail("m", "Ada@Example.com", "Re: Late order #4711", now)]).await;
    let before = world.hub.head();
    let ringing = |version, agents: &[&str]| call("c", version, Some("+447700900001"), "ringing", agents, now);
    world.take(id, vec![ringing("1", &["anna"]), ringing("2", &["anna", "ben"]), ringing("2", &["anna", "ben"])]).await;
    world.take(id, vec![call("c", "3", Some("+447700900001"), "ended", &[], now), ringing("1", &["anna"])]).await;

    assert_eq!((world.profiles().len(), world.enquiries().len()), (1, 1));
    let timeline = world.timeline(world.profiles()[0].id);
    assert_eq!(timeline.len(), 2);
    assert_eq!(serde_json::to_value(&timeline).unwrap().to_string().matches("\"ended\"").count(), 1);
    let rang: Vec<_> =
        world.hub.changes(before, 1000).unwrap().into_iter().filter(|(_, change)| change.kind == ChangeKind::CallRinging).collect();
    assert_eq!(rang.iter().map(|(_, change)| change.data["agents"].clone()).collect::<Vec<_>>(), [json!(["anna"]), json!(["ben"])]);
    let pop = world.hub.screen_pop(&rang[0].1).unwrap();
    assert_eq!((&pop["display_name"], &pop["enquiry"]["reason"]), (&json!("Ada"), &json!("Late order #4711")));
    assert_eq!(pop["enquiry"]["variables"]["order"]["value"], json!("4711"));
    assert!(pop["recent"].to_string().contains("Re: Late order #4711"), "{pop}");
}

#[tokio::test]
async fn a_record_joins_two_strangers_and_separating_them_restores_both_with_what_came_meanwhile() {
    let world = World::new();
    let id = world.connect("crm", json!({"sync": {"contact": {}}})).await;
    let now = world.clock.now();
    world.take(id, vec![mail("m", "ada@example.com", "Hi", now), call("c", "1", Some("+447700900001"), "ended", &[], now)]).await;
    let (by_mail, by_phone) = (world.who("email:ada@example.com"), world.who("phone:+447700900001"));
    assert_ne!(by_mail.id, by_phone.id);
    let contact = world.silo.edit("contact", "1", json!({"email": "ada@example.com", "phone": "07700900001"}));
    world.take(id, vec![contact]).await;
    let joined = world.who("email:ada@example.com");
    assert_eq!((joined.clone(), joined.members.len()), (world.who("phone:+447700900001"), 1));
    world.take(id, vec![mail("m2", "ada@example.com", "Again", now), call("c2", "1", Some("+447700900001"), "ended", &[], now)]).await;
    assert_eq!(world.timeline(joined.id).len(), 4);
    world.hub.unmerge_profile(joined.id, joined.members[0], "agent", "two people").await.unwrap();
    let (mail_again, phone_again) = (world.who("email:ada@example.com"), world.who("phone:+447700900001"));
    assert_eq!((mail_again.id, phone_again.id), (by_mail.id, by_phone.id));
    assert_eq!((world.timeline(by_mail.id).len(), world.timeline(by_phone.id).len()), (2, 2));
    // The same record does not join them again.
    let contact = world.silo.edit("contact", "1", json!({"company": "Engines"}));
    world.take(id, vec![contact]).await;
    assert_ne!(world.who("email:ada@example.com").id, world.who("phone:+447700900001").id);
}

#[tokio::test]
async fn merging_and_separating_by_hand_is_no_change_to_the_byte_whatever_the_order() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    let names = ["ada", "bob", "cyd", "dan"];
    world.take(id, names.iter().map(|name| mail(name, &format!("{name}@example.com"), "Hi", now)).collect()).await;
    let ids: Vec<_> = names.iter().map(|name| world.who(&format!("email:{name}@example.com")).id).collect();
    let shown = || ids.iter().map(|id| serde_json::to_string(&world.hub.profile(*id).unwrap().value).unwrap()).collect::<Vec<_>>();
    let before = shown();
    let merge = async |into: usize, loser: usize| drop(world.hub.merge_profiles(ids[into], ids[loser], "t", "t").await.unwrap());
    let split = async |from: usize, member: usize| drop(world.hub.unmerge_profile(ids[from], ids[member], "t", "t").await.unwrap());
    merge(1, 0).await;
    merge(2, 1).await;
    split(2, 0).await;
    merge(3, 0).await;
    // What was separated from bob, and is dan's now, stays there when bob goes.
    split(2, 1).await;
    assert_eq!(world.hub.profile(ids[1]).unwrap().value.members, []);
    assert_eq!(world.hub.profile(ids[3]).unwrap().value.members, [ids[0]]);
    split(3, 0).await;
    assert_eq!(shown(), before);
    let error = world.hub.merge_profiles(ids[0], ids[0], "t", "t").await.unwrap_err();
    assert!(error.to_string().contains("itself"), "{error}");
}

#[tokio::test]
async fn who_withholds_the_number_is_nobody_and_a_shared_line_attaches_nothing() {
    let world = World::new();
    let id = world.connect("crm", json!({"sync": {"contact": {}}})).await;
    let now = world.clock.now();
    let landline = "+442079460123";
    let couple = [("1", "ada"), ("2", "bob")].map(|(key, name)| {
        world.silo.edit("contact", key, json!({"display_name": name, "email": format!("{name}@example.com"), "phone": landline}))
    });
    world.take(id, couple.to_vec()).await;
    world.take(id, vec![mail("a", "ada@example.com", "One", now), mail("b", "bob@example.com", "Two", now)]).await;
    assert_eq!(world.profiles().len(), 2);
    for version in ["1", "2", "3"] {
        world.take(id, vec![call("withheld", version, None, "ringing", &["anna"], now)]).await;
        world.take(id, vec![call("shared", version, Some(landline), "ringing", &["anna"], now)]).await;
    }
    assert_eq!((world.profiles().len(), world.enquiries().len()), (2, 2));
    assert!(world.profiles().iter().all(|profile| world.timeline(profile.id).len() == 1));
    let began =
        world.hub.changes(0, 1000).unwrap().into_iter().filter(|(_, change)| change.kind == ChangeKind::ConversationStarted).count();
    assert_eq!(began, 4, "a newer version begins no conversation");
    let accepted: Vec<_> =
        world.hub.changes(0, 1000).unwrap().into_iter().filter(|(_, change)| change.kind == ChangeKind::InteractionAccepted).collect();
    let decision = world.hub.decision(accepted.last().unwrap().1.decision_id.unwrap()).unwrap();
    assert_eq!(decision.alternatives.len(), 2, "{decision:?}");
    let query = throughline_engine::LookupQuery { phone: Some(landline.to_owned()), ..Default::default() };
    let answer = world.hub.lookup(&query).unwrap();
    assert_eq!((answer.known, answer.ambiguous, answer.profile), (false, true, None));
}

#[tokio::test]
async fn a_token_works_for_its_owner_and_is_parked_for_a_stranger() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    world.take(id, vec![mail("m", "ada@example.com", "Hi", now)]).await;
    let enquiry = world.enquiries()[0].clone();
    let token = world.hub.issue_token(enquiry.id, Default::default()).await.unwrap().token;
    let with_token = |key: &str, from: &str| {
        let mut item = mail(key, from, "About that", now);
        item.data["thread"]["tokens"] = json!([token]);
        item
    };
    world.take(id, vec![with_token("own", "ada@example.com"), with_token("eve", "eve@example.org")]).await;
    let in_enquiry = world.hub.enquiry_interactions(enquiry.id, page()).unwrap().items;
    assert_eq!(in_enquiry.len(), 2);
    let parked = world.timeline(world.who("email:eve@example.org").id);
    assert_eq!((parked.len(), parked[0].enquiry_id), (1, None));
    assert!(in_enquiry.iter().all(|interaction| interaction.conversation_id != parked[0].conversation_id));
    let decisions = world.hub.decisions(&enquiry.id.to_string(), page()).unwrap().items;
    assert!(decisions.iter().any(|decision| decision.outcome.contains("parked")), "the agent sees it there");
}

#[tokio::test]
async fn threads_are_followed_by_our_ids_and_by_ids_that_never_reached_us() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    world.take(id, vec![mail("m", "ada@example.com", "Hi", now)]).await;
    let first = world.timeline(world.who("email:ada@example.com").id).remove(0);
    let ours = world.hub.send_message(first.conversation_id, serde_json::from_value(json!({"text": "Hello"})).unwrap()).await.unwrap();
    let mut reply = mail("r", "ada@example.com", "Re: Hi", now);
    reply.data["thread"]["in_reply_to"] = json!([ours.fact.thread.message_id]);
    let mut late = mail("late", "bob@example.com", "Re: Other", now);
    late.data["thread"]["references"] = json!(["root@customer.test", "never@elsewhere.test"]);
    let root = mail("root", "bob@example.com", "Other", now);
    world.take(id, vec![reply, late, root]).await;
    let ada = world.timeline(world.who("email:ada@example.com").id);
    assert!(ada.len() == 3 && ada.iter().all(|interaction| interaction.conversation_id == first.conversation_id));
    let bob = world.timeline(world.who("email:bob@example.com").id);
    assert!(bob.len() == 2 && bob[0].conversation_id == bob[1].conversation_id, "it came after what refers to it");
}

#[tokio::test]
async fn what_machines_say_opens_nothing_and_makes_nobody() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let now = world.clock.now();
    let automated = |key: &str, from: &str| {
        let mut item = mail(key, from, "Out of office", now);
        item.data["automated"] = json!("auto-submitted");
        item
    };
    world.take(id, vec![automated("n", "news@list.example")]).await;
    assert_eq!((world.profiles().len(), world.enquiries().len()), (0, 0));
    world.take(id, vec![mail("m", "ada@example.com", "Hi", now)]).await;
    let enquiry = world.enquiries()[0].id;
    world.hub.resolve_enquiry(enquiry).await.unwrap();
    for round in 0..5 {
        world.take(id, vec![automated(&format!("o{round}"), "ada@example.com")]).await;
    }
    assert_eq!(world.enquiries().len(), 1);
    assert_eq!(world.enquiries()[0].status, EnquiryStatus::Resolved);
}

#[tokio::test]
async fn an_enquiry_opens_again_within_its_grace_and_is_followed_after_it() {
    let world = World::new();
    let id = world.connect("mail", json!({})).await;
    let send = async |key: &str, reply_to: &str| {
        let mut item = mail(key, "ada@example.com", "Hi", world.clock.now());
        item.data["thread"]["references"] = json!([format!("{reply_to}@customer.test")]);
        world.take(id, vec![item]).await;
    };
    send("a", "none").await;
    let first = world.enquiries()[0].id;
    world.hub.resolve_enquiry(first).await.unwrap();
    world.clock.by(3 * DAY);
    send("b", "a").await;
    assert_eq!((world.enquiries().len(), world.enquiries()[0].status), (1, EnquiryStatus::Open));
    world.hub.resolve_enquiry(first).await.unwrap();
    world.clock.by(10 * DAY);
    for (key, earlier) in [("c", "b"), ("d", "c"), ("e", "a")] {
        send(key, earlier).await;
    }
    let enquiries = world.enquiries();
    assert_eq!(enquiries.len(), 2, "exactly one new enquiry, however the thread goes on");
    assert_eq!((enquiries[1].follows, enquiries[0].status), (Some(first), EnquiryStatus::Resolved));
}

#[tokio::test]
async fn brazils_ninth_digit_is_one_profile_and_a_switchboard_of_hundreds_is_no_trouble() {
    let world = World::new();
    let id = world.connect("crm", json!({"region": "BR", "sync": {"contact": {}}})).await;
    let now = world.clock.now();
    let calls = [call("a", "1", Some("+55 11 96123 4567"), "ended", &[], now), call("b", "1", Some("+55 11 6123 4567"), "ended", &[], now)];
    world.take(id, calls.to_vec()).await;
    assert_eq!(world.profiles().len(), 1);
    let staff = (0..300).map(|index| {
        let fields = json!({"email": [format!("u{index}@firm.example"), "info@firm.example"], "phone": "+442079460123"});
        world.silo.edit("contact", &index.to_string(), fields)
    });
    let accepted = world.take(id, staff.collect()).await;
    assert_eq!((accepted.accepted, accepted.rejected), (300, 0));
    assert_eq!(world.profiles().len(), 301);
}
