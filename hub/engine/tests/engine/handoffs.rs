//! Handoffs over the real engine: owners, deadlines, calls and invitations, and what survives a crash.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::handoff::HandoffPolicy;
use throughline_engine::{Clock, HandoffAnswer, HandoffFilter, HubError, Paging};
use throughline_schemas::connector::ErrorClass;
use throughline_schemas::{ChangeKind, ConnectionId, Enquiry, EnquiryId, Handoff, HandoffId, HandoffState};
use throughline_store::{MemoryDisk, Options, Store};

use crate::scripted::Fault;
use crate::support::{World, error, item, mail, until};

pub(crate) const NUMBER: &str = "+447700900123";

/// A customer's mail became an enquiry that ann owns.
pub(crate) async fn owned_by_ann(world: &World) -> (ConnectionId, Enquiry) {
    let id = world.connect("desk", json!({})).await;
    world.take(id, vec![mail("m", "ada@example.com", "Late order", world.clock.now())]).await;
    let enquiry = world.enquiries().remove(0);
    (id, world.hub.assign_enquiry(enquiry.id, Some("ann".to_owned())).await.unwrap().value)
}

pub(crate) async fn offer(world: &World, enquiry: EnquiryId, new: Value) -> Result<Handoff, HubError> {
    let mut all = json!({"by": "ann"});
    all.as_object_mut().unwrap().extend(new.as_object().unwrap().clone());
    Ok(world.hub.create_handoff(enquiry, serde_json::from_value(all).unwrap()).await?.value)
}

pub(crate) fn answer(by: &str, token: u64) -> HandoffAnswer {
    HandoffAnswer { by: by.to_owned(), fencing_token: token, acknowledge_briefing: true, why: None }
}

pub(crate) fn handoff(world: &World, id: HandoffId) -> Handoff {
    world.hub.handoff(id).unwrap().value
}

pub(crate) fn enquiry(world: &World, id: EnquiryId) -> Enquiry {
    world.hub.enquiry(id).unwrap().value
}

fn kinds(world: &World, after: u64) -> Vec<&'static str> {
    world.hub.changes(after, 500).unwrap().into_iter().map(|(_, change)| change.kind.as_str()).collect()
}

/// A call as the PBX tells of it, of the customer's number, with what more there is.
pub(crate) fn call_with(
    world: &World,
    key: &str,
    version: &str,
    direction: &str,
    token: &str,
    call: Value,
) -> throughline_schemas::connector::Item {
    let mut content = json!({"kind": "call"});
    content.as_object_mut().unwrap().extend(call.as_object().unwrap().clone());
    let data = json!({
        "channel": "phone", "direction": direction, "endpoint": "+442079460000", "occurred_at": world.clock.now(), "conversation_key": key,
        "participants": [{"role": "customer", "type": "phone", "address": NUMBER, "sender": direction == "inbound"}],
        "thread": {"tokens": [token]}, "content": content,
    });
    item(key, Some(version), data)
}

#[tokio::test]
async fn a_cold_transfer_lets_go_and_the_first_to_accept_has_it() {
    let world = World::new();
    let (_, owned) = owned_by_ann(&world).await;
    let head = world.hub.head();
    let made = offer(&world, owned.id, json!({"kind": "transfer_cold", "to": {"queue": "support"}, "note": "angry"})).await.unwrap();
    assert_eq!((made.state, made.from.as_deref()), (HandoffState::Offered, Some("ann")));
    assert_eq!(enquiry(&world, owned.id).owner, None);
    assert_eq!(made.briefing.reason.as_deref(), Some("Late order"));
    assert_eq!(made.briefing.last_exchanges[0].text, "Late order\nHello");

    let taken = world.hub.accept_handoff(made.id, answer("ben", made.fencing_token)).await.unwrap().value;
    let late = world.hub.accept_handoff(made.id, answer("cid", made.fencing_token)).await.unwrap_err();
    assert!(matches!(late, HubError::Fenced { .. }), "{late}");
    assert_eq!(enquiry(&world, owned.id).owner.as_deref(), Some("ben"));
    assert_eq!(enquiry(&world, owned.id).fencing_token, taken.fencing_token);
    world.hub.complete_handoff(made.id, answer("ben", taken.fencing_token)).await.unwrap();
    let told = kinds(&world, head);
    assert_eq!(told, ["handoff.offered", "enquiry.updated", "handoff.accepted", "enquiry.updated", "handoff.completed"]);
    let decisions = world.hub.decisions(&owned.id.to_string(), Paging { cursor: None, limit: 50 }).unwrap().items;
    assert_eq!(decisions.iter().filter(|decision| decision.subject == "handoff").count(), 3);
}

