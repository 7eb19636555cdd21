//! `throughline plugin keygen` and `sign`: who publishes plugins makes a key once and signs each component with it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use throughline_plugin_host::{PublicKey, SigningKey, inspect, signer};

use super::plugin::read_component;
use crate::{data, output};

#[derive(Serialize)]
struct Made {
    file: String,
    public_key: String,
}

/// Makes a key in a new file and prints what a hub that is to trust it needs.
pub(crate) fn keygen(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let key = SigningKey::generate()?;
    data::write_private(file, format!("{}\n", key.secret_text()).as_bytes())?;
    let made = Made { file: file.display().to_string(), public_key: key.public().to_string() };
    output::print(json, &made, || {
        format!(
            "{} is a new key. Whoever has it signs plugins as you: keep it private, and a copy of it safe.\n\
             A hub trusts it with this in its config file, under a name of its admin's choice:\n\n\
             [plugins]\ntrusted_keys = {{ publisher = \"{}\" }}",
            made.file, made.public_key
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Signed {
    component: String,
    name: String,
    version: String,
    digest: String,
    public_key: String,
    /// Whose signature it bore before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<String>,
}

/// Signs a component, in its place or elsewhere.
pub(crate) fn sign(component: &Path, key: &Path, out: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let key = read_key(key)?;
    let bytes = read_component(component)?;
    let cannot = || format!("cannot sign {}", component.display());
    let signed = throughline_plugin_host::sign(&bytes, &key).with_context(cannot)?;
    // What no hub takes is not worth a signature.
    let plugin = inspect(&signed).with_context(cannot)?;
    let out = out.unwrap_or(component);
    replace(component, out, &signed).with_context(|| format!("cannot write {}", out.display()))?;
    let before = signer(&bytes).ok().flatten().filter(|before| *before != key.public());
    let report = Signed {
        component: out.display().to_string(),
        name: plugin.manifest.name,
        version: plugin.manifest.version,
        digest: plugin.digest,
        public_key: key.public().to_string(),
        replaced: before.as_ref().map(PublicKey::to_string),
    };
    output::print(json, &report, || text(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Signed) -> String {
    let Signed { component, name, version, digest, public_key, replaced } = report;
    let replaced = replaced.as_ref().map(|key| format!("\nIt was signed by {key} before.")).unwrap_or_default();
    format!("{component}: {name} {version} is signed by {public_key}.\ndigest    {digest}{replaced}")
}

fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the key {}", path.display()))?;
    text.parse().with_context(|| format!("{} is no key to sign with", path.display()))
}

/// Writes beside and renames, with the rights of the component it was made from: nobody finds half a file.
fn replace(from: &Path, to: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::metadata(from)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(to)?;
    data::sync_folder_of(to)?;
    Ok(())
}
