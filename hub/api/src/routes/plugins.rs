//! Plugins: installing, listing, removing.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_domain::connector::InstalledPlugin;
use throughline_engine::{HubError, PluginUpdate};
use throughline_schemas::manifest::Manifest;

use crate::auth::{Admin, Authenticated};
use crate::describe::{DescribeOutput, Operation};
use crate::etag::{self, IfMatch};
use crate::extract::{OptionalBody, Path, RawBody};
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::reply::{ListOf, NoContent, Reply, json};
use crate::state::Api;

/// Where components are posted; the one path that takes large bodies.
pub(crate) const COLLECTION: &str = "/v1/plugins";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get(COLLECTION, "plugins.list", "Installed plugins", list)
        .post(
            COLLECTION,
            "plugins.install",
            "Install a plugin. The body is the component's bytes. Its manifest is read without running it. The same bytes again are no change.",
            install,
        )
        .get("/v1/plugins/{name}/{version}", "plugins.get", "One installed plugin", get)
        .delete("/v1/plugins/{name}/{version}", "plugins.remove", "Remove a plugin. Refused while a connection uses it.", remove)
        .post(
            "/v1/plugins/{name}/update",
            "plugins.update",
            "Move every connection of a plugin to another installed version, the newest by default. One that fails stays as it was; where \
             the version asks for more hosts, it waits for approval.",
            update,
        )
}

#[derive(Deserialize, JsonSchema)]
struct PluginPath {
    /// The plugin's name.
    name: String,
    /// Its version.
    version: String,
}

#[derive(Deserialize, JsonSchema)]
struct NamePath {
    /// The plugin's name.
    name: String,
}

/// Which version to move to.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PluginUpdateRequest")]
struct UpdateRequest {
    /// The version; the newest installed if absent.
    #[serde(default)]
    version: Option<String>,
}

/// An installed plugin.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Plugin")]
struct PluginView {
    /// What it declares.
    manifest: Manifest,
    /// `sha256:<hex>` of the component.
    digest: String,
    /// The interfaces it offers.
    exports: Vec<String>,
    /// The interfaces it uses.
    imports: Vec<String>,
    /// Who signed it: the name of a key that the hub's config trusts, or `unknown key ed25519:…`. Absent if it is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
}

impl From<InstalledPlugin> for PluginView {
    fn from(plugin: InstalledPlugin) -> Self {
        Self {
            manifest: plugin.manifest,
            digest: plugin.digest,
            exports: plugin.exports,
            imports: plugin.imports,
            signed_by: plugin.signed_by,
        }
    }
}

/// A plugin with its digest as its tag: it never changes, only comes and goes.
struct TaggedPlugin {
    status: StatusCode,
    plugin: PluginView,
}

impl IntoResponse for TaggedPlugin {
    fn into_response(self) -> Response {
        let (tag, place) = (etag::tag(&self.plugin.digest), location(&self.plugin));
        let mut response = json(self.status, &self.plugin);
        response.headers_mut().insert(header::ETAG, tag);
        if let (StatusCode::CREATED, Some(place)) = (self.status, place) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response
    }
}

fn location(plugin: &PluginView) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("{COLLECTION}/{}/{}", plugin.manifest.name, plugin.manifest.version)).ok()
}

impl DescribeOutput for TaggedPlugin {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<PluginView>();
        operation.response(200, "As it is installed; the digest is its ETag.", Some(("application/json", schema)));
    }
}

/// A newly installed plugin.
struct Installed(TaggedPlugin);

impl IntoResponse for Installed {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl DescribeOutput for Installed {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<PluginView>();
        operation.response(201, "Installed.", Some(("application/json", schema)));
        operation.problem(Code::PluginRefused);
        operation.problem(Code::Conflict);
    }
}

async fn list(State(api): State<Api>, _: Authenticated<Admin>) -> Result<Reply<ListOf<PluginView>>, Problem> {
    let plugins: Vec<PluginView> = api.hub.plugins().into_iter().map(PluginView::from).collect();
    Ok(Reply(plugins.into()))
}

async fn install(State(api): State<Api>, _: Authenticated<Admin>, RawBody(component): RawBody) -> Result<Installed, Problem> {
    let plugin = api.hub.install_plugin(component.to_vec()).await?;
    Ok(Installed(TaggedPlugin { status: StatusCode::CREATED, plugin: plugin.into() }))
}

async fn get(State(api): State<Api>, _: Authenticated<Admin>, Path(path): Path<PluginPath>) -> Result<TaggedPlugin, Problem> {
    Ok(TaggedPlugin { status: StatusCode::OK, plugin: find(&api, &path)?.into() })
}

async fn remove(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<PluginPath>,
    seen: IfMatch,
) -> Result<NoContent, Problem> {
    // Other bytes under an installed name and version are refused, so the digest cannot change between this check and the removal.
    if find(&api, &path)?.digest != seen.0 {
        return Err(Problem::new(Code::Stale, "another component is installed under this name and version; read it again"));
    }
    api.hub.remove_plugin(&path.name, &path.version).await?;
    Ok(NoContent)
}

async fn update(
    State(api): State<Api>,
    _: Authenticated<Admin>,
    Path(path): Path<NamePath>,
    OptionalBody(request): OptionalBody<UpdateRequest>,
) -> Result<Reply<ListOf<PluginUpdate>>, Problem> {
    Ok(Reply(api.hub.update_plugin(&path.name, request.version.as_deref()).await?.into()))
}

fn find(api: &Api, path: &PluginPath) -> Result<InstalledPlugin, Problem> {
    let found = api.hub.plugins().into_iter().find(|plugin| plugin.manifest.name == path.name && plugin.manifest.version == path.version);
    found.ok_or_else(|| HubError::NotFound { kind: "plugin", id: format!("{} {}", path.name, path.version) }.into())
}