#[tokio::test]
async fn only_one_at_a_time_moves_the_owner_and_an_assignment_by_hand_overtakes_it() {
    let world = World::new();
    let (_, owned) = owned_by_ann(&world).await;
    let to_ben = json!({"kind": "transfer_warm", "to": {"agent": "ben"}});
    let first = offer(&world, owned.id, to_ben.clone()).await.unwrap();
    assert!(matches!(offer(&world, owned.id, to_ben.clone()).await.unwrap_err(), HubError::Conflict { .. }));
    let asked = offer(&world, owned.id, json!({"kind": "consult", "to": {"agent": "cid"}})).await.unwrap();
    world.hub.assign_enquiry(owned.id, Some("eve".to_owned())).await.unwrap();
    assert_eq!(handoff(&world, first.id).state, HandoffState::Failed);
    assert_eq!(handoff(&world, asked.id).state, HandoffState::Offered, "a question stands beside the owner");
    assert!(world.hub.accept_handoff(first.id, answer("ben", first.fencing_token)).await.is_err());
    let stale = json!({"kind": "transfer_cold", "to": {"agent": "ben"}, "fencing_token": owned.fencing_token});
    assert!(matches!(offer(&world, owned.id, stale).await.unwrap_err(), HubError::Fenced { .. }));

    let third = offer(&world, owned.id, to_ben).await.unwrap();
    world.hub.resolve_enquiry(owned.id).await.unwrap();
    assert_eq!([third.id, asked.id].map(|id| handoff(&world, id).state), [HandoffState::Failed; 2], "what is over is handed to nobody");
    assert!(offer(&world, owned.id, json!({"kind": "consult", "to": {"agent": "cid"}})).await.is_err());
}

#[tokio::test]
async fn mistakes_are_named_and_change_nothing() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let head = world.hub.head();
    let phone = json!({"connection_id": id, "channel": "phone", "address": NUMBER});
    let table = [
        (json!({"kind": "transfer_cold"}), "/to"),
        (json!({"kind": "transfer_cold", "to": {"agent": " "}}), "/to"),
        (json!({"kind": "consult", "to": {"agent": "ben"}, "by": ""}), "/by"),
        (json!({"kind": "consult", "to": {"agent": "ben"}, "deadline_seconds": 0}), "/deadline_seconds"),
        (json!({"kind": "escalate", "to": {"queue": "support"}, "meeting": phone}), "/to"),
        (json!({"kind": "escalate", "to": {"agent": "ann"}, "meeting": {"connection_id": id}}), "/meeting/address"),
        (json!({"kind": "escalate", "to": {"agent": "ann"}, "meeting": {"connection_id": id, "address": "1"}}), "/meeting"),
        (
            json!({"kind": "escalate", "to": {"agent": "ann"}, "meeting": {"connection_id": id, "channel": "sms", "address": NUMBER}}),
            "/meeting/channel",
        ),
        (json!({"kind": "callback", "to": {"agent": "ann"}, "meeting": phone}), "/at"),
        (json!({"kind": "callback", "to": {"agent": "ann"}, "meeting": phone, "at": "2999-01-01T00:00:00.000Z"}), "/at"),
        (json!({"kind": "consult", "to": {"agent": "ben"}, "invite": {"text": "x"}}), "/invite"),
        (json!({"kind": "channel_switch", "meeting": phone, "invite": {"text": "come"}}), "/invite/text"),
        (json!({"kind": "channel_switch", "meeting": phone, "invite": {"text": "{link}"}}), "/invite/link"),
        (json!({"kind": "channel_switch", "meeting": phone, "invite": {"text": "{link}", "link": "https://x"}}), "/invite/link"),
    ];
    for (wrong, field) in table {
        let refusal = offer(&world, owned.id, wrong.clone()).await.unwrap_err();
        let HubError::Invalid { errors } = &refusal else { panic!("{wrong}: {refusal}") };
        assert!(errors[0].pointer.starts_with(field), "{wrong}: {refusal}");
    }
    assert_eq!((world.hub.head(), enquiry(&world, owned.id)), (head, owned));
}

