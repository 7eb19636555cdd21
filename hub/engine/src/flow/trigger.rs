//! Starts runs: follows the change log with a cursor, and the clock. A run and the cursor behind what started it are one commit.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::flow::{Evaluate, MAX_DEPTH, Machine, Timing};
use throughline_schemas::{Change, FlowId, RunId, Timestamp};
use throughline_store::tables::{
    FlowCursor, FlowCursors, FlowSchedule, FlowSchedules, Flows, Present, RunRecord, RunState, RunSummary, Runs, RunsByFlow, RunsDue, Tx,
    read,
};

use super::facts::{Facts, Subject};
use super::handoffs::ends_handoff;
use super::live::Live;
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

/// Log entries looked at in one go.
const LOG_PAGE: usize = 128;
/// Runs started in one commit.
const STARTS_AT_ONCE: usize = 32;
/// The cursor is committed at least after so many entries that start nothing.
const LAZY_CURSOR: u64 = 4096;
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A run about to be started.
struct Start {
    flow: FlowId,
    version: u32,
    depth: u8,
    sequence: Option<u64>,
    change: Option<Change>,
    input: Value,
}

/// Reads the log on behalf of all flows.
pub(super) struct Follower {
    hub: Hub,
    seen: u64,
    committed: u64,
}

impl Follower {
    pub(super) async fn new(hub: Hub) -> Result<Self> {
        let head = hub.head();
        // Noted at once: a crash before the first run must not make the next start begin behind what happened until then.
        let noted = hub.transact(|tx| match tx.get::<FlowCursors>(&())? {
            Some(row) => Ok(row.value.sequence),
            None => {
                tx.put::<FlowCursors>(&(), &FlowCursor { sequence: head })?;
                Ok(head)
            }
        });
        let seen = noted.await?;
        Ok(Self { hub, seen, committed: seen })
    }

