//! Nobody's change is lost.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn a_change_wants_the_version_that_was_read() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let made = api.post("/v1/enquiries", json!({"profile_id": profile, "reason": "late"})).await.expect(201);
    let (path, tag) = (made.header("location").to_owned(), made.header("etag").to_owned());
    assert_eq!(tag, format!("\"{}\"", made.json()["version"]));

    let patch = || Some(json!({"reason": "later"}));
    let without = api.with_headers("PATCH", &path, &[], patch()).await;
    assert_eq!((without.status, without.problem().as_str()), (428, "precondition-required"));
    for (given, status, code) in
        [("\"999999\"", 412, "stale"), ("\"abc\"", 412, "stale"), ("*", 400, "invalid-header"), ("W/\"1\"", 400, "invalid-header")]
    {
        let answer = api.with_headers("PATCH", &path, &[("if-match", given)], patch()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{given}");
    }
    let changed = api.with_headers("PATCH", &path, &[("if-match", &tag)], patch()).await.expect(200);
    assert_eq!(changed.json()["reason"], "later");
    assert_ne!(changed.header("etag"), tag);
    let again = api.with_headers("PATCH", &path, &[("if-match", &tag)], patch()).await;
    assert_eq!((again.status, again.problem().as_str()), (412, "stale"));
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let path = format!("/v1/connections/{connection}");
    let tag = api.get(&path).await.expect(200).header("etag").to_owned();
    let known = api.with_headers("GET", &path, &[("if-none-match", &tag)], None).await.expect(304);
    assert!(known.body.is_empty() && known.header("etag") == tag);
    api.with_headers("GET", &path, &[("if-none-match", "\"0\"")], None).await.expect(200);
}

#[tokio::test]
async fn deleting_wants_the_version_too() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let path = format!("/v1/connections/{connection}");
    let used = api.get("/v1/plugins/scripted/1.0.0").await.expect(200).header("etag").to_owned();
    api.with_headers("DELETE", "/v1/plugins/scripted/1.0.0", &[("if-match", &used)], None).await.expect(409);
    api.with_headers("DELETE", &path, &[], None).await.expect(428);
    let tag = api.get(&path).await.header("etag").to_owned();
    api.with_headers("DELETE", &path, &[("if-match", &tag)], None).await.expect(204);
    api.get(&path).await.expect(404);
    api.with_headers("DELETE", "/v1/plugins/scripted/1.0.0", &[], None).await.expect(428);
    api.with_headers("DELETE", "/v1/plugins/scripted/1.0.0", &[("if-match", "\"sha256:00\"")], None).await.expect(412);
    api.with_headers("DELETE", "/v1/plugins/scripted/1.0.0", &[("if-match", &used)], None).await.expect(204);
    api.get("/v1/plugins/scripted/1.0.0").await.expect(404);
}
