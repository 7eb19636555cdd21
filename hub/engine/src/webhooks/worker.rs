//! One endpoint's task: takes what is due and what is new, posts it, has the outcome written down.

use std::sync::Arc;
use std::time::Duration;

use throughline_domain::outbound::retry::Outcome;
use throughline_domain::outbound::signature::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, WebhookSecret};
use throughline_domain::outbound::{Answered, Post, PostError, Poster};
use throughline_schemas::{Change, ChangeOrigin, Timestamp, WebhookId};
use throughline_store::tables::{WebhookCursors, WebhookPending, WebhookPendings, WebhookRecord, Webhooks, read, scan_rows};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::event_id;
use crate::cloud_event::{CloudEvent, EventFilter};
use crate::error::Result;
use crate::hub::Hub;

/// How long an endpoint may take to answer. The specification asks for 15 to 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Log entries looked at in one go.
const LOG_PAGE: usize = 256;
/// The cursor is committed at least after so many entries that are of no interest.
const LAZY_CURSOR: u64 = 4096;
/// The longest sleep: bounds how late a due event can be noticed when the clock is set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What an endpoint's task knows between rounds.
pub(super) struct Worker {
    pub(super) hub: Hub,
    pub(super) id: WebhookId,
    /// The last log entry that was tried or passed over.
    pub(super) seen: u64,
    /// The last one noted durably.
    pub(super) committed: u64,
    pub(super) last_success: Option<Timestamp>,
    pub(super) failures_in_a_row: u32,
    /// Nothing is sent before this: the endpoint does not answer, or asked for patience.
    pub(super) resting_until: Timestamp,
    pub(super) untrimmed: u32,
    /// When the first event that waits is due, as of the last look.
    pub(super) next_due: Option<Timestamp>,
    /// Rows may have changed since the last look.
    pub(super) look: bool,
}

/// An event about to be sent, or sent.
pub(super) struct Event {
    pub(super) sequence: u64,
    pub(super) change: Change,
    /// Its row, if this is not the first attempt.
    pub(super) pending: Option<WebhookPending>,
}

/// What came of sending it.
pub(super) struct Attempted {
    pub(super) event: Event,
    pub(super) at: Timestamp,
    pub(super) took_ms: u64,
    pub(super) answer: std::result::Result<Answered, PostError>,
}

impl Attempted {
    pub(super) const fn outcome(&self) -> Outcome {
        match &self.answer {
            Ok(answered) => Outcome::Answered { status: answered.status, retry_after_ms: answered.retry_after_ms },
            Err(_) => Outcome::Unanswered,
        }
    }
}

enum Round {
    /// There may be more to do at once.
    Again,
    /// Nothing to do for so long, unless there is news.
    Sleep(Duration),
    /// Nothing is to be sent for so long, whatever news there is.
    Pause(Duration),
    /// The webhook is disabled.
    Rest,
    /// The webhook is gone.
    End,
}

/// Runs until the webhook is deleted or the hub stops.
pub(super) async fn run(hub: Hub, id: WebhookId, wake: Arc<Notify>) {
    let mut stopping = hub.inner.stopping.listen();
    let work = async {
        let mut worker = Worker::new(hub.clone(), id);
        loop {
            let round = match worker.round().await {
                Ok(round) => round,
                Err(error) => {
                    tracing::error!(webhook = %id, %error, "sending to a webhook failed on our side; it will go on");
                    worker.seen = worker.committed;
                    worker.look = true;
                    Round::Pause(AFTER_FAILURE)
                }
            };
            match round {
                Round::Again => {}
                Round::End => return,
                Round::Rest => {
                    wake.notified().await;
                    worker.reload();
                }
                Round::Pause(time) => {
                    tokio::select! {
                        biased;
                        () = wake.notified() => worker.reload(),
                        () = tokio::time::sleep(time) => {}
                    }
                }
                Round::Sleep(time) => {
                    tokio::select! {
                        biased;
                        () = hub.changed(worker.seen) => {}
                        () = wake.notified() => worker.reload(),
                        () = tokio::time::sleep(time) => {}
                    }
                }
            }
        }
    };
    // What is broken off here was not noted as sent: it is sent again at the next start.
    tokio::select! {
        biased;
        () = work => {}
        () = stopping.until(|stop| *stop) => {}
    }
}

impl Worker {
    fn new(hub: Hub, id: WebhookId) -> Self {
        let head = hub.head();
        let mut worker = Self {
            hub,
            id,
            seen: head,
            committed: head,
            last_success: None,
            failures_in_a_row: 0,
            resting_until: Timestamp::default(),
            untrimmed: u32::MAX,
            next_due: None,
            look: true,
        };
        worker.reload();
        worker
    }

    /// Takes the cursor as it is stored: a command may have moved it.
    fn reload(&mut self) {
        if let Ok(Some(row)) = read::<WebhookCursors>(&self.hub.inner.store, &self.id) {
            (self.seen, self.committed) = (row.value.sequence, row.value.sequence);
            self.last_success = row.value.last_success;
        }
        self.resting_until = Timestamp::default();
        self.look = true;
    }

