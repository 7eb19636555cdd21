//! `throughline plugin embed`: puts a manifest into a component that another language's tools made.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use throughline_plugin_host::{embed, inspect};

use super::plugin::read_component;
use crate::output;

/// Writes the component with the manifest in it.
pub(crate) fn run(component: &Path, manifest: &Path, out: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let text = std::fs::read(manifest).with_context(|| format!("cannot read the manifest {}", manifest.display()))?;
    let bytes = read_component(component)?;
    let cannot = || format!("{} does not go into {}", manifest.display(), component.display());
    let whole = embed(&bytes, &text).with_context(cannot)?;
    let plugin = inspect(&whole).with_context(cannot)?;
    std::fs::write(out, &whole).with_context(|| format!("cannot write {}", out.display()))?;
    let (name, version) = (&plugin.manifest.name, &plugin.manifest.version);
    let said = json!({ "component": out.display().to_string(), "name": name, "version": version, "digest": plugin.digest });
    output::print(json, &said, || format!("{} is {name} {version}.\nNext: throughline plugin check {}", out.display(), out.display()))?;
    Ok(ExitCode::SUCCESS)
}
