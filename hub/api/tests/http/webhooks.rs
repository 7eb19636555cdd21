//! Webhooks over HTTP: a secret is shown once, changes want the version, and only admins come near.

use serde_json::json;
use throughline_engine::Scope;

use crate::support::Api;

#[tokio::test]
async fn a_webhook_is_made_changed_rotated_and_ended() {
    let api = Api::new().await;
    let made =
        api.post("/v1/webhooks", json!({"name": "desk", "url": "https://desk.example/hook", "types": ["enquiry.*"]})).await.expect(201);
    let path = made.header("location").to_owned();
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && !made.header("etag").is_empty());

    let shown = api.get(&path).await.expect(200);
    assert!(!String::from_utf8_lossy(&shown.body).contains("whsec_"));
    assert_eq!((&shown.json()["enabled"], &shown.json()["secrets"][0]["until"]), (&json!(true), &json!(null)));
    assert!(!String::from_utf8_lossy(&api.get("/v1/webhooks").await.expect(200).body).contains("whsec_"));

    let stale = api.with_headers("PATCH", &path, &[("if-match", "\"1\"")], Some(json!({"enabled": false}))).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "stale"));
    let tag = shown.header("etag").to_owned();
    let changed = api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(json!({"enabled": false}))).await.expect(200);
    assert_eq!(changed.json()["enabled"], false);

    let rotated = api.post(&format!("{path}/rotate"), json!({"overlap_seconds": 60})).await.expect(200);
    assert_ne!(rotated.json()["secret"], json!(secret));
    assert_eq!((rotated.header("cache-control"), rotated.json()["secrets"].as_array().unwrap().len()), ("no-store", 2));

    let tag = api.get(&path).await.header("etag").to_owned();
    api.with_headers("DELETE", &path, &[("if-match", &tag)], None).await.expect(204);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn events_arrive_and_what_was_tried_is_shown_and_can_be_sent_again() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let made = api.post("/v1/webhooks", json!({"name": "desk", "url": "https://desk.example/hook", "types": ["enquiry.opened"]})).await;
    let path = made.expect(201).header("location").to_owned();
    api.mail(connection, "m1", "ada@customer.example").await;
    api.posted(1).await;
    let attempts = api.get(&format!("{path}/attempts")).await.expect(200).json();
    let event = attempts["items"][0]["event_id"].as_str().unwrap().to_owned();
    assert_eq!((&attempts["items"][0]["outcome"], &attempts["items"][0]["status"]), (&json!("delivered"), &json!(204)));
    let again = api.post(&format!("{path}/replay"), json!({"events": [event]})).await.expect(200);
    assert_eq!(again.json(), json!({"queued": 1, "next": null}));
    api.posted(2).await;
    let wrong = api.post(&format!("{path}/replay"), json!({"events": ["evt_0"]})).await.expect(422);
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/events/0");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_secrets_are_not_stored_for_repetition() {
    let api = Api::new().await;
    let wrong = api.post("/v1/webhooks", json!({"name": "", "url": "desk", "types": ["enquiry.eaten"], "at_once": 99})).await.expect(422);
    let pointers: Vec<_> = wrong.json()["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/name", "/url", "/types/0", "/at_once"]);
    let weak = json!({"name": "desk", "url": "https://desk.example/", "secret": "whsec_AAAA"});
    assert_eq!(api.post("/v1/webhooks", weak).await.expect(422).json()["errors"][0]["pointer"], "/secret");
    let good = json!({"name": "desk", "url": "https://desk.example/"});
    let answer = api.with_headers("POST", "/v1/webhooks", &[("idempotency-key", "k")], Some(good)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-header"));
    let reader = api.key(Scope::Read).await;
    assert_eq!(api.as_key(&reader, "GET", "/v1/webhooks").await.status, 403);
}
