//! Calls under way that go along with their enquiry, and handoffs whose connection goes away.

use serde_json::{Value, json};
use throughline_engine::{Clock, HubError};
use throughline_schemas::connector::ErrorClass;
use throughline_schemas::{ConnectionId, Enquiry, HandoffState, InteractionId};

use crate::handoffs::{NUMBER, answer, call_with, enquiry, handoff, offer, owned_by_ann};
use crate::support::{World, error, until};

struct Live {
    id: ConnectionId,
    enquiry: Enquiry,
    call: InteractionId,
}

/// A customer talks to the bot; the call is the bot's enquiry.
async fn talking_to_bot(world: &World) -> Live {
    let id = world.connect("desk", json!({})).await;
    tell(world, id, "1", json!({"phase": "talking", "agents": ["bot"], "answered": true})).await;
    let found = world.enquiries().remove(0);
    let call = world.timeline(found.profile_id)[0].id;
    let enquiry = world.hub.assign_enquiry(found.id, Some("bot".to_owned())).await.unwrap().value;
    Live { id, enquiry, call }
}

async fn tell(world: &World, id: ConnectionId, version: &str, call: Value) {
    world.take(id, vec![call_with(world, "pbx:1.1", version, "inbound", "none", call)]).await;
}

/// What the PBX was asked for: action and input.
fn asked(world: &World) -> Vec<(String, Value)> {
    world.silo.state().acts.iter().map(|(action, input, _)| (action.clone(), input.clone())).collect()
}

fn redirected_to(agent: &str) -> Vec<(String, Value)> {
    vec![("redirect".to_owned(), json!({"call": "pbx:1.1", "agent": agent}))]
}

