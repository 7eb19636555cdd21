//! Full listings: as the only way to read an entity, or beside an incremental walk to see what was deleted.
//!
//! A listing is called complete only if one instance saw every page of it, every record had an id, and the total, where the system
//! tells one, neither changed nor differs from what was listed.

use throughline_plugin_sdk::{Error, ErrorClass, Page, Result, clock, log};

use super::fetch::{Fetched, fetch};
use super::position::{Position, Walk};
use super::{Context, listing, page as make_page};
use crate::config::{Deletes, Entity, FullList, ListCall, Version};
use crate::record;

/// A page of an entity that knows no cursor.
pub(crate) fn page(context: Context<'_>, mut position: Position) -> Result<Page> {
    let mut walk = position.walk.take().unwrap_or_else(|| begin(context, false));
    let fetched = fetch(context.client, context.name, context.entity, context.list, &walk.place, None)?;
    let items = context.items(&fetched.records)?;
    collect(context, &walk, &fetched);
    let items = items.into_iter().flatten().collect();
    let Some(next) = fetched.next else {
        let keys = finish(context, &walk);
        return make_page(items, None, &Position::default(), keys);
    };
    // A number or an id can be gone on from at any time; a link or cursor of the system's may have run out by then.
    let lasting = next.link.is_none();
    walk.place = next;
    let resumed = Walk { listing: None, ..walk.clone() };
    let next = Position { walk: Some(walk), ..position };
    let checkpoint = Position { walk: lasting.then_some(resumed), ..Position::default() };
    make_page(items, Some(&next), &checkpoint, None)
}

/// A page of a listing beside an incremental walk. Its records are handed over too: the hub, which knows most of them by their version,
/// sees from the walk's items what is still there, and whatever the incremental walk may have missed comes in after all.
pub(crate) fn sweep(context: Context<'_>, mut position: Position) -> Result<Page> {
    let kept = position.walk.take().filter(|walk| walk.listing.as_deref().is_some_and(listing::is_known));
    let mut walk = kept.unwrap_or_else(|| begin(context, true));
    let list = sweep_list(context);
    let fetched = fetch(context.client, context.name, context.entity, list, &walk.place, None)?;
    insist_on_whole_records(context, &fetched)?;
    let items = context.items(&fetched.records)?.into_iter().flatten().collect();
    collect(context, &walk, &fetched);
    let rest = position.at_rest();
    let Some(next) = fetched.next else {
        let keys = finish(context, &walk);
        // A spoilt listing is not repeated at once: the next poll is soon enough.
        let listed_at = if keys.is_some() { Some(clock::now().as_millis()) } else { rest.listed_at };
        return make_page(items, None, &Position { listed_at, ..rest }, keys);
    };
    walk.place = next;
    make_page(items, Some(&Position { walk: Some(walk), ..rest.clone() }), &rest, None)
}

/// Half a record would pass for one whose other fields are unknown, and its missing version for a newer one.
fn insist_on_whole_records(context: Context<'_>, fetched: &Fetched) -> Result<()> {
    let versioned = matches!(context.entity.version, Some(Version::Pointer(_)));
    if !versioned || fetched.records.iter().all(|record| record::version(context.entity, record, None).is_some()) {
        return Ok(());
    }
    let detail = format!("the full listing of {:?} gives records without their version: let it give whole records", context.name);
    Err(Error::new(ErrorClass::Config, detail).with_field(format!("entities.{}.deletes.list", context.name)))
}

/// The position with which a listing begins, if one is due after an incremental walk.
pub(crate) fn sweep_is_due(entity: &Entity, position: &mut Position) -> bool {
    let Deletes::FullList(full) = &entity.deletes else { return false };
    let now = clock::now().as_millis();
    let Some(last) = position.listed_at else {
        // The first walk has just read everything.
        position.listed_at = Some(now);
        return full.every_seconds == 0;
    };
    now.saturating_sub(last) >= super::ms(full.every_seconds, 1000)
}

/// The walk of a listing.
pub(crate) fn begin(context: Context<'_>, sweep: bool) -> Walk {
    let per_page = if sweep { sweep_list(context).page_size } else { context.first_place().per_page.unwrap_or(context.list.page_size) };
    let collects = sweep || matches!(context.entity.deletes, Deletes::FullList(_));
    let listing = collects.then(|| listing::begin(&format!("{} {}", context.client.config.base_url, context.name)));
    Walk { listing, sweep, place: super::Place { per_page: Some(per_page), ..super::Place::default() }, ..Walk::default() }
}

fn sweep_list<'a>(context: Context<'a>) -> &'a ListCall {
    match &context.entity.deletes {
        Deletes::FullList(FullList { list: Some(list), .. }) => list,
        _ => context.list,
    }
}

fn collect(context: Context<'_>, walk: &Walk, fetched: &Fetched) {
    if let Some(name) = &walk.listing {
        listing::add(name, fetched.records.iter().map(|record| record::key(context.entity, record)), fetched.total);
    }
}

fn finish(context: Context<'_>, walk: &Walk) -> Option<Vec<String>> {
    match listing::finish(walk.listing.as_deref()?) {
        Ok(keys) => Some(keys),
        Err(reason) => {
            log::warn(format!("the listing of {:?} says nothing about deletions: {reason}", context.name));
            None
        }
    }
}
