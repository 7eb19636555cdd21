//! From an HTTP response to a JSON body or a classified error. What is not the JSON expected never passes for an empty answer.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_plugin_sdk::http::{ResponseExt, classify_status};
use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{Error, ErrorClass, HttpResponse, Result, json};

use crate::config::{Config, Entity, ErrorRule, FieldErrors, RateLimit, ResetUnit};
use crate::{mapping, pointer};

/// How much of a page is searched for signs of a login form, and quoted to a person.
const LOOKED_AT: usize = 64 * 1024;
const QUOTE: usize = 200;

/// What a request was for: the same failure means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing changes: whatever fails may simply be tried again.
    Read,
    /// Something may have changed even if we were told of a failure.
    Write,
}

/// The JSON body of a response that says that all is well; null if it has none.
pub(crate) fn body(config: &Config, entity: Option<&Entity>, response: &HttpResponse, purpose: Purpose, now: Timestamp) -> Result<Value> {
    let parsed: std::result::Result<Value, _> = serde_json::from_slice(&response.body);
    let known = parsed.as_ref().unwrap_or(&Value::Null);
    if let Some(rule) = config.errors.iter().find(|rule| matches(rule, response, known)) {
        return Err(by_rule(rule, config, entity, response, known));
    }
    if let Some(error) = by_status(config, entity, response, known, purpose, now) {
        return Err(error);
    }
    if response.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    parsed.map_err(|error| not_json(response, &error, purpose))
}

/// A transport's failure, seen in the light of what the request was for.
pub(crate) fn transport(error: Error, purpose: Purpose) -> Error {
    match (purpose, error.class) {
        (Purpose::Read, ErrorClass::Ambiguous) => Error { class: ErrorClass::Transient, ..error },
        (Purpose::Write, ErrorClass::Transient) if error.is_timeout() => Error { class: ErrorClass::Ambiguous, ..error },
        _ => error,
    }
}

fn matches(rule: &ErrorRule, response: &HttpResponse, body: &Value) -> bool {
    let kind = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let status = rule.status.is_empty() || rule.status.contains(&response.status);
    let content = rule.content_type.as_ref().is_none_or(|wanted| kind.starts_with(&wanted.to_ascii_lowercase()));
    status && content && at_place(rule, response, body)
}

fn at_place(rule: &ErrorRule, response: &HttpResponse, body: &Value) -> bool {
    let found = match &rule.pointer {
        Some(place) => match body.pointer(place) {
            Some(value) if !value.is_null() => Some(value),
            _ => return false,
        },
        None => None,
    };
    let equal = rule.equals.as_ref().is_none_or(|wanted| found.unwrap_or(body) == wanted);
    let within = rule.contains.as_ref().is_none_or(|wanted| {
        let text = found.map_or_else(|| response.text(), |value| pointer::scalar(value).unwrap_or_else(|| value.to_string()));
        text.to_lowercase().contains(&wanted.to_lowercase())
    });
    equal && within
}

fn by_rule(rule: &ErrorRule, config: &Config, entity: Option<&Entity>, response: &HttpResponse, body: &Value) -> Error {
    let text = message(config, body).or_else(|| pointer::text_at(body, rule.pointer.as_deref().unwrap_or("/message")));
    let text = text.unwrap_or_else(|| quoted(response));
    let mut error = Error::new(rule.class, format!("the system answered {}: {text}", response.status));
    if rule.class == ErrorClass::RateLimited {
        error.retry_after_ms = throughline_plugin_sdk::http::retry_after_ms(response);
    }
    let wait = rule.retry_after_ms.as_deref().and_then(|place| body.pointer(place)).and_then(Value::as_u64);
    error.retry_after_ms = wait.or(error.retry_after_ms);
    error = with_fields(error, config, entity, body);
    match &rule.field {
        Some(field) => error.with_field(field.clone()),
        None => error,
    }
}

fn by_status(
    config: &Config,
    entity: Option<&Entity>,
    response: &HttpResponse,
    body: &Value,
    purpose: Purpose,
    now: Timestamp,
) -> Option<Error> {
    if (300..400).contains(&response.status) {
        return Some(redirected(response));
    }
    let mut error = classify_status(response)?;
    if let Some(text) = message(config, body) {
        error.message = format!("the system answered {}: {text}", response.status);
    }
    if let Some(limit) = &config.rate_limit {
        rate_limited(&mut error, limit, response, now);
    }
    if matches!(error.class, ErrorClass::InvalidRecord | ErrorClass::Conflict) {
        error = with_fields(error, config, entity, body);
    }
    error.class = match (purpose, error.class, response.status) {
        // An internal error may come after the change was stored: django-helpdesk answers 500 when a webhook of its own fails.
        (Purpose::Write, ErrorClass::Transient, 500) => ErrorClass::Ambiguous,
        (Purpose::Read, ErrorClass::Ambiguous, _) => ErrorClass::Transient,
        (_, class, _) => class,
    };
    Some(error)
}

