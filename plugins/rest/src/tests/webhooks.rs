//! Webhooks: proven, not replayed, understood; or refused without harm.

use std::cell::RefCell;
use std::rc::Rc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use throughline_plugin_sdk::testing::{Guard, TestHost};
use throughline_plugin_sdk::{ErrorClass, HttpRequest, HttpResponse, Item, ItemKind, Value, Webhook, json};

use super::harness::{config, host, merge, parsed, response, system};
use crate::Rest;
use crate::client::encode;
use crate::config::Encoding;

/// The test host's clock, in seconds.
const NOW: i64 = 1_795_262_400;

fn mac(text: &str, encoding: Encoding) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"whs").unwrap();
    mac.update(text.as_bytes());
    encode(&mac.finalize().into_bytes(), encoding)
}

fn hooked(more: Value) -> Value {
    let mut config = config(json!({"webhook": {"path": "/crm",
        "signature": {"kind": "hmac_sha256", "header": "X-Signature", "prefix": "sha256=", "timestamp_header": "X-Timestamp"},
        "events": [{"entity": "contacts", "when": {"pointer": "/kind", "equals": "contact"}, "record": "/record",
            "action": {"pointer": "/type", "create": ["create"], "update": ["update"], "delete": ["delete"]}}]}}));
    merge(&mut config["webhook"], more);
    config
}

fn post(headers: &[(&str, &str)], body: &str) -> HttpRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpRequest { method: "POST".into(), url: "/crm?x=1".into(), headers, body: Some(body.into()) }
}

/// A request signed as `hooked` expects it.
fn signed(body: &str, at: i64) -> HttpRequest {
    let signature = format!("sha256={}", mac(&format!("{at}.{body}"), Encoding::Hex));
    post(&[("X-Signature", &signature), ("x-timestamp", &at.to_string())], body)
}

fn receive(config: &Value, request: HttpRequest) -> (u16, Vec<Item>) {
    let (HttpResponse { status, .. }, items) = Rest::receive(parsed(config), request).unwrap();
    assert!(status < 300 || items.is_empty(), "a refused request gives no items");
    (status, items)
}

fn event(action: &str) -> String {
    json!({"kind": "contact", "type": action, "record": {"id": "a", "updated": "2026-11-21T10:00:00.000Z", "name": "Ada"}}).to_string()
}

#[test]
fn what_is_proven_becomes_an_item() {
    let shared = system(&[]);
    let _host = host(&shared);
    for (action, kind) in
        [("create", Some(ItemKind::Record)), ("update", Some(ItemKind::Record)), ("delete", Some(ItemKind::Deleted)), ("view", None)]
    {
        let (status, items) = receive(&hooked(json!({})), signed(&event(action), NOW));
        assert_eq!((status, items.first().map(|item| item.kind)), (200, kind), "{action}");
        assert!(items.iter().all(|item| item.key == "a" && item.at_ms == Some(1_795_255_200_000)));
    }
}

#[test]
fn what_is_not_proven_is_refused() {
    let shared = system(&[]);
    let _host = host(&shared);
    let body = event("create");
    let good = signed(&body, NOW);
    let with = |name: &str, value: Option<&str>| {
        let mut request = good.clone();
        request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        request.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        request
    };
    let reserialised = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&body).unwrap()).unwrap();
    let table = [
        ("no signature", with("X-Signature", None), 401),
        ("another signature", with("X-Signature", Some("sha256=00")), 401),
        ("an empty signature", with("X-Signature", Some("sha256=")), 401),
        ("no prefix", with("X-Signature", Some(&mac(&format!("{NOW}.{body}"), Encoding::Hex))), 401),
        ("no time", with("X-Timestamp", None), 401),
        ("another time", with("X-Timestamp", Some("1795262401")), 401),
        ("the body written anew", HttpRequest { body: Some(reserialised.into_bytes()), ..good.clone() }, 401),
        ("no body", HttpRequest { body: None, ..good.clone() }, 401),
        ("an old request", signed(&body, NOW - 301), 409),
        ("a request from the future", signed(&body, NOW + 301), 409),
        ("another path", HttpRequest { url: "/other".into(), ..good.clone() }, 404),
        ("no JSON", signed("{\"kind\": ", NOW), 400),
        ("an empty body", signed("", NOW), 400),
        ("no record", signed("{\"kind\": \"contact\", \"type\": \"create\"}", NOW), 422),
        ("no id", signed("{\"kind\": \"contact\", \"type\": \"create\", \"record\": {}}", NOW), 422),
    ];
    for (what, request, status) in table {
        assert_eq!(receive(&hooked(json!({})), request).0, status, "{what}");
    }
    let mut binary = signed("x", NOW);
    binary.body = Some(vec![0xff, 0xfe]);
    assert_eq!(receive(&hooked(json!({})), binary).0, 401);
    assert_eq!(receive(&config(json!({})), good).0, 404, "no webhook is configured");
}

