//! Profiles: people, what is known of them, and what belongs together.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{ContextView, ProfilePatch, WhyView};
use throughline_schemas::{IdentityLink, IdentityType, Interaction, Profile, ProfileId};

use crate::auth::{Authenticated, Read, Write};
use crate::etag::IfMatch;
use crate::extract::{Body, ById, PageQuery, Path, Query, paging};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, NoContent, Reply, Tagged, Versioned};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .get("/v1/profiles", "profiles.list", "Profiles, or the one behind an identity", list)
        .get("/v1/profiles/{id}", "profiles.get", "One profile. A merged one answers 308 with the place of the one that goes on.", get)
        .patch(
            "/v1/profiles/{id}",
            "profiles.update",
            "Set fields of a profile. `null` removes one. Connected systems get the change.",
            update,
        )
        .get("/v1/profiles/{id}/timeline", "profiles.timeline", "Everything that happened, newest first, over all channels", timeline)
        .get("/v1/profiles/{id}/context", "profiles.context", "What an agent needs on one screen", context);
    routes
        .post("/v1/profiles/{id}/merge", "profiles.merge", "Merge another profile into this one. Nothing is lost; it can be undone.", merge)
        .post("/v1/profiles/{id}/unmerge", "profiles.unmerge", "Take a merged profile out again", unmerge)
        .post(
            "/v1/profiles/{id}/keep-apart",
            "profiles.keep_apart",
            "Say that another profile is another person: no rule merges them, and they are not suggested",
            keep_apart,
        )
        .get(
            "/v1/profiles/{id}/why",
            "profiles.why",
            "Why it is as it is: who said each value, which profiles it is made of, by which decisions and evidence",
            why,
        )
        .get("/v1/profiles/{id}/links", "profiles.links", "Identities linked to it, retracted ones included, with their reasons", links)
        .post("/v1/profiles/{id}/links", "profiles.link", "Link an identity by hand", link)
        .post("/v1/profiles/{id}/unlink", "profiles.unlink", "Retract the link of an identity", unlink)
}

type ProfilePath = Path<ById<ProfileId>>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// `phone:+44…`, `email:…`, `handle:<namespace>:…` or `external:<namespace>:…`.
    identity: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

/// Which other profile, and why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MergeRequest {
    /// The other profile: the one merged in, or to be taken out.
    profile_id: ProfileId,
    /// Why; kept with the decision.
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhyQuery {
    /// One field, as `display_name` or `phone`; all of them if absent.
    field: Option<String>,
}

/// Which identity.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IdentityRequest {
    /// What kind.
    r#type: IdentityType,
    /// The number, address, or `<namespace>:<value>`.
    value: String,
}

async fn list(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Query(query): Query<ListQuery>,
) -> Result<Reply<ListOf<Versioned<Profile>>>, Problem> {
    let identity = query.identity.map(|identity| identity.replacen("phone: ", "phone:+", 1));
    Ok(Reply(api.hub.profiles(identity.as_deref(), paging(query.cursor, query.limit)?)?.into()))
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): ProfilePath) -> Result<Tagged<Profile>, Problem> {
    Ok(Tagged(api.hub.profile(path.id)?))
}

async fn update(
    State(api): State<Api>,
    _: Authenticated<Write>,
    Path(path): ProfilePath,
    seen: IfMatch,
    Body(patch): Body<ProfilePatch>,
) -> Result<Tagged<Profile>, Problem> {
    Ok(Tagged(api.hub.update_profile(path.id, seen.version()?, patch).await?))
}

async fn timeline(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Path(path): ProfilePath,
    Query(query): Query<PageQuery>,
) -> Result<Reply<ListOf<Interaction>>, Problem> {
    Ok(Reply(api.hub.timeline(path.id, query.paging()?)?.into()))
}

async fn context(State(api): State<Api>, _: Authenticated<Read>, Path(path): ProfilePath) -> Result<Reply<ContextView>, Problem> {
    Ok(Reply(api.hub.context(path.id)?))
}

async fn merge(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ProfilePath,
    Body(request): Body<MergeRequest>,
) -> Result<Tagged<Profile>, Problem> {
    Ok(Tagged(api.hub.merge_profiles(path.id, request.profile_id, &who.name(), &request.reason).await?))
}

async fn unmerge(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ProfilePath,
    Body(request): Body<MergeRequest>,
) -> Result<Tagged<Profile>, Problem> {
    Ok(Tagged(api.hub.unmerge_profile(path.id, request.profile_id, &who.name(), &request.reason).await?))
}

async fn keep_apart(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ProfilePath,
    Body(request): Body<MergeRequest>,
) -> Result<NoContent, Problem> {
    api.hub.keep_profiles_apart(path.id, request.profile_id, &who.name(), &request.reason).await?;
    Ok(NoContent)
}

async fn why(
    State(api): State<Api>,
    _: Authenticated<Read>,
    Path(path): ProfilePath,
    Query(query): Query<WhyQuery>,
) -> Result<Reply<WhyView>, Problem> {
    Ok(Reply(api.hub.why(path.id, query.field.as_deref())?))
}

async fn links(State(api): State<Api>, _: Authenticated<Read>, Path(path): ProfilePath) -> Result<Reply<ListOf<IdentityLink>>, Problem> {
    Ok(Reply(api.hub.identity_links(path.id)?.into()))
}

async fn link(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ProfilePath,
    Body(identity): Body<IdentityRequest>,
) -> Result<Tagged<Profile>, Problem> {
    Ok(Tagged(api.hub.link_identity(path.id, identity.r#type, &identity.value, &who.name()).await?))
}

async fn unlink(
    State(api): State<Api>,
    who: Authenticated<Write>,
    Path(path): ProfilePath,
    Body(identity): Body<IdentityRequest>,
) -> Result<Tagged<Profile>, Problem> {
    Ok(Tagged(api.hub.unlink_identity(path.id, identity.r#type, &identity.value, &who.name()).await?))
}
