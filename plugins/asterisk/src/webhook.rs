//! What the dial plan posts with `CURL()`: context of a call, form-encoded, known by the channel's unique id.

use std::collections::BTreeMap;

use throughline_plugin_sdk::http::ResponseExt;
use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{HttpRequest, HttpResponse, Item, Result, json, secrets};

use crate::call::Snapshot;
use crate::config::Config;
use crate::listen::item;
use crate::store::{self, Posted};

/// The secret that the dial plan sends, and the header it sends it in.
const SECRET: &str = "hook_key";
const HEADER: &str = "x-throughline-key";
/// A form of an IVR is small.
const MAX_BODY: usize = 64 * 1024;
const MAX_FIELDS: usize = 64;
/// The field that names the call, by the unique id of one of its channels.
const CALL: &str = "call";

/// Verifies and translates one request.
pub(crate) fn receive(config: &Config, request: &HttpRequest) -> Result<(HttpResponse, Vec<Item>)> {
    if let Some(refusal) = refuse(request)? {
        return Ok((refusal, Vec::new()));
    }
    let mut fields = form(request.body.as_deref().unwrap_or_default());
    let Some(leg) = fields.remove(CALL).filter(|leg| is_unique_id(leg)) else {
        return Ok((answer(400, "the field `call` must be a channel's unique id"), Vec::new()));
    };
    if fields.len() > MAX_FIELDS {
        return Ok((answer(413, "too many fields"), Vec::new()));
    }
    let items = keep(config, &leg, fields)?;
    Ok((ok(), items))
}

fn refuse(request: &HttpRequest) -> Result<Option<HttpResponse>> {
    let key = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HEADER)).map(|(_, value)| value.as_bytes());
    if !secrets::equals(SECRET, key.unwrap_or_default())? || key.is_none() {
        return Ok(Some(answer(401, "the header X-Throughline-Key is missing or wrong")));
    }
    if request.method != "POST" {
        return Ok(Some(answer(405, "only POST is possible")));
    }
    if request.body.as_ref().is_some_and(|body| body.len() > MAX_BODY) {
        return Ok(Some(answer(413, "the body is too large")));
    }
    Ok(None)
}

/// Keeps the context for the listener, which owns the call, and tells it at once if the call is known.
fn keep(config: &Config, leg: &str, fields: BTreeMap<String, String>) -> Result<Vec<Item>> {
    let mut posted = store::posted(leg)?.unwrap_or_default();
    posted.variables.extend(fields.into_iter().map(|(name, value)| (variable(&name), value)));
    let call = store::call_of_leg(leg)?;
    let version = call.as_ref().map_or(0, |call| call.version()).max(posted.version) + 1;
    store::post(leg, &Posted { variables: posted.variables.clone(), version })?;
    let Some(call) = call else { return Ok(Vec::new()) };
    let fact = call.fact_with(&posted.variables);
    Ok(vec![item(config, &Snapshot { call: call.id().to_owned(), version, at: Timestamp::from_millis(version), fact })])
}

/// The name of a variable, as it would be of one set in the dial plan.
fn variable(field: &str) -> String {
    let name = field.trim_start_matches('_').to_ascii_lowercase();
    name.strip_prefix("tl_").map_or(name.clone(), str::to_owned)
}

/// `epoch.sequence`, perhaps with a system name, or an id of ours.
fn is_unique_id(text: &str) -> bool {
    (1..=150).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_;:".contains(&byte))
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
            (decode(name), decode(value))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Percent-decoding; what is no valid escape stays, what is no UTF-8 is replaced.
fn decode(text: &[u8]) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let escaped = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (text[at], escaped) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn ok() -> HttpResponse {
    respond(200, &json!({"ok": true}))
}

fn answer(status: u16, message: &str) -> HttpResponse {
    respond(status, &json!({"ok": false, "message": message}))
}

fn respond(status: u16, body: &throughline_plugin_sdk::Value) -> HttpResponse {
    let response = HttpResponse {
        status,
        headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
    };
    debug_assert!(response.header("content-type").is_some());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_curl_writes_them() {
        let table: [(&str, &[(&str, &str)]); 5] = [
            ("call=1.2&choice=case&digits=004217", &[("call", "1.2"), ("choice", "case"), ("digits", "004217")]),
            ("a=Gr%C3%BC%C3%9Fe+Ada&b", &[("a", "Grüße Ada"), ("b", "")]),
            ("a=100%&b=%zz&c=%4", &[("a", "100%"), ("b", "%zz"), ("c", "%4")]),
            ("&&=x&", &[]),
            ("a=%FF", &[("a", "\u{fffd}")]),
        ];
        for (body, expected) in table {
            let expected: BTreeMap<String, String> = expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            assert_eq!(form(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn only_what_looks_like_a_unique_id_names_a_call() {
        for good in ["1795291219.96", "pbx-1-1795292312.0", "tl-c2c-1", "out-dup;2"] {
            assert!(is_unique_id(good), "{good}");
        }
        for bad in ["", "a b", "../x", "ü", "x/y"] {
            assert!(!is_unique_id(bad), "{bad}");
        }
    }
}