#[tokio::test]
async fn an_offer_that_nobody_takes_expires_after_a_crash_as_well() {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    let (_, owned) = owned_by_ann(&world).await;
    let policy = HandoffPolicy { fallback: Some("support".to_owned()), ..HandoffPolicy::default() };
    world.hub.set_handoff_policy("default", policy).await.unwrap();
    let made = offer(&world, owned.id, json!({"kind": "transfer_cold", "to": {"agent": "ben"}, "deadline_seconds": 60})).await.unwrap();
    assert_eq!(world.hub.watch_handoffs().await.unwrap(), Some(made.deadline));
    assert_eq!(handoff(&world, made.id).state, HandoffState::Offered);
    disk.crash();
    let world = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    world.clock.by(Duration::from_secs(61));
    let late = world.hub.accept_handoff(made.id, answer("ben", made.fencing_token)).await.unwrap_err();
    assert!(late.to_string().contains("expired"), "late is late even before the watchdog comes: {late}");
    world.hub.start().await.unwrap();
    until(|| handoff(&world, made.id).state == HandoffState::Expired).await;
    assert_eq!(enquiry(&world, owned.id).owner.as_deref(), Some("support"));
    assert_eq!(world.hub.watch_handoffs().await.unwrap(), None);
}

#[tokio::test]
async fn what_has_no_owner_goes_to_its_brands_fallback_in_time() {
    let world = World::new();
    let id = world.connect("desk", json!({})).await;
    let other = world.connect("other", json!({"brand": "other"})).await;
    world.take(id, vec![mail("m1", "ada@example.com", "One", world.clock.now())]).await;
    world.take(other, vec![mail("m2", "bob@example.com", "Two", world.clock.now())]).await;
    world.hub.watch_handoffs().await.unwrap();
    world.clock.by(Duration::from_secs(3600));
    world.hub.watch_handoffs().await.unwrap();
    let owner = |reason: &str| world.enquiries().into_iter().find(|enquiry| enquiry.reason == reason).unwrap().owner;
    assert_eq!((owner("One"), owner("Two")), (None, None), "without a fallback nobody gets it");

    let policy = HandoffPolicy { fallback: Some("late-desk".to_owned()), unowned_seconds: 30, ..HandoffPolicy::default() };
    world.hub.set_handoff_policy("other", policy).await.unwrap();
    world.hub.watch_handoffs().await.unwrap();
    assert_eq!((owner("One"), owner("Two").as_deref()), (None, Some("late-desk")), "what was there before the policy as well");

    world.take(other, vec![mail("m3", "cid@example.com", "Three", world.clock.now())]).await;
    let next = world.hub.watch_handoffs().await.unwrap().unwrap();
    assert_eq!(owner("Three"), None, "not before its time");
    let three = world.enquiries().into_iter().find(|enquiry| enquiry.reason == "Three").unwrap();
    assert_eq!(next, three.opened_at.plus_millis(30_000));
    world.hub.assign_enquiry(three.id, Some("ann".to_owned())).await.unwrap();
    world.clock.by(Duration::from_secs(31));
    world.hub.assign_enquiry(three.id, None).await.unwrap();
    world.hub.watch_handoffs().await.unwrap();
    assert_eq!(owner("Three"), None, "its time begins anew when it is freed");
    world.clock.by(Duration::from_secs(31));
    world.hub.watch_handoffs().await.unwrap();
    assert_eq!(owner("Three").as_deref(), Some("late-desk"));
    let decisions = world.hub.decisions(&three.id.to_string(), Paging { cursor: None, limit: 50 }).unwrap().items;
    assert!(decisions.iter().any(|decision| decision.evidence[0].rule == "no owner"), "{decisions:?}");
}

