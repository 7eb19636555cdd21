//! A plugin names its access token; it gets one that is good, and never sees it.

use std::sync::{Arc, Mutex};

use serde_json::json;
use throughline_schemas::connector::ErrorClass;

use crate::network::{ok, serve};
use crate::support::Rig;

fn json_answer(status: u16, body: &serde_json::Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_behind_the_plugins_back() {
    let rig = Rig::new().await;
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let log = seen.clone();
    let port = serve(move |request| {
        log.lock().unwrap().push(request.lines().next().unwrap_or_default().to_owned());
        if request.starts_with("POST /token") {
            return json_answer(200, &json!({"access_token": "fresh-access-token", "refresh_token": "fresh-refresh-token"}));
        }
        if request.contains("authorization: Bearer fresh-access-token") { ok(&request) } else { json_answer(401, &json!({})) }
    })
    .await;
    let change = |manifest: &mut serde_json::Value| {
        let base = "http://{config.host}:{config.port}";
        manifest["auth"] = json!([{
            "method": "oauth2", "authorize_url": format!("{base}/authorize"), "token_url": format!("{base}/token"), "scopes": [],
        }]);
    };
    let connection = rig.connect_as(port, change).await;
    let request =
        json!({"url": format!("http://silo.example:{port}/"), "headers": {"authorization": "Bearer {secret:oauth_access_token}"}});
    let answer = connection.read("fetch", &request).await.unwrap().to_string();
    assert!(answer.contains("Bearer [redacted]") && !answer.contains("fresh-access-token"), "{answer}");
    assert_eq!(*seen.lock().unwrap(), ["GET / HTTP/1.1", "POST /token HTTP/1.1", "GET / HTTP/1.1"]);
    let stored = connection.services.secrets.lock().unwrap().clone();
    assert_eq!(stored["oauth_refresh_token"].expose(), "fresh-refresh-token");
    let told = connection.read("fail", &json!("it was fresh-refresh-token")).await.unwrap_err();
    assert_eq!((told.class, told.message.as_str()), (ErrorClass::Auth, "it was [redacted]"));
    let stolen = connection.read("fetch", &json!({"url": format!("http://silo.example:{port}/{{secret:oauth_refresh_token}}")})).await;
    assert_eq!(stolen.unwrap_err().class, ErrorClass::Config, "the refresh token is for the token endpoint alone");
}
