//! API keys. The hub keeps only hashes, so a key is shown once, when it is made.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_engine::{ApiKeyView, Scope};
use throughline_schemas::{ApiKeyId, Timestamp};

use crate::auth::{Admin, Authenticated};
use crate::describe::{DescribeOutput, Operation};
use crate::extract::{Body, ById, Path};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, NoContent, Reply, json};
use crate::state::Api;

/// Where keys are made; the one POST without idempotency keys, because its answer must not be stored.
pub(crate) const COLLECTION: &str = "/v1/api-keys";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get(COLLECTION, "api_keys.list", "API keys, without their secrets", list)
        .post(COLLECTION, "api_keys.create", "Make an API key. The answer is the only time that the key is shown.", create)
        .delete(
            "/v1/api-keys/{id}",
            "api_keys.revoke",
            "Revoke an API key. Final and without If-Match: nothing may stand in the way of this.",
            revoke,
        )
}

/// A key to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    /// For people.
    name: String,
    /// What it may do.
    #[schemars(length(min = 1))]
    scopes: Vec<Scope>,
    /// Refused from then on; never if absent.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// A new key with its secret.
#[derive(Serialize, JsonSchema)]
struct ApiKeyMade {
    #[serde(flatten)]
    view: ApiKeyView,
    /// The key itself, `tl_…`. It is not stored and cannot be shown again.
    key: String,
}

impl IntoResponse for ApiKeyMade {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::CREATED, &self);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl DescribeOutput for ApiKeyMade {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<Self>();
        operation.response(201, "Made; keep the key now.", Some(("application/json", schema)));
    }
}

async fn list(State(api): State<Api>, _: Authenticated<Admin>) -> Result<Reply<ListOf<ApiKeyView>>, Problem> {
    Ok(Reply(api.hub.api_keys()?.into()))
}

async fn create(State(api): State<Api>, _: Authenticated<Admin>, Body(new): Body<NewApiKey>) -> Result<ApiKeyMade, Problem> {
    let (view, key) = api.hub.create_api_key(&new.name, new.scopes, new.expires_at).await?;
    Ok(ApiKeyMade { view, key })
}

async fn revoke(State(api): State<Api>, _: Authenticated<Admin>, Path(path): Path<ById<ApiKeyId>>) -> Result<NoContent, Problem> {
    api.hub.revoke_api_key(path.id).await?;
    Ok(NoContent)
}
