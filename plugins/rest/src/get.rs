//! Records by key.

use serde_json::Value;
use throughline_plugin_sdk::{Error, ErrorClass, Found, HttpResponse, Item, ItemKind, Result, clock};

use crate::classify::Purpose;
use crate::client::{Call, Client};
use crate::config::Entity;
use crate::record::{self, News};
use crate::template::Variables;

/// A record as its own endpoint gives it.
pub(crate) struct Got {
    /// The record.
    pub record: Value,
    /// The response, for a version in its headers.
    pub response: HttpResponse,
}

/// Whether, and as what, each key is there.
pub(crate) fn get(client: Client<'_>, name: &str, entity: &Entity, keys: &[String]) -> Result<Vec<Found>> {
    keys.iter().map(|key| one(client, name, entity, key)).collect()
}

/// Whether, and as what, one key is there.
pub(crate) fn one(client: Client<'_>, name: &str, entity: &Entity, key: &str) -> Result<Found> {
    let Some(got) = raw(client, name, entity, key)? else { return Ok(Found::Gone) };
    match record::news(entity, &got.record) {
        News::Deleted => Ok(Found::Gone),
        News::MergedInto(survivor) => Ok(Found::MovedTo(survivor)),
        News::Here => Ok(Found::Record(record::item(name, entity, &got.record, Some(&got.response), clock::now())?)),
    }
}

/// What was found, as news for the hub.
pub(crate) fn as_item(found: Found, name: &str, key: &str) -> Item {
    match found {
        Found::Record(item) => item,
        Found::Gone => record::deleted(name, key, None),
        Found::MovedTo(survivor) => {
            let data = serde_json::json!({"into": survivor});
            Item { kind: ItemKind::Merged, entity: name.to_owned(), key: key.to_owned(), version: None, at_ms: None, data }
        }
    }
}

/// The record itself; none if it is gone.
pub(crate) fn raw(client: Client<'_>, name: &str, entity: &Entity, key: &str) -> Result<Option<Got>> {
    let Some(endpoint) = &entity.get else {
        return Err(Error::new(ErrorClass::Unsupported, format!("the entity {name:?} has no endpoint for one record")));
    };
    if key.is_empty() {
        return Ok(None);
    }
    let url = client.address(&endpoint.path, &endpoint.query, &Variables::default().with("key", key))?;
    let headers = endpoint.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let method = endpoint.method.clone().unwrap_or_else(|| "GET".to_owned());
    let call = Call { method, url, headers, body: None, purpose: Purpose::Read };
    let answer = match client.call(&call, Some(entity)) {
        Err(error) if error.class == ErrorClass::Gone => return Ok(None),
        other => other?,
    };
    let found = answer.body.pointer(&endpoint.record).cloned().unwrap_or(Value::Null);
    match record::key(entity, &found) {
        Some(held) if held == key => Ok(Some(Got { record: found, response: answer.response })),
        // A system that ignores the key would have us take another's record for this one.
        Some(other) => Err(wrong(name, &format!("asked for record {key:?}, the system gave {other:?}"))),
        None => Err(wrong(name, &format!("the answer for record {key:?} holds no record with an id at {:?}", entity.id))),
    }
}

fn wrong(name: &str, detail: &str) -> Error {
    Error::new(ErrorClass::Transient, detail).with_field(format!("entities.{name}.get"))
}
