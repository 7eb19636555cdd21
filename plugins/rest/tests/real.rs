//! The connector against a real PocketBase, with the example config that ships.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_plugin_rest::{Config, Rest};
use throughline_plugin_sdk::testing::{Guard, TestHost};
use throughline_plugin_sdk::{
    Connector, ErrorClass, Found, HttpRequest, Item, ItemKind, Op, OpKind, Page, Result, Sink, Source, Webhook, Written,
};

#[allow(dead_code, unreachable_pub, reason = "shared with the end-to-end tests, which use the rest of it")]
#[path = "../../../tests/src/systems/local.rs"]
mod local;
#[allow(dead_code, unreachable_pub, reason = "shared with the end-to-end tests, which use the rest of it")]
#[path = "../../../tests/src/systems/pocketbase.rs"]
mod pocketbase;

use pocketbase::{PASSWORD, PocketBase, WEBHOOK_SECRET};

/// A PocketBase of its own, and the test host in front of it.
struct Bench {
    system: PocketBase,
    config: Value,
    _folder: tempfile::TempDir,
    _host: Guard,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let system = PocketBase::start(folder.path()).expect("a running PocketBase");
        let example = include_str!("../../../examples/connections/pocketbase.yaml");
        let mut config = serde_yaml_ng::from_str::<Value>(example).expect("YAML")["config"].clone();
        config["base_url"] = json!(system.base_url());
        let host = TestHost::new().real_network().secret("password", PASSWORD).secret("webhook_secret", WEBHOOK_SECRET).install();
        Self { system, config, _folder: folder, _host: host }
    }

    fn config(&self) -> Config {
        serde_json::from_value(self.config.clone()).expect("the example fits")
    }

    fn read(&self, cursor: Option<Value>, want: u32) -> Result<Page> {
        Rest::read(self.config(), "contacts", cursor, want)
    }

    /// A whole walk: items, details of the last page, checkpoint.
    fn walk(&self, cursor: Option<Value>, want: u32) -> (Vec<Item>, Option<Value>, Value) {
        let (mut items, mut cursor) = (Vec::new(), cursor);
        for _ in 0..500 {
            let page = self.read(cursor, want).expect("a page");
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return (items, page.details, page.checkpoint);
            }
        }
        panic!("the walk does not end");
    }

    fn write(&self, entity: &str, op: Op) -> Result<Written> {
        Rest::write(self.config(), entity, vec![op]).expect("an outcome").remove(0).result
    }

    fn contact(&self, name: &str, ext_id: &str) -> Value {
        self.system.create("contacts", &json!({"name": name, "ext_id": ext_id, "email": format!("{ext_id}@x.test")})).expect("a contact")
    }
}

fn op(kind: OpKind, key: Option<&str>, data: Value) -> Op {
    Op { id: "1".into(), idempotency_key: "once".into(), kind, key: key.map(str::to_owned), expect_version: None, data, clear: Vec::new() }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().expect("a text")
}

#[test]
fn the_check_knows_the_account_and_a_wrong_password() {
    let bench = Bench::start();
    bench.contact("Ada Lovelace", "c-1");
    let report = Rest::check(bench.config()).expect("a report");
    assert_eq!(report.account_name, pocketbase::USER);
    assert_eq!(report.entities.len(), 2);
    assert!(report.warnings.iter().all(|warning| warning.starts_with("enquiries: there is no record yet")), "{:?}", report.warnings);
    let mut wrong = bench.config.clone();
    wrong["auth"]["body"]["identity"] = json!("nobody@example.com");
    let error = Rest::check(serde_json::from_value(wrong).expect("fits")).expect_err("refused");
    assert_eq!(error.class, ErrorClass::Auth, "{}", error.message);
    assert!(!format!("{error:?}").contains(PASSWORD));
}

#[test]
fn contacts_go_both_ways() {
    let bench = Bench::start();
    let created = bench.contact("Ada Lovelace", "c-1");
    let (items, _, checkpoint) = bench.walk(None, 0);
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].key.as_str(), items[0].data["display_name"].clone()), (text(&created, "id"), json!("Ada Lovelace")));
    assert_eq!(items[0].data["phone"], Value::Null, "what PocketBase stores as an empty text is no value");

    let key = text(&created, "id");
    let data = json!({"display_name": "Ada King", "phone": "+491701", "language": "EN"});
    let current = Op { expect_version: items[0].version.clone(), ..op(OpKind::Update, Some(key), data) };
    let written = bench.write("contacts", current.clone()).expect("written");
    assert_eq!(written.record.expect("a record")["language"], "en");
    assert_eq!(bench.write("contacts", current).expect_err("stale").class, ErrorClass::Conflict);
    let held = bench.system.record("contacts", key).expect("an answer").expect("a record");
    assert_eq!((text(&held, "name"), text(&held, "phone"), text(&held, "email")), ("Ada King", "+491701", "c-1@x.test"));

    let (items, _, checkpoint) = bench.walk(Some(checkpoint), 0);
    assert_eq!(items.iter().map(|item| item.version.clone()).collect::<Vec<_>>(), [written.version], "our own write comes once, as it is");
    assert!(bench.walk(Some(checkpoint), 0).0.is_empty());

    bench.write("contacts", Op { clear: vec!["phone".into()], ..op(OpKind::Update, Some(key), json!({})) }).expect("cleared");
    assert_eq!(text(&bench.system.record("contacts", key).expect("an answer").expect("a record"), "phone"), "");
    for _ in 0..2 {
        bench.write("contacts", op(OpKind::Delete, Some(key), json!({}))).expect("deleted, and deleted again");
    }
    assert_eq!(Rest::get(bench.config(), "contacts", vec![key.into()]).expect("an answer"), [Found::Gone]);
}

