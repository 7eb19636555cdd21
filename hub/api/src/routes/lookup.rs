//! Who is calling? Answered from the hub's own store, so it works while every silo is down.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{LookupAnswer, LookupQuery};
use throughline_schemas::{Assurance, ConversationId};

use crate::auth::{Authenticated, Lookup};
use crate::extract::Query;
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::reply::Reply;
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let about = "Who is behind an identifier, and what do they want? Give exactly one of phone, email, handle, external, or \
                 a token alone or beside it. Shows only values whose \
                 classification the assurance allows; somebody unknown is an answer (`known: false`), not an error.";
    routes.get("/v1/lookup", "lookup.get", about, lookup)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LookupParameters {
    /// A telephone number, best as E.164.
    phone: Option<String>,
    /// A mail address.
    email: Option<String>,
    /// `<namespace>:<handle>`.
    handle: Option<String>,
    /// `<namespace>:<id>`.
    external: Option<String>,
    /// ISO 3166 region for a national number.
    region: Option<String>,
    /// How sure you are of who it is: `claimed` if absent, `asserted` for a caller id.
    #[serde(default)]
    assurance: Assurance,
    /// A continuity token in whatever form it was presented: keyed digits, a User-to-User header, a link, a plus-address.
    token: Option<String>,
    /// The brand that was addressed, for keyed digits; `default` if absent.
    brand: Option<String>,
    /// A conversation instead of an identifier: its customer, at the assurance that the hub itself has proven there. `assurance` is
    /// not looked at.
    conversation: Option<ConversationId>,
}

async fn lookup(
    State(api): State<Api>,
    _: Authenticated<Lookup>,
    Query(query): Query<LookupParameters>,
) -> Result<Reply<LookupAnswer>, Problem> {
    let given = [&query.phone, &query.email, &query.handle, &query.external].iter().filter(|identifier| identifier.is_some()).count();
    let given = given + usize::from(query.conversation.is_some());
    if given > 1 || (given == 0 && query.token.is_none()) {
        return Err(Problem::parameter(
            Code::InvalidQuery,
            "phone",
            "give exactly one of phone, email, handle, external, conversation, or a token",
        ));
    }
    let query = LookupQuery {
        phone: query.phone.map(repair_plus),
        email: query.email,
        handle: query.handle,
        external: query.external,
        region: query.region,
        assurance: query.assurance,
        token: query.token,
        brand: query.brand,
        conversation: query.conversation,
    };
    let answer = match &query.token {
        Some(token) => api.hub.lookup_with_token(&query, token).await?,
        None => api.hub.lookup(&query)?,
    };
    Ok(Reply(answer))
}

/// Dial plans paste `+44…` into the query unescaped, where `+` means a space: no number begins with one.
fn repair_plus(phone: String) -> String {
    match phone.strip_prefix(' ') {
        Some(rest) => format!("+{rest}"),
        None => phone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unescaped_plus_is_understood() {
        for (given, wanted) in [(" 4420", "+4420"), ("+4420", "+4420"), ("020", "020")] {
            assert_eq!(repair_plus(given.to_owned()), wanted);
        }
    }
}
