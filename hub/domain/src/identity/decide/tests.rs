//! The rules as a table of facts and decisions, and the property that their order does not matter.

use proptest::prelude::*;
use throughline_schemas::IdentityType::{Email, External, Phone};
use throughline_schemas::{IdentityType, Sharing};

use super::*;

fn pro(number: u8) -> ProfileId {
    ProfileId::from_bytes([number; 16])
}

const FRESH: u8 = 99;

/// An identity whose sharing shows in its value: `shared…`, `unsure…`, else exclusive.
fn identity(kind: IdentityType, value: &str) -> Normalised {
    let sharing = match value {
        _ if value.starts_with("shared") => Sharing::Shared,
        _ if value.starts_with("unsure") => Sharing::Unknown,
        _ => Sharing::Exclusive,
    };
    let key = IdentityKey { kind, namespace: String::new(), value: value.to_owned() };
    Normalised { key, raw: value.to_owned(), sharing }
}

/// A leaf that shows as a root, known since `root`.
fn linked(leaf: u8, root: u8, state: ProfileState) -> Option<LinkedTo> {
    let root_created_at = Timestamp::from_millis(i64::from(root));
    Some(LinkedTo { leaf: pro(leaf), root: pro(root), root_created_at, root_state: state })
}

fn named(number: u8) -> Option<LinkedTo> {
    linked(number, number, ProfileState::Identified)
}

fn bare(number: u8) -> Option<LinkedTo> {
    linked(number, number, ProfileState::Anonymous)
}

fn is(kind: IdentityType, value: &str, assurance: Assurance, linked_to: Option<LinkedTo>) -> Candidate {
    Candidate { identity: identity(kind, value), assurance, linked_to }
}

fn says(kind: IdentityType, value: &str, linked_to: Option<LinkedTo>) -> Candidate {
    is(kind, value, Assurance::Asserted, linked_to)
}

fn proves(kind: IdentityType, value: &str, linked_to: Option<LinkedTo>) -> Candidate {
    is(kind, value, Assurance::Proven, linked_to)
}

fn interaction(candidates: Vec<Candidate>) -> IdentityFacts {
    IdentityFacts { candidates, trusted_record: false, linked_record: None, fresh: pro(FRESH), cannot_link: Vec::new() }
}

fn record(candidates: Vec<Candidate>) -> IdentityFacts {
    IdentityFacts { trusted_record: true, ..interaction(candidates) }
}

/// What matters of a decision, in one line: owner, links, merges, flags.
fn told(decision: &IdentityDecision) -> String {
    let number = |id: ProfileId| id.as_bytes()[0];
    let mut parts = vec![match decision.owner {
        Owner::Known { leaf, root } if leaf == root => format!("{}", number(root)),
        Owner::Known { leaf, root } => format!("{} in {}", number(leaf), number(root)),
        Owner::New(id) => format!("new {}", number(id)),
        Owner::Nobody => "nobody".to_owned(),
    }];
    for (key, method) in &decision.link {
        let method = if *method == LinkMethod::Origin { "origin" } else { "link" };
        parts.push(format!("{method} {}", key.value));
    }
    for merge in &decision.merges {
        parts.push(format!("{} into {}", number(merge.loser_root), number(merge.survivor_root)));
    }
    if decision.ambiguous {
        parts.push("ambiguous".to_owned());
    }
    if decision.shared {
        parts.push("shared".to_owned());
    }
    parts.join("; ")
}

fn check(facts: IdentityFacts, wanted: &str) -> IdentityDecision {
    let decision = decide(&facts);
    assert_eq!(told(&decision), wanted, "{facts:#?} gave {decision:#?}");
    assert!(!decision.outcome.is_empty());
    decision
}

