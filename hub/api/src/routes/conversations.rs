//! Conversations: threads on one channel, and sending on them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::NewMessage;
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

async fn attach(
    State(api): State<Api>,
    who: Authenticated<Agent>,
    Path(path): ConversationPath,
    Body(request): Body<AttachRequest>,
) -> Result<Tagged<Conversation>, Problem> {
    Ok(Tagged(api.hub.attach_conversation(path.id, request.enquiry_id, &who.name()).await?))
}
