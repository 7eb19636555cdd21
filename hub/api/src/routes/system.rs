//! Health, metrics and the API's own documentation.

use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use throughline_engine::Readiness;

use crate::auth::{Authenticated, Read};
use crate::describe::{DescribeOutput, Operation};
use crate::metrics::prometheus;
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::json;
use crate::state::Api;

/// The page at `/docs`: one file, nothing from elsewhere.
const DOCS_PAGE: &str = include_str!("../docs.html");

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/livez", "system.live", "The process runs", live)
        .get("/readyz", "system.ready", "The hub can serve; 503 with the reasons if not", ready)
        .get("/metrics", "system.metrics", "Counters and gauges in the Prometheus text format", metrics)
        .get("/openapi.json", "system.openapi", "This document", openapi)
        .get("/docs", "system.docs", "This document as a page to browse and try", docs)
}

/// Text of some media type.
struct Text {
    media_type: &'static str,
    body: Bytes,
}

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        response
    }
}

impl DescribeOutput for Text {
    fn describe(operation: &mut Operation<'_>) {
        operation.response(200, "As text.", Some(("text/plain", serde_json::json!({"type": "string"}))));
    }
}

/// 200 or 503.
struct Ready(Readiness);

impl IntoResponse for Ready {
    fn into_response(self) -> Response {
        json(if self.0.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &self.0)
    }
}

impl DescribeOutput for Ready {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<Readiness>();
        operation.response(200, "It can.", Some(("application/json", schema.clone())));
        operation.response(503, "It cannot.", Some(("application/json", schema)));
    }
}

/// The OpenAPI document.
struct Document(Bytes);

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        Text { media_type: "application/json", body: self.0 }.into_response()
    }
}

impl DescribeOutput for Document {
    fn describe(operation: &mut Operation<'_>) {
        operation.response(200, "An OpenAPI 3.1 document.", Some(("application/json", serde_json::json!({"type": "object"}))));
    }
}

/// The documentation page.
struct Page;

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        static POLICY: OnceLock<HeaderValue> = OnceLock::new();
        let mut response = Text { media_type: "text/html; charset=utf-8", body: Bytes::from_static(DOCS_PAGE.as_bytes()) }.into_response();
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY.get_or_init(policy).clone());
        response
    }
}

impl DescribeOutput for Page {
    fn describe(operation: &mut Operation<'_>) {
        operation.response(200, "A page.", Some(("text/html", serde_json::json!({"type": "string"}))));
    }
}

/// Only the page's own script and style run, known by their hashes, and it may talk to this hub only.
fn policy() -> HeaderValue {
    let hash = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let content = DOCS_PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map(|(content, _)| content);
        STANDARD.encode(Sha256::digest(content.expect("the page has one script and one style element")))
    };
    let (script, style) = (hash("script"), hash("style"));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is plain ASCII")
}

async fn live() -> Text {
    Text { media_type: "text/plain; charset=utf-8", body: Bytes::from_static(b"ok\n") }
}

async fn ready(State(api): State<Api>) -> Ready {
    Ready(api.hub.readiness())
}

async fn metrics(State(api): State<Api>, _: Authenticated<Read>) -> Result<Text, Problem> {
    let text = prometheus(api.hub.metrics(), &api.shared.metrics);
    Ok(Text { media_type: "text/plain; version=0.0.4; charset=utf-8", body: text.into() })
}

async fn openapi(State(api): State<Api>) -> Document {
    Document(api.shared.document.clone())
}

async fn docs() -> Page {
    Page
}
