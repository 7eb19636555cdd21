//! The evidence ladder as a table: what is known in, where the interaction goes out.

use proptest::prelude::*;
use throughline_schemas::IdentityType;

use super::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const NOW: i64 = 100 * DAY_MS;
const ADA: u8 = 1;
const BOB: u8 = 2;
const FRESH: u8 = 99;

fn pro(number: u8) -> ProfileId {
    ProfileId::from_bytes([number; 16])
}

fn enq(number: u8) -> EnquiryId {
    EnquiryId::from_bytes([number; 16])
}

fn con(number: u8) -> ConversationId {
    ConversationId::from_bytes([number; 16])
}

fn mail(value: &str) -> IdentityKey {
    IdentityKey { kind: IdentityType::Email, namespace: String::new(), value: value.to_owned() }
}

fn days_ago(days: i64) -> Timestamp {
    Timestamp::from_millis(NOW - days * DAY_MS)
}

/// An enquiry last spoken of, and if it is over ended, so many days ago.
fn enquiry(number: u8, root: u8, status: EnquiryStatus, days: i64) -> EnquiryFacts {
    EnquiryFacts {
        id: enq(number),
        root: pro(root),
        status,
        brand: "acme".to_owned(),
        opened_at: days_ago(90),
        updated_at: days_ago(days),
        resolved_at: (!status.is_live()).then(|| days_ago(days)),
        reason: format!("reason {number}"),
        policy: ContinuityPolicy::default(),
        may_reopen: true,
        expected: false,
    }
}

fn thread(rule: ThreadRule, conversation: u8, enquiry: Option<u8>, participant: u8) -> ThreadMatch {
    ThreadMatch {
        rule,
        conversation: con(conversation),
        enquiry: enquiry.map(enq),
        participants: vec![pro(participant)],
        participant_addresses: vec![mail(&format!("p{participant}@example.com"))],
    }
}

fn token(number: u8, root: u8) -> TokenMatch {
    TokenMatch { enquiry: enq(number), root: Some(pro(root)), valid: true, why_not: None }
}

/// Ada mails from her own address; nothing else is known.
fn facts(enquiries: Vec<EnquiryFacts>) -> ContinuityFacts {
    ContinuityFacts {
        sender: Some(pro(ADA)),
        sender_shared: false,
        assurance: Assurance::Asserted,
        doubt: None,
        sender_keys: vec![mail("p1@example.com")],
        outbound: false,
        automated: None,
        tokens: Vec::new(),
        threads: Vec::new(),
        enquiries,
        brand: "acme".to_owned(),
        channel: Channel::Email,
        subject: None,
        occurred_at: Timestamp::from_millis(NOW),
        now: Timestamp::from_millis(NOW),
        fresh: enq(FRESH),
        starts_enquiry: true,
        remarks: Vec::new(),
    }
}

/// The same, sent by Bob.
fn by_bob(facts: ContinuityFacts) -> ContinuityFacts {
    ContinuityFacts { sender: Some(pro(BOB)), sender_keys: vec![mail("p2@example.com")], ..facts }
}

fn told(decision: &ContinuityDecision) -> String {
    let number = |id: &EnquiryId| id.as_bytes()[0];
    let place = match &decision.placement {
        Placement::Attach { enquiry, reopen: None } => format!("attach {}", number(enquiry)),
        Placement::Attach { enquiry, reopen: Some(EnquiryStatus::Open) } => format!("reopen {}", number(enquiry)),
        Placement::Attach { reopen: Some(other), .. } => panic!("re-opened as {other:?}"),
        Placement::Open { enquiry, follows: None } => format!("open {}", number(enquiry)),
        Placement::Open { enquiry, follows: Some(earlier) } => format!("open {} after {}", number(enquiry), number(earlier)),
        Placement::Park { enquiry } => format!("park {}", number(enquiry)),
        Placement::Suggest { candidates, then_open } => {
            let candidates: Vec<u8> = candidates.iter().map(number).collect();
            let opened = then_open.map(|id| format!(", open {}", number(&id))).unwrap_or_default();
            format!("suggest {candidates:?}{opened}")
        }
        Placement::None => "none".to_owned(),
    };
    decision.conversation.map_or(place.clone(), |conversation| format!("{place} in {}", conversation.as_bytes()[0]))
}

