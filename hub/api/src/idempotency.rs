//! `Idempotency-Key` on POST: the same key and request give the stored answer, whatever happened to the connection meanwhile.
//!
//! Only what was done is kept: a request that was refused did nothing, so its key stays free. The request runs in a task of its own,
//! because the very case this exists for is a client that goes away in the middle.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use throughline_engine::Begin;
use tracing::Instrument;

use crate::auth::Credentials;
use crate::describe::{DescribeInput, Operation};
use crate::extract::read_body;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::routes::{api_keys, webhooks};
use crate::state::Api;

/// The request header.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer was stored.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const LONGEST_KEY: usize = 255;
/// Their answers hold a secret that must not be stored.
pub(crate) const SHOWING_SECRETS: [&str; 3] = [api_keys::COLLECTION, webhooks::COLLECTION, webhooks::ROTATE];
/// Headers that are kept with a body; a replay shows them again.
const KEPT: [HeaderName; 2] = [header::ETAG, header::LOCATION];

/// One use of a key.
struct Use {
    scope: String,
    key: String,
    digest: [u8; 32],
}

/// The key under which an operation is done at most once further down: the caller's own, within what the API key names, or a new one.
pub(crate) struct OperationKey(pub(crate) String);

impl FromRequestParts<Api> for OperationKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let given = key_of(&parts.method, &parts.headers)?;
        let caller = match parts.extensions.get::<Credentials>() {
            Some(Credentials::Known(caller)) => caller.key.id.to_string(),
            _ => String::new(),
        };
        Ok(Self(given.map_or_else(|| uuid::Uuid::now_v7().to_string(), |key| format!("{caller}:{key}"))))
    }
}

impl DescribeInput for OperationKey {
    fn describe(_: &mut Operation<'_>) {
        // Every POST describes the header already.
    }
}

/// Gives the key back unless the request came to an end that is kept, even if it panics.
struct Claim<'a> {
    api: &'a Api,
    used: &'a Use,
    settled: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.api.hub.idempotent_abandon(&self.used.scope, &self.used.key);
        }
    }
}

/// Applies to every POST under `/v1` that carries a key and a good API key; the handler refuses the others itself.
pub(crate) async fn idempotency(State(api): State<Api>, request: Request, next: Next) -> Response {
    match claim(&api, request).await {
        Ok(Claimed::Pass(request)) => next.run(request).await,
        Ok(Claimed::Run(request, used)) => run(api, request, used, next).await,
        Ok(Claimed::Replay(response)) => response,
        Err(problem) => problem.into_response(),
    }
}

enum Claimed {
    Pass(Request),
    Run(Request, Use),
    Replay(Response),
}

async fn claim(api: &Api, request: Request) -> Result<Claimed, Problem> {
    let Some(key) = key_of(request.method(), request.headers())? else { return Ok(Claimed::Pass(request)) };
    let Some(Credentials::Known(caller)) = request.extensions().get::<Credentials>() else { return Ok(Claimed::Pass(request)) };
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    if matched.as_deref().is_some_and(|path| SHOWING_SECRETS.contains(&path)) {
        let detail = "a secret is shown once and never stored, so this path cannot take an Idempotency-Key";
        return Err(Problem::parameter(Code::InvalidHeader, "Idempotency-Key", detail));
    }
    let scope = format!("{} POST {}", caller.key.id, request.uri().path());
    let (parts, body) = request.into_parts();
    let limit = api.body_limit(matched.as_deref());
    let mut whole = Request::new(body);
    *whole.headers_mut() = parts.headers.clone();
    let bytes = read_body(whole, limit).await?;
    let used = Use { scope, key, digest: digest(parts.uri.query().unwrap_or_default(), &bytes) };
    match api.hub.idempotent_begin(&used.scope, &used.key, used.digest).await? {
        Begin::Fresh => Ok(Claimed::Run(Request::from_parts(parts, Body::from(bytes)), used)),
        Begin::Running => {
            Err(Problem::new(Code::IdempotencyRunning, "a request with this key is being carried out; ask again soon").retry_after(1))
        }
        Begin::Stored { status, body } => replay(status, body).map(Claimed::Replay),
        Begin::Mismatch => {
            let detail = "this key was used with another body; a new request needs a new key";
            Err(Problem::parameter(Code::IdempotencyMismatch, "Idempotency-Key", detail))
        }
    }
}

