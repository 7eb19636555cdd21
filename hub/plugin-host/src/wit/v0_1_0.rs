//! WIT 0.1.0: generated bindings, calls, and every conversion between its types and `throughline-schemas`.

use serde_json::Value;
use throughline_schemas::connector as plain;
use throughline_schemas::connector::ConnectorError;
use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use crate::call::{Answer, Call, bug};
use crate::connection::Connection;
use crate::guest::Guest;
use crate::redact::Redactor;

#[allow(unreachable_pub, missing_docs, reason = "the macro writes what it writes; this module shows none of it outside the crate")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../schemas/wit/0.1.0",
        world: "full",
        imports: {
            "throughline:connector/http": async,
            "throughline:connector/net": async,
            "throughline:connector/emit": async,
            "throughline:connector/control.sleep": async,
        },
        exports: { default: async },
        with: {
            "throughline:connector/http.download": crate::imports::http::Download,
            "throughline:connector/net.connection": crate::imports::net::Socket,
            "throughline:connector/net.websocket": crate::imports::websocket::WebSocket,
            "throughline:connector/blobs.writer": crate::imports::blobs::Writer,
        },
    });
}

use bindings::exports::throughline::connector as exports;
pub(crate) use bindings::throughline::connector as imports;
pub(crate) use imports::types;

/// Offers all imports of this version.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    bindings::Full::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// Where a component's exports are; looked up once for each component.
pub(crate) struct Indices {
    plugin: exports::plugin::GuestIndices,
    source: Option<exports::source::GuestIndices>,
    sink: Option<exports::sink::GuestIndices>,
    webhook: Option<exports::webhook::GuestIndices>,
    listener: Option<exports::listener::GuestIndices>,
    channel: Option<exports::channel::GuestIndices>,
}

impl Indices {
    pub(crate) fn new(component: &InstancePre<Guest>, exported: &[String]) -> wasmtime::Result<Self> {
        let has = |interface: &str| exported.iter().any(|export| export == interface);
        Ok(Self {
            plugin: exports::plugin::GuestIndices::new(component)?,
            source: has("source").then(|| exports::source::GuestIndices::new(component)).transpose()?,
            sink: has("sink").then(|| exports::sink::GuestIndices::new(component)).transpose()?,
            webhook: has("webhook").then(|| exports::webhook::GuestIndices::new(component)).transpose()?,
            listener: has("listener").then(|| exports::listener::GuestIndices::new(component)).transpose()?,
            channel: has("channel").then(|| exports::channel::GuestIndices::new(component)).transpose()?,
        })
    }

    pub(crate) fn load(&self, store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Exports> {
        let mut store = store;
        Ok(Exports {
            plugin: self.plugin.load(&mut store, instance)?,
            source: self.source.as_ref().map(|indices| indices.load(&mut store, instance)).transpose()?,
            sink: self.sink.as_ref().map(|indices| indices.load(&mut store, instance)).transpose()?,
            webhook: self.webhook.as_ref().map(|indices| indices.load(&mut store, instance)).transpose()?,
            listener: self.listener.as_ref().map(|indices| indices.load(&mut store, instance)).transpose()?,
            channel: self.channel.as_ref().map(|indices| indices.load(&mut store, instance)).transpose()?,
        })
    }
}

/// The exports of one instance.
pub(crate) struct Exports {
    plugin: exports::plugin::Guest,
    source: Option<exports::source::Guest>,
    sink: Option<exports::sink::Guest>,
    webhook: Option<exports::webhook::Guest>,
    listener: Option<exports::listener::Guest>,
    channel: Option<exports::channel::Guest>,
}

/// What a call ends with: a trap, or what the guest returned.
type Returned = wasmtime::Result<Result<Answer, ConnectorError>>;

impl Exports {
    /// Makes one call. The outer error is a trap, after which the instance is dead.
    pub(crate) async fn invoke(&self, store: &mut Store<Guest>, call: &Call) -> Returned {
        let connection = store.data().connection.clone();
        let (config, redactor) = (&connection.config, &connection.redactor);
        let returned = match call {
            Call::Check | Call::Options { .. } | Call::Migrate { .. } => self.invoke_plugin(store, &connection, call).await,
            Call::Read { .. } | Call::Get { .. } => self.invoke_source(store, &connection, call).await,
            Call::Write { entity, ops } => {
                let Some(sink) = &self.sink else { return unsupported("sink") };
                let ops: Vec<_> = ops.iter().map(op_to_guest).collect();
                Ok(convert(sink.call_write(store, config, entity, &ops).await?, |outcomes| outcomes_from_guest(outcomes, redactor)))
            }
            Call::Webhook { .. } | Call::WebhookEnsure { .. } | Call::WebhookList | Call::WebhookRemove => {
                self.invoke_webhook(store, &connection, call).await
            }
            Call::Listen { checkpoint } => {
                let Some(listener) = &self.listener else { return unsupported("listener") };
                Ok(convert(listener.call_listen(store, config, checkpoint.as_ref()).await?, |()| Ok(Answer::Done)))
            }
            Call::Send { .. } | Call::Act { .. } => self.invoke_channel(store, &connection, call).await,
        };
        returned.map(|returned| returned.map_err(|error| redactor.error(error)))
    }