fn check(facts: ContinuityFacts, wanted: &str) -> ContinuityDecision {
    let decision = decide(&facts);
    assert_eq!(told(&decision), wanted, "{facts:#?} gave {decision:#?}");
    assert!(!decision.evidence.is_empty() && !decision.outcome.is_empty());
    decision
}

use EnquiryStatus::{Closed, Open, Resolved, Waiting};
use ThreadRule::{KnownReference, OurMessageId, ThreadKey};

#[test]
fn c0_what_has_no_open_enquiry_opens_one() {
    check(facts(vec![]), "open 99");
    check(facts(vec![enquiry(1, BOB, Open, 1)]), "open 99");
    check(facts(vec![enquiry(1, ADA, Closed, 29)]), "open 99 after 1");
    check(facts(vec![enquiry(1, ADA, Closed, 31)]), "open 99");
    check(facts(vec![enquiry(1, ADA, Resolved, 1)]), "open 99 after 1");
    check(facts(vec![enquiry(1, ADA, Closed, 9), enquiry(2, ADA, Resolved, 3)]), "open 99 after 2");
    let elsewhere = EnquiryFacts { brand: "other".to_owned(), ..enquiry(1, ADA, Open, 1) };
    let decision = check(facts(vec![elsewhere]), "open 99");
    assert!(decision.alternatives[0].contains("open with brand \"other\""), "{decision:?}");
    let ended_elsewhere = EnquiryFacts { brand: "other".to_owned(), ..enquiry(1, ADA, Closed, 1) };
    check(facts(vec![ended_elsewhere]), "open 99");
    check(ContinuityFacts { sender: None, sender_keys: vec![], ..facts(vec![enquiry(1, ADA, Open, 1)]) }, "open 99");
    check(ContinuityFacts { sender: None, starts_enquiry: false, ..facts(vec![]) }, "none");
    // Who only claims to be Ada does not follow on her enquiries.
    check(ContinuityFacts { assurance: Assurance::Claimed, ..facts(vec![enquiry(1, ADA, Closed, 3)]) }, "open 99");
}

#[test]
fn c2_the_one_open_enquiry_goes_on() {
    check(facts(vec![enquiry(1, ADA, Open, 1)]), "attach 1");
    check(facts(vec![enquiry(1, ADA, Waiting, 30)]), "reopen 1");
    check(facts(vec![enquiry(1, ADA, Open, 1), enquiry(2, ADA, Closed, 1), enquiry(3, BOB, Open, 1)]), "attach 1");
    let other_brand = EnquiryFacts { brand: "other".to_owned(), ..enquiry(2, ADA, Open, 0) };
    check(facts(vec![enquiry(1, ADA, Open, 1), other_brand]), "attach 1");
    let decision = check(facts(vec![enquiry(1, ADA, Open, 1)]), "attach 1");
    assert_eq!(decision.evidence[0].rule, "C2 one open enquiry");
}

#[test]
fn c1_what_is_not_sure_is_suggested() {
    check(facts(vec![enquiry(1, ADA, Open, 5), enquiry(2, ADA, Waiting, 2)]), "suggest [2, 1]");
    check(facts(vec![enquiry(1, ADA, Open, 40), enquiry(2, ADA, Open, 2)]), "suggest [2, 1]");
    check(facts(vec![enquiry(1, ADA, Open, 31)]), "suggest [1], open 99");
    check(ContinuityFacts { assurance: Assurance::Claimed, ..facts(vec![enquiry(1, ADA, Open, 1)]) }, "suggest [1]");
    check(ContinuityFacts { sender_shared: true, ..facts(vec![enquiry(1, ADA, Open, 1)]) }, "suggest [1]");
    // A couple's landline: it points to both, nobody is the sender, both have something open.
    let couple = vec![enquiry(1, ADA, Open, 2), enquiry(2, BOB, Open, 1)];
    let decision = check(ContinuityFacts { sender: None, sender_shared: true, ..facts(couple) }, "suggest [2, 1]");
    assert_eq!(decision.alternatives, [format!("{} (reason 2)", enq(2)), format!("{} (reason 1)", enq(1))]);
}

