//! Outbound webhooks: endpoints that are told of changes. A secret is shown once, when it is made.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{NewWebhook, Replay, Replayed, WebhookAttemptView, WebhookMade, WebhookPatch, WebhookView};
use throughline_schemas::WebhookId;

use crate::auth::{Admin, Authenticated};
use crate::describe::{DescribeOutput, Operation};
use crate::etag::{self, IfMatch};
use crate::extract::{Body, ById, OptionalBody, PageQuery, Path, Query};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, NoContent, Reply, Tagged, Versioned, json};
use crate::state::Api;

/// Where webhooks are made: the answer holds a secret.
pub(crate) const COLLECTION: &str = "/v1/webhooks";
/// Where a secret is replaced: so does this answer.
pub(crate) const ROTATE: &str = "/v1/webhooks/{id}/rotate";

pub(crate) fn routes(routes: Routes) -> Routes {
    let create = "Have an endpoint told of changes from now on, by Standard Webhooks: each is a CloudEvents 1.0 event in a signed POST, \
                  at least once. The answer is the only time that the secret is shown.";
    let rotate = "Replace the secret. Until `overlap_seconds` are over, messages bear the signatures of both.";
    let replay = "Send events again, under their ids: by name, or all of the webhook's types in a range of the change log.";
    routes
        .get(COLLECTION, "webhooks.list", "Webhooks, without their secrets", list)
        .post(COLLECTION, "webhooks.create", create, make)
        .get("/v1/webhooks/{id}", "webhooks.get", "A webhook", get)
        .patch("/v1/webhooks/{id}", "webhooks.update", "Change, stop or start a webhook", update)
        .delete("/v1/webhooks/{id}", "webhooks.delete", "End a webhook", delete)
        .post(ROTATE, "webhooks.rotate", rotate, rotate_secret)
        .post("/v1/webhooks/{id}/replay", "webhooks.replay", replay, send_again)
        .get(
            "/v1/webhooks/{id}/attempts",
            "webhooks.attempts",
            "What was tried, newest first; neither bodies nor answers are kept",
            attempts,
        )
}

type WebhookPath = Path<ById<WebhookId>>;

/// How a secret is to be replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// The new secret, `whsec_…`; made if absent.
    #[serde(default)]
    secret: Option<String>,
    /// How long the secret before goes on signing; a day if absent, 0 for not at all.
    #[serde(default = "a_day")]
    overlap_seconds: u64,
}

const fn a_day() -> u64 {
    24 * 3600
}

impl Default for Rotation {
    fn default() -> Self {
        Self { secret: None, overlap_seconds: a_day() }
    }
}

/// A webhook with the secret that is shown once.
struct Made {
    status: StatusCode,
    made: WebhookMade,
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.made);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::ETAG, etag::tag(self.made.version));
        if let (StatusCode::CREATED, Ok(place)) = (self.status, HeaderValue::try_from(format!("{COLLECTION}/{}", self.made.view.id))) {
            headers.insert(header::LOCATION, place);
        }
        response
    }
}

/// Answered with 201.
struct Created(WebhookMade);
/// Answered with 200.
struct Rotated(WebhookMade);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        Made { status: StatusCode::CREATED, made: self.0 }.into_response()
    }
}

impl IntoResponse for Rotated {
    fn into_response(self) -> Response {
        Made { status: StatusCode::OK, made: self.0 }.into_response()
    }
}

impl DescribeOutput for Created {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<WebhookMade>();
        operation.response(201, "Made; keep the secret now.", Some(("application/json", schema)));
    }
}

impl DescribeOutput for Rotated {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<WebhookMade>();
        operation.response(200, "Replaced; keep the new secret now.", Some(("application/json", schema)));
    }
}

async fn list(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Versioned<WebhookView>>>, Problem> {
    Ok(Reply(api.hub.webhooks(query.paging()?)?.into()))
}

async fn make(State(api): State<Api>, _: Authenticated<Admin>, Body(new): Body<NewWebhook>) -> Result<Created, Problem> {
    Ok(Created(api.hub.create_webhook(new).await?))
}

async fn get(State(api): State<Api>, _: Authenticated<Admin>, Path(path): WebhookPath) -> Result<Tagged<WebhookView>, Problem> {
    Ok(Tagged(api.hub.webhook(path.id)?))
}

async fn update(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): WebhookPath,
    seen: IfMatch,
    Body(patch): Body<WebhookPatch>,
) -> Result<Tagged<WebhookView>, Problem> {
    Ok(Tagged(api.hub.update_webhook(path.id, seen.version()?, patch).await?))
}

async fn delete(State(api): State<Api>, _: Authenticated<Admin>, Path(path): WebhookPath, seen: IfMatch) -> Result<NoContent, Problem> {
    api.hub.delete_webhook(path.id, seen.version()?).await?;
    Ok(NoContent)
}

async fn rotate_secret(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): WebhookPath,
    OptionalBody(rotation): OptionalBody<Rotation>,
) -> Result<Rotated, Problem> {
    Ok(Rotated(api.hub.rotate_webhook_secret(path.id, rotation.secret.as_deref(), rotation.overlap_seconds).await?))
}

async fn send_again(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): WebhookPath,
    Body(replay): Body<Replay>,
) -> Result<Reply<Replayed>, Problem> {
    Ok(Reply(api.hub.replay_webhook(path.id, replay).await?))
}

async fn attempts(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): WebhookPath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<WebhookAttemptView>>, Problem> {
    Ok(Reply(api.hub.webhook_attempts(path.id, query.paging()?)?.into()))
}
