//! Plans: which steps they count, by what hash they are approved, and whether a step may still be done.

use serde_json::Value;
use sha2::{Digest, Sha256};
use throughline_schemas::plan::{Plan, PlanAction, PlanChange, PlanEffect, PlanSample, PlanState, PlanStep};

/// Shown of each action.
const SAMPLES: usize = 5;
/// The longest text shown of a value.
const LONGEST: usize = 200;

/// Why a plan cannot be approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotApproved {
    /// It is not, or no longer, waiting.
    NotWaiting(PlanState),
    /// The hash is another plan's.
    OtherHash,
}

/// Whether a plan may be approved by this hash.
///
/// # Errors
/// Why not.
pub fn may_approve(plan: &Plan, hash: &str) -> Result<(), NotApproved> {
    match plan.state {
        PlanState::Waiting if plan.hash == hash => Ok(()),
        PlanState::Waiting => Err(NotApproved::OtherHash),
        other => Err(NotApproved::NotWaiting(other)),
    }
}

/// Counts a record into the plan; answers whether it is a step, to be kept and done.
pub fn count(plan: &mut Plan, step: &PlanStep) -> bool {
    let counted = plan.counts.entry(step.effect.action).or_default();
    *counted += 1;
    if plan.samples.iter().filter(|sample| sample.effect.action == step.effect.action).count() < SAMPLES {
        plan.samples.push(PlanSample { key: step.key.clone(), effect: shortened(&step.effect) });
    }
    if step.effect.action == PlanAction::Skip {
        return false;
    }
    plan.hash = next_hash(&plan.hash, step);
    plan.steps += 1;
    true
}

