//! The traits a plugin implements, one for each interface it can export.
//!
//! All functions are associated: an instance may be thrown away after any call, so what must survive goes to [`state`](crate::state) and
//! what may be lost (an open connection) to a `thread_local!`.

use serde::de::DeserializeOwned;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, Op, OutboundMessage, Outcome, Page, Written,
};

use crate::{Result, Value, unsupported};

/// What every plugin is.
pub trait Connector {
    /// The connection's config. One that does not deserialise is refused with class `config` and the field's name.
    type Config: DeserializeOwned;

    /// Are config and credentials good, and whose account is it?
    fn check(config: Self::Config) -> Result<CheckReport>;

    /// Choices for a config field marked `x-options`, as a list of `{"value", "label"}`.
    fn options(config: Self::Config, field: &str, query: &str) -> Result<Value> {
        let _ = (config, field, query);
        unsupported("options")
    }

    /// Converts a config (`what` = `config`) or cursor (`what` = `cursor:ENTITY`) that an older version of this plugin wrote.
    fn migrate(what: &str, from_version: &str, value: Value) -> Result<Value> {
        let _ = (what, from_version);
        Ok(value)
    }
}

/// A plugin that reads records or interactions on request.
pub trait Source: Connector {
    /// One page of an entity from `cursor` on (none: from the beginning). `want` is a wish. Never a loop of its own.
    fn read(config: Self::Config, entity: &str, cursor: Option<Value>, want: u32) -> Result<Page>;
    /// Records by key, one answer for each key in the same order.
    fn get(config: Self::Config, entity: &str, keys: Vec<String>) -> Result<Vec<Found>>;
}

/// A plugin that writes records.
pub trait Sink: Connector {
    /// Carries out the ops, one outcome for each. `Err` only when nothing was tried.
    fn write(config: Self::Config, entity: &str, ops: Vec<Op>) -> Result<Vec<Outcome>>;
}

/// A plugin that its silo calls over HTTP.
pub trait Webhook: Connector {
    /// Verifies and translates one request. The items are durable before the response is sent.
    fn receive(config: Self::Config, request: HttpRequest) -> Result<(HttpResponse, Vec<Item>)>;
    /// Registers `url` at the silo; calling it again changes nothing.
    fn ensure(config: Self::Config, url: &str) -> Result<Value> {
        let _ = (config, url);
        unsupported("way to register its webhook")
    }
    /// The registrations at the silo.
    fn list(config: Self::Config) -> Result<Value> {
        let _ = config;
        unsupported("way to list its webhooks")
    }
    /// Removes our registration.
    fn remove(config: Self::Config) -> Result<()> {
        let _ = config;
        unsupported("way to remove its webhook")
    }
}

/// A plugin whose silo pushes over a connection that is held open.
pub trait Listener: Connector {
    /// Listens from `checkpoint` on and [`emit`](crate::emit::emit)s what comes, until an import answers `cancelled`.
    fn listen(config: Self::Config, checkpoint: Option<Value>) -> Result<()>;
}

/// A plugin that can send messages or act on a channel.
pub trait Channel: Connector {
    /// Delivers a message. The same `idempotency_key` again is the same message again.
    fn send(config: Self::Config, message: OutboundMessage, idempotency_key: &str) -> Result<Written>;
    /// Carries out an action of the manifest.
    fn act(config: Self::Config, action: &str, input: Value, idempotency_key: &str) -> Result<Value> {
        let _ = (config, input, idempotency_key);
        unsupported(&format!("action {action:?}"))
    }
}

/// Reads a connection's config as `T`; what does not fit is class `config` with the path of the field.
pub fn config<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let wrong = ConnectorError::new(ErrorClass::Config, format!("the config does not fit: {}", error.inner()));
        match field_of(&path, &error.inner().to_string()) {
            Some(field) => wrong.with_field(field),
            None => wrong,
        }
    })
}

/// serde says "missing field `x`" at the path of the object that lacks it; the field itself is what a person looks for.
fn field_of(path: &str, message: &str) -> Option<String> {
    let parent = if path == "." { "" } else { path };
    let named = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (parent, named) {
        ("", None) => None,
        ("", Some(name)) => Some(name.to_owned()),
        (parent, None) => Some(parent.to_owned()),
        (parent, Some(name)) => Some(format!("{parent}.{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(rename = "host")]
        _host: String,
        #[serde(rename = "ports", default)]
        _ports: Vec<Port>,
    }
    #[derive(Debug, serde::Deserialize)]
    struct Port {
        #[serde(rename = "number")]
        _number: u16,
    }

    #[test]
    fn a_config_that_does_not_fit_names_the_field() {
        let table = [
            (r#"{}"#, Some("host")),
            (r#"{"host": 1}"#, Some("host")),
            (r#"{"host": "a", "ports": [{"number": 70000}]}"#, Some("ports[0].number")),
            (r#"{"host": "a", "ports": [{}]}"#, Some("ports[0].number")),
            (r#"{"host": "a", "hots": "b"}"#, Some("hots")),
            (r#"nonsense"#, None),
        ];
        for (given, field) in table {
            let error = config::<Config>(given).expect_err(given);
            assert_eq!(error.class, ErrorClass::Config, "{given}");
            assert_eq!(error.field.as_deref(), field, "{given}: {error}");
        }
        assert!(config::<Config>(r#"{"host": "a", "ports": [{"number": 1}]}"#).is_ok());
    }
}
