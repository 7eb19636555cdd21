//! The one place where an error becomes a status: RFC 9457 problem documents with stable types.
//!
//! Everything a client can be told is in [`Code`]. What only an operator may know goes to the log with the request id, never into
//! the body. A [`Problem`] rides in the response's extensions until the shell, which knows the request id, writes it out.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_domain::connector::PluginError;
use throughline_engine::{FieldError, HubError};
use throughline_schemas::ProfileId;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use throughline_store::port::StoreError;

use crate::problem_codes::Code;

/// What every problem type begins with.
pub const TYPE_PREFIX: &str = "urn:throughline:problem:";

/// A problem on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    status: StatusCode,
    detail: String,
    errors: Vec<ProblemField>,
    class: Option<ErrorClass>,
    merged_into: Option<ProfileId>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    internal: Option<String>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ProblemField {
    /// JSON pointer into the request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// The path, query or header parameter at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// What is wrong and what would be right.
    pub(crate) detail: String,
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemDocument {
    /// Stable: `urn:throughline:problem:<code>`.
    pub(crate) r#type: String,
    /// The type in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// This occurrence in words.
    pub(crate) detail: String,
    /// What is wrong with which part of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<ProblemField>,
    /// What kind of failure a connector met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<ErrorClass>,
    /// The profile that goes on for the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) merged_into: Option<ProfileId>,
    /// The request's id, as in the log and in `x-request-id`.
    pub(crate) request_id: String,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            errors: Vec::new(),
            class: None,
            merged_into: None,
            headers: Vec::new(),
            internal: None,
        }
    }

    /// A fault of ours: the client learns that there was one, the log learns which.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let mut problem = Self::new(Code::Internal, "something went wrong on our side; the log has it under this request id");
        problem.internal = Some(cause.into());
        problem
    }

    /// A path, query or header parameter that cannot be used.
    pub(crate) fn parameter(code: Code, name: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(code, detail.clone());
        problem.errors.push(ProblemField { pointer: None, parameter: Some(name.into()), detail });
        problem
    }

    /// A place in the request body that cannot be used.
    pub(crate) fn pointer(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(code, detail.clone());
        problem.errors.push(ProblemField { pointer: Some(pointer.into()), parameter: None, detail });
        problem
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What is wrong with which part of the request.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> &[ProblemField] {
        &self.errors
    }

    /// What only the log may know.
    pub(crate) fn internal_cause(&self) -> Option<&str> {
        self.internal.as_deref()
    }

    pub(crate) fn merged_into(&self) -> Option<ProfileId> {
        self.merged_into
    }

    /// A merged profile where a redirect leads to the same thing at the survivor: 308 with its place.
    pub(crate) fn redirect(mut self, location: HeaderValue) -> Self {
        self.status = StatusCode::PERMANENT_REDIRECT;
        self.with_header(header::LOCATION, location)
    }

    /// The response, with the id of the request it answers.
    pub(crate) fn render(self, request_id: &str) -> Response {
        let document = ProblemDocument {
            r#type: format!("{TYPE_PREFIX}{}", self.code.slug()),
            title: self.code.title().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
            class: self.class,
            merged_into: self.merged_into,
            request_id: request_id.to_owned(),
        };
        let body = serde_json::to_vec(&document).expect("a problem document has no map keys but texts");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        match error {
            HubError::NotFound { kind, id } => Self::new(Code::NotFound, format!("there is no {kind} {id}")),
            HubError::Invalid { errors } => invalid(errors),
            HubError::Conflict { detail } => Self::new(Code::Conflict, detail),
            HubError::Fenced { detail } => Self::new(Code::Fenced, detail),
            HubError::Stale { actual } => {
                Self::new(Code::Stale, format!("it was changed meanwhile; its version is \"{actual}\" now: read it again"))
            }
            HubError::Merged { into } => merged(into),
            HubError::Busy => busy(),
            HubError::Full { detail } => Self::new(Code::Full, detail),
            HubError::TooLarge { detail } => Self::new(Code::TooLarge, detail),
            HubError::Connector(error) => connector(error),
            HubError::Plugin(error) => plugin(&error),
            HubError::Store(error) => store(&error),
            HubError::Internal(cause) => Self::internal(cause),
        }
    }
}