#[test]
fn a_delivery_counts_once() {
    let shared = system(&[]);
    let _host = host(&shared);
    let config = hooked(json!({}));
    let request = signed(&event("create"), NOW);
    assert_eq!(receive(&config, request.clone()).1.len(), 1);
    assert_eq!(receive(&config, request), (200, vec![]), "replayed");
    let by_id = hooked(json!({"delivery_id": {"header": "X-Delivery"}}));
    let deliver = |id: &str, at: i64| {
        let mut request = signed(&event("update"), at);
        request.headers.push(("X-Delivery".into(), id.into()));
        receive(&by_id, request).1.len()
    };
    assert_eq!([deliver("d1", NOW + 1), deliver("d1", NOW + 2), deliver("d2", NOW + 3)], [1, 0, 1]);
    assert_eq!(deliver("d3", NOW + 3), 0, "an id nobody signed does not make an old request new");
}

#[test]
fn other_ways_to_sign_are_understood() {
    let shared = system(&[]);
    let _host = host(&shared);
    let body = event("create");
    let hmac = |more: Value| {
        let mut signature = json!({"kind": "hmac_sha256", "header": "X-Signature"});
        merge(&mut signature, more);
        let mut config = hooked(json!({}));
        config["webhook"]["signature"] = signature;
        config
    };
    let composite = format!("t={NOW},v1={}", mac(&format!("{NOW}.{body}"), Encoding::Hex));
    let rotated = format!("t={NOW},v1=00,v1={}", mac(&format!("{NOW}.{body}"), Encoding::Hex).to_uppercase());
    let base64 = mac(&body, Encoding::Base64);
    let token = json!({"kind": "token", "header": "X-Signature", "prefix": "Bearer "});
    let mut with_token = hooked(json!({}));
    with_token["webhook"]["signature"] = token;
    let mut open = hooked(json!({}));
    open["webhook"]["signature"] = json!({"kind": "none"});
    let composed = hmac(json!({"composite": {"timestamp": "t", "signature": "v1"}}));
    let plain = hmac(json!({"template": "{body}", "encoding": "base64"}));
    let table = [
        (&composed, composite.as_str(), 200),
        (&composed, rotated.as_str(), 200),
        (&composed, "t=1,v1=00", 401),
        (&composed, "garbage", 401),
        (&plain, base64.as_str(), 200),
        (&plain, "AAAA", 401),
        (&with_token, "Bearer whs", 200),
        (&with_token, "Bearer wh", 401),
        (&with_token, "Bearer ", 401),
        (&with_token, "whs", 401),
        (&open, "", 200),
    ];
    for (config, value, status) in table {
        assert_eq!(receive(config, post(&[("X-Signature", value)], &body)).0, status, "{value}");
    }
}

#[test]
fn a_webhook_may_be_only_a_hint() {
    let shared = system(&[("a", "2026-11-21T11:11:11.000Z")]);
    let _host = host(&shared);
    let config = hooked(json!({"refetch": true}));
    let (_, items) = receive(&config, signed(&event("update"), NOW));
    assert_eq!(items[0].version.as_deref(), Some("2026-11-21T11:11:11.000Z"), "the record as it is now, not as it was posted");
    shared.borrow_mut().records.clear();
    assert_eq!(receive(&config, signed(&event("update"), NOW + 1)).1[0].kind, ItemKind::Deleted);
    shared.borrow_mut().instead.push_back(response(500, &json!({})));
    let request = signed(&event("update"), NOW + 2);
    assert!(Rest::receive(parsed(&config), request.clone()).is_err(), "the system is to try again");
    assert_eq!(receive(&config, request).1.len(), 1, "and a delivery that failed was not remembered");
}

#[test]
fn several_events_and_interactions_come_in_one_request() {
    let shared = system(&[]);
    let _host = host(&shared);
    let config = json!({"base_url": "https://chat.example", "entities": {"messages": {"canonical": "interaction", "interaction": {
        "channel": "chat", "text": "/text", "customer": "/visitor", "conversation_key": "/room", "occurred_at": "/at", "time_format": "unix_seconds"}}},
        "webhook": {"signature": {"kind": "none"}, "batch": "/events",
            "events": [{"entity": "messages", "action": {"header": "X-Event", "create": ["message"]}, "record": "/message", "id": "/message_id"}]}});
    let body = json!({"events": [{"message_id": "m1", "message": {"text": "hi", "visitor": "v", "room": "r", "at": 1_795_262_000}},
        {"message_id": "m2", "message": {"text": "there?", "visitor": "v", "room": "r", "at": 1_795_262_001}}]});
    let (status, items) = receive(&config, post(&[("x-event", "message")], &body.to_string()));
    assert_eq!((status, items.len()), (200, 2));
    assert_eq!(
        (items[1].kind, items[1].key.as_str(), items[1].data["content"]["text"].as_str()),
        (ItemKind::Interaction, "m2", Some("there?"))
    );
    assert_eq!(receive(&config, post(&[("x-event", "message")], "{}")).0, 422);
    assert_eq!(receive(&config, post(&[("x-event", "typing")], &body.to_string())).1.len(), 0);
}

