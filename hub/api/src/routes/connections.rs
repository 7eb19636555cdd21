//! Connections: configuration, state, and what runs on them.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use throughline_engine::{ConnectionPatch, ConnectionView, CursorView, HealthView, NewConnection};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::CheckReport;
use throughline_schemas::sync::Link;

use crate::auth::{Admin, Agent, Authenticated};
use crate::etag::IfMatch;
use crate::extract::{Body, ById, Nothing, OptionalBody, PageQuery, Path, Query};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Accepted, Created, ListOf, NoContent, Reply, Tagged, Versioned};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .get("/v1/connections", "connections.list", "Connections, by id", list)
        .post(
            "/v1/connections",
            "connections.create",
            "Make a connection. It starts at once unless `paused`. Secrets are written, never shown.",
            create,
        )
        .get("/v1/connections/{id}", "connections.get", "One connection", get)
        .patch(
            "/v1/connections/{id}",
            "connections.update",
            "Change a connection. Fields that are absent stay; it is restarted with the new config.",
            update,
        )
        .delete("/v1/connections/{id}", "connections.delete", "Stop and forget a connection. What came through it stays.", delete);
    let routes = routes
        .post("/v1/connections/{id}/check", "connections.check", "Try config and credentials at the silo", check)
        .post("/v1/connections/{id}/pause", "connections.pause", "Stop a connection until it is resumed", pause)
        .post("/v1/connections/{id}/resume", "connections.resume", "Start a connection again", resume)
        .post("/v1/connections/{id}/sync", "connections.sync", "Poll every entity now", sync);
    routes
        .get("/v1/connections/{id}/health", "connections.health", "How a connection is", health)
        .get("/v1/connections/{id}/cursors", "connections.cursors", "How far reading has come", cursors)
        .get("/v1/connections/{id}/links", "connections.links", "Which records are kept the same, with their shadows", links)
        .get("/v1/connections/{id}/options/{field}", "connections.options", "Choices for a config field, asked of the silo", options)
        .post(
            "/v1/connections/{id}/actions/{action}",
            "connections.act",
            "Carry out an action of the plugin. The body is the action's input. With an `Idempotency-Key` it is done at most once.",
            act,
        )
}

type ConnectionPath = Path<ById<ConnectionId>>;

#[derive(Deserialize, JsonSchema)]
struct OptionsPath {
    id: ConnectionId,
    /// The config field.
    field: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OptionsQuery {
    /// What was typed so far.
    #[serde(default)]
    query: String,
}

#[derive(Deserialize, JsonSchema)]
struct ActionPath {
    id: ConnectionId,
    /// The action, as the plugin's manifest names it.
    action: String,
}

async fn list(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Versioned<ConnectionView>>>, Problem> {
    Ok(Reply(api.hub.connections(query.paging()?)?.into()))
}

async fn create(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Body(new): Body<NewConnection>,
) -> Result<Created<ConnectionView>, Problem> {
    let stored = api.hub.create_connection(new).await?;
    Ok(Created { location: format!("/v1/connections/{}", stored.value.id), stored })
}

async fn get(State(api): State<Api>, _: Authenticated<Admin>, Path(path): ConnectionPath) -> Result<Tagged<ConnectionView>, Problem> {
    Ok(Tagged(api.hub.connection(path.id)?))
}

async fn update(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    seen: IfMatch,
    Body(patch): Body<ConnectionPatch>,
) -> Result<Tagged<ConnectionView>, Problem> {
    Ok(Tagged(api.hub.update_connection(path.id, seen.version()?, patch).await?))
}

async fn delete(State(api): State<Api>, _: Authenticated<Admin>, Path(path): ConnectionPath, seen: IfMatch) -> Result<NoContent, Problem> {
    api.hub.delete_connection(path.id, seen.version()?).await?;
    Ok(NoContent)
}

async fn check(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    _: OptionalBody<Nothing>,
) -> Result<Reply<CheckReport>, Problem> {
    Ok(Reply(api.hub.check_connection(path.id).await?))
}

async fn pause(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    _: OptionalBody<Nothing>,
) -> Result<Tagged<ConnectionView>, Problem> {
    Ok(Tagged(api.hub.pause_connection(path.id).await?))
}

async fn resume(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    _: OptionalBody<Nothing>,
) -> Result<Tagged<ConnectionView>, Problem> {
    Ok(Tagged(api.hub.resume_connection(path.id).await?))
}

async fn sync(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    _: OptionalBody<Nothing>,
) -> Result<Accepted, Problem> {
    api.hub.sync_connection(path.id).await?;
    Ok(Accepted)
}

async fn health(State(api): State<Api>, _: Authenticated<Admin>, Path(path): ConnectionPath) -> Result<Reply<HealthView>, Problem> {
    Ok(Reply(api.hub.connection_health(path.id).await?))
}

async fn cursors(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
) -> Result<Reply<ListOf<CursorView>>, Problem> {
    Ok(Reply(api.hub.connection_cursors(path.id)?.into()))
}

async fn links(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): ConnectionPath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Link>>, Problem> {
    Ok(Reply(api.hub.connection_links(path.id, query.paging()?)?.into()))
}

async fn options(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<OptionsPath>,
    Query(query): Query<OptionsQuery>,
) -> Result<Reply<Value>, Problem> {
    Ok(Reply(api.hub.connection_options(path.id, &path.field, &query.query).await?))
}

async fn act(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    key: crate::idempotency::OperationKey,
    Path(path): Path<ActionPath>,
    Body(input): Body<Value>,
) -> Result<Reply<Value>, Problem> {
    Ok(Reply(api.hub.connection_act(path.id, &path.action, &input, &key.0).await?))
}
