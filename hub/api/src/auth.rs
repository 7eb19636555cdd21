//! Who calls, and what the key allows. A handler asks for [`Authenticated`] with the scope it needs, so that it cannot forget it.
//!
//! This module compares nothing itself: the engine keeps only hashes and does the same work for a key that it does not know.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use throughline_engine::{ApiKeyView, Scope};
use tokio::time::Instant;

use crate::describe::{DescribeInput, Operation};
use crate::limit::Spender;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

/// What the request presented.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// No `Authorization` header, or one that is no bearer key.
    Missing,
    /// A key that does not exist, was revoked or has expired.
    Unknown,
    /// A good key.
    Known(Arc<Caller>),
}

/// A good key and its text, kept so that long answers can see whether it still holds.
pub(crate) struct Caller {
    pub(crate) key: ApiKeyView,
    presented: String,
}

impl Caller {
    /// Whether the key is still good.
    pub(crate) fn still_holds(&self, api: &Api) -> bool {
        matches!(api.hub.authenticate(&self.presented), Ok(Some(_)))
    }

    /// How decisions and the audit trail name who did it.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.key.name, self.key.id)
    }
}

/// A need: any one of these scopes will do; the first is the one a refusal names.
pub(crate) trait Need: Send + Sync + 'static {
    const ANY_OF: &'static [Scope];
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident = [$($scope:ident),*];)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Need for $name { const ANY_OF: &'static [Scope] = &[$(Scope::$scope),*]; }
    )*};
}

needs! {
    /// See everything about customers. Whoever works for them (agent, write) has to see it.
    Read = [Read, Agent, Write];
    /// Ask who calls.
    Lookup = [Lookup, Read, Agent, Write];
    /// Serve customers: send, assign, resolve.
    Agent = [Agent, Write];
    /// Change customers' data.
    Write = [Write];
    /// Run the hub: plugins, connections, keys, audit.
    Admin = [Admin];
}

/// Proof that the caller's key has the scope.
pub(crate) struct Authenticated<N> {
    pub(crate) caller: Arc<Caller>,
    need: PhantomData<N>,
}

impl<N> Authenticated<N> {
    /// How decisions name who did it.
    pub(crate) fn name(&self) -> String {
        self.caller.name()
    }
}

/// Finds out who calls and counts the request against that key's limit.
pub(crate) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let credentials = match present(&api, request.headers()) {
        Ok(credentials) => credentials,
        Err(problem) => return problem.into_response(),
    };
    let allowance = match &credentials {
        Credentials::Known(caller) => Some(api.shared.limits.spend(Spender::Key(caller.key.id), Instant::now())),
        Credentials::Missing | Credentials::Unknown => None,
    };
    request.extensions_mut().insert(credentials);
    let mut response = match allowance.and_then(crate::limit::Allowance::refusal) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut());
    }
    response
}

fn present(api: &Api, headers: &HeaderMap) -> Result<Credentials, Problem> {
    let Some(presented) = bearer(headers) else { return Ok(Credentials::Missing) };
    match api.hub.authenticate(presented)? {
        Some(key) => Ok(Credentials::Known(Arc::new(Caller { key, presented: presented.to_owned() }))),
        None => Ok(Credentials::Unknown),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()).filter(|key| !key.is_empty())
}

fn allows(key: &ApiKeyView, any_of: &[Scope]) -> bool {
    key.scopes.contains(&Scope::Admin) || any_of.iter().any(|scope| key.scopes.contains(scope))
}

/// As in JSON.
pub(crate) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Write => "write",
        Scope::Agent => "agent",
        Scope::Lookup => "lookup",
        Scope::Admin => "admin",
    }
}

fn unauthorized(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(Code::Unauthorized, detail).with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn forbidden(needed: Scope) -> Problem {
    let name = scope_name(needed);
    let challenge = format!("Bearer realm=\"throughline\", error=\"insufficient_scope\", scope=\"{name}\"");
    let challenge = HeaderValue::try_from(challenge).expect("a scope's name is plain ASCII");
    Problem::new(Code::Forbidden, format!("this API key lacks the scope {name:?}")).with_header(header::WWW_AUTHENTICATE, challenge)
}

impl<N: Need> FromRequestParts<Api> for Authenticated<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        match parts.extensions.get::<Credentials>() {
            Some(Credentials::Known(caller)) if allows(&caller.key, N::ANY_OF) => Ok(Self { caller: caller.clone(), need: PhantomData }),
            Some(Credentials::Known(_)) => Err(forbidden(N::ANY_OF[0])),
            Some(Credentials::Unknown) => {
                let challenge = "Bearer realm=\"throughline\", error=\"invalid_token\"";
                Err(unauthorized("this API key is not known, was revoked or has expired", challenge))
            }
            Some(Credentials::Missing) | None => {
                Err(unauthorized("send an API key: Authorization: Bearer tl_…", "Bearer realm=\"throughline\""))
            }
        }
    }
}

impl<N: Need> DescribeInput for Authenticated<N> {
    fn describe(operation: &mut Operation<'_>) {
        let names: Vec<&str> = N::ANY_OF.iter().copied().chain([Scope::Admin]).map(scope_name).collect();
        let mut unique: Vec<&str> = Vec::new();
        names.iter().for_each(|name| {
            if !unique.contains(name) {
                unique.push(name)
            }
        });
        operation.fields.insert("security".to_owned(), serde_json::json!([{"apiKey": []}]));
        operation.fields.insert("x-scopes".to_owned(), serde_json::json!(unique));
        for code in [Code::Unauthorized, Code::Forbidden, Code::RateLimited] {
            operation.problem(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_key_is_taken() {
        let table = [
            ("Bearer tl_x", Some("tl_x")),
            ("bearer  tl_x ", Some("tl_x")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic dGw6eA==", None),
            ("tl_x", None),
        ];
        for (given, wanted) in table {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(given))]);
            assert_eq!(bearer(&headers), wanted, "{given:?}");
        }
    }
}