#[test]
fn creating_twice_and_unique_values_have_one_effect() {
    let bench = Bench::start();
    let data = json!({"reason": "late order", "status": "open", "order_number": "4711", "hub_id": "enq_1"});
    let first = bench.write("enquiries", op(OpKind::Create, None, data.clone())).expect("created");
    let second = bench.write("enquiries", op(OpKind::Create, None, data)).expect("found");
    assert_eq!((&first.key, &first.version), (&second.key, &second.version));
    assert_eq!(bench.system.records("enquiries").expect("records").len(), 1);

    // Without looking first, the unique index refuses the second one: the existing record is the answer.
    let theirs = bench.contact("Ada Lovelace", "c-1");
    let mut plain = bench.config.clone();
    plain["entities"]["contacts"]["write"]["idempotency"] = json!({"kind": "none"});
    let config = || serde_json::from_value::<Config>(plain.clone()).expect("fits");
    let create = || vec![op(OpKind::Create, None, json!({"display_name": "Somebody else", "ext_id": "c-1"}))];
    let found = Rest::write(config(), "contacts", create()).expect("an outcome").remove(0).result.expect("found");
    assert_eq!((found.key.as_str(), found.record.expect("a record")["display_name"].clone()), (text(&theirs, "id"), json!("Ada Lovelace")));

    let refused =
        bench.write("contacts", op(OpKind::Create, None, json!({"display_name": "B", "ext_id": "c-2", "email": "not an address"})));
    let refused = refused.expect_err("invalid");
    assert_eq!((refused.class, refused.field.as_deref()), (ErrorClass::InvalidRecord, Some("email")), "{}", refused.message);
    let odd = bench
        .write("contacts", op(OpKind::Create, None, json!({"display_name": "{secret:password}", "ext_id": "o'Hara || 1=1"})))
        .expect("created");
    let held = bench.system.record("contacts", &odd.key).expect("an answer").expect("a record");
    assert_eq!((text(&held, "name"), text(&held, "ext_id")), ("{secret:password}", "o'Hara || 1=1"));
}

#[test]
fn many_records_of_one_moment_are_all_read() {
    let mut bench = Bench::start();
    for number in 0..25 {
        bench.contact(&format!("Contact {number}"), &format!("c-{number}"));
    }
    bench.system.stop();
    same_moment(&bench);
    bench.system.restart().expect("running again");
    let moments: Vec<_> =
        bench.system.records("contacts").expect("records").iter().map(|record| text(record, "updated").to_owned()).collect();
    assert!(moments.iter().all(|moment| *moment == moments[0]), "{moments:?}");
    for want in [1, 4, 25, 200] {
        let (items, _, _) = bench.walk(None, want);
        let keys: std::collections::BTreeSet<_> = items.iter().map(|item| item.key.clone()).collect();
        assert_eq!(keys.len(), 25, "{want} a page");
    }
    // The same by numbered pages and `>=`, as a system without such filters needs it.
    bench.config["entities"]["contacts"]["list"] = json!({"path": "/api/collections/contacts/records", "items": "/items",
        "query": {"filter": "updated>='{since}'", "sort": "updated,id", "perPage": "{per_page}", "page": "{page}"},
        "pagination": {"kind": "page"}, "page_size": 200});
    for want in [1, 4, 25] {
        let (items, _, checkpoint) = bench.walk(None, want);
        assert_eq!(items.len(), 25, "{want} a page");
        bench.contact("Late", &format!("late-{want}"));
        assert_eq!(bench.walk(Some(checkpoint), want).0.len(), 1, "only the new one");
        let late = bench.system.records("contacts").expect("records").into_iter().find(|record| record["name"] == "Late").expect("it");
        bench.system.delete("contacts", text(&late, "id")).expect("deleted");
    }
}

