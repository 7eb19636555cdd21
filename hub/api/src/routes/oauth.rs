//! OAuth 2.0: an admin sends a browser to the silo, and it comes back here with a code.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_engine::HubError;
use throughline_engine::commands::NewAuditEntry;
use throughline_schemas::ConnectionId;

use crate::auth::{Admin, Authenticated};
use crate::describe::{DescribeOutput, Operation};
use crate::extract::{ById, Nothing, OptionalBody, Path, Query};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::reply::Reply;
use crate::state::Api;

const CALLBACK: &str = "/oauth/callback";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/connections/{id}/oauth",
            "connections.oauth",
            "Begin to connect by OAuth 2.0. Open `authorize_url` in a browser within ten minutes; the user consents there and comes \
             back to `/oauth/callback`, and the connection has its tokens. The silo must know that address: it is the hub's public URL \
             with `/oauth/callback`.",
            begin,
        )
        .get(
            CALLBACK,
            "oauth.callback",
            "Where a user's browser comes back to. Answers with a page for the user, whatever happens; needs no API key, but the \
             `state` that the hub signed.",
            callback,
        )
}

/// Where to go on.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OauthBegun {
    /// Open this in a browser.
    authorize_url: String,
    /// What the silo must know as redirect URI.
    redirect_uri: String,
}

// Silos append parameters of their own, so that unknown ones are taken here.
#[derive(Deserialize, JsonSchema)]
struct CallbackQuery {
    /// What the hub sent along.
    state: Option<String>,
    /// What the silo gave.
    code: Option<String>,
    /// Why the silo gave none.
    error: Option<String>,
}

fn redirect_uri(api: &Api) -> Result<String, Problem> {
    let public_url = api.options().public_url.as_deref().ok_or_else(|| {
        let remedy = "the hub does not know where browsers reach it: start it with --public-url https://… (or public_url in its file)";
        Problem::new(Code::Conflict, remedy)
    })?;
    Ok(format!("{}{CALLBACK}", public_url.trim_end_matches('/')))
}

async fn begin(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<ById<ConnectionId>>,
    _: OptionalBody<Nothing>,
) -> Result<Reply<OauthBegun>, Problem> {
    let redirect_uri = redirect_uri(&api)?;
    Ok(Reply(OauthBegun { authorize_url: api.hub.oauth_begin(path.id, &redirect_uri)?, redirect_uri }))
}

async fn callback(State(api): State<Api>, Query(query): Query<CallbackQuery>) -> Page {
    match finish(&api, query).await {
        Ok(name) => Page { status: StatusCode::OK, title: "Connected", text: format!("{name} is connected. You can close this page.") },
        Err(problem) => problem,
    }
}

/// Ends the dance; the connection's name, or what to tell the user.
async fn finish(api: &Api, query: CallbackQuery) -> Result<String, Page> {
    let redirect_uri = redirect_uri(api).map_err(|_| Page::failed(StatusCode::CONFLICT, "The hub has no public URL."))?;
    let (Some(state), Some(code)) = (query.state, query.code) else {
        let said = query.error.unwrap_or_else(|| "it sent no code".to_owned());
        return Err(Page::failed(StatusCode::BAD_REQUEST, format!("The other system did not agree: {said}")));
    };
    let id = api.hub.oauth_finish(&state, &code, &redirect_uri).await.map_err(failed)?;
    let entry = NewAuditEntry {
        actor: "oauth".to_owned(),
        action: "oauth.callback".to_owned(),
        target: format!("/v1/connections/{id}"),
        detail: serde_json::Value::Null,
    };
    if let Err(error) = api.hub.record_audit(entry).await {
        tracing::error!(%error, "cannot write the audit entry of something that was done");
    }
    Ok(api.hub.connection(id).map_or_else(|_| id.to_string(), |stored| stored.value.name))
}

fn failed(error: HubError) -> Page {
    let text = match &error {
        HubError::Invalid { errors } => errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join(" "),
        HubError::Connector(error) => error.message.clone(),
        HubError::Conflict { detail } => detail.clone(),
        HubError::NotFound { .. } => "The connection does not exist any more.".to_owned(),
        HubError::Busy => "The hub is busy; try again.".to_owned(),
        other => {
            tracing::error!(error = %other, "a consent could not be taken");
            "Something went wrong on our side; the hub's log says what.".to_owned()
        }
    };
    let status = match &error {
        HubError::Invalid { .. } => StatusCode::BAD_REQUEST,
        error => Problem::from(error.clone()).code().status(),
    };
    Page::failed(status, text)
}

/// A small page for a person: text, no script, nothing from elsewhere.
struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
}

impl Page {
    fn failed(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, title: "Not connected", text: text.into() }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let (title, text) = (self.title, escaped(&self.text));
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
        );
        let mut response = Response::new(Body::from(html));
        *response.status_mut() = self.status;
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
            // The address holds the code.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

impl DescribeOutput for Page {
    fn describe(operation: &mut Operation<'_>) {
        let html = || Some(("text/html", serde_json::json!({"type": "string"})));
        operation.response(200, "A page: connected.", html());
        operation.response(400, "A page: not connected, and why.", html());
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
