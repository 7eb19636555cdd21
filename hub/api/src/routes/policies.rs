//! Policies: what admins set of the rules, and what it would change.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{ContinuityPolicies, PolicyRule, PolicySettings, WhatIf, WhatIfAnswer};

use crate::auth::{Admin, Authenticated, Read};
use crate::etag::IfMatch;
use crate::extract::Body;
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{Reply, Tagged};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/v1/policies/continuity", "policies.continuity", "How long what holds, by brand, channel and reason", get)
        .put(
            "/v1/policies/continuity",
            "policies.set_continuity",
            "Set all policies of continuity anew. What was decided before stays as it is.",
            put,
        )
        .post(
            "/v1/policies/continuity/what-if",
            "policies.try_continuity",
            "Try policies out on what has happened. The last interactions are taken in again in memory, and what would have gone elsewhere is \
             told; nothing is changed.",
            what_if,
        )
}

/// All policies, as they are to be: what was read can be changed and sent back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolicyDocument {
    /// For all that no rule is about.
    #[serde(default)]
    default: PolicySettings,
    /// For some; the rule that names the most of brand, channel and reason wins.
    #[serde(default)]
    rules: Vec<PolicyRule>,
    /// As it was read; If-Match is what counts.
    #[serde(default, rename = "version")]
    _version: Option<u64>,
}

async fn get(State(api): State<Api>, _: Authenticated<Read>) -> Result<Tagged<ContinuityPolicies>, Problem> {
    Ok(Tagged(api.hub.continuity_policies()?))
}

async fn put(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    seen: IfMatch,
    Body(document): Body<PolicyDocument>,
) -> Result<Tagged<ContinuityPolicies>, Problem> {
    let policies = ContinuityPolicies { default: document.default, rules: document.rules };
    Ok(Tagged(api.hub.set_continuity_policies(seen.version()?, policies).await?))
}

async fn what_if(State(api): State<Api>, _: Authenticated<Read>, Body(what_if): Body<WhatIf>) -> Result<Reply<WhatIfAnswer>, Problem> {
    Ok(Reply(api.hub.what_if_continuity(what_if).await?))
}
