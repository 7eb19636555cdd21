//! A plugin that does what it is told, mostly bad things: the host's tests name the deed in `entity` or in the config's `mode`.
//!
//! Written against bare wit-bindgen and not against the SDK, which would keep it from half of this.

// Only ever a guest: the names its bindings export are none that a native library could have.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "generated bindings, and deeds that are meant to fail")]

wit_bindgen::generate!({
    path: "../../../../../schemas/wit/0.1.0",
    world: "full",
    generate_all,
});

use std::cell::RefCell;

use exports::throughline::connector::{channel, listener, plugin, sink, source, webhook};
use serde_json::{Value, json};
use throughline::connector::types::{Error, ErrorClass, Found, HttpRequest, HttpResponse, Item, ItemKind, Op, Outcome, Page, Written};
use throughline::connector::{blobs, clock, control, emit, http, log, net, random, secrets, state};

/// The manifest of the well-behaved variant; the tests put others in its place.
#[cfg(target_arch = "wasm32")]
#[unsafe(link_section = "throughline:manifest")]
#[used]
static MANIFEST: [u8; include_bytes!("../manifest.json").len()] = *include_bytes!("../manifest.json");

struct Hostile;
export!(Hostile);

thread_local! {
    /// Survives calls, so that tests see whether an instance is the same one.
    static CALLS: RefCell<u32> = const { RefCell::new(0) };
}

fn error(class: ErrorClass, message: impl Into<String>) -> Error {
    Error { class, message: message.into(), field: None, retry_after_ms: None, details: None }
}

fn record(key: &str, data: &Value) -> Item {
    Item { kind: ItemKind::Record, entity: "thing".into(), key: key.into(), version: None, at_ms: None, data: data.to_string() }
}

fn page(data: &Value) -> Page {
    Page { items: vec![record("1", data)], next: None, checkpoint: "null".into(), details: None }
}

/// Everything that cannot be optimised away.
fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

fn eat_memory() -> usize {
    let mut eaten = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        if eaten.len() > 100_000 {
            return eaten.len();
        }
    }
}

fn describe(response: &HttpResponse) -> Value {
    let headers: Vec<_> = response.headers.iter().map(|(name, value)| json!([name, value])).collect();
    json!({"status": response.status, "body": String::from_utf8_lossy(&response.body), "headers": headers})
}

fn fetch(cursor: &Value) -> Result<Value, Error> {
    let text = |name: &str| cursor[name].as_str().map(ToOwned::to_owned);
    let headers = cursor["headers"].as_object().into_iter().flatten();
    let request = HttpRequest {
        method: text("method").unwrap_or_else(|| "GET".into()),
        url: text("url").unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
        body: text("body").map(String::into_bytes),
    };
    http::send(&request, text("options").as_deref()).map(|response| describe(&response))
}

fn download(cursor: &Value) -> Result<Value, Error> {
    let request = HttpRequest { method: "GET".into(), url: cursor["url"].as_str().unwrap_or_default().into(), headers: vec![], body: None };
    let download = http::Download::open(&request, None)?;
    let mut size = 0;
    loop {
        let piece = download.read(1000)?;
        if piece.is_empty() {
            return Ok(json!({"status": download.head().status, "size": size}));
        }
        size += piece.len();
    }
}

fn address(cursor: &Value) -> (String, u16) {
    (cursor["host"].as_str().unwrap_or_default().into(), u16::try_from(cursor["port"].as_u64().unwrap_or(0)).unwrap_or(0))
}

fn open(cursor: &Value) -> Result<net::Connection, Error> {
    let (host, port) = address(cursor);
    let security = if cursor["tls"] == json!(true) { net::Security::Tls } else { net::Security::Plain };
    net::Connection::connect(&host, port, security, cursor["options"].as_str())
}

fn talk(cursor: &Value) -> Result<Value, Error> {
    let connection = open(cursor)?;
    if let Some(line) = cursor["before_tls"].as_str() {
        connection.write(line.as_bytes())?;
        connection.read(100, 5000)?;
        connection.start_tls(cursor["options"].as_str())?;
    }
    connection.write_secret(cursor["say"].as_str().unwrap_or_default())?;
    let answer = connection.read(10_000, u32::try_from(cursor["timeout_ms"].as_u64().unwrap_or(5000)).unwrap_or(5000))?;
    Ok(json!({"answer": String::from_utf8_lossy(&answer)}))
}

/// Takes every line for news of its own, numbered as it comes: a second telling or another order is another story.
fn listen_to_lines(config: &Value) -> Result<(), Error> {
    let connection = open(config)?;
    connection.write(b"go\r\n")?;
    let mut heard = Vec::new();
    loop {
        let bytes = connection.read(4096, 5000)?;
        if bytes.is_empty() {
            break;
        }
        heard.extend(bytes);
    }
    let text = String::from_utf8_lossy(&heard).into_owned();
    let items: Vec<Item> = text.lines().enumerate().map(|(number, line)| record(&number.to_string(), &json!(line))).collect();
    emit::emit(&items, None)
}

