//! The way out: reads the change log by a cursor of its own, finds what a silo must be told, and sees each delivery to its end.
//!
//! A change becomes a delivery row before anything is sent, one for each record, so that bursts coalesce and a crash forgets
//! nothing. What a write sends is computed when it is sent. The cursor moves only together with the rows it led to. No lane is held
//! while a connector is called: a silo may well call our webhook before it answers.

mod act;
mod doubt;
mod effects;
mod failures;
mod plan;
mod send;
mod write;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use throughline_schemas::Timestamp;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Outcome};
use throughline_schemas::manifest::Canonical;
use throughline_store::tables::{
    Deliveries, Delivery, DeliveryKey, DeliveryWork, DispatchCursor, DispatchCursors, Tx, read, scan_rows, trailing_name,
};

use tokio::time::Instant;

use crate::error::Result;
use crate::supervisor::Task;

pub(crate) use doubt::Walks;

/// Log entries looked at in one go.
const LOG_PAGE: usize = 512;
/// The cursor is committed at least after so many entries that concern nobody.
const LAZY_CURSOR: u64 = 4096;
/// Deliveries carried out before the log is looked at again.
const AT_ONCE: usize = 64;
/// The longest sleep: bounds how late a due delivery can be noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// Waiting deliveries are looked through at least this often, whether or not anybody said that there are new ones.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The longest pause after a call that failed as a whole, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 30_000;

/// A delivery as it was found, with the version of its row.
pub(crate) struct Waiting {
    pub(crate) key: DeliveryKey,
    pub(crate) delivery: Delivery,
    pub(crate) version: u64,
}

/// What one connection's dispatcher knows between rounds.
pub(crate) struct Dispatcher {
    pub(crate) task: Task,
    /// The last log entry looked at.
    seen: u64,
    /// The last one whose consequences are durable.
    committed: u64,
    /// Nothing is sent before this: the silo asked for patience, or cannot be reached.
    paused_until: Timestamp,
    /// Calls that failed as a whole since the last that did not.
    failures_in_a_row: u32,
    /// When the first delivery that waits is due, as of the last look.
    next_due: Option<Timestamp>,
    /// Rows may have changed since the last look.
    look: bool,
    looked_at: Instant,
}

/// Runs until the connection stops. A round is never broken off: a call under way is ended by the connector, and its outcome noted.
pub(crate) async fn run(task: Task) {
    let mut dispatcher = match start(task.clone()) {
        Ok(dispatcher) => dispatcher,
        Err(error) => {
            tracing::error!(connection = %task.id, %error, "the dispatcher could not start");
            return;
        }
    };
    while !task.is_stopped() {
        let wait = match dispatcher.round().await {
            Ok(None) => continue,
            Ok(Some(wait)) => wait,
            Err(error) => {
                tracing::error!(connection = %task.id, %error, "dispatching failed; it will go on");
                dispatcher.look = true;
                if task.unless_stopped(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
                    break;
                }
                continue;
            }
        };
        if task.unless_stopped(dispatcher.idle(wait)).await.is_none() {
            break;
        }
    }
    if let Err(error) = dispatcher.commit_cursor().await {
        tracing::warn!(connection = %task.id, %error, "the dispatcher's place in the log was not noted; it will look at some entries again");
    }
}

fn start(task: Task) -> Result<Dispatcher> {
    let seen = match read::<DispatchCursors>(&task.hub.inner.store, &task.id)? {
        Some(row) => row.value.sequence,
        None => task.hub.head(),
    };
    task.health.dispatched(seen);
    Ok(Dispatcher {
        task,
        seen,
        committed: seen,
        paused_until: Timestamp::default(),
        failures_in_a_row: 0,
        next_due: None,
        look: true,
        looked_at: Instant::now(),
    })
}

