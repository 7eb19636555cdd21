//! Every plugin passes its kit, and the kit can fail.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use throughline_plugin_host::kit::{Logs, Outcome, Report, Subject, test};

#[path = "../hostile/build.rs"]
#[allow(dead_code, reason = "the hostile tests use the rest")]
mod build;
mod failing;

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

/// A copy of the minimal plugin's kit with one file changed.
fn changed(file: &str, from: &str, to: &str) -> (tempfile::TempDir, PathBuf) {
    changed_of("examples/minimal-plugin", &[(file, from, to)])
}

/// A copy of a plugin's kit with some changes, each of which must change something.
fn changed_of(plugin: &str, changes: &[(&str, &str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let kit = folder.path().join("kit");
    std::fs::create_dir(&kit).unwrap();
    let original = repository().join(plugin);
    std::fs::copy(original.join("README.md"), folder.path().join("README.md")).unwrap();
    for entry in std::fs::read_dir(original.join("kit")).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        for (_, from, to) in changes.iter().filter(|(file, _, _)| *file == name) {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{name} has no {from}");
            bytes = text.replace(from, to).into_bytes();
        }
        std::fs::write(kit.join(&name), bytes).unwrap();
    }
    (folder, kit)
}

fn failed(report: &Report) -> Vec<&str> {
    report.failures().map(|line| line.check.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_that_lets_everybody_in_is_noticed() {
    let (_folder, kit) = changed("silo.json", "\"auth\": { \"header\": \"Authorization\", \"value\": \"Bearer {secret:api_token}\" },", "");
    let report = test(subject("minimal", kit), |_| {}).await.unwrap();
    assert_eq!(failed(&report), ["check/bad-credentials"], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_that_shows_nothing_is_noticed() {
    let (_folder, kit) = changed("silo.json", "\"/items\"", "\"/elsewhere\"");
    let report = test(subject("minimal", kit), |_| {}).await.unwrap();
    let failed = failed(&report);
    assert!(failed.contains(&"check/good") && failed.contains(&"read/twice-equal") && failed.contains(&"http/storm-of-500"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_log_is_noticed_and_so_is_a_log_nobody_collects() {
    use std::io::Write as _;
    let mut logs = Logs::default();
    let mut subject = subject("minimal", repository().join("examples/minimal-plugin/kit"));
    subject.logs = Some(logs.clone());
    let report = test(subject.clone(), |_| {}).await.unwrap();
    assert_eq!(failed(&report), ["host/canary-secret-nowhere"], "nothing writes to these logs: {report}");
    logs.write_all(b"the kit looks for secrets in what is logged; token=kit-canary-7f3a91c2d4").unwrap();
    let report = test(subject, |_| {}).await.unwrap();
    let told = report.failures().next().map(|line| line.outcome.clone());
    assert_eq!(told, Some(Outcome::Failed("the secret \"api_token\" turned up in the log".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_that_skips_in_silence_or_is_not_the_plugins_is_refused() {
    for (from, to, word) in [
        ("\"skip\": {", "\"skip\": {\"read/gett\": \"because I say so\",", "read/gett"),
        ("\"skip\": {", "\"skip\": {\"read/get\": \" \",", "reason"),
        ("\"minimal\"", "\"other\"", "\"other\""),
        ("silo.json", "none.json", "none.json"),
    ] {
        let (_folder, kit) = changed("kit.json", from, to);
        let error = test(subject("minimal", kit), |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

/// A plugin that takes every cursor, minds no login page and spares its README.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_keeps_no_promise_fails() {
    let folder = tempfile::tempdir().unwrap();
    let kit = folder.path().join("kit");
    std::fs::create_dir(&kit).unwrap();
    std::fs::write(kit.join("silo.json"), "{}").unwrap();
    let plan = r#"{"plugin": "hostile", "config": {"host": "127.0.0.1"}, "hosts": [], "http": "silo.json", "read": ["echo"]}"#;
    std::fs::write(kit.join("kit.json"), plan).unwrap();
    let subject = Subject { component: build::hostile().to_vec(), ..subject("minimal", kit) };
    let report = test(subject, |_| {}).await.unwrap();
    let failed = failed(&report);
    for check in [
        "manifest/valid",
        "manifest/readme",
        "read/twice-equal",
        "read/garbage-cursor",
        "http/login-page-with-200",
        "write/clear",
        "listen/whole",
    ] {
        assert!(failed.contains(&check), "{check} did not fail: {report}");
    }
}