fn flood_sockets(cursor: &Value) -> Result<Value, Error> {
    let mut open_ones = Vec::new();
    loop {
        match open(cursor) {
            Ok(connection) => open_ones.push(connection),
            Err(error) => return Ok(json!({"opened": open_ones.len(), "message": error.message})),
        }
    }
}

fn websocket(cursor: &Value) -> Result<Value, Error> {
    let socket = net::Websocket::open(cursor["request"].as_str().unwrap_or_default())?;
    socket.send(b"hello", true)?;
    let first = socket.receive(5000)?;
    let quiet = socket.receive(10)?;
    Ok(json!({"first": first.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()), "quiet": quiet.is_none()}))
}

fn use_state(cursor: &Value) -> Result<Value, Error> {
    let before = state::get("count")?.and_then(|text| serde_json::from_str::<u64>(&text).ok()).unwrap_or(0);
    state::set("count", &(before + 1).to_string())?;
    let now = state::get("count")?;
    if let Some(bytes) = cursor["big"].as_u64() {
        state::set("big", &json!("x".repeat(usize::try_from(bytes).unwrap_or(0))).to_string())?;
    }
    state::delete("gone")?;
    if cursor["fail"] == json!(true) {
        return Err(error(ErrorClass::Transient, "failed after setting"));
    }
    Ok(json!({"before": before, "now": now}))
}

fn probe() -> Value {
    let random = random::bytes(32);
    json!({
        "now_ms": clock::now_ms(),
        "random": random.len(),
        "random_differs": random != random::bytes(32),
        "monotonic": clock::monotonic_ns() <= clock::monotonic_ns(),
        "deadline": control::deadline_ms(),
        "cancelled": control::cancelled(),
    })
}

fn use_blobs() -> Result<Value, Error> {
    let writer = blobs::Writer::create("text/plain", Some("a.txt"))?;
    writer.write(b"some ")?;
    writer.write(b"text")?;
    let reference = writer.finish()?;
    let back = blobs::read(&reference, 5, 100)?;
    Ok(json!({"reference": reference, "back": String::from_utf8_lossy(&back)}))
}

fn flood_blob() -> Result<Value, Error> {
    let writer = blobs::Writer::create("text/plain", None)?;
    loop {
        writer.write(&vec![0; 1 << 20])?;
    }
}

fn deed(name: &str, cursor: &Value) -> Result<Value, Error> {
    match name {
        "echo" => Ok(cursor.clone()),
        "calls" => Ok(json!(CALLS.with_borrow_mut(|calls| {
            *calls += 1;
            *calls
        }))),
        "trap" => core::arch_trap(),
        "panic" => {
            log::log(log::Level::Error, "panicked: on purpose", &[]);
            panic!("on purpose")
        }
        "spin" => spin(),
        "memory" => Ok(json!(eat_memory())),
        "overflow-stack" => Ok(json!(deeper(1))),
        "huge" => Ok(json!("x".repeat(usize::try_from(cursor.as_u64().unwrap_or(0)).unwrap_or(0)))),
        "log" => {
            let (message, count) = (cursor["message"].as_str().unwrap_or_default(), cursor["count"].as_u64().unwrap_or(1));
            for _ in 0..count {
                log::log(log::Level::Info, message, &[("field".to_owned(), message.to_owned())]);
            }
            Ok(Value::Null)
        }
        "sleep" => control::sleep(cursor.as_u64().unwrap_or(0)).map(|()| Value::Null),
        "fetch" => fetch(cursor),
        "download" => download(cursor),
        "talk" => talk(cursor),
        "sockets" => flood_sockets(cursor),
        "websocket" => websocket(cursor),
        "state" => use_state(cursor),
        "probe" => Ok(probe()),
        "blobs" => use_blobs(),
        "blob-flood" => flood_blob(),
        "hmac" => secrets::hmac_sha256("password", b"data").map(|mac| json!(mac)),
        "equals" => secrets::equals("password", cursor.as_str().unwrap_or_default().as_bytes()).map(|same| json!(same)),
        "fail" => Err(error(ErrorClass::Auth, cursor.as_str().unwrap_or_default())),
        "emit" => emit::emit(&[record("e", cursor)], Some("7")).map(|()| Value::Null),
        other => Err(error(ErrorClass::Unsupported, format!("no deed named {other}"))),
    }
}

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { block[0] } else { deeper(depth + 1) + block[1] }
}

