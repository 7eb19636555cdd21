//! The HTTP silo: routes and collections behind a credential, with faults that a check can order.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::collection::Collection;
use super::with_secrets;

/// The silo as a kit describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpScript {
    /// What every request must carry; anything else is answered 401.
    #[serde(default)]
    auth: Option<Credential>,
    /// Collections by path.
    #[serde(default)]
    pub(crate) collections: BTreeMap<String, Collection>,
    /// Fixed answers, by method and path: `GET /me`.
    #[serde(default)]
    routes: BTreeMap<String, Route>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    header: String,
    /// With `{secret:NAME}`, and `{base64:…}` around what is encoded.
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    body: Value,
}

fn ok() -> u16 {
    200
}

/// How the silo misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 429, with the seconds to wait if any.
    RateLimited(Option<u32>),
    /// 500.
    Broken,
    /// The right answer, cut in its middle.
    Truncated,
    /// 200 with a picture.
    Picture,
    /// 200 with 10 MB of JSON that is not what was asked for.
    Big,
    /// 200 with a login page.
    LoginPage,
    /// 401: the credentials were good once.
    Expired,
    /// 403.
    Forbidden,
    /// 400 with the request's own headers in the message.
    Echo,
    /// The request takes effect, its answer is lost.
    Lost,
    /// The request is heard and nothing is said, for as long as the client waits.
    Silent,
}

#[derive(Default)]
struct Orders {
    /// The fault, how many requests are answered before it, and how many suffer it.
    fault: Option<(Fault, usize, usize)>,
    /// Whether something changes after each list.
    stirring: usize,
    requests: usize,
}

/// A running HTTP silo.
pub(crate) struct HttpSilo {
    script: HttpScript,
    now: Mutex<HttpScript>,
    orders: Mutex<Orders>,
    pub(crate) port: u16,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the silo's task with itself.
pub(crate) struct Serving(JoinHandle<()>);

impl Serving {
    pub(crate) fn of(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpSilo {
    /// Starts serving the script on a free port.
    pub(crate) async fn start(mut script: HttpScript, secrets: &BTreeMap<String, String>) -> io::Result<(Arc<Self>, Serving)> {
        if let Some(auth) = &mut script.auth {
            auth.value = encoded(&with_secrets(&auth.value, secrets));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let silo = Arc::new(Self { now: Mutex::new(script.clone()), script, orders: Mutex::default(), port });
        let serving = silo.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let silo = serving.clone();
                // A client that breaks off has had what it wanted.
                tokio::spawn(async move { drop(silo.serve(stream).await) });
            }
        });
        Ok((silo, Serving(task)))
    }

    /// As it was at the beginning, behaving well.
    pub(crate) fn reset(&self) {
        *lock(&self.now) = self.script.clone();
        *lock(&self.orders) = Orders::default();
    }

    /// From the request after the next `after` ones on, `count` requests suffer this.
    pub(crate) fn order(&self, fault: Fault, after: usize, count: usize) {
        lock(&self.orders).fault = Some((fault, after, count));
    }

    /// Behaves well again.
    pub(crate) fn behave(&self) {
        lock(&self.orders).fault = None;
    }

    /// Something changes after each of the next so many lists.
    pub(crate) fn stir(&self, times: usize) {
        lock(&self.orders).stirring = times;
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        lock(&self.orders).requests
    }

    /// All records now, with the path of their collection.
    pub(crate) fn records(&self) -> Vec<(String, Value)> {
        let now = lock(&self.now);
        let records = now.collections.iter().flat_map(|(path, collection)| collection.records.iter().map(move |record| (path, record)));
        records.map(|(path, record)| (path.clone(), record.clone())).collect()
    }

    /// Whether each collection has records that share a place in its order.
    pub(crate) fn has_ties(&self) -> bool {
        self.script.collections.values().all(Collection::has_ties)
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = Request::read(&mut stream).await?;
        let fault = self.fault();
        let answer = match fault {
            Some(Fault::Silent) => return tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop),
            Some(fault @ (Fault::Truncated | Fault::Lost)) => {
                let (status, body) = self.answer(&request);
                if fault == Fault::Lost {
                    return Ok(());
                }
                let text = body.to_string();
                Response { status, kind: "application/json", body: text.as_bytes()[..text.len() / 2].to_vec(), retry_after: None }
            }
            Some(fault) => faulty(fault, &request),
            None => {
                let (status, body) = self.answer(&request);
                let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
                Response { status, kind: "application/json", body, retry_after: None }
            }
        };
        stream.write_all(&answer.bytes()).await?;
        stream.shutdown().await
    }

