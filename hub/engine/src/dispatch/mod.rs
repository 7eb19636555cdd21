//! The way out: reads the change log by a cursor of its own, finds what a silo must be told, and sees each delivery to its end.
//!
//! A change becomes a delivery row before anything is sent, one for each record, so that bursts coalesce and a crash forgets
//! nothing. What a write sends is computed when it is sent. The cursor moves only together with the rows it led to.

mod plan;
mod send;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use throughline_schemas::Timestamp;
use throughline_schemas::connector::ConnectorError;
use throughline_store::tables::{
    Deliveries, Delivery, DeliveryKey, DeliveryWork, DispatchCursor, DispatchCursors, Tx, read, scan_rows, trailing_name,
};

use crate::error::Result;
use crate::supervisor::Task;

/// Log entries looked at in one go.
const LOG_PAGE: usize = 512;
/// The cursor is committed at least after so many entries that concern nobody.
const LAZY_CURSOR: u64 = 4096;
/// Deliveries carried out before the log is looked at again.
const AT_ONCE: usize = 64;
/// The longest sleep: bounds how late a due delivery can be noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Deliveries with their keys.
type Deliverable = Vec<(DeliveryKey, Delivery)>;

/// What one connection's dispatcher knows between rounds.
pub(crate) struct Dispatcher {
    pub(crate) task: Task,
    /// The last log entry looked at.
    seen: u64,
    /// The last one whose consequences are durable.
    committed: u64,
    /// Nothing is sent before this: the silo asked for patience.
    pub(crate) budget_paused_until: Timestamp,
}

/// Runs until the connection stops.
pub(crate) async fn run(task: Task) {
    let mut dispatcher = match start(task.clone()) {
        Ok(dispatcher) => dispatcher,
        Err(error) => {
            tracing::error!(connection = %task.id, %error, "the dispatcher could not start");
            return;
        }
    };
    loop {
        let round = task.unless_stopped(dispatcher.round()).await;
        match round {
            None => break,
            Some(Ok(Some(wait))) => {
                let head = dispatcher.seen;
                let idle = async {
                    tokio::select! {
                        () = task.hub.changed(head) => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                };
                if task.unless_stopped(idle).await.is_none() {
                    break;
                }
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => {
                tracing::error!(connection = %task.id, %error, "dispatching failed; it will go on");
                if task.unless_stopped(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
                    break;
                }
            }
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
    Ok(Dispatcher { task, seen, committed: seen, budget_paused_until: Timestamp::default() })
}

impl Dispatcher {
    /// One round: log to deliveries, deliveries to the silo. None if there is more to do at once, else how long to sleep.
    async fn round(&mut self) -> Result<Option<Duration>> {
        let read = self.drain_log().await?;
        let now = self.task.hub.now();
        if now < self.budget_paused_until {
            return Ok(Some(until(now, self.budget_paused_until)));
        }
        let (due, next) = self.due(now)?;
        let more = due.len() >= AT_ONCE || read >= LOG_PAGE;
        let busy = !due.is_empty();
        let (mut writes, mut sends) = (BTreeMap::<String, Deliverable>::new(), Vec::new());
        for (key, delivery) in due {
            match &delivery.work {
                DeliveryWork::Write { entity, .. } => writes.entry(entity.clone()).or_default().push((key, delivery)),
                DeliveryWork::Send { .. } => sends.push((key, delivery)),
            }
        }
        for (entity, deliveries) in writes {
            self.write(&entity, deliveries).await?;
        }
        for (key, delivery) in sends {
            self.send(key, delivery).await?;
        }
        if more || busy {
            return Ok(None);
        }
        Ok(Some(next.map_or(LONGEST_SLEEP, |next| until(now, next))))
    }

    /// Turns changes into delivery rows; answers how many entries it looked at.
    async fn drain_log(&mut self) -> Result<usize> {
        // Read before the log: commits without entries move the head too, and a number without an entry must not wake us for ever.
        let head = self.task.hub.head();
        let changes = self.task.hub.changes(self.seen, LOG_PAGE)?;
        let Some((last, _)) = changes.last() else {
            self.seen = self.seen.max(head);
            return Ok(0);
        };
        let (last, count) = (*last, changes.len());
        let wanted = self.plan_changes(changes.iter().map(|(_, change)| change))?;
        if wanted.is_empty() && last - self.committed < LAZY_CURSOR {
            self.seen = last;
            return Ok(count);
        }
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let now = self.task.hub.now();
        for (entity, canonical_id) in wanted {
            let key = DeliveryKey::write(self.task.id, &entity, &canonical_id);
            if tx.get::<Deliveries>(&key)?.is_none() {
                let work = DeliveryWork::Write { entity, canonical_id };
                let delivery = Delivery { work, since: now, not_before: now, attempts: 0, in_doubt: false, last_error: None };
                tx.put::<Deliveries>(&key, &delivery)?;
            }
        }
        tx.put::<DispatchCursors>(&self.task.id, &DispatchCursor { sequence: last })?;
        tx.commit().await?;
        (self.seen, self.committed) = (last, last);
        Ok(count)
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

    /// Deliveries that are due, and when the next one will be.
    fn due(&self, now: Timestamp) -> Result<(Deliverable, Option<Timestamp>)> {
        let (mut due, mut next, mut after) = (Vec::new(), None::<Timestamp>, None);
        loop {
            let page = scan_rows::<Deliveries>(&self.task.hub.inner.store, self.task.id.as_bytes(), after.as_deref(), 1000)?;
            for (bytes, row) in page.rows {
                if row.value.not_before <= now {
                    due.push((DeliveryKey { connection: self.task.id, name: trailing_name(&bytes).unwrap_or_default() }, row.value));
                    if due.len() >= AT_ONCE {
                        return Ok((due, next));
                    }
                } else {
                    next = Some(next.map_or(row.value.not_before, |next| next.min(row.value.not_before)));
                }
            }
            match page.next {
                Some(key) => after = Some(key),
                None => return Ok((due, next)),
            }
        }
    }

    pub(crate) fn jitter(&self) -> f64 {
        f64::from(crate::clock::fresh()[15]) / f64::from(u8::MAX)
    }

    /// Notes a failure that says something about the connection, not about one record.
    pub(crate) fn note_failure(&self, error: &ConnectorError) {
        self.task.hub.inner.counters.add(crate::metrics::Counter::DeliveryFailures, self.task.id, 1);
        self.task.health.failed(error.clone(), self.task.hub.now());
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(then.since(now)).unwrap_or(0).max(1)).min(LONGEST_SLEEP)
}
