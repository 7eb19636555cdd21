//! Who may know whom: read from `cargo metadata`, so that a new edge has to be argued for here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Our crates and which of ours each may depend on, tests included.
const EDGES: [(&str, &[&str]); 15] = [
    ("throughline-schemas", &[]),
    ("throughline-domain", &["throughline-schemas"]),
    ("throughline-store", &["throughline-schemas", "throughline-domain"]),
    ("throughline-engine", &["throughline-schemas", "throughline-domain", "throughline-store"]),
    ("throughline-simulation", &["throughline-schemas", "throughline-domain", "throughline-store", "throughline-engine"]),
    ("throughline-plugin-host", &["throughline-schemas", "throughline-domain"]),
    ("throughline-api", &["throughline-schemas", "throughline-domain", "throughline-store", "throughline-engine"]),
    (
        "throughline",
        &[
            "throughline-schemas",
            "throughline-domain",
            "throughline-store",
            "throughline-engine",
            "throughline-plugin-host",
            "throughline-api",
        ],
    ),
    ("throughline-plugin-sdk", &["throughline-schemas"]),
    ("throughline-plugin-email", &["throughline-plugin-sdk"]),
    ("throughline-plugin-asterisk", &["throughline-plugin-sdk"]),
    ("throughline-plugin-rest", &["throughline-plugin-sdk"]),
    ("throughline-example-minimal-plugin", &["throughline-plugin-sdk"]),
    ("throughline-tests", &[]),
    ("xtask", &["throughline-tests", "throughline-schemas", "throughline-plugin-sdk"]),
];

/// Libraries that only these crates may know (tests aside).
const EXCLUSIVE: [(&str, &[&str]); 6] = [
    ("wasmtime", &["throughline-plugin-host"]),
    ("sled", &["throughline-store"]),
    ("axum", &["throughline-api", "throughline"]),
    ("rlibphonenumber", &["throughline-domain"]),
    ("clap", &["throughline", "xtask"]),
    ("anyhow", &["throughline", "throughline-tests", "xtask"]),
];

/// Crates without an async runtime.
const SYNCHRONOUS: [&str; 3] = ["throughline-schemas", "throughline-domain", "throughline-store"];

struct Dependency {
    name: String,
    test_only: bool,
}

fn packages() -> BTreeMap<String, Vec<Dependency>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(crate::shell::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), dependencies(package))).collect()
}

fn dependencies(package: &Value) -> Vec<Dependency> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.map(|dependency| Dependency { name: dependency["name"].as_str().unwrap().to_owned(), test_only: dependency["kind"] == "dev" })
        .collect()
}

#[test]
fn no_crate_knows_a_crate_it_should_not() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    for (name, dependencies) in packages() {
        let Some(allowed) = allowed.get(name.as_str()) else { continue };
        let ours = dependencies.iter().filter(|dependency| EDGES.iter().any(|(ours, _)| *ours == dependency.name));
        for dependency in ours {
            assert!(allowed.contains(dependency.name.as_str()), "{name} must not depend on {}: see ARCHITECTURE.md", dependency.name);
        }
    }
}

#[test]
fn every_crate_has_its_place() {
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let found = packages();
    for name in found.keys() {
        assert!(
            known.contains(name.as_str()) || name.contains("guest"),
            "{name} has no place in the layers: add it to EDGES and to ARCHITECTURE.md"
        );
    }
    for name in known {
        assert!(found.contains_key(name), "{name} is gone: remove it from EDGES");
    }
}

#[test]
fn each_heavy_library_is_known_to_its_crates_only() {
    for (name, dependencies) in packages() {
        for (library, owners) in EXCLUSIVE {
            let knows = dependencies.iter().any(|dependency| dependency.name == library && !dependency.test_only);
            assert!(!knows || owners.contains(&name.as_str()), "{name} must not depend on {library}; only {owners:?} may");
        }
        let runtime = dependencies.iter().any(|dependency| dependency.name == "tokio" && !dependency.test_only);
        assert!(!(runtime && SYNCHRONOUS.contains(&name.as_str())), "{name} must not depend on tokio");
    }
}
