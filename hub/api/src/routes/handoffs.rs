//! Handoffs: an enquiry passes to another owner or channel.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_domain::handoff::HandoffPolicy;
use throughline_engine::{HandoffAnswer, HandoffFilter, HandoffPolicyView, NewHandoff};
use throughline_schemas::{EnquiryId, Handoff, HandoffId, HandoffState};

use crate::auth::{Admin, Agent, Authenticated, Read};
use crate::extract::{Body, ById, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Created, ListOf, Reply, Tagged, Versioned};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .post(
            "/v1/enquiries/{id}/handoffs",
            "handoffs.offer",
            "Hand an enquiry on: to an agent or a queue, to a person by a bot, or its customer to another channel. The briefing is built from \
             what the hub knows. An escalation to a call and a callback are placed by the hub; an invitation is sent by it.",
            offer,
        )
        .get("/v1/handoffs", "handoffs.list", "Handoffs, of an enquiry, in a state or for a receiver if asked for", list)
        .get("/v1/handoffs/{id}", "handoffs.get", "One handoff, with its briefing", get);
    let routes = routes
        .post(
            "/v1/handoffs/{id}/accept",
            "handoffs.accept",
            "Take it. Of those who race only the first gets it: whoever presents an older fencing token is refused with 409 `fenced`. The \
             answer holds the new token.",
            accept,
        )
        .post("/v1/handoffs/{id}/decline", "handoffs.decline", "Say no, or take an offer back", decline)
        .post("/v1/handoffs/{id}/complete", "handoffs.complete", "It is done; the receiver has acknowledged the briefing", complete);
    routes
        .get("/v1/policies/handoff", "handoff_policies.list", "The brands' policies for handoffs that were set", policies)
        .get("/v1/policies/handoff/{brand}", "handoff_policies.get", "What holds for a brand", policy)
        .put(
            "/v1/policies/handoff/{brand}",
            "handoff_policies.set",
            "Set a brand's whole policy: how long offers hold, and who gets an enquiry without an owner. `default` is for all other brands.",
            set_policy,
        )
}

type HandoffPath = Path<ById<HandoffId>>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Of this enquiry, newest first.
    enquiry: Option<EnquiryId>,
    /// In this state.
    state: Option<HandoffState>,
    /// Offered to this agent or queue, or accepted by this agent.
    receiver: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

/// The brand in the path.
#[derive(Deserialize, JsonSchema)]
struct ByBrand {
    brand: String,
}

async fn offer(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): Path<ById<EnquiryId>>,
    Body(new): Body<NewHandoff>,
) -> Result<Created<Handoff>, Problem> {
    let stored = api.hub.create_handoff(path.id, new).await?;
    Ok(Created { location: format!("/v1/handoffs/{}", stored.value.id), stored })
}

async fn list(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Query(query): Query<ListQuery>,
) -> Result<Reply<ListOf<Versioned<Handoff>>>, Problem> {
    let filter = HandoffFilter { enquiry: query.enquiry, state: query.state, receiver: query.receiver };
    Ok(Reply(api.hub.handoffs(&filter, paging(query.cursor, query.limit)?)?.into()))
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): HandoffPath) -> Result<Tagged<Handoff>, Problem> {
    Ok(Tagged(api.hub.handoff(path.id)?))
}

async fn accept(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): HandoffPath,
    Body(answer): Body<HandoffAnswer>,
) -> Result<Tagged<Handoff>, Problem> {
    Ok(Tagged(api.hub.accept_handoff(path.id, answer).await?))
}

async fn decline(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): HandoffPath,
    Body(answer): Body<HandoffAnswer>,
) -> Result<Tagged<Handoff>, Problem> {
    Ok(Tagged(api.hub.decline_handoff(path.id, answer).await?))
}

async fn complete(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): HandoffPath,
    Body(answer): Body<HandoffAnswer>,
) -> Result<Tagged<Handoff>, Problem> {
    Ok(Tagged(api.hub.complete_handoff(path.id, answer).await?))
}

async fn policies(State(api): State<Api>, _: Authenticated<Read>) -> Result<Reply<ListOf<HandoffPolicyView>>, Problem> {
    let set = api.hub.handoff_policies()?;
    let shown: Vec<HandoffPolicyView> = set.into_iter().map(|(brand, policy)| HandoffPolicyView { brand, policy }).collect();
    Ok(Reply(shown.into()))
}

async fn policy(State(api): State<Api>, _: Authenticated<Read>, Path(path): Path<ByBrand>) -> Result<Reply<HandoffPolicyView>, Problem> {
    let policy = api.hub.handoff_policy(&path.brand)?;
    Ok(Reply(HandoffPolicyView { brand: path.brand, policy }))
}

async fn set_policy(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<ByBrand>,
    Body(policy): Body<HandoffPolicy>,
) -> Result<Reply<HandoffPolicyView>, Problem> {
    let policy = api.hub.set_handoff_policy(&path.brand, policy).await?;
    Ok(Reply(HandoffPolicyView { brand: path.brand, policy }))
}
