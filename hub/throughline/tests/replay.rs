//! `throughline plugin replay asterisk` says of every recording what its folder expects.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn replay(arguments: &[&str]) -> Output {
    let built = repository().join("target/plugins");
    assert!(built.join("asterisk.wasm").is_file(), "{} is missing: run cargo xtask plugins", built.join("asterisk.wasm").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    command.args(["plugin", "replay"]).args(arguments).env("THROUGHLINE_PLUGINS", built).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().unwrap()
}

fn lines(text: &[u8]) -> Vec<Value> {
    std::str::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_recording_yields_the_calls_it_expects() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(repository().join("plugins/asterisk/recordings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    assert!(folders.len() >= 28, "recordings are missing: there are {}", folders.len());
    let mut wrong = Vec::new();
    for folder in folders {
        let output = replay(&["asterisk", folder.to_str().unwrap()]);
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (got, want) = (lines(&output.stdout), lines(&std::fs::read(folder.join("expected.jsonl")).unwrap()));
        if !output.status.success() || got != want {
            wrong.push(format!("{name}: {}\ngot {got:#?}\nfor {want:#?}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_stream_alone_is_enough_and_a_call_it_leaves_open_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = std::fs::read(repository().join("plugins/asterisk/recordings/s01-inbound-queue-answered/ami.s2c.raw")).unwrap();
    std::fs::write(folder.path().join("ami.s2c.raw"), &recorded).unwrap();
    let whole = lines(&replay(&["asterisk", folder.path().to_str().unwrap()]).stdout);
    assert_eq!(whole.len(), 1);
    std::fs::write(folder.path().join("ami.s2c.raw"), &recorded[..recorded.len() * 3 / 4]).unwrap();
    let output = replay(&["asterisk", folder.path().to_str().unwrap()]);
    let cut = lines(&output.stdout);
    assert_eq!(cut.len(), 1, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(cut[0]["started_at"], whole[0]["started_at"]);
    assert!(cut[0]["ended_at"].is_string(), "the PBX does not know it any more, so it has ended: {}", cut[0]);
}

#[test]
fn a_call_that_a_crash_ended_is_told_as_lost_and_what_came_after_as_it_was() {
    let restarted = repository().join("plugins/asterisk/recordings/s41-asterisk-restart-mid-call");
    let folder = tempfile::tempdir().unwrap();
    let before = std::fs::read(restarted.join("ami.s2c.raw")).unwrap();
    let crash = before.windows(24).position(|window| window == b"Event: SoftHangupRequest").unwrap();
    std::fs::write(folder.path().join("ami.s2c.raw"), &before[..crash]).unwrap();
    std::fs::copy(restarted.join("ami-r5.s2c.raw"), folder.path().join("ami-r5.s2c.raw")).unwrap();
    let output = replay(&["asterisk", folder.path().to_str().unwrap()]);
    let (got, want) = (lines(&output.stdout), lines(&std::fs::read(restarted.join("expected.jsonl")).unwrap()));
    assert_eq!(got.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
    let keys = |line: &Value| ["outcome", "ended_by", "answered", "agents", "queue", "started_at"].map(|key| line[key].clone());
    let mut lost = keys(&want[0]);
    lost[0] = "unknown".into();
    assert_eq!(keys(&got[0]), lost);
    assert!(got[0]["ended_at"].as_str() <= want[0]["ended_at"].as_str() && got[0]["ended_at"].as_str() > want[0]["started_at"].as_str());
    assert_eq!(got[1], want[1]);
}

#[test]
fn a_pbx_with_other_names_is_replayed_with_its_own_settings() {
    let recorded = std::fs::read(repository().join("plugins/asterisk/recordings/s01-inbound-queue-answered/ami.s2c.raw")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let plain = lines(&replay(&["asterisk", recorded_folder().to_str().unwrap()]).stdout);
    let renamed = String::from_utf8(recorded).unwrap().replace("PJSIP/trunk", "PJSIP/carrier-a").replace("PJSIP/agent1", "PJSIP/desk-17");
    std::fs::write(here("ami-least.s2c.raw"), renamed).unwrap();

    let output = replay(&["asterisk", &here("")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no ami.s2c.raw") && said.contains("PJSIP/carrier-a, PJSIP/desk-17"), "{said}");
    assert!(output.status.success() && lines(&output.stdout).iter().all(|call| call["direction"] == "internal"), "{said}");

    let config = r#"{"trunk_endpoints": ["PJSIP/carrier-*"], "agent_endpoints": {"PJSIP/desk-17": "agent1"}, "ami_port": 1}"#;
    std::fs::write(here("settings.json"), config).unwrap();
    let output = replay(&["asterisk", &here(""), "--settings", &here("settings.json")]);
    assert_eq!(lines(&output.stdout), plain, "{}", String::from_utf8_lossy(&output.stderr));
}

fn recorded_folder() -> PathBuf {
    repository().join("plugins/asterisk/recordings/s01-inbound-queue-answered")
}

#[test]
fn what_cannot_be_replayed_is_an_error_that_says_why() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("ari-rest.jsonl"), "{}\n").unwrap();
    let folder = empty.path().to_str().unwrap();
    let here = |name: &str, bytes: &[u8]| {
        let path = empty.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let parent = |file: String| Path::new(&file).parent().unwrap().to_str().unwrap().to_owned();
    let nothing = parent(here("nothing/ami.s2c.raw", b""));
    let lf_alone = parent(here("lf/ami.s2c.raw", b"Asterisk Call Manager/9.0.0\nEvent: A\n\n"));
    let recorded = recorded_folder().to_str().unwrap().to_owned();
    let (no_json, wrong, list) = (here("no.json", b"{"), here("wrong.json", br#"{"trunk_endpoints": []}"#), here("list.json", b"[]"));
    let unknown = here("unknown.json", br#"{"trunks": ["PJSIP/x"]}"#);
    let table: [(&[&str], &str); 10] = [
        (&["asterisk", &nothing], "it is empty"),
        (&["asterisk", &lf_alone], "LF alone"),
        (&["asterisk", &recorded, "--settings", &no_json], "no.json"),
        (&["asterisk", &recorded, "--settings", &list], "list.json"),
        (&["asterisk", &recorded, "--settings", &wrong], "/trunk_endpoints"),
        (&["asterisk", &recorded, "--settings", &unknown], "trunks"),
        (&["asterisk", folder], "ami.s2c.raw"),
        (&["asterisk", "no/such/folder"], "no/such/folder"),
        (&["nonesuch", folder], "nonesuch.wasm"),
        (&["asterisk", folder, "--component", "nowhere.wasm"], "nowhere.wasm"),
    ];
    for (arguments, word) in table {
        let output = replay(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(word) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
