//! `throughline plugin new`: the template that comes with the SDK, under another name.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::output;

macro_rules! template {
    ($($to:literal = $from:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("../../../../plugin-sdk/template/", $from)))),*]
    };
}

/// File to make, and its text with `@NAME@` and `@SDK@` to be filled in.
const FILES: &[(&str, &str)] = template! {
    "Cargo.toml" = "Cargo.toml.in",
    "manifest.json" = "manifest.json.in",
    "README.md" = "README.md.in",
    "BEHAVIOR.md" = "BEHAVIOR.md.in",
    ".gitignore" = "gitignore.in",
    "src/lib.rs" = "src/lib.rs.in",
    "src/tests.rs" = "src/tests.rs.in",
    "kit/kit.json" = "kit/kit.json.in",
    "kit/silo.json" = "kit/silo.json.in",
};

const LONGEST_NAME: usize = 64;
/// Crates that the new one depends on, or that are always there.
const TAKEN: &[&str] = &["throughline-plugin-sdk", "serde", "serde-json", "std", "core", "alloc", "test", "proc-macro"];

#[derive(Serialize)]
struct Made {
    name: String,
    folder: String,
    sdk: String,
}

pub(crate) fn run(name: &str, into: Option<&Path>, sdk: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    check_name(name)?;
    let folder = into.unwrap_or(Path::new(name));
    if folder.exists() {
        bail!("{} is there already; choose another folder with --into", folder.display());
    }
    let sdk = find_sdk(sdk)?;
    let written = write(name, folder, &sdk);
    if written.is_err() {
        // Made by us a moment ago: half of a plugin is of no use.
        drop(fs::remove_dir_all(folder));
    }
    let sdk = written?;
    let made = Made { name: name.to_owned(), folder: folder.display().to_string(), sdk: sdk.display().to_string() };
    output::print(json, &made, || {
        format!(
            "{0} is a new plugin; its SDK is {1}.\n  cd {0} && cargo test\nREADME.md says what comes next, docs/write-a-plugin.md how it all works.",
            made.folder, made.sdk
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let good = (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    if !good {
        bail!(
            "{name:?} is no name for a plugin: lower-case letters, digits and hyphens, a letter first, no hyphen last, {LONGEST_NAME} at most"
        );
    }
    if TAKEN.contains(&name) {
        bail!("{name:?} is the name of a library that every plugin uses; choose another");
    }
    Ok(())
}

/// The folder given, or the one of the checkout that we are in.
fn find_sdk(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        if !is_sdk(given) {
            bail!("--sdk {} is not the SDK: there is no Cargo.toml of throughline-plugin-sdk in it", given.display());
        }
        return Ok(fs::canonicalize(given)?);
    }
    let here = std::env::current_dir().context("the current folder is gone")?;
    let found = here.ancestors().map(|folder| folder.join("plugin-sdk")).find(|folder| is_sdk(folder));
    found.context(
        "the SDK is part of a checkout of Throughline: give its folder with --sdk PATH/plugin-sdk, or run this inside the checkout",
    )
}

fn is_sdk(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"throughline-plugin-sdk\""))
}

/// Writes the files; gives the SDK's path as it was written down.
fn write(name: &str, folder: &Path, sdk: &Path) -> anyhow::Result<PathBuf> {
    let failed = |path: &Path| format!("cannot write {}", path.display());
    for part in ["src", "kit"] {
        fs::create_dir_all(folder.join(part)).with_context(|| failed(folder))?;
    }
    let sdk = path_between(&fs::canonicalize(folder)?, sdk);
    // A JSON string is a TOML string.
    let dependency = format!("{{ path = {} }}", serde_json::to_string(&sdk.to_string_lossy())?);
    for (file, text) in FILES {
        let path = folder.join(file);
        fs::write(&path, text.replace("@NAME@", name).replace("@SDK@", &dependency)).with_context(|| failed(&path))?;
    }
    Ok(sdk)
}

/// How `to` is reached from `from`: relative where both are in one place that may be moved as a whole, else absolute. Both absolute.
fn path_between(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return to.to_owned();
    }
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_the_hub_takes() {
        for good in ["a", "acme-crm", "x25"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Acme", "9a", "a_b", "a-", "-a", "../a", "serde", "a b", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_way_to_the_sdk_is_relative_within_one_place() {
        for (from, to, wanted) in [
            ("/src/tl/plugins/new", "/src/tl/plugin-sdk", "../../plugin-sdk"),
            ("/home/me/new", "/opt/tl/plugin-sdk", "/opt/tl/plugin-sdk"),
            ("/src/new", "/src/tl/plugin-sdk", "../tl/plugin-sdk"),
        ] {
            assert_eq!(path_between(Path::new(from), Path::new(to)), Path::new(wanted), "{from} {to}");
        }
    }
}
