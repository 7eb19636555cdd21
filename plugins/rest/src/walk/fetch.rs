//! One page from the system: its records, and where the next page is.

use std::hash::{Hash as _, Hasher as _};

use serde_json::Value;
use throughline_plugin_sdk::{Error, ErrorClass, HttpResponse, Result};

use super::position::Place;
use crate::classify::Purpose;
use crate::client::{Answer, Call, Client};
use crate::config::{End, Entity, ListCall, Pagination};
use crate::template::{self, Variables};
use crate::{pointer, url};

/// How often the same page may come again before we say that the system ignores the page asked for.
const REPEATS: u8 = 3;

/// A page of records.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The records, as they came.
    pub records: Vec<Value>,
    /// The next page of the same list, if there is one.
    pub next: Option<Place>,
    /// The number of all records, if the system says so.
    pub total: Option<u64>,
    /// The whole answer.
    pub answer: Answer,
}

/// Fetches a page. `since` is the lower bound in the system's form.
pub(crate) fn fetch(
    client: Client<'_>,
    name: &str,
    entity: &Entity,
    list: &ListCall,
    place: &Place,
    since: Option<&str>,
) -> Result<Fetched> {
    let per_page = place.per_page.unwrap_or(list.page_size);
    let call = request(client, list, place, per_page, since)?;
    let answer = client.call(&call, Some(entity))?;
    let records = records(name, list, &answer.body)?;
    let total = list.total.as_deref().and_then(|at| answer.body.pointer(at)).and_then(Value::as_u64);
    let mut next = next(client, list, place, per_page, &records, entity, &call.url, &answer)?;
    if let Some(next) = &mut next {
        next.per_page = Some(per_page);
        watch_for_repeats(name, next, place, entity, &records)?;
    }
    Ok(Fetched { records, next, total, answer })
}

fn request(client: Client<'_>, list: &ListCall, place: &Place, per_page: u32, since: Option<&str>) -> Result<Call> {
    let number = place.number;
    let variables = Variables::default()
        .with("per_page", per_page.to_string())
        .with("page", number.unwrap_or(first_number(list)).to_string())
        .with("offset", number.unwrap_or(0).to_string())
        .with_some("since", since)
        .with_some("cursor", place.link.clone())
        .with_some("after_id", place.after_id.clone().or_else(|| since.map(|_| String::new())));
    let followed = matches!(list.pagination, Pagination::NextLink | Pagination::NextUrl { .. });
    let url = match &place.link {
        Some(link) if followed => link.clone(),
        _ => client.address(&list.path, &list.query, &variables)?,
    };
    let body = list.body.as_ref().map(|body| template::body(body, &variables, None)).transpose()?;
    Ok(Call { method: list.method.clone(), url, headers: Vec::new(), body, purpose: Purpose::Read })
}

fn first_number(list: &ListCall) -> u64 {
    match list.pagination {
        Pagination::Page { first } => first,
        _ => 0,
    }
}

fn records(name: &str, list: &ListCall, body: &Value) -> Result<Vec<Value>> {
    match body.pointer(&list.items) {
        Some(Value::Array(records)) => Ok(records.clone()),
        found => {
            let what = found.map_or("nothing", kind_of);
            let detail = format!("the list of {name:?} should be at {:?} of the answer, but there is {what}", list.items);
            // The check finds a wrong pointer; a list that was there yesterday is the system's trouble and worth another try.
            Err(Error::new(ErrorClass::Transient, detail).with_field(format!("entities.{name}.list.items")))
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[expect(clippy::too_many_arguments, reason = "everything that can say where the next page is")]
fn next(
    client: Client<'_>,
    list: &ListCall,
    place: &Place,
    per_page: u32,
    records: &[Value],
    entity: &Entity,
    current: &str,
    answer: &Answer,
) -> Result<Option<Place>> {
    let over = records.is_empty() || (list.end == End::ShortPage && records.len() < per_page as usize);
    let numbered = |number: u64| (!over).then(|| Place { number: Some(number), ..Place::default() });
    let linked = |link: String| Some(Place { link: Some(link), ..Place::default() });
    Ok(match &list.pagination {
        Pagination::None => None,
        Pagination::Page { first } => numbered(place.number.unwrap_or(*first).saturating_add(1)),
        Pagination::Offset => numbered(place.number.unwrap_or(0).saturating_add(records.len() as u64)),
        Pagination::Keyset if over => None,
        Pagination::Keyset => {
            let last = records.last().and_then(|record| pointer::text_at(record, &entity.id));
            let missing = || Error::new(ErrorClass::Config, "the last record of the page has no id to go on from");
            Some(Place { after_id: Some(last.ok_or_else(missing)?), ..Place::default() })
        }
        Pagination::Cursor { pointer } => pointer::text_at(&answer.body, pointer).and_then(linked),
        Pagination::NextUrl { pointer } => match pointer::text_at(&answer.body, pointer) {
            Some(link) => linked(url::follow(&client.config.base_url, current, &link)?),
            None => None,
        },
        Pagination::NextLink => match next_link(&answer.response) {
            Some(link) => linked(url::follow(&client.config.base_url, current, &link)?),
            None => None,
        },
    })
}

fn next_link(response: &HttpResponse) -> Option<String> {
    let links = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("link"));
    links.map(|(_, value)| value.as_str()).find_map(url::next_link)
}

/// A system that ignores the page asked for would be asked for ever.
fn watch_for_repeats(name: &str, next: &mut Place, place: &Place, entity: &Entity, records: &[Value]) -> Result<()> {
    let mut hasher = std::hash::DefaultHasher::new();
    for record in records {
        pointer::text_at(record, &entity.id).hash(&mut hasher);
    }
    let digest = hasher.finish();
    let same_link = next.link.is_some() && next.link == place.link;
    let same_page = !records.is_empty() && place.digest == Some(digest);
    next.digest = Some(digest);
    next.repeats = if same_page || same_link { place.repeats.saturating_add(1) } else { 0 };
    if next.repeats < REPEATS {
        return Ok(());
    }
    let detail = "the system gives the same page again and again: it does not honour how the next page is asked for";
    Err(Error::new(ErrorClass::Config, detail).with_field(format!("entities.{name}.list.pagination")))
}
