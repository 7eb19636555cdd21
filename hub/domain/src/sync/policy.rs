//! Who wins when both sides changed a field since they last agreed.

use std::cmp::Ordering;

use serde_json::Value;
use throughline_schemas::sync::FieldPolicy;

use super::{FieldOutcome, IngestRecord, normalise_value, normalisers_of, same_value};

type Won = (FieldOutcome, &'static str);

/// Both sides changed it, to different values.
pub(super) fn both_changed(record: &IngestRecord<'_>, field: &str, base: &Value, theirs: &Value, ours: &Value) -> Won {
    match record.policies.get(field).unwrap_or(&FieldPolicy::Newest) {
        FieldPolicy::Theirs => (FieldOutcome::AcceptTheirs, "both changed it and the silo always wins"),
        FieldPolicy::Ours => (FieldOutcome::KeepOurs, "both changed it and the hub always wins"),
        FieldPolicy::Manual => {
            let conflict = FieldOutcome::Conflict { base: base.clone(), theirs: theirs.clone(), ours: ours.clone() };
            (conflict, "both changed it and a person decides")
        }
        FieldPolicy::Newest => newest(record, field, theirs, ours),
        FieldPolicy::Priority(order) => priority(record, field, order, theirs, ours),
        FieldPolicy::Max => extreme(record, field, theirs, ours, Ordering::Greater),
        FieldPolicy::Min => extreme(record, field, theirs, ours, Ordering::Less),
        FieldPolicy::Union => union(record, field, base, theirs, ours),
        FieldPolicy::Append => append(base, theirs, ours),
    }
}

/// The silo's clock may be ahead: it cannot have changed anything after we received it. Without a clock, the receipt is all we know.
fn newest(record: &IngestRecord<'_>, field: &str, theirs: &Value, ours: &Value) -> Won {
    let clamp = |at: throughline_schemas::Timestamp| if record.protections.clamped_clocks { at.min(record.received_at) } else { at };
    let theirs_at = record.theirs_changed_at.map_or(record.received_at, clamp);
    let ours_at = record.ours_changed_at.get(field).copied();
    match ours_at.map_or(Ordering::Greater, |ours_at| theirs_at.cmp(&ours_at)) {
        Ordering::Greater => (FieldOutcome::AcceptTheirs, "both changed it, the silo later"),
        Ordering::Less => (FieldOutcome::KeepOurs, "both changed it, the hub later"),
        Ordering::Equal => tie(normalisers_of(record.normalisers, field), theirs, ours),
    }
}

/// An order of the values themselves, so that whoever compares them, on either side, finds the same winner.
fn tie(normalisers: &[String], theirs: &Value, ours: &Value) -> Won {
    let rank = |value: &Value| normalise_value(normalisers, value).to_string();
    if rank(theirs) > rank(ours) {
        return (FieldOutcome::AcceptTheirs, "both changed it at the same time, the silo's value is the greater");
    }
    (FieldOutcome::KeepOurs, "both changed it at the same time, the hub's value is the greater")
}

/// Two that are not named, or the same twice, go by time.
fn priority(record: &IngestRecord<'_>, field: &str, order: &[String], theirs: &Value, ours: &Value) -> Won {
    let rank = |name: Option<&str>| name.and_then(|name| order.iter().position(|known| known == name)).unwrap_or(order.len());
    let ours_from = record.ours_from.get(field).map(String::as_str);
    match rank(Some(record.from)).cmp(&rank(ours_from)) {
        Ordering::Less => (FieldOutcome::AcceptTheirs, "both changed it and the silo stands first"),
        Ordering::Greater => (FieldOutcome::KeepOurs, "both changed it and another system stands first"),
        Ordering::Equal => newest(record, field, theirs, ours),
    }
}

fn extreme(record: &IngestRecord<'_>, field: &str, theirs: &Value, ours: &Value, wanted: Ordering) -> Won {
    let normalisers = normalisers_of(record.normalisers, field);
    let order = match (theirs.as_f64(), ours.as_f64()) {
        (Some(theirs), Some(ours)) => theirs.partial_cmp(&ours).unwrap_or(Ordering::Equal),
        _ => text_of(normalisers, theirs).cmp(&text_of(normalisers, ours)),
    };
    let won = if wanted == Ordering::Greater {
        "both changed it and the greater value wins"
    } else {
        "both changed it and the smaller value wins"
    };
    if order == wanted { (FieldOutcome::AcceptTheirs, won) } else { (FieldOutcome::KeepOurs, won) }
}

fn text_of(normalisers: &[String], value: &Value) -> String {
    match normalise_value(normalisers, value) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Three-way for sets: what was common stays if both still have it, what is new on either side is added. Theirs first, in its order.
fn union(record: &IngestRecord<'_>, field: &str, base: &Value, theirs: &Value, ours: &Value) -> Won {
    let normalisers = normalisers_of(record.normalisers, field);
    let has = |list: &[Value], item: &Value| list.iter().any(|known| same_value(normalisers, known, item));
    let (base, their_items, our_items) = (items(base), items(theirs), items(ours));
    let mut together: Vec<Value> = Vec::new();
    for (item, other) in their_items.iter().map(|item| (item, &our_items)).chain(our_items.iter().map(|item| (item, &their_items))) {
        let removed_there = has(&base, item) && !has(other, item);
        if !removed_there && !has(&together, item) {
            together.push(item.clone());
        }
    }
    let together = Value::Array(together);
    if same_value(normalisers, &together, theirs) {
        return (FieldOutcome::AcceptTheirs, "both changed it and the silo's list holds what both added");
    }
    (FieldOutcome::Merged(together), "both changed it and what both added is kept")
}

/// A list's items; a single value is a list of one, nothing a list of none.
fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    }
}

/// Both wrote on: what each added behind the common beginning. Where one did not only add, the whole of both is kept.
fn append(base: &Value, theirs: &Value, ours: &Value) -> Won {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (base, theirs, ours) = (text(base), text(theirs), text(ours));
    if theirs.ends_with(&ours) || theirs.contains(&format!("{ours}\n")) {
        return (FieldOutcome::AcceptTheirs, "both changed it and the silo's text holds ours");
    }
    let added = ours.strip_prefix(base.as_str()).unwrap_or(&ours).trim_start_matches('\n');
    let together = if theirs.is_empty() { added.to_owned() } else { format!("{}\n{added}", theirs.trim_end_matches('\n')) };
    (FieldOutcome::Merged(Value::String(together)), "both wrote on and both additions are kept")
}
