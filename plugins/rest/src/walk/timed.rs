//! Walks by the time of last change, made so that no change is lost:
//! each walk begins an overlap before the newest time read, `>=` rather than `>`, and repetitions are dropped by (id, version);
//! numbered pages over a sorted list are never counted beyond records of one and the same time, because a record that changes meanwhile
//! moves to the end and would pull an unread one onto a page already read.

use serde_json::Value;
use throughline_plugin_sdk::http::ResponseExt;
use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{Error, ErrorClass, Item, Page, Result, clock};

use super::fetch::{Fetched, fetch};
use super::position::{Place, Position, Walk};
use super::{Context, page as make_page, sweep_is_due};
use crate::config::{Pagination, Updated};
use crate::{pointer, record, time};

/// How often records of one time are read again, if numbered pages of them may have shifted.
const PASSES: u32 = 3;

/// The entity's rules of reading by time.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// How far back a walk begins.
    pub overlap_ms: i64,
    /// The resolution of the system's times.
    pub resolution_ms: i64,
    /// Whether the system's filter includes the bound itself.
    pub inclusive: bool,
    /// Whether the list is sorted by time, oldest first.
    pub sorted: bool,
}

/// A page.
pub(crate) fn page(context: Context<'_>, rules: Rules, mut position: Position) -> Result<Page> {
    let updated = context.entity.updated.as_ref().ok_or_else(|| no_updated(context.name))?;
    let mut walk = position.walk.take().unwrap_or_else(|| begin(context, rules, updated, &position));
    let fetched = fetch(context.client, context.name, context.entity, context.list, &walk.place, walk.since.as_deref())?;
    if walk.started == 0 {
        walk.started = silo_clock(&fetched);
    }
    if rules.sorted {
        insist_on_order(context, &fetched.records)?;
    }
    let items = fresh_items(context, &mut position, &fetched.records)?;
    walk.fresh |= !items.is_empty();
    let newest = fetched.records.iter().filter_map(|record| record::updated(context.entity, record)).max().map(Timestamp::as_millis);
    walk.high = walk.high.max(newest);
    let driven_by_us = rules.sorted && matches!(context.list.pagination, Pagination::Page { .. } | Pagination::Offset | Pagination::Keyset);
    let goes_on = match context.list.pagination {
        Pagination::Keyset => by_key(&mut walk, updated, &fetched, newest),
        Pagination::Page { .. } | Pagination::Offset if rules.sorted => {
            by_ties(context, rules, updated, &mut walk, fetched.next.clone(), newest)
        }
        _ => turn(&mut walk, fetched.next.clone()),
    };
    // While the walk goes on, only what lies before its lower bound is certain: records of the bound's own time may be read again.
    let reached = match (driven_by_us, goes_on) {
        (true, true) => walk.since_ms,
        (true, false) => walk.high,
        (false, _) => walk.high.map(|high| high.min(walk.started)),
    };
    if !goes_on || rules.sorted {
        position.high = position.high.max(reached);
        position.forget_before(position.high.unwrap_or(i64::MIN).saturating_sub(rules.overlap_ms).saturating_sub(rules.resolution_ms));
    }
    finish(context, items, position, goes_on.then_some(walk))
}

fn finish(context: Context<'_>, items: Vec<Item>, mut position: Position, walk: Option<Walk>) -> Result<Page> {
    let next = match walk {
        Some(walk) => Some(walk),
        None => sweep_is_due(context.entity, &mut position).then(|| super::full::begin(context, true)),
    };
    let next = next.map(|walk| Position { walk: Some(walk), ..position.clone() });
    make_page(items, next.as_ref(), &position, None)
}

fn begin(context: Context<'_>, rules: Rules, updated: &Updated, position: &Position) -> Walk {
    let mut walk = Walk { place: context.first_place(), ..Walk::default() };
    if let Some(high) = position.high {
        set_since(&mut walk, rules, updated, high.saturating_sub(rules.overlap_ms));
    }
    walk
}

