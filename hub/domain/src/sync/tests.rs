//! The three-way merge as a table, and that what was agreed leaves nothing to write.

use proptest::prelude::*;
use serde_json::json;

use super::*;

type Fields = BTreeMap<String, Value>;

fn one(value: &Value) -> Fields {
    BTreeMap::from([("f".to_owned(), value.clone())])
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// One field's merge: received at 100, ours changed at `times.0`, theirs at `times.1`.
struct Case {
    base: Value,
    theirs: Value,
    ours: Value,
    policy: FieldPolicy,
    direction: SyncDirection,
    times: (Option<i64>, Option<i64>),
    normalisers: Vec<String>,
    sent: Option<Value>,
}

impl Case {
    fn new(base: Value, theirs: Value, ours: Value) -> Self {
        let (policy, direction) = (FieldPolicy::Newest, SyncDirection::Both);
        Self { base, theirs, ours, policy, direction, times: (Some(50), Some(60)), normalisers: Vec::new(), sent: None }
    }

    fn decide(&self) -> FieldDecision {
        let (theirs, shadow, ours) = (one(&self.theirs), one(&self.base), one(&self.ours));
        let record = IngestRecord {
            theirs: &theirs,
            shadow: &shadow,
            ours: &ours,
            sent: &self.sent.iter().map(|value| ("f".to_owned(), value.clone())).collect(),
            ours_from: &BTreeMap::from([("f".to_owned(), "pbx".to_owned())]),
            from: "crm",
            turns: &BTreeMap::new(),
            frozen: &BTreeMap::new(),
            protections: Protections::default(),
            ours_changed_at: &self.times.0.map(|millis| ("f".to_owned(), at(millis))).into_iter().collect(),
            theirs_changed_at: self.times.1.map(at),
            received_at: at(100),
            policies: &BTreeMap::from([("f".to_owned(), self.policy.clone())]),
            normalisers: &BTreeMap::from([("f".to_owned(), self.normalisers.clone())]),
            direction: self.direction,
        };
        let mut decisions = merge(&record);
        assert_eq!(decisions.len(), 1);
        decisions.remove(0)
    }

    fn check(&self, wanted: &FieldOutcome) {
        let decision = self.decide();
        assert_eq!(&decision.kind, wanted, "base {}, theirs {}, ours {}: {}", self.base, self.theirs, self.ours, decision.why);
        assert_eq!(decision.theirs, self.theirs);
    }
}

use FieldOutcome::{AcceptTheirs, Agreed, Conflict, KeepOurs, Untouched};

#[test]
fn echoes_and_agreements_are_told_from_changes() {
    let table = [
        (json!("a"), json!("a"), json!("a"), Untouched),
        (json!("a"), json!("a"), json!("b"), Untouched),
        (json!("a"), json!("b"), json!("b"), Agreed),
        (json!("a"), json!("b"), json!("a"), AcceptTheirs),
        (Value::Null, json!("b"), Value::Null, AcceptTheirs),
        (Value::Null, json!(""), json!("b"), Untouched),
        (json!("a"), Value::Null, json!("a"), AcceptTheirs),
        (json!("a"), Value::Null, json!(""), Agreed),
        (json!(1), json!(1.0), json!(2), Untouched),
        (json!(["x"]), json!(["x", "y"]), json!(["x"]), AcceptTheirs),
        (json!(false), Value::Null, json!(false), AcceptTheirs),
    ];
    for (base, theirs, ours, wanted) in table {
        Case::new(base, theirs, ours).check(&wanted);
    }
}

#[test]
fn a_field_that_was_not_reported_is_not_judged() {
    let (theirs, held) = (Fields::new(), one(&json!("a")));
    let none = BTreeMap::new();
    let record = IngestRecord {
        theirs: &theirs,
        shadow: &held,
        ours: &held,
        sent: &held,
        ours_from: &BTreeMap::new(),
        from: "crm",
        turns: &BTreeMap::new(),
        frozen: &BTreeMap::new(),
        protections: Protections::default(),
        ours_changed_at: &BTreeMap::new(),
        theirs_changed_at: None,
        received_at: at(100),
        policies: &BTreeMap::new(),
        normalisers: &none,
        direction: SyncDirection::Both,
    };
    assert!(merge(&record).is_empty());
}

#[test]
fn who_wins_when_both_changed_goes_by_policy() {
    let both = || Case::new(json!("base"), json!("theirs"), json!("ours"));
    let conflict = Conflict { base: json!("base"), theirs: json!("theirs"), ours: json!("ours") };
    let table = [
        (FieldPolicy::Theirs, (Some(90), Some(10)), AcceptTheirs),
        (FieldPolicy::Ours, (Some(10), Some(90)), KeepOurs),
        (FieldPolicy::Manual, (Some(10), Some(90)), conflict),
        (FieldPolicy::Newest, (Some(50), Some(60)), AcceptTheirs),
        (FieldPolicy::Newest, (Some(60), Some(50)), KeepOurs),
        // A clock that is ahead changes nothing: it was not changed after we received it.
        (FieldPolicy::Newest, (Some(110), Some(9_000)), KeepOurs),
        (FieldPolicy::Newest, (Some(60), None), AcceptTheirs),
        (FieldPolicy::Newest, (None, Some(1)), AcceptTheirs),
        // At the same time the greater value wins, "theirs" over "ours".
        (FieldPolicy::Newest, (Some(60), Some(60)), AcceptTheirs),
        (FieldPolicy::Newest, (Some(100), Some(9_000)), AcceptTheirs),
    ];
    for (policy, times, wanted) in table {
        Case { policy, times, ..both() }.check(&wanted);
    }
    Case { times: (Some(60), Some(60)), ..Case::new(json!("base"), json!("a"), json!("b")) }.check(&KeepOurs);
}

#[test]
fn what_was_sent_and_not_acknowledged_is_known_for_ours() {
    use FieldOutcome::Echo;
    let sent = |theirs: &str, ours: &str| Case { sent: Some(json!("sent")), ..Case::new(json!("base"), json!(theirs), json!(ours)) };
    // It took effect, and ours has gone on since: not their change, whatever the policy.
    Case { policy: FieldPolicy::Theirs, ..sent("sent", "newer") }.check(&Echo);
    sent("sent", "sent").check(&Echo);
    // It has not taken effect.
    sent("base", "sent").check(&Untouched);
    // It took effect, and somebody, or the silo itself, changed it further: ours is what it was changed from.
    Case { policy: FieldPolicy::Ours, ..sent("SENT", "sent") }.check(&AcceptTheirs);
    Case { policy: FieldPolicy::Ours, ..sent("SENT", "newer") }.check(&KeepOurs);
}

#[test]
fn priorities_extremes_and_sums() {
    let both = |policy, base: Value, theirs: Value, ours: Value| Case { policy, ..Case::new(base, theirs, ours) };
    let order = |names: &[&str]| FieldPolicy::Priority(names.iter().map(|name| (*name).to_owned()).collect());
    let table = [
        // Ours comes from "pbx", theirs from "crm"; theirs is the later.
        (order(&["crm", "pbx"]), json!("b"), json!("t"), json!("o"), AcceptTheirs),
        (order(&["pbx", "crm"]), json!("b"), json!("t"), json!("o"), KeepOurs),
        (order(&["pbx"]), json!("b"), json!("t"), json!("o"), KeepOurs),
        (order(&["other"]), json!("b"), json!("t"), json!("o"), AcceptTheirs),
        (FieldPolicy::Max, json!(1), json!(10), json!(9), AcceptTheirs),
        (FieldPolicy::Max, json!(1), json!(9), json!(10), KeepOurs),
        (FieldPolicy::Min, json!(1), json!(9), json!(10), AcceptTheirs),
        (FieldPolicy::Max, json!("2026-01-01"), json!("2026-02-01"), json!("2026-01-31"), AcceptTheirs),
        (FieldPolicy::Union, json!(["a", "b"]), json!(["a", "b", "t"]), json!(["a", "o"]), FieldOutcome::Merged(json!(["a", "t", "o"]))),
        (FieldPolicy::Union, json!(["a"]), json!(["a", "t", "o"]), json!(["a", "o"]), AcceptTheirs),
        (FieldPolicy::Union, Value::Null, json!("t"), json!(["o"]), FieldOutcome::Merged(json!(["t", "o"]))),
        (FieldPolicy::Append, json!("one"), json!("one\ntheirs"), json!("one\nours"), FieldOutcome::Merged(json!("one\ntheirs\nours"))),
        (FieldPolicy::Append, json!("one"), json!("one\nours\ntheirs"), json!("one\nours"), AcceptTheirs),
    ];
    for (policy, base, theirs, ours, wanted) in table {
        both(policy, base, theirs, ours).check(&wanted);
    }
}

#[test]
fn a_report_is_a_fact_only_if_nothing_can_have_overtaken_it() {
    let table = [
        (Some("2"), Some("1"), Worth::Fact),
        (Some("1"), Some("2"), Worth::Overtaken),
        (Some("1"), Some("1"), Worth::Hint),
        (None, Some("1"), Worth::Hint),
        (Some("1"), None, Worth::Hint),
        (None, None, Worth::Hint),
    ];
    for (incoming, known, wanted) in table {
        assert_eq!(worth(incoming, known), wanted, "{incoming:?} after {known:?}");
    }
}

#[test]
fn only_where_the_silo_may_change_us_it_does() {
    let only_they = |direction| Case { direction, ..Case::new(json!("a"), json!("b"), json!("a")) };
    only_they(SyncDirection::In).check(&AcceptTheirs);
    only_they(SyncDirection::Out).check(&KeepOurs);
    Case { direction: SyncDirection::Out, ..Case::new(json!("a"), json!("b"), json!("c")) }.check(&KeepOurs);
}

#[test]
fn what_the_silo_does_to_values_is_no_change() {
    let normalisers = vec!["phone_digits".to_owned()];
    let echo = Case { normalisers: normalisers.clone(), ..Case::new(json!("+44 7700"), json!("447700"), json!("+44 7700")) };
    echo.check(&Untouched);
    Case { normalisers, ..Case::new(Value::Null, json!(447_700), json!("+44-7700")) }.check(&Agreed);
}

#[test]
fn normalisers_do_what_they_are_called() {
    let table = [
        ("trim", json!(" a "), json!("a")),
        ("lowercase", json!(["Ä", 1]), json!(["ä", 1])),
        ("uppercase", json!("straße"), json!("STRASSE")),
        ("collapse_spaces", json!(" a \n b "), json!("a b")),
        ("newlines", json!("a\r\nb\rc"), json!("a\nb\nc")),
        ("phone_digits", json!("+44 (0)77"), json!("44077")),
        ("phone_digits", json!(4477), json!("4477")),
        ("date", json!("2026-11-21T19:59:15Z"), json!("2026-11-21")),
        ("date", json!("2026-11-21 19:59"), json!("2026-11-21")),
        ("date", json!("21 November 2026"), json!("21 November 2026")),
        ("truncate:2", json!("äöü"), json!("äö")),
        ("truncate:x", json!("abc"), json!("abc")),
        ("as:waiting=open", json!("waiting"), json!("open")),
        ("as:waiting=open", json!("closed"), json!("closed")),
        ("as:waiting", json!("waiting"), json!("waiting")),
        ("nonsense", json!(" a "), json!(" a ")),
        ("trim", json!(3.0), json!(3)),
        ("trim", json!(3.5), json!(3.5)),
        ("trim", json!({"a": " b "}), json!({"a": " b "})),
    ];
    for (name, value, wanted) in table {
        assert_eq!(normalise_value(&[name.to_owned()], &value), wanted, "{name} of {value}");
    }
}

#[test]
fn only_what_differs_and_may_be_written_is_written() {
    let fields = |value: Value| -> Fields { value.as_object().unwrap().clone().into_iter().collect() };
    let want = fields(json!({"same": "a", "new": "b", "case": "X", "empty": null, "blank": "", "gone": null, "fixed": 1, "bad": 2}));
    let shadow = fields(json!({"same": "a", "new": "old", "case": "x", "empty": "full", "blank": "full", "theirs": "kept", "bad": 1}));
    let quarantined = BTreeMap::from([("bad".to_owned(), "too long".to_owned())]);
    let normalisers = BTreeMap::from([("case".to_owned(), vec!["lowercase".to_owned()])]);
    let got = delta(&want, &shadow, |field| field != "fixed", &quarantined, &normalisers);
    assert_eq!(got.set, fields(json!({"new": "b"})));
    assert_eq!(got.clear, ["blank", "empty"]);
    assert!(!got.is_empty());
    assert!(delta(&want, &want, |_| true, &BTreeMap::new(), &BTreeMap::new()).is_empty());
}

#[test]
fn versions_compare_as_numbers_or_as_text() {
    use VersionOrder::{Newer, Older, Same, Unknown};
    let table = [
        (Some("10"), Some("9"), Newer),
        (Some("9"), Some("10"), Older),
        (Some("007"), Some("7"), Same),
        (Some("99999999999999999999999999999999999999999"), Some("9"), Newer),
        (Some("b"), Some("a"), Newer),
        (Some("10"), Some("9a"), Older),
        (Some("2026-11-21T10:00:00Z"), Some("2026-11-21T09:00:00Z"), Newer),
        (Some("x"), Some("x"), Same),
        (Some("0"), Some(""), Newer),
        (Some("1"), None, Newer),
        (None, Some("1"), Unknown),
        (None, None, Unknown),
    ];
    for (incoming, known, wanted) in table {
        assert_eq!(newer(incoming, known), wanted, "{incoming:?} after {known:?}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[aA ]{0,3}", Just("2026-11-21T1".to_owned())];
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<f64>().prop_map(Value::from), text.prop_map(Value::from)];
    leaf.prop_recursive(2, 6, 3, |inner| proptest::collection::vec(inner, 0..3).prop_map(Value::from))
}

fn normaliser_names() -> impl Strategy<Value = Vec<String>> {
    let names = [
        "trim",
        "lowercase",
        "uppercase",
        "collapse_spaces",
        "newlines",
        "phone_digits",
        "date",
        "truncate:1",
        "truncate:3",
        "as:b=a",
        "nonsense",
    ];
    proptest::collection::vec(proptest::sample::select(names.to_vec()).prop_map(str::to_owned), 0..4)
}

proptest! {
    #[test]
    fn normalising_twice_is_normalising_once(names in normaliser_names(), value in values()) {
        let once = normalise_value(&names, &value);
        prop_assert_eq!(normalise_value(&names, &once), once);
    }

    #[test]
    fn what_was_accepted_or_agreed_leaves_nothing_to_write(
        base in values(), theirs in values(), ours in values(), normalisers in normaliser_names(), times in (0i64..200, 0i64..200),
    ) {
        let case = Case { times: (Some(times.0), Some(times.1)), normalisers, ..Case::new(base, theirs, ours) };
        let after = match case.decide().kind {
            AcceptTheirs => case.theirs.clone(),
            _ => case.ours.clone(),
        };
        let normalisers = BTreeMap::from([("f".to_owned(), case.normalisers.clone())]);
        let left = |held: &Value| delta(&one(&after), &one(held), |_| true, &BTreeMap::new(), &normalisers);
        match case.decide().kind {
            AcceptTheirs | Agreed => prop_assert!(left(&case.theirs).is_empty()),
            KeepOurs => prop_assert!(!left(&case.theirs).is_empty()),
            _ => {}
        }
        // Once the silo has stored what we sent, its echo is untouched and nothing is left.
        let stored = normalise_value(&case.normalisers, &after);
        prop_assert!(left(&stored).is_empty());
        let echo = Case { base: stored.clone(), theirs: stored, ours: after.clone(), ..case };
        prop_assert_eq!(echo.decide().kind, Untouched);
    }
}