fn redirected(response: &HttpResponse) -> Error {
    let place = response.header("location").unwrap_or("nowhere");
    let place: String = place.chars().filter(|char| !char.is_control()).take(QUOTE).collect();
    let login = ["login", "signin", "sign_in", "sign-in", "auth"].iter().any(|word| place.to_ascii_lowercase().contains(word));
    if login {
        return Error::new(ErrorClass::Auth, format!("the system sends us to a login page ({place})"));
    }
    let advice = "set base_url and the paths to where it leads";
    Error::new(ErrorClass::Config, format!("the system redirects this request to {place}: {advice}")).with_field("base_url")
}

/// A system's own headers: `remaining: 0` makes a 403 a matter of patience, `reset` says how much.
fn rate_limited(error: &mut Error, limit: &RateLimit, response: &HttpResponse, now: Timestamp) {
    let exhausted = limit.remaining.as_deref().and_then(|name| response.header(name)).is_some_and(|left| left.trim() == "0");
    if error.class == ErrorClass::Permission && exhausted {
        error.class = ErrorClass::RateLimited;
    }
    if error.class != ErrorClass::RateLimited || error.retry_after_ms.is_some() {
        return;
    }
    let reset = limit.reset.as_deref().and_then(|name| response.header(name)).and_then(|text| text.trim().parse::<u64>().ok());
    let passed = u64::try_from(now.as_millis()).unwrap_or(0);
    error.retry_after_ms = reset.map(|reset| match limit.reset_unit {
        ResetUnit::Seconds => reset.saturating_mul(1000),
        ResetUnit::UnixSeconds => reset.saturating_mul(1000).saturating_sub(passed),
        ResetUnit::UnixMillis => reset.saturating_sub(passed),
    });
}

fn message(config: &Config, body: &Value) -> Option<String> {
    let place = config.error_message.as_deref()?;
    pointer::text_at(body, place).map(|text| text.chars().filter(|char| !char.is_control()).take(QUOTE).collect())
}

/// Names the canonical fields at fault: the first as the error's field, all with their texts in the details.
fn with_fields(mut error: Error, config: &Config, entity: Option<&Entity>, body: &Value) -> Error {
    let Some(place) = &config.field_errors else { return error };
    let fields: BTreeMap<String, String> =
        named_errors(place, body).into_iter().map(|(name, text)| (canonical(entity, &name).unwrap_or(name), text)).collect();
    if let Some((name, text)) = fields.iter().next() {
        error.message = format!("{}: {name}: {text}", error.message);
        error.field = Some(name.clone());
        error.details = Some(json!({"fields": fields}));
    }
    error
}

fn named_errors(place: &FieldErrors, body: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value| {
        let found = entry.pointer(place.message.as_deref().unwrap_or("")).unwrap_or(entry);
        pointer::scalar(found).unwrap_or_else(|| found.to_string())
    };
    match body.pointer(&place.pointer) {
        Some(Value::Object(entries)) => entries.iter().map(|(name, entry)| (name.clone(), text(entry))).collect(),
        Some(Value::Array(entries)) => {
            let name = |entry: &Value| place.name.as_deref().and_then(|at| pointer::text_at(entry, at));
            entries.iter().filter_map(|entry| Some((name(entry)?, text(entry)))).collect()
        }
        _ => Vec::new(),
    }
}

fn canonical(entity: Option<&Entity>, name: &str) -> Option<String> {
    mapping::canonical_name(&entity?.fields, name)
}

fn not_json(response: &HttpResponse, error: &serde_json::Error, purpose: Purpose) -> Error {
    let unsure = if purpose == Purpose::Write { ErrorClass::Ambiguous } else { ErrorClass::Transient };
    let kind = response.header("content-type").unwrap_or("no content type");
    if is_html(response, kind) {
        if looks_like_login(response) {
            return Error::new(ErrorClass::Auth, "the system answered with a login page where JSON was expected");
        }
        return Error::new(unsure, format!("the system answered with a page ({kind}) where JSON was expected"));
    }
    if error.is_eof() {
        let length = response.body.len();
        return Error::new(unsure, format!("the system's JSON is cut off after {length} bytes"));
    }
    Error::new(unsure, format!("the system's answer is not JSON but {kind}: {error}"))
}

