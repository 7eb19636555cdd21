//! What surrounds every request: its id, its span, its deadline, a net for panics, and the writing out of problems.
//!
//! Logs hold method, route, status and time. Never a body, a key, or a path or query value: those may be somebody's number.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use throughline_engine::commands::NewAuditEntry;
use throughline_schemas::ProfileId;
use tokio::time::Instant;
use tracing::Instrument;

use crate::auth::Credentials;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

/// The header with the request's id, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_REQUEST_ID: usize = 128;

/// The outermost layer.
pub(crate) async fn shell(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let operation = operation(&api, &request);
    let span = tracing::info_span!("request", %method, operation, request_id = %id);
    let response = guarded(request, next, deadline(&api, operation)).instrument(span.clone()).await;
    let response = span.in_scope(|| write_problem(response, &uri, &id));
    let took = started.elapsed();
    span.in_scope(|| tracing::info!(status = response.status().as_u16(), latency_us = took.as_micros() as u64, "answered"));
    api.shared.metrics.observe(operation, response.status().as_u16(), took);
    finish(response, &id)
}

/// A stable name of what is asked for: the operation's, or `unmatched`.
fn operation(api: &Api, request: &Request) -> &'static str {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    matched.and_then(|path| api.shared.operations.name(request.method(), path)).unwrap_or("unmatched")
}

/// Calls that wait for a silo or a compiler get more time.
fn deadline(api: &Api, operation: &str) -> Duration {
    let slow = ["plugins.install", "connections.", "hooks.", "oauth."];
    if slow.iter().any(|start| operation.starts_with(start)) { api.options().slow_timeout } else { api.options().timeout }
}

async fn guarded(request: Request, next: Next, deadline: Duration) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Problem::internal(format!("a handler panicked: {}", panic_text(&*panic))).into_response(),
        Err(_) => {
            let detail = format!("not done within {} s; it may still be going on", deadline.as_secs());
            Problem::new(Code::Timeout, detail).into_response()
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Takes the caller's id if it is one that can be logged safely, else makes one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = |id: &&str| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    given.filter(usable).map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned)
}

fn write_problem(mut response: Response, uri: &Uri, request_id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    if let Some(cause) = problem.internal_cause() {
        tracing::error!(code = problem.code().slug(), cause, "a request failed");
    }
    let location = problem.merged_into().and_then(|into| survivor(uri, into));
    let problem = match location {
        Some(location) => problem.redirect(location),
        None => problem,
    };
    let mut written = problem.render(request_id);
    // What inner layers had to say (Allow, RateLimit-*) stays.
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE && !written.headers().contains_key(name) {
            written.headers_mut().insert(name.clone(), value.clone());
        }
    }
    written
}

/// The same path under the profile that goes on, if the path is a profile's.
fn survivor(uri: &Uri, into: ProfileId) -> Option<HeaderValue> {
    let rest = uri.path().strip_prefix("/v1/profiles/")?;
    let below = rest.find('/').map_or("", |position| &rest[position..]);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    HeaderValue::try_from(format!("/v1/profiles/{into}{below}{query}")).ok()
}

fn finish(mut response: Response, request_id: &str) -> Response {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// Writes down who changed what. The innermost layer, so that a replayed answer is not counted twice.
pub(crate) async fn audit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let caller = match request.extensions().get::<Credentials>() {
        Some(Credentials::Known(caller)) if changes => caller.clone(),
        _ => return next.run(request).await,
    };
    let (action, target) = (operation(&api, &request), request.uri().path().to_owned());
    let response = next.run(request).await;
    if response.status().is_success() {
        let entry = NewAuditEntry { actor: caller.name(), action: action.to_owned(), target, detail: serde_json::Value::Null };
        if let Err(error) = api.hub.record_audit(entry).await {
            tracing::error!(%error, action, "cannot write the audit entry of something that was done");
        }
    }
    response
}

/// No route has this path.
pub(crate) async fn no_such_route() -> Problem {
    Problem::new(Code::NoSuchRoute, "there is no such path; /docs lists all of them")
}

/// The route does not take this method.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this path does not take this method; /docs lists what it takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_are_taken_over() {
        let table = [("abc-1.2:3_4", true), ("", false), ("a b", false), ("a\"b", false), ("é", false)];
        for (given, kept) in table {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).unwrap())]);
            assert_eq!(request_id(&headers) == given, kept, "{given:?}");
        }
        assert_eq!(request_id(&HeaderMap::new()).len(), 32);
    }

    #[test]
    fn a_merged_profile_leads_to_the_same_thing_at_the_survivor() {
        let into = ProfileId::from_bytes([1; 16]);
        let to = |uri: &str| survivor(&uri.parse().unwrap(), into).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(to("/v1/profiles/pro_x"), Some(format!("/v1/profiles/{into}")));
        assert_eq!(to("/v1/profiles/pro_x/timeline?limit=2"), Some(format!("/v1/profiles/{into}/timeline?limit=2")));
        assert_eq!(to("/v1/enquiries"), None);
    }
}