#[test]
fn an_interaction_goes_to_who_is_linked_or_to_somebody_new() {
    check(interaction(vec![]), "nobody");
    check(interaction(vec![says(Email, "a@x", None)]), "new 99; origin a@x");
    check(interaction(vec![says(Email, "a@x", named(1))]), "1");
    check(interaction(vec![says(Email, "a@x", bare(1))]), "1");
    check(interaction(vec![says(Email, "a@x", linked(4, 1, ProfileState::Verified))]), "4 in 1");
    check(interaction(vec![says(Phone, "unsure1", named(1))]), "1");
    check(interaction(vec![says(Phone, "unsure1", None)]), "new 99; origin unsure1");
    check(interaction(vec![is(Email, "a@x", Assurance::Claimed, named(1))]), "1");
}

#[test]
fn an_interaction_joins_only_what_was_proven() {
    check(interaction(vec![says(Email, "a@x", named(1)), says(Phone, "p", None)]), "1");
    check(interaction(vec![proves(Email, "a@x", named(1)), proves(Phone, "p", None)]), "1; link p");
    check(interaction(vec![proves(Email, "a@x", None), proves(Phone, "p", None)]), "new 99; origin a@x; origin p");
    check(interaction(vec![says(Email, "a@x", None), says(Phone, "p", None)]), "new 99; origin a@x");
    check(interaction(vec![proves(Email, "a@x", named(2)), proves(Phone, "p", named(1))]), "2 in 1; 2 into 1");
    let decision = check(interaction(vec![says(Email, "a@x", named(2)), says(Phone, "p", named(1))]), "nobody; ambiguous; shared");
    let ranked = vec![format!("{} through email:a@x", pro(2)), format!("{} through phone:p", pro(1))];
    assert_eq!(decision.alternatives, ranked);
    assert_eq!(decision.possible, [pro(2), pro(1)]);
}

#[test]
fn the_better_assured_identity_decides() {
    let decision = check(interaction(vec![proves(Email, "a@x", named(2)), says(Phone, "p", named(1))]), "2");
    assert_eq!(decision.alternatives, vec![format!("{} through phone:p", pro(1))]);
    check(interaction(vec![proves(Email, "a@x", None), says(Phone, "p", named(1))]), "new 99; origin a@x");
    check(interaction(vec![is(Email, "a@x", Assurance::Claimed, named(2)), says(Phone, "p", named(1))]), "1");
    check(interaction(vec![is(Email, "a@x", Assurance::Confirmed, named(2)), proves(Phone, "p", named(1))]), "2 in 1; 2 into 1");
}

#[test]
fn a_shared_identity_finds_but_does_not_decide() {
    check(interaction(vec![says(Email, "shared@x", None)]), "new 99; origin shared@x; shared");
    check(interaction(vec![says(Email, "shared@x", named(1))]), "1; shared");
    let two = vec![says(Email, "shared@x", named(2)), says(Email, "shared@x", named(1))];
    let decision = check(interaction(two), "nobody; ambiguous; shared");
    assert_eq!(decision.alternatives.len(), 2);
    check(interaction(vec![says(Email, "shared@x", named(1)), says(Phone, "p", None)]), "new 99; origin p");
    check(interaction(vec![says(Phone, "unsure1", named(1)), says(Phone, "unsure1", named(2))]), "nobody; ambiguous; shared");
}

#[test]
fn a_record_joins_its_exclusive_identities() {
    check(record(vec![]), "new 99");
    check(record(vec![says(Email, "a@x", None), says(Phone, "p", None)]), "new 99; origin a@x; origin p");
    check(record(vec![says(Email, "a@x", named(1)), says(Phone, "p", None)]), "1; link p");
    check(record(vec![says(Email, "a@x", named(1)), says(Phone, "p", named(1))]), "1");
    let decision = check(record(vec![says(Email, "a@x", named(1)), says(Phone, "p", named(2))]), "1; 2 into 1");
    assert_eq!(decision.merges[0].because, "trusted record joins email:a@x and phone:p");
    check(record(vec![says(Email, "a@x", named(3)), says(Phone, "p", named(2)), says(External, "e", named(1))]), "1; 2 into 1; 3 into 1");
    check(record(vec![is(Email, "a@x", Assurance::Claimed, named(1)), says(Phone, "p", named(2))]), "2 in 1; 2 into 1");
}

