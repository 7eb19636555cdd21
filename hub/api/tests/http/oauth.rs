//! Connecting by OAuth 2.0: an admin begins, a browser comes back, the connection has its tokens.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::body::Body;
use serde_json::json;
use throughline_api::ApiOptions;
use throughline_engine::Scope;
use throughline_schemas::ConnectionId;

use crate::support::{Answer, Api};

const CALLBACK: &str = "https://hub.example/oauth/callback";

async fn api() -> (Api, ConnectionId) {
    let api = Api::with(ApiOptions { public_url: Some("https://hub.example/".to_owned()), ..ApiOptions::default() }).await;
    let connection = api.connection().await;
    (api, connection)
}

/// The parameters of the URL that the admin is sent to.
async fn begin(api: &Api, connection: ConnectionId) -> BTreeMap<String, String> {
    let begun = api.post(&format!("/v1/connections/{connection}/oauth"), json!({})).await.expect(200).json();
    assert_eq!(begun["redirect_uri"], CALLBACK);
    let url = begun["authorize_url"].as_str().unwrap();
    url.split_once('?').unwrap().1.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// A browser comes back.
async fn come_back(api: &Api, query: &str) -> Answer {
    let answer = api.send("GET", &format!("/oauth/callback?{query}"), &[], Body::empty()).await;
    assert_eq!((answer.header("content-type"), answer.header("referrer-policy")), ("text/html; charset=utf-8", "no-referrer"));
    answer
}

fn page(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_consent_becomes_tokens_once() {
    let (api, connection) = api().await;
    let begun = begin(&api, connection).await;
    assert_eq!(begun["redirect_uri"], CALLBACK);
    let query = format!("state={}&code=the-code&iss=something-of-the-silos", begun["state"]);
    let answer = come_back(&api, &query).await.expect(200);
    assert!(page(&answer).contains("mail is connected"), "{answer:?}");
    let (code, verifier, redirect) = api.script.exchanged.lock().unwrap()[0].clone();
    assert_eq!((code.as_str(), redirect.as_str()), ("the-code", CALLBACK));
    assert_eq!(begun["challenge"], crate::script::challenge(&verifier), "the verifier is the one that was promised");

    let view = api.get(&format!("/v1/connections/{connection}")).await.expect(200).json();
    assert_eq!((&view["secret_names"], &view["paused"]), (&json!(["oauth_access_token", "oauth_refresh_token"]), &json!(false)));
    assert!(!view.to_string().contains("token-for-the-code"), "they are sealed: {view}");
    let audit = api.get("/v1/audit").await.expect(200).json().to_string();
    assert!(audit.contains("oauth.callback") && !audit.contains("the-code"), "{audit}");

    let again = come_back(&api, &query).await.expect(400);
    assert!(page(&again).contains("used already"), "{again:?}");
    assert_eq!(api.script.exchanged.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn stored_tokens_are_there_when_the_connection_is_opened_again() {
    let (api, connection) = api().await;
    let begun = begin(&api, connection).await;
    come_back(&api, &format!("state={}&code=c1", begun["state"])).await.expect(200);
    let secrets = api.script.secrets(connection);
    assert_eq!(secrets["oauth_refresh_token"].expose(), "refresh-token-for-c1");
}

#[tokio::test]
async fn a_browser_that_brings_no_consent_of_ours_is_told_so() {
    let (api, connection) = api().await;
    let state = begin(&api, connection).await["state"].clone();
    let forged = format!("{}{}", if state.starts_with('A') { 'B' } else { 'A' }, &state[1..]);
    let cases = [
        (format!("state={forged}&code=x"), 400, "begin again"),
        ("code=x".to_owned(), 400, "sent no code"),
        (String::new(), 400, "sent no code"),
        ("error=access_denied%3Cscript%3E".to_owned(), 400, "access_denied&lt;script&gt;"),
        (format!("state={state}&code=refused"), 502, "connect again"),
    ];
    for (query, status, words) in cases {
        let answer = come_back(&api, &query).await.expect(status);
        assert!(page(&answer).contains(words), "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn another_account_is_not_taken_over() {
    let (api, connection) = api().await;
    let state = begin(&api, connection).await["state"].clone();
    *api.script.account.lock().unwrap() = "acct-2".to_owned();
    let answer = come_back(&api, &format!("state={state}&code=x")).await.expect(409);
    assert!(page(&answer).contains("acct-2"), "{answer:?}");
    let view = api.get(&format!("/v1/connections/{connection}")).await.json();
    assert_eq!(view["paused"], json!(true));
}

#[tokio::test]
async fn what_cannot_begin_says_why() {
    let path = |connection: ConnectionId| format!("/v1/connections/{connection}/oauth");
    let (api, connection) = api().await;
    assert_eq!(api.as_key(&api.key(Scope::Write).await, "POST", &path(connection)).await.status, 403);
    assert_eq!(api.post("/v1/connections/cnx_00000000000000000000000000/oauth", json!({})).await.expect(404).problem(), "not-found");
    api.script.no_oauth.store(true, Ordering::SeqCst);
    api.rename(connection, "opened anew").await;
    let answer = api.post(&path(connection), json!({})).await.expect(409);
    assert!(answer.json()["detail"].as_str().unwrap().contains("does not use OAuth"), "{answer:?}");

    let nowhere = Api::new().await;
    let connection = nowhere.connection().await;
    let answer = nowhere.post(&path(connection), json!({})).await.expect(409);
    assert!(answer.json()["detail"].as_str().unwrap().contains("--public-url"), "{answer:?}");
}