    fn fault(&self) -> Option<Fault> {
        let mut orders = lock(&self.orders);
        orders.requests += 1;
        match &mut orders.fault {
            Some((_, after, _)) if *after > 0 => {
                *after -= 1;
                None
            }
            Some((fault, _, count)) if *count > 0 => {
                *count -= 1;
                Some(*fault)
            }
            _ => None,
        }
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let mut now = lock(&self.now);
        if let Some(auth) = &now.auth
            && request.header(&auth.header) != Some(auth.value.as_str())
        {
            return (401, json!({ "message": "the credentials are not known" }));
        }
        if let Some(route) = now.routes.get(&format!("{} {}", request.method, request.path)) {
            return (route.status, route.body.clone());
        }
        for (path, collection) in &mut now.collections {
            let Some(rest) = request.path.strip_prefix(path.as_str()) else { continue };
            let key = match rest.strip_prefix('/') {
                None if !rest.is_empty() => continue,
                key => key,
            };
            let answer = collection.answer(&request.method, key, &request.query, &request.body);
            let mut orders = lock(&self.orders);
            if request.method == "GET" && key.is_none() && orders.stirring > 0 {
                orders.stirring -= 1;
                collection.stir();
            }
            return answer;
        }
        (404, json!({ "message": "there is nothing here" }))
    }
}

/// Encodes what stands in `{base64:…}`.
fn encoded(text: &str) -> String {
    use base64::Engine as _;
    let Some((before, rest)) = text.split_once("{base64:") else { return text.to_owned() };
    let Some((inner, after)) = rest.split_once('}') else { return text.to_owned() };
    format!("{before}{}{after}", base64::engine::general_purpose::STANDARD.encode(inner))
}

const LOGIN_PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><form action=\"/login\" method=\"post\">\
                          <input name=\"user\"><input name=\"password\" type=\"password\"></form></body></html>";
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
const BIG: usize = 10_000_000;

fn faulty(fault: Fault, request: &Request) -> Response {
    let message = |status: u16, text: &str| {
        let body = json!({ "message": text }).to_string().into_bytes();
        Response { status, kind: "application/json", body, retry_after: None }
    };
    match fault {
        Fault::RateLimited(retry_after) => Response { retry_after, ..message(429, "too many requests") },
        Fault::Broken => message(500, "something went wrong"),
        Fault::Expired => message(401, "the token has expired"),
        Fault::Forbidden => message(403, "not for you"),
        Fault::Echo => message(400, &format!("not understood: {:?} {:?}", request.headers, String::from_utf8_lossy(&request.body))),
        Fault::LoginPage => Response { status: 200, kind: "text/html; charset=utf-8", body: LOGIN_PAGE.into(), retry_after: None },
        Fault::Picture => Response { status: 200, kind: "image/png", body: PICTURE.to_vec(), retry_after: None },
        Fault::Big => message(200, &"x".repeat(BIG)),
        Fault::Truncated | Fault::Lost | Fault::Silent => message(500, "this fault needs the right answer"),
    }
}

struct Response {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    retry_after: Option<u32>,
}

impl Response {
    fn bytes(&self) -> Vec<u8> {
        let retry = self.retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} \r\nContent-Type: {}\r\nContent-Length: {}\r\n{retry}Connection: close\r\n\r\n",
            self.status,
            self.kind,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    async fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut request = Self::parse(&String::from_utf8_lossy(&bytes[..end]));
        let length: usize = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = bytes.split_off(end + 4);
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        request.body = body;
        Ok(request)
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            method,
            path: decode(path),
            query: pairs.map(|(name, value)| (decode(name), decode(value))).collect(),
            headers: lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: Vec::new(),
        }
    }
}
