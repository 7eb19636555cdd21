//! What goes wrong inside stays inside.

use std::time::Duration;

use axum::body::Body;
use serde_json::json;
use throughline_api::{ApiOptions, RateLimit};

use crate::script::PANICS;
use crate::support::Api;

#[tokio::test]
async fn a_panic_is_one_failed_request() {
    let api = Api::new().await;
    let bearer = format!("Bearer {}", api.admin);
    for headers in [vec![("authorization", bearer.as_str())], vec![("authorization", bearer.as_str()), ("idempotency-key", "k")]] {
        let answer = api.send("POST", "/v1/plugins", &headers, PANICS).await;
        assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("asked to panic"), "the cause is for the log");
    }
    api.get("/v1/plugins").await.expect(200);
}

#[tokio::test]
async fn a_silo_that_never_answers_costs_a_bounded_time() {
    let api = Api::with(ApiOptions { slow_timeout: Duration::from_millis(50), ..ApiOptions::default() }).await;
    let connection = api.connection().await;
    let answer = api.post(&format!("/v1/connections/{connection}/actions/slow"), json!({})).await;
    assert_eq!((answer.status, answer.problem().as_str()), (504, "timeout"));
}

#[tokio::test]
async fn a_key_that_asks_too_much_has_to_wait() {
    let api = Api::with(ApiOptions { rate: RateLimit { per_second: 1, burst: 2 }, ..ApiOptions::default() }).await;
    let first = api.get("/v1/profiles").await.expect(200);
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("2", "1"));
    api.get("/v1/profiles").await.expect(200);
    let third = api.get("/v1/profiles").await;
    assert_eq!((third.status, third.problem().as_str()), (429, "rate-limited"));
    assert_eq!((third.header("retry-after"), third.header("ratelimit-remaining")), ("1", "0"));
    api.send("GET", "/livez", &[], Body::empty()).await.expect(200);
}

#[tokio::test]
async fn a_request_keeps_its_id() {
    let api = Api::new().await;
    let given = api.with_headers("GET", "/v1/nothing", &[("x-request-id", "mine-1")], None).await;
    assert_eq!((given.header("x-request-id"), given.json()["request_id"].as_str()), ("mine-1", Some("mine-1")));
    let made = api.with_headers("GET", "/v1/nothing", &[("x-request-id", "a b")], None).await;
    assert_eq!(made.header("x-request-id").len(), 32);
}