#[test]
fn the_oldest_identified_profile_survives() {
    check(record(vec![says(Email, "a@x", bare(1)), says(Phone, "p", named(2))]), "1 in 2; 1 into 2");
    check(record(vec![says(Email, "a@x", bare(2)), says(Phone, "p", bare(1))]), "2 in 1; 2 into 1");
    let same_age = |number: u8| Some(LinkedTo { root_created_at: Timestamp::from_millis(5), ..named(number).unwrap() });
    check(record(vec![says(Email, "a@x", same_age(8)), says(Phone, "p", same_age(7))]), "8 in 7; 8 into 7");
    let curated = linked(9, 9, ProfileState::Curated);
    check(record(vec![says(Email, "a@x", curated), says(Phone, "p", named(7))]), "9 in 7; 9 into 7");
}

#[test]
fn a_linked_record_stays_where_it_is_linked() {
    let linked_record = |facts: IdentityFacts, link| IdentityFacts { linked_record: link, ..facts };
    check(linked_record(record(vec![says(Email, "a@x", None)]), named(1)), "1; link a@x");
    check(linked_record(record(vec![]), linked(5, 1, ProfileState::Identified)), "5 in 1");
    check(linked_record(record(vec![says(Email, "a@x", named(2))]), named(1)), "1; 2 into 1");
    check(linked_record(record(vec![says(Email, "a@x", named(1))]), named(2)), "2 in 1; 2 into 1");
    // A record that anybody may have filled in takes nothing with it.
    check(linked_record(interaction(vec![says(Email, "a@x", named(2)), says(Phone, "p", None)]), named(1)), "1");
    check(linked_record(interaction(vec![proves(Phone, "p", None)]), named(1)), "1; link p");
}

#[test]
fn a_record_does_not_merge_through_what_may_be_shared() {
    // A couple's landline: Bob's record does not become Ada's, and from now on the number finds both.
    let bob = record(vec![says(Email, "bob@x", None), says(Phone, "unsure1", named(1))]);
    let decision = check(bob, "new 99; origin bob@x; origin unsure1");
    assert_eq!(decision.alternatives, vec![format!("{} through phone:unsure1", pro(1))]);
    check(record(vec![says(Email, "bob@x", named(2)), says(Phone, "unsure1", named(1))]), "2; link unsure1");
    check(record(vec![says(Email, "bob@x", named(2)), says(Email, "shared@x", named(1))]), "2; link shared@x");
    check(record(vec![says(Email, "bob@x", named(2)), says(Email, "shared@x", named(2))]), "2");
    // Behind the landline is nothing but a call: that was the person of the record.
    check(record(vec![says(Email, "ada@x", named(2)), says(Phone, "unsure1", bare(1))]), "2; 1 into 2");
}

#[test]
fn who_was_said_to_be_two_persons_is_not_merged() {
    let apart = |facts: IdentityFacts, a, b| IdentityFacts { cannot_link: vec![(pro(a), pro(b))], ..facts };
    let two = || record(vec![says(Email, "a@x", named(1)), says(Phone, "p", named(2))]);
    let decision = check(apart(two(), 2, 1), "1");
    assert!(decision.evidence.iter().any(|evidence| evidence.rule == "cannot-link"), "{decision:#?}");
    assert_eq!(decision.alternatives, vec![format!("{} through phone:p", pro(2))]);
    check(apart(two(), 1, 2), "1");
    check(apart(two(), 1, 3), "1; 2 into 1");
    // It was said of a leaf that has since been merged into 2.
    let merged = || record(vec![says(Email, "a@x", named(1)), says(Phone, "p", linked(5, 2, ProfileState::Identified))]);
    check(apart(merged(), 5, 1), "1");
    let proven = interaction(vec![proves(Email, "a@x", named(1)), proves(Phone, "p", named(2))]);
    check(apart(proven, 1, 2), "1");
    // The third may join only one of the two.
    let three = record(vec![says(External, "e", named(3)), says(Email, "a@x", named(1)), says(Phone, "p", named(2))]);
    check(apart(three, 1, 2), "3 in 1; 3 into 1");
}

