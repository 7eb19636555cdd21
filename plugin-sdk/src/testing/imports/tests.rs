//! The test host, asked through the SDK as a plugin asks it.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::net::{ConnectOptions, Connection, Security, WebSocket};
use crate::testing::{ByteStream, ScriptedStream, TestHost, TestStream};
use crate::{Error, ErrorClass, HttpResponse, Result, clock, control, emit, http, json, log, secrets};

fn connect() -> Result<Connection> {
    Connection::connect("imap.example", 993, Security::Tls, &ConnectOptions::default())
}

#[test]
fn nothing_is_reachable_that_was_not_given() {
    let _host = TestHost::new().install();
    assert_eq!(connect().err().unwrap().class, ErrorClass::Permission);
    assert_eq!(http::get("https://a.example").send().unwrap_err().class, ErrorClass::Permission);
    assert_eq!(WebSocket::open(&json!({"url": "wss://a.example"})).err().unwrap().class, ErrorClass::Permission);
    assert_eq!(secrets::equals("token", b"").unwrap_err().class, ErrorClass::Config);
}

#[test]
fn a_listen_loop_ends_when_it_is_cancelled() {
    let host = TestHost::new().connect(|_, _, _| ByteStream::new("").stays_open()).cancel_after(3).install();
    let (connection, began) = (connect().unwrap(), clock::now());
    let mut reads = 0;
    let end = loop {
        match connection.read(100, 60_000) {
            Err(error) if error.is_timeout() => reads += 1,
            other => break other.unwrap_err(),
        }
    };
    assert_eq!((reads, end.class), (3, ErrorClass::Cancelled));
    assert_eq!(clock::now().since(began), 180_000);
    assert!(control::cancelled());
    assert_eq!(control::sleep_ms(1).unwrap_err().class, ErrorClass::Cancelled);
    host.set_cancelled(false);
    control::sleep_ms(5).unwrap();
}