/// Sets the lower bound so that the system's filter includes everything of this time, in its resolution.
fn set_since(walk: &mut Walk, rules: Rules, updated: &Updated, at: i64) {
    let unit = rules.resolution_ms.max(1);
    let floor = at.div_euclid(unit).saturating_mul(unit);
    let bound = if rules.inclusive { floor } else { floor.saturating_sub(unit) };
    walk.since_ms = Some(at);
    walk.since = pointer::scalar(&time::render(Timestamp::from_millis(bound), updated.format));
}

/// The list goes on wherever the system says.
fn turn(walk: &mut Walk, next: Option<Place>) -> bool {
    let goes_on = next.is_some();
    walk.place = next.unwrap_or_default();
    goes_on
}

/// The list goes on after the last record, by its own time and id. The time is sent as the system wrote it: a rounded one would
/// give the same record again for ever.
fn by_key(walk: &mut Walk, updated: &Updated, fetched: &Fetched, newest: Option<i64>) -> bool {
    let Some(next) = fetched.next.clone() else { return false };
    let last = fetched.records.last().and_then(|record| record.pointer(&updated.pointer)).and_then(pointer::scalar);
    if let Some(last) = last.filter(|last| !last.is_empty()) {
        walk.since = Some(last);
        walk.since_ms = newest;
    }
    walk.place = next;
    true
}

/// Numbered pages: as soon as a page shows a newer time, the list is asked for from that time on, first page; only records of one
/// time are counted through. If they filled several pages, they are read again until nothing new turns up.
fn by_ties(context: Context<'_>, rules: Rules, updated: &Updated, walk: &mut Walk, next: Option<Place>, newest: Option<i64>) -> bool {
    let advanced = newest > walk.since_ms;
    walk.tied += 1;
    let first = Place { per_page: walk.place.per_page, ..context.first_place() };
    match next {
        Some(next) if !advanced => {
            walk.place = next;
            return true;
        }
        _ => {}
    }
    if walk.tied > 1 && walk.fresh && walk.pass < PASSES {
        *walk = Walk { place: first, tied: 0, fresh: false, pass: walk.pass + 1, ..walk.clone() };
        return true;
    }
    let Some(newest) = newest.filter(|_| advanced) else { return false };
    set_since(walk, rules, updated, newest);
    *walk = Walk { place: first, tied: 0, fresh: false, pass: 0, ..walk.clone() };
    true
}

fn fresh_items(context: Context<'_>, position: &mut Position, records: &[Value]) -> Result<Vec<Item>> {
    let mut fresh = Vec::new();
    for item in context.items(records)?.into_iter().flatten() {
        if !position.has_seen(&item.key, item.version.as_deref()) {
            position.remember(&item.key, item.version.as_deref(), item.at_ms.and_then(|at| i64::try_from(at).ok()));
            fresh.push(item);
        }
    }
    Ok(fresh)
}

/// A list sorted the other way round would let us pass over everything but its first page.
fn insist_on_order(context: Context<'_>, records: &[Value]) -> Result<()> {
    let times: Vec<_> = records.iter().filter_map(|record| record::updated(context.entity, record)).collect();
    if times.is_sorted() {
        return Ok(());
    }
    let detail =
        format!("the list of {:?} is not sorted by time of change, oldest first: correct its query or set sorted to false", context.name);
    Err(Error::new(ErrorClass::Config, detail).with_field(format!("entities.{}.cursor.sorted", context.name)))
}

/// The system's own clock where its answer tells it: what changed before this moment is in the walk.
fn silo_clock(fetched: &Fetched) -> i64 {
    let told = fetched.answer.response.header("date").and_then(http_date);
    told.unwrap_or_else(|| clock::now().as_millis())
}

/// `Sat, 21 Nov 2026 12:00:07 GMT`
fn http_date(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(parsed.timestamp().as_millisecond())
}

fn no_updated(name: &str) -> Error {
    Error::new(ErrorClass::Config, "a timestamp cursor needs to know where the time of change is")
        .with_field(format!("entities.{name}.updated"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(http_date("Sat, 21 Nov 2026 12:00:07 GMT"), Some(1_795_262_407_000));
        assert_eq!(http_date("soon"), None);
    }
}