fn key_of(method: &Method, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY).filter(|_| method == Method::POST) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    match key {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let detail = format!("a key is 1 to {LONGEST_KEY} visible ASCII characters, for instance a UUID");
            Err(Problem::parameter(Code::InvalidHeader, "Idempotency-Key", detail))
        }
    }
}

fn digest(query: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((query.len() as u64).to_be_bytes());
    hash.update(query);
    hash.update(body);
    hash.finalize().into()
}

async fn run(api: Api, request: Request, used: Use, next: Next) -> Response {
    let tasks = api.options().tasks.clone();
    let work = async move { keep(&api, &used, next.run(request)).await };
    match tasks.spawn(work.in_current_span()).await {
        Ok(response) => response,
        Err(error) => Problem::internal(format!("a request with an idempotency key ended abnormally: {error}")).into_response(),
    }
}

async fn keep(api: &Api, used: &Use, answer: impl Future<Output = Response>) -> Response {
    let mut claim = Claim { api, used, settled: false };
    let response = answer.await;
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Problem::internal(format!("cannot read our own answer: {error}")).into_response(),
    };
    // What was done was done: from here on the key is never given back, even if the answer cannot be kept.
    claim.settled = true;
    let stored = pack(&parts.headers, &body);
    if let Err(error) = api.hub.idempotent_finish(&used.scope, &used.key, used.digest, parts.status.as_u16(), &stored).await {
        tracing::error!(%error, "cannot keep the answer to a request with an idempotency key");
    }
    Response::from_parts(parts, Body::from(body))
}

/// One line for each kept header (empty if it was not there), then the body.
fn pack(headers: &HeaderMap, body: &Bytes) -> Vec<u8> {
    let mut stored = Vec::with_capacity(body.len() + 64);
    for name in &KEPT {
        stored.extend_from_slice(headers.get(name).map_or(&[][..], HeaderValue::as_bytes));
        stored.push(b'\n');
    }
    stored.extend_from_slice(body);
    stored
}

fn replay(status: u16, stored: Vec<u8>) -> Result<Response, Problem> {
    let mut rest = stored.as_slice();
    let mut headers = HeaderMap::new();
    for name in KEPT {
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| Problem::internal("a stored answer has no header lines"))?;
        if let (true, Ok(value)) = (end > 0, HeaderValue::from_bytes(&rest[..end])) {
            headers.insert(name, value);
        }
        rest = &rest[end + 1..];
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if !rest.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let mut response = Response::new(Body::from(rest.to_vec()));
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Problem::internal("a stored answer has no status"))?;
    *response.headers_mut() = headers;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_visible_texts_and_only_post_has_them() {
        let table = [("a", Some(true)), ("", None), ("with space", None), ("8e03978e-40d5-43dd-bc93-6894a57f9324", Some(true))];
        for (given, wanted) in table {
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_static(given))]);
            assert_eq!(key_of(&Method::POST, &headers).ok().map(|key| key.is_some()), wanted, "{given:?}");
            assert!(key_of(&Method::PATCH, &headers).unwrap().is_none());
        }
        let long = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::try_from("k".repeat(256)).unwrap())]);
        assert!(key_of(&Method::POST, &long).is_err());
    }

    #[tokio::test]
    async fn a_replay_has_the_status_body_and_place_of_the_first_answer() {
        let headers = HeaderMap::from_iter([
            (header::LOCATION, HeaderValue::from_static("/v1/x")),
            (header::ETAG, HeaderValue::from_static("\"3\"")),
        ]);
        let response = replay(201, pack(&headers, &Bytes::from_static(b"{\"line\":\n1}"))).unwrap();
        assert_eq!((response.status(), &response.headers()[header::LOCATION]), (StatusCode::CREATED, &HeaderValue::from_static("/v1/x")));
        assert_eq!(response.headers()[REPLAYED], "true");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{\"line\":\n1}");
        let empty = replay(204, pack(&HeaderMap::new(), &Bytes::new())).unwrap();
        assert!(empty.headers().get(header::CONTENT_TYPE).is_none() && empty.headers().get(header::ETAG).is_none());
    }

    #[test]
    fn the_digest_tells_query_from_body() {
        assert_ne!(digest("a", b"b"), digest("", b"ab"));
        assert_eq!(digest("", b"ab"), digest("", b"ab"));
    }
}