/// Escalates ann's enquiry to a call of her own; answers the handoff and the token that the call carries.
async fn escalate(world: &World, id: ConnectionId, enquiry: EnquiryId, more: Value) -> (Handoff, String) {
    let mut new = json!({"kind": "escalate", "to": {"agent": "ann"}, "meeting": {"connection_id": id, "address": NUMBER}});
    new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = offer(world, enquiry, new).await.unwrap();
    until(|| !world.silo.state().acts.is_empty()).await;
    let (action, input, key) = world.silo.state().acts[0].clone();
    assert_eq!(
        (action.as_str(), &input["agent"], &input["customer"], key),
        ("originate", &json!("ann"), &json!(NUMBER), made.id.to_string())
    );
    (made, input["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_mail_is_escalated_to_a_call_whose_screen_pop_carries_the_briefing() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let order = serde_json::from_value(json!({"order": {"value": "4711"}})).unwrap();
    world.hub.set_enquiry_variables(owned.id, order).await.unwrap();
    let (made, token) = escalate(&world, id, owned.id, json!({"note": "call him"})).await;
    let head = world.hub.head();
    let ringing = json!({"phase": "ringing", "ringing": ["ann"]});
    world.take(id, vec![call_with(&world, "c1", "1", "outbound", &token, ringing)]).await;
    let rings = world.hub.changes(head, 50).unwrap().into_iter().find(|(_, change)| change.kind == ChangeKind::CallRinging).unwrap().1;
    assert_eq!(rings.enquiry_id, Some(owned.id), "the token leads the call to the enquiry");
    let pop = world.hub.screen_pop(&rings).unwrap();
    assert_eq!(pop["handoff"]["id"], json!(made.id));
    assert_eq!((&pop["briefing"]["note"], &pop["briefing"]["variables"]["order"]), (&json!("call him"), &json!("4711")));
    assert_eq!(pop["briefing"]["last_exchanges"][0]["text"], "Late order\nHello");

    let talking = json!({"phase": "talking", "agents": ["ann"], "answered": true, "outcome": "answered"});
    world.take(id, vec![call_with(&world, "c1", "2", "outbound", &token, talking)]).await;
    let done = handoff(&world, made.id);
    assert_eq!((done.state, done.accepted_by.as_deref(), done.acknowledged_at.is_some()), (HandoffState::Completed, Some("ann"), true));
    let told = kinds(&world, head);
    assert!(told.contains(&"handoff.accepted") && told.contains(&"handoff.completed"), "{told:?}");
    let channels: Vec<_> = world.hub.enquiry_interactions(owned.id, Paging { cursor: None, limit: 9 }).unwrap().items;
    assert_eq!(channels.len(), 2, "mail and call on one timeline");
    let after = enquiry(&world, owned.id);
    assert_eq!((after.owner, after.opened_at, after.reason), (owned.owner, owned.opened_at, owned.reason), "nothing is lost on the way");
    assert_eq!(after.variables["order"].value, "4711");
}

#[tokio::test]
async fn a_call_that_comes_to_nothing_fails_the_handoff_and_the_owner_stays() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let (made, token) = escalate(&world, id, owned.id, json!({})).await;
    world.take(id, vec![call_with(&world, "c1", "1", "outbound", &token, json!({"phase": "ended", "outcome": "no_answer"}))]).await;
    let failed = handoff(&world, made.id);
    assert_eq!((failed.state, failed.outcome.as_deref()), (HandoffState::Failed, Some("the call came to nothing: no answer")));
    assert_eq!(enquiry(&world, owned.id).owner.as_deref(), Some("ann"));

    world.silo.fault(Fault::Op(error(ErrorClass::InvalidRecord)));
    let refused =
        offer(&world, owned.id, json!({"kind": "escalate", "to": {"agent": "ann"}, "meeting": {"connection_id": id, "address": NUMBER}}));
    let refused = refused.await.unwrap();
    until(|| handoff(&world, refused.id).state == HandoffState::Failed).await;
    assert_eq!((world.letters().len(), world.silo.state().acts.len()), (1, 1));
    let replay = world.hub.replay_dead_letter(world.letters()[0].id).await.unwrap_err();
    assert!(matches!(replay, HubError::Conflict { .. }), "a call that nobody expects any more is not placed");
}

#[tokio::test]
async fn a_callback_is_placed_at_its_time_once_whatever_dies() {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    let (id, owned) = owned_by_ann(&world).await;
    let at = world.clock.now().plus_millis(3_600_000);
    let new = json!({"kind": "callback", "to": {"agent": "ann"}, "meeting": {"connection_id": id, "address": NUMBER}, "at": at});
    let (kept, taken_back) = (offer(&world, owned.id, new.clone()).await.unwrap(), offer(&world, owned.id, new).await.unwrap());
    world.hub.decline_handoff(taken_back.id, answer("ann", taken_back.fencing_token)).await.unwrap();
    world.quiet_but(id, 1).await;
    assert!(world.silo.state().acts.is_empty(), "not before its time");

    disk.crash();
    let world = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    world.clock.by(Duration::from_secs(3601));
    world.silo.fault(Fault::Hang);
    world.hub.start().await.unwrap();
    until(|| world.silo.state().acts.len() == 1).await;
    assert_eq!(world.silo.state().acts[0].2, kept.id.to_string(), "the one that was taken back is not placed");

    disk.crash();
    let world = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    world.hub.start().await.unwrap();
    until(|| handoff(&world, kept.id).state == HandoffState::Failed).await;
    world.quiet(id).await;
    assert_eq!((world.silo.state().acts.len(), world.letters().len()), (1, 1), "it may have been placed: a person looks");
}

#[tokio::test]
async fn a_callback_that_the_hub_slept_through_is_not_made_late() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let at = world.clock.now().plus_millis(60_000);
    let new = json!({"kind": "callback", "to": {"agent": "ann"}, "meeting": {"connection_id": id, "address": NUMBER}, "at": at});
    let made = offer(&world, owned.id, new).await.unwrap();
    world.clock.by(Duration::from_secs(60 + 901));
    world.take(id, vec![mail("m2", "eve@example.com", "Wakes the dispatcher", world.clock.now())]).await;
    world.quiet(id).await;
    world.hub.watch_handoffs().await.unwrap();
    assert_eq!((handoff(&world, made.id).state, world.silo.state().acts.len()), (HandoffState::Expired, 0));
}

