//! Enquiries: what customers want, over all channels.

use std::collections::BTreeMap;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{EnquiryFilter, EnquiryPatch, NewEnquiry, NewToken, NewVariable, TokenView};
use throughline_schemas::{ContextVariable, Enquiry, EnquiryId, EnquiryStatus, Interaction, ProfileId};

use crate::auth::{Agent, Authenticated, Read};
use crate::etag::IfMatch;
use crate::extract::{Body, ById, Nothing, OptionalBody, PageQuery, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Created, ListOf, Reply, Tagged, Versioned};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .get("/v1/enquiries", "enquiries.list", "Enquiries, of a profile or in a status if asked for", list)
        .post("/v1/enquiries", "enquiries.create", "Open an enquiry", create)
        .get("/v1/enquiries/{id}", "enquiries.get", "One enquiry", get)
        .patch("/v1/enquiries/{id}", "enquiries.update", "Change an enquiry. Fields that are absent stay; `owner: null` frees it.", update)
        .get("/v1/enquiries/{id}/context", "enquiries.context", "Its context variables", context)
        .post(
            "/v1/enquiries/{id}/context",
            "enquiries.set_context",
            "Set context variables by name. `null` removes one; the others stay, so two writers of different names do not collide.",
            set_context,
        )
        .get("/v1/enquiries/{id}/interactions", "enquiries.interactions", "What happened in it", interactions);
    routes
        .post("/v1/enquiries/{id}/assign", "enquiries.assign", "Give it to an owner, or to none", assign)
        .post("/v1/enquiries/{id}/resolve", "enquiries.resolve", "It is done", resolve)
        .post("/v1/enquiries/{id}/reopen", "enquiries.reopen", "It is not done after all", reopen)
        .post(
            "/v1/enquiries/{id}/tokens",
            "enquiries.issue_token",
            "Issue a continuity token. Whoever presents it is led back to this enquiry, on every channel or on those that its form can \
             come from. It is shown once, it is a pointer and proves nothing, and no personal data is in it.",
            issue_token,
        )
}

type EnquiryPath = Path<ById<EnquiryId>>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Of this profile.
    profile: Option<ProfileId>,
    /// In this status.
    status: Option<EnquiryStatus>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

/// Who is to own it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssignRequest {
    /// An agent's or a queue's name; null for nobody.
    owner: Option<String>,
}

async fn list(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Query(query): Query<ListQuery>,
) -> Result<Reply<ListOf<Versioned<Enquiry>>>, Problem> {
    let filter = EnquiryFilter { profile: query.profile, status: query.status };
    Ok(Reply(api.hub.enquiries(filter, paging(query.cursor, query.limit)?)?.into()))
}

async fn create(State(api): State<Api>, _: Authenticated<Agent>, Body(new): Body<NewEnquiry>) -> Result<Created<Enquiry>, Problem> {
    let stored = api.hub.create_enquiry(new).await?;
    Ok(Created { location: format!("/v1/enquiries/{}", stored.value.id), stored })
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): EnquiryPath) -> Result<Tagged<Enquiry>, Problem> {
    Ok(Tagged(api.hub.enquiry(path.id)?))
}

async fn update(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): EnquiryPath,
    seen: IfMatch,
    Body(patch): Body<EnquiryPatch>,
) -> Result<Tagged<Enquiry>, Problem> {
    Ok(Tagged(api.hub.update_enquiry(path.id, seen.version()?, patch).await?))
}

async fn context(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Path(path): EnquiryPath,
) -> Result<Reply<BTreeMap<String, ContextVariable>>, Problem> {
    Ok(Reply(api.hub.enquiry(path.id)?.value.variables))
}

async fn set_context(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): EnquiryPath,
    Body(set): Body<BTreeMap<String, Option<NewVariable>>>,
) -> Result<Tagged<Enquiry>, Problem> {
    Ok(Tagged(api.hub.set_enquiry_variables(path.id, set).await?))
}

async fn interactions(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Path(path): EnquiryPath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Interaction>>, Problem> {
    Ok(Reply(api.hub.enquiry_interactions(path.id, query.paging()?)?.into()))
}

async fn assign(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): EnquiryPath,
    Body(request): Body<AssignRequest>,
) -> Result<Tagged<Enquiry>, Problem> {
    Ok(Tagged(api.hub.assign_enquiry(path.id, request.owner).await?))
}

async fn resolve(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): EnquiryPath,
    _: OptionalBody<Nothing>,
) -> Result<Tagged<Enquiry>, Problem> {
    Ok(Tagged(api.hub.resolve_enquiry(path.id).await?))
}

async fn reopen(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): EnquiryPath,
    _: OptionalBody<Nothing>,
) -> Result<Tagged<Enquiry>, Problem> {
    Ok(Tagged(api.hub.reopen_enquiry(path.id).await?))
}

async fn issue_token(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): EnquiryPath,
    Body(new): Body<NewToken>,
) -> Result<Reply<TokenView>, Problem> {
    Ok(Reply(api.hub.issue_token(path.id, new).await?))
}