    /// Runs until the hub stops.
    pub(super) async fn run(mut self) {
        let hub = self.hub.clone();
        let mut stopping = hub.inner.stopping.listen();
        let work = async {
            loop {
                let wait = match self.round().await {
                    Ok(wait) => wait,
                    Err(error) => {
                        tracing::error!(%error, "flows could not be started; it will go on");
                        self.seen = self.committed;
                        tokio::time::sleep(AFTER_FAILURE).await;
                        continue;
                    }
                };
                tokio::select! {
                    biased;
                    () = hub.changed(self.seen) => {}
                    () = hub.inner.flows.changed.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = work => {}
            () = stopping.until(|stop| *stop) => {}
        }
    }

    /// Reads the log to its end and looks at the clock; answers how long nothing will be due.
    async fn round(&mut self) -> Result<Duration> {
        loop {
            // Commits without an entry move the head as well: what is up to here and is not read below is no entry.
            let head = self.hub.head();
            let changes = self.hub.changes(self.seen, LOG_PAGE)?;
            let more = changes.len() >= LOG_PAGE;
            self.start_by_changes(changes).await?;
            if !more {
                self.seen = self.seen.max(head);
                break;
            }
        }
        if self.seen - self.committed >= LAZY_CURSOR {
            self.commit(Vec::new()).await?;
        }
        self.start_by_time().await
    }

    async fn start_by_changes(&mut self, changes: Vec<(u64, Change)>) -> Result<()> {
        let flows = self.hub.enabled_flows()?;
        let mut starts = Vec::new();
        if changes.iter().any(|(_, change)| ends_handoff(change.kind)) {
            // A run that waited for it is due since that commit.
            self.hub.inner.flows.due.notify_one();
        }
        for (sequence, change) in changes {
            for flow in flows.iter().filter(|flow| flow.is_started_by(&change)) {
                let subject = Subject { sequence: Some(sequence), change: Some(change.clone()), ..Subject::default() };
                if self.hub.meets_condition(flow, &subject) {
                    let depth = change.cause.map_or(0, |cause| cause.depth).saturating_add(1);
                    let (sequence, change) = (subject.sequence, subject.change);
                    starts.push(Start { flow: flow.id, version: flow.version, depth, sequence, change, input: Value::Null });
                }
            }
            self.seen = sequence;
            if starts.len() >= STARTS_AT_ONCE {
                self.commit(std::mem::take(&mut starts)).await?;
            }
        }
        if starts.is_empty() { Ok(()) } else { self.commit(starts).await }
    }

    async fn commit(&mut self, starts: Vec<Start>) -> Result<()> {
        let (seen, now) = (self.seen, self.hub.now());
        let ids: Vec<RunId> = starts.iter().map(|_| RunId::from_bytes(fresh())).collect();
        self.hub
            .transact(|tx| {
                tx.put::<FlowCursors>(&(), &FlowCursor { sequence: seen })?;
                starts.iter().zip(&ids).try_for_each(|(start, id)| put_run(tx, *id, start, now))
            })
            .await?;
        self.committed = seen;
        if !starts.is_empty() {
            self.hub.inner.flows.due.notify_one();
        }
        Ok(())
    }

    /// Starts what is due by the clock; answers when the next is.
    async fn start_by_time(&self) -> Result<Duration> {
        let mut next = LONGEST_SLEEP;
        for flow in self.hub.enabled_flows()?.iter() {
            let Some(timing) = &flow.program.timing else { continue };
            let now = self.hub.now();
            let due = read::<FlowSchedules>(&self.hub.inner.store, &flow.id)?.map(|row| row.value.next_at);
            let due = match due {
                Some(due) if due > now => due,
                _ => self.start_scheduled(flow, due, timing, now).await?,
            };
            next = next.min(Duration::from_millis(u64::try_from(due.since(now)).unwrap_or(0).max(1)));
        }
        Ok(next)
    }

    /// Times that were missed while the hub was down are made up for once.
    async fn start_scheduled(&self, flow: &Live, due: Option<Timestamp>, timing: &Timing, now: Timestamp) -> Result<Timestamp> {
        let next_at = timing.next_after(now);
        let subject = Subject { input: json!({}), ..Subject::default() };
        let starts = due.is_some() && self.hub.meets_condition(flow, &subject);
        let start = Start { flow: flow.id, version: flow.version, depth: 1, sequence: None, change: None, input: json!({}) };
        let id = RunId::from_bytes(fresh());
        self.hub
            .transact(|tx| {
                tx.put::<FlowSchedules>(&flow.id, &FlowSchedule { next_at })?;
                if starts { put_run(tx, id, &start, now) } else { Ok(()) }
            })
            .await?;
        self.hub.inner.flows.due.notify_one();
        Ok(next_at)
    }
}

/// Writes a new run. One that is caused by too many flows in a row is written down as failed and does nothing.
fn put_run(tx: &mut Tx, id: RunId, start: &Start, now: Timestamp) -> Result<()> {
    // Deleted meanwhile.
    if read::<Flows>(tx.store(), &start.flow)?.is_none() {
        return Ok(());
    }
    let too_deep = start.depth > MAX_DEPTH;
    let state = if too_deep { RunState::Failed } else { RunState::Running };
    let finished_at = too_deep.then_some(now);
    let run = RunRecord {
        flow_id: start.flow,
        version: start.version,
        state,
        depth: start.depth,
        sequence: start.sequence,
        change: start.change.clone(),
        input: start.input.clone(),
        machine: Machine::default(),
        due: now,
        intent: None,
        entries: 0,
        error: too_deep.then(|| format!("not started: {MAX_DEPTH} flows have caused each other in a row already")),
        bytes: 0,
        started_at: now,
        finished_at,
    };
    tx.put::<Runs>(&id, &run)?;
    tx.put::<RunsByFlow>(&(start.flow, id), &RunSummary { state, finished_at, bytes: 0 })?;
    if !too_deep {
        tx.put::<RunsDue>(&(now, id), &Present {})?;
    }
    Ok(())
}

impl Hub {
    /// A condition that cannot be evaluated is not met; what was wrong is shown with the flow.
    pub(super) fn meets_condition(&self, flow: &Live, subject: &Subject) -> bool {
        let Some(condition) = &flow.program.condition else { return true };
        let error = match Facts::new(self, subject).evaluate(&Machine::default(), condition) {
            Ok(Value::Bool(met)) => return met,
            Ok(other) => format!("the condition comes to {other}, neither true nor false"),
            Err(error) => error,
        };
        tracing::debug!(flow = %flow.id, error, "a flow's condition could not be evaluated");
        let mut errors = self.inner.flows.condition_errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        errors.insert(flow.id, (self.now(), error));
        false
    }

    /// Starts a run by hand, with this input.
    pub(super) async fn start_run(&self, flow: &Live, input: Value) -> Result<RunId> {
        let (id, now) = (RunId::from_bytes(fresh()), self.now());
        let start = Start { flow: flow.id, version: flow.version, depth: 1, sequence: None, change: None, input };
        self.transact(|tx| put_run(tx, id, &start, now)).await?;
        self.inner.flows.due.notify_one();
        Ok(id)
    }
}