    async fn invoke_plugin(&self, store: &mut Store<Guest>, connection: &Connection, call: &Call) -> Returned {
        let Connection { config, redactor, .. } = connection;
        let plugin = &self.plugin;
        Ok(match call {
            Call::Options { field, query } => {
                convert(plugin.call_options(store, config, field, query).await?, |text| json_answer(&text, redactor))
            }
            Call::Migrate { what, from_version, value } => {
                convert(plugin.call_migrate(store, what, from_version, value).await?, |text| json_answer(&text, redactor))
            }
            _ => convert(plugin.call_check(store, config).await?, |report| {
                serde_json::from_str(&redactor.data(&report))
                    .map(Answer::Check)
                    .map_err(|fault| bug(format!("check returned no report: {fault}")))
            }),
        })
    }

    async fn invoke_source(&self, store: &mut Store<Guest>, connection: &Connection, call: &Call) -> Returned {
        let Connection { config, redactor, .. } = connection;
        let Some(source) = &self.source else { return unsupported("source") };
        match call {
            Call::Read { entity, cursor, want } => {
                Ok(convert(source.call_read(store, config, entity, cursor.as_ref(), *want).await?, |page| page_from_guest(page, redactor)))
            }
            Call::Get { entity, keys } => {
                Ok(convert(source.call_get(store, config, entity, keys).await?, |found| found_from_guest(found, redactor)))
            }
            _ => unsupported("source"),
        }
    }

    async fn invoke_webhook(&self, store: &mut Store<Guest>, connection: &Connection, call: &Call) -> Returned {
        let Connection { config, redactor, .. } = connection;
        let Some(webhook) = &self.webhook else { return unsupported("webhook") };
        Ok(match call {
            Call::Webhook { request } => {
                let request = request_to_guest(request);
                convert(webhook.call_receive(store, config, &request).await?, |(response, items)| {
                    Ok(Answer::Webhook(response_from_guest(response, redactor), items_from_guest(items, redactor)?))
                })
            }
            Call::WebhookEnsure { url } => convert(webhook.call_ensure(store, config, url).await?, |text| json_answer(&text, redactor)),
            Call::WebhookList => convert(webhook.call_list(store, config).await?, |text| json_answer(&text, redactor)),
            _ => convert(webhook.call_remove(store, config).await?, |()| Ok(Answer::Done)),
        })
    }

