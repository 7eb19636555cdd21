//! What handlers answer: one type for each shape, so that status, headers and description come together.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_engine::{PageOf, Stored};

use crate::describe::{DescribeOutput, Operation};
use crate::etag;
use crate::problem::Problem;

/// 200 with JSON.
pub(crate) struct Reply<T>(pub(crate) T);

/// 200 with JSON and its version.
pub(crate) struct Tagged<T>(pub(crate) Stored<T>);

/// 201 with JSON, its place and its version.
pub(crate) struct Created<T> {
    pub(crate) location: String,
    pub(crate) stored: Stored<T>,
}

/// 202: it will be done.
pub(crate) struct Accepted;

/// 204: it was done.
pub(crate) struct NoContent;

/// A value with its version, for `If-Match`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Stored{T}")]
pub(crate) struct Versioned<T> {
    #[serde(flatten)]
    pub(crate) value: T,
    /// Its version: what ETag says and If-Match wants.
    pub(crate) version: u64,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(crate) struct ListOf<T> {
    /// The things.
    pub(crate) items: Vec<T>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub(crate) next: Option<String>,
}

impl<T> From<Stored<T>> for Versioned<T> {
    fn from(stored: Stored<T>) -> Self {
        Self { value: stored.value, version: stored.version }
    }
}

impl<T> From<Vec<T>> for ListOf<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

impl<T> From<PageOf<T>> for ListOf<T> {
    fn from(page: PageOf<T>) -> Self {
        Self { items: page.items, next: page.next }
    }
}

impl<T> From<PageOf<Stored<T>>> for ListOf<Versioned<T>> {
    fn from(page: PageOf<Stored<T>>) -> Self {
        Self { items: page.items.into_iter().map(Versioned::from).collect(), next: page.next }
    }
}

/// JSON of something of ours, with a status.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => Problem::internal(format!("cannot write an answer as JSON: {error}")).into_response(),
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = etag::tag(self.0.version);
        let mut response = json(StatusCode::OK, &Versioned::from(self.0));
        response.headers_mut().insert(header::ETAG, tag);
        response
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let tag = etag::tag(self.stored.version);
        let location = HeaderValue::try_from(self.location);
        let mut response = json(StatusCode::CREATED, &Versioned::from(self.stored));
        response.headers_mut().insert(header::ETAG, tag);
        if let Ok(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

fn describe_headers(response: &mut serde_json::Value, names: &[(&str, &str)]) {
    for (name, description) in names {
        response["headers"][name] = serde_json::json!({"description": description, "schema": {"type": "string"}});
    }
}

impl<T: JsonSchema> DescribeOutput for Reply<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<T>();
        operation.response(200, "Done.", Some(("application/json", schema)));
    }
}

impl<T: JsonSchema> DescribeOutput for Tagged<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<Versioned<T>>();
        let response = operation.response(200, "As it is now.", Some(("application/json", schema)));
        describe_headers(response, &[("ETag", "Its version, for If-Match and If-None-Match.")]);
    }
}

impl<T: JsonSchema> DescribeOutput for Created<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<Versioned<T>>();
        let response = operation.response(201, "Made.", Some(("application/json", schema)));
        describe_headers(response, &[("ETag", "Its version."), ("Location", "Where it is.")]);
    }
}

impl DescribeOutput for Accepted {
    fn describe(operation: &mut Operation<'_>) {
        operation.response(202, "Accepted; it will be done.", None);
    }
}

impl DescribeOutput for NoContent {
    fn describe(operation: &mut Operation<'_>) {
        operation.response(204, "Done; nothing to show.", None);
    }
}
