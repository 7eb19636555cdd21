//! Writes: one effect for one op however often it comes, and an outcome for each.

use throughline_plugin_sdk::{ErrorClass, Op, OpKind, Outcome, Result, Sink, Value, json};

use super::harness::{Shared, config, host, parsed, raw, response, system};
use crate::Rest;

fn op(kind: OpKind, key: Option<&str>, data: Value) -> Op {
    Op {
        id: "1".into(),
        idempotency_key: "idem-1".into(),
        kind,
        key: key.map(str::to_owned),
        expect_version: None,
        data,
        clear: Vec::new(),
    }
}

fn write(config: &Value, ops: Vec<Op>) -> Vec<Outcome> {
    Rest::write(parsed(config), "contacts", ops).unwrap()
}

fn one(config: &Value, op: Op) -> Result<throughline_plugin_sdk::Written> {
    write(config, vec![op]).remove(0).result
}

/// With an upsert key and what PocketBase says of a value that must be unique.
fn upserting() -> Value {
    config(json!({
        "errors": [{"status": [400], "pointer": "/data", "contains": "validation_not_unique", "class": "conflict"}],
        "field_errors": {"pointer": "/data", "message": "/message"}, "error_message": "/message",
        "entities": {"contacts": {"write": {"idempotency": {"kind": "upsert", "field": "ext_id"}},
            "lookups": {"ext_id": {"path": "/contacts", "query": {"ext_id": "{value}"}, "items": "/items"}}}}}))
}

fn ada(shared: &Shared) -> usize {
    shared.borrow().records.iter().filter(|record| record["ext_id"] == "c-1").count()
}

#[test]
fn a_record_is_created_changed_emptied_and_deleted() {
    let shared = system(&[]);
    let _host = host(&shared);
    let config = config(json!({}));
    let created = one(&config, op(OpKind::Create, None, json!({"display_name": "Ada", "email": "a@x.test"}))).unwrap();
    assert_eq!((created.key.as_str(), created.version.is_some()), ("new1", true));
    assert_eq!(created.record.unwrap()["display_name"], "Ada");
    let changed = one(&config, op(OpKind::Update, Some("new1"), json!({"display_name": "Ada L."}))).unwrap();
    assert!(changed.version > created.version);
    assert_eq!(shared.borrow().records[0]["email"], "a@x.test", "only what is to change is sent");
    one(&config, Op { clear: vec!["email".into()], ..op(OpKind::Update, Some("new1"), json!({})) }).unwrap();
    assert_eq!(shared.borrow().records[0]["email"], Value::Null);
    for _ in 0..2 {
        assert_eq!(one(&config, op(OpKind::Delete, Some("new1"), json!({}))).unwrap().key, "new1", "deleting twice is deleting");
    }
    assert_eq!(one(&config, op(OpKind::Update, Some("new1"), json!({"email": "b"}))).unwrap_err().class, ErrorClass::Gone);
    assert_eq!(one(&config, op(OpKind::Update, None, json!({}))).unwrap_err().class, ErrorClass::InvalidRecord);
    assert_eq!(one(&config, op(OpKind::Create, None, json!({"unknown": 1}))).unwrap_err().field.as_deref(), Some("unknown"));
}

#[test]
fn the_same_create_twice_has_one_effect() {
    let shared = system(&[]);
    let _host = host(&shared);
    let create = || op(OpKind::Create, None, json!({"display_name": "Ada", "ext_id": "c-1"}));
    let first = one(&upserting(), create()).unwrap();
    let second = one(&upserting(), create()).unwrap();
    assert_eq!((first.key, first.version), (second.key, second.version));
    assert_eq!((ada(&shared), shared.borrow().writes), (1, 1));
    let third = one(&upserting(), op(OpKind::Upsert, None, json!({"display_name": "Ada L.", "ext_id": "c-1"}))).unwrap();
    assert_eq!(third.record.unwrap()["display_name"], "Ada L.", "what differs by now is brought up to date");
    one(&upserting(), op(OpKind::Create, None, json!({"display_name": "Bo"}))).unwrap();
    assert_eq!(shared.borrow().records[1]["ext_id"], "idem-1", "without a key of the hub's, the op's own");
}

