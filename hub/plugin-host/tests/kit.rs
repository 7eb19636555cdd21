//! Every plugin passes its kit, and the kit can fail.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use throughline_plugin_host::kit::{Report, Subject, test};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn subject(plugin: &str, kit: PathBuf) -> Subject {
    let component = repository().join(format!("target/plugins/{plugin}.wasm"));
    let bytes = std::fs::read(&component).unwrap_or_else(|_| panic!("{} is missing: run cargo xtask plugins", component.display()));
    Subject { component: bytes, kit, cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("kit-cache"), logs: None }
}

async fn report(plugin: &str, kit: &str) -> Report {
    test(subject(plugin, repository().join(kit)), |line| eprintln!("{line}")).await.unwrap()
}

async fn passes(plugin: &str, kit: &str) {
    let report = report(plugin, kit).await;
    assert!(report.is_good(), "{report}");
    assert!(report.calls > 10 && report.peak_memory_bytes > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimal_plugin_passes() {
    passes("minimal", "examples/minimal-plugin/kit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_passes() {
    passes("rest", "plugins/rest/kit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_passes() {
    passes("asterisk", "plugins/asterisk/kit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn email_passes() {
    passes("email", "plugins/email/kit").await;
}
