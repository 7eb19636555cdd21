//! Every check can fail: plugins and silos that break one promise each, and the check that says so and why.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use throughline_plugin_host::kit::{Outcome, Report, Subject, test};

use super::{build, changed_of, subject};

/// Asserts that the check failed and that its reason has this in it.
fn must_fail(report: &Report, check: &str, reason: &str) {
    let line = report.checks.iter().find(|line| line.check == check).unwrap_or_else(|| panic!("there is no check {check}"));
    match &line.outcome {
        Outcome::Failed(text) => assert!(text.contains(reason), "{check} failed for another reason than {reason:?}: {text}"),
        other => panic!("{check} must fail and is {other:?}: {report}"),
    }
}

async fn broken(plugin: &str, folder: &str, changes: &[(&str, &str, &str)]) -> Report {
    let (_folder, kit) = changed_of(folder, changes);
    test(subject(plugin, kit), |_| {}).await.unwrap()
}

async fn rest(changes: &[(&str, &str, &str)]) -> Report {
    broken("rest", "plugins/rest", changes).await
}

/// The plugin that does what it is told, with this plan and these scripts.
async fn hostile(plan: Value, scripts: &[(&str, Value)]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let kit = folder.path().join("kit");
    std::fs::create_dir(&kit).unwrap();
    let mut plan = plan;
    plan["plugin"] = json!("hostile");
    for (name, script) in scripts {
        write(&kit.join(name), script);
    }
    write(&kit.join("kit.json"), &plan);
    std::fs::write(kit.join("lines.txt"), "one\r\ntwo\r\nthree\r\n").unwrap();
    let component = build::with_manifest(build::hostile(), promising().to_string().as_bytes());
    test(Subject { component, ..subject("minimal", kit) }, |_| {}).await.unwrap()
}

/// A manifest that promises more than its own does, and breaks the rules of manifests.
fn promising() -> Value {
    let mut manifest: Value = serde_json::from_str(include_str!("../guests/hostile/manifest.json")).unwrap();
    manifest["config"]["properties"]["password"] = json!({"type": "string"});
    manifest["auth"] = json!([{"method": "basic", "secret": "password"}]);
    manifest["channels"] = json!([{"channel": "chat", "can": ["message"]}]);
    manifest["breaking_changes"] = json!({"1.0.1": "breaks with a patch"});
    manifest["actions"] = json!({"fetch": {"summary": "Fetches", "input": {}, "output": {}}});
    manifest
}

fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

