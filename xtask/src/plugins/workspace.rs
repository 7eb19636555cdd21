//! Which crates are guests, and compiling them with one cargo call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::toolchain::Toolchain;

const TARGET: &str = "wasm32-unknown-unknown";
/// The same as `[profile.guest]` of this workspace, for crates outside it.
const PROFILE: [&str; 5] = [
    "profile.guest.inherits=\"release\"",
    "profile.guest.opt-level=\"s\"",
    "profile.guest.lto=true",
    "profile.guest.panic=\"abort\"",
    "profile.guest.debug=false",
];

/// A crate that is a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Its package name.
    pub(crate) package: String,
    /// Its version.
    pub(crate) version: String,
    manifest_path: PathBuf,
}

impl Guest {
    /// The plugin's name as its crate's name says it: `email` of `throughline-plugin-email`, `minimal` of
    /// `throughline-example-minimal-plugin`, `shop` of `shop`.
    pub(crate) fn plugin_name(&self) -> &str {
        let name = &self.package;
        let name = name.strip_prefix("throughline-plugin-").or_else(|| name.strip_prefix("throughline-example-")).unwrap_or(name);
        name.strip_suffix("-plugin").unwrap_or(name)
    }
}

/// A cargo workspace or a single crate.
#[derive(Debug)]
pub(crate) struct Workspace {
    manifest: PathBuf,
    /// Where cargo and we put things.
    pub(crate) target: PathBuf,
    guests: Vec<Guest>,
}

impl Workspace {
    /// Asks cargo about this checkout, or about the crate at `manifest`.
    pub(crate) fn load(manifest: Option<&Path>) -> Result<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let manifest = manifest.unwrap_or(&own);
        let manifest = manifest.canonicalize().with_context(|| format!("there is no crate at {}", manifest.display()))?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed for {}", manifest.display());
        Self::from_metadata(manifest, &serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?)
    }

    fn from_metadata(manifest: PathBuf, metadata: &Value) -> Result<Self> {
        let text =
            |value: &Value, key: &str| value[key].as_str().map(str::to_owned).with_context(|| format!("cargo metadata has no {key}"));
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        // Not cargo's `target_directory`: where the components are must not depend on an environment variable of the outer cargo.
        let target = root.join("target");
        let plugins = root.join("plugins");
        let single = manifest.parent() == Some(root.as_path()) && metadata["packages"].as_array().is_some_and(|all| all.len() == 1);
        let mut guests = Vec::new();
        for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
            let manifest_path = PathBuf::from(text(package, "manifest_path")?);
            let marked = package["metadata"]["throughline"]["guest"] == Value::Bool(true);
            if marked || manifest_path.starts_with(&plugins) || single {
                guests.push(Guest { package: text(package, "name")?, version: text(package, "version")?, manifest_path });
            }
        }
        guests.sort_by(|left, right| left.package.cmp(&right.package));
        Ok(Self { manifest, target, guests })
    }

    /// The guests named by crate or plugin; all if none is.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<Guest>> {
        if names.is_empty() {
            return Ok(self.guests.clone());
        }
        names.iter().map(|name| self.named(name)).collect()
    }

    fn named(&self, name: &str) -> Result<Guest> {
        let found = self.guests.iter().find(|guest| guest.package == name || guest.plugin_name() == name);
        found.cloned().with_context(|| {
            let known: Vec<&str> = self.guests.iter().map(Guest::plugin_name).collect();
            format!("no plugin is called {name:?}; there are {}", known.join(", "))
        })
    }

    /// The guest whose Cargo.toml this is.
    pub(crate) fn package_at(&self, manifest: &Path) -> Result<Guest> {
        let manifest = manifest.canonicalize()?;
        let found = self.guests.iter().find(|guest| guest.manifest_path == manifest);
        found.cloned().with_context(|| {
            format!("{} is not marked as a plugin: add `[package.metadata.throughline]` with `guest = true`", manifest.display())
        })
    }

    /// Compiles the guests and returns the module of each, in the same order.
    pub(crate) fn compile(&self, guests: &[Guest], toolchain: &Toolchain) -> Result<Vec<PathBuf>> {
        let mut command = toolchain.cargo();
        command.args(["build", "--profile", "guest", "--target", TARGET, "--message-format", "json-render-diagnostics", "--manifest-path"]);
        command.arg(&self.manifest).arg("--target-dir").arg(self.target.join("guests").join(toolchain.folder()));
        for setting in PROFILE {
            command.args(["--config", setting]);
        }
        for guest in guests {
            command.args(["--package", &guest.package]);
        }
        let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        ensure!(output.status.success(), "the plugins do not compile");
        let modules = modules(&String::from_utf8_lossy(&output.stdout));
        guests.iter().map(|guest| module_of(guest, &modules)).collect()
    }
}

fn module_of(guest: &Guest, modules: &BTreeMap<PathBuf, PathBuf>) -> Result<PathBuf> {
    match modules.get(&guest.manifest_path) {
        Some(module) => Ok(module.clone()),
        None => {
            bail!("{} gave no WebAssembly module: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`", guest.package)
        }
    }
}

/// From cargo's messages: the Cargo.toml of each crate that gave a module, and the module.
fn modules(messages: &str) -> BTreeMap<PathBuf, PathBuf> {
    let mut modules = BTreeMap::new();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let wasm = files.map(Path::new).find(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        if let (Some(manifest), Some(wasm)) = (message["manifest_path"].as_str(), wasm) {
            modules.insert(manifest.into(), wasm.to_owned());
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace() -> Workspace {
        let package = |name: &str, folder: &str, metadata: Value| json!({"name": name, "version": "0.1.0", "manifest_path": format!("/r/{folder}/Cargo.toml"), "metadata": metadata});
        let metadata = json!({"workspace_root": "/r", "packages": [
            package("throughline-store", "hub/store", Value::Null),
            package("throughline-plugin-rest", "plugins/rest", Value::Null),
            package("throughline-example-minimal-plugin", "examples/minimal-plugin", json!({"throughline": {"guest": true}})),
        ]});
        Workspace::from_metadata("/r/Cargo.toml".into(), &metadata).unwrap()
    }

    #[test]
    fn guests_are_what_is_in_plugins_or_marked() {
        let names = |guests: Vec<Guest>| guests.iter().map(|guest| guest.plugin_name().to_owned()).collect::<Vec<_>>();
        let workspace = workspace();
        assert_eq!(names(workspace.select(&[]).unwrap()), ["minimal", "rest"]);
        assert_eq!(names(workspace.select(&["rest".into()]).unwrap()), ["rest"]);
        assert!(workspace.select(&["store".into()]).unwrap_err().to_string().contains("minimal, rest"));
        assert_eq!(workspace.target, Path::new("/r/target"));
    }

    #[test]
    fn modules_are_found_in_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/r/a/Cargo.toml\",\"filenames\":[\"/t/liba.rlib\",\"/t/a.wasm\"]}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/r/b/Cargo.toml\",\"filenames\":[\"/t/libb.rlib\"]}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(modules(messages), BTreeMap::from([(PathBuf::from("/r/a/Cargo.toml"), PathBuf::from("/t/a.wasm"))]));
    }
}
