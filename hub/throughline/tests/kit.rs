//! `throughline plugin test`: a good plugin passes with exit code 0, a kit that is not kept ends with 1. What each check finds is tested
//! beside the kit.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn plugin_test(more: &[&str]) -> Output {
    let component = repository().join("target/plugins/minimal.wasm");
    assert!(component.is_file(), "{} is missing: run cargo xtask plugins", component.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    command.args(["plugin", "test"]).arg(component).args(more).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_good_plugin_passes_with_its_kit_found_by_itself() {
    let output = plugin_test(&[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for line in ["✓ check/good", "✓ host/canary-secret-nowhere", "– listen/whole: not applicable", "peak memory"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains('✗'), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&plugin_test(&["--json"]).stdout).unwrap();
    assert_eq!(report["plugin"], "minimal");
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["outcome"] != "failed"), "{report}");
}

#[test]
fn a_broken_promise_ends_with_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let kit = folder.path().join("kit");
    std::fs::create_dir(&kit).unwrap();
    for file in ["kit.json", "silo.json"] {
        std::fs::copy(repository().join("examples/minimal-plugin/kit").join(file), kit.join(file)).unwrap();
    }
    let output = plugin_test(&["--kit", kit.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("✗ manifest/readme") && said.contains("1 failed"), "there is no README beside this kit: {said}");
    let output = plugin_test(&["--kit", "no/such/kit"]);
    assert!(!output.status.success() && text(&output.stderr).contains("kit.json"), "{}", text(&output.stderr));
}
