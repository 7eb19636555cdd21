//! Bad input, by name: each has a clear answer that names the place, and leaves nothing behind.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::hub::{Answer, component};
use throughline_tests::stage::Stage;
use throughline_tests::wait::PATIENCE;

/// The custom section of a component that holds its manifest.
const MANIFEST_SECTION: &str = "throughline:manifest";

/// What was asked, what is to be answered, and where the fault is.
struct Case {
    what: &'static str,
    body: Vec<u8>,
    status: u16,
    kind: &'static str,
    pointer: Option<&'static str>,
}

fn case(what: &'static str, body: impl Into<Vec<u8>>, status: u16, kind: &'static str, pointer: Option<&'static str>) -> Case {
    Case { what, body: body.into(), status, kind, pointer }
}

fn post(stage: &Stage, path: &str, body: &[u8]) -> Result<Answer> {
    let kind = if path == "/v1/plugins" { "application/wasm" } else { "application/json" };
    stage.client.request("POST", path, &[("content-type", kind)], Some(body))
}

/// Posts what is bad and holds the answer to what it should be.
fn refused(stage: &Stage, path: &str, case: &Case) -> Result<()> {
    let answer = post(stage, path, &case.body).with_context(|| case.what.to_owned())?;
    let problem = &answer.body;
    let kind = problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:throughline:problem:");
    ensure!((answer.status, kind) == (case.status, case.kind), "{}: {answer:?}", case.what);
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure!(!detail.is_empty() && problem["request_id"].is_string(), "{}: {problem}", case.what);
    if let Some(wanted) = case.pointer {
        let errors = problem["errors"].as_array().context("it has errors")?;
        ensure!(errors.iter().any(|error| error["pointer"] == wanted), "{}: no error at {wanted}: {problem}", case.what);
    }
    Ok(())
}

/// Everything that could have been half applied.
fn state(stage: &Stage) -> Result<Vec<Value>> {
    let lists = ["/v1/plugins", "/v1/connections", "/v1/profiles", "/v1/enquiries", "/v1/dead-letters"];
    lists.iter().map(|path| stage.client.get(path).map(|list| list["items"].clone())).collect()
}

fn unharmed(stage: &Stage, before: &[Value]) -> Result<()> {
    ensure!(stage.is_ready()?, "the hub is ready");
    ensure!(state(stage)? == before, "nothing is half applied: {:?}", state(stage)?);
    Ok(())
}

#[test]
fn json_that_is_none_or_says_other_things() {
    Stage::play(&[], |stage| {
        let before = state(stage)?;
        let good = json!({ "name": "x", "plugin": "rest", "config": {} });
        let cases = [
            case("nothing at all", "", 400, "malformed-json", None),
            case("a brace", "{", 400, "malformed-json", None),
            case("two values", format!("{good} {good}"), 400, "malformed-json", None),
            case("deep nesting", format!("{{\"config\":{}", "[".repeat(100_000)), 400, "malformed-json", None),
            case("invalid UTF-8", b"{\"name\":\"\xc3\x28\"}".to_vec(), 400, "invalid-utf8", None),
            case("another type", "[]", 422, "invalid", Some("")),
            case("a number for a name", "{\"name\":7}", 422, "invalid", Some("/name")),
            case("a missing field", "{\"name\":\"x\"}", 422, "invalid", Some("/plugin")),
            case("an unknown field", json!({"name": "x", "plugin": "rest", "colour": "red"}).to_string(), 422, "invalid", Some("/colour")),
            case(
                "an unknown field further down",
                json!({"name": "x", "plugin": "rest", "grants": {"hosts": [], "files": ["/"]}}).to_string(),
                422,
                "invalid",
                Some("/grants/files"),
            ),
            case("a plugin that is not there", good.to_string(), 422, "invalid", Some("/plugin")),
        ];
        for case in &cases {
            refused(stage, "/v1/connections", case)?;
        }
        for path in ["/v1/connections", "/v1/plugins"] {
            let answer = announced(stage, path)?;
            ensure!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("urn:throughline:problem:too-large"), "{path}: {answer}");
        }
        unharmed(stage, &before)
    });
}

