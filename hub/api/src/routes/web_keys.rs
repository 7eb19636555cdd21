//! Keys by which websites sign what they say of their visitors.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{NewWebKey, WebKeyView};

use crate::auth::{Admin, Authenticated};
use crate::extract::{Body, Path};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::reply::{ListOf, NoContent, Reply};
use crate::state::Api;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/v1/web-keys", "web_keys.list", "Keys of websites, without the keys themselves", list)
        .post(
            "/v1/web-keys",
            "web_keys.create",
            "Make a website's key known. Tokens name it by `kid` and are taken in conversations of its brand, with this one algorithm only.",
            create,
        )
        .delete("/v1/web-keys/{kid}", "web_keys.delete", "Take nothing signed by it any more", delete)
}

#[derive(Deserialize, JsonSchema)]
struct KidPath {
    /// The key's id, as its tokens name it.
    kid: String,
}

async fn list(State(api): State<Api>, _: Authenticated<Admin>) -> Result<Reply<ListOf<WebKeyView>>, Problem> {
    Ok(Reply(api.hub.web_keys()?.into()))
}

async fn create(State(api): State<Api>, _: Authenticated<Admin>, Body(new): Body<NewWebKey>) -> Result<Reply<WebKeyView>, Problem> {
    Ok(Reply(api.hub.create_web_key(new).await?))
}

async fn delete(State(api): State<Api>, _: Authenticated<Admin>, Path(path): Path<KidPath>) -> Result<NoContent, Problem> {
    api.hub.delete_web_key(&path.kid).await?;
    Ok(NoContent)
}
