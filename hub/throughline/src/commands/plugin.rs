//! `throughline plugin`: installing and listing; the longer ones are in files of their own.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use throughline_schemas::manifest::Manifest;

use super::{connection_upkeep, kit, plugin_check, plugin_embed, plugin_new, plugin_run, plugin_sign, replay};
use crate::arguments::{Plugin, Remote};
use crate::client::Client;
use crate::output;

/// An installed plugin, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Installed {
    pub(crate) manifest: Manifest,
    pub(crate) digest: String,
    pub(crate) exports: Vec<String>,
    pub(crate) imports: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed_by: Option<String>,
}

pub(crate) fn run(command: Plugin, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Plugin::New { name, into, sdk } => plugin_new::run(&name, into.as_deref(), sdk.as_deref(), json),
        Plugin::Check { component, config } => plugin_check::run(&component, config.as_deref(), json),
        Plugin::Embed { component, manifest, out } => plugin_embed::run(&component, &manifest, &out, json),
        Plugin::Keygen { file } => plugin_sign::keygen(&file, json),
        Plugin::Sign { component, key, out } => plugin_sign::sign(&component, &key, out.as_deref(), json),
        Plugin::Test(arguments) => kit::run(&arguments, json),
        Plugin::Run(arguments) => plugin_run::run(&arguments),
        Plugin::Replay(arguments) => replay::run(&arguments),
        Plugin::Install { component, remote } => install(&component, &remote, json),
        Plugin::Update { name, to, remote } => connection_upkeep::update_plugin(&name, to.as_deref(), &remote, json),
        Plugin::List { remote } => list(&remote, json),
    }
}

pub(crate) fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the component {}", path.display()))
}

/// Installs a component's bytes. The same bytes again are no change.
pub(crate) fn install_bytes(client: &Client, component: Vec<u8>) -> anyhow::Result<Installed> {
    client.post_bytes("/v1/plugins", component)
}

pub(crate) fn installed(client: &Client) -> anyhow::Result<Vec<Installed>> {
    client.whole_list("/v1/plugins")
}

/// Who signed a plugin, for people.
fn signed_by(signer: Option<&str>) -> String {
    signer.map_or_else(|| "nobody".to_owned(), |signer| output::one_line(signer, 100))
}

fn install(component: &Path, remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(remote)?;
    let plugin = install_bytes(&client, read_component(component)?)?;
    output::print(json, &plugin, || {
        let Manifest { name, version, capabilities, .. } = &plugin.manifest;
        format!(
            "{name} {version} is installed ({}), signed by {}.\nIt asks for these hosts: {}\nNext: throughline connection add {name} --grant-all-hosts …",
            plugin.digest,
            signed_by(plugin.signed_by.as_deref()),
            output::listed(&capabilities.hosts)
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn list(remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let plugins = installed(&Client::new(remote)?)?;
    output::print(json, &plugins, || {
        if plugins.is_empty() {
            return "No plugin is installed; `throughline plugin install FILE.wasm` installs one.".to_owned();
        }
        let mut rows = vec![["NAME", "VERSION", "KINDS", "SIGNED BY", "SUMMARY"].map(str::to_owned).to_vec()];
        rows.extend(plugins.iter().map(|plugin| {
            let manifest = &plugin.manifest;
            vec![
                manifest.name.clone(),
                manifest.version.clone(),
                manifest.kinds.join(","),
                signed_by(plugin.signed_by.as_deref()),
                output::one_line(&manifest.summary, 100),
            ]
        }));
        output::table(&rows)
    })?;
    Ok(ExitCode::SUCCESS)
}
