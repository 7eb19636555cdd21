//! Where silos post to. Handed raw to the plugin, which alone can tell whether the sender is who it says.

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{HttpRequest, HttpResponse};
use tokio::time::Instant;

use crate::describe::{DescribeInput, DescribeOutput, Operation};
use crate::extract::read_body;
use crate::limit::Spender;
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let about = "What a silo posts. Any method, any body; the plugin verifies it and its answer is what the silo gets.";
    routes.any("/hooks/{connection}", "hooks.receive", about, receive).any(
        "/hooks/{connection}/{*rest}",
        "hooks.receive_below",
        about,
        receive,
    )
}

/// A request to a hook, as the plugin is to see it.
struct HookRequest {
    connection: ConnectionId,
    request: HttpRequest,
}

impl FromRequest<Api> for HookRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let path = request.uri().path();
        let tail = path.strip_prefix("/hooks/").unwrap_or_default();
        let (id, below) = tail.find('/').map_or((tail, "/"), |slash| tail.split_at(slash));
        let connection: ConnectionId = id.parse().map_err(|error| Problem::parameter(Code::InvalidId, "connection", format!("{error}")))?;
        if let Some(problem) = api.shared.limits.spend(Spender::Hook(connection), Instant::now()).refusal() {
            return Err(problem);
        }
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{below}{query}");
        let method = request.method().as_str().to_owned();
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers = headers.collect();
        let body = read_body(request, api.options().max_body_bytes).await?;
        let body = (!body.is_empty()).then(|| body.to_vec());
        Ok(Self { connection, request: HttpRequest { method, url, headers, body } })
    }
}

impl DescribeInput for HookRequest {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<ConnectionId>();
        operation.parameter("path", "connection", true, "The connection.", schema);
        if operation.fields.get("operationId").is_some_and(|id| id == "hooks.receive_below") {
            operation.parameter("path", "rest", true, "Whatever the silo appends.", serde_json::json!({"type": "string"}));
        }
        operation.request_body("*/*", false, serde_json::json!({}));
        for code in [Code::InvalidId, Code::NotFound, Code::TooLarge, Code::RateLimited] {
            operation.problem(code);
        }
    }
}

/// What the plugin answers, made harmless for a browser that shares our origin.
struct HookResponse(HttpResponse);

impl IntoResponse for HookResponse {
    fn into_response(self) -> Response {
        let Ok(status) = StatusCode::from_u16(self.0.status) else {
            return Problem::new(Code::ConnectorFailed, "the plugin answered with no HTTP status").into_response();
        };
        let mut response = Response::new(Body::from(self.0.body));
        *response.status_mut() = status;
        *response.headers_mut() = harmless(&self.0.headers);
        response
    }
}

/// Hop-by-hop headers are the server's own; cookies and scripts of a plugin must not reach the hub's origin.
fn harmless(given: &[(String, String)]) -> HeaderMap {
    let withheld = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::UPGRADE,
        header::TRAILER,
        header::SET_COOKIE,
        HeaderName::from_static("keep-alive"),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !withheld.contains(&name)
        {
            headers.append(name, value);
        }
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers
}

impl DescribeOutput for HookResponse {
    fn describe(operation: &mut Operation<'_>) {
        operation.response(200, "Whatever the plugin answers, with its status.", Some(("*/*", serde_json::json!({}))));
    }
}

async fn receive(State(api): State<Api>, hook: HookRequest) -> Result<HookResponse, Problem> {
    Ok(HookResponse(api.hub.inbound_hook(hook.connection, hook.request).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_answer_cannot_set_cookies_or_break_the_framing() {
        let given = [
            ("Content-Type", "text/html"),
            ("Set-Cookie", "a=b"),
            ("transfer-encoding", "chunked"),
            ("bad name", "x"),
            ("X-Ok", "a\nb"),
            ("X-Two", "1"),
        ];
        let given: Vec<(String, String)> = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let names: Vec<String> = harmless(&given).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["content-type", "x-two", "content-security-policy"]);
        let broken = HookResponse(HttpResponse { status: 42, headers: vec![], body: vec![] }).into_response();
        assert_eq!(broken.status(), StatusCode::BAD_GATEWAY);
    }
}
