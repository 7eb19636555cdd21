//! The recordings and what came of them, shared by the tests that replay them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use throughline_plugin_asterisk::ami::{Frame, Message, Parser};
use throughline_plugin_asterisk::call::{Assembler, Snapshot};
use throughline_plugin_asterisk::config::Config;
use throughline_plugin_sdk::schemas::replay::replay_line;
use throughline_plugin_sdk::schemas::{InteractionFact, Timestamp};

pub fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

/// Every recording's folder.
pub fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(recordings()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() >= 28, "recordings are missing");
    folders
}

/// The manager streams of a recording, in order of connection: the first, and the one after a reconnect.
pub fn streams(folder: &Path) -> Vec<Vec<u8>> {
    let names = ["ami.s2c.raw", "ami-tls.s2c.raw", "ami-r5.s2c.raw", "ami-bad-secret.s2c.raw"];
    let streams: Vec<Vec<u8>> = names.iter().filter_map(|name| std::fs::read(folder.join(name)).ok()).collect();
    assert!(!streams.is_empty(), "{} holds no manager stream", folder.display());
    streams
}

pub fn expected(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn config() -> Config {
    serde_json::from_value(config_json()).unwrap()
}

pub fn config_json() -> Value {
    json!({
        "pbx_id": "pbx-1", "ami_host": "127.0.0.1", "ami_port": 5038, "ami_security": "plain", "ami_username": "throughline",
        "ari_url": "http://127.0.0.1:8088/ari", "ari_username": "throughline", "ari_app": "throughline",
        "trunk_endpoints": ["PJSIP/trunk"], "agent_endpoints": {}, "internal_extensions": ["1001", "1002", "1003"], "region": "GB",
    })
}

pub fn messages(stream: &[u8]) -> Vec<Message> {
    chunked(stream, &[stream.len().max(1)])
}

/// The messages of a stream that arrives in pieces of these sizes, over and over.
pub fn chunked(stream: &[u8], sizes: &[usize]) -> Vec<Message> {
    let mut parser = Parser::new();
    let mut messages = Vec::new();
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    while at < stream.len() {
        let to = (at + sizes.next().unwrap().max(&1)).min(stream.len());
        messages.extend(parser.feed(&stream[at..to]).into_iter().filter_map(|frame| match frame {
            Frame::Message(message) => Some(message),
            Frame::Banner(_) => None,
        }));
        at = to;
    }
    assert!(parser.is_at_boundary(), "the recording ends within a message");
    messages
}

pub fn assemble<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<Snapshot> {
    let mut assembler = Assembler::new(config());
    let mut snapshots = Vec::new();
    for message in messages {
        assembler.apply(message, Timestamp::from_millis(0));
        snapshots.extend(assembler.take());
    }
    snapshots
}

/// What is said last of each call, by the call's key.
pub fn last(snapshots: &[Snapshot]) -> BTreeMap<String, InteractionFact> {
    snapshots.iter().map(|snapshot| (snapshot.call.clone(), snapshot.fact.clone())).collect()
}

/// The lines `throughline plugin replay` prints, in order of beginning.
pub fn lines(facts: impl IntoIterator<Item = InteractionFact>) -> Vec<Value> {
    let mut lines: Vec<Value> = facts.into_iter().filter_map(|fact| replay_line(&fact)).collect();
    lines.sort_by_key(|line| line["started_at"].as_str().unwrap().to_owned());
    lines
}
