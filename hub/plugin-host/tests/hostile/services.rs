//! What a plugin may ask of the hub, and what becomes of it.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_schemas::connector::{ErrorClass, Found, HttpRequest, Op, OpKind};

use crate::support::{Rig, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn every_export_is_reached_and_converted() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    let connector = &connection.connector;
    assert_eq!(connector.check().await.unwrap().account_id, "a1");
    assert_eq!(connector.options("field", "query").await.unwrap(), json!(["field", "query"]));
    assert_eq!(connector.migrate("config", "0.9.0", &json!({"a": 1})).await.unwrap(), json!({"a": 1}));
    let keys = ["1", "gone", "moved"].map(ToOwned::to_owned);
    let found = connector.get("thing", &keys).await.unwrap();
    assert!(matches!(&found[..], [Found::Record(_), Found::Gone, Found::MovedTo(to)] if to == "elsewhere"), "{found:?}");
    let outcomes = connector.write("thing", vec![op("1", "x"), op("2", "bad")]).await.unwrap().value;
    assert_eq!(outcomes[0].result.as_ref().unwrap().key, "idem-1");
    assert_eq!(outcomes[1].result.as_ref().unwrap_err().class, ErrorClass::InvalidRecord);
    let request = HttpRequest { method: "POST".into(), url: "/hook?x=1".into(), headers: vec![], body: Some(b"raw".to_vec()) };
    let (response, items) = connector.webhook(request).await.unwrap().value;
    assert_eq!((response.status, response.body.as_slice(), items[0].data.clone()), (200, b"raw".as_slice(), json!("raw")));
    assert_eq!(connector.webhook_ensure("https://hub/hook").await.unwrap().value, json!("https://hub/hook"));
    connector.webhook_remove().await.unwrap();
    assert_eq!(connector.act("echo", &json!([1]), "key").await.unwrap().value, json!([1]));
    let message = serde_json::from_value(json!({"to": ["a"], "text": "hello"})).unwrap();
    assert_eq!(connector.send(&message, "key-1").await.unwrap().value.key, "key-1");
}

fn op(id: &str, key: &str) -> Op {
    Op {
        id: id.into(),
        idempotency_key: format!("idem-{id}"),
        kind: OpKind::Update,
        key: Some(key.into()),
        expect_version: None,
        data: json!({"name": "x"}),
        clear: vec![],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_serves_call_after_call() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    for expected in 1..=3 {
        assert_eq!(connection.read("calls", &Value::Null).await.unwrap(), json!(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_sees_the_hubs_clock_and_fresh_randomness() {
    let probe = Rig::new().await.connect(json!({})).read("probe", &Value::Null).await.unwrap();
    assert_eq!(probe["now_ms"], json!(1_700_000_000_000_u64));
    assert_eq!((&probe["random"], &probe["random_differs"], &probe["monotonic"]), (&json!(32), &json!(true), &json!(true)));
    assert_eq!(probe["cancelled"], json!(false));
    let deadline = probe["deadline"].as_u64().unwrap();
    assert!((200_000..=300_000).contains(&deadline), "{deadline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_visible_at_once_and_returned_only_if_the_call_ends_well() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    connection.services.state.lock().unwrap().insert("count".into(), json!(41));
    let called = connection.page("state", &Value::Null).await.unwrap();
    assert_eq!(called.value.items[0].data, json!({"before": 41, "now": "42"}));
    assert_eq!(called.state, vec![("count".to_owned(), Some(json!(42))), ("gone".to_owned(), None)]);
    assert!(connection.page("state", &json!({"fail": true})).await.is_err());
    let called = connection.page("echo", &json!(1)).await.unwrap();
    assert_eq!(called.state, vec![], "what a failed call set is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emit_carries_items_checkpoint_and_state_together() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({"mode": "listen-once"}));
    connection.connector.listen(Some(json!("from here"))).await.unwrap();
    let emitted = connection.services.emitted.lock().unwrap().clone();
    assert_eq!(emitted.len(), 2);
    assert_eq!(emitted[0].0[0].data, json!("\"from here\""));
    assert_eq!((&emitted[0].1, &emitted[0].2), (&Some(json!(8)), &vec![("seen".to_owned(), Some(json!("1")).map(|_| json!(1)))]));
    assert_eq!(emitted[1].2, vec![("later".to_owned(), Some(json!(2)))], "what is set after the last emit is not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_emits_meets_back_pressure() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({"mode": "listen-flood"}));
    connection.services.room.forget_permits(1_000_000);
    let count = || connection.services.emitted.lock().unwrap().len();
    let listening = tokio::spawn({
        let connector = connection.connector.clone();
        async move { connector.listen(None).await }
    });
    rig.beside_another(tokio::time::sleep(Duration::from_millis(50))).await;
    assert_eq!(count(), 0, "nothing is accepted, so nothing goes on");
    connection.services.room.add_permits(3);
    eventually("three emits", || count() == 3).await;
    connection.connector.stop().await;
    assert_eq!(listening.await.unwrap().unwrap_err().class, ErrorClass::Cancelled);
    assert_eq!(count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_to_the_hub_and_have_their_limit() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    assert_eq!(connection.read("blobs", &Value::Null).await.unwrap(), json!({"reference": "sha256:9", "back": "text"}));
    let error = connection.read("blob-flood", &Value::Null).await.unwrap_err();
    assert!(error.message.contains("larger than 16 MiB"), "{error}");
}
