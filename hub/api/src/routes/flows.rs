//! Flows: written as drafts, published as versions, run by triggers; runs shown step by step.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use throughline_engine::{DryRun, DryRunReport, FlowPatch, FlowVersionView, FlowView, NewFlow, RunFilter, RunState, RunView};
use throughline_schemas::{FlowId, RunId};

use crate::auth::{Admin, Authenticated, Write};
use crate::etag::IfMatch;
use crate::extract::{Body, ById, Nothing, OptionalBody, PageQuery, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Created, ListOf, NoContent, Reply, Tagged, Versioned};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let publish = "Make the draft a version that never changes and have it run. Connections that it calls are pinned to the version of their \
                   plugin. With `version`, an earlier one runs again. Runs under way go on as they began.";
    let dry_run = "What the flow would have done upon the newest changes. Nothing is written, sent or called. With `against`, where another \
                   version would have done something else.";
    routes
        .get("/v1/flows", "flows.list", "Flows", list)
        .post("/v1/flows", "flows.create", "Make a flow. It does nothing until it is published.", create)
        .get("/v1/flows/{id}", "flows.get", "A flow", get)
        .patch("/v1/flows/{id}", "flows.update", "Change a flow's draft, name, or whether it is enabled", update)
        .delete("/v1/flows/{id}", "flows.delete", "End a flow with its versions and runs", delete)
        .post("/v1/flows/{id}/publish", "flows.publish", publish, publish_flow)
        .get("/v1/flows/{id}/versions", "flows.versions", "The published versions, oldest first", versions)
        .post("/v1/flows/{id}/dry-run", "flows.dry_run", dry_run, dry_run_flow)
        .post("/v1/flows/{id}/trigger", "flows.trigger", "Start a flow whose trigger is `webhook`. The body is its `input`.", trigger)
        .get("/v1/flows/{id}/runs", "flows.runs", "A flow's runs, newest first", runs)
        .get("/v1/flows/{id}/runs/{run}", "flows.run", "A run, with what each step was given and gave", run)
        .post("/v1/flows/{id}/runs/{run}/retry", "flows.retry", "Have a failed run go on from the step that failed", retry)
}

type FlowPath = Path<ById<FlowId>>;

#[derive(Deserialize, JsonSchema)]
struct RunPath {
    id: FlowId,
    run: RunId,
}

/// Which version is to run.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// An earlier version, to go back to it; the draft if absent.
    #[serde(default)]
    version: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunsQuery {
    /// Only runs that are so.
    state: Option<RunState>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

async fn list(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Versioned<FlowView>>>, Problem> {
    Ok(Reply(api.hub.flows(query.paging()?)?.into()))
}

async fn create(State(api): State<Api>, _: Authenticated<Admin>, Body(new): Body<NewFlow>) -> Result<Created<FlowView>, Problem> {
    let stored = api.hub.create_flow(new).await?;
    Ok(Created { location: format!("/v1/flows/{}", stored.value.id), stored })
}

async fn get(State(api): State<Api>, _: Authenticated<Admin>, Path(path): FlowPath) -> Result<Tagged<FlowView>, Problem> {
    Ok(Tagged(api.hub.flow(path.id)?))
}

async fn update(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): FlowPath,
    seen: IfMatch,
    Body(patch): Body<FlowPatch>,
) -> Result<Tagged<FlowView>, Problem> {
    Ok(Tagged(api.hub.update_flow(path.id, seen.version()?, patch).await?))
}

async fn delete(State(api): State<Api>, _: Authenticated<Admin>, Path(path): FlowPath, seen: IfMatch) -> Result<NoContent, Problem> {
    api.hub.delete_flow(path.id, seen.version()?).await?;
    Ok(NoContent)
}

async fn publish_flow(
    State(api): State<Api>,
    who: Authenticated<Admin>,
    Path(path): FlowPath,
    OptionalBody(publication): OptionalBody<Publication>,
) -> Result<Tagged<FlowView>, Problem> {
    Ok(Tagged(api.hub.publish_flow(path.id, publication.version, &who.caller.name()).await?))
}

async fn versions(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): FlowPath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<FlowVersionView>>, Problem> {
    Ok(Reply(api.hub.flow_versions(path.id, query.paging()?)?.into()))
}

async fn dry_run_flow(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): FlowPath,
    OptionalBody(dry): OptionalBody<DryRun>,
) -> Result<Reply<DryRunReport>, Problem> {
    Ok(Reply(api.hub.dry_run_flow(path.id, &dry)?))
}

async fn trigger(
    State(api): State<Api>,
    _: Authenticated<Write>,
    Path(path): FlowPath,
    Body(input): Body<Value>,
) -> Result<Reply<RunView>, Problem> {
    Ok(Reply(api.hub.trigger_flow(path.id, input).await?))
}

async fn runs(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): FlowPath,
    Query(query): Query<RunsQuery>,
) -> Result<Reply<ListOf<RunView>>, Problem> {
    let filter = RunFilter { state: query.state };
    Ok(Reply(api.hub.runs(path.id, filter, paging(query.cursor, query.limit)?)?.into()))
}

async fn run(State(api): State<Api>, _: Authenticated<Admin>, Path(path): Path<RunPath>) -> Result<Reply<RunView>, Problem> {
    Ok(Reply(api.hub.run(path.id, path.run)?))
}

async fn retry(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<RunPath>,
    _: OptionalBody<Nothing>,
) -> Result<Reply<RunView>, Problem> {
    Ok(Reply(api.hub.retry_run(path.id, path.run).await?))
}