#[test]
fn what_speaks_against_the_sender_leaves_it_to_a_person() {
    let doubted = |facts| ContinuityFacts { doubt: Some("an old number".to_owned()), ..facts };
    let decision = check(doubted(facts(vec![enquiry(1, ADA, Open, 1)])), "suggest [1]");
    assert!(decision.outcome.contains("an old number"), "{decision:?}");
    check(doubted(facts(vec![enquiry(1, ADA, Closed, 1)])), "open 99");
    // It is about whom we write to, not about whom we hear.
    check(ContinuityFacts { outbound: true, ..doubted(facts(vec![enquiry(1, ADA, Open, 1)])) }, "attach 1");
    // What the interaction names itself is another matter.
    let named = ContinuityFacts { tokens: vec![token(1, ADA)], ..facts(vec![enquiry(1, ADA, Open, 1)]) };
    check(doubted(named), "attach 1");
}

#[test]
fn what_happened_before_an_enquiry_began_is_about_something_else() {
    let began = |days| EnquiryFacts { opened_at: days_ago(days), ..enquiry(1, ADA, Open, 0) };
    let earlier = |days, enquiry| ContinuityFacts { occurred_at: days_ago(days), ..facts(vec![enquiry]) };
    check(earlier(300, began(5)), "suggest [1], open 99");
    check(earlier(6, began(5)), "attach 1");
    check(earlier(1, began(5)), "attach 1");
}

#[test]
fn policies_of_an_enquiry_are_kept() {
    let with = |change: fn(&mut ContinuityPolicy), mut enquiry: EnquiryFacts| {
        change(&mut enquiry.policy);
        facts(vec![enquiry])
    };
    check(with(|policy| policy.window_ms = DAY_MS, enquiry(1, ADA, Open, 2)), "suggest [1], open 99");
    check(with(|policy| policy.attach_by_person = false, enquiry(1, ADA, Open, 2)), "suggest [1]");
    check(with(|policy| policy.follow_ms = DAY_MS, enquiry(1, ADA, Closed, 2)), "open 99");
    let in_thread = |facts| ContinuityFacts { threads: vec![thread(OurMessageId, 7, Some(1), ADA)], ..facts };
    check(in_thread(with(|policy| policy.grace_ms = DAY_MS, enquiry(1, ADA, Resolved, 2))), "open 99 after 1 in 7");
    for status in [Waiting, Resolved] {
        let tired = EnquiryFacts { may_reopen: false, ..enquiry(1, ADA, status, 2) };
        check(in_thread(facts(vec![tired])), "attach 1 in 7");
    }
}

#[test]
fn suggestions_about_the_same_come_first() {
    let about = |number, days, reason: &str| EnquiryFacts { reason: reason.to_owned(), ..enquiry(number, ADA, Open, days) };
    let both = vec![about(1, 9, "Late order"), about(2, 1, "Refund")];
    check(ContinuityFacts { subject: Some("AW: Late order".to_owned()), ..facts(both.clone()) }, "suggest [1, 2]");
    check(ContinuityFacts { subject: Some("Question".to_owned()), ..facts(both) }, "suggest [2, 1]");
}

