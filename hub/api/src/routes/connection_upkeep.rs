//! Looking after a connection: reading anew, its webhook at the silo, a version of its plugin that waits for approval.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use throughline_engine::{ConnectionView, HookView};
use throughline_schemas::ConnectionId;

use crate::auth::{Admin, Authenticated};
use crate::etag::IfMatch;
use crate::extract::{ById, Nothing, OptionalBody, Path};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Accepted, NoContent, Reply, Tagged};
use crate::state::Api;

const WEBHOOK: &str = "/v1/connections/{id}/webhook";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/connections/{id}/cursors/{entity}/reset",
            "connections.reset_cursor",
            "Read an entity anew from the beginning (`listen`: listen anew). What is known already does not come twice.",
            reset_cursor,
        )
        .get(WEBHOOK, "connections.list_webhooks", "What the silo says is registered there, as the plugin lists it", list_webhooks)
        .post(
            WEBHOOK,
            "connections.ensure_webhook",
            "Register the hub's address at the silo now. The hub does so by itself when the connection starts.",
            ensure_webhook,
        )
        .delete(
            WEBHOOK,
            "connections.remove_webhook",
            "Have the silo forget the hub's address until the connection starts anew",
            remove_webhook,
        )
        .post(
            "/v1/connections/{id}/update/approve",
            "connections.approve_update",
            "Move to the version in `pending_update`, granting these of the hosts that it newly asks for; all of them without `hosts`.",
            approve_update,
        )
}

type ConnectionPath = Path<ById<ConnectionId>>;

#[derive(Deserialize, JsonSchema)]
struct CursorPath {
    id: ConnectionId,
    /// The entity, or `listen`.
    entity: String,
}

/// What an update is to be given.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UpdateApproval")]
struct Approval {
    /// Of `pending_update.hosts`, those that are granted; all of them if absent.
    #[serde(default)]
    hosts: Option<Vec<String>>,
}

async fn reset_cursor(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<CursorPath>,
    _: OptionalBody<Nothing>,
) -> Result<Accepted, Problem> {
    api.hub.reset_cursor(path.id, &path.entity).await?;
    Ok(Accepted)
}

async fn list_webhooks(State(api): State<Api>, _: Authenticated<Admin>, Path(path): ConnectionPath) -> Result<Reply<Value>, Problem> {
    Ok(Reply(api.hub.list_hooks(path.id).await?))
}

async fn ensure_webhook(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    _: OptionalBody<Nothing>,
) -> Result<Reply<HookView>, Problem> {
    Ok(Reply(api.hub.ensure_hook(path.id).await?))
}

async fn remove_webhook(State(api): State<Api>, _: Authenticated<Admin>, Path(path): ConnectionPath) -> Result<NoContent, Problem> {
    api.hub.remove_hook(path.id).await?;
    Ok(NoContent)
}

async fn approve_update(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    seen: IfMatch,
    OptionalBody(approval): OptionalBody<Approval>,
) -> Result<Tagged<ConnectionView>, Problem> {
    Ok(Tagged(api.hub.approve_update(path.id, seen.version()?, approval.hosts).await?))
}