fn busy() -> Problem {
    Problem::new(Code::Busy, "the hub has too much to do at this moment; nothing was changed, try again").retry_after(1)
}

fn merged(into: ProfileId) -> Problem {
    let mut problem = Problem::new(Code::Merged, format!("this profile was merged into {into}"));
    problem.merged_into = Some(into);
    problem
}

fn invalid(errors: Vec<FieldError>) -> Problem {
    let detail = match errors.as_slice() {
        [] => "the request cannot be carried out as it is".to_owned(),
        [only] => format!("{}: {}", only.pointer, only.detail),
        [first, rest @ ..] => format!("{}: {} (and {} more)", first.pointer, first.detail, rest.len()),
    };
    let mut problem = Problem::new(Code::Invalid, detail);
    problem.errors =
        errors.into_iter().map(|error| ProblemField { pointer: Some(error.pointer), parameter: None, detail: error.detail }).collect();
    problem
}

/// A silo's failure, told apart by its class: what the caller can mend is 4xx, what the silo must mend is 502 or 503.
fn connector(error: ConnectorError) -> Problem {
    let code = match error.class {
        ErrorClass::Config | ErrorClass::InvalidRecord | ErrorClass::Unsupported => Code::ConnectorRejected,
        ErrorClass::Conflict | ErrorClass::Gone => Code::ConnectorConflict,
        ErrorClass::RateLimited | ErrorClass::Cancelled => Code::ConnectorBusy,
        ErrorClass::Auth | ErrorClass::Permission | ErrorClass::Transient | ErrorClass::Ambiguous | ErrorClass::Bug => {
            Code::ConnectorFailed
        }
    };
    let mut problem = Problem::new(code, error.message.clone());
    if let Some(field) = error.field {
        let field = if field.starts_with('/') { field } else { format!("/config/{field}") };
        problem.errors.push(ProblemField { pointer: Some(field), parameter: None, detail: error.message });
    }
    problem.class = Some(error.class);
    match (code, error.retry_after_ms) {
        (_, Some(millis)) => problem.retry_after(millis.div_ceil(1000)),
        (Code::ConnectorBusy, None) => problem.retry_after(1),
        _ => problem,
    }
}

fn plugin(error: &PluginError) -> Problem {
    match error {
        PluginError::NotInstalled { .. } => Problem::new(Code::NotFound, error.to_string()),
        PluginError::Grants(_) => Problem::pointer(Code::Invalid, "/grants", error.to_string()),
        PluginError::Internal(cause) => Problem::internal(cause.clone()),
        PluginError::NotAComponent(_)
        | PluginError::Manifest { .. }
        | PluginError::WitVersion { .. }
        | PluginError::Mismatch(_)
        | PluginError::Signature(_) => Problem::new(Code::PluginRefused, error.to_string()),
    }
}

fn store(error: &StoreError) -> Problem {
    match error {
        StoreError::Busy => busy(),
        StoreError::Unknown(cause) => {
            let detail = "this may or may not have been done; send it again with the same Idempotency-Key";
            let mut problem = Problem::new(Code::Busy, detail).retry_after(1);
            problem.internal = Some(cause.clone());
            problem
        }
        StoreError::Full { .. } => Problem::new(Code::Full, error.to_string()),
        StoreError::TooLarge { .. } => Problem::new(Code::TooLarge, error.to_string()),
        StoreError::Closed => Problem::new(Code::Unavailable, "the hub is shutting down").retry_after(5),
        // Damage, a second process, a newer format: only an operator can help, and reads of it in the log.
        other => Problem::internal(other.to_string()),
    }
}
