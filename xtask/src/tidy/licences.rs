//! Licences of everything that is compiled in, held against the lists of `deny.toml`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Unmaintained libraries that are known to be in the tree, with the advisory that says so.
const UNMAINTAINED: [(&str, &str); 2] = [("fxhash", "RUSTSEC-2025-0057"), ("instant", "RUSTSEC-2024-0384")];

/// Where the hub runs, and what plugins are compiled to.
fn targets() -> [String; 2] {
    [format!("{}-unknown-linux-gnu", std::env::consts::ARCH), "wasm32-unknown-unknown".to_owned()]
}

fn deny() -> toml::Table {
    std::fs::read_to_string(crate::shell::root().join("deny.toml")).unwrap().parse().unwrap()
}

fn allowed() -> BTreeSet<String> {
    let list = deny()["licenses"]["allow"].as_array().unwrap().clone();
    list.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

/// Packages of the whole tree for one target, ours aside: name, version, licence.
fn packages(target: &str) -> Vec<(String, String, String)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
        .current_dir(crate::shell::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |package: &Value, field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let foreign = metadata["packages"].as_array().unwrap().iter().filter(|package| !package["source"].is_null());
    foreign.map(|package| (text(package, "name"), text(package, "version"), text(package, "license"))).collect()
}

/// Whether an SPDX expression can be satisfied with the licences allowed. The old `MIT/Apache-2.0` means OR.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let words: Vec<String> = spaced.split_whitespace().map(|word| word.replace("+WITH+", " WITH ")).collect();
    let mut rest = words.as_slice();
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(words: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let mut good = both(words, allowed);
    while take(words, "OR") {
        good |= both(words, allowed);
    }
    good
}

fn both(words: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let mut good = one(words, allowed);
    while take(words, "AND") {
        good &= one(words, allowed);
    }
    good
}

fn one(words: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    if take(words, "(") {
        let good = either(words, allowed);
        return take(words, ")") && good;
    }
    let Some((licence, rest)) = words.split_first() else { return false };
    *words = rest;
    allowed.contains(licence)
}

fn take(words: &mut &[String], wanted: &str) -> bool {
    let found = words.first().is_some_and(|word| word == wanted);
    if found {
        *words = &words[1..];
    }
    found
}

#[test]
fn every_dependency_has_a_licence_that_we_allow() {
    let allowed = allowed();
    for target in targets() {
        let packages = packages(&target);
        assert!(packages.len() > 50, "only {} packages for {target}", packages.len());
        let wrong: Vec<_> = packages.iter().filter(|(.., licence)| !satisfied(licence, &allowed)).collect();
        assert!(wrong.is_empty(), "licences that deny.toml does not allow: {wrong:?}");
    }
}

#[test]
fn every_unmaintained_dependency_has_its_reason() {
    let deny = deny();
    let ignored = deny["advisories"]["ignore"].as_array().unwrap();
    let names: BTreeSet<String> = targets().iter().flat_map(|target| packages(target)).map(|(name, ..)| name).collect();
    for (name, advisory) in UNMAINTAINED {
        assert!(names.contains(name), "{name} is gone: remove {advisory} from deny.toml and from here");
        let entry =
            ignored.iter().find(|entry| entry["id"].as_str() == Some(advisory)).unwrap_or_else(|| panic!("{advisory} is not in deny.toml"));
        assert!(entry["reason"].as_str().is_some_and(|reason| reason.contains(name) && reason.len() > 30), "{advisory} needs its reason");
    }
    assert_eq!(ignored.len(), UNMAINTAINED.len(), "deny.toml ignores advisories that are not listed here");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed: BTreeSet<String> = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    let table = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT ISC", false),
        ("(MIT", false),
    ];
    for (expression, wanted) in table {
        assert_eq!(satisfied(expression, &allowed), wanted, "{expression:?}");
    }
}
