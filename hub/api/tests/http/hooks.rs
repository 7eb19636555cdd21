//! What silos post reaches the plugin as it came.

use axum::body::Body;
use throughline_api::{ApiOptions, RateLimit};
use throughline_schemas::connector::HttpResponse;

use crate::support::Api;

#[tokio::test]
async fn the_request_is_handed_on_raw_and_the_answer_handed_back() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let headers = vec![("x-reply".to_owned(), "yes".to_owned()), ("set-cookie".to_owned(), "a=b".to_owned())];
    *api.script.hook_answer.lock().unwrap() = Some(HttpResponse { status: 202, headers, body: b"ok \xff".to_vec() });
    let body = b"\x00raw \xff bytes".to_vec();
    let answer = api
        .send("PUT", &format!("/hooks/{connection}/a%2Fb/c?x=%20y&z"), &[("X-Signature", "abc"), ("content-type", "x/y")], body.clone())
        .await;
    assert_eq!((answer.status, answer.header("x-reply"), &answer.body[..]), (202, "yes", &b"ok \xff"[..]));
    assert!(!answer.headers.contains_key("set-cookie") && answer.header("content-security-policy").contains("sandbox"));

    let seen = api.script.hooked.lock().unwrap()[0].clone();
    assert_eq!((seen.method.as_str(), seen.url.as_str(), seen.body), ("PUT", "/a%2Fb/c?x=%20y&z", Some(body)));
    assert!(seen.headers.contains(&("x-signature".to_owned(), "abc".to_owned())));
}

#[tokio::test]
async fn the_hooks_own_path_works_with_and_without_a_slash() {
    let api = Api::new().await;
    let connection = api.connection().await;
    for (path, url) in [("", "/"), ("/", "/"), ("?challenge=7", "/?challenge=7"), ("/deep/er", "/deep/er")] {
        api.send("GET", &format!("/hooks/{connection}{path}"), &[], Body::empty()).await.expect(204);
        let seen = api.script.hooked.lock().unwrap().pop().unwrap();
        assert_eq!((seen.url.as_str(), seen.body), (url, None), "{path}");
    }
}

#[tokio::test]
async fn bad_hooks_are_refused_before_the_plugin() {
    let options = ApiOptions { max_body_bytes: 100, rate: RateLimit { per_second: 1, burst: 5 }, ..ApiOptions::default() };
    let api = Api::with(options).await;
    let connection = api.connection().await;
    let path = format!("/hooks/{connection}");
    let post = async |path: &str, body: &'static str| {
        let answer = api.send("POST", path, &[], body).await;
        (answer.status, answer.problem())
    };
    assert_eq!(post("/hooks/nonsense", "").await, (400, "invalid-id".to_owned()));
    assert_eq!(post("/hooks/cnx_00000000000000000000000000", "").await, (404, "not-found".to_owned()));
    let long = "x".repeat(101).leak();
    for _ in 0..5 {
        assert_eq!(post(&path, long).await, (413, "too-large".to_owned()));
    }
    let answer = api.send("POST", &path, &[], "").await;
    assert_eq!((answer.status, answer.problem().as_str(), answer.header("retry-after")), (429, "rate-limited", "1"));
    assert!(api.script.hooked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_hubs_address_is_registered_listed_and_removed_at_the_silo() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let path = format!("/v1/connections/{connection}/webhook");
    let ensured = api.post(&path, serde_json::json!({})).await.expect(200).json();
    let url = format!("https://hub.example/hooks/{connection}");
    assert_eq!((&ensured["state"], &ensured["url"]), (&serde_json::json!("registered"), &serde_json::json!(url)));
    assert_eq!(api.get(&path).await.expect(200).json(), serde_json::json!([{"id": "wh1"}]));
    api.with_headers("DELETE", &path, &[], None).await.expect(204);
    let health = api.get(&format!("/v1/connections/{connection}/health")).await.expect(200).json();
    assert_eq!(health["webhook"]["state"], "removed");
    api.post(&format!("/v1/connections/{connection}/pause"), serde_json::json!({})).await.expect(200);
    assert_eq!(api.post(&path, serde_json::json!({})).await.expect(409).problem(), "conflict");
    api.get("/v1/connections/cnx_00000000000000000000000000/webhook").await.expect(404);
}