#[test]
fn c4_threads_go_on_for_their_participants() {
    let with = |rule, facts| ContinuityFacts { threads: vec![thread(rule, 7, Some(1), ADA)], ..facts };
    for rule in [ThreadKey, OurMessageId] {
        check(with(rule, facts(vec![enquiry(1, ADA, Open, 60), enquiry(2, ADA, Open, 1)])), "attach 1 in 7");
        check(with(rule, facts(vec![enquiry(1, ADA, Waiting, 1)])), "reopen 1 in 7");
        check(with(rule, facts(vec![enquiry(1, ADA, Resolved, 7)])), "reopen 1 in 7");
        check(with(rule, facts(vec![enquiry(1, ADA, Resolved, 8)])), "open 99 after 1 in 7");
        check(with(rule, facts(vec![enquiry(1, ADA, Closed, 1)])), "open 99 after 1 in 7");
        check(with(rule, facts(vec![enquiry(1, ADA, Closed, 400)])), "open 99 after 1 in 7");
        // A participant by address, although the profile is not known to be one.
        check(with(rule, ContinuityFacts { sender: Some(pro(5)), ..facts(vec![enquiry(1, ADA, Open, 1)]) }), "attach 1 in 7");
        // A role mailbox that took part itself goes on, and does not go on for the person it was linked to.
        check(with(rule, ContinuityFacts { sender_shared: true, ..facts(vec![enquiry(1, ADA, Open, 1)]) }), "attach 1 in 7");
    }
    check(with(ThreadKey, by_bob(facts(vec![enquiry(1, ADA, Open, 1), enquiry(2, BOB, Open, 1)]))), "park 1 in 7");
    check(with(OurMessageId, by_bob(facts(vec![enquiry(1, ADA, Open, 1), enquiry(2, BOB, Open, 1)]))), "park 1");
    let claimed = |rule| with(rule, ContinuityFacts { assurance: Assurance::Claimed, ..facts(vec![enquiry(1, ADA, Open, 1)]) });
    check(claimed(OurMessageId), "park 1");
    check(claimed(ThreadKey), "park 1 in 7");
    let shared = ContinuityFacts { sender_shared: true, sender_keys: vec![mail("info@x.org")], ..facts(vec![enquiry(1, ADA, Open, 1)]) };
    check(with(OurMessageId, shared), "park 1");
    let withheld = ContinuityFacts { sender: None, sender_keys: vec![], ..facts(vec![enquiry(1, ADA, Open, 1)]) };
    check(with(ThreadKey, withheld), "park 1 in 7");
}

#[test]
fn c4_a_silos_thread_without_anybody_goes_on() {
    let unknown = ThreadMatch { participants: vec![], participant_addresses: vec![], ..thread(ThreadKey, 7, Some(1), ADA) };
    let anonymous = ContinuityFacts { sender: None, sender_keys: vec![], ..facts(vec![enquiry(1, ADA, Open, 1)]) };
    check(ContinuityFacts { threads: vec![unknown], ..anonymous }, "attach 1 in 7");
}

#[test]
fn a_thread_without_enquiry_leaves_the_decision_to_the_rest() {
    let with = |rule, facts| ContinuityFacts { threads: vec![thread(rule, 7, None, ADA)], ..facts };
    check(with(ThreadKey, facts(vec![])), "open 99 in 7");
    check(with(OurMessageId, facts(vec![enquiry(1, ADA, Open, 1)])), "attach 1 in 7");
    check(with(ThreadKey, by_bob(facts(vec![]))), "open 99 in 7");
    check(with(OurMessageId, by_bob(facts(vec![]))), "open 99");
    // Its enquiry is gone from the store.
    let dangling = ContinuityFacts { threads: vec![thread(ThreadKey, 7, Some(8), ADA)], ..facts(vec![]) };
    check(dangling, "open 99 in 7");
}

#[test]
fn c5_a_token_goes_on_for_the_enquirys_customer() {
    let with = |facts| ContinuityFacts { tokens: vec![token(1, ADA)], ..facts };
    check(with(facts(vec![enquiry(1, ADA, Open, 60), enquiry(2, ADA, Open, 1)])), "attach 1");
    check(with(facts(vec![enquiry(1, ADA, Waiting, 1)])), "reopen 1");
    check(with(facts(vec![enquiry(1, ADA, Resolved, 20)])), "open 99 after 1");
    check(with(by_bob(facts(vec![enquiry(1, ADA, Open, 1), enquiry(2, BOB, Open, 1)]))), "park 1");
    check(with(ContinuityFacts { sender: None, sender_keys: vec![], ..facts(vec![enquiry(1, ADA, Open, 1)]) }), "park 1");
    check(with(ContinuityFacts { assurance: Assurance::Claimed, ..facts(vec![enquiry(1, ADA, Open, 1)]) }), "park 1");
    let none_known = TokenMatch { root: None, ..token(1, ADA) };
    check(ContinuityFacts { tokens: vec![none_known], ..facts(vec![enquiry(1, ADA, Open, 1)]) }, "attach 1");
    // Another of the sender's addresses: the token alone would be parked, the thread vouches for it.
    let vouched = ContinuityFacts {
        sender: Some(pro(5)),
        threads: vec![thread(KnownReference, 7, Some(1), ADA)],
        ..facts(vec![enquiry(1, ADA, Open, 1)])
    };
    check(with(vouched), "attach 1 in 7");
}

