//! Versions as entity tags: what was read may be changed only if it is still what was read.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::describe::{DescribeInput, Operation};
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

/// The tag that the caller saw, without quotes. A request without one is refused with 428.
#[derive(Debug)]
pub(crate) struct IfMatch(pub(crate) String);

impl IfMatch {
    /// The version it stands for. A tag that is no version of ours cannot match.
    pub(crate) fn version(&self) -> Result<u64, Problem> {
        self.0.parse().map_err(|_| Problem::new(Code::Stale, format!("no version is called {:?}; read the resource again", self.0)))
    }
}

/// A version as an entity tag.
pub(crate) fn tag(version: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("versions and digests are plain ASCII")
}

fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Err(Problem::new(Code::PreconditionRequired, "send If-Match with the ETag that you read, so that nobody's change is lost"));
    };
    let tag =
        value.to_str().ok().map(str::trim).and_then(|text| text.strip_prefix('"')?.strip_suffix('"')).filter(|tag| !tag.contains('"'));
    tag.map(|tag| IfMatch(tag.to_owned())).ok_or_else(|| {
        Problem::parameter(Code::InvalidHeader, "If-Match", "give exactly one strong tag in quotes, as ETag had it: If-Match: \"12\"")
    })
}

/// Turns an answer that the caller already has into 304.
pub(crate) async fn not_modified(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = next.run(request).await;
    let tag = response.headers().get(header::ETAG);
    if reads && response.status() == StatusCode::OK && matches(known.as_ref(), tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

/// Weak comparison, as RFC 9110 wants it for reads.
fn matches(known: Option<&HeaderValue>, tag: Option<&HeaderValue>) -> bool {
    let (Some(Ok(known)), Some(Ok(tag))) = (known.map(HeaderValue::to_str), tag.map(HeaderValue::to_str)) else { return false };
    known.trim() == "*" || known.split(',').any(|candidate| candidate.trim().trim_start_matches("W/") == tag.trim_start_matches("W/"))
}

impl FromRequestParts<Api> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        if_match(&parts.headers)
    }
}

impl DescribeInput for IfMatch {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameter("header", "If-Match", true, "The ETag that you read.", serde_json::json!({"type": "string"}));
        for code in [Code::PreconditionRequired, Code::Stale, Code::InvalidHeader] {
            operation.problem(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_strong_tag_is_wanted() {
        let table: [(Option<&'static str>, Result<&str, u16>); 7] = [
            (None, Err(428)),
            (Some("\"12\""), Ok("12")),
            (Some("12"), Err(400)),
            (Some("W/\"12\""), Err(400)),
            (Some("*"), Err(400)),
            (Some("\"1\", \"2\""), Err(400)),
            (Some("\"sha256:ab\""), Ok("sha256:ab")),
        ];
        for (given, wanted) in table {
            let headers: HeaderMap = given.map(|text| (header::IF_MATCH, HeaderValue::from_static(text))).into_iter().collect();
            let found = if_match(&headers).map(|tag| tag.0).map_err(|problem| problem.status().as_u16());
            assert_eq!(found.as_deref().map_err(|status| *status), wanted, "{given:?}");
        }
        assert_eq!(IfMatch("sha256:ab".into()).version().unwrap_err().status(), StatusCode::PRECONDITION_FAILED);
    }

    #[test]
    fn a_known_tag_is_found_in_lists_and_weak_forms() {
        let table = [("\"1\"", true), ("\"2\"", false), ("\"0\", \"1\"", true), ("W/\"1\"", true), ("*", true), ("1", false)];
        for (known, wanted) in table {
            assert_eq!(matches(Some(&HeaderValue::from_static(known)), Some(&tag(1))), wanted, "{known}");
        }
        assert!(!matches(None, Some(&tag(1))) && !matches(Some(&tag(1)), None));
    }
}