#[test]
fn a_create_whose_answer_was_lost_has_one_effect() {
    let shared = system(&[]);
    shared.borrow_mut().lose_answers = 1;
    let _host = host(&shared);
    let written = one(&upserting(), op(OpKind::Create, None, json!({"display_name": "Ada", "ext_id": "c-1"}))).unwrap();
    assert_eq!((written.key.as_str(), ada(&shared)), ("new1", 1));
    shared.borrow_mut().lose_answers = 1;
    let plain = one(&config(json!({})), op(OpKind::Create, None, json!({"display_name": "Bo"})));
    assert_eq!(plain.unwrap_err().class, ErrorClass::Ambiguous, "nothing to look up by: the hub must know");
}

#[test]
fn a_unique_value_that_exists_gives_the_record_that_has_it() {
    let shared = system(&[("old", "2026-11-21T10:00:00.000Z")]);
    shared.borrow_mut().records[0]["ext_id"] = json!("c-1");
    let _host = host(&shared);
    let mut config = upserting();
    config["entities"]["contacts"]["write"]["idempotency"] = json!({"kind": "none"});
    let written = one(&config, op(OpKind::Create, None, json!({"display_name": "Ada", "ext_id": "c-1"}))).unwrap();
    assert_eq!(written.key, "old");
    assert_eq!(written.record.unwrap()["display_name"], "name of old", "theirs is not overwritten");
    config["entities"]["contacts"]["lookups"] = json!({});
    let refused = one(&config, op(OpKind::Create, None, json!({"display_name": "Ada", "ext_id": "c-1"}))).unwrap_err();
    assert_eq!((refused.class, refused.field.as_deref()), (ErrorClass::InvalidRecord, Some("ext_id")), "{}", refused.message);
}

#[test]
fn a_look_up_that_ignores_its_filter_finds_nobody_else() {
    let shared = system(&[("other", "2026-11-21T10:00:00.000Z")]);
    let _host = host(&shared);
    let mut config = upserting();
    config["entities"]["contacts"]["lookups"]["ext_id"]["query"] = json!({"unknown_filter": "{value}"});
    assert_eq!(one(&config, op(OpKind::Create, None, json!({"display_name": "Ada", "ext_id": "c-1"}))).unwrap().key, "new1");
}

#[test]
fn a_lost_update_is_prevented_in_each_declared_way() {
    let table = [(json!({"kind": "etag"}), ErrorClass::Conflict, 1), (json!({"kind": "compare"}), ErrorClass::Conflict, 0)];
    for (concurrency, class, writes) in table {
        let shared = system(&[("a", "2026-11-21T10:00:00.000Z")]);
        let _host = host(&shared);
        let config = config(json!({"entities": {"contacts": {"write": {"concurrency": concurrency}}}}));
        let stale = Op { expect_version: Some("2020".into()), ..op(OpKind::Update, Some("a"), json!({"display_name": "X"})) };
        assert_eq!(one(&config, stale).unwrap_err().class, class);
        assert_eq!((shared.borrow().writes, shared.borrow().records[0]["name"].clone()), (writes, json!("name of a")));
        let current =
            Op { expect_version: Some("2026-11-21T10:00:00.000Z".into()), ..op(OpKind::Update, Some("a"), json!({"display_name": "X"})) };
        assert!(one(&config, current).is_ok());
    }
    let shared = system(&[("a", "2026-11-21T10:00:00.000Z")]);
    let _host = host(&shared);
    let config = config(json!({"entities": {"contacts": {"write": {"concurrency": {"kind": "version_field", "pointer": "/meta/lock"}}}}}));
    one(&config, Op { expect_version: Some("7".into()), ..op(OpKind::Update, Some("a"), json!({"display_name": "X"})) }).unwrap();
    assert_eq!(shared.borrow().records[0]["meta"]["lock"], 7);
}

