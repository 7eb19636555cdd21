//! What every source file keeps to.

use std::path::{Path, PathBuf};

/// Longer files hold more than one thing. Generated files and tables of tests are not counted.
const LONGEST_FILE: usize = 700;

fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["schemas", "hub", "plugin-sdk", "plugins", "examples", "tests", "xtask"] {
        collect(&crate::shell::root().join(folder), ending, &mut found);
    }
    found
}

fn collect(folder: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, ending, into);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            into.push(path);
        }
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(crate::shell::root()).unwrap().display().to_string()
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    // A hostile guest does on purpose what the lints forbid.
    let ours = |path: &PathBuf| path.ends_with("Cargo.toml") && !path.components().any(|part| part.as_os_str() == "guests");
    for path in files("toml").into_iter().filter(ours) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{} does not inherit the workspace's lints", shown(&path));
    }
}

#[test]
fn every_module_says_what_it_is() {
    // A file of nothing but tests is explained by the module it tests.
    for path in files("rs").into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.trim_start().starts_with("//!"), "{} has no module documentation", shown(&path));
    }
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    // Spelled in halves, so that this file does not find itself.
    let banned = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore"), concat!("dbg", "!(")];
    for path in files("rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in banned {
            assert!(!text.contains(word), "{} contains {word}", shown(&path));
        }
    }
}

#[test]
fn files_hold_one_thing() {
    for path in files("rs") {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines; split it by what it is responsible for", shown(&path));
    }
}

#[test]
fn no_two_tables_share_their_first_byte() {
    let mut seen = std::collections::BTreeMap::new();
    for path in files("rs").into_iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("hub/store/src/tables"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        for prefix in text.lines().filter_map(|line| line.trim().strip_prefix("const PREFIX: u8 = ")) {
            if let Some(other) = seen.insert(prefix.to_owned(), shown(&path)) {
                panic!("{} and {other} both write under {prefix}", shown(&path));
            }
        }
    }
    assert!(seen.len() > 20, "only {} tables were found", seen.len());
}