impl Dispatcher {
    /// Sleeps until there is news, somebody left a delivery, or the time is over.
    async fn idle(&mut self, wait: Duration) {
        let (hub, wake, seen) = (self.task.hub.clone(), std::sync::Arc::clone(&self.task.wake), self.seen);
        tokio::select! {
            biased;
            () = hub.changed(seen) => {}
            () = wake.notified() => self.look = true,
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// One round: log to deliveries, deliveries to the silo. None if there is more to do at once, else how long to sleep.
    async fn round(&mut self) -> Result<Option<Duration>> {
        let more_log = self.drain_log().await?;
        let now = self.task.hub.now();
        if more_log {
            return Ok(None);
        }
        if now < self.paused_until {
            return Ok(Some(until(now, self.paused_until)));
        }
        let due = self.look || self.next_due.is_some_and(|due| due <= now) || self.looked_at.elapsed() >= LOOK_EVERY;
        if due {
            (self.look, self.looked_at) = (false, Instant::now());
            let (due, next) = self.due(now)?;
            self.next_due = next;
            if !due.is_empty() {
                // Whatever comes of them changes rows.
                self.look = true;
                self.carry_out(due).await?;
                return Ok(None);
            }
        }
        Ok(Some(self.next_due.map_or(LONGEST_SLEEP, |next| until(now, next))))
    }

    /// Messages first, since somebody waits for them; then records, persons before what refers to them.
    async fn carry_out(&mut self, due: Vec<Waiting>) -> Result<()> {
        let context = self.task.hub.connection_context(self.task.id)?;
        let (mut writes, mut sends) = (BTreeMap::<(bool, String), Vec<Waiting>>::new(), Vec::new());
        for waiting in due {
            match &waiting.delivery.work {
                DeliveryWork::Write { entity, .. } => {
                    let is_person = context.entities.get(entity).is_some_and(|entity| entity.canonical == Canonical::Profile);
                    writes.entry((!is_person, entity.clone())).or_default().push(waiting);
                }
                DeliveryWork::Send { .. } | DeliveryWork::Act { .. } => sends.push(waiting),
            }
        }
        for waiting in sends {
            if self.must_rest() {
                return Ok(());
            }
            match waiting.delivery.work {
                DeliveryWork::Act { .. } => self.act(waiting).await?,
                _ => self.send(waiting).await?,
            }
        }
        for ((_, entity), waiting) in writes {
            if self.must_rest() {
                return Ok(());
            }
            self.write(&entity, waiting).await?;
        }
        Ok(())
    }

    /// Turns changes into delivery rows; answers whether there are more.
    async fn drain_log(&mut self) -> Result<bool> {
        // Commits without an entry move the head as well: what is up to here and is not read below is no entry.
        let head = self.task.hub.head();
        let changes = self.task.hub.changes(self.seen, LOG_PAGE)?;
        let more = changes.len() >= LOG_PAGE;
        let last = changes.last().map_or(self.seen, |(sequence, _)| *sequence);
        let seen = if more { last } else { last.max(head) };
        let wanted = self.plan_changes(changes.iter().map(|(_, change)| change))?;
        if wanted.is_empty() && seen - self.committed < LAZY_CURSOR {
            self.seen = seen;
            self.task.health.dispatched(seen);
            return Ok(more);
        }
        let now = self.task.hub.now();
        let id = self.task.id;
        self.insist(|tx| {
            for (entity, canonical_id) in &wanted {
                let key = DeliveryKey::write(id, entity, canonical_id);
                if tx.get::<Deliveries>(&key)?.is_none() {
                    let work = DeliveryWork::Write { entity: entity.clone(), canonical_id: canonical_id.clone() };
                    tx.put::<Deliveries>(&key, &Delivery::new(work, now))?;
                }
            }
            Ok(tx.put::<DispatchCursors>(&id, &DispatchCursor { sequence: seen })?)
        })
        .await?;
        (self.seen, self.committed) = (seen, seen);
        self.look |= !wanted.is_empty();
        self.task.health.dispatched(seen);
        Ok(more)
    }

    async fn commit_cursor(&mut self) -> Result<()> {
        if self.seen > self.committed {
            let mut tx = Tx::new(&self.task.hub.inner.store);
            tx.put::<DispatchCursors>(&self.task.id, &DispatchCursor { sequence: self.seen })?;
            tx.commit().await?;
            self.committed = self.seen;
        }
        Ok(())
    }

    /// Deliveries that are due, and when the next one will be. Of the messages of one conversation only the first that waits, in the
    /// order in which they were written: whoever reads them must not meet the second before the first. One that is given up lets the
    /// next go.
    fn due(&self, now: Timestamp) -> Result<(Vec<Waiting>, Option<Timestamp>)> {
        let (mut due, mut next, mut after) = (Vec::new(), None::<Timestamp>, None);
        let mut spoken_for = BTreeSet::new();
        loop {
            let page = scan_rows::<Deliveries>(&self.task.hub.inner.store, self.task.id.as_bytes(), after.as_deref(), 256)?;
            for (bytes, row) in page.rows {
                if let DeliveryWork::Send { message, .. } = &row.value.work
                    && let Some(conversation) = &message.conversation_key
                    && !spoken_for.insert(conversation.clone())
                {
                    continue;
                }
                if row.value.not_before <= now {
                    let key = DeliveryKey { connection: self.task.id, name: trailing_name(&bytes).unwrap_or_default() };
                    due.push(Waiting { key, delivery: row.value, version: row.version });
                    if due.len() >= AT_ONCE {
                        return Ok((due, next));
                    }
                } else if row.value.not_before < effects::never() {
                    next = Some(next.map_or(row.value.not_before, |next| next.min(row.value.not_before)));
                }
            }
            match page.next {
                Some(key) => after = Some(key),
                None => return Ok((due, next)),
            }
        }
    }

    /// Whether nothing more is to be sent for now.
    pub(super) fn must_rest(&self) -> bool {
        self.task.is_stopped() || self.task.hub.now() < self.paused_until
    }

    pub(super) fn pause(&mut self, delay_ms: u64) {
        let until = self.task.hub.now().plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX));
        self.paused_until = self.paused_until.max(until);
    }