fn is_html(response: &HttpResponse, kind: &str) -> bool {
    kind.to_ascii_lowercase().contains("html") || response.body.trim_ascii_start().first() == Some(&b'<')
}

fn looks_like_login(response: &HttpResponse) -> bool {
    let beginning = &response.body[..response.body.len().min(LOOKED_AT)];
    let text = String::from_utf8_lossy(beginning).to_lowercase();
    ["type=\"password\"", "type='password'", "type=password", "login", "log in", "sign in", "anmelden"]
        .iter()
        .any(|sign| text.contains(sign))
}

fn quoted(response: &HttpResponse) -> String {
    response.text().chars().filter(|char| !char.is_control()).take(QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use throughline_plugin_sdk::testing::TestHost;

    use super::*;

    fn config(more: Value) -> Config {
        let mut value = json!({"base_url": "https://crm.example"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn response(status: u16, kind: &str, text: &str) -> HttpResponse {
        HttpResponse { status, headers: vec![("Content-Type".into(), kind.into())], body: text.into() }
    }

    fn class(config: &Config, response: &HttpResponse, purpose: Purpose) -> ErrorClass {
        body(config, None, response, purpose, Timestamp::default()).unwrap_err().class
    }

    #[test]
    fn what_is_not_json_is_never_an_empty_answer() {
        let login = "<!doctype html><form><input type=\"password\"></form>";
        let table = [
            ("text/html", login, ErrorClass::Auth, ErrorClass::Auth),
            ("application/json", login, ErrorClass::Auth, ErrorClass::Auth),
            ("text/html", "<html>we are down for maintenance</html>", ErrorClass::Transient, ErrorClass::Ambiguous),
            ("application/json", "{\"items\": [{\"id\": 1}, {\"i", ErrorClass::Transient, ErrorClass::Ambiguous),
            ("text/plain", "hello", ErrorClass::Transient, ErrorClass::Ambiguous),
            ("application/json", "\u{1}\u{2}", ErrorClass::Transient, ErrorClass::Ambiguous),
        ];
        let config = config(json!({}));
        for (kind, text, read, write) in table {
            assert_eq!(class(&config, &response(200, kind, text), Purpose::Read), read, "{text}");
            assert_eq!(class(&config, &response(200, kind, text), Purpose::Write), write, "{text}");
        }
        let mut broken = response(200, "application/json", "");
        broken.body = vec![b'"', 0xff, 0xfe, b'"'];
        assert_eq!(class(&config, &broken, Purpose::Read), ErrorClass::Transient, "invalid UTF-8");
        for fine in ["{\"a\": 1}", "", " \r\n"] {
            assert!(body(&config, None, &response(200, "text/plain", fine), Purpose::Read, Timestamp::default()).is_ok(), "{fine:?}");
        }
    }

    #[test]
    fn the_same_status_means_other_things_for_reads_and_writes() {
        let _host = TestHost::new().install();
        let table = [
            (500, ErrorClass::Transient, ErrorClass::Ambiguous),
            (502, ErrorClass::Transient, ErrorClass::Ambiguous),
            (503, ErrorClass::Transient, ErrorClass::Transient),
            (504, ErrorClass::Transient, ErrorClass::Ambiguous),
            (401, ErrorClass::Auth, ErrorClass::Auth),
            (403, ErrorClass::Permission, ErrorClass::Permission),
            (404, ErrorClass::Gone, ErrorClass::Gone),
            (409, ErrorClass::Conflict, ErrorClass::Conflict),
            (422, ErrorClass::InvalidRecord, ErrorClass::InvalidRecord),
            (301, ErrorClass::Config, ErrorClass::Config),
        ];
        for (status, read, write) in table {
            let answer = response(status, "application/json", "{}");
            assert_eq!(class(&config(json!({})), &answer, Purpose::Read), read, "{status}");
            assert_eq!(class(&config(json!({})), &answer, Purpose::Write), write, "{status}");
        }
        let mut answer = response(302, "text/html", "");
        answer.headers.push(("Location".into(), "/users/login?next=%2Fapi".into()));
        assert_eq!(class(&config(json!({})), &answer, Purpose::Read), ErrorClass::Auth);
    }

    #[test]
    fn a_systems_own_rules_come_first() {
        let config = config(json!({"errors": [
            {"pointer": "/error/0", "equals": "ConcurrencyException", "class": "conflict"},
            {"pointer": "/error/1/0", "contains": "must be unique", "class": "conflict", "field": "code"},
            {"pointer": "/error", "class": "invalid_record"},
            {"status": [200], "contains": "maintenance mode", "class": "transient"},
            {"status": [400], "content_type": "text/plain", "class": "unsupported"},
            {"status": [429], "class": "rate_limited", "retry_after_ms": "/retry_after_ms"}]}));
        let table = [
            (200, "application/json", r#"{"error":["ConcurrencyException","modified"]}"#, Some(ErrorClass::Conflict)),
            (200, "application/json", r#"{"error":["UserError",["The code must be UNIQUE."]]}"#, Some(ErrorClass::Conflict)),
            (200, "application/json", r#"{"error":["'nofield'",""]}"#, Some(ErrorClass::InvalidRecord)),
            (200, "application/json", r#"{"result":[1],"error":null}"#, None),
            (200, "text/html", "<p>Maintenance Mode</p>", Some(ErrorClass::Transient)),
            (400, "text/plain; charset=utf-8", "no", Some(ErrorClass::Unsupported)),
            (400, "application/json", "{}", Some(ErrorClass::InvalidRecord)),
        ];
        for (status, kind, text, wanted) in table {
            let got = body(&config, None, &response(status, kind, text), Purpose::Read, Timestamp::default());
            assert_eq!(got.as_ref().err().map(|error| error.class), wanted, "{text}");
        }
        let wait =
            body(&config, None, &response(429, "application/json", r#"{"retry_after_ms": 476}"#), Purpose::Read, Timestamp::default());
        assert_eq!(wait.unwrap_err().retry_after_ms, Some(476));
    }

    #[test]
    fn a_rate_limit_says_how_long() {
        let _host = TestHost::new().now("2026-11-21T12:00:00Z".parse().unwrap()).install();
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let table = [
            (429, ("retry-after", "3"), "seconds", ErrorClass::RateLimited, Some(3000)),
            (429, ("retry-after", "Sat, 21 Nov 2026 12:00:09 GMT"), "seconds", ErrorClass::RateLimited, Some(9000)),
            (429, ("x-reset", "7"), "seconds", ErrorClass::RateLimited, Some(7000)),
            (429, ("x-reset", "1795262402"), "unix_seconds", ErrorClass::RateLimited, Some(2000)),
            (429, ("x-reset", "1795262402500"), "unix_millis", ErrorClass::RateLimited, Some(2500)),
            (429, ("x-other", "7"), "seconds", ErrorClass::RateLimited, None),
            (403, ("x-left", "0"), "seconds", ErrorClass::RateLimited, None),
            (403, ("x-left", "5"), "seconds", ErrorClass::Permission, None),
        ];
        for (status, (name, value), unit, class, wait) in table {
            let config = config(json!({"rate_limit": {"remaining": "x-left", "reset": "x-reset", "reset_unit": unit}}));
            let mut answer = response(status, "application/json", "{}");
            answer.headers.push((name.into(), value.into()));
            let error = body(&config, None, &answer, Purpose::Read, now).unwrap_err();
            assert_eq!((error.class, error.retry_after_ms), (class, wait), "{status} {name}: {value}");
        }
    }

    #[test]
    fn field_errors_are_named_in_our_words() {
        let entity: Entity =
            serde_json::from_value(json!({"canonical": "profile", "fields": {"external_id": "/ext_id", "city": "/a/city"}})).unwrap();
        let table = [
            (
                json!({"pointer": "/data", "message": "/message"}),
                r#"{"data":{"ext_id":{"code":"x","message":"must be unique"}}}"#,
                "external_id",
            ),
            (
                json!({"pointer": "/errors", "name": "/field", "message": "/text"}),
                r#"{"errors":[{"field":"/a/city","text":"no"}]}"#,
                "city",
            ),
            (json!({"pointer": "/errors"}), r#"{"errors":{"other":["too long"]}}"#, "other"),
        ];
        for (place, text, field) in table {
            let config = config(json!({"field_errors": place, "error_message": "/message"}));
            let error =
                body(&config, Some(&entity), &response(400, "application/json", text), Purpose::Write, Timestamp::default()).unwrap_err();
            assert_eq!((error.class, error.field.as_deref()), (ErrorClass::InvalidRecord, Some(field)), "{text}");
            assert!(error.details.unwrap()["fields"][field].is_string());
        }
    }
}
