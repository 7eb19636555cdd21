//! A hub to call over HTTP, without a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use throughline_api::{ApiOptions, router};
use throughline_domain::connector::BoxFuture;
use throughline_domain::outbound::{Answered, Post, PostError, Poster};
use throughline_engine::{Hub, HubOptions, Paging, Scope};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{Item, ItemKind};
use throughline_store::blobs::Blobs;
use throughline_store::{Options, Store};
use tower::ServiceExt;

use crate::script::{COMPONENT, Script, ScriptedHost};

/// A hub, its HTTP side and the script of its connectors.
pub(crate) struct Api {
    pub(crate) hub: Hub,
    pub(crate) script: Arc<Script>,
    /// The endpoint of all webhooks.
    desk: Arc<Desk>,
    router: Router,
    /// An admin key.
    pub(crate) admin: String,
    /// Holds the files.
    _dir: tempfile::TempDir,
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The problem's code, after checking the form that every problem has.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!((&problem["status"], &problem["request_id"]), (&json!(self.status), &json!(self.header("x-request-id"))));
        problem["type"].as_str().unwrap().strip_prefix(throughline_api::TYPE_PREFIX).unwrap().to_owned()
    }

    /// The status, with the whole answer shown when it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// An endpoint that takes everything and counts it.
#[derive(Default)]
struct Desk {
    posted: AtomicUsize,
}

impl Poster for Desk {
    fn check(&self, url: &str) -> Result<(), String> {
        if url.starts_with("https://") { Ok(()) } else { Err("it must be https".to_owned()) }
    }
    fn post(&self, _: Post) -> BoxFuture<'_, Result<Answered, PostError>> {
        self.posted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Answered { status: 204, retry_after_ms: None }) })
    }
}

impl Api {
    /// Waits until so many messages were posted to webhooks and noted.
    pub(crate) async fn posted(&self, count: usize) {
        let begun = std::time::Instant::now();
        let noted = || {
            let hooks = self.hub.webhooks(Paging { cursor: None, limit: 200 }).unwrap().items;
            let page = |id| self.hub.webhook_attempts(id, Paging { cursor: None, limit: 200 }).unwrap().items.len();
            hooks.into_iter().map(|hook| page(hook.value.id)).sum::<usize>()
        };
        while self.desk.posted.load(Ordering::SeqCst) < count || noted() < count {
            assert!(begun.elapsed() < Duration::from_secs(15), "{count} messages were not posted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn new() -> Self {
        Self::with(ApiOptions::default()).await
    }

    pub(crate) async fn with(options: ApiOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Arc::new(Script::default());
        let store = Store::in_memory(Options::new(|| 0)).unwrap();
        let blobs = Blobs::open(&dir.path().join("files")).unwrap();
        let desk = Arc::<Desk>::default();
        let public_url = Some("https://hub.example".to_owned());
        let hub_options = HubOptions { poster: Some(desk.clone()), public_url, ..HubOptions::new([7; 32]) };
        let hub = Hub::open(hub_options, store, blobs, Arc::new(ScriptedHost(script.clone()))).unwrap();
        let (_, admin) = hub.create_api_key("test", vec![Scope::Admin], None).await.unwrap();
        Self { router: router(hub.clone(), options), hub, script, desk, admin, _dir: dir }
    }

    pub(crate) async fn key(&self, scope: Scope) -> String {
        self.hub.create_api_key("scoped", vec![scope], None).await.unwrap().1
    }

    /// The whole HTTP side, to be served.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Gives a connection another name.
    pub(crate) async fn rename(&self, connection: ConnectionId, name: &str) {
        let path = format!("/v1/connections/{connection}");
        let tag = self.get(&path).await.header("etag").to_owned();
        self.with_headers("PATCH", &path, &[("if-match", &tag)], Some(json!({"name": name}))).await.expect(200);
    }

    /// Sends a request as it is; the body is not read.
    pub(crate) async fn raw(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request with these headers only.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.raw(request.body(body.into()).unwrap()).await;
        let (parts, body) = response.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// As admin, with more headers.
    pub(crate) async fn with_headers(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        match body {
            Some(body) => {
                all.push(("content-type", "application/json"));
                self.send(method, path, &all, body.to_string()).await
            }
            None => self.send(method, path, &all, Body::empty()).await,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.with_headers("GET", path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.with_headers("POST", path, &[], Some(body)).await
    }

    /// Only the status, for answers that may never end.
    pub(crate) async fn status(&self, key: &str, method: &str, path: &str) -> u16 {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        self.raw(request.body(Body::empty()).unwrap()).await.status().as_u16()
    }

    /// The same with a key of one's own.
    pub(crate) async fn as_key(&self, key: &str, method: &str, path: &str) -> Answer {
        self.send(method, path, &[("authorization", &format!("Bearer {key}"))], Body::empty()).await
    }

    /// A running connection of the scripted plugin.
    pub(crate) async fn connection(&self) -> ConnectionId {
        let bearer = format!("Bearer {}", self.admin);
        self.send("POST", "/v1/plugins", &[("authorization", &bearer)], COMPONENT).await.expect(201);
        let new = json!({"name": "mail", "plugin": "scripted", "config": {"host": "mail.example"}});
        self.post("/v1/connections", new).await.expect(201).json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Plays a mail that came in, and returns the id of its sender's profile.
    pub(crate) async fn mail(&self, connection: ConnectionId, key: &str, from: &str) -> String {
        let data = json!({
            "channel": "email", "direction": "inbound", "endpoint": "help@brand.example", "occurred_at": "2026-11-21T10:00:00Z",
            "participants": [{"role": "customer", "type": "email", "address": from, "name": "Ada", "sender": true}],
            "thread": {"message_id": format!("{key}@example")},
            "content": {"kind": "message", "subject": "Order 7", "text": "Where is it?"},
        });
        let item =
            Item { kind: ItemKind::Interaction, entity: "message".to_owned(), key: key.to_owned(), version: None, at_ms: None, data };
        self.script.services(connection).emit(vec![item], None, vec![]).await.unwrap();
        let found = self.get(&format!("/v1/profiles?identity=email:{from}")).await.expect(200).json();
        found["items"][0]["id"].as_str().unwrap_or_else(|| panic!("nobody has {from}")).to_owned()
    }
}