    pub(super) fn jitter(&self) -> f64 {
        crate::clock::chance()
    }

    /// A call worked.
    pub(super) fn note_success(&mut self) {
        self.failures_in_a_row = 0;
        self.task.health.worked(self.task.hub.now());
    }

    /// A call failed as a whole. If that says something about the connection, the health shows it; if the silo cannot be reached twice
    /// in a row, the other deliveries need not find that out one by one.
    pub(super) fn note_failure(&mut self, error: &ConnectorError) {
        use ErrorClass::{Ambiguous, Transient};
        self.task.hub.inner.counters.add(crate::metrics::Counter::DeliveryFailures, self.task.id, 1);
        self.note_unwell(error);
        if matches!(error.class, Transient | Ambiguous) {
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            if self.failures_in_a_row > 1 {
                let policy = &self.task.hub.inner.options.retry;
                let pause = policy.base_ms.saturating_mul(1 << self.failures_in_a_row.min(10)).min(policy.cap_ms).min(LONGEST_PAUSE_MS);
                self.pause(pause);
            }
        }
    }
}

impl Dispatcher {
    /// The call itself went well, but nothing of what it was for did: if that is not about the records, the health shows it.
    pub(super) fn note_outcomes(&self, outcomes: &[Outcome]) {
        if outcomes.iter().any(|outcome| outcome.result.is_ok()) {
            return;
        }
        if let Some(error) = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err()).find(|error| is_about_connection(error)) {
            self.note_unwell(error);
        }
    }

    fn note_unwell(&self, error: &ConnectorError) {
        if is_about_connection(error) {
            self.task.health.failed(error.clone(), self.task.hub.now());
        }
    }
}

/// Whether a failure says something about the connection, and not only about what was to be delivered.
const fn is_about_connection(error: &ConnectorError) -> bool {
    use ErrorClass::{Ambiguous, Auth, Bug, Config, Permission, Transient};
    matches!(error.class, Config | Auth | Permission | Transient | Ambiguous | Bug)
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(then.since(now)).unwrap_or(0).max(1)).min(LONGEST_SLEEP)
}