#[test]
fn a_token_that_does_not_hold_is_only_written_down() {
    let void = TokenMatch { valid: false, why_not: Some("expired".to_owned()), ..token(1, ADA) };
    let decision = check(ContinuityFacts { tokens: vec![void.clone()], ..by_bob(facts(vec![enquiry(1, ADA, Open, 1)])) }, "open 99");
    assert!(decision.evidence.iter().any(|evidence| evidence.detail.contains("expired")), "{decision:#?}");
    check(ContinuityFacts { tokens: vec![void], ..facts(vec![enquiry(1, ADA, Open, 1)]) }, "attach 1");
    check(ContinuityFacts { tokens: vec![token(8, ADA)], ..facts(vec![]) }, "open 99");
}

#[test]
fn c3_a_known_reference_goes_on_for_participants_and_their_verified_domain() {
    let with = |facts| ContinuityFacts { threads: vec![thread(KnownReference, 7, Some(1), ADA)], ..facts };
    let open = || facts(vec![enquiry(1, ADA, Open, 60), enquiry(2, ADA, Open, 1)]);
    check(with(open()), "attach 1 in 7");
    let decision = check(with(by_bob(open())), "open 99");
    assert!(decision.alternatives.iter().any(|other| other.contains("C3")), "{decision:#?}");
    let colleague = |facts| ContinuityFacts { assurance: Assurance::Proven, ..by_bob(facts) };
    check(with(colleague(open())), "attach 1 in 7");
    let free_mail = |mut facts: ContinuityFacts| {
        facts.threads[0].participant_addresses = vec![mail("ada@gmail.com")];
        ContinuityFacts { sender_keys: vec![mail("bob@gmail.com")], ..facts }
    };
    check(free_mail(with(colleague(open()))), "open 99");
    check(with(ContinuityFacts { assurance: Assurance::Claimed, ..facts(vec![enquiry(1, ADA, Open, 1)]) }), "suggest [1]");
}

#[test]
fn the_stronger_reference_decides_and_two_equal_ones_do_not() {
    let both = vec![enquiry(1, ADA, Open, 1), enquiry(2, ADA, Open, 2)];
    let token_and_thread =
        ContinuityFacts { tokens: vec![token(1, ADA)], threads: vec![thread(OurMessageId, 7, Some(2), ADA)], ..facts(both.clone()) };
    let decision = check(token_and_thread, "attach 1");
    assert_eq!(decision.evidence[0].rule, "C5 continuity token");
    assert_eq!(decision.alternatives, [format!("{} (C4 answer to our message)", enq(2))]);
    let two_threads = vec![thread(OurMessageId, 7, Some(2), ADA), thread(OurMessageId, 8, Some(1), ADA)];
    check(ContinuityFacts { threads: two_threads.clone(), ..facts(both.clone()) }, "suggest [1, 2]");
    let key_first = [two_threads, vec![thread(ThreadKey, 9, Some(2), ADA)]].concat();
    check(ContinuityFacts { threads: key_first, ..facts(both.clone()) }, "attach 2 in 9");
    check(ContinuityFacts { tokens: vec![token(1, ADA), token(2, ADA)], ..facts(both.clone()) }, "suggest [1, 2]");
    // Somebody else's token beside the own thread changes nothing.
    let mixed = ContinuityFacts {
        tokens: vec![token(3, BOB)],
        threads: vec![thread(OurMessageId, 7, Some(2), ADA)],
        ..facts([both, vec![enquiry(3, BOB, Open, 1)]].concat())
    };
    let decision = check(mixed, "attach 2 in 7");
    assert_eq!(decision.evidence[0].rule, "C4 answer to our message");
    assert_eq!(decision.alternatives, [format!("{} (C5 continuity token, but the sender is no participant)", enq(3))]);
}