#[tokio::test]
async fn a_customer_is_invited_to_another_channel_and_comes_back_to_the_same_enquiry() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let chat = world.connect("chat", json!({})).await;
    let invite = json!({"text": "Go on here: {link}", "subject": "Your order", "link": "https://shop.test/chat?t={token}", "from": "shop@shop.test"});
    let meeting = json!({"connection_id": id, "channel": "email"});
    let made = offer(&world, owned.id, json!({"kind": "channel_switch", "meeting": meeting, "invite": invite})).await.unwrap();
    assert_eq!(made.meeting.as_ref().unwrap().address, "ada@example.com", "where she is known");
    until(|| !world.silo.state().sent.is_empty()).await;
    let message = world.silo.state().sent[0].0.clone();
    let token = message.text.strip_prefix("Go on here: https://shop.test/chat?t=").unwrap().to_owned();
    assert_eq!((message.to, message.subject.as_deref()), (vec!["ada@example.com".to_owned()], Some("Your order")));

    let mut came = mail("m2", "ada@example.com", "Here I am", world.clock.now());
    came.data["thread"] = json!({"tokens": [token]});
    world.take(chat, vec![came]).await;
    let done = handoff(&world, made.id);
    assert_eq!((done.state, done.outcome.as_deref()), (HandoffState::Completed, Some("the customer came by email")));
    let timeline = world.hub.enquiry_interactions(owned.id, Paging { cursor: None, limit: 9 }).unwrap().items;
    assert_eq!(timeline.len(), 3, "mail, invitation and what came of it");
    assert_eq!(enquiry(&world, owned.id).owner.as_deref(), Some("ann"));
    let of_enquiry = HandoffFilter { enquiry: Some(owned.id), ..HandoffFilter::default() };
    assert_eq!(world.hub.handoffs(&of_enquiry, Paging { cursor: None, limit: 9 }).unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_bot_that_has_handed_over_answers_no_more() {
    let world = World::new();
    let (_, owned) = owned_by_ann(&world).await;
    let conversation = world.timeline(world.profiles()[0].id)[0].clone();
    world.hub.assign_enquiry(owned.id, Some("bot".to_owned())).await.unwrap();
    let before = enquiry(&world, owned.id).fencing_token;
    let say = |more: Value| {
        let mut message = json!({"text": "Hello"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.hub.send_message(conversation.conversation_id, serde_json::from_value(message).unwrap())
    };
    let made = offer(&world, owned.id, json!({"kind": "bot_to_human", "by": "bot", "to": {"queue": "support"}})).await.unwrap();
    assert!(matches!(say(json!({"automatic": true})).await.unwrap_err(), HubError::Fenced { .. }));
    assert!(matches!(say(json!({"automatic": true, "fencing_token": before})).await.unwrap_err(), HubError::Fenced { .. }));
    let taken = world.hub.accept_handoff(made.id, answer("ann", made.fencing_token)).await.unwrap().value;
    let answered = json!({"answers": conversation.id, "fencing_token": taken.fencing_token});
    say(answered.clone()).await.unwrap();
    assert!(matches!(say(answered).await.unwrap_err(), HubError::Conflict { .. }), "one answer to what was said");
    assert!(matches!(say(json!({"answers": made.id.to_string().replace("hnd", "int")})).await.unwrap_err(), HubError::Invalid { .. }));
}

#[tokio::test]
async fn who_is_expected_on_a_channel_needs_no_token() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let second = json!({"profile_id": owned.profile_id, "reason": "Something else"});
    world.hub.create_enquiry(serde_json::from_value(second).unwrap()).await.unwrap();
    let came = |key: &str| {
        let mut came = mail(key, "ada@example.com", "Here I am", world.clock.now());
        came.data["conversation_key"] = json!(key);
        came
    };
    world.take(id, vec![came("m2")]).await;
    let belongs = |key: &str| {
        let said = world.timeline(world.who("email:ada@example.com").id);
        said.into_iter().find(|one| one.external_id == key).unwrap().enquiry_id
    };
    assert_ne!(belongs("m2"), Some(owned.id), "of two that are open neither is chosen");
    let made =
        offer(&world, owned.id, json!({"kind": "channel_switch", "meeting": {"connection_id": id, "channel": "email"}})).await.unwrap();
    world.take(id, vec![came("m3")]).await;
    assert_eq!((belongs("m3"), handoff(&world, made.id).state), (Some(owned.id), HandoffState::Completed));
    world.take(id, vec![came("m4")]).await;
    assert_ne!(belongs("m4"), Some(owned.id), "it is over");
}