/// The hash of a plan with one more step.
#[must_use]
pub fn next_hash(hash: &str, step: &PlanStep) -> String {
    let text = serde_json::to_string(&PlanStep { outcome: None, ..step.clone() }).unwrap_or_default();
    Sha256::digest(format!("{hash}\0{text}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether what would happen now is what was planned, or a part of it. A record of which another step made us know the person is
/// linked instead of created.
#[must_use]
pub fn still_holds(planned: &PlanEffect, now: &PlanEffect) -> bool {
    let same_record = planned.canonical_id.is_none() || planned.canonical_id == now.canonical_id;
    let action = match now.action {
        PlanAction::Link => matches!(planned.action, PlanAction::Create | PlanAction::Link),
        PlanAction::Skip => planned.action == PlanAction::Update,
        action => action == planned.action,
    };
    action && same_record && now.changes.iter().all(|change| planned.changes.contains(change))
}

/// What differs between two sets of fields.
#[must_use]
pub fn changes<'f>(
    before: impl Fn(&str) -> Option<&'f Value>,
    after: impl Fn(&str) -> Option<&'f Value>,
    names: impl IntoIterator<Item = &'f String>,
) -> Vec<PlanChange> {
    let value = |value: Option<&Value>| value.cloned().unwrap_or_default();
    let change = |field: &String| PlanChange { field: field.clone(), before: value(before(field)), after: value(after(field)) };
    let mut changes: Vec<PlanChange> = names.into_iter().map(change).filter(|change| change.before != change.after).collect();
    changes.sort_by(|one, other| one.field.cmp(&other.field));
    changes.dedup();
    changes
}

fn shortened(effect: &PlanEffect) -> PlanEffect {
    let short = |value: &Value| match value {
        Value::String(text) if text.chars().count() > LONGEST => Value::String(text.chars().take(LONGEST).collect::<String>() + "…"),
        Value::Array(_) | Value::Object(_) if value.to_string().len() > LONGEST => Value::String("…".to_owned()),
        other => other.clone(),
    };
    let change =
        |change: &PlanChange| PlanChange { field: change.field.clone(), before: short(&change.before), after: short(&change.after) };
    PlanEffect { changes: effect.changes.iter().take(SAMPLES * 2).map(change).collect(), ..effect.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;
    use throughline_schemas::connector::{Item, ItemKind};
    use throughline_schemas::plan::PlanKind;
    use throughline_schemas::{ConnectionId, PlanId, Timestamp};

    use super::*;

    fn plan() -> Plan {
        Plan {
            id: PlanId::from_bytes([1; 16]),
            connection_id: ConnectionId::from_bytes([2; 16]),
            entity: "contact".to_owned(),
            kind: PlanKind::Backfill,
            state: PlanState::Waiting,
            hash: String::new(),
            because: None,
            counts: BTreeMap::new(),
            samples: Vec::new(),
            steps: 0,
            done: 0,
            applied: 0,
            changed: 0,
            failed: 0,
            cursor: None,
            created_at: Timestamp::default(),
            approved_at: None,
            approved_by: None,
            ended_at: None,
        }
    }

    fn effect(action: PlanAction, ours: Option<&str>, changes: &[(&str, &str, &str)]) -> PlanEffect {
        let change = |(field, before, after): &(&str, &str, &str)| PlanChange {
            field: (*field).to_owned(),
            before: if before.is_empty() { Value::Null } else { json!(before) },
            after: json!(after),
        };
        PlanEffect { action, canonical_id: ours.map(str::to_owned), changes: changes.iter().map(change).collect(), detail: None }
    }

    fn step(key: &str, action: PlanAction) -> PlanStep {
        let item = Item {
            kind: ItemKind::Record,
            entity: "contact".to_owned(),
            key: key.to_owned(),
            version: None,
            at_ms: None,
            data: json!({"company": "Engines"}),
        };
        PlanStep { key: key.to_owned(), effect: effect(action, None, &[]), link_version: None, item, outcome: None }
    }

    #[test]
    fn only_what_was_planned_is_done() {
        use PlanAction::{Conflict, Create, Link, Skip, Update};
        let table = [
            (effect(Create, None, &[("company", "", "A")]), effect(Create, None, &[("company", "", "A")]), true),
            (effect(Create, None, &[("company", "", "A")]), effect(Link, Some("pro_1"), &[("company", "", "A")]), true),
            (effect(Create, None, &[("company", "", "A")]), effect(Link, Some("pro_1"), &[]), true),
            (effect(Create, None, &[("company", "", "A")]), effect(Link, Some("pro_1"), &[("company", "B", "A")]), false),
            (effect(Link, Some("pro_1"), &[]), effect(Link, Some("pro_1"), &[]), true),
            (effect(Link, Some("pro_1"), &[]), effect(Link, Some("pro_2"), &[]), false),
            (effect(Link, Some("pro_1"), &[]), effect(Create, None, &[]), false),
            (effect(Update, Some("pro_1"), &[("company", "A", "B")]), effect(Update, Some("pro_1"), &[("company", "A", "B")]), true),
            (effect(Update, Some("pro_1"), &[("company", "A", "B")]), effect(Update, Some("pro_1"), &[("company", "C", "B")]), false),
            (effect(Update, Some("pro_1"), &[("company", "A", "B")]), effect(Skip, Some("pro_1"), &[]), true),
            (effect(Update, Some("pro_1"), &[]), effect(Conflict, Some("pro_1"), &[]), false),
            (effect(Conflict, Some("pro_1"), &[]), effect(Conflict, Some("pro_1"), &[]), true),
            (effect(Conflict, Some("pro_1"), &[]), effect(Update, Some("pro_1"), &[]), false),
        ];
        for (planned, now, wanted) in table {
            assert_eq!(still_holds(&planned, &now), wanted, "{planned:?} {now:?}");
        }
    }

    #[test]
    fn it_is_approved_by_its_own_hash_while_it_waits() {
        let mut plan = plan();
        assert!(count(&mut plan, &step("1", PlanAction::Create)));
        let hash = plan.hash.clone();
        assert_eq!(may_approve(&plan, &hash), Ok(()));
        assert_eq!(may_approve(&plan, "other"), Err(NotApproved::OtherHash));
        for state in [PlanState::Reading, PlanState::Applying, PlanState::Done, PlanState::Cancelled, PlanState::Failed] {
            let other = Plan { state, ..plan.clone() };
            assert_eq!(may_approve(&other, &hash), Err(NotApproved::NotWaiting(state)));
        }
    }

    #[test]
    fn what_is_skipped_is_counted_and_no_step() {
        let mut plan = plan();
        assert!(!count(&mut plan, &step("1", PlanAction::Skip)));
        assert_eq!((plan.steps, plan.hash.as_str(), plan.counts[&PlanAction::Skip], plan.samples.len()), (0, "", 1, 1));
        for index in 0..20 {
            count(&mut plan, &step(&index.to_string(), PlanAction::Create));
        }
        assert_eq!((plan.steps, plan.counts[&PlanAction::Create], plan.samples.len()), (20, 20, 1 + SAMPLES));
    }

    #[test]
    fn values_in_samples_are_short() {
        let long = effect(PlanAction::Update, None, &[("note", "", &"x".repeat(10_000))]);
        assert_eq!(shortened(&long).changes[0].after.as_str().unwrap().chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn another_order_or_another_step_is_another_hash(keys in proptest::collection::vec("[a-c]{1,2}", 1..6), at in 0usize..6) {
            let hash = |keys: &[String]| keys.iter().fold(String::new(), |hash, key| next_hash(&hash, &step(key, PlanAction::Create)));
            let mut others = keys.clone();
            let at = at % keys.len();
            others[at].push('x');
            prop_assert_ne!(hash(&keys), hash(&others));
            let mut turned = keys.clone();
            turned.reverse();
            prop_assert_eq!(hash(&keys) == hash(&turned), keys == turned);
            let done = PlanStep { outcome: Some(throughline_schemas::plan::StepOutcome::Applied), ..step(&keys[0], PlanAction::Create) };
            prop_assert_eq!(next_hash("", &done), next_hash("", &step(&keys[0], PlanAction::Create)));
        }
    }
}