/// A plan of one action that fetches from the silo.
fn acting(path: &str) -> Value {
    json!({
        "config": {"host": "127.0.0.1", "port": "{http.port}"}, "hosts": ["http://{config.host}:{config.port}"], "http": "silo.json",
        "act": {"action": "fetch", "input": {"method": "POST", "url": path, "body": "{}"}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_not_found_again_is_made_again() {
    let report = rest(&[("kit.json", "\"delete\": { \"path\": \"/webhooks/{key}\" }", "\"url\": \"/id\"")]).await;
    must_fail(&report, "webhook/ensure-twice-one-hook", "registered twice");
    must_fail(&report, "webhook/ensure-at-another-address", "registered at a new address");
    must_fail(&report, "webhook/ensure-lost-response-one-hook", "trying again: the silo has");
    must_fail(&report, "webhook/list-shows-it", "does not list");
    must_fail(&report, "webhook/remove", "removed: the silo has");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_registers_in_silence_is_noticed() {
    let report = rest(&[("kit.json", ",\n    \"registration\": { \"collection\": \"/webhooks\", \"address_at\": \"/url\" }", "")]).await;
    must_fail(&report, "webhook/registration-declared", "it succeeded");
    let lists_nobody = rest(&[("silo.json", "{ \"id\": \"w1\", \"url\": \"https://mailings.example.net/hooks/other\" }", "")]).await;
    must_fail(&lists_nobody, "webhook/remove", "a registration of somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_calls_a_failing_silo_a_success_is_noticed() {
    let plan = json!({
        "config": {}, "hosts": [], "http": "silo.json",
        "webhook": {
            "body": "{}", "proof": {"kind": "token", "secret": "hook", "header": "X-Token"},
            "registration": {"collection": "/hooks", "address_at": "/url"},
        },
        "secrets": {"hook": "kit-canary-of-the-hook"},
    });
    let silo = json!({"collections": {"/hooks": {"records": [{"id": "w1", "url": "https://other.example"}]}}});
    let report = hostile(plan, &[("silo.json", silo)]).await;
    must_fail(&report, "webhook/registration-at-a-failing-silo", "registering at Broken: it succeeded");
    must_fail(&report, "webhook/ensure-twice-one-hook", "registered once");
    must_fail(&report, "webhook/bad-signature", "answered 200");
    must_fail(&report, "webhook/re-serialised-body", "a token proves nothing about the body");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_done_twice_under_one_key_is_noticed() {
    let silo = json!({"collections": {"/calls": {"records": [], "writable": true, "named": true}}});
    let each_time_anew = hostile(acting("{http}/calls"), &[("silo.json", silo.clone())]).await;
    must_fail(&each_time_anew, "act/same-key-one-effect", "acting twice under one key: 2 effects");
    must_fail(&each_time_anew, "act/lost-response-then-retry-one-effect", "trying again: 2 effects");
    let deaf_to_keys = hostile(acting("{http}/calls/the-one"), &[("silo.json", silo)]).await;
    must_fail(&deaf_to_keys, "act/other-key-other-effect", "acting under two keys: 1 effects");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_believes_what_it_hears_twice_or_in_any_order_is_noticed() {
    let plan = json!({
        "config": {"mode": "listen-lines", "host": "127.0.0.1", "port": "{lines.port}"},
        "hosts": ["tcp://{config.host}:{config.port}"], "tcp": {"lines": "lines.json"}, "most_cuts": 3,
    });
    let script = |in_order: &str| {
        let rule = json!({"on": "^go$", "file": "lines.txt", "close": true});
        json!({"in_order": in_order, "rules": [rule]})
    };
    let report = hostile(plan.clone(), &[("lines.json", script("^no-line-is-like-this$"))]).await;
    must_fail(&report, "listen/everything-twice", "Doubled");
    must_fail(&report, "listen/out-of-order", "Swapped(0)");
    let shows_nothing = hostile(plan, &[("lines.json", script("(?s)^.*()$"))]).await;
    must_fail(&shows_nothing, "listen/out-of-order", "nothing was shown");
}

/// What no other test here fails for a reason of its own: a plugin that agrees to everything and one that reports nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn every_check_can_fail() {
    let message = json!({"to": ["ada@example.com"], "text": "Hello"});
    let agreeable = json!({
        "config": {"mode": "agreeable", "host": "127.0.0.1"}, "hosts": [], "http": "silo.json", "secrets": {"password": "kit-canary-0123456"},
        "send": {"message": message, "refused": message}, "act": {"action": "fetch", "input": {}},
    });
    let agreeable = hostile(agreeable, &[("silo.json", json!({}))]).await;
    for (check, reason) in [
        ("manifest/secrets-marked", "\"password\" sounds like a secret"),
        ("manifest/breaking-changes", "cannot come with version 1.0.1"),
        ("manifest/readme", "README.md"),
        ("check/bad-credentials", "it succeeded"),
        ("check/expired-credentials", "it succeeded"),
        ("check/insufficient-rights", "it succeeded"),
        ("read/unknown-entity", "it succeeded"),
        ("send/delivered", "0 messages arrived"),
        ("send/same-key-same-message", "the same key made"),
        ("send/invalid-recipient", "it succeeded"),
        ("send/lost-response", "spoken to"),
        ("act/unknown-action", "it succeeded"),
        ("host/denied-host-is-a-clean-error", "it succeeded"),
    ] {
        must_fail(&agreeable, check, reason);
    }
    let nonsense = hostile(json!({"config": {"mode": "bad-report"}, "hosts": [], "http": "silo.json"}), &[("silo.json", json!({}))]).await;
    must_fail(&nonsense, "check/good", "Bug");
    must_fail(&nonsense, "host/memory-limit-contained", "another connection suffered too");
    must_fail(&nonsense, "host/time-limit-contained", "does not name the limit");
    let careless = rest(&[
        ("kit.json", ", \"after\": \"{after_id}\"", ""),
        ("kit.json", "\"idempotency\": { \"kind\": \"upsert\", \"field\": \"ext_id\" }", "\"idempotency\": { \"kind\": \"none\" }"),
        ("kit.json", "\"cleared_at\": \"/phone\"", "\"cleared_at\": \"/name\""),
        ("kit.json", "\"delete\": { \"path\": \"/contacts/{key}\" }", "\"delete\": { \"path\": \"/contacts/nobody\" }"),
        ("kit.json", "\"merged\": { \"pointer\": \"/merged_into\" },", ""),
        ("silo.json", "\"refuse\": { \"email\": \"refused@example.com\" },", ""),
    ])
    .await;
    for check in [
        "read/page-sizes-equal",
        "read/ties-at-page-boundary",
        "read/merged-and-moved",
        "write/same-twice-one-effect",
        "write/lost-response-then-retry-one-effect",
        "write/partial-failure-per-item",
        "write/clear",
        "write/delete",
    ] {
        must_fail(&careless, check, "");
    }
    let checks = |report: &Report| -> BTreeSet<String> { report.checks.iter().map(|line| line.check.clone()).collect() };
    let failed = |report: &Report| -> BTreeSet<String> { report.failures().map(|line| line.check.clone()).collect() };
    // The other tests show how these fail.
    let elsewhere = |check: &String| check.starts_with("webhook/") || check.starts_with("listen/") || check == "host/canary-secret-nowhere";
    let seen: BTreeSet<String> = [&agreeable, &nonsense, &careless].into_iter().flat_map(failed).collect();
    let never: Vec<String> = checks(&agreeable).difference(&seen).filter(|check| !elsewhere(check)).cloned().collect();
    assert!(never.is_empty(), "these have failed in no test: {never:?}");
}