/// A system that keeps webhooks under `/webhooks`.
fn registry(config: Value) -> (Value, Rc<RefCell<Vec<Value>>>, Guard) {
    let known: Rc<RefCell<Vec<Value>>> = Rc::default();
    let kept = Rc::clone(&known);
    let host = TestHost::new().secret("webhook_secret", "whs").http(move |request| {
        let mut kept = kept.borrow_mut();
        let path = request.url.strip_prefix("https://crm.example").unwrap().to_owned();
        Ok(match (request.method.as_str(), path.strip_prefix("/webhooks/")) {
            ("GET", None) => response(200, &json!({"data": kept.clone()})),
            ("POST", None) => {
                let mut made: Value = serde_json::from_slice(request.body.as_deref().unwrap()).unwrap();
                assert_eq!(made["secret"], "whs", "put in by the hub");
                made["id"] = json!(kept.len() + 7);
                kept.push(made.clone());
                response(201, &made)
            }
            ("DELETE", Some(id)) => {
                let (before, id) = (kept.len(), id.parse::<u64>().unwrap());
                kept.retain(|hook| hook["id"] != id);
                response(if kept.len() < before { 200 } else { 404 }, &json!({}))
            }
            other => panic!("{other:?}"),
        })
    });
    let mut registered = hooked(json!({"registration": {
        "list": {"path": "/webhooks", "record": "/data"},
        "create": {"path": "/webhooks", "body": {"url": "{url}", "secret": "{secret:webhook_secret}"}},
        "delete": {"path": "/webhooks/{key}"}}}));
    merge(&mut registered, config);
    (registered, known, host.install())
}

const HOOK: &str = "https://hub.example/hooks/cnx_1";

#[test]
fn our_address_is_registered_once_and_follows_the_hub() {
    let (config, known, _host) = registry(json!({}));
    known.borrow_mut().push(json!({"id": 1, "url": "https://others.example/hooks/cnx_2"}));
    let ensured = Rest::ensure(parsed(&config), HOOK).unwrap();
    assert_eq!(ensured, json!({"id": "8", "url": HOOK}));
    assert_eq!(Rest::ensure(parsed(&config), HOOK).unwrap(), ensured, "again is no change");
    assert_eq!(known.borrow().len(), 2);
    // The hub is reached elsewhere now: the old address goes, others' stay.
    let elsewhere = "https://new.example/hooks/cnx_1";
    Rest::ensure(parsed(&config), elsewhere).unwrap();
    let urls: Vec<Value> = known.borrow().iter().map(|hook| hook["url"].clone()).collect();
    assert_eq!(urls, ["https://others.example/hooks/cnx_2", elsewhere]);
    assert_eq!(Rest::list(parsed(&config)).unwrap().as_array().unwrap().len(), 2);
    // Somebody tidied up in the system: it is there again.
    known.borrow_mut().clear();
    Rest::ensure(parsed(&config), elsewhere).unwrap();
    Rest::remove(parsed(&config)).unwrap();
    assert!(known.borrow().is_empty());
    Rest::remove(parsed(&config)).unwrap();
}

#[test]
fn without_a_list_our_registration_is_remembered() {
    let (config, known, _host) = registry(json!({"webhook": {"registration": {"list": null}}}));
    Rest::ensure(parsed(&config), HOOK).unwrap();
    Rest::ensure(parsed(&config), HOOK).unwrap();
    assert_eq!(known.borrow().len(), 1);
    Rest::ensure(parsed(&config), "https://new.example/hooks/cnx_1").unwrap();
    assert_eq!(known.borrow().len(), 1, "the old one is gone");
    // Gone already is as good.
    known.borrow_mut().clear();
    Rest::remove(parsed(&config)).unwrap();
    assert_eq!(Rest::list(parsed(&config)).unwrap(), json!([]));
}

#[test]
fn a_config_without_registration_leaves_it_to_people() {
    let shared = system(&[]);
    let _host = host(&shared);
    let refused = Rest::ensure(parsed(&hooked(json!({}))), HOOK).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Unsupported);
    let nowhere = hooked(json!({"registration": {"create": {"path": "/webhooks"}}}));
    let wrong = Rest::ensure(parsed(&nowhere), HOOK).unwrap_err();
    assert_eq!((wrong.class, wrong.field.as_deref()), (ErrorClass::Config, Some("webhook.registration.create")));
}
