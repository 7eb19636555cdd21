//! The rules as tables, and what must hold whatever happens as properties.

use proptest::prelude::*;
use serde_json::{Value, json};
use throughline_schemas::{
    Briefing, Channel, Classification, ConnectionId, Enquiry, EnquiryId, Handoff, HandoffId, HandoffKind, HandoffState, Interaction,
    InteractionId, Meeting, Receiver, Timestamp,
};

use super::*;

const KINDS: [HandoffKind; 7] = [
    HandoffKind::ChannelSwitch,
    HandoffKind::Escalate,
    HandoffKind::TransferCold,
    HandoffKind::TransferWarm,
    HandoffKind::Consult,
    HandoffKind::BotToHuman,
    HandoffKind::Callback,
];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn enquiry() -> Enquiry {
    let variable = |value: &str, classification: &str| json!({"value": value, "classification": classification, "at": at(0)});
    serde_json::from_value(json!({
        "id": EnquiryId::from_bytes([1; 16]), "profile_id": "pro_00000000000000000000000001", "reason": "Late order", "status": "open",
        "owner": "bot", "fencing_token": 1, "brand": "default", "opened_at": at(0), "updated_at": at(0),
        "variables": {"order": variable("4711", "internal"), "iban": variable("DE02", "pii"), "pin": variable("1234", "secret"),
                      "old": {"value": "x", "at": at(0), "expires_at": at(1)}},
    }))
    .unwrap()
}

fn told(interactions: &[Interaction], earlier: &[Handoff], may_see: &dyn Fn(Classification) -> bool) -> Briefing {
    let enquiry = enquiry();
    let facts = BriefingFacts { enquiry: &enquiry, customer: Some("Ada".to_owned()), interactions, earlier, note: None, now: at(2) };
    briefing(&facts, may_see)
}

fn meeting() -> Meeting {
    Meeting { channel: Channel::Phone, connection_id: ConnectionId::from_bytes([2; 16]), address: "+441632960201".to_owned() }
}

fn owned(owner: Option<&str>) -> Ownership {
    Ownership { owner: owner.map(str::to_owned), fencing_token: 5 }
}

fn an_offer(kind: HandoffKind) -> Offer {
    let met = matches!(kind, HandoffKind::ChannelSwitch | HandoffKind::Callback);
    Offer {
        id: HandoffId::from_bytes([3; 16]),
        enquiry_id: EnquiryId::from_bytes([1; 16]),
        kind,
        by: "ann".to_owned(),
        to: (kind != HandoffKind::ChannelSwitch).then(|| Receiver::Agent("ben".to_owned())),
        meeting: met.then(meeting),
        call: None,
        at: (kind == HandoffKind::Callback).then(|| at(500)),
        deadline: None,
        presented: None,
        briefing: told(&[], &[], &|_| true),
    }
}

fn offered(kind: HandoffKind, policy: &HandoffPolicy) -> Stepped {
    offer(an_offer(kind), &owned(Some("ann")), None, policy, at(10)).unwrap()
}

fn accept(by: &str) -> Step {
    Step::Accept { by: by.to_owned(), acknowledge: true }
}

fn complete(by: &str) -> Step {
    Step::Complete { by: by.to_owned(), acknowledge: true }
}

fn decline(by: &str) -> Step {
    Step::Decline { by: by.to_owned(), why: None }
}

fn go(before: &Stepped, what: &Step, now: Timestamp) -> Stepped {
    let presented = Some(before.handoff.fencing_token);
    step(&before.handoff, &before.ownership, what, presented, &HandoffPolicy::default(), now).unwrap()
}

fn refused(before: &Stepped, what: &Step, presented: Option<u64>, now: Timestamp) -> Refusal {
    step(&before.handoff, &before.ownership, what, presented, &HandoffPolicy::default(), now).unwrap_err()
}