/// PocketBase sets `updated` itself, so a hook sets it afterwards to one moment for all, straight in the database.
fn same_moment(bench: &Bench) {
    let hook = r#"onBootstrap((e) => {
  e.next()
  e.app.db().newQuery("UPDATE contacts SET updated = '2026-11-21 10:00:00.000Z'").execute()
})"#;
    std::fs::write(bench._folder.path().join("hooks").join("moment.pb.js"), hook).expect("a hook");
}

#[test]
fn deletions_are_seen_in_a_full_listing() {
    let mut bench = Bench::start();
    bench.config["entities"]["contacts"]["deletes"]["every_seconds"] = json!(0);
    let kept = bench.contact("Kept", "c-1");
    let dropped = bench.contact("Dropped", "c-2");
    let (_, details, checkpoint) = bench.walk(None, 1);
    let keys =
        |details: &Option<Value>| details.as_ref().and_then(|details| details["keys"].as_array().cloned()).expect("a complete listing");
    assert_eq!(keys(&details).len(), 2);
    bench.system.delete("contacts", text(&dropped, "id")).expect("deleted");
    let (items, details, _) = bench.walk(Some(checkpoint), 1);
    assert_eq!(keys(&details), [kept["id"].clone()]);
    assert!(items.iter().all(|item| kept["id"] == item.key.as_str()), "what the walk shows is what is there");
}

#[test]
fn too_many_requests_wait_and_an_outage_loses_nothing() {
    let mut bench = Bench::start();
    for number in 0..6 {
        bench.contact(&format!("Contact {number}"), &format!("c-{number}"));
    }
    let first = bench.read(None, 2).expect("a page");
    bench.system.stop();
    let refused = bench.read(first.next.clone(), 2).expect_err("nobody there");
    assert_eq!(refused.class, ErrorClass::Transient, "{}", refused.message);
    bench.system.restart().expect("running again");
    let (rest, _, _) = bench.walk(first.next.clone(), 2);
    assert_eq!(first.items.len() + rest.len(), 6);

    // Superusers are exempt from PocketBase's limits, so a guest asks.
    bench.system.api("PATCH", "/api/collections/contacts", Some(&json!({"listRule": ""}))).expect("readable by guests");
    bench.system.limit_rate(3, 60).expect("limited");
    bench.config["auth"] = json!({"kind": "none"});
    let limited = (0..10).find_map(|_| bench.read(None, 2).err()).expect("the limit is met");
    assert_eq!(limited.class, ErrorClass::RateLimited, "{}", limited.message);
}

#[test]
fn a_signed_webhook_of_the_real_hook_is_proven_and_read_back() {
    let mut bench = Bench::start();
    let (url, posted) = receiver();
    bench.system.post_changes_to(&url).expect("the hook");
    let contact = bench.contact("Ada Lovelace", "c-1");
    let request = posted.recv_timeout(Duration::from_secs(20)).expect("the hook posts");
    let id = text(&contact, "id");
    bench.system.update("contacts", id, &json!({"name": "Ada King"})).expect("changed");
    let (response, items) = Rest::receive(bench.config(), request.clone()).expect("received");
    assert_eq!((response.status, items.len()), (200, 1));
    assert_eq!(
        (items[0].key.as_str(), items[0].data["display_name"].clone()),
        (id, json!("Ada King")),
        "the hint is old, the record is not"
    );
    let (response, items) = Rest::receive(bench.config(), request.clone()).expect("received");
    assert_eq!((response.status, items.len()), (200, 0), "replayed");

    let mut forged = posted.recv_timeout(Duration::from_secs(20)).expect("the hook posts");
    forged.body.as_mut().expect("a body").push(b' ');
    let (response, items) = Rest::receive(bench.config(), forged).expect("received");
    assert_eq!((response.status, items.len()), (401, 0));

    bench.system.delete("contacts", id).expect("deleted");
    let request = posted.recv_timeout(Duration::from_secs(20)).expect("the hook posts");
    let (_, items) = Rest::receive(bench.config(), request).expect("received");
    assert_eq!((items[0].kind, items[0].key.as_str()), (ItemKind::Deleted, id));
}

/// Takes requests as a hub would and hands them on.
fn receiver() -> (String, mpsc::Receiver<HttpRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hooks/crm", listener.local_addr().expect("an address"));
    let (sender, posted) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(request) = take(&mut stream) else { continue };
            let answered = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
            if answered.is_err() || sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, posted)
}

fn take(stream: &mut std::net::TcpStream) -> Option<HttpRequest> {
    let (mut data, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let end = data.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&data[..end]).into_owned();
            let headers: Vec<(String, String)> =
                head.lines().skip(1).filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into())).collect();
            let length = headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.parse().unwrap_or(0));
            if data.len() >= end + 4 + length {
                let body = Some(data[end + 4..].to_vec());
                return Some(HttpRequest { method: "POST".into(), url: "/".into(), headers, body });
            }
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        data.extend_from_slice(&buffer[..read]);
    }
}