#[test]
fn a_connection_can_be_refused_and_secrets_are_put_in() {
    let mut times = 0;
    let host = TestHost::new().secret("password", "pa\"ss").connect(move |_, _, _| {
        times += 1;
        if times == 1 {
            return Err(Error::new(ErrorClass::Transient, "refused"));
        }
        Ok(ScriptedStream::new().expect_line(r#"a LOGIN ada "pa\"ss""#).reply("a OK\r\n").must_finish())
    });
    let _host = host.install();
    assert_eq!(connect().err().unwrap().message, "refused");
    let connection = connect().unwrap();
    connection.write_secret("a LOGIN ada {quoted:{secret:password}}\r\n").unwrap();
    assert_eq!(connection.read(100, 1).unwrap(), b"a OK\r\n");
}

#[test]
fn http_has_its_secrets_put_in_and_is_recorded_without_them() {
    let answer = |request: &crate::HttpRequest| {
        Ok(HttpResponse { status: 200, headers: request.headers.clone(), body: request.body.clone().unwrap_or_default() })
    };
    let host = TestHost::new().secret("t", "t0p").http(answer).install();
    let response = http::post("https://a.example").header("A", "{base64:u:{secret:t}}").json(&json!("{secret:t}")).send().unwrap();
    assert_eq!(http::ResponseExt::header(&response, "a"), Some("dTp0MHA="));
    assert_eq!(response.body, br#""\u007bsecret:t}""#);
    assert_eq!(host.requests()[0].headers[0].1, "{base64:u:{secret:t}}");
    let plain = http::put("https://a.example").body("{secret:t}").send().unwrap();
    assert_eq!(plain.body, b"{secret:t}", "only what asks for it has secrets put into its body");
    let asked = http::put("https://a.example").body("{secret:t}").secrets_in_body().send().unwrap();
    assert_eq!(asked.body, b"t0p");
    let download =
        http::Download::open(&http::put("https://a.example").body("piecemeal").build().unwrap(), &http::Options::default()).unwrap();
    assert_eq!(
        (download.head().body, download.read(5).unwrap(), download.read(99).unwrap()),
        (vec![], b"piece".to_vec(), b"meal".to_vec())
    );
    assert!(download.read(1).unwrap().is_empty());
}

#[test]
fn a_secret_is_encoded_for_its_place_and_never_goes_into_a_host() {
    let answer = |request: &crate::HttpRequest| Ok(HttpResponse { status: 200, headers: vec![], body: request.url.clone().into_bytes() });
    let _host = TestHost::new().secret("k", "a&b").http(answer).install();
    assert_eq!(http::get("https://a.example/x?key={secret:k}").send().unwrap().body, b"https://a.example/x?key=a%26b");
    for url in ["https://{secret:k}.example/", "https://{secret:k}@a.example/", "/relative"] {
        assert_eq!(http::get(url).send().unwrap_err().class, ErrorClass::Bug, "{url}");
    }
    let small = http::Options { max_body: Some(3), ..Default::default() };
    assert_eq!(http::get("https://a.example/").options(small).send().unwrap_err().class, ErrorClass::InvalidRecord);
}

#[test]
fn signatures_are_hmac_sha256() {
    let _host = TestHost::new().secret("key", "key").install();
    let hex: String =
        secrets::hmac_sha256("key", b"The quick brown fox jumps over the lazy dog").unwrap().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
    assert!(secrets::equals("key", b"key").unwrap() && !secrets::equals("key", b"kez").unwrap());
}

#[test]
fn emitting_can_fail_and_what_was_emitted_is_kept() {
    let host = TestHost::new().fail_emit(Error::new(ErrorClass::Transient, "disk full")).install();
    assert!(emit::emit(vec![], Some(json!(1))).is_err());
    emit::emit(vec![], Some(json!(2))).unwrap();
    assert_eq!(host.emitted(), [(vec![], Some(json!(2)))]);
    log::warn("odd");
    assert_eq!(host.logs()[0].message, "odd");
}

#[test]
fn websockets_carry_messages_and_end() {
    let open = |_: &crate::Value| ScriptedStream::new().expect_bytes("hello").reply("event").silence(1);
    let _host = TestHost::new().websocket(open).install();
    let socket = WebSocket::open(&json!({"url": "wss://a.example"})).unwrap();
    socket.send_text("hello").unwrap();
    assert_eq!(socket.receive(1).unwrap(), Some(b"event".to_vec()));
    assert_eq!(socket.receive(1).unwrap(), None);
    assert_eq!(socket.receive(1).unwrap_err().class, ErrorClass::Gone);
}

#[test]
fn hosts_nest_and_each_brings_back_the_one_before() {
    let outer = TestHost::new().now("2026-01-02T00:00:00Z".parse().unwrap()).install();
    {
        let _inner = TestHost::new().now("2026-01-03T00:00:00Z".parse().unwrap()).install();
        assert_eq!(clock::now().to_string(), "2026-01-03T00:00:00.000Z");
    }
    outer.advance_ms(1);
    assert_eq!(clock::now().to_string(), "2026-01-02T00:00:00.001Z");
}

#[test]
fn real_connections_reach_loopback_and_no_further() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for answer in [&b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"[..], b"hello"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 1024];
            let length = stream.read(&mut seen).unwrap();
            assert!(length > 0);
            stream.write_all(answer).unwrap();
        }
    });
    let _host = TestHost::new().real_network().install();
    let response = http::get(format!("http://127.0.0.1:{port}/x")).send().unwrap();
    assert_eq!((response.status, response.body), (201, b"ok".to_vec()));
    let connection = Connection::connect("localhost", port, Security::Plain, &ConnectOptions::default()).unwrap();
    assert!(connection.read(10, 1).unwrap_err().is_timeout());
    connection.write(b"x").unwrap();
    assert_eq!(connection.read(100, 10_000).unwrap(), b"hello");
    assert!(connection.read(100, 10_000).unwrap().is_empty());
    assert_eq!(connection.start_tls(&ConnectOptions::default()).unwrap_err().class, ErrorClass::Unsupported);
    server.join().unwrap();
    let beyond = Connection::connect("192.0.2.1", 80, Security::Plain, &ConnectOptions::default());
    assert_eq!(beyond.err().unwrap().class, ErrorClass::Permission);
}

#[test]
fn a_boxed_stream_is_a_stream() {
    let _host = TestHost::new().connect(|_, _, _| -> Box<dyn TestStream> { Box::new(ByteStream::new("x")) }).install();
    assert_eq!(connect().unwrap().read(9, 1).unwrap(), b"x");
}