/// Who owns the enquiry: after the offer, after it was accepted, after it was completed; after it was declined or has expired.
#[test]
fn there_is_one_owner_at_every_step() {
    let (ann, ben, none) = (Some("ann"), Some("ben"), None);
    let table = [
        (HandoffKind::Escalate, [ann, ben, ben, ann]),
        (HandoffKind::TransferCold, [none, ben, ben, ann]),
        (HandoffKind::TransferWarm, [ann, ann, ben, ann]),
        (HandoffKind::Consult, [ann, ann, ann, ann]),
        (HandoffKind::BotToHuman, [ann, ben, ben, ann]),
        (HandoffKind::Callback, [ann, ann, ann, ann]),
    ];
    for (kind, [at_offer, accepted, completed, lost]) in table {
        let begun = offered(kind, &HandoffPolicy::default());
        let taken = go(&begun, &accept("ben"), at(20));
        let done = go(&taken, &complete("ben"), at(30));
        let no = go(&begun, &decline("ben"), at(20));
        let late = go(&begun, &Step::TimePassed, begun.handoff.deadline);
        let owners = [&begun, &taken, &done, &no].map(|stepped| stepped.ownership.owner.as_deref());
        assert_eq!(owners, [at_offer, accepted, completed, lost], "{kind:?}");
        assert_eq!(late.ownership.owner.as_deref(), lost, "{kind:?}");
        let states = [&taken, &done, &no, &late].map(|stepped| stepped.handoff.state);
        let wanted = [HandoffState::Accepted, HandoffState::Completed, HandoffState::Declined, HandoffState::Expired];
        assert_eq!(states, wanted, "{kind:?}");
    }
}

#[test]
fn only_the_customer_can_take_an_invitation() {
    let begun = offered(HandoffKind::ChannelSwitch, &HandoffPolicy::default());
    assert!(matches!(refused(&begun, &accept("ben"), None, at(20)), Refusal::NotTheirs(_)));
    let came = go(&begun, &Step::Happened { by: None, what: "the customer came".to_owned() }, at(20));
    assert_eq!((came.handoff.state, came.ownership), (HandoffState::Completed, begun.ownership));
}

#[test]
fn what_nobody_wants_goes_to_the_fallback() {
    let policy = HandoffPolicy { fallback: Some("support".to_owned()), ..HandoffPolicy::default() };
    let begun = offered(HandoffKind::TransferCold, &policy);
    let late = step(&begun.handoff, &begun.ownership, &Step::TimePassed, None, &policy, begun.handoff.deadline).unwrap();
    assert_eq!(late.ownership.owner.as_deref(), Some("support"));
    let nobodys = offer(an_offer(HandoffKind::TransferCold), &owned(None), None, &HandoffPolicy::default(), at(10)).unwrap();
    assert_eq!(go(&nobodys, &decline("ben"), at(11)).ownership.owner, None, "there is nobody to go back to");
}