#[test]
fn automatic_messages_open_and_reopen_nothing() {
    let auto = |facts| ContinuityFacts { automated: Some("auto-submitted".to_owned()), ..facts };
    let in_thread = |facts| ContinuityFacts { threads: vec![thread(OurMessageId, 7, Some(1), ADA)], ..facts };
    check(auto(facts(vec![])), "none");
    check(auto(facts(vec![enquiry(1, ADA, Closed, 1)])), "none");
    check(auto(facts(vec![enquiry(1, ADA, Waiting, 1)])), "attach 1");
    check(auto(facts(vec![enquiry(1, ADA, Waiting, 40)])), "suggest [1]");
    for status in [Open, Waiting, Resolved, Closed] {
        check(auto(in_thread(facts(vec![enquiry(1, ADA, status, 40)]))), "attach 1 in 7");
    }
}

#[test]
fn what_we_send_opens_and_reopens_nothing() {
    let sent = |facts| ContinuityFacts { outbound: true, starts_enquiry: false, assurance: Assurance::Claimed, ..facts };
    let in_thread = |facts| ContinuityFacts { threads: vec![thread(ThreadKey, 7, Some(1), ADA)], ..facts };
    check(sent(facts(vec![])), "none");
    check(sent(facts(vec![enquiry(1, ADA, Waiting, 1)])), "attach 1");
    check(sent(facts(vec![enquiry(1, ADA, Open, 1), enquiry(2, ADA, Open, 2)])), "suggest [1, 2]");
    check(sent(in_thread(by_bob(facts(vec![enquiry(1, ADA, Closed, 1)])))), "attach 1 in 7");
    let named = ContinuityFacts { tokens: vec![token(1, ADA)], ..by_bob(facts(vec![enquiry(1, ADA, Waiting, 1)])) };
    check(sent(named), "attach 1");
    // What may open none for another reason, for instance a call that only rings through.
    check(ContinuityFacts { starts_enquiry: false, ..in_thread(facts(vec![enquiry(1, ADA, Closed, 1)])) }, "attach 1 in 7");
}

