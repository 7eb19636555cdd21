//! Actions: calls placed, answered, moved and ended.
//!
//! A 2xx of ARI and a "Success" of AMI mean that the order was taken; what comes of it is told by the listener.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use throughline_plugin_sdk::http::percent_encode;
use throughline_plugin_sdk::{Error, ErrorClass, Result, Value, json};

use crate::ami::Session;
use crate::call::{Call, Policy};
use crate::config::Config;
use crate::{ari, store};

const TRANSFER: &str = "tl-transfer";

/// Carries out an action of the manifest.
pub(crate) fn act(config: &Config, action: &str, input: Value, idempotency_key: &str) -> Result<Value> {
    match action {
        "originate" => originate(config, read(input)?, idempotency_key),
        "answer" => on_channel(config, &read(input)?, "POST", "/answer"),
        "hangup" => on_channel(config, &read(input)?, "DELETE", ""),
        "continue" => go_on(config, &read(input)?),
        "redirect" => redirect(config, &read(input)?),
        "transfer" => transfer(config, &read(input)?),
        other => Err(Error::new(ErrorClass::Unsupported, format!("this connector has no action {other:?}"))),
    }
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T> {
    serde_json::from_value(input).map_err(|error| invalid("input", format!("the input does not fit: {error}")))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Originate {
    /// Whom to call.
    customer: String,
    /// Whose phone rings first.
    agent: String,
    /// Context for both legs.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    /// A continuity token, for the same.
    #[serde(default)]
    token: Option<String>,
}

/// Rings the agent; when he picks up, the dial plan dials the customer. The channel's id comes of the idempotency key, and the PBX refuses
/// an id a second time: the same order twice is one call.
fn originate(config: &Config, wanted: Originate, idempotency_key: &str) -> Result<Value> {
    let number = config.number(&wanted.customer).ok_or_else(|| invalid("/customer", "this is no telephone number".to_owned()))?;
    if !is_name(&wanted.agent) {
        return Err(invalid("/agent", "this is no agent's name".to_owned()));
    }
    let channel = channel_id(idempotency_key);
    let settings = &config.click_to_call;
    let extension = settings.extension.replace("{number}", &number);
    let endpoint = config.endpoint_of(&wanted.agent);
    let timeout = settings.timeout_seconds.to_string();
    let caller_id = settings.caller_id.as_deref().unwrap_or(&number);
    let query = [
        ("endpoint", endpoint.as_str()),
        ("context", settings.context.as_str()),
        ("extension", extension.as_str()),
        ("priority", "1"),
        ("callerId", caller_id),
        ("timeout", timeout.as_str()),
    ];
    let variables = json!({"variables": variables_of(&wanted, &number)?});
    let request = ari::request(config, "POST", &format!("/channels/{}", percent_encode(&channel)))?.query(&query).json(&variables);
    match ari::outcome(request.send()?) {
        Ok(_) => {}
        // Ordered before under this key: that call stands.
        Err(error) if error.class == ErrorClass::Conflict => {}
        Err(error) if error.class == ErrorClass::InvalidRecord => return Err(error.with_field("/agent")),
        Err(error) => return Err(error),
    }
    Ok(json!({"call": config.key(&channel), "channel": channel}))
}

/// Two underscores: inherited by the legs that are dialled from this one, or the customer's leg would know nothing.
fn variables_of(wanted: &Originate, number: &str) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::from([("__TL_CUSTOMER_NUMBER".to_owned(), number.to_owned())]);
    if let Some(token) = &wanted.token {
        variables.insert("__TL_TOKEN".to_owned(), token.clone());
    }
    for (name, value) in &wanted.variables {
        let upper = name.to_ascii_uppercase();
        if !is_variable(&upper) || value.chars().any(char::is_control) {
            return Err(invalid(&format!("/variables/{name}"), "names are letters, digits and underscores; values one line".to_owned()));
        }
        // A value that a dial plan expands would be executed there.
        if value.contains("${") || value.contains("$[") {
            return Err(invalid(&format!("/variables/{name}"), "a value may hold no dial plan expression".to_owned()));
        }
        variables.insert(format!("__TL_{upper}"), value.clone());
    }
    Ok(variables)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnChannel {
    /// The call's key, or the unique id of a channel.
    call: String,
}

fn on_channel(config: &Config, wanted: &OnChannel, method: &str, path: &str) -> Result<Value> {
    let channel = channel_of(config, &wanted.call)?;
    ari::outcome(ari::request(config, method, &format!("/channels/{}{path}", percent_encode(&channel)))?.send()?)?;
    Ok(json!({"channel": channel}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Continue {
    call: String,
    /// Where in the dial plan; absent: after the `Stasis()` step.
    #[serde(default)]
    context: Option<String>,
    #[serde(default)]
    extension: Option<String>,
}

/// Hands a channel that an ARI application has back to the dial plan, for instance to a queue. A prompt that plays is finished first.
fn go_on(config: &Config, wanted: &Continue) -> Result<Value> {
    let channel = channel_of(config, &wanted.call)?;
    let mut query = Vec::new();
    if let Some(context) = &wanted.context {
        query.push(("context", dial_plan_word("/context", context)?));
    }
    if let Some(extension) = &wanted.extension {
        query.push(("extension", dial_plan_word("/extension", extension)?));
    }
    if !query.is_empty() {
        query.push(("priority", "1"));
    }
    ari::outcome(ari::request(config, "POST", &format!("/channels/{}/continue", percent_encode(&channel)))?.query(&query).send()?)?;
    Ok(json!({"channel": channel}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redirect {
    call: String,
    /// Whose phone takes it.
    agent: String,
}

/// Sends a channel that an ARI application has to another endpoint.
fn redirect(config: &Config, wanted: &Redirect) -> Result<Value> {
    if !is_name(&wanted.agent) {
        return Err(invalid("/agent", "this is no agent's name".to_owned()));
    }
    let channel = channel_of(config, &wanted.call)?;
    let endpoint = config.endpoint_of(&wanted.agent);
    let path = format!("/channels/{}/redirect", percent_encode(&channel));
    ari::outcome(ari::request(config, "POST", &path)?.query(&[("endpoint", &endpoint)]).send()?)?;
    Ok(json!({"channel": channel}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    call: String,
    /// The extension that takes it.
    extension: String,
}

/// Passes a call on that an agent has, wherever in the dial plan it is. The channel named is the one that lets go: naming the customer's
/// would drop the customer.
fn transfer(config: &Config, wanted: &Transfer) -> Result<Value> {
    let Some(context) = &config.transfer_context else {
        return Err(Error::new(ErrorClass::Config, "set the context that calls may be transferred into").with_field("transfer_context"));
    };
    let extension = dial_plan_word("/extension", &wanted.extension)?;
    let call = known(config, &wanted.call)?.ok_or_else(|| Error::new(ErrorClass::Gone, "this call is not under way"))?;
    let channel = call.talking_agent_channel().ok_or_else(|| invalid("/call", "no agent talks on this call now".to_owned()))?.to_owned();
    let mut session = Session::open(config, false)?;
    session.action("BlindTransfer", TRANSFER, &[("Channel", &channel), ("Context", context), ("Exten", extension)])?;
    let answer = session.response(TRANSFER)?;
    if answer.response() == Some("Success") {
        return Ok(json!({"channel": channel}));
    }
    let says = answer.get("Message").unwrap_or("nothing").to_owned();
    let class = if says.contains("ermission") { ErrorClass::Permission } else { ErrorClass::InvalidRecord };
    Err(Error::new(class, format!("the PBX did not transfer the call: {says}")))
}

/// The customer's channel of a call, or the channel itself where a unique id is given.
fn channel_of(config: &Config, call: &str) -> Result<String> {
    let known = known(config, call)?.and_then(|call| call.customer_channel().map(str::to_owned));
    let channel = known.unwrap_or_else(|| bare(config, call).to_owned());
    if channel.is_empty() || !channel.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_;:".contains(&byte)) {
        return Err(invalid("/call", "this is neither a call's key nor a channel's unique id".to_owned()));
    }
    Ok(channel)
}

fn known(config: &Config, call: &str) -> Result<Option<Call>> {
    store::call_of_leg(bare(config, call))
}

/// The unique id within a key.
fn bare<'a>(config: &Config, call: &'a str) -> &'a str {
    call.strip_prefix(config.pbx_id.as_str()).and_then(|rest| rest.strip_prefix(':')).unwrap_or(call)
}

fn channel_id(idempotency_key: &str) -> String {
    let safe: String = idempotency_key.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).take(100).collect();
    format!("tl-{safe}")
}

fn dial_plan_word<'a>(field: &str, text: &'a str) -> Result<&'a str> {
    let good = (1..=80).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+*#_-".contains(&byte));
    if good { Ok(text) } else { Err(invalid(field, "letters, digits and + * # _ - only".to_owned())) }
}

fn is_name(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_variable(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn invalid(field: &str, message: String) -> Error {
    Error::new(ErrorClass::InvalidRecord, message).with_field(field)
}