#[test]
fn whoever_comes_second_is_fenced_off() {
    for kind in [HandoffKind::Escalate, HandoffKind::TransferCold, HandoffKind::BotToHuman] {
        let offer_to_all = Offer { to: Some(Receiver::Queue("support".to_owned())), ..an_offer(kind) };
        let begun = offer(offer_to_all, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap();
        let token = begun.handoff.fencing_token;
        assert!(token > 5, "the offer itself fences off what was under way");
        let taken = go(&begun, &accept("ben"), at(20));
        for late in [accept("cid"), decline("ann"), complete("ann")] {
            assert!(matches!(refused(&taken, &late, Some(token), at(21)), Refusal::Fenced { presented, .. } if presented == token));
        }
        assert!(matches!(refused(&taken, &accept("cid"), None, at(21)), Refusal::WrongState(_)));
    }
    let stale = Offer { presented: Some(4), ..an_offer(HandoffKind::Consult) };
    let refusal = offer(stale, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap_err();
    assert!(matches!(refusal, Refusal::Fenced { presented: 4, .. }));
}

#[test]
fn who_may_do_what() {
    let begun = offered(HandoffKind::TransferWarm, &HandoffPolicy::default());
    let taken = go(&begun, &accept("ben"), at(20));
    assert!(matches!(refused(&begun, &accept("cid"), None, at(20)), Refusal::NotTheirs(_)));
    assert!(matches!(refused(&begun, &decline("cid"), None, at(20)), Refusal::NotTheirs(_)));
    assert!(matches!(refused(&begun, &complete("ben"), None, at(20)), Refusal::WrongState(_)));
    assert!(matches!(refused(&taken, &complete("cid"), None, at(20)), Refusal::NotTheirs(_)));
    assert!(matches!(refused(&begun, &accept("ben"), None, begun.handoff.deadline), Refusal::WrongState(_)));
    assert!(matches!(refused(&begun, &Step::TimePassed, None, at(11)), Refusal::WrongState(_)));
    assert_eq!(go(&begun, &decline("ann"), at(20)).handoff.state, HandoffState::Declined, "whoever offered it may take it back");
    let cold = go(&offered(HandoffKind::TransferCold, &HandoffPolicy::default()), &accept("ben"), at(20));
    assert!(matches!(refused(&cold, &decline("ben"), None, at(21)), Refusal::WrongState(_)), "what changed hands is handed on instead");
    let to_queue = Offer { to: Some(Receiver::Queue("support".to_owned())), ..an_offer(HandoffKind::BotToHuman) };
    let bots = offer(to_queue, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap();
    assert!(matches!(refused(&bots, &accept("ann"), None, at(11)), Refusal::NotTheirs(_)), "the bot is no person");
}

#[test]
fn the_receiver_acknowledges_the_briefing_before_it_is_complete() {
    let begun = offered(HandoffKind::TransferWarm, &HandoffPolicy::default());
    let taken = go(&begun, &Step::Accept { by: "ben".to_owned(), acknowledge: false }, at(20));
    let unread = Step::Complete { by: "ben".to_owned(), acknowledge: false };
    assert_eq!(refused(&taken, &unread, None, at(21)), Refusal::NotAcknowledged);
    assert_eq!(refused(&taken, &complete("ann"), None, at(21)), Refusal::NotAcknowledged, "nobody reads it in the receiver's place");
    assert_eq!(go(&taken, &complete("ben"), at(22)).handoff.acknowledged_at, Some(at(22)));
}

#[test]
fn offers_say_what_their_kind_needs_and_nothing_else() {
    let check = |offer_made: Offer, field: &str| {
        let refusal = offer(offer_made, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap_err();
        assert!(matches!(&refusal, Refusal::Invalid(named, _) if *named == field), "{refusal:?}");
    };
    check(Offer { to: None, ..an_offer(HandoffKind::TransferCold) }, "/to");
    check(Offer { to: Some(Receiver::Agent("ben".to_owned())), ..an_offer(HandoffKind::ChannelSwitch) }, "/to");
    check(Offer { to: Some(Receiver::Agent("ann".to_owned())), ..an_offer(HandoffKind::TransferWarm) }, "/to");
    check(Offer { meeting: None, ..an_offer(HandoffKind::ChannelSwitch) }, "/meeting");
    check(Offer { meeting: Some(meeting()), ..an_offer(HandoffKind::Consult) }, "/meeting");
    let call = Some(InteractionId::from_bytes([4; 16]));
    check(Offer { call, meeting: Some(meeting()), ..an_offer(HandoffKind::Consult) }, "/call");
    check(Offer { call, ..an_offer(HandoffKind::Callback) }, "/call");
    check(Offer { at: None, ..an_offer(HandoffKind::Callback) }, "/at");
    check(Offer { at: Some(at(10)), ..an_offer(HandoffKind::Callback) }, "/at");
    check(Offer { at: Some(at(20)), ..an_offer(HandoffKind::Escalate) }, "/at");
    check(Offer { deadline: Some(at(10)), ..an_offer(HandoffKind::Escalate) }, "/deadline_seconds");
    let open = Some(HandoffId::from_bytes([9; 16]));
    for kind in KINDS {
        let second = offer(an_offer(kind), &owned(Some("ann")), open, &HandoffPolicy::default(), at(10));
        assert_eq!(second.is_err(), moves_owner(kind), "{kind:?}: of those that move the owner there is one at a time");
    }
}

/// Whom the call under way is sent to: when the enquiry is offered, when ben accepts, and when he completes.
#[test]
fn a_call_goes_once_and_to_nobody_who_has_not_been_told() {
    let (queue, ben) = (Receiver::Queue("support".to_owned()), Receiver::Agent("ben".to_owned()));
    let table = [
        (HandoffKind::TransferCold, &ben, [Some("ben"), None, None]),
        (HandoffKind::TransferCold, &queue, [None, Some("ben"), None]),
        (HandoffKind::TransferWarm, &ben, [None, Some("ben"), None]),
        (HandoffKind::BotToHuman, &queue, [None, Some("ben"), None]),
        (HandoffKind::Escalate, &ben, [None, Some("ben"), None]),
    ];
    for (kind, to, wanted) in table {
        let call = Some(InteractionId::from_bytes([4; 16]));
        let made = Offer { call, to: Some(to.clone()), meeting: Some(meeting()), ..an_offer(kind) };
        let begun = offer(made, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap();
        let taken = go(&begun, &accept("ben"), at(20));
        let done = go(&taken, &complete("ben"), at(30));
        let sent = [(None, &begun), (Some(&begun), &taken), (Some(&taken), &done)];
        let sent = sent.map(|(before, after)| call_goes_to(before.map(|before| before.handoff.state), &after.handoff));
        assert_eq!(sent, wanted, "{kind:?} to {to:?}");
        let no = go(&begun, &decline("ben"), at(20));
        assert_eq!(call_goes_to(Some(HandoffState::Offered), &no.handoff), None, "{kind:?}: nobody wants it");
        let without = Handoff { call: None, ..taken.handoff.clone() };
        assert_eq!(call_goes_to(Some(HandoffState::Offered), &without), None, "{kind:?}: there is no call");
    }
}

#[test]
fn the_call_itself_shows_who_has_it() {
    let call = |agents: &[&str], phase: &str| serde_json::from_value(json!({"phase": phase, "agents": agents, "answered": true})).unwrap();
    let to_queue = Offer { to: Some(Receiver::Queue("support".to_owned())), ..an_offer(HandoffKind::TransferCold) };
    let unclaimed = offer(to_queue, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap();
    let to_ben = offered(HandoffKind::TransferCold, &HandoffPolicy::default());
    let ben = Step::Happened { by: Some("ben".to_owned()), what: "ben has the call".to_owned() };
    let over = Step::Fail { why: "the call ended before it was taken over".to_owned() };
    let table = [
        (&to_ben, call(&["ann"], "talking"), None),
        (&to_ben, call(&["ann", "ben"], "talking"), Some(ben.clone())),
        (&to_ben, call(&["ben", "ann"], "talking"), None),
        (&to_ben, call(&["ann", "ben"], "ended"), Some(ben)),
        (&to_ben, call(&["ann"], "ended"), Some(over.clone())),
        (&unclaimed, call(&["ben"], "talking"), None),
        (&unclaimed, call(&[], "ended"), Some(over)),
    ];
    for (begun, call, wanted) in table {
        assert_eq!(shown_by_moved_call(&call, &begun.handoff), wanted, "{call:?}");
    }
}

#[test]
fn a_call_that_is_answered_accepts_and_completes() {
    let mut escalated = an_offer(HandoffKind::Escalate);
    (escalated.to, escalated.meeting) = (Some(Receiver::Agent("ann".to_owned())), Some(meeting()));
    let begun = offer(escalated, &owned(Some("ann")), None, &HandoffPolicy::default(), at(10)).unwrap();
    let answered = Step::Happened { by: Some("ann".to_owned()), what: "the call was answered".to_owned() };
    let done = step(&begun.handoff, &begun.ownership, &answered, None, &HandoffPolicy::default(), at(20)).unwrap();
    assert_eq!((done.handoff.state, done.ownership.owner.as_deref()), (HandoffState::Completed, Some("ann")));
    assert!(done.handoff.acknowledged_at.is_some() && done.ownership.fencing_token > begun.ownership.fencing_token);
    let failed = step(&begun.handoff, &begun.ownership, &Step::Fail { why: "busy".to_owned() }, None, &HandoffPolicy::default(), at(20));
    assert_eq!(failed.unwrap().ownership.owner.as_deref(), Some("ann"));
}

#[test]
fn accepted_and_forgotten_ends_by_itself() {
    for (kind, state) in [(HandoffKind::TransferCold, HandoffState::Completed), (HandoffKind::TransferWarm, HandoffState::Failed)] {
        let taken = go(&offered(kind, &HandoffPolicy::default()), &accept("ben"), at(20));
        let late = go(&taken, &Step::TimePassed, taken.handoff.deadline);
        assert_eq!((late.handoff.state, late.ownership.owner), (state, taken.ownership.owner), "{kind:?}");
    }
}

fn said(number: u8, data: Value) -> Interaction {
    let mut all = json!({
        "id": throughline_schemas::InteractionId::from_bytes([number; 16]), "connection_id": ConnectionId::from_bytes([2; 16]),
        "external_id": number.to_string(), "conversation_id": "con_00000000000000000000000001", "accepted_at": at(0),
        "channel": "chat", "direction": "inbound", "occurred_at": at(i64::from(number)),
        "participants": [{"role": "customer", "sender": true}],
    });
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn a_briefing_tells_what_was_said_tried_and_sent_over_all_channels() {
    let file = json!({"name": "label.png", "media_type": "image/png", "size": 3, "reference": "sha256:00"});
    let interactions = [
        said(4, json!({"direction": "outbound", "content": {"kind": "message", "text": "We look into it", "attachments": [file]}})),
        said(
            3,
            json!({"channel": "phone", "content": {"kind": "call", "phase": "ended", "outcome": "abandoned", "queue": "support", "digits": ["1"]}}),
        ),
        said(2, json!({"channel": "web", "content": {"kind": "self_service", "steps": ["parcel tracking"]}})),
        said(1, json!({"content": {"kind": "message", "text": "é".repeat(5000), "attachments": [file]}})),
    ];
    let gone = go(&offered(HandoffKind::Escalate, &HandoffPolicy::default()), &decline("ben"), at(20)).handoff;
    let told = told(&interactions, &[gone], &|classification| classification < Classification::Secret);
    let texts: Vec<&str> = told.last_exchanges.iter().map(|exchange| exchange.text.as_str()).collect();
    assert_eq!(texts[1..], ["parcel tracking", "call, given up by the customer; queue support; keyed 1", "We look into it"]);
    assert_eq!(texts[0].chars().count(), 601);
    assert_eq!(
        told.tried,
        ["self-service: parcel tracking", "call, given up by the customer", "answered 1 time", "escalate to ben: declined by ben"]
    );
    assert_eq!((told.attachments.len(), told.withheld), (1, 1), "one file, however often it was sent; the secret is kept back");
    assert_eq!(told.variables.keys().collect::<Vec<_>>(), ["iban", "order"], "what has expired is not told");
}

#[test]
fn a_briefing_keeps_back_what_its_reader_may_not_see() {
    let interactions = [said(1, json!({"content": {"kind": "message", "text": "my IBAN is DE02"}}))];
    let told = told(&interactions, &[], &|classification| classification <= Classification::Internal);
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains("DE02") && !text.contains("1234") && !text.contains("Ada") && !text.contains("Late"), "{text}");
    assert_eq!((told.variables.len(), told.withheld), (1, 5), "{text}");
}

#[test]
fn a_policy_names_its_mistake() {
    assert_eq!(HandoffPolicy::default().problem(), None);
    let check = |policy: HandoffPolicy, field: &str| assert_eq!(policy.problem().unwrap().0, field);
    check(HandoffPolicy { offer_seconds: 0, ..HandoffPolicy::default() }, "/offer_seconds");
    check(HandoffPolicy { unowned_seconds: LONGEST_SECONDS + 1, ..HandoffPolicy::default() }, "/unowned_seconds");
    check(HandoffPolicy { fallback: Some(" ".to_owned()), ..HandoffPolicy::default() }, "/fallback");
}

/// One thing that may happen, by whom, with a token that may be old, after some time.
#[derive(Debug, Clone)]
enum Deed {
    Offer(HandoffKind, bool),
    Step(u8, u8, Option<u8>),
    Assign(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (prop::sample::select(KINDS.to_vec()), any::<bool>()).prop_map(|(kind, queue)| Deed::Offer(kind, queue)),
        (0u8..6, 0u8..4, prop::option::of(0u8..3)).prop_map(|(step, by, behind)| Deed::Step(step, by, behind)),
        (0u8..4).prop_map(Deed::Assign),
    ]
}

fn to_step(number: u8, by: &str) -> Step {
    match number {
        0 | 1 => accept(by),
        2 => decline(by),
        3 => complete(by),
        4 => Step::TimePassed,
        _ => Step::Fail { why: "the call failed".to_owned() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Whatever happens in whatever order: the number never falls and is new whenever the owner is, whoever presents an old one gets
    /// nothing, each offer is accepted at most once, and what is over stays as it is.
    #[test]
    fn one_owner_whoever_races(deeds in prop::collection::vec((deed(), 0i64..200), 1..60)) {
        let names = ["ann", "ben", "cid", "bot"];
        let policy = HandoffPolicy::default();
        let (mut owned, mut now, mut open, mut accepted) = (owned(Some("bot")), 10, None::<Handoff>, 0u32);
        for (deed, later) in deeds {
            now += later;
            let before = owned.clone();
            match deed {
                Deed::Offer(kind, queue) => {
                    let to = if queue { Receiver::Queue("support".to_owned()) } else { Receiver::Agent("ben".to_owned()) };
                    let mut made = an_offer(kind);
                    made.to = made.to.map(|_| to);
                    made.at = made.at.map(|_| at(now + 50));
                    let moving = open.as_ref().filter(|open| open.state.is_open() && moves_owner(open.kind)).map(|open| open.id);
                    if let Ok(done) = offer(made, &owned, moving, &policy, at(now))
                        && open.as_ref().is_none_or(|open| !open.state.is_open())
                    {
                        (owned, open, accepted) = (done.ownership, Some(done.handoff), 0);
                    }
                }
                Deed::Step(number, by, behind) => {
                    let Some(handoff) = &open else { continue };
                    let presented = behind.map(|behind| handoff.fencing_token.saturating_sub(u64::from(behind)));
                    let what = to_step(number, names[usize::from(by)]);
                    match step(handoff, &owned, &what, presented, &policy, at(now)) {
                        Ok(done) => {
                            prop_assert!(presented.is_none_or(|presented| presented == handoff.fencing_token), "an old token got on");
                            prop_assert!(handoff.state.is_open(), "what is over changed");
                            accepted += u32::from(matches!(what, Step::Accept { .. }));
                            (owned, open) = (done.ownership, Some(done.handoff));
                        }
                        Err(_) => prop_assert_eq!(&before, &owned),
                    }
                }
                Deed::Assign(to) => {
                    owned = owned.pass_to(Some(names[usize::from(to)].to_owned()));
                    if owned != before {
                        open = open.map(|open| if open.state.is_open() && moves_owner(open.kind) { overtake(&open, "assigned by hand", at(now)) } else { open });
                    }
                }
            }
            prop_assert!(owned.fencing_token >= before.fencing_token);
            prop_assert!(owned.owner == before.owner || owned.fencing_token > before.fencing_token, "a new owner under an old number");
            prop_assert!(accepted <= 1, "accepted twice");
            if let Some(open) = open.as_ref().filter(|open| open.state.is_open() && moves_owner(open.kind)) {
                prop_assert_eq!(open.fencing_token, owned.fencing_token, "its token leads nowhere");
            }
        }
    }
}
