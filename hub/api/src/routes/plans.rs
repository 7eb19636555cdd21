//! Large runs, shown before they are done.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_schemas::plan::{Plan, PlanState, PlanStep};
use throughline_schemas::{ConnectionId, PlanId};

use crate::auth::{Admin, Authenticated, Read};
use crate::extract::{Body, ById, Nothing, OptionalBody, PageQuery, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, Reply};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/connections/{id}/backfill",
            "plans.backfill",
            "Read everything a silo holds of an entity into a plan. Nothing is taken in before the plan is approved.",
            backfill,
        )
        .get("/v1/plans", "plans.list", "Plans with their counts and samples, oldest first", list)
        .get("/v1/plans/{id}", "plans.get", "One plan", get)
        .get("/v1/plans/{id}/steps", "plans.steps", "Every step of a plan, with what became of it", steps)
        .post(
            "/v1/plans/{id}/approve",
            "plans.approve",
            "Have exactly this plan carried out. A step whose record has changed since is left out and counted.",
            approve,
        )
        .post("/v1/plans/{id}/cancel", "plans.cancel", "Do nothing more of this plan. What was done stays.", cancel)
}

/// What is to be read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackfillRequest {
    /// The entity.
    entity: String,
}

/// Which plan is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlanApproval {
    /// The plan's `hash`, as it was looked at.
    hash: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlansQuery {
    /// Only of this connection.
    connection: Option<ConnectionId>,
    /// Only these: `reading`, `waiting`, `applying`, `done`, `cancelled` or `failed`.
    state: Option<PlanState>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

type PlanPath = Path<ById<PlanId>>;

async fn backfill(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<ById<ConnectionId>>,
    Body(request): Body<BackfillRequest>,
) -> Result<Reply<Plan>, Problem> {
    Ok(Reply(api.hub.begin_backfill(path.id, &request.entity).await?))
}

async fn list(State(api): State<Api>, _: Authenticated<Read>, Query(query): Query<PlansQuery>) -> Result<Reply<ListOf<Plan>>, Problem> {
    Ok(Reply(api.hub.plans(query.connection, query.state, paging(query.cursor, query.limit)?)?.into()))
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): PlanPath) -> Result<Reply<Plan>, Problem> {
    Ok(Reply(api.hub.plan(path.id)?))
}

async fn steps(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): PlanPath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<PlanStep>>, Problem> {
    Ok(Reply(api.hub.plan_steps(path.id, query.paging()?)?.into()))
}

async fn approve(
    State(api): State<Api>,
    who: Authenticated<Admin>,
    Path(path): PlanPath,
    Body(approval): Body<PlanApproval>,
) -> Result<Reply<Plan>, Problem> {
    Ok(Reply(api.hub.approve_plan(path.id, &approval.hash, &who.name()).await?))
}

async fn cancel(
    State(api): State<Api>,
    who: Authenticated<Admin>,
    Path(path): PlanPath,
    _: OptionalBody<Nothing>,
) -> Result<Reply<Plan>, Problem> {
    Ok(Reply(api.hub.cancel_plan(path.id, &who.name()).await?))
}
