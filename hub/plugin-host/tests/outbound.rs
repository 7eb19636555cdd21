//! What the hub sends itself goes where it may go, to the address that was judged, and nowhere else. Against a real server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use throughline_domain::connector::BoxFuture;
use throughline_domain::outbound::signature::{Headers, WebhookSecret, verify};
use throughline_domain::outbound::{Answered, Post, PostError, Poster};
use throughline_plugin_host::{Outbound, Resolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that keeps what it is sent and answers always the same.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let kept = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = String::new();
                while !is_whole(&text) {
                    let mut buffer = [0; 4096];
                    let count = stream.read(&mut buffer).await.unwrap();
                    assert!(count > 0, "the request broke off: {text}");
                    text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
                }
                kept.lock().unwrap().push(text);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { port, requests }
    }

    fn request(&self) -> String {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// Names lead where the test says, and looks are counted.
struct Names {
    addresses: Vec<IpAddr>,
    looks: AtomicUsize,
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(self.addresses.clone()) })
    }
}

fn outbound(private: &[&str], addresses: &[&str]) -> (Arc<Outbound>, Arc<Names>) {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let names = Arc::new(Names { addresses, looks: AtomicUsize::new(0) });
    let private: Vec<String> = private.iter().map(|host| (*host).to_owned()).collect();
    (Outbound::new(None, &private, names.clone()).unwrap(), names)
}

fn post(url: String) -> Post {
    Post { url, headers: vec![("content-type", "application/json".to_owned()), ("webhook-id", "evt_1".to_owned())], body: b"{}".to_vec() }
}

#[tokio::test]
async fn a_message_arrives_as_it_was_signed() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let secret = WebhookSecret::from_bytes(&[7; 32]).unwrap();
    let body = "{\"name\":\"Zoë\"}";
    let headers = vec![
        ("webhook-id", "evt_7".to_owned()),
        ("webhook-timestamp", "1649367553".to_owned()),
        ("webhook-signature", secret.sign("evt_7", 1_649_367_553, body.as_bytes())),
    ];
    let (outbound, names) = outbound(&["desk.internal"], &["127.0.0.1"]);
    let url = format!("http://desk.internal:{}/hook?a=b", server.port);
    let answer = outbound.post(Post { url, headers, body: body.as_bytes().to_vec() }).await;
    assert_eq!(answer, Ok(Answered { status: 204, retry_after_ms: None }));
    let request = server.request();
    let (head, received) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n") && head.contains(&format!("host: desk.internal:{}", server.port)), "{head}");
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
    let headers = Headers { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature") };
    assert_eq!(verify(&secret, &headers, received.as_bytes(), 1_649_367_553), Ok(()));
    assert_eq!(names.looks.load(Ordering::SeqCst), 1, "the name is looked up once: what was judged is what was connected to");
}

#[tokio::test]
async fn private_addresses_are_reached_only_if_the_admin_named_them() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for (private, url) in [
        (vec![], format!("https://127.0.0.1:{}/", server.port)),
        (vec![], format!("https://[::ffff:127.0.0.1]:{}/", server.port)),
        (vec![], format!("https://desk.example:{}/", server.port)),
        (vec!["other.internal"], format!("https://desk.example:{}/", server.port)),
    ] {
        let (outbound, _) = outbound(&private, &["127.0.0.1"]);
        let Err(PostError::Refused(detail)) = outbound.post(post(url.clone())).await else { panic!("{url} was not refused") };
        assert!(detail.contains("private_hosts") && !detail.contains("127.0.0.1 "), "{detail}");
    }
    assert!(server.requests.lock().unwrap().is_empty());
    let (outbound, _) = outbound(&["127.0.0.1"], &[]);
    assert!(outbound.post(post(format!("http://127.0.0.1:{}/", server.port))).await.is_ok());
}

#[tokio::test]
async fn redirects_are_not_followed_and_a_wish_for_patience_is_heard() {
    let inner = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let location: &'static str = Box::leak(
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n", inner.port).into_boxed_str(),
    );
    let (outbound, _) = outbound(&["127.0.0.1"], &[]);
    let answer_of = async |answer| {
        let server = Server::answering(answer).await;
        outbound.post(post(format!("http://127.0.0.1:{}/", server.port))).await.unwrap()
    };
    assert_eq!(answer_of(location).await.status, 302);
    assert!(inner.requests.lock().unwrap().is_empty());
    let busy = answer_of("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(busy, Answered { status: 429, retry_after_ms: Some(120_000) });
}

#[tokio::test]
async fn nobody_there_is_a_failure_and_a_wrong_url_is_refused() {
    let (outbound, _) = outbound(&["127.0.0.1"], &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(matches!(outbound.post(post(format!("http://127.0.0.1:{port}/"))).await, Err(PostError::Failed(_))));
    for (url, word) in [
        ("desk", "URL"),
        ("ftp://desk.example/", "scheme"),
        ("http://desk.example/", "https"),
        ("https://user:secret@desk.example/", "password"),
        ("https:///", "URL"),
    ] {
        let error = outbound.check(url).unwrap_err();
        assert!(error.contains(word) && !error.contains("secret@"), "{url}: {error}");
    }
    assert_eq!(outbound.check("https://desk.example/hook"), Ok(()));
}