/// What the hub says to a body that is announced as far too large, before any of it is sent.
fn announced(stage: &Stage, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(stage.hub.url().trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 9999999999\r\nConnection: close\r\n\r\n",
        stage.hub.key()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn components_that_are_none_or_lie() {
    Stage::play(&[], |stage| {
        let before = state(stage)?;
        let good = component("minimal")?;
        let changed = |change: &dyn Fn(&mut Value)| -> Result<Vec<u8>> {
            let mut manifest: Value = serde_json::from_str(include_str!("../../examples/minimal-plugin/manifest.json"))?;
            change(&mut manifest);
            Ok(with_manifest(&good, &manifest))
        };
        let cases = [
            case("no bytes", "", 422, "plugin-refused", None),
            case("a picture", b"\x89PNG\r\n\x1a\n".to_vec(), 422, "plugin-refused", None),
            case("a core module", b"\0asm\x01\0\0\0".to_vec(), 422, "plugin-refused", None),
            case("half a component", good[..good.len() / 2].to_vec(), 422, "plugin-refused", None),
            case("another WIT version", changed(&|it| it["wit"] = "9.9.9".into())?, 422, "plugin-refused", None),
            case("no version", changed(&|it| it["version"] = "newest".into())?, 422, "plugin-refused", None),
            case("any host", changed(&|it| it["capabilities"]["hosts"] = json!(["*"]))?, 422, "plugin-refused", None),
            case("HTTP kept quiet", changed(&|it| it["capabilities"] = json!({}))?, 422, "plugin-refused", None),
            case(
                "a channel that it has not",
                changed(&|it| it["channels"] = json!([{"channel": "email", "can": ["message"]}]))?,
                422,
                "plugin-refused",
                None,
            ),
            case("a schema that is none", changed(&|it| it["config"] = json!({"type": "objekt"}))?, 422, "plugin-refused", None),
        ];
        for case in &cases {
            refused(stage, "/v1/plugins", case)?;
        }
        let other_wit = post(stage, "/v1/plugins", &cases[4].body)?.body["detail"].to_string();
        ensure!(other_wit.contains("9.9.9") && other_wit.contains("0.1.0"), "it says which version it is and which would do: {other_wit}");
        unharmed(stage, &before)?;
        ensure!(post(stage, "/v1/plugins", &good)?.status == 201, "the honest one is still taken");
        Ok(())
    });
}

/// The component with another manifest on the outside, which is the one that counts.
fn with_manifest(component: &[u8], manifest: &Value) -> Vec<u8> {
    let data = manifest.to_string();
    let mut section = Vec::new();
    leb128(MANIFEST_SECTION.len(), &mut section);
    section.extend(MANIFEST_SECTION.bytes());
    section.extend(data.bytes());
    let mut bytes = without_manifest(component);
    bytes.push(0);
    leb128(section.len(), &mut bytes);
    bytes.extend(section);
    bytes
}

/// The component's sections but the custom one that a packager put the manifest into.
fn without_manifest(component: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    leb128(MANIFEST_SECTION.len(), &mut name);
    name.extend(MANIFEST_SECTION.bytes());
    let (mut kept, mut at) = (component[..8].to_vec(), 8);
    while at < component.len() {
        let (length, begin) = read_leb128(component, at + 1);
        if component[at] != 0 || !component[begin..begin + length].starts_with(&name) {
            kept.extend(&component[at..begin + length]);
        }
        at = begin + length;
    }
    kept
}

/// A number and where the bytes after it begin.
fn read_leb128(bytes: &[u8], at: usize) -> (usize, usize) {
    let length = bytes[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let number = bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f));
    (number, at + length)
}

fn leb128(mut number: usize, into: &mut Vec<u8>) {
    while number > 0x7f {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[test]
fn config_that_violates_the_schema() {
    Stage::play(&["email", "rest"], |stage| {
        let before = state(stage)?;
        let mailbox = |change: &dyn Fn(&mut Value)| {
            let mut connection = json!({ "name": "mailbox", "plugin": "email", "config": {
                "address": "us@x.test", "username": "us", "imap_host": "imap.x.test", "imap_port": 993,
                "smtp_host": "smtp.x.test", "smtp_port": 465 } });
            change(&mut connection);
            connection.to_string()
        };
        let cases = [
            case("a port too high", mailbox(&|it| it["config"]["imap_port"] = 70_000.into()), 422, "invalid", Some("/config/imap_port")),
            case("a port in words", mailbox(&|it| it["config"]["imap_port"] = "imap".into()), 422, "invalid", Some("/config/imap_port")),
            case(
                "no such security",
                mailbox(&|it| it["config"]["imap_security"] = "rot13".into()),
                422,
                "invalid",
                Some("/config/imap_security"),
            ),
            case("an empty host", mailbox(&|it| it["config"]["imap_host"] = "".into()), 422, "invalid", Some("/config/imap_host")),
            case("config that is a list", mailbox(&|it| it["config"] = json!([])), 422, "invalid", Some("/config")),
            case(
                "a host that nobody asked for",
                mailbox(&|it| it["grants"] = json!({ "hosts": ["https://evil.example"] })),
                422,
                "invalid",
                Some("/grants/hosts/0"),
            ),
            case(
                "a pattern that is none",
                mailbox(&|it| it["extract"] = json!([{ "variable": "order", "pattern": "(" }])),
                422,
                "invalid",
                Some("/extract/0/pattern"),
            ),
            case(
                "an entity that is not there",
                mailbox(&|it| it["sync"] = json!({ "contacts": {} })),
                422,
                "invalid",
                Some("/sync/contacts"),
            ),
            case("a region of its own", mailbox(&|it| it["region"] = "Britain".into()), 422, "invalid", Some("/region")),
            case("no name", mailbox(&|it| it["name"] = " ".into()), 422, "invalid", Some("/name")),
            case("another version", mailbox(&|it| it["plugin_version"] = "9.9.9".into()), 422, "invalid", Some("/plugin")),
        ];
        for case in &cases {
            refused(stage, "/v1/connections", case)?;
        }
        unharmed(stage, &before)?;
        what_is_there_stays(stage, &mailbox(&|it| it["paused"] = true.into()))
    });
}

/// A change that is refused changes nothing of what was there.
fn what_is_there_stays(stage: &Stage, good: &str) -> Result<()> {
    let id = stage.connect(&serde_json::from_str(good)?)?;
    let path = format!("/v1/connections/{id}");
    let before = stage.client.request("GET", &path, &[], None)?;
    let tag = before.etag.clone().context("it has an ETag")?;
    let bad = [
        json!({ "name": "renamed", "config": { "imap_port": 0 } }),
        json!({ "name": "renamed", "grants": { "hosts": ["*"] } }),
        json!({ "name": "renamed", "colour": "red" }),
    ];
    for patch in bad {
        let headers = [("content-type", "application/json"), ("if-match", tag.as_str())];
        let answer = stage.client.request("PATCH", &path, &headers, Some(patch.to_string().as_bytes()))?;
        ensure!(answer.status == 422, "{patch}: {answer:?}");
    }
    let after = stage.client.request("GET", &path, &[], None)?;
    ensure!((&after.body, &after.etag) == (&before.body, &before.etag), "it is as it was: {after:?}");
    Ok(())
}