#[test]
fn each_op_has_its_own_outcome_and_what_stops_all_is_asked_once() {
    let shared = system(&[("a", "2026-11-21T10:00:00.000Z")]);
    let host = host(&shared);
    let config = config(json!({}));
    let ops = |ids: [&str; 3]| ids.map(|id| op(OpKind::Update, Some(id), json!({"email": "x"}))).to_vec();
    let classes: Vec<_> =
        write(&config, ops(["a", "none", "a"])).iter().map(|outcome| outcome.result.as_ref().err().map(|error| error.class)).collect();
    assert_eq!(classes, [None, Some(ErrorClass::Gone), None]);
    let before = host.requests().len();
    let mut limited = response(429, &json!({}));
    limited.headers.push(("Retry-After".into(), "7".into()));
    shared.borrow_mut().instead.push_back(limited);
    let outcomes = write(&config, ops(["a", "a", "a"]));
    assert!(outcomes.iter().all(|outcome| outcome.result.as_ref().is_err_and(|error| error.retry_after_ms == Some(7000))));
    assert_eq!(host.requests().len(), before + 1);
}

#[test]
fn a_bare_answer_is_read_back_and_a_page_is_no_success() {
    let shared = system(&[("a", "2026-11-21T10:00:00.000Z")]);
    let _host = host(&shared);
    let config = config(json!({}));
    shared.borrow_mut().instead.push_back(response(200, &json!({"error": false, "id": "a"})));
    let written = one(&config, op(OpKind::Create, None, json!({"display_name": "Ada"}))).unwrap();
    assert_eq!((written.key.as_str(), written.record.unwrap()["display_name"].clone()), ("a", json!("name of a")));
    let mut located = raw(201, "text/plain", "");
    located.headers.push(("Location".into(), "https://crm.example/contacts/a".into()));
    shared.borrow_mut().instead.push_back(located);
    assert_eq!(one(&config, op(OpKind::Create, None, json!({"display_name": "Ada"}))).unwrap().key, "a");
    let table = [
        (raw(200, "application/json", "{\"id\": \"a"), ErrorClass::Ambiguous),
        (raw(200, "text/html", "<html><form>Log in</form>"), ErrorClass::Auth),
        (raw(200, "text/html", "<html>sorry"), ErrorClass::Ambiguous),
        (response(500, &json!({})), ErrorClass::Ambiguous),
        (response(503, &json!({})), ErrorClass::Transient),
        (response(200, &json!({"fine": true})), ErrorClass::Ambiguous),
        (raw(302, "text/html", ""), ErrorClass::Config),
    ];
    for (answer, class) in table {
        shared.borrow_mut().instead.push_back(answer.clone());
        let error = one(&config, op(OpKind::Create, None, json!({"display_name": "Ada"}))).unwrap_err();
        assert_eq!(error.class, class, "{answer:?}");
    }
}

#[test]
fn bodies_take_the_systems_shape_and_cannot_pull_out_a_secret() {
    let shared = system(&[]);
    let host = host(&shared);
    let config = config(json!({"entities": {"contacts": {"write": {"idempotency": {"kind": "header"},
        "create": {"path": "/contacts", "body": {"method": "create", "data": "{record}", "once": "{idempotency_key}"}}}}}}));
    let data = json!({"display_name": "{secret:api_token}"});
    shared.borrow_mut().instead.push_back(response(200, &json!({"id": "x", "name": "x", "updated": "1"})));
    one(&config, op(OpKind::Create, None, data)).unwrap();
    let request = host.requests().pop().unwrap();
    let text = String::from_utf8(request.body.unwrap()).unwrap();
    assert!(!text.contains("{secret:"), "{text}");
    let sent: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(sent, json!({"method": "create", "data": {"name": "{secret:api_token}"}, "once": "idem-1"}));
    assert!(request.headers.contains(&("Idempotency-Key".into(), "idem-1".into())));
}

#[test]
fn what_is_not_declared_is_unsupported() {
    let shared = system(&[]);
    let _host = host(&shared);
    let mut config = config(json!({"entities": {"contacts": {"write": {"clear": "unsupported", "delete": null}}}}));
    assert_eq!(one(&config, op(OpKind::Delete, Some("a"), json!({}))).unwrap_err().class, ErrorClass::Unsupported);
    let clear = Op { clear: vec!["email".into()], ..op(OpKind::Update, Some("a"), json!({})) };
    assert_eq!(one(&config, clear).unwrap_err().class, ErrorClass::Unsupported);
    config["entities"]["contacts"].as_object_mut().unwrap().remove("write");
    assert_eq!(Rest::write(parsed(&config), "contacts", vec![]).unwrap_err().class, ErrorClass::Unsupported);
}
