//! Conversations: threads on one channel, and sending on them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{NewMessage, NewProof, ProofCheck, ProofView, WebIdentity, WebProofView};
use throughline_schemas::{Conversation, ConversationId, EnquiryId, Interaction};

use crate::auth::{Agent, Authenticated, Read};
use crate::describe::{DescribeOutput, Operation};
use crate::extract::{Body, ById, PageQuery, Path, Query};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, Reply, Tagged, json};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/v1/conversations/{id}", "conversations.get", "One conversation", get)
        .get("/v1/conversations/{id}/interactions", "conversations.interactions", "What happened in it", interactions)
        .post(
            "/v1/conversations/{id}/messages",
            "conversations.send",
            "Send a message on its channel. Durable when answered, then sent; `delivery` of the interaction says how that went.",
            send,
        )
        .post(
            "/v1/conversations/{id}/proofs",
            "conversations.start_proof",
            "Send a one-time code to an address. Whoever gives it back in this conversation within ten minutes and three attempts is who the \
             address belongs to. The code is stored nowhere; if it cannot be sent, this fails.",
            start_proof,
        )
        .post(
            "/v1/conversations/{id}/proofs/verify",
            "conversations.verify_proof",
            "Check the code that somebody gave. `approved` raises the conversation to proven; a wrong code is answered with the attempts that \
             are left.",
            verify_proof,
        )
        .post(
            "/v1/conversations/{id}/proofs/web-identity",
            "conversations.prove_by_web_identity",
            "Take what the brand's website signed of its visitor (a JSON Web Token) as proof of who speaks. The key's own algorithm and an \
             expiry within a day are enforced.",
            prove_by_web_identity,
        )
        .post("/v1/conversations/{id}/attach", "conversations.attach", "Move it to another enquiry, or to none", attach)
}

type ConversationPath = Path<ById<ConversationId>>;

/// Which enquiry it is about.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AttachRequest {
    /// The enquiry; null for none.
    enquiry_id: Option<EnquiryId>,
}

/// 202 with the interaction that was queued.
struct Queued(Interaction);

impl IntoResponse for Queued {
    fn into_response(self) -> Response {
        json(StatusCode::ACCEPTED, &self.0)
    }
}

impl DescribeOutput for Queued {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<Interaction>();
        operation.response(202, "Durably accepted; it will be sent.", Some(("application/json", schema)));
    }
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): ConversationPath) -> Result<Tagged<Conversation>, Problem> {
    Ok(Tagged(api.hub.conversation(path.id)?))
}

async fn interactions(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Path(path): ConversationPath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Interaction>>, Problem> {
    Ok(Reply(api.hub.conversation_interactions(path.id, query.paging()?)?.into()))
}

async fn send(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): ConversationPath,
    Body(message): Body<NewMessage>,
) -> Result<Queued, Problem> {
    Ok(Queued(api.hub.send_message(path.id, message).await?))
}

async fn start_proof(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): ConversationPath,
    Body(new): Body<NewProof>,
) -> Result<Reply<ProofView>, Problem> {
    Ok(Reply(api.hub.start_proof(path.id, new).await?))
}

async fn verify_proof(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): ConversationPath,
    Body(check): Body<ProofCheck>,
) -> Result<Reply<ProofView>, Problem> {
    Ok(Reply(api.hub.verify_proof(path.id, check).await?))
}

async fn prove_by_web_identity(
    State(api): State<Api>,
    _: Authenticated<Agent>,
    Path(path): ConversationPath,
    Body(given): Body<WebIdentity>,
) -> Result<Reply<WebProofView>, Problem> {
    Ok(Reply(api.hub.prove_by_web_identity(path.id, given).await?))
}

async fn attach(
    State(api): State<Api>,
    who: Authenticated<Agent>,
    Path(path): ConversationPath,
    Body(request): Body<AttachRequest>,
) -> Result<Tagged<Conversation>, Problem> {
    Ok(Tagged(api.hub.attach_conversation(path.id, request.enquiry_id, &who.name()).await?))
}
