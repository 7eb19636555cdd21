//! An endpoint that is told of changes, as scripted; and a clock that is tokio's, so that a test can let days pass at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use throughline_domain::connector::BoxFuture;
use throughline_domain::outbound::signature::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, Headers, WebhookSecret, verify};
use throughline_domain::outbound::{Answered, Post, PostError, Poster};
use throughline_engine::Clock;
use throughline_schemas::Timestamp;

/// Tokio's clock: with `start_paused` it leaps to the next timer whenever nothing else is to be done.
pub(crate) struct Leaping {
    began: tokio::time::Instant,
}

impl Leaping {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: tokio::time::Instant::now() })
    }
}

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        // The twenty-first of November 2026, noon.
        Timestamp::from_millis(1_795_262_400_000).plus_millis(elapsed)
    }
}

/// A message that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Timestamp,
    pub(crate) id: String,
    pub(crate) event: Value,
    post: Post,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.post.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str()).unwrap()
    }

    /// Whether it was signed with this secret, at the time it arrived.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let headers =
            Headers { id: self.header(HEADER_ID), timestamp: self.header(HEADER_TIMESTAMP), signature: self.header(HEADER_SIGNATURE) };
        verify(&WebhookSecret::parse(secret).unwrap(), &headers, &self.post.body, self.at.as_millis() / 1000).is_ok()
    }

    pub(crate) fn kind(&self) -> &str {
        self.event["type"].as_str().unwrap().strip_prefix("io.throughline.").unwrap()
    }
}

/// What an endpoint answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Status(u16),
    /// `503` with a wish for patience, in seconds.
    Patience(u64),
    Nothing,
}

/// The endpoint.
pub(crate) struct Desk {
    clock: Arc<dyn Clock>,
    received: Mutex<Vec<Received>>,
    /// What it answers next; 204 when there is nothing here.
    answers: Mutex<VecDeque<Answer>>,
    /// What it answers to everything.
    always: Mutex<Option<Answer>>,
}

impl Desk {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, received: Mutex::default(), answers: Mutex::default(), always: Mutex::default() })
    }
    pub(crate) fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap()
    }
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.received().iter().map(|received| received.kind().to_owned()).collect()
    }
    pub(crate) fn will_answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }
    pub(crate) fn always_answers(&self, answer: Option<Answer>) {
        *self.always.lock().unwrap() = answer;
    }
}

impl Poster for Desk {
    fn check(&self, url: &str) -> Result<(), String> {
        if url.starts_with("https://") { Ok(()) } else { Err("it must be https".to_owned()) }
    }

    fn post(&self, post: Post) -> BoxFuture<'_, Result<Answered, PostError>> {
        let id = post.headers.iter().find(|(name, _)| *name == HEADER_ID).unwrap().1.clone();
        let event = serde_json::from_slice(&post.body).unwrap();
        self.received().push(Received { at: self.clock.now(), id, event, post });
        let scripted = self.always.lock().unwrap().or_else(|| self.answers.lock().unwrap().pop_front());
        let answer = match scripted.unwrap_or(Answer::Status(204)) {
            Answer::Status(status) => Ok(Answered { status, retry_after_ms: None }),
            Answer::Patience(seconds) => Ok(Answered { status: 503, retry_after_ms: Some(seconds * 1000) }),
            Answer::Nothing => Err(PostError::Failed("connection refused".to_owned())),
        };
        Box::pin(async move { answer })
    }
}
