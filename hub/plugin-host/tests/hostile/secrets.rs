//! Secrets go to granted hosts only, and come back nowhere.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use throughline_schemas::connector::ErrorClass;

use crate::network::{HTTP, ok, serve, towards};
use crate::support::{CANARY, Rig};

/// What no text that leaves a connection may hold.
fn assert_no_canary(what: &str, text: &str) {
    for form in ["c4nary", "YzRuYXJ5", "M0bmFyeS", "jNG5hcnkr"] {
        assert!(!text.contains(form), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_into_url_header_and_form_and_is_taken_out_of_the_answer() {
    let rig = Rig::new().await;
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let port = serve({
        let seen = seen.clone();
        move |request| {
            seen.lock().unwrap().push(request.clone());
            format!("HTTP/1.1 200 OK\r\nX-Echo: {CANARY}\r\nContent-Length: {}\r\n\r\n{request}", request.len())
        }
    })
    .await;
    let connection = towards(&rig, "silo.example", port, &[HTTP]);
    let request = json!({
        "url": format!("http://silo.example:{port}/?key={{secret:password}}"),
        "method": "POST",
        "headers": {"authorization": "Basic {base64:user:{secret:password}}", "content-type": "application/x-www-form-urlencoded"},
        "body": "password={secret:password}",
    });
    let answer = connection.read("fetch", &request).await.unwrap();
    let sent = seen.lock().unwrap()[0].clone();
    assert!(sent.contains("?key=c4nary%2Bs3cret%2Fvalue"), "{sent}");
    assert!(sent.contains("authorization: Basic dXNlcjpjNG5hcnkrczNjcmV0L3ZhbHVl"), "{sent}");
    assert!(sent.ends_with("password=c4nary%2Bs3cret%2Fvalue"), "{sent}");
    assert_no_canary("the answer", &answer.to_string());
    assert!(answer.to_string().contains("[redacted]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_text_in_a_body_is_not_taken_for_a_template() {
    let rig = Rig::new().await;
    let port = serve(|request| ok(&request)).await;
    let connection = towards(&rig, "silo.example", port, &[HTTP]);
    let request = |options: Value| {
        let url = format!("http://silo.example:{port}/");
        json!({"url": url, "method": "POST", "headers": {"content-type": "application/json"}, "body": "{\"note\":\"{secret:password}\"}", "options": options.to_string()})
    };
    let answer = connection.read("fetch", &request(json!({}))).await.unwrap();
    assert!(answer["body"].as_str().unwrap().ends_with("{\"note\":\"{secret:password}\"}"), "{answer}");
    let answer = connection.read("fetch", &request(json!({"secrets_in_body": true}))).await.unwrap();
    assert!(answer["body"].as_str().unwrap().ends_with("{\"note\":\"[redacted]\"}"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_goes_to_a_host_that_is_not_granted() {
    let rig = Rig::new().await;
    let seen = Arc::new(Mutex::new(0));
    let port = serve({
        let seen = seen.clone();
        move |_| {
            *seen.lock().unwrap() += 1;
            ok("")
        }
    })
    .await;
    let connection = towards(&rig, "silo.example", port, &[HTTP]);
    let url = format!("http://other.example:{port}/{{secret:password}}");
    let error = connection.read("fetch", &json!({"url": url, "headers": {"x": "{secret:password}"}})).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Permission);
    assert_no_canary("the error", &serde_json::to_string(&error).unwrap());
    assert_eq!(*seen.lock().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_carry_a_secret_body_elsewhere() {
    let rig = Rig::new().await;
    let port = serve(|request| {
        let port = request.lines().find_map(|line| line.strip_prefix("host: silo.example:")).unwrap_or_default().to_owned();
        format!("HTTP/1.1 307 Moved\r\nLocation: http://other.example:{port}/\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let connection = towards(&rig, "silo.example", port, &[HTTP, "http://other.example:{config.port}"]);
    let request = json!({
        "url": format!("http://silo.example:{port}/"), "method": "POST", "body": "p={secret:password}",
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    });
    assert_eq!(connection.read("fetch", &request).await.unwrap_err().class, ErrorClass::Permission);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_sign_and_compare_without_entering_the_guest() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    assert_eq!(connection.read("hmac", &Value::Null).await.unwrap().as_array().unwrap().len(), 32);
    assert_eq!(connection.read("equals", &json!(CANARY)).await.unwrap(), json!(true));
    assert_eq!(connection.read("equals", &json!("c4nary")).await.unwrap(), json!(false));
}

/// Everything logged in this process from here on.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn logged() -> &'static Logged {
    static LOGGED: std::sync::OnceLock<Logged> = std::sync::OnceLock::new();
    LOGGED.get_or_init(|| {
        let logged = Logged::default();
        let writer = logged.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        logged
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_in_no_log_error_record_or_state() {
    let logged = logged();
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    // However it learned the value: here it is told, as a silo that echoes it would.
    connection.read("log", &json!({"message": format!("marker-canary {CANARY}")})).await.unwrap();
    let error = connection.read("fail", &json!(format!("refused: {CANARY}"))).await.unwrap_err();
    assert_no_canary("the error", &serde_json::to_string(&error).unwrap());
    let record = connection.read("echo", &json!({"text": CANARY, "basic": "dXNlcjpjNG5hcnkrczNjcmV0L3ZhbHVl"})).await.unwrap();
    assert_eq!(record["text"], json!("[redacted]"));
    assert_no_canary("the record", &record.to_string());
    connection.read("emit", &json!({"text": CANARY})).await.unwrap();
    let emitted = format!("{:?}", connection.services.emitted.lock().unwrap());
    assert!(emitted.contains("[redacted]"), "{emitted}");
    assert_no_canary("what was emitted", &emitted);
    let log = logged.text();
    assert!(log.contains("marker-canary [redacted]"), "{log}");
    assert_no_canary("the log", &log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logs_is_cut_with_one_notice() {
    let logged = logged();
    let rig = Rig::with(|options| options.limits.log_bytes_per_second = 1000).await;
    let connection = rig.connect(json!({}));
    rig.beside_another(connection.read("log", &json!({"message": "flood-marker", "count": 20_000}))).await.0.unwrap();
    let log = logged.text();
    let written = log.matches("flood-marker\"").count();
    assert!((1..2000).contains(&written), "{written} lines of 20000 were written");
    assert!(log.contains("logs more than 1000 bytes in a second"), "the notice is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_logged_with_the_grant() {
    let logged = logged();
    let rig = Rig::new().await;
    let connection = towards(&rig, "silo.example", 4242, &[]);
    connection.read("fetch", &json!({"url": "http://silo.example:4242/"})).await.unwrap_err();
    let log = logged.text();
    let line = log.lines().find(|line| line.contains("http://silo.example:4242")).expect("the denial is logged");
    assert!(line.contains("grants.hosts") && line.contains("{config.host}:{config.port}"), "{line}");
}