#[tokio::test]
async fn a_bot_hands_a_live_call_to_the_person_who_accepts() {
    let world = World::new();
    let live = talking_to_bot(&world).await;
    let new = json!({"kind": "bot_to_human", "by": "bot", "to": {"queue": "support"}, "call": live.call});
    let made = offer(&world, live.enquiry.id, new).await.unwrap();
    assert_eq!(made.meeting.as_ref().map(|meeting| meeting.address.as_str()), Some(NUMBER));
    world.quiet(live.id).await;
    assert_eq!(asked(&world), [], "nobody has taken it");
    let taken = world.hub.accept_handoff(made.id, answer("ann", made.fencing_token)).await.unwrap().value;
    until(|| !asked(&world).is_empty()).await;
    assert_eq!((asked(&world), taken.state), (redirected_to("ann"), HandoffState::Accepted));
    tell(&world, live.id, "2", json!({"phase": "talking", "agents": ["bot", "ann"], "answered": true})).await;
    let done = handoff(&world, made.id);
    assert_eq!((done.state, done.outcome.as_deref()), (HandoffState::Completed, Some("ann has the call")));
    assert_eq!(enquiry(&world, live.enquiry.id).owner.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_cold_transfer_sends_the_call_at_once_and_a_warm_one_when_the_receiver_knows() {
    let world = World::new();
    let live = talking_to_bot(&world).await;
    let cold = json!({"kind": "transfer_cold", "by": "bot", "to": {"agent": "ann"}, "call": live.call});
    let made = offer(&world, live.enquiry.id, cold).await.unwrap();
    until(|| !asked(&world).is_empty()).await;
    assert_eq!((asked(&world), enquiry(&world, live.enquiry.id).owner), (redirected_to("ann"), None));
    tell(&world, live.id, "2", json!({"phase": "talking", "agents": ["bot", "ann"], "answered": true})).await;
    assert_eq!(handoff(&world, made.id).state, HandoffState::Completed, "whoever picks up has accepted");
    assert_eq!(enquiry(&world, live.enquiry.id).owner.as_deref(), Some("ann"));

    world.silo.state().acts.clear();
    let warm = json!({"kind": "transfer_warm", "to": {"agent": "ben"}, "call": live.call});
    let made = offer(&world, live.enquiry.id, warm.clone()).await.unwrap();
    world.quiet(live.id).await;
    assert_eq!(asked(&world), []);
    world.hub.accept_handoff(made.id, answer("ben", made.fencing_token)).await.unwrap();
    until(|| !asked(&world).is_empty()).await;
    assert_eq!((asked(&world), enquiry(&world, live.enquiry.id).owner.as_deref()), (redirected_to("ben"), Some("ann")));
    tell(&world, live.id, "3", json!({"phase": "talking", "agents": ["bot", "ann", "ben"], "answered": true})).await;
    assert_eq!((handoff(&world, made.id).state, enquiry(&world, live.enquiry.id).owner.as_deref()), (HandoffState::Completed, Some("ben")));

    // The PBX cannot: the old owner stays.
    let warm = json!({"kind": "transfer_warm", "by": "ben", "to": {"agent": "cid"}, "call": live.call});
    let made = offer(&world, live.enquiry.id, warm).await.unwrap();
    world.silo.state().act_errors.push_back(error(ErrorClass::Conflict));
    world.hub.accept_handoff(made.id, answer("cid", made.fencing_token)).await.unwrap();
    until(|| handoff(&world, made.id).state == HandoffState::Failed).await;
    assert_eq!(enquiry(&world, live.enquiry.id).owner.as_deref(), Some("ben"));
}

#[tokio::test]
async fn only_a_call_of_the_enquiry_that_is_under_way_goes_along() {
    let world = World::new();
    let live = talking_to_bot(&world).await;
    let second = json!({"profile_id": live.enquiry.profile_id, "reason": "Something else"});
    let other = world.hub.create_enquiry(serde_json::from_value(second).unwrap()).await.unwrap().value;
    let to_ann = |call: Value| json!({"kind": "transfer_cold", "by": "bot", "to": {"agent": "ann"}, "call": call});
    let meeting = json!({"connection_id": live.id, "channel": "phone"});
    let invented = live.call.to_string().replace(|digit: char| digit.is_ascii_digit(), "0");
    let table = [
        (other.id, to_ann(json!(live.call)), "/call"),
        (live.enquiry.id, to_ann(json!(invented)), "/call"),
        (live.enquiry.id, json!({"kind": "transfer_cold", "to": {"agent": "a".repeat(81)}, "call": live.call}), "/call"),
        (live.enquiry.id, json!({"kind": "consult", "to": {"agent": "ann"}, "call": live.call}), "/call"),
        (live.enquiry.id, json!({"kind": "escalate", "to": {"agent": "ann"}, "call": live.call, "meeting": meeting}), "/meeting"),
    ];
    for (enquiry, wrong, field) in table {
        let refusal = offer(&world, enquiry, wrong.clone()).await.unwrap_err();
        let HubError::Invalid { errors } = &refusal else { panic!("{wrong}: {refusal}") };
        assert!(errors[0].pointer.starts_with(field), "{wrong}: {refusal}");
    }
    // It ends before anybody has taken it, and then it goes along no more.
    let made =
        offer(&world, live.enquiry.id, json!({"kind": "transfer_cold", "to": {"queue": "support"}, "call": live.call})).await.unwrap();
    tell(&world, live.id, "2", json!({"phase": "ended", "agents": ["bot"], "answered": true, "outcome": "answered"})).await;
    let failed = handoff(&world, made.id);
    assert_eq!((failed.state, failed.outcome.as_deref()), (HandoffState::Failed, Some("the call ended before it was taken over")));
    assert_eq!(enquiry(&world, live.enquiry.id).owner.as_deref(), Some("bot"), "it goes back to who let it go");
    assert!(matches!(offer(&world, live.enquiry.id, to_ann(json!(live.call))).await.unwrap_err(), HubError::Invalid { .. }));
    assert_eq!(asked(&world), []);
}

#[tokio::test]
async fn a_handoff_whose_connection_is_deleted_fails_and_says_why() {
    let world = World::new();
    let (id, owned) = owned_by_ann(&world).await;
    let other = world.connect("other", json!({})).await;
    let at = world.clock.now().plus_millis(3_600_000);
    let callback = |on: ConnectionId| json!({"kind": "callback", "to": {"agent": "ann"}, "meeting": {"connection_id": on, "address": NUMBER}, "at": at});
    let lost = offer(&world, owned.id, callback(other)).await.unwrap();
    let switch = json!({"kind": "channel_switch", "meeting": {"connection_id": other, "channel": "phone", "address": NUMBER}});
    let invited = offer(&world, owned.id, switch).await.unwrap();
    let kept = offer(&world, owned.id, callback(id)).await.unwrap();
    let version = world.hub.connection(other).unwrap().version;
    world.hub.delete_connection(other, version).await.unwrap();
    for failed in [lost.id, invited.id].map(|id| handoff(&world, id)) {
        assert_eq!(
            (failed.state, failed.outcome.as_deref()),
            (HandoffState::Failed, Some("the connection that was to carry it out was deleted"))
        );
    }
    assert_eq!(handoff(&world, kept.id).state, HandoffState::Offered, "the other connection's goes on");
    assert!(matches!(offer(&world, owned.id, callback(other)).await.unwrap_err(), HubError::Invalid { .. }));
}
