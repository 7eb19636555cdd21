//! What those who run the hub look at: dead letters, decisions, conflicts, the audit trail.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{AuditEntry, ConflictChoice, ConflictItem, DeadLetter};
use throughline_schemas::{ConflictId, DeadLetterId, Decision, DecisionId};

use crate::auth::{Admin, Authenticated, Read, Write};
use crate::extract::{Body, ById, Nothing, OptionalBody, PageQuery, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Accepted, ListOf, NoContent, Reply};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/v1/dead-letters", "operations.dead_letters", "What could not be taken in or delivered, with the reason", dead_letters)
        .post("/v1/dead-letters/{id}/replay", "operations.replay", "Try a dead letter again", replay)
        .get("/v1/decisions", "operations.decisions", "Decisions about an enquiry, a profile or an interaction", decisions)
        .get("/v1/decisions/{id}", "operations.decision", "Why something was decided", decision)
        .get("/v1/conflicts", "operations.conflicts", "Fields changed on both sides that a person must settle", conflicts)
        .post("/v1/conflicts/{id}/resolve", "operations.resolve_conflict", "Settle a conflict", resolve_conflict)
        .get("/v1/audit", "operations.audit", "Who changed what through this API, newest first", audit)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DecisionsQuery {
    /// An `enq_…`, `pro_…` or `int_…` id.
    about: String,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

/// How a conflict is settled.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResolveRequest {
    /// `"theirs"`, `"ours"` or `{"value": …}`.
    choice: ConflictChoice,
}

async fn dead_letters(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<DeadLetter>>, Problem> {
    Ok(Reply(api.hub.dead_letters(query.paging()?)?.into()))
}

async fn replay(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<ById<DeadLetterId>>,
    _: OptionalBody<Nothing>,
) -> Result<Accepted, Problem> {
    api.hub.replay_dead_letter(path.id).await?;
    Ok(Accepted)
}

async fn decisions(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Query(query): Query<DecisionsQuery>,
) -> Result<Reply<ListOf<Decision>>, Problem> {
    Ok(Reply(api.hub.decisions(&query.about, paging(query.cursor, query.limit)?)?.into()))
}

async fn decision(State(api): State<Api>, _: Authenticated<Read>, Path(path): Path<ById<DecisionId>>) -> Result<Reply<Decision>, Problem> {
    Ok(Reply(api.hub.decision(path.id)?))
}

async fn conflicts(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<ConflictItem>>, Problem> {
    Ok(Reply(api.hub.conflicts(query.paging()?)?.into()))
}

async fn resolve_conflict(
    State(api): State<Api>,
    _: Authenticated<Write>,
    Path(path): Path<ById<ConflictId>>,
    Body(request): Body<ResolveRequest>,
) -> Result<NoContent, Problem> {
    api.hub.resolve_conflict(path.id, request.choice).await?;
    Ok(NoContent)
}

async fn audit(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<AuditEntry>>, Problem> {
    Ok(Reply(api.hub.audit(query.paging()?)?.into()))
}
