//! The fold of leaves: who wins a field, and that the order of members does not matter.

use proptest::prelude::*;
use serde_json::{Value, json};
use throughline_schemas::ConnectionId;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn said(value: Value, source: u8, assurance: Assurance, millis: i64) -> Attributed {
    Attributed { value, source: (source > 0).then(|| ConnectionId::from_bytes([source; 16])), assurance, at: at(millis) }
}

fn mail(value: &str, raw: &str, seen: (i64, i64)) -> Identity {
    Identity {
        kind: IdentityType::Email,
        namespace: String::new(),
        value: value.to_owned(),
        raw: raw.to_owned(),
        sharing: Sharing::Exclusive,
        assurance: Assurance::Asserted,
        first_seen: at(seen.0),
        last_seen: at(seen.1),
    }
}

fn leaf(number: u8, fields: &[(&str, Attributed)], identities: Vec<Identity>) -> LeafFacts {
    LeafFacts {
        id: ProfileId::from_bytes([number; 16]),
        created_at: at(i64::from(number)),
        state: ProfileState::Anonymous,
        fields: fields.iter().map(|(field, attributed)| ((*field).to_owned(), attributed.clone())).collect(),
        identities,
        updated_at: at(i64::from(number) * 10),
    }
}

fn winner(one: Attributed, other: Attributed) -> Value {
    let view = view(&leaf(1, &[("f", one)], vec![]), &[leaf(2, &[("f", other)], vec![])], None);
    view.fields["f"].value.clone()
}

#[test]
fn the_newest_value_wins_and_ties_go_by_assurance_then_source_then_value() {
    use Assurance::{Asserted, Proven};
    let table = [
        (said(json!("old"), 1, Proven, 1), said(json!("new"), 1, Asserted, 2), json!("new")),
        (said(json!("new"), 1, Asserted, 2), said(json!("old"), 1, Proven, 1), json!("new")),
        (said(json!("sure"), 1, Proven, 1), said(json!("said"), 2, Asserted, 1), json!("sure")),
        (said(json!("one"), 1, Proven, 1), said(json!("two"), 2, Proven, 1), json!("two")),
        (said(json!("api"), 0, Proven, 1), said(json!("two"), 2, Proven, 1), json!("two")),
        (said(json!("a"), 1, Proven, 1), said(json!("b"), 1, Proven, 1), json!("b")),
        (said(json!("full"), 1, Proven, 1), said(Value::Null, 2, Proven, 2), Value::Null),
    ];
    for (one, other, wanted) in table {
        assert_eq!(winner(one.clone(), other.clone()), wanted, "{one:?} or {other:?}");
    }
}

#[test]
fn a_root_shows_what_its_members_know() {
    let root = leaf(5, &[("given_name", said(json!("Ada"), 1, Assurance::Asserted, 3))], vec![mail("a@x.org", "A@x.org", (3, 9))]);
    let mut member = leaf(2, &[("company", said(json!("Acme"), 2, Assurance::Asserted, 1))], vec![mail("b@x.org", "b@x.org", (1, 1))]);
    member.state = ProfileState::Verified;
    member.identities.push(Identity { assurance: Assurance::Proven, sharing: Sharing::Unknown, ..mail("a@x.org", "a@x.org", (1, 4)) });
    let shown = view(&root, &[member.clone(), member.clone(), root.clone()], None);
    assert_eq!(shown.id, root.id);
    assert_eq!(shown.members, vec![member.id]);
    assert_eq!(shown.state, ProfileState::Verified);
    assert_eq!((shown.created_at, shown.updated_at), (at(2), at(50)));
    assert_eq!((shown.text("given_name"), shown.text("company")), (Some("Ada"), Some("Acme")));
    let both = Identity { assurance: Assurance::Proven, sharing: Sharing::Unknown, ..mail("a@x.org", "A@x.org", (1, 9)) };
    assert_eq!(shown.identities, vec![both, mail("b@x.org", "b@x.org", (1, 1))]);
}

#[test]
fn a_leaf_alone_shows_itself_and_where_it_went() {
    let alone = leaf(2, &[], vec![]);
    let into = ProfileId::from_bytes([9; 16]);
    let shown = view(&alone, &[], Some(into));
    assert_eq!((shown.merged_into, shown.members.len(), shown.created_at, shown.updated_at), (Some(into), 0, at(2), at(20)));
}

fn leaves() -> impl Strategy<Value = Vec<LeafFacts>> {
    let assurance = prop_oneof![Just(Assurance::Asserted), Just(Assurance::Proven)];
    let attributed =
        (0u8..3, 0u8..3, assurance, 0i64..3).prop_map(|(value, source, assurance, at)| said(json!(value), source, assurance, at));
    let field = (prop_oneof![Just("f"), Just("g")], attributed);
    let identity = (prop_oneof![Just("a"), Just("b")], prop_oneof![Just("A"), Just("a")], 0i64..3, 0i64..3, any::<bool>());
    let identity = identity.prop_map(|(value, raw, first, more, shared)| Identity {
        sharing: if shared { Sharing::Shared } else { Sharing::Exclusive },
        ..mail(value, raw, (first, first + more))
    });
    let leaf_parts = (proptest::collection::vec(field, 0..4), proptest::collection::vec(identity, 0..4));
    proptest::collection::vec(leaf_parts, 1..5).prop_map(|all| {
        let numbered = all.into_iter().zip(1u8..);
        numbered.map(|((fields, identities), number)| leaf(number, &fields, identities)).collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_members_does_not_matter((members, shuffled) in leaves().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))) {
        let root = leaf(200, &[], vec![]);
        let (one, other) = (view(&root, &members, None), view(&root, &shuffled, None));
        prop_assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&other).unwrap());
    }

    #[test]
    fn whoever_is_the_root_the_fields_are_the_same(members in leaves()) {
        let (first, last) = (view(&members[0], &members, None), view(&members[members.len() - 1], &members, None));
        prop_assert_eq!((first.fields, first.identities, first.state), (last.fields, last.identities, last.state));
    }
}
