//! Where a plugin may go, where it may not, and how failures on the way are classed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_schemas::connector::ErrorClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::support::{Connected, Rig};

pub(crate) const HTTP: &str = "http://{config.host}:{config.port}";
const TCP: &str = "tcp://{config.host}:{config.port}";
const TLS: &str = "tls://{config.host}:{config.port}";
const WS: &str = "ws://{config.host}:{config.port}";
const OTHER: &str = "http://other.example:{config.port}";

/// A server that answers each request with what `answer` makes of it: the whole request's text to the whole response's.
pub(crate) async fn serve(answer: impl Fn(String) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer.clone()));
        }
    });
    port
}

async fn answer_all(mut stream: TcpStream, answer: Arc<impl Fn(String) -> String>) {
    while let Some(request) = request(&mut stream).await {
        let answer = answer(request);
        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// A connection whose config names this host and port, with these grants and private access to the test's names.
pub(crate) fn towards(rig: &Rig, host: &str, port: u16, grants: &[&str]) -> Connected {
    rig.connect_with(json!({"host": host, "port": port}), grants, &["silo.example", "other.example", "127.0.0.1"])
}

async fn class_of(connection: &Connected, deed: &str, cursor: Value) -> (ErrorClass, String) {
    let error = connection.read(deed, &cursor).await.unwrap_err();
    (error.class, serde_json::to_string(&error).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_host_is_reached_and_its_answer_returned() {
    let rig = Rig::new().await;
    let port = serve(|request| ok(request.lines().next().unwrap_or_default())).await;
    let connection = towards(&rig, "silo.example", port, &[HTTP]);
    let answer = connection.read("fetch", &json!({"url": format!("http://silo.example:{port}/a?b=c#d")})).await.unwrap();
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("GET /a?b=c HTTP/1.1")));
    let download = connection.read("download", &json!({"url": format!("http://silo.example:{port}/{}", "x".repeat(3000))})).await.unwrap();
    assert_eq!(download, json!({"status": 200, "size": 3014}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_with_the_grant_that_would_allow_it() {
    let rig = Rig::new().await;
    let port = serve(|_| ok("must not be reached")).await;
    let nothing = towards(&rig, "silo.example", port, &[]);
    let url = format!("http://silo.example:{port}/");
    let (class, text) = class_of(&nothing, "fetch", json!({"url": url})).await;
    assert_eq!(class, ErrorClass::Permission);
    assert!(text.contains("grants.hosts") && text.contains("{config.host}"), "{text}");
    let granted = towards(&rig, "silo.example", port, &[HTTP]);
    for url in ["http://evil.example/", "https://silo.example/", "http://silo.example/", "http://127.0.0.1/"] {
        assert_eq!(class_of(&granted, "fetch", json!({"url": url})).await.0, ErrorClass::Permission, "{url}");
    }
    for deed in ["talk", "sockets"] {
        let result = granted.read(deed, &json!({"host": "silo.example", "port": port})).await;
        let denied = result.map_or_else(|error| error.class == ErrorClass::Permission, |value| value["opened"] == json!(0));
        assert!(denied, "{deed} needs a grant of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_the_plugins_fault() {
    let rig = Rig::new().await;
    let connection = towards(&rig, "silo.example", 1, &[HTTP]);
    let cases = [
        json!({"url": "not a url"}),
        json!({"url": "http://user:{secret:password}@silo.example:1/"}),
        json!({"url": "http://{secret:password}.example.com/"}),
        json!({"url": "http://silo.example:1/", "method": "GE T"}),
        json!({"url": "http://silo.example:1/", "method": "CONNECT"}),
        json!({"url": "http://silo.example:1/", "headers": {"a b": "c"}}),
        json!({"url": "http://silo.example:1/", "headers": {"x": "a\r\nHost: evil"}}),
        json!({"url": "http://silo.example:1/", "options": "{\"timeot_ms\": 1}"}),
    ];
    for case in cases {
        assert_eq!(class_of(&connection, "fetch", case.clone()).await.0, ErrorClass::Bug, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_inside_are_denied_unless_named() {
    let rig = Rig::new().await;
    let port = serve(|_| ok("inside")).await;
    for host in ["localhost", "127.0.0.1", "silo.example", "0x7f000001", "metadata.example", "169.254.169.254", "0.0.0.0"] {
        let connection = rig.connect_with(json!({"host": host, "port": port}), &[HTTP, TCP], &[]);
        let (class, text) = class_of(&connection, "fetch", json!({"url": format!("http://{host}:{port}/")})).await;
        assert_eq!(class, ErrorClass::Permission, "{host}");
        assert!(text.contains("private_hosts") || text.contains("never reached"), "{text}");
        assert!(!text.contains("127.0.0.1") || host.starts_with(['1', '0']), "the guest learns no address: {text}");
        let (class, _) = class_of(&connection, "talk", json!({"host": host, "port": port})).await;
        assert_eq!(class, ErrorClass::Permission, "{host}");
    }
    let named = rig.connect_with(json!({"host": "metadata.example", "port": port}), &[HTTP], &["metadata.example"]);
    let (class, _) = class_of(&named, "fetch", json!({"url": format!("http://metadata.example:{port}/")})).await;
    assert_eq!(class, ErrorClass::Permission, "a metadata service is granted by its address only");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hop_of_a_redirect_is_asked_of_the_grants() {
    let rig = Rig::new().await;
    let inside = serve(|_| ok("inside")).await;
    for location in [
        format!("http://127.0.0.1:{inside}/"),
        format!("http://localhost:{inside}/"),
        "http://evil.example/".into(),
        "file:///etc/passwd".into(),
    ] {
        let port = serve(move |_| redirect(302, &location)).await;
        let connection = rig.connect_with(json!({"host": "silo.example", "port": port}), &[HTTP, OTHER], &["silo.example"]);
        let error = connection.read("fetch", &json!({"url": format!("http://silo.example:{port}/")})).await.unwrap_err();
        assert!(matches!(error.class, ErrorClass::Permission | ErrorClass::Bug), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_redirect_is_followed_without_what_was_private() {
    let rig = Rig::new().await;
    let port = serve(|request| {
        let port = request.lines().find_map(|line| line.strip_prefix("host: ")).and_then(|host| host.split_once(':')).unwrap().1.to_owned();
        match request.split(' ').nth(1) {
            Some("/start") => redirect(302, &format!("http://other.example:{port}/end")),
            Some("/same") => redirect(307, "/end"),
            Some("/loop") => redirect(302, "/loop"),
            _ => ok(&request),
        }
    })
    .await;
    let connection = towards(&rig, "silo.example", port, &[HTTP, OTHER]);
    let fetch = |path: &str| {
        let headers = json!({"authorization": "Bearer token", "x-key": "{secret:password}", "x-plain": "kept"});
        json!({"url": format!("http://silo.example:{port}{path}"), "method": "POST", "body": "data", "headers": headers})
    };
    let elsewhere = connection.read("fetch", &fetch("/start")).await.unwrap();
    let seen = elsewhere["body"].as_str().unwrap();
    assert!(seen.starts_with("GET /end") && seen.contains("x-plain: kept"), "{seen}");
    assert!(!seen.contains("authorization") && !seen.contains("x-key"), "{seen}");
    let same = connection.read("fetch", &fetch("/same")).await.unwrap();
    let seen = same["body"].as_str().unwrap();
    assert!(seen.starts_with("POST /end") && seen.contains("authorization: Bearer token") && seen.ends_with("data"), "{seen}");
    assert_eq!(class_of(&connection, "fetch", fetch("/loop")).await.0, ErrorClass::Config);
    let unfollowed = json!({"url": format!("http://silo.example:{port}/same"), "options": "{\"redirects\": 0}"});
    assert_eq!(connection.read("fetch", &unfollowed).await.unwrap()["status"], json!(307));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_classed_by_whether_something_was_sent() {
    let rig = Rig::new().await;
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let silent = serve(|_| {
        std::thread::sleep(Duration::from_millis(1500));
        String::new()
    })
    .await;
    let breaking = serve(|_| String::new()).await;
    // Long enough to connect and send on a busy machine.
    let options = json!({"timeout_ms": 1000}).to_string();
    let cases = [
        ("silo.example", refusing, "POST", ErrorClass::Transient),
        ("unknown.example", 80, "POST", ErrorClass::Transient),
        ("silo.example", silent, "GET", ErrorClass::Transient),
        ("silo.example", silent, "POST", ErrorClass::Ambiguous),
        ("silo.example", breaking, "GET", ErrorClass::Transient),
        ("silo.example", breaking, "POST", ErrorClass::Ambiguous),
    ];
    for (host, port, method, expected) in cases {
        let connection = towards(&rig, host, port, &[HTTP]);
        let (class, text) =
            class_of(&connection, "fetch", json!({"url": format!("http://{host}:{port}/"), "method": method, "options": options})).await;
        assert_eq!(class, expected, "{host}:{port} {method} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_not_taken_in() {
    let rig = Rig::new().await;
    let port = serve(|_| ok(&"x".repeat(200_000))).await;
    let connection = towards(&rig, "silo.example", port, &[HTTP]);
    let url = format!("http://silo.example:{port}/");
    let (class, text) = class_of(&connection, "fetch", json!({"url": url, "options": "{\"max_body\": 100000}"})).await;
    assert_eq!(class, ErrorClass::Bug);
    assert!(text.contains("larger than 100000 bytes"), "{text}");
    assert!(connection.read("fetch", &json!({"url": url})).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_counted_and_given_back() {
    let rig = Rig::new().await;
    let port = serve(|_| String::new()).await;
    let connection = towards(&rig, "silo.example", port, &[TCP]);
    for _ in 0..2 {
        let flood = connection.read("sockets", &json!({"host": "silo.example", "port": port})).await.unwrap();
        assert_eq!(flood["opened"], json!(4), "{flood}");
        assert!(flood["message"].as_str().unwrap().contains("all 4 sockets are open"), "{flood}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_without_data_times_out_and_says_so() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connection = towards(&rig, "silo.example", port, &[TCP]);
    let error = connection.read("talk", &json!({"host": "silo.example", "port": port, "say": "x", "timeout_ms": 30})).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.is_timeout(), "{error}");
}

/// A TLS echo server for `silo.example` that greets in plain first if it is to; returns its port and its authority.
async fn tls_echo(starts_plain: bool) -> (u16, String) {
    let key = rcgen::generate_simple_self_signed(vec!["silo.example".to_owned()]).unwrap();
    let pem = key.cert.pem();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if starts_plain {
                    let mut asked = [0; "STARTTLS\r\n".len()];
                    stream.read_exact(&mut asked).await.unwrap();
                    stream.write_all(b"go ahead\r\n").await.unwrap();
                }
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            });
        }
    });
    (port, pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_and_a_private_authority_can_be_given() {
    let rig = Rig::new().await;
    let (port, pem) = tls_echo(false).await;
    let connection = towards(&rig, "silo.example", port, &[TLS]);
    let talk = |options: Value| json!({"host": "silo.example", "port": port, "tls": true, "say": "hello", "options": options.to_string()});
    let (class, text) = class_of(&connection, "talk", talk(json!({}))).await;
    assert_eq!(class, ErrorClass::Config);
    assert!(text.contains("certificate is not trusted"), "{text}");
    assert_eq!(connection.read("talk", &talk(json!({"ca_pem": pem}))).await.unwrap(), json!({"answer": "hello"}));
    let (class, _) = class_of(&connection, "talk", talk(json!({"ca_pem": pem, "server_name": "another.example"}))).await;
    assert_eq!(class, ErrorClass::Config, "the certificate is for another name");
    assert_eq!(class_of(&connection, "talk", talk(json!({"ca_pem": "no pem"}))).await.0, ErrorClass::Config);
    let hub_wide = Rig::with(|options| options.extra_ca_pem = Some(pem)).await;
    let connection = towards(&hub_wide, "silo.example", port, &[TLS]);
    assert_eq!(connection.read("talk", &talk(json!({}))).await.unwrap(), json!({"answer": "hello"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_encrypts_the_stream_in_place() {
    let rig = Rig::new().await;
    let (port, pem) = tls_echo(true).await;
    let connection = towards(&rig, "silo.example", port, &[TCP]);
    let talk = json!({"host": "silo.example", "port": port, "before_tls": "STARTTLS\r\n", "say": "hello", "options": json!({"ca_pem": pem}).to_string()});
    assert_eq!(connection.read("talk", &talk).await.unwrap(), json!({"answer": "hello"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_need_their_grant_and_carry_messages() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use futures_util::{SinkExt, StreamExt};
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(message).await.is_err() {
                    break;
                }
            }
        }
    });
    let request = json!({"request": json!({"url": format!("ws://silo.example:{port}/events"), "headers": {"x-key": "{secret:password}"}}).to_string()});
    assert_eq!(class_of(&towards(&rig, "silo.example", port, &[HTTP]), "websocket", request.clone()).await.0, ErrorClass::Permission);
    let connection = towards(&rig, "silo.example", port, &[WS]);
    assert_eq!(connection.read("websocket", &request).await.unwrap(), json!({"first": "hello", "quiet": true}));
}
