//! `throughline plugin check`: what a component is and whether this hub loads it. It is compiled and linked, and nothing of it is run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use throughline_domain::connector::{InstalledPlugin, PluginHost as _};
use throughline_plugin_host::{Host, HostOptions, Limits, PluginTrust, inspect, signer};
use throughline_schemas::WIT_VERSIONS;
use throughline_schemas::manifest::Manifest;

use super::plugin::read_component;
use crate::config;
use crate::output;

/// What was found.
#[derive(Serialize)]
struct Report {
    component: String,
    bytes: usize,
    loads: bool,
    /// Why this hub does not load it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Manifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    exports: Vec<String>,
    imports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

/// A signature that fits the component.
#[derive(Serialize)]
struct Signature {
    key: String,
    /// What the hub's config calls the key's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_as: Option<String>,
}

pub(crate) fn run(path: &Path, config: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let bytes = read_component(path)?;
    let report = report(path, bytes, config::plugin_trust(config)?)?;
    output::print(json, &report, || text(&report))?;
    Ok(if report.loads { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(path: &Path, bytes: Vec<u8>, trust: PluginTrust) -> anyhow::Result<Report> {
    let size = bytes.len();
    let signature = signer(&bytes).ok().flatten();
    let signature = signature.map(|key| Signature { key: key.to_string(), trusted_as: trust.name_of(&key).map(str::to_owned) });
    let (plugin, reason) = match inspect(&bytes) {
        Ok(plugin) => (Some(plugin), why_not(bytes, trust)?),
        Err(error) => (None, Some(output::one_line(&error.to_string(), 500))),
    };
    let (manifest, digest, exports, imports) = match plugin {
        Some(InstalledPlugin { manifest, digest, exports, imports, .. }) => (Some(manifest), Some(digest), exports, imports),
        None => Default::default(),
    };
    let component = path.display().to_string();
    Ok(Report { component, bytes: size, loads: reason.is_none(), reason, manifest, digest, exports, imports, signature })
}

/// Installs it where nobody sees it: only then are its limits, its code and its links known to be good.
fn why_not(bytes: Vec<u8>, trust: PluginTrust) -> anyhow::Result<Option<String>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut options = HostOptions::new(folder.path().join("plugins"), folder.path().join("cache"));
    options.trust = trust;
    let host = Host::new(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(host.install(bytes)).err().map(|error| error.to_string()))
}

fn signed_by(signature: Option<&Signature>) -> String {
    match signature {
        None => "nobody".to_owned(),
        Some(Signature { key, trusted_as: None }) => format!("{key}, which is not among this hub's trusted_keys; the signature verifies"),
        Some(Signature { key, trusted_as: Some(name) }) => format!("{name} ({key}); the signature verifies"),
    }
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(manifest) = &report.manifest {
        let line = |name: &str, value: String| format!("{name:<9} {value}");
        let limits = Limits::default();
        let asked = &manifest.capabilities.limits;
        lines.push(format!("{} {}: {}", manifest.name, manifest.version, output::one_line(&manifest.summary, 200)));
        lines.push(line("kinds", output::listed(&manifest.kinds)));
        lines.push(line("licence", output::one_line(&manifest.licence, 100)));
        lines.push(line("WIT", format!("{} (this hub knows {})", manifest.wit, WIT_VERSIONS.join(", "))));
        lines.push(line("exports", output::listed(&report.exports)));
        lines.push(line("imports", output::listed(&report.imports)));
        lines.push(line("hosts", output::listed(&manifest.hosts_asked())));
        lines.push(line("transport", output::listed(&manifest.capabilities.transports)));
        lines.push(line(
            "limits",
            format!(
                "{} MiB memory, {} sockets, {} MiB body",
                asked.memory_mib.unwrap_or(limits.memory_mib),
                asked.sockets.unwrap_or(limits.sockets),
                asked.body_mib.unwrap_or(limits.body_mib)
            ),
        ));
    }
    if report.manifest.is_some() {
        lines.push(format!("{:<9} {}", "signed by", signed_by(report.signature.as_ref())));
    }
    lines.extend(report.digest.as_ref().map(|digest| format!("{:<9} {digest}, {} bytes", "digest", report.bytes)));
    lines.push(match &report.reason {
        None => "This hub loads it.".to_owned(),
        Some(reason) => format!("This hub does not load {}: {reason}", report.component),
    });
    lines.join("\n")
}
