//! The change log as server-sent events, each a CloudEvents 1.0 event in JSON.
//!
//! The stream is pulled: it reads the log as fast as its client reads the stream, so a slow client costs no memory. The event id is
//! the log's sequence, so `Last-Event-ID` resumes exactly.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use throughline_engine::{CloudEvent, EventFilter};
use throughline_schemas::Change;
use tokio::time::Instant;

use crate::auth::{Authenticated, Caller, Read};
use crate::describe::{DescribeInput, DescribeOutput, Operation};
use crate::extract::Query;
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

const LAST_EVENT_ID: &str = "last-event-id";
/// Entries of the log read at once.
const BATCH: usize = 256;

pub(crate) fn routes(routes: Routes) -> Routes {
    let about = "Changes as they happen. Server-sent events; each `data` is a CloudEvents 1.0 event. Without a starting point only new changes come; \
                 `Last-Event-ID` (or `after`) resumes right after that event, `after=0` begins at the beginning. Comments keep the connection alive. \
                 The stream ends when the hub shuts down or the key is revoked: connect again.";
    routes.get("/v1/events", "events.stream", about, events)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Only these types, separated by commas: `call.ringing,enquiry.*`. The prefix `io.throughline.` may be left out.
    r#type: Option<String>,
    /// Begin after this event; the header `Last-Event-ID` goes before it.
    after: Option<u64>,
}

/// The header `Last-Event-ID`.
struct LastEventId(Option<u64>);

impl FromRequestParts<Api> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(Self(None)) };
        let id = value.to_str().ok().and_then(|text| text.parse().ok());
        let wrong = || Problem::parameter(Code::InvalidHeader, "Last-Event-ID", "give the id of an event of this stream, a whole number");
        id.map(|id| Self(Some(id))).ok_or_else(wrong)
    }
}

impl DescribeInput for LastEventId {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameter(
            "header",
            "Last-Event-ID",
            false,
            "The id of the last event that arrived.",
            serde_json::json!({"type": "string"}),
        );
        operation.problem(Code::InvalidHeader);
    }
}

fn filter(text: Option<&str>) -> Result<EventFilter, Problem> {
    let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    EventFilter::parse(names)
        .map_err(|(_, name)| Problem::parameter(Code::InvalidQuery, "type", format!("there is no event type {name:?}")))
}

/// One client's place in the log.
struct Follower {
    api: Api,
    caller: Arc<Caller>,
    filter: EventFilter,
    after: u64,
    waiting: VecDeque<Event>,
    key_checked: Instant,
}

impl Follower {
    /// The next event, or none when the stream is to end.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if self.api.options().shutdown.is_cancelled() || !self.may_go_on() {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            if !self.fill()? && !self.wait().await {
                return Some((Ok(Event::default().comment("alive")), self));
            }
        }
    }

    /// Reads on in the log; tells whether there was anything. None ends the stream: the client comes back with its last id.
    fn fill(&mut self) -> Option<bool> {
        // Read before the log: everything up to here is in what the log then shows, so numbers without an entry can be passed over.
        let head = self.api.hub.head();
        let changes = match self.api.hub.changes(self.after, BATCH) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::error!(%error, "cannot read the change log for an event stream");
                return None;
            }
        };
        let Some((last, _)) = changes.last() else {
            self.after = self.after.max(head);
            return Some(false);
        };
        self.after = *last;
        for (sequence, change) in changes {
            if self.filter.wants(change.kind) {
                let event = cloud_event(&self.api, sequence, change);
                let event = Event::default().id(sequence.to_string()).json_data(event);
                self.waiting.push_back(event.ok()?);
            }
        }
        if self.waiting.is_empty() {
            // Nothing of interest, but a client that resumes need not read past this again.
            self.waiting.push_back(Event::default().id(self.after.to_string()).comment("nothing for this filter"));
        }
        Some(true)
    }

    /// Waits for something new; false when it is time for a sign of life.
    async fn wait(&self) -> bool {
        tokio::select! {
            () = self.api.hub.changed(self.after) => true,
            () = self.api.options().shutdown.cancelled() => true,
            () = self.api.hub.stopping() => true,
            () = tokio::time::sleep(self.api.options().keepalive) => false,
        }
    }

    /// A key that was revoked or has expired ends its streams too.
    fn may_go_on(&mut self) -> bool {
        if self.key_checked.elapsed() < self.api.options().keepalive {
            return true;
        }
        self.key_checked = Instant::now();
        self.caller.still_holds(&self.api)
    }
}

fn cloud_event(api: &Api, sequence: u64, change: Change) -> CloudEvent {
    let context = api.hub.screen_pop(&change);
    let mut event = CloudEvent::new(api.options().public_url.as_deref(), sequence, change);
    event.data.context = context;
    event
}

/// The stream.
struct EventStream(Follower);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        Sse::new(stream::unfold(self.0, Follower::next)).into_response()
    }
}

impl DescribeOutput for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<CloudEvent>();
        operation.response(200, "Events; the schema is that of each event's `data`.", Some(("text/event-stream", schema)));
    }
}

async fn events(
    State(api): State<Api>,
    who: Authenticated<Read>,
    Query(query): Query<EventsQuery>,
    LastEventId(last): LastEventId,
) -> Result<EventStream, Problem> {
    let filter = filter(query.r#type.as_deref())?;
    let head = api.hub.head();
    let after = last.or(query.after).unwrap_or(head);
    if after > head {
        return Err(Problem::new(Code::InvalidQuery, format!("there is no event {after}; the last one is {head}")));
    }
    let caller = who.caller;
    Ok(EventStream(Follower { api, caller, filter, after, waiting: VecDeque::new(), key_checked: Instant::now() }))
}