mod core {
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn arch_trap() -> ! {
        ::core::arch::wasm32::unreachable()
    }
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn arch_trap() -> ! {
        unreachable!("guests run as WebAssembly only")
    }
}

/// The mode in which whatever is asked succeeds, and nothing is done.
const AGREEABLE: &str = "agreeable";

fn mode(config: &str) -> String {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    config["mode"].as_str().unwrap_or_default().to_owned()
}

impl plugin::Guest for Hostile {
    fn check(config: String) -> Result<String, Error> {
        match mode(&config).as_str() {
            "bad-report" => Ok("[1".into()),
            name => {
                if !name.is_empty() && name != AGREEABLE && !name.starts_with("listen") {
                    deed(name, &Value::Null)?;
                }
                Ok(json!({"account_id": "a1", "account_name": "An account"}).to_string())
            }
        }
    }
    fn options(_config: String, field: String, query: String) -> Result<String, Error> {
        Ok(json!([field, query]).to_string())
    }
    fn migrate(_what: String, _from_version: String, value: String) -> Result<String, Error> {
        Ok(value)
    }
}

impl source::Guest for Hostile {
    fn read(config: String, entity: String, cursor: Option<String>, _want: u32) -> Result<Page, Error> {
        if mode(&config) == AGREEABLE {
            return Ok(page(&json!(entity)));
        }
        let cursor = cursor.map_or(Value::Null, |cursor| serde_json::from_str(&cursor).unwrap_or_default());
        if entity == "garbage" {
            return Ok(Page { items: vec![], next: None, checkpoint: "{no json".into(), details: None });
        }
        deed(&entity, &cursor).map(|data| page(&data))
    }
    fn get(_config: String, _entity: String, keys: Vec<String>) -> Result<Vec<Found>, Error> {
        let found = |key: String| match key.as_str() {
            "gone" => Found::Gone,
            "moved" => Found::MovedTo("elsewhere".into()),
            key => Found::Record(record(key, &json!({}))),
        };
        Ok(keys.into_iter().filter(|key| key != "swallowed").map(found).collect())
    }
}

impl sink::Guest for Hostile {
    fn write(_config: String, _entity: String, ops: Vec<Op>) -> Result<Vec<Outcome>, Error> {
        let outcome = |op: Op| Outcome {
            op_id: op.id.clone(),
            result: match op.key.as_deref() {
                Some("bad") => Err(error(ErrorClass::InvalidRecord, "bad")),
                _ => Ok(Written { key: op.idempotency_key, version: None, record: Some(op.data) }),
            },
        };
        Ok(ops.into_iter().map(outcome).collect())
    }
}

impl webhook::Guest for Hostile {
    fn receive(_config: String, request: HttpRequest) -> Result<(HttpResponse, Vec<Item>), Error> {
        let body = request.body.unwrap_or_default();
        let item = record("w", &json!(String::from_utf8_lossy(&body)));
        Ok((HttpResponse { status: 200, headers: vec![("x-url".into(), request.url)], body }, vec![item]))
    }
    fn ensure(_config: String, url: String) -> Result<String, Error> {
        Ok(json!(url).to_string())
    }
    fn list(_config: String) -> Result<String, Error> {
        Ok("[]".into())
    }
    fn remove(_config: String) -> Result<(), Error> {
        Ok(())
    }
}

impl listener::Guest for Hostile {
    fn listen(config: String, checkpoint: Option<String>) -> Result<(), Error> {
        match mode(&config).as_str() {
            "listen-spin" => spin(),
            "listen-deaf" => loop {
                // Goes on although it is told to stop.
                drop(control::sleep(1));
            },
            "listen-flood" => loop {
                emit::emit(&[record("flood", &json!({"text": "x".repeat(1000)}))], None)?;
            },
            "listen-lines" => listen_to_lines(&serde_json::from_str(&config).unwrap_or_default()),
            "listen-once" => {
                state::set("seen", "1")?;
                emit::emit(&[record("first", &json!(checkpoint))], Some("8"))?;
                state::set("later", "2")
            }
            _ => loop {
                control::sleep(60_000)?;
            },
        }
    }
}

impl channel::Guest for Hostile {
    fn send(config: String, message: String, idempotency_key: String) -> Result<Written, Error> {
        if mode(&config) == AGREEABLE {
            return Ok(Written { key: format!("{:?}", random::bytes(8)), version: None, record: None });
        }
        Ok(Written { key: idempotency_key, version: None, record: Some(message) })
    }
    fn act(config: String, action: String, input: String, _idempotency_key: String) -> Result<String, Error> {
        if mode(&config) == AGREEABLE {
            return Ok(input);
        }
        let input = serde_json::from_str(&input).unwrap_or_default();
        deed(&action, &input).map(|value| value.to_string())
    }
}