fn candidates() -> impl Strategy<Value = Candidate> {
    let kind = prop_oneof![Just(Phone), Just(Email), Just(External)];
    let value = prop_oneof![Just("a"), Just("b"), Just("shared1"), Just("shared2"), Just("unsure1"), Just("unsure2")];
    let assurance = prop_oneof![Just(Assurance::Claimed), Just(Assurance::Asserted), Just(Assurance::Proven), Just(Assurance::Confirmed)];
    (kind, value, assurance, proptest::option::of(links())).prop_map(|(kind, value, assurance, link)| is(kind, value, assurance, link))
}

/// Roots 1 to 5, of which the even ones have a name; leaves 1 to 9, each always in the same root.
fn links() -> impl Strategy<Value = LinkedTo> {
    (1u8..10).prop_map(|leaf| {
        let root = (leaf - 1) % 5 + 1;
        let state = if root % 2 == 0 { ProfileState::Identified } else { ProfileState::Anonymous };
        let created = Timestamp::from_millis(i64::from(root * 7 % 4));
        LinkedTo { leaf: pro(leaf), root: pro(root), root_created_at: created, root_state: state }
    })
}

fn any_facts() -> impl Strategy<Value = IdentityFacts> {
    let pair = (1u8..10, 1u8..10).prop_map(|(a, b)| (pro(a), pro(b)));
    let parts = (
        proptest::collection::vec(candidates(), 0..7),
        any::<bool>(),
        proptest::option::of(links()),
        proptest::collection::vec(pair, 0..3),
    );
    parts.prop_map(|(candidates, trusted_record, linked_record, cannot_link)| IdentityFacts {
        candidates,
        trusted_record,
        linked_record,
        fresh: pro(FRESH),
        cannot_link,
    })
}

fn shuffled() -> impl Strategy<Value = (IdentityFacts, IdentityFacts)> {
    any_facts().prop_flat_map(|facts| {
        let candidates = Just(facts.candidates.clone()).prop_shuffle();
        let cannot_link = Just(facts.cannot_link.clone()).prop_shuffle();
        (Just(facts), candidates, cannot_link).prop_map(|(facts, candidates, cannot_link)| {
            let other = IdentityFacts { candidates, cannot_link, ..facts.clone() };
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
    fn said_twice_is_said_once(facts in any_facts()) {
        let mut twice = facts.clone();
        twice.candidates.extend(facts.candidates.clone());
        prop_assert_eq!(decide(&facts), decide(&twice));
    }

    #[test]
    fn merges_are_never_of_those_kept_apart_and_end_in_the_owner(facts in any_facts()) {
        let decision = decide(&facts);
        for merge in &decision.merges {
            prop_assert_ne!(merge.loser_root, merge.survivor_root);
            let pair = (merge.loser_root, merge.survivor_root);
            prop_assert!(!facts.cannot_link.iter().any(|&(a, b)| (a, b) == pair || (b, a) == pair));
            let is_survivor = matches!(decision.owner, Owner::Known { root, .. } if root == merge.survivor_root);
            prop_assert!(is_survivor);
        }
        prop_assert!(!decision.ambiguous || decision.owner == Owner::Nobody && decision.link.is_empty() && decision.merges.is_empty());
    }

    #[test]
    fn shared_identities_alone_never_merge(facts in any_facts()) {
        let only_shared = IdentityFacts {
            candidates: facts.candidates.iter().filter(|candidate| candidate.identity.sharing == Sharing::Shared).cloned().collect(),
            ..facts
        };
        prop_assert!(decide(&only_shared).merges.is_empty());
    }
}
