//! From the generated `Guest` traits to ours: read the config, call the plugin, write the answer.

use std::marker::PhantomData;
use std::sync::Once;

use super::convert::{
    error_to_wit, found_to_wit, from_json, items_to_wit, op_from_wit, outcome_to_wit, page_to_wit, request_from_wit, response_to_wit,
    to_json, written_to_wit,
};
use super::host::throughline::connector::types as wit;
use crate::connector::config;
use crate::{Channel, Connector, Listener, Result, Sink, Source, Value, Webhook, log};

use super::channel::exports::throughline::connector::channel::Guest as ChannelGuest;
use super::listener::exports::throughline::connector::listener::Guest as ListenerGuest;
use super::plugin::exports::throughline::connector::plugin::Guest as PluginGuest;
use super::sink::exports::throughline::connector::sink::Guest as SinkGuest;
use super::source::exports::throughline::connector::source::Guest as SourceGuest;
use super::webhook::exports::throughline::connector::webhook::Guest as WebhookGuest;

/// A plugin's type seen through the generated traits.
#[derive(Debug)]
pub struct Adapter<C>(PhantomData<C>);

type WitResult<T> = std::result::Result<T, wit::Error>;

/// Runs one call. A panic would end the instance without a word: its text goes to the log first.
fn call<T>(body: impl FnOnce() -> Result<T>) -> WitResult<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|panic| log::error(format!("the plugin panicked: {panic}")))));
    body().map_err(error_to_wit)
}

fn optional_json(text: Option<&str>) -> Result<Option<Value>> {
    text.map(from_json).transpose()
}

impl<C: Connector> PluginGuest for Adapter<C> {
    fn check(text: String) -> WitResult<String> {
        call(|| to_json(&C::check(config(&text)?)?))
    }
    fn options(text: String, field: String, query: String) -> WitResult<String> {
        call(|| to_json(&C::options(config(&text)?, &field, &query)?))
    }
    fn migrate(what: String, from_version: String, value: String) -> WitResult<String> {
        call(|| to_json(&C::migrate(&what, &from_version, from_json(&value)?)?))
    }
}

impl<C: Source> SourceGuest for Adapter<C> {
    fn read(text: String, entity: String, cursor: Option<String>, want: u32) -> WitResult<wit::Page> {
        call(|| Ok(page_to_wit(C::read(config(&text)?, &entity, optional_json(cursor.as_deref())?, want)?)))
    }
    fn get(text: String, entity: String, keys: Vec<String>) -> WitResult<Vec<wit::Found>> {
        call(|| Ok(C::get(config(&text)?, &entity, keys)?.into_iter().map(found_to_wit).collect()))
    }
}

impl<C: Sink> SinkGuest for Adapter<C> {
    fn write(text: String, entity: String, ops: Vec<wit::Op>) -> WitResult<Vec<wit::Outcome>> {
        call(|| {
            let ops = ops.into_iter().map(op_from_wit).collect::<Result<Vec<_>>>()?;
            Ok(C::write(config(&text)?, &entity, ops)?.into_iter().map(outcome_to_wit).collect())
        })
    }
}

impl<C: Webhook> WebhookGuest for Adapter<C> {
    fn receive(text: String, request: wit::HttpRequest) -> WitResult<(wit::HttpResponse, Vec<wit::Item>)> {
        call(|| {
            let (response, items) = C::receive(config(&text)?, request_from_wit(request))?;
            Ok((response_to_wit(response), items_to_wit(items)))
        })
    }
    fn ensure(text: String, url: String) -> WitResult<String> {
        call(|| to_json(&C::ensure(config(&text)?, &url)?))
    }
    fn list(text: String) -> WitResult<String> {
        call(|| to_json(&C::list(config(&text)?)?))
    }
    fn remove(text: String) -> WitResult<()> {
        call(|| C::remove(config(&text)?))
    }
}

impl<C: Listener> ListenerGuest for Adapter<C> {
    fn listen(text: String, checkpoint: Option<String>) -> WitResult<()> {
        call(|| C::listen(config(&text)?, optional_json(checkpoint.as_deref())?))
    }
}

impl<C: Channel> ChannelGuest for Adapter<C> {
    fn send(text: String, message: String, idempotency_key: String) -> WitResult<wit::Written> {
        call(|| {
            let message = serde_json::from_value(from_json(&message)?)
                .map_err(|error| crate::Error::new(crate::ErrorClass::InvalidRecord, format!("the message does not fit: {error}")))?;
            Ok(written_to_wit(C::send(config(&text)?, message, &idempotency_key)?))
        })
    }
    fn act(text: String, action: String, input: String, idempotency_key: String) -> WitResult<String> {
        call(|| to_json(&C::act(config(&text)?, &action, from_json(&input)?, &idempotency_key)?))
    }
}
