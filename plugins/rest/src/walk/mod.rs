//! Reading an entity page by page: the kinds of cursor, and what each may promise.
//!
//! The position handed back as `next` continues the walk; the one handed back as `checkpoint` is where to begin again after everything up
//! to here is durable, and never lies beyond a record not yet handed over. See BEHAVIOR.md for why the walks are as they are.

pub(crate) mod fetch;
mod full;
mod listing;
mod opaque;
mod position;
mod timed;

use serde_json::{Value, json};
use throughline_plugin_sdk::{Error, ErrorClass, Item, Page, Result, clock, log};

pub(crate) use full::sweep_is_due;
pub(crate) use position::{Place, Position};

use crate::client::Client;
use crate::config::{Config, Cursor, Entity, ListCall};
use crate::record;

/// What every kind of walk works with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Sends requests.
    pub client: Client<'a>,
    /// The entity's name.
    pub name: &'a str,
    /// The entity.
    pub entity: &'a Entity,
    /// Its list.
    pub list: &'a ListCall,
    /// How many records the hub would like.
    pub want: u32,
}

/// One page of an entity.
pub(crate) fn read(config: &Config, name: &str, cursor: Option<Value>, want: u32) -> Result<Page> {
    let entity = entity(config, name)?;
    let Some(list) = &entity.list else {
        return Err(Error::new(ErrorClass::Unsupported, format!("the entity {name:?} has no list to read")));
    };
    let position = Position::read(cursor)?;
    let context = Context { client: Client::new(config), name, entity, list, want };
    if position.walk.as_ref().is_some_and(|walk| walk.sweep) {
        return full::sweep(context, position);
    }
    match &entity.cursor {
        Cursor::None => full::page(context, position),
        Cursor::Timestamp { overlap_seconds, resolution_ms, inclusive, sorted } => {
            let rules = timed::Rules {
                overlap_ms: ms(*overlap_seconds, 1000),
                resolution_ms: ms(*resolution_ms, 1),
                inclusive: *inclusive,
                sorted: *sorted,
            };
            timed::page(context, rules, position)
        }
        Cursor::Opaque { pointer } => opaque::page(context, pointer, position),
    }
}

/// The entity of this name.
pub(crate) fn entity<'a>(config: &'a Config, name: &str) -> Result<&'a Entity> {
    config.entities.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.entities.keys().map(String::as_str).collect();
        let detail = format!("the config has no entity {name:?}; it has {}", known.join(", "));
        Error::new(ErrorClass::Config, detail).with_field(format!("entities.{name}"))
    })
}

impl Context<'_> {
    /// The first page of a walk.
    fn first_place(&self) -> Place {
        let per_page = if self.want == 0 { self.list.page_size } else { self.want.min(self.list.page_size) };
        Place { per_page: Some(per_page.max(1)), ..Place::default() }
    }

    /// The items of records. One that cannot be one is left out and said so; if none can, the config is wrong.
    fn items(&self, records: &[Value]) -> Result<Vec<Option<Item>>> {
        let now = clock::now();
        let made: Vec<Result<Item>> = records.iter().map(|record| record::item(self.name, self.entity, record, None, now)).collect();
        let failed = made.iter().filter(|item| item.is_err()).count();
        if let Some(Err(error)) = made.iter().find(|item| item.is_err()) {
            if failed == records.len() {
                return Err(Error { class: ErrorClass::Config, ..error.clone() });
            }
            log::warn(format!("{failed} of {} records of {:?} left out: {}", records.len(), self.name, error.message));
        }
        Ok(made.into_iter().map(Result::ok).collect())
    }
}

/// A page while the walk goes on, or at its end (`next` none).
fn page(items: Vec<Item>, next: Option<&Position>, checkpoint: &Position, keys: Option<Vec<String>>) -> Result<Page> {
    Ok(Page {
        items,
        next: next.map(Position::write).transpose()?,
        checkpoint: checkpoint.write()?,
        details: keys.map(|keys| json!({"complete_listing": true, "keys": keys})),
    })
}

fn ms(value: u64, factor: i64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX).saturating_mul(factor)
}

/// What happens when an instance is thrown away: for tests.
#[cfg(test)]
pub(crate) fn lose_instance() {
    listing::lose_all();
}
