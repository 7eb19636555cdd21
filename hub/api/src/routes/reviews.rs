//! Who may be one person: suggestions for a person to settle, and the policy by which they are found.

use std::collections::BTreeMap;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{IdentityPolicy, IdentityWhatIf, IdentityWhatIfAnswer, Review, ReviewStatus};
use throughline_schemas::{IdentityType, ReviewId};

use crate::auth::{Admin, Authenticated, Read, Write};
use crate::etag::IfMatch;
use crate::extract::{Body, ById, Nothing, OptionalBody, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, Reply, Tagged};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/reviews",
            "reviews.list",
            "Profiles that may be one person's, with the evidence in bits; those that wait by default",
            list,
        )
        .get("/v1/reviews/{id}", "reviews.get", "One suggestion", get)
        .post("/v1/reviews/{id}/accept", "reviews.accept", "They are one person: merge them. It can be undone.", accept)
        .post("/v1/reviews/{id}/reject", "reviews.reject", "They are two persons: never suggest or merge them again", reject)
        .get("/v1/policies/identity", "policies.identity", "How much likeness it takes to suggest and to merge", policy)
        .put(
            "/v1/policies/identity",
            "policies.set_identity",
            "Set the policy of identity anew. What was merged before stays merged. Likeness alone merges only with `auto_merge`.",
            set_policy,
        )
        .post(
            "/v1/policies/identity/what-if",
            "policies.try_identity",
            "Try thresholds out on all profiles there are: who would be merged, who would be taken apart. Nothing is changed.",
            what_if,
        )
}

/// The policy, as it is to be: what was read can be changed and sent back.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct PolicyDocument {
    /// Whether profiles that are alike enough are merged without a person.
    auto_merge: bool,
    /// The least evidence for that, in bits.
    merge_bits: f32,
    /// Whether profiles that are alike are suggested to a person.
    suggest: bool,
    /// The least evidence for that, in bits.
    suggest_bits: f32,
    /// Canonical identifiers that say nothing.
    blocked: Vec<String>,
    /// For each type of identity the most profiles it may lead to and still say who somebody is.
    most_profiles: BTreeMap<IdentityType, usize>,
    /// As it was read; If-Match is what counts.
    #[serde(rename = "version")]
    _version: Option<u64>,
}

impl Default for PolicyDocument {
    fn default() -> Self {
        let IdentityPolicy { auto_merge, merge_bits, suggest, suggest_bits, blocked, most_profiles } = IdentityPolicy::default();
        Self { auto_merge, merge_bits, suggest, suggest_bits, blocked, most_profiles, _version: None }
    }
}

impl PolicyDocument {
    fn policy(self) -> IdentityPolicy {
        let Self { auto_merge, merge_bits, suggest, suggest_bits, blocked, most_profiles, _version } = self;
        IdentityPolicy { auto_merge, merge_bits, suggest, suggest_bits, blocked, most_profiles }
    }
}

type ReviewPath = Path<ById<ReviewId>>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReviewsQuery {
    /// `open` (if absent), `accepted` or `rejected`.
    status: Option<ReviewStatus>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

async fn list(State(api): State<Api>, _: Authenticated<Read>, Query(query): Query<ReviewsQuery>) -> Result<Reply<ListOf<Review>>, Problem> {
    let status = query.status.unwrap_or(ReviewStatus::Open);
    Ok(Reply(api.hub.reviews(status, paging(query.cursor, query.limit)?).await?.into()))
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): ReviewPath) -> Result<Reply<Review>, Problem> {
    Ok(Reply(api.hub.review(path.id)?))
}

async fn accept(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ReviewPath,
    _: OptionalBody<Nothing>,
) -> Result<Reply<Review>, Problem> {
    Ok(Reply(api.hub.accept_review(path.id, &who.name()).await?))
}

async fn reject(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ReviewPath,
    _: OptionalBody<Nothing>,
) -> Result<Reply<Review>, Problem> {
    Ok(Reply(api.hub.reject_review(path.id, &who.name()).await?))
}

async fn policy(State(api): State<Api>, _: Authenticated<Read>) -> Result<Tagged<IdentityPolicy>, Problem> {
    Ok(Tagged(api.hub.identity_policy()?))
}

async fn set_policy(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    seen: IfMatch,
    Body(document): Body<PolicyDocument>,
) -> Result<Tagged<IdentityPolicy>, Problem> {
    Ok(Tagged(api.hub.set_identity_policy(seen.version()?, document.policy()).await?))
}

async fn what_if(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Body(asked): Body<IdentityWhatIf>,
) -> Result<Reply<IdentityWhatIfAnswer>, Problem> {
    Ok(Reply(api.hub.identity_what_if(asked).await?))
}
