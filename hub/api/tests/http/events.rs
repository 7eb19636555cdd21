//! The stream of changes.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use throughline_api::ApiOptions;
use throughline_engine::Scope;
use tokio_util::sync::CancellationToken;

use crate::support::Api;

/// One event as a browser would see it.
#[derive(Debug)]
struct Event {
    id: u64,
    data: Value,
}

/// A stream being read.
struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    async fn open(api: &Api, key: &str, query: &str, last: Option<u64>) -> Self {
        let mut request = Request::builder().uri(format!("/v1/events{query}")).header("authorization", format!("Bearer {key}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = api.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next block, or none at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("the stream says nothing")?;
            self.text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    }

    /// The next event that has data.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                return Some(Event { id: id.parse().unwrap(), data: serde_json::from_str(data).unwrap() });
            }
        }
    }
}

#[tokio::test]
async fn changes_come_as_cloud_events_and_resume_after_the_last() {
    let api = Api::with(ApiOptions { public_url: Some("https://hub.example".to_owned()), ..ApiOptions::default() }).await;
    let connection = api.connection().await;
    let mut live = Stream::open(&api, &api.admin, "", None).await;
    api.mail(connection, "m1", "ada@customer.example").await;
    let mut first = Vec::new();
    while first.last().is_none_or(|event: &Event| event.data["type"] != "io.throughline.interaction.accepted") {
        first.push(live.event().await.unwrap());
    }
    let event = &first.last().unwrap();
    assert_eq!((&event.data["specversion"], &event.data["source"]), (&"1.0".into(), &"https://hub.example".into()));
    assert_eq!(event.data["id"], event.id.to_string());
    assert!(event.data["subject"].as_str().unwrap().starts_with("int_"));
    assert_eq!(
        (&event.data["data"]["kind"], event.data["data"]["interaction_id"].as_str()),
        (&"interaction.accepted".into(), event.data["subject"].as_str())
    );

    let resumed_at = first[0].id;
    let mut again = Stream::open(&api, &api.admin, "?after=0", Some(resumed_at)).await;
    for wanted in &first[1..] {
        let got = again.event().await.unwrap();
        assert_eq!((got.id, &got.data), (wanted.id, &wanted.data));
    }
    api.mail(connection, "m2", "bob@customer.example").await;
    assert!(again.event().await.unwrap().id > event.id, "goes on live after what was missed");
}

#[tokio::test]
async fn a_filter_shows_only_its_kinds_but_moves_on() {
    let api = Api::new().await;
    let connection = api.connection().await;
    api.mail(connection, "m1", "ada@customer.example").await;
    let mut filtered = Stream::open(&api, &api.admin, "?after=0&type=enquiry.opened,io.throughline.profile.created", None).await;
    let kinds = [filtered.event().await.unwrap(), filtered.event().await.unwrap()]
        .map(|event| event.data["data"]["kind"].as_str().unwrap().to_owned());
    assert!(kinds.contains(&"profile.created".to_owned()) && kinds.contains(&"enquiry.opened".to_owned()), "{kinds:?}");

    let mut nothing = Stream::open(&api, &api.admin, "?after=0&type=profile.merged", None).await;
    let block = nothing.block().await.unwrap();
    assert!(block.lines().any(|line| line == format!("id: {}", api.hub.head())), "{block:?}");
}

#[tokio::test]
async fn a_stream_ends_at_shutdown() {
    let shutdown = CancellationToken::new();
    let api = Api::with(ApiOptions { shutdown: shutdown.clone(), ..ApiOptions::default() }).await;
    let mut stream = Stream::open(&api, &api.admin, "", None).await;
    shutdown.cancel();
    assert!(stream.event().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let api = Api::with(ApiOptions { keepalive: Duration::from_millis(20), ..ApiOptions::default() }).await;
    let (view, key) = api.hub.create_api_key("short", vec![Scope::Read], None).await.unwrap();
    let mut stream = Stream::open(&api, &key, "", None).await;
    assert_eq!(stream.block().await.as_deref(), Some(": alive"));
    api.hub.revoke_api_key(view.id).await.unwrap();
    assert!(stream.event().await.is_none());
}

#[tokio::test]
async fn a_last_event_id_that_is_none_is_refused() {
    let api = Api::new().await;
    let answer = api.with_headers("GET", "/v1/events", &[("last-event-id", "x")], None).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-header"));
}
