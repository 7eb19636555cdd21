//! What the system posts to us: proven first, read second, and taken as a hint where the config says so.

mod proof;
mod registration;

use serde_json::Value;
use throughline_plugin_sdk::{Error, ErrorClass, HttpRequest, HttpResponse, Item, Result, clock, json, log, state};

use crate::client::Client;
use crate::config::{Config, DeliveryId, Entity, Event, Signature, Webhook};
use crate::{get, pointer, record, walk};
use proof::{Proof, Refusal};

pub(crate) use registration::{ensure, list, remove};

/// Where delivery ids are kept.
const DELIVERIES: &str = "webhook_deliveries";
/// How many, and how long if signatures have no time.
const KEPT: usize = 5000;
const KEPT_MS: i64 = 7 * 24 * 3600 * 1000;

/// Verifies and translates a request.
pub(crate) fn receive(config: &Config, request: &HttpRequest) -> Result<(HttpResponse, Vec<Item>)> {
    let Some(webhook) = &config.webhook else {
        return Ok(refuse(404, "this connection expects no webhooks"));
    };
    if !path_fits(webhook, &request.url) {
        return Ok(refuse(404, "no webhook is expected at this path"));
    }
    let proof = match proof::verify(webhook, request, clock::now())? {
        Ok(proof) => proof,
        Err(Refusal::Forged) => return Ok(refuse(401, "the signature is missing or wrong")),
        Err(Refusal::Stale) => return Ok(refuse(409, "the request is too old or from the future")),
    };
    let Ok(body) = serde_json::from_slice::<Value>(request.body.as_deref().unwrap_or_default()) else {
        return Ok(refuse(400, "the body is not JSON"));
    };
    let delivery = delivery(webhook, request, &body, proof);
    if is_repeated(webhook, &delivery)? {
        return Ok((answer(200, &json!({"accepted": 0, "repeated": true})), Vec::new()));
    }
    match items(config, webhook, request, &body) {
        Ok(items) => {
            remember(webhook, delivery)?;
            Ok((answer(200, &json!({"accepted": items.len()})), items))
        }
        Err(error) if error.class == ErrorClass::InvalidRecord => {
            log::warn(format!("a webhook request was proven but not understood: {}", error.message));
            Ok(refuse(422, &error.message))
        }
        Err(error) => Err(error),
    }
}

fn path_fits(webhook: &Webhook, url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    webhook.path.as_deref().is_none_or(|wanted| wanted.trim_matches('/') == path)
}

/// What names this delivery: the system's id, and the signature where it covers the time. Both, because the id may stand in a header
/// that nobody signed.
fn delivery(webhook: &Webhook, request: &HttpRequest, body: &Value, proof: Proof) -> Vec<String> {
    let told = match &webhook.delivery_id {
        Some(DeliveryId::Header(name)) => header(request, name).map(str::to_owned),
        Some(DeliveryId::Pointer(place)) => pointer::text_at(body, place),
        None => None,
    };
    told.into_iter().chain(proof.unique).map(|id| id.chars().take(200).collect()).collect()
}

fn is_repeated(webhook: &Webhook, delivery: &[String]) -> Result<bool> {
    if delivery.is_empty() {
        return Ok(false);
    }
    Ok(deliveries(webhook)?.iter().any(|(known, _)| delivery.contains(known)))
}

fn remember(webhook: &Webhook, delivery: Vec<String>) -> Result<()> {
    if delivery.is_empty() {
        return Ok(());
    }
    let now = clock::now().as_millis();
    let mut known = deliveries(webhook)?;
    known.extend(delivery.into_iter().map(|id| (id, now)));
    let surplus = known.len().saturating_sub(KEPT);
    known.drain(..surplus);
    state::set(DELIVERIES, &known)
}

/// Deliveries that could still be replayed.
fn deliveries(webhook: &Webhook) -> Result<Vec<(String, i64)>> {
    let kept = match &webhook.signature {
        Signature::HmacSha256 { tolerance_seconds, .. } if proof::has_time(webhook) => {
            i64::try_from(*tolerance_seconds).unwrap_or(i64::MAX).saturating_mul(2000)
        }
        _ => KEPT_MS,
    };
    let oldest = clock::now().as_millis().saturating_sub(kept);
    let mut known: Vec<(String, i64)> = state::get(DELIVERIES)?.unwrap_or_default();
    known.retain(|(_, at)| *at >= oldest);
    Ok(known)
}

fn items(config: &Config, webhook: &Webhook, request: &HttpRequest, body: &Value) -> Result<Vec<Item>> {
    let single = std::slice::from_ref(body);
    let bodies = match &webhook.batch {
        Some(place) => {
            body.pointer(place).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| not_there("list of events", place))?
        }
        None => single,
    };
    let mut items = Vec::new();
    for body in bodies {
        items.extend(item(config, webhook, request, body)?);
    }
    Ok(items)
}

/// What happened.
enum Happened {
    Changed,
    Deleted,
}

fn item(config: &Config, webhook: &Webhook, request: &HttpRequest, body: &Value) -> Result<Option<Item>> {
    let fits = |event: &&Event| event.when.as_ref().is_none_or(|when| body.pointer(&when.pointer) == Some(&when.equals));
    let told = webhook.events.iter().filter(fits).find_map(|event| Some((event, happened(event, request, body)?)));
    let Some((event, happened)) = told else { return Ok(None) };
    let entity = walk::entity(config, &event.entity)?;
    let held = body.pointer(&event.record).ok_or_else(|| not_there("record", &event.record))?;
    let key = match &event.id {
        Some(place) => pointer::text_at(body, place).ok_or_else(|| not_there("record's id", place))?,
        None => record::key(entity, held).ok_or_else(|| not_there("record's id", &entity.id))?,
    };
    match happened {
        Happened::Deleted => Ok(Some(record::deleted(&event.entity, &key, record::updated(entity, held)))),
        Happened::Changed if webhook.refetch => {
            let found = get::one(Client::new(config), &event.entity, entity, &key)?;
            Ok(Some(get::as_item(found, &event.entity, &key)))
        }
        Happened::Changed => taken(event, entity, held, key).map(Some),
    }
}

/// The record as the request carries it. Its id may stand beside it rather than in it.
fn taken(event: &Event, entity: &Entity, held: &Value, key: String) -> Result<Item> {
    let mut held = held.clone();
    if record::key(entity, &held).is_none() {
        pointer::set(&mut held, &entity.id, Value::from(key));
    }
    record::item(&event.entity, entity, &held, None, clock::now())
}

fn happened(event: &Event, request: &HttpRequest, body: &Value) -> Option<Happened> {
    let Some(action) = &event.action else { return Some(Happened::Changed) };
    let in_body = action.pointer.as_deref().and_then(|place| pointer::text_at(body, place));
    let said = in_body.or_else(|| header(request, action.header.as_deref()?).map(str::to_owned))?;
    if action.delete.contains(&said) {
        return Some(Happened::Deleted);
    }
    (action.create.contains(&said) || action.update.contains(&said)).then_some(Happened::Changed)
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn not_there(what: &str, place: &str) -> Error {
    Error::new(ErrorClass::InvalidRecord, format!("the request has no {what} at {place:?}"))
}

fn refuse(status: u16, detail: &str) -> (HttpResponse, Vec<Item>) {
    (answer(status, &json!({"error": detail})), Vec::new())
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    HttpResponse { status, headers, body: body.to_string().into_bytes() }
}