    async fn round(&mut self) -> Result<Round> {
        let Some(record) = read::<Webhooks>(&self.hub.inner.store, &self.id)? else { return Ok(Round::End) };
        let (record, now) = (record.value, self.hub.now());
        let Some(poster) = self.hub.inner.options.poster.clone() else { return Ok(Round::Rest) };
        if record.disabled_at.is_some() {
            return Ok(Round::Rest);
        }
        if now < self.resting_until {
            return Ok(Round::Pause(until(now, self.resting_until)));
        }
        let most = usize::from(record.at_once.max(1));
        let mut events = self.due(now, most)?;
        let from_log = self.new_events(&record, most.saturating_sub(events.len()))?;
        events.extend(from_log.events);
        if events.is_empty() {
            self.pass_over(from_log.seen).await?;
            return Ok(match (from_log.more, self.next_due) {
                (true, _) => Round::Again,
                (false, Some(due)) => Round::Sleep(until(now, due)),
                (false, None) => Round::Sleep(LONGEST_SLEEP),
            });
        }
        let secrets = self.hub.webhook_secrets(self.id, &record, now)?;
        let attempted = post_all(&self.hub, &poster, &record, &secrets, events).await;
        self.settle(attempted, from_log.seen).await?;
        Ok(Round::Again)
    }

    /// Events that are due to be tried again. Rows are read only when one may be due.
    fn due(&mut self, now: Timestamp, most: usize) -> Result<Vec<Event>> {
        let mut due = Vec::new();
        if !self.look && self.next_due.is_none_or(|next| now < next) {
            return Ok(due);
        }
        let (mut next, mut after) = (None::<Timestamp>, None);
        loop {
            let page = scan_rows::<WebhookPendings>(&self.hub.inner.store, self.id.as_bytes(), after.as_deref(), LOG_PAGE)?;
            for (key, row) in page.rows {
                if row.value.not_before > now {
                    next = Some(next.map_or(row.value.not_before, |next| next.min(row.value.not_before)));
                    continue;
                }
                let Some(sequence) = WebhookPendings::sequence(&key) else { continue };
                if let Some(change) = self.hub.change_at(sequence)? {
                    due.push(Event { sequence, change, pending: Some(row.value) });
                }
                if due.len() >= most {
                    // There may be more behind it.
                    self.look = true;
                    return Ok(due);
                }
            }
            match page.next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        (self.look, self.next_due) = (false, next);
        Ok(due)
    }

    fn new_events(&self, record: &WebhookRecord, most: usize) -> Result<FromLog> {
        // Commits without an entry move the head as well: what is up to here and is not read below is no entry.
        let head = self.hub.head();
        let filter = EventFilter::parse(record.types.iter().map(String::as_str)).unwrap_or_default();
        let changes = self.hub.changes(self.seen, LOG_PAGE)?;
        let mut found = FromLog { events: Vec::new(), seen: self.seen, more: changes.len() >= LOG_PAGE };
        for (sequence, change) in changes {
            let untold = change.origin == Some(ChangeOrigin::Backfill) && !record.backfill;
            if !untold && filter.wants(change.kind) {
                if found.events.len() >= most {
                    found.more = true;
                    return Ok(found);
                }
                found.events.push(Event { sequence, change, pending: None });
            }
            found.seen = sequence;
        }
        if !found.more {
            found.seen = found.seen.max(head);
        }
        Ok(found)
    }
}

/// What the change log has for an endpoint.
struct FromLog {
    events: Vec<Event>,
    /// How far it was read.
    seen: u64,
    more: bool,
}

/// Starts all of them in their order, and waits for all.
async fn post_all(
    hub: &Hub,
    poster: &Arc<dyn Poster>,
    record: &WebhookRecord,
    secrets: &[WebhookSecret],
    events: Vec<Event>,
) -> Vec<Attempted> {
    let mut posts = JoinSet::new();
    for (index, event) in events.into_iter().enumerate() {
        let (hub, poster) = (hub.clone(), Arc::clone(poster));
        let post = signed(&hub, &record.url, secrets, &event);
        posts.spawn(async move {
            let (at, began) = (hub.now(), tokio::time::Instant::now());
            let answer = match tokio::time::timeout(TIMEOUT, poster.post(post)).await {
                Ok(answer) => answer,
                Err(_) => Err(PostError::Failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
            };
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            (index, Attempted { event, at, took_ms, answer })
        });
    }
    // A panic of the sender loses this outcome only: its event is still before the cursor, or still pending.
    let mut attempted: Vec<_> = posts.join_all().await;
    attempted.sort_by_key(|(index, _)| *index);
    attempted.into_iter().map(|(_, attempted)| attempted).collect()
}

fn signed(hub: &Hub, url: &str, secrets: &[WebhookSecret], event: &Event) -> Post {
    let cloud_event = CloudEvent::new(hub.inner.options.public_url.as_deref(), event.sequence, event.change.clone());
    let body = serde_json::to_vec(&cloud_event).expect("an event has only text keys");
    let (id, timestamp) = (event_id(event.sequence), hub.now().as_millis().div_euclid(1000));
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(&id, timestamp, &body)).collect();
    let headers = vec![
        ("content-type", "application/cloudevents+json; charset=utf-8".to_owned()),
        (HEADER_ID, id),
        (HEADER_TIMESTAMP, timestamp.to_string()),
        (HEADER_SIGNATURE, signatures.join(" ")),
    ];
    Post { url: url.to_owned(), headers, body }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(then.since(now)).unwrap_or(0).max(1)).min(LONGEST_SLEEP)
}

/// Whether so many entries were passed over that the cursor should be noted.
pub(super) const fn is_overdue(seen: u64, committed: u64) -> bool {
    seen.saturating_sub(committed) >= LAZY_CURSOR
}
