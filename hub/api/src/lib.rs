//! Speaks HTTP: routes, authentication, OpenAPI, server-sent events.
//!
//! It holds no rules. A handler checks the form of a request, calls one method of the [`Hub`], and gives the result a status. The
//! only crate that knows status codes: [`problem`](crate::problem) maps every error in one place.
//!
//! Layers, from the outside in: shell (id, span, deadline, panics, problems) · 304 · authentication and rate limit · idempotency ·
//! audit · the handler.

mod auth;
mod describe;
mod etag;
mod extract;
mod idempotency;
mod json_schemas;
mod limit;
mod metrics;
mod openapi;
mod problem;
mod problem_codes;
mod reply;
mod routes;
mod shell;
mod state;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use serde_json::Value;
use throughline_engine::Hub;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use json_schemas::json_schemas;
pub use limit::RateLimit;
pub use problem::TYPE_PREFIX;

use crate::state::{Api, Shared};

/// How the API is to behave.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Largest plugin component.
    pub max_component_bytes: usize,
    /// How often an idle event stream says that it lives, and checks that its key still holds.
    pub keepalive: Duration,
    /// Where the hub is reached from outside; the `source` of its events.
    pub public_url: Option<String>,
    /// Requests allowed for each API key and each connection's hook.
    pub rate: RateLimit,
    /// How long a request may take.
    pub timeout: Duration,
    /// How long a request may take that waits for a silo or installs a plugin.
    pub slow_timeout: Duration,
    /// Cancelled when the server is to stop: event streams end then, as they do when the hub itself is shut down.
    pub shutdown: CancellationToken,
    /// Work that goes on when its client has gone away; wait for it at shutdown, after closing it.
    pub tasks: TaskTracker,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 << 20,
            max_component_bytes: 64 << 20,
            keepalive: Duration::from_secs(15),
            public_url: None,
            rate: RateLimit::default(),
            timeout: Duration::from_secs(30),
            slow_timeout: Duration::from_secs(180),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }
}

/// The whole HTTP side of a hub.
pub fn router(hub: Hub, options: ApiOptions) -> Router {
    let (routes, operations, document) = routes::all().finish();
    let document = serde_json::to_vec(&document).expect("the document is a JSON value").into();
    let limits = limit::Limits::new(options.rate);
    let shared = Shared { options, limits, metrics: metrics::HttpMetrics::default(), document, operations };
    let api = Api { hub, shared: Arc::new(shared) };
    routes
        .fallback(shell::no_such_route)
        .method_not_allowed_fallback(shell::method_not_allowed)
        .layer(from_fn_with_state(api.clone(), shell::audit))
        .layer(from_fn_with_state(api.clone(), idempotency::idempotency))
        .layer(from_fn_with_state(api.clone(), auth::authenticate))
        .layer(from_fn(etag::not_modified))
        .layer(from_fn_with_state(api.clone(), shell::shell))
        .with_state(api)
}

/// The OpenAPI 3.1 document of every route.
#[must_use]
pub fn openapi() -> Value {
    routes::all().finish().2
}
