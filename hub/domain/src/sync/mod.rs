//! Two-way synchronisation of one record: the three-way merge against the shadow, and what is left to write.
//!
//! The shadow is, field by field, what the silo last said it stores. Comparing with it, and with neither clocks nor authors, is what
//! tells an echo from a change. Knows no store, no connector and no canonical type: fields are names and JSON values.

pub mod breaker;
pub mod deletion;
mod normalise;
pub mod plan;
mod policy;
mod protections;
pub mod retry;
pub mod skew;
#[cfg(test)]
mod tests;
pub mod turns;
mod version;

use std::collections::BTreeMap;

pub use normalise::{normalise_value, same_value};
pub use protections::Protections;
use serde_json::Value;
use throughline_schemas::Timestamp;
use throughline_schemas::sync::{FieldPolicy, SyncDirection, Turn};
pub use version::{VersionOrder, Worth, newer, worth};

/// What came in for one record, and what it is compared with.
#[derive(Debug, Clone, Copy)]
pub struct IngestRecord<'a> {
    /// The record as the silo holds it now. A field that is absent was not reported; one that is null is empty.
    pub theirs: &'a BTreeMap<String, Value>,
    /// What the silo said before; empty when the record is new to us.
    pub shadow: &'a BTreeMap<String, Value>,
    /// What we would send now.
    pub ours: &'a BTreeMap<String, Value>,
    /// What was sent and is not acknowledged yet: whatever the silo says of it is our own echo.
    pub sent: &'a BTreeMap<String, Value>,
    /// Who our value of a field comes from: the name of a connection; absent if the hub's own agents or nobody said it.
    pub ours_from: &'a BTreeMap<String, String>,
    /// The name of the connection that reports.
    pub from: &'a str,
    /// How fields went back and forth before.
    pub turns: &'a BTreeMap<String, Vec<Turn>>,
    /// Fields that are frozen because of that.
    pub frozen: &'a BTreeMap<String, Timestamp>,
    /// Which rules are in force.
    pub protections: Protections,
    /// When our value of a field was last changed.
    pub ours_changed_at: &'a BTreeMap<String, Timestamp>,
    /// When the silo says that the record was last changed.
    pub theirs_changed_at: Option<Timestamp>,
    /// When we received it.
    pub received_at: Timestamp,
    /// Who wins, by field; a field not named here goes by `newest`.
    pub policies: &'a BTreeMap<String, FieldPolicy>,
    /// What the silo does to a value when it stores it, by field.
    pub normalisers: &'a BTreeMap<String, Vec<String>>,
    /// Which way the entity is synchronised.
    pub direction: SyncDirection,
}

/// What became of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldOutcome {
    /// The silo did not change it.
    Untouched,
    /// It is what we sent: our own echo, which may come before the silo's answer.
    Echo,
    /// Both sides say the same.
    Agreed,
    /// The silo's value becomes ours.
    AcceptTheirs,
    /// Ours stays, and is written if it differs from what the silo holds.
    KeepOurs,
    /// Both sides' changes together become ours, and are written where they differ from what the silo holds.
    Merged(Value),
    /// It goes back and forth: neither taken nor written until a third value comes or a person decides.
    Frozen {
        /// What the silo held before.
        base: Value,
        /// What it holds now.
        theirs: Value,
        /// What we hold.
        ours: Value,
    },
    /// Both changed it and a person decides; nothing is written until then.
    Conflict {
        /// What the silo held before.
        base: Value,
        /// What it holds now.
        theirs: Value,
        /// What we hold.
        ours: Value,
    },
}

/// What became of one field, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDecision {
    /// The field.
    pub field: String,
    /// What became of it.
    pub kind: FieldOutcome,
    /// The silo's value, in its own form: what the shadow becomes, and our value if it is accepted.
    pub theirs: Value,
    /// Why, for the decision's evidence.
    pub why: &'static str,
}

/// Compares a record that came in with its shadow and with ours, field by field.
#[must_use]
pub fn merge(record: &IngestRecord<'_>) -> Vec<FieldDecision> {
    record.theirs.iter().map(|(field, theirs)| merge_field(record, field, theirs)).collect()
}

fn merge_field(record: &IngestRecord<'_>, field: &str, theirs: &Value) -> FieldDecision {
    let normalisers = normalisers_of(record.normalisers, field);
    let same = |a: &Value, b: &Value| same_value(normalisers, a, b);
    let base = record.shadow.get(field).unwrap_or(&Value::Null);
    let ours = record.ours.get(field).unwrap_or(&Value::Null);
    let sent = record.sent.get(field).filter(|_| record.protections.intents);
    let (kind, why) = if record.protections.shadows && same(theirs, base) {
        (FieldOutcome::Untouched, "the silo did not change it")
    } else if sent.is_some_and(|sent| same(theirs, sent)) {
        (FieldOutcome::Echo, "it is what we sent")
    } else if same(theirs, ours) {
        (FieldOutcome::Agreed, "both sides say the same")
    } else if goes_back_and_forth(record, field, theirs) {
        let frozen = FieldOutcome::Frozen { base: base.clone(), theirs: theirs.clone(), ours: ours.clone() };
        (frozen, "both change it back and forth, and a person decides")
    } else if record.direction == SyncDirection::Out {
        (FieldOutcome::KeepOurs, "the silo's changes are not taken")
    } else if !record.protections.shadows || same(ours, base) || sent.is_some_and(|sent| same(ours, sent)) {
        (FieldOutcome::AcceptTheirs, "only the silo changed it")
    } else {
        policy::both_changed(record, field, base, theirs, ours)
    };
    FieldDecision { field: field.to_owned(), kind, theirs: theirs.clone(), why }
}

/// Whether this value would be one turn too many, or is one of those for which the field was frozen.
fn goes_back_and_forth(record: &IngestRecord<'_>, field: &str, theirs: &Value) -> bool {
    if !record.protections.freezes {
        return false;
    }
    let value = turns::digest(normalisers_of(record.normalisers, field), theirs);
    let before = record.turns.get(field).map_or(&[][..], Vec::as_slice);
    if record.frozen.contains_key(field) {
        return turns::is_of(before, &value);
    }
    turns::is_loop(&turns::taken(before, Turn { value, ours: false, at: record.received_at }))
}

/// What is to be written to a silo's record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// Fields to set.
    pub set: BTreeMap<String, Value>,
    /// Fields to empty.
    pub clear: Vec<String>,
}

impl Delta {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.clear.is_empty()
    }
}

/// Fields where what we want differs from what the silo said it stores. A field absent from `want` is none of ours and stays; one
/// that is null or empty text is emptied.
#[must_use]
pub fn delta(
    want: &BTreeMap<String, Value>,
    shadow: &BTreeMap<String, Value>,
    writable: impl Fn(&str) -> bool,
    quarantined: &BTreeMap<String, String>,
    normalisers: &BTreeMap<String, Vec<String>>,
) -> Delta {
    let mut delta = Delta::default();
    for (field, value) in want {
        let held = shadow.get(field).unwrap_or(&Value::Null);
        if !writable(field) || quarantined.contains_key(field) || same_value(normalisers_of(normalisers, field), value, held) {
            continue;
        }
        if normalise::is_blank(value) {
            delta.clear.push(field.clone());
        } else {
            delta.set.insert(field.clone(), value.clone());
        }
    }
    delta
}

fn normalisers_of<'a>(normalisers: &'a BTreeMap<String, Vec<String>>, field: &str) -> &'a [String] {
    normalisers.get(field).map_or(&[], Vec::as_slice)
}
