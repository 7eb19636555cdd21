//! Each kind of bad input has its own clear answer.

use axum::body::Body;
use serde_json::json;
use throughline_api::ApiOptions;

use crate::support::Api;

/// A request body and what is said of it.
async fn check(api: &Api, content_type: &str, body: impl Into<Body>, status: u16, code: &str, pointer: Option<&str>) {
    let bearer = format!("Bearer {}", api.admin);
    let mut headers = vec![("authorization", bearer.as_str())];
    if !content_type.is_empty() {
        headers.push(("content-type", content_type));
    }
    let answer = api.send("POST", "/v1/enquiries", &headers, body).await;
    assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.json()["errors"][0]["pointer"].as_str(), pointer, "{answer:?}");
}

#[tokio::test]
async fn bodies() {
    let api = Api::with(ApiOptions { max_body_bytes: 1000, ..ApiOptions::default() }).await;
    let json = "application/json";
    check(&api, json, "{", 400, "malformed-json", None).await;
    check(&api, json, "", 400, "malformed-json", None).await;
    check(&api, json, b"{\"reason\":\"\xff\"}".to_vec(), 400, "invalid-utf8", None).await;
    check(&api, json, "[]", 422, "invalid", Some("")).await;
    check(&api, json, "{\"profile_id\":\"pro_x\",\"reason\":\"y\"}", 422, "invalid", Some("/profile_id")).await;
    check(&api, json, "{\"colour\":1}", 422, "invalid", Some("/colour")).await;
    check(&api, json, "{\"reason\":{}}", 422, "invalid", Some("/reason")).await;
    check(
        &api,
        json,
        "{\"variables\":{\"order/no\":{\"value\":1,\"scope\":\"moon\"}}}",
        422,
        "invalid",
        Some("/variables/order~1no/scope"),
    )
    .await;
    check(&api, json, "x".repeat(1001), 413, "too-large", None).await;
    check(&api, "text/plain", "{}", 415, "unsupported-media-type", None).await;
    check(&api, "", "{}", 415, "unsupported-media-type", None).await;
    check(&api, "application/vnd.x+json; charset=utf-8", "{", 400, "malformed-json", None).await;
}

#[tokio::test]
async fn a_body_without_an_announced_length_is_bounded_too() {
    let api = Api::with(ApiOptions { max_body_bytes: 1000, ..ApiOptions::default() }).await;
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 300]));
    check(&api, "application/json", Body::from_stream(endless), 413, "too-large", None).await;
}

#[tokio::test]
async fn paths_and_queries() {
    let api = Api::new().await;
    let unknown = "pro_00000000000000000000000000";
    let table = [
        ("/v1/profiles/nonsense".to_owned(), 400, "invalid-id"),
        ("/v1/profiles/enq_00000000000000000000000000".to_owned(), 400, "invalid-id"),
        ("/v1/profiles/%ff".to_owned(), 400, "invalid-id"),
        (format!("/v1/profiles/{unknown}"), 404, "not-found"),
        (format!("/v1/profiles/{unknown}/timeline"), 404, "not-found"),
        ("/v1/enquiries/enq_00000000000000000000000000".to_owned(), 404, "not-found"),
        ("/v1/conversations/con_00000000000000000000000000".to_owned(), 404, "not-found"),
        ("/v1/connections/cnx_00000000000000000000000000".to_owned(), 404, "not-found"),
        ("/v1/connections/cnx_00000000000000000000000000/health".to_owned(), 404, "not-found"),
        ("/v1/decisions/dec_00000000000000000000000000".to_owned(), 404, "not-found"),
        ("/v1/plugins/nobody/1.0.0".to_owned(), 404, "not-found"),
        ("/v1/profiles?limit=0".to_owned(), 400, "invalid-query"),
        ("/v1/profiles?limit=201".to_owned(), 400, "invalid-query"),
        ("/v1/profiles?limit=many".to_owned(), 400, "invalid-query"),
        ("/v1/profiles?colour=red".to_owned(), 400, "invalid-query"),
        ("/v1/enquiries?status=lost".to_owned(), 400, "invalid-query"),
        ("/v1/decisions".to_owned(), 400, "invalid-query"),
        ("/v1/lookup".to_owned(), 400, "invalid-query"),
        ("/v1/lookup?phone=1&email=a@b.example".to_owned(), 400, "invalid-query"),
        ("/v1/lookup?phone=1&assurance=sure".to_owned(), 400, "invalid-query"),
        ("/v1/events?type=nothing.happened".to_owned(), 400, "invalid-query"),
        ("/v1/events?after=99999999".to_owned(), 400, "invalid-query"),
        ("/v1/nothing".to_owned(), 404, "no-such-route"),
    ];
    for (path, status, code) in table {
        let answer = api.get(&path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn rules_of_the_hub_name_the_field() {
    let api = Api::new().await;
    api.connection().await;
    let table = [
        (json!({"name": "x", "plugin": "scripted", "config": {"host": 7}}), "/config/host"),
        (json!({"name": "x", "plugin": "scripted", "config": {"host": "h", "colour": 1}}), "/config"),
        (json!({"name": "x", "plugin": "nobody", "config": {}}), "/plugin"),
    ];
    for (body, pointer) in table {
        let answer = api.post("/v1/connections", body).await.expect(422);
        let found = answer.json()["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned();
        assert!(found.starts_with(pointer), "{answer:?}");
    }
    let bearer = format!("Bearer {}", api.admin);
    let refused = api.send("POST", "/v1/plugins", &[("authorization", &bearer)], "MZ").await.expect(422);
    assert_eq!(refused.problem(), "plugin-refused");
}