    async fn invoke_channel(&self, store: &mut Store<Guest>, connection: &Connection, call: &Call) -> Returned {
        let Connection { config, redactor, .. } = connection;
        let Some(channel) = &self.channel else { return unsupported("channel") };
        match call {
            Call::Send { message, idempotency_key } => {
                let written = channel.call_send(store, config, message, idempotency_key).await?;
                Ok(convert(written, |written| written_from_guest(written, redactor).map(Answer::Written)))
            }
            Call::Act { action, input, idempotency_key } => {
                Ok(convert(channel.call_act(store, config, action, input, idempotency_key).await?, |text| json_answer(&text, redactor)))
            }
            _ => unsupported("channel"),
        }
    }

    /// Returns `value` through the guest's `migrate` unparsed: the bare cost of a call, for the benchmark.
    pub(crate) async fn echo(&self, store: &mut Store<Guest>, value: &String) -> wasmtime::Result<usize> {
        Ok(self.plugin.call_migrate(store, "bench", "", value).await?.map_or(0, |text| text.len()))
    }
}

fn unsupported(interface: &str) -> Returned {
    Ok(Err(ConnectorError::new(plain::ErrorClass::Unsupported, format!("the plugin does not export {interface}"))))
}

fn convert<T>(returned: Result<T, types::Error>, good: impl FnOnce(T) -> Result<Answer, ConnectorError>) -> Result<Answer, ConnectorError> {
    returned.map_err(error_from_guest).and_then(good)
}

fn json_answer(text: &str, redactor: &Redactor) -> Result<Answer, ConnectorError> {
    parse("its result", text, redactor).map(Answer::Json)
}

/// Parses JSON text of a guest, without secrets; `what` says what it is.
pub(crate) fn parse(what: &str, text: &str, redactor: &Redactor) -> Result<Value, ConnectorError> {
    serde_json::from_str(&redactor.data(text)).map_err(|fault| bug(format!("{what} is not JSON: {fault}")))
}

fn parse_optional(what: &str, text: Option<String>, redactor: &Redactor) -> Result<Option<Value>, ConnectorError> {
    text.map(|text| parse(what, &text, redactor)).transpose()
}

macro_rules! same_cases {
    ($to_guest:ident, $from_guest:ident, $plain:ty, $guest:ty, [$($case:ident),*]) => {
        fn $to_guest(value: $plain) -> $guest {
            match value { $(<$plain>::$case => <$guest>::$case),* }
        }
        fn $from_guest(value: $guest) -> $plain {
            match value { $(<$guest>::$case => <$plain>::$case),* }
        }
    };
}

same_cases!(
    class_to_guest,
    class_from_guest,
    plain::ErrorClass,
    types::ErrorClass,
    [Config, Auth, Permission, RateLimited, Transient, Ambiguous, Conflict, InvalidRecord, Gone, Unsupported, Cancelled, Bug]
);

/// An error of ours, as the guest sees it.
pub(crate) fn error_to_guest(error: ConnectorError, redactor: &Redactor) -> types::Error {
    let error = redactor.error(error);
    types::Error {
        class: class_to_guest(error.class),
        message: error.message,
        field: error.field,
        retry_after_ms: error.retry_after_ms,
        details: error.details.map(|details| details.to_string()),
    }
}

fn error_from_guest(error: types::Error) -> ConnectorError {
    ConnectorError {
        class: class_from_guest(error.class),
        message: error.message,
        field: error.field,
        retry_after_ms: error.retry_after_ms,
        // Details are a courtesy: text that is not JSON is kept as text, not turned into another error.
        details: error.details.map(|details| serde_json::from_str(&details).unwrap_or(Value::String(details))),
    }
}

/// Items of a guest as ours.
pub(crate) fn items_from_guest(items: Vec<types::Item>, redactor: &Redactor) -> Result<Vec<plain::Item>, ConnectorError> {
    items.into_iter().map(|item| item_from_guest(item, redactor)).collect()
}

fn item_from_guest(item: types::Item, redactor: &Redactor) -> Result<plain::Item, ConnectorError> {
    let data = parse("an item's data", &item.data, redactor).map_err(|error| error.with_field(item.key.clone()))?;
    Ok(plain::Item {
        kind: match item.kind {
            types::ItemKind::Record => plain::ItemKind::Record,
            types::ItemKind::Deleted => plain::ItemKind::Deleted,
            types::ItemKind::Merged => plain::ItemKind::Merged,
            types::ItemKind::Interaction => plain::ItemKind::Interaction,
        },
        entity: item.entity,
        key: redactor.owned(item.key),
        version: item.version.map(|version| redactor.owned(version)),
        at_ms: item.at_ms,
        data,
    })
}

fn page_from_guest(page: types::Page, redactor: &Redactor) -> Result<Answer, ConnectorError> {
    Ok(Answer::Page(plain::Page {
        items: items_from_guest(page.items, redactor)?,
        next: parse_optional("a page's next", page.next, redactor)?,
        checkpoint: parse("a page's checkpoint", &page.checkpoint, redactor)?,
        details: parse_optional("a page's details", page.details, redactor)?,
    }))
}

fn found_from_guest(found: Vec<types::Found>, redactor: &Redactor) -> Result<Answer, ConnectorError> {
    let one = |found| {
        Ok(match found {
            types::Found::Record(item) => plain::Found::Record(item_from_guest(item, redactor)?),
            types::Found::Gone => plain::Found::Gone,
            types::Found::MovedTo(key) => plain::Found::MovedTo(redactor.owned(key)),
        })
    };
    found.into_iter().map(one).collect::<Result<_, _>>().map(Answer::Found)
}

fn op_to_guest(op: &plain::Op) -> types::Op {
    types::Op {
        id: op.id.clone(),
        idempotency_key: op.idempotency_key.clone(),
        kind: match op.kind {
            plain::OpKind::Create => types::OpKind::Create,
            plain::OpKind::Update => types::OpKind::Update,
            plain::OpKind::Upsert => types::OpKind::Upsert,
            plain::OpKind::Delete => types::OpKind::Delete,
        },
        key: op.key.clone(),
        expect_version: op.expect_version.clone(),
        data: op.data.to_string(),
        clear: op.clear.clone(),
    }
}

fn written_from_guest(written: types::Written, redactor: &Redactor) -> Result<plain::Written, ConnectorError> {
    Ok(plain::Written {
        key: redactor.owned(written.key),
        version: written.version.map(|version| redactor.owned(version)),
        record: parse_optional("a written record", written.record, redactor)?,
    })
}

fn outcomes_from_guest(outcomes: Vec<types::Outcome>, redactor: &Redactor) -> Result<Answer, ConnectorError> {
    let one = |outcome: types::Outcome| plain::Outcome {
        op_id: outcome.op_id,
        // Text that is not JSON fails this op alone: the others have had their effect and must be known.
        result: outcome
            .result
            .map_err(|error| redactor.error(error_from_guest(error)))
            .and_then(|written| written_from_guest(written, redactor)),
    };
    Ok(Answer::Outcomes(outcomes.into_iter().map(one).collect()))
}

/// An HTTP request that a guest wants sent.
pub(crate) fn request_from_guest(request: types::HttpRequest) -> plain::HttpRequest {
    plain::HttpRequest { method: request.method, url: request.url, headers: request.headers, body: request.body }
}

fn request_to_guest(request: &plain::HttpRequest) -> types::HttpRequest {
    types::HttpRequest {
        method: request.method.clone(),
        url: request.url.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
    }
}

/// An HTTP response for a guest.
pub(crate) fn response_to_guest(response: plain::HttpResponse) -> types::HttpResponse {
    types::HttpResponse { status: response.status, headers: response.headers, body: response.body }
}

fn response_from_guest(response: types::HttpResponse, redactor: &Redactor) -> plain::HttpResponse {
    let headers = response.headers.into_iter().map(|(name, value)| (name, redactor.owned(value))).collect();
    plain::HttpResponse { status: response.status, headers, body: redactor.bytes(response.body) }
}
