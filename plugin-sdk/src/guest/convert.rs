//! Between the WIT types of 0.1.0 and the values of `schemas::connector`: the only place where both are seen.

use throughline_schemas::connector as value;

use crate::guest::host::throughline::connector::{log as wit_log, net as wit_net, types as wit};
use crate::{Error, ErrorClass, Result, Value, log, net};

/// JSON that the hub wrote. That it is none cannot be the plugin's fault, but must not end the instance either.
pub(super) fn from_json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| bug(format!("the hub sent what is not JSON: {error}")))
}

/// A JSON answer of the plugin's.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| bug(format!("the answer cannot be written as JSON: {error}")))
}

fn bug(message: String) -> Error {
    Error::new(ErrorClass::Bug, message)
}

pub(super) fn error_to_wit(error: Error) -> wit::Error {
    wit::Error {
        class: class_to_wit(error.class),
        message: error.message,
        field: error.field,
        retry_after_ms: error.retry_after_ms,
        details: error.details.map(|details| details.to_string()),
    }
}

pub(super) fn error_from_wit(error: wit::Error) -> Error {
    Error {
        class: class_from_wit(error.class),
        message: error.message,
        field: error.field,
        retry_after_ms: error.retry_after_ms,
        details: error.details.map(|details| serde_json::from_str(&details).unwrap_or(Value::String(details))),
    }
}

fn class_to_wit(class: ErrorClass) -> wit::ErrorClass {
    match class {
        ErrorClass::Config => wit::ErrorClass::Config,
        ErrorClass::Auth => wit::ErrorClass::Auth,
        ErrorClass::Permission => wit::ErrorClass::Permission,
        ErrorClass::RateLimited => wit::ErrorClass::RateLimited,
        ErrorClass::Transient => wit::ErrorClass::Transient,
        ErrorClass::Ambiguous => wit::ErrorClass::Ambiguous,
        ErrorClass::Conflict => wit::ErrorClass::Conflict,
        ErrorClass::InvalidRecord => wit::ErrorClass::InvalidRecord,
        ErrorClass::Gone => wit::ErrorClass::Gone,
        ErrorClass::Unsupported => wit::ErrorClass::Unsupported,
        ErrorClass::Cancelled => wit::ErrorClass::Cancelled,
        ErrorClass::Bug => wit::ErrorClass::Bug,
    }
}

fn class_from_wit(class: wit::ErrorClass) -> ErrorClass {
    match class {
        wit::ErrorClass::Config => ErrorClass::Config,
        wit::ErrorClass::Auth => ErrorClass::Auth,
        wit::ErrorClass::Permission => ErrorClass::Permission,
        wit::ErrorClass::RateLimited => ErrorClass::RateLimited,
        wit::ErrorClass::Transient => ErrorClass::Transient,
        wit::ErrorClass::Ambiguous => ErrorClass::Ambiguous,
        wit::ErrorClass::Conflict => ErrorClass::Conflict,
        wit::ErrorClass::InvalidRecord => ErrorClass::InvalidRecord,
        wit::ErrorClass::Gone => ErrorClass::Gone,
        wit::ErrorClass::Unsupported => ErrorClass::Unsupported,
        wit::ErrorClass::Cancelled => ErrorClass::Cancelled,
        wit::ErrorClass::Bug => ErrorClass::Bug,
    }
}

pub(super) fn level_to_wit(level: log::Level) -> wit_log::Level {
    match level {
        log::Level::Trace => wit_log::Level::Trace,
        log::Level::Debug => wit_log::Level::Debug,
        log::Level::Info => wit_log::Level::Info,
        log::Level::Warn => wit_log::Level::Warn,
        log::Level::Error => wit_log::Level::Error,
    }
}

pub(super) fn security_to_wit(security: net::Security) -> wit_net::Security {
    match security {
        net::Security::Plain => wit_net::Security::Plain,
        net::Security::Tls => wit_net::Security::Tls,
    }
}

pub(super) fn item_to_wit(item: value::Item) -> wit::Item {
    let kind = match item.kind {
        value::ItemKind::Record => wit::ItemKind::Record,
        value::ItemKind::Deleted => wit::ItemKind::Deleted,
        value::ItemKind::Merged => wit::ItemKind::Merged,
        value::ItemKind::Interaction => wit::ItemKind::Interaction,
    };
    wit::Item { kind, entity: item.entity, key: item.key, version: item.version, at_ms: item.at_ms, data: item.data.to_string() }
}

pub(super) fn items_to_wit(items: Vec<value::Item>) -> Vec<wit::Item> {
    items.into_iter().map(item_to_wit).collect()
}

pub(super) fn page_to_wit(page: value::Page) -> wit::Page {
    wit::Page {
        items: items_to_wit(page.items),
        next: page.next.map(|next| next.to_string()),
        checkpoint: page.checkpoint.to_string(),
        details: page.details.map(|details| details.to_string()),
    }
}

pub(super) fn found_to_wit(found: value::Found) -> wit::Found {
    match found {
        value::Found::Record(item) => wit::Found::Record(item_to_wit(item)),
        value::Found::Gone => wit::Found::Gone,
        value::Found::MovedTo(key) => wit::Found::MovedTo(key),
    }
}

pub(super) fn op_from_wit(op: wit::Op) -> Result<value::Op> {
    let kind = match op.kind {
        wit::OpKind::Create => value::OpKind::Create,
        wit::OpKind::Update => value::OpKind::Update,
        wit::OpKind::Upsert => value::OpKind::Upsert,
        wit::OpKind::Delete => value::OpKind::Delete,
    };
    let data = from_json(&op.data)?;
    Ok(value::Op {
        id: op.id,
        idempotency_key: op.idempotency_key,
        kind,
        key: op.key,
        expect_version: op.expect_version,
        data,
        clear: op.clear,
    })
}

pub(super) fn written_to_wit(written: value::Written) -> wit::Written {
    wit::Written { key: written.key, version: written.version, record: written.record.map(|record| record.to_string()) }
}

pub(super) fn outcome_to_wit(outcome: value::Outcome) -> wit::Outcome {
    wit::Outcome { op_id: outcome.op_id, result: outcome.result.map(written_to_wit).map_err(error_to_wit) }
}

pub(super) fn request_to_wit(request: &value::HttpRequest) -> wit::HttpRequest {
    let value::HttpRequest { method, url, headers, body } = request.clone();
    wit::HttpRequest { method, url, headers, body }
}

pub(super) fn request_from_wit(request: wit::HttpRequest) -> value::HttpRequest {
    let wit::HttpRequest { method, url, headers, body } = request;
    value::HttpRequest { method, url, headers, body }
}

pub(super) fn response_to_wit(response: value::HttpResponse) -> wit::HttpResponse {
    let value::HttpResponse { status, headers, body } = response;
    wit::HttpResponse { status, headers, body }
}

pub(super) fn response_from_wit(response: wit::HttpResponse) -> value::HttpResponse {
    let wit::HttpResponse { status, headers, body } = response;
    value::HttpResponse { status, headers, body }
}
