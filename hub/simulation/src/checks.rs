//! What must hold at the end of every run.

use std::collections::{BTreeMap, BTreeSet};

use throughline_engine::{Hub, Paging};
use throughline_schemas::{Enquiry, Profile};

use crate::edits::Subject;
use crate::scenario::{Kind, fields_of};
use crate::silo::number_of;
use crate::world::State;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule: `converged`, `lost update`, `duplicate create`, `late write`, `amplification`, `dead letter`.
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
    /// What to look for in the trace.
    pub about: Vec<String>,
}

/// The keys of a silo's records of a subject.
#[must_use]
pub(crate) fn records_of(state: &State, silo: usize, subject: usize) -> Vec<String> {
    let known = &state.edits.subjects[subject];
    let people = match known.person {
        Some(person) => records_of(state, silo, person),
        None => Vec::new(),
    };
    let is_it = |fields: &serde_json::Map<String, serde_json::Value>| match known.person {
        None => fields.get("email").and_then(serde_json::Value::as_str) == Some(known.name.as_str()),
        Some(_) => fields.get("customer").and_then(serde_json::Value::as_str).is_some_and(|key| people.iter().any(|known| known == key)),
    };
    let records = state.silos[silo].records.iter();
    records.filter(|((of, _), record)| of == known.entity && is_it(&record.fields)).map(|((_, key), _)| key.clone()).collect()
}

/// Everything that is wrong at the end.
#[must_use]
pub(crate) fn violations(state: &State, hub: &Hub, kind: Kind) -> Vec<Violation> {
    let mut found = Vec::new();
    for subject in 0..state.edits.subjects.len() {
        duplicates(state, subject, &mut found);
        match held(state, hub, subject) {
            Ok(held) => fields(state, subject, &held, &mut found),
            Err(violation) => found.push(violation),
        }
    }
    writes(state, kind, &mut found);
    found
}

fn writes(state: &State, kind: Kind, found: &mut Vec<Violation>) {
    let writes = state.writes;
    if writes.late > 0 {
        let detail = format!("{} writes after everything should have been quiet", writes.late);
        found.push(Violation { rule: "late write", detail, about: Vec::new() });
    }
    let needless = writes.all - writes.necessary;
    // A run is short: one repeated write of it is no loop. Rules that undo each other do make one, until it is broken.
    let allowed = if kind == Kind::QuarrellingRules { writes.necessary } else { 2.max(writes.necessary / 10) };
    if needless > allowed {
        let detail = format!("{} writes, {} of them brought anything new", writes.all, writes.necessary);
        found.push(Violation { rule: "amplification", detail, about: vec!["the hub writes".to_owned()] });
    }
}

fn duplicates(state: &State, subject: usize, found: &mut Vec<Violation>) {
    let known = &state.edits.subjects[subject];
    for silo in 0..state.silos.len() {
        let keys = records_of(state, silo, subject);
        if keys.len() > 1 {
            let detail = format!("{} has {} records of {}: {}", state.silos[silo].name, keys.len(), known.name, keys.join(", "));
            found.push(Violation { rule: "duplicate create", detail, about: keys });
        }
    }
}

/// The numbers that the hub holds of a subject, by field.
fn held(state: &State, hub: &Hub, subject: usize) -> Result<BTreeMap<&'static str, Option<u64>>, Violation> {
    let known = &state.edits.subjects[subject];
    let missing = |detail: String| Violation { rule: "converged", detail, about: vec![known.name.clone()] };
    let person = known.person.map_or(known, |person| &state.edits.subjects[person]);
    let profile = profile(hub, person).map_err(&missing)?;
    let mut held = BTreeMap::new();
    match known.person {
        None => {
            for &field in fields_of(known.entity) {
                let said = profile.fields.get(field).and_then(|said| number_of(&said.value));
                held.insert(field, said.or_else(|| first_number(&profile).filter(|_| field == "phone")));
            }
        }
        Some(_) => {
            let enquiry = enquiry(hub, &profile).map_err(&missing)?;
            held.insert("reason", number_of(&enquiry.reason.clone().into()));
            held.insert("order", enquiry.variables.get("order").and_then(|variable| number_of(&variable.value)));
        }
    }
    Ok(held)
}

/// A number that nobody had to say as a field is known as an identity.
fn first_number(profile: &Profile) -> Option<u64> {
    let phone = profile.identities.iter().find(|identity| identity.kind == throughline_schemas::IdentityType::Phone)?;
    number_of(&phone.value.clone().into())
}

fn profile(hub: &Hub, person: &Subject) -> Result<Profile, String> {
    let page =
        hub.profiles(Some(&format!("email:{}", person.name)), Paging { cursor: None, limit: 10 }).map_err(|error| error.to_string())?;
    let count = page.items.len();
    let mut profiles = page.items.into_iter();
    match (profiles.next(), count) {
        (Some(profile), 1) => Ok(profile.value),
        _ => Err(format!("the hub has {count} profiles of {}", person.name)),
    }
}

fn enquiry(hub: &Hub, profile: &Profile) -> Result<Enquiry, String> {
    let filter = throughline_engine::EnquiryFilter { profile: Some(profile.id), ..Default::default() };
    let page = hub.enquiries(filter, Paging { cursor: None, limit: 10 }).map_err(|error| error.to_string())?;
    let count = page.items.len();
    match (page.items.into_iter().next(), count) {
        (Some(enquiry), 1) => Ok(enquiry.value),
        _ => Err(format!("the hub has {count} enquiries of {}", profile.id)),
    }
}

/// Everybody holds the same, and it is nothing that was superseded.
fn fields(state: &State, subject: usize, held: &BTreeMap<&'static str, Option<u64>>, found: &mut Vec<Violation>) {
    let known = &state.edits.subjects[subject];
    for (&field, &ours) in held {
        let survivors = state.edits.survivors(subject, field);
        check_survivor(known, field, ours, &survivors, "the hub", found);
        for (place, silo) in state.silos.iter().enumerate() {
            let refused =
                |number: Option<u64>| field == "company" && silo.temper.refuses.zip(number).is_some_and(|(every, it)| it % every == 0);
            if refused(ours) || !silo.temper.plugin("x").manifest.entities.iter().any(|entity| entity.name == known.entity) {
                continue;
            }
            let keys = records_of(state, place, subject);
            let Some(key) = keys.first() else {
                let detail = format!("{} has no record of {}", silo.name, known.name);
                found.push(Violation { rule: "converged", detail, about: vec![known.name.clone()] });
                continue;
            };
            let record = &silo.records[&(known.entity.to_owned(), key.clone())];
            let theirs = record.fields.get(field).and_then(number_of);
            if theirs != ours {
                let detail = format!("{field} of {}: the hub holds {ours:?}, {} holds {theirs:?} in {key}", known.name, silo.name);
                found.push(Violation {
                    rule: "converged",
                    detail,
                    about: vec![format!("{} {key} ", known.entity), format!("of {key}"), known.name.clone()],
                });
            }
        }
    }
}

fn check_survivor(known: &Subject, field: &str, number: Option<u64>, survivors: &BTreeSet<u64>, who: &str, found: &mut Vec<Violation>) {
    if number.is_some_and(|number| survivors.contains(&number)) {
        return;
    }
    let detail = format!("{field} of {}: {who} holds {number:?}, which was superseded; it should be one of {survivors:?}", known.name);
    found.push(Violation { rule: "lost update", detail, about: vec![field.to_owned()] });
}
