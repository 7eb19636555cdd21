//! Keys of a full listing under way. They live in the instance only: if it is lost, so is the claim that the listing was complete.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use throughline_plugin_sdk::random;

thread_local! {
    static LISTINGS: RefCell<BTreeMap<String, Listing>> = const { RefCell::new(BTreeMap::new()) };
}

#[derive(Debug, Default)]
struct Listing {
    entity: String,
    keys: BTreeSet<String>,
    total: Option<u64>,
    spoilt: Option<String>,
}

/// Begins a listing of an entity and returns its name; an unfinished one of the same entity is dropped.
pub(crate) fn begin(entity: &str) -> String {
    let name = random::token(12);
    LISTINGS.with_borrow_mut(|listings| {
        listings.retain(|_, listing| listing.entity != entity);
        listings.insert(name.clone(), Listing { entity: entity.to_owned(), ..Listing::default() });
    });
    name
}

/// Whether this instance still collects it.
pub(crate) fn is_known(name: &str) -> bool {
    LISTINGS.with_borrow(|listings| listings.contains_key(name))
}

/// Adds a page's keys. A record without a key, or a total that changes under the walk, spoils the listing.
pub(crate) fn add(name: &str, keys: impl Iterator<Item = Option<String>>, total: Option<u64>) {
    LISTINGS.with_borrow_mut(|listings| {
        let Some(listing) = listings.get_mut(name) else { return };
        for key in keys {
            match key {
                Some(key) => drop(listing.keys.insert(key)),
                None => listing.spoilt = Some("a record has no id".to_owned()),
            }
        }
        if let (Some(before), Some(now)) = (listing.total, total)
            && before != now
        {
            listing.spoilt = Some(format!("the number of records changed from {before} to {now}"));
        }
        listing.total = listing.total.or(total);
    });
}

/// Ends a listing: all keys if it is complete, otherwise why it is not.
pub(crate) fn finish(name: &str) -> Result<Vec<String>, String> {
    let listing = LISTINGS.with_borrow_mut(|listings| listings.remove(name)).ok_or("the instance that collected it is gone")?;
    if let Some(reason) = listing.spoilt {
        return Err(reason);
    }
    match listing.total {
        Some(total) if total != listing.keys.len() as u64 => Err(format!("{} of {total} records were listed", listing.keys.len())),
        _ => Ok(listing.keys.into_iter().collect()),
    }
}

/// Loses everything, as a new instance would: for tests.
#[cfg(test)]
pub(crate) fn lose_all() {
    LISTINGS.with_borrow_mut(BTreeMap::clear);
}