fn any_facts() -> impl Strategy<Value = ContinuityFacts> {
    let status = proptest::sample::select(vec![Open, Waiting, Resolved, Closed]);
    let enquiries = proptest::collection::btree_map(1u8..5, (1u8..3, status, 0i64..50), 0..4);
    let enquiries =
        enquiries.prop_map(|all| all.into_iter().map(|(id, (root, status, days))| enquiry(id, root, status, days)).collect::<Vec<_>>());
    let rule = proptest::sample::select(vec![ThreadKey, OurMessageId, KnownReference]);
    let threads = proptest::collection::vec((rule, 1u8..4, proptest::option::of(1u8..6), 1u8..3), 0..4);
    let tokens = proptest::collection::vec((1u8..6, 1u8..3, any::<bool>()), 0..3);
    let assurance = proptest::sample::select(vec![Assurance::Claimed, Assurance::Asserted, Assurance::Proven]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (enquiries, threads, tokens, assurance, proptest::option::of(1u8..4), flags).prop_map(
        |(enquiries, threads, tokens, assurance, sender, flags)| ContinuityFacts {
            sender: sender.map(pro),
            sender_shared: flags.0,
            assurance,
            sender_keys: sender.map(|sender| mail(&format!("p{sender}@example.com"))).into_iter().collect(),
            outbound: flags.1,
            automated: flags.2.then(|| "list".to_owned()),
            starts_enquiry: flags.3,
            threads: threads.into_iter().map(|(rule, conversation, enquiry, who)| thread(rule, conversation, enquiry, who)).collect(),
            tokens: tokens.into_iter().map(|(id, root, valid)| TokenMatch { valid, ..token(id, root) }).collect(),
            ..facts(enquiries)
        },
    )
}

fn shuffled() -> impl Strategy<Value = (ContinuityFacts, ContinuityFacts)> {
    any_facts().prop_flat_map(|facts| {
        let parts = (
            Just(facts.enquiries.clone()).prop_shuffle(),
            Just(facts.threads.clone()).prop_shuffle(),
            Just(facts.tokens.clone()).prop_shuffle(),
        );
        (Just(facts), parts).prop_map(|(facts, (enquiries, threads, tokens))| {
            let other = ContinuityFacts { enquiries, threads, tokens, ..facts.clone() };
            (facts, other)
        })
    })
}

proptest! {
    #[test]
    fn order_does_not_matter((facts, other) in shuffled()) {
        prop_assert_eq!(decide(&facts), decide(&other));
    }

    #[test]
    fn nobody_is_appended_to_a_strangers_enquiry(facts in any_facts()) {
        let decision = decide(&facts);
        if let Placement::Attach { enquiry, .. } = decision.placement {
            let known = facts.enquiry(enquiry);
            prop_assert!(known.is_some());
            let own = known.is_some_and(|known| Some(known.root) == facts.sender);
            let takes_part = facts.threads.iter().any(|thread| {
                let key = facts.sender_keys.iter().any(|key| thread.participant_addresses.contains(key));
                let domain = facts.assurance >= Assurance::Proven && !facts.sender_keys.is_empty();
                thread.enquiry == Some(enquiry) && (key || domain || facts.sender.is_some_and(|sender| thread.participants.contains(&sender)))
            });
            let by_token = facts.tokens.iter().any(|token| token.valid && token.enquiry == enquiry && token.root == facts.sender);
            prop_assert!(facts.outbound || own || takes_part || by_token, "{:?}", decision);
        }
    }

    #[test]
    fn only_what_may_open_opens_and_what_is_automatic_changes_nothing(facts in any_facts()) {
        let opens = matches!(decide(&facts).placement, Placement::Open { .. } | Placement::Suggest { then_open: Some(_), .. });
        prop_assert!(!opens || facts.starts_enquiry && !facts.outbound && facts.automated.is_none());
        let reopens = matches!(decide(&facts).placement, Placement::Attach { reopen: Some(_), .. });
        prop_assert!(!reopens || !facts.outbound && facts.automated.is_none());
    }
}

#[test]
fn a_customer_who_is_expected_on_this_channel_goes_on_with_the_enquiry_that_sent_them() {
    let expected = |number, root| EnquiryFacts { expected: true, ..enquiry(number, root, Open, 90) };
    let attached = |facts: &ContinuityFacts| match decide(facts).placement {
        Placement::Attach { enquiry, .. } => Some(enquiry),
        _ => None,
    };
    // Two are open, of which nothing else would say which.
    let two = facts(vec![expected(1, ADA), enquiry(2, ADA, Open, 0)]);
    assert_eq!(attached(&two), Some(enq(1)));
    assert_eq!(decide(&two).evidence[0].rule, "C4 pending handoff");
    assert_eq!(attached(&ContinuityFacts { tokens: vec![token(2, ADA)], ..two.clone() }), Some(enq(2)), "a token says more");
    assert_eq!(attached(&facts(vec![expected(1, ADA), expected(2, ADA)])), None, "expected for two things: a person says for which");
    assert_eq!(attached(&facts(vec![expected(1, BOB), enquiry(2, ADA, Open, 0)])), Some(enq(2)), "somebody else is expected");
    let shared = ContinuityFacts { sender_shared: true, ..two.clone() };
    let claimed = ContinuityFacts { assurance: Assurance::Claimed, ..two };
    for unsure in [shared, claimed] {
        assert!(!matches!(decide(&unsure).placement, Placement::Attach { .. } | Placement::Park { .. }), "who it is is not sure enough");
    }
}
