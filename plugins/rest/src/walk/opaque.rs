//! Walks by a token that the system hands out at the end of each and takes back at the beginning of the next.

use throughline_plugin_sdk::{Error, ErrorClass, Page, Result, log};

use super::fetch::fetch;
use super::position::{Position, Walk};
use super::{Context, page as make_page, sweep_is_due};
use crate::pointer;

/// A page.
pub(crate) fn page(context: Context<'_>, token_at: &str, mut position: Position) -> Result<Page> {
    let mut walk = position.walk.take().unwrap_or_else(|| begin(context, &position));
    let fetched = match fetch(context.client, context.name, context.entity, context.list, &walk.place, walk.since.as_deref()) {
        Err(error) if error.class == ErrorClass::Gone && walk.since.is_some() => {
            log::warn(format!("the system no longer knows our token for {:?}: reading everything again", context.name));
            position = Position { listed_at: position.listed_at, ..Position::default() };
            walk = begin(context, &position);
            fetch(context.client, context.name, context.entity, context.list, &walk.place, None)?
        }
        other => other?,
    };
    let items = context.items(&fetched.records)?.into_iter().flatten().collect();
    if let Some(next) = fetched.next {
        walk.place = next;
        let rest = position.at_rest();
        return make_page(items, Some(&Position { walk: Some(walk), ..position }), &rest, None);
    }
    let token = pointer::text_at(&fetched.answer.body, token_at).ok_or_else(|| {
        let detail = format!("the last page of {:?} has no token at {token_at:?}", context.name);
        Error::new(ErrorClass::Config, detail).with_field(format!("entities.{}.cursor.pointer", context.name))
    })?;
    position.token = Some(token);
    let due = sweep_is_due(context.entity, &mut position);
    let sweep = due.then(|| Position { walk: Some(super::full::begin(context, true)), ..position.clone() });
    make_page(items, sweep.as_ref(), &position, None)
}

fn begin(context: Context<'_>, position: &Position) -> Walk {
    Walk { since: position.token.clone(), place: context.first_place(), ..Walk::default() }
}
