//! The same request twice does one thing.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::Api;

const KEY: [(&str, &str); 1] = [("idempotency-key", "k-1")];

#[tokio::test]
async fn the_same_request_gets_the_stored_answer() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let body = |reason: &str| Some(json!({"profile_id": profile, "reason": reason}));
    let first = api.with_headers("POST", "/v1/enquiries", &KEY, body("late")).await.expect(201);
    let second = api.with_headers("POST", "/v1/enquiries", &KEY, body("late")).await.expect(201);
    assert_eq!(
        (&first.body, first.header("location"), first.header("etag")),
        (&second.body, second.header("location"), second.header("etag"))
    );
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), ("", "true"));

    let other = api.with_headers("POST", "/v1/enquiries", &KEY, body("other")).await;
    assert_eq!((other.status, other.problem().as_str()), (422, "idempotency-mismatch"));
    let elsewhere = api.with_headers("POST", &format!("/v1/connections/{connection}/check"), &KEY, None).await.expect(200);
    assert_eq!(elsewhere.header("idempotency-replayed"), "", "a key belongs to one path");

    let audit = api.get("/v1/audit").await.expect(200).json();
    let made = audit["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "enquiries.create").count();
    assert_eq!(made, 1, "a replay is nothing new: {audit}");
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    api.with_headers("POST", "/v1/enquiries", &KEY, Some(json!({"reason": "late"}))).await.expect(422);
    api.with_headers("POST", "/v1/enquiries", &KEY, Some(json!({"profile_id": profile, "reason": "late"}))).await.expect(201);
}

#[tokio::test]
async fn keys_of_bad_form_and_places_without_keys() {
    let api = Api::new().await;
    let new = Some(json!({"name": "x", "scopes": ["read"]}));
    let answer = api.with_headers("POST", "/v1/api-keys", &KEY, new).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-header"));
    let answer = api.with_headers("POST", "/v1/enquiries", &[("idempotency-key", "a b")], Some(json!({}))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-header"));
}

#[tokio::test]
async fn a_client_that_goes_away_finds_the_answer_when_it_comes_back() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let path = format!("/v1/connections/{connection}/actions/slow");
    let request = Request::builder()
        .method("POST")
        .uri(&path)
        .header("authorization", format!("Bearer {}", api.admin))
        .header("content-type", "application/json")
        .header("idempotency-key", "k-1")
        .body(Body::from("{\"n\":1}"))
        .unwrap();
    let started = async {
        while api.script.acted.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = api.raw(request) => panic!("nothing released it"),
        () = started => {}
    }
    let running = api.with_headers("POST", &path, &KEY, Some(json!({"n": 1}))).await;
    assert_eq!((running.status, running.problem().as_str()), (409, "idempotency-running"));
    assert_eq!(running.header("retry-after"), "1");

    api.script.release.notify_one();
    let answer = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let answer = api.with_headers("POST", &path, &KEY, Some(json!({"n": 1}))).await;
            if answer.status != 409 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    });
    let answer = answer.await.unwrap().expect(200);
    assert_eq!((answer.json(), answer.header("idempotency-replayed")), (json!({"n": 1}), "true"));
    assert_eq!(api.script.acted.lock().unwrap().len(), 1, "done once");
}
