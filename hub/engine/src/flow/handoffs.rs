//! The step that hands an enquiry on, and runs that wait for what comes of it.
//!
//! The offer and the run's next state are one commit, and so are a handoff's end and the waking of the run that waits for it.

use serde_json::{Value, json};
use throughline_schemas::{ChangeKind, ConnectionId, HandoffId, Timestamp};
use throughline_store::tables::{RunAwaiting, RunRecord, RunState, RunSummary, Runs, RunsAwaiting, RunsByFlow, Tx};

use super::facts::Subject;
use super::runner::Next;
use super::settle::{Attempt, Outcome, make_due};
use super::steps::{Effect, no_record};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::handoff::NewHandoff;
use crate::hub::Hub;

/// When a run that waits is looked at anyhow. Every handoff has a deadline, so its end comes first.
const LATEST_MS: i64 = 366 * 24 * 3600 * 1000;

impl Hub {
    /// Offers, within `tx`, the event's enquiry as a step says.
    pub(super) fn flow_handoff(&self, tx: &mut Tx, input: &Value, subject: &Subject) -> Result<Effect> {
        let enquiry = subject.enquiry_id().ok_or_else(|| no_record("enquiry"))?;
        let mut wanted = input.clone();
        wanted["by"] = json!(format!("flow {}", subject.flow["id"].as_str().unwrap_or_default()));
        let new: NewHandoff = serde_path_to_error::deserialize(&wanted).map_err(|error| {
            let at = format!("/{}", error.path().to_string().replace('.', "/"));
            HubError::invalid(at, error.into_inner().to_string())
        })?;
        let prepared = self.prepare_handoff(enquiry, &new)?;
        let id = HandoffId::from_bytes(fresh());
        self.offer_in(tx, enquiry, id, &new, &prepared)?;
        Ok(Effect { output: json!({ "handoff_id": id, "state": "offered" }), wake: prepared.connection() })
    }

    /// Has a run wait for the end of what it has just offered, in the same commit.
    pub(super) fn await_handoff(&self, tx: &mut Tx, attempt: &Attempt<'_>, mut run: RunRecord, offered: &Value) -> Result<()> {
        let id: HandoffId = serde_json::from_value(offered["handoff_id"].clone()).map_err(|error| HubError::Internal(error.to_string()))?;
        run.machine = attempt.machine.clone();
        run.state = RunState::Waiting;
        run.intent = Some(json!({ "handoff": id, "input": attempt.input }));
        tx.put::<RunsAwaiting>(&id, &RunAwaiting { run: attempt.id })?;
        tx.put::<RunsByFlow>(&(run.flow_id, attempt.id), &RunSummary { state: run.state, finished_at: None, bytes: run.bytes })?;
        make_due(tx, attempt.id, &mut run, self.now().plus_millis(LATEST_MS))?;
        Ok(tx.put::<Runs>(&attempt.id, &run)?)
    }

    /// The handoff that a run waits for may be over.
    pub(super) async fn flow_after_handoff(&self, mut attempt: Attempt<'_>, intent: &Value) -> Result<Next> {
        let id: HandoffId = serde_json::from_value(intent["handoff"].clone()).map_err(|error| HubError::Internal(error.to_string()))?;
        attempt.input = intent["input"].clone();
        let handoff = self.handoff(id)?.value;
        if handoff.state.is_open() {
            return self.settle_step(attempt, Outcome::WaitUntil(self.now().plus_millis(LATEST_MS))).await;
        }
        let came_of_it =
            json!({ "handoff_id": id, "state": handoff.state, "outcome": handoff.outcome, "accepted_by": handoff.accepted_by });
        self.settle_step(attempt, Outcome::Done(came_of_it)).await
    }
}

/// A handoff is over: the run that waits for it goes on.
pub(crate) fn go_on_after(tx: &mut Tx, handoff: HandoffId, now: Timestamp) -> Result<()> {
    let Some(waiting) = tx.get::<RunsAwaiting>(&handoff)? else { return Ok(()) };
    tx.delete::<RunsAwaiting>(&handoff);
    let id = waiting.value.run;
    // The flow may have been deleted meanwhile.
    let Some(row) = tx.get::<Runs>(&id)?.filter(|row| row.value.state == RunState::Waiting) else { return Ok(()) };
    let mut run = row.value;
    make_due(tx, id, &mut run, now)?;
    Ok(tx.put::<Runs>(&id, &run)?)
}

/// Whether a change may be the end of a handoff.
pub(super) const fn ends_handoff(kind: ChangeKind) -> bool {
    use ChangeKind::{HandoffCompleted, HandoffDeclined, HandoffExpired, HandoffFailed};
    matches!(kind, HandoffCompleted | HandoffDeclined | HandoffExpired | HandoffFailed)
}

/// The step's input with the connection by its id, as the offer takes it.
pub(super) fn with_connection(mut input: Value, connection: ConnectionId) -> Value {
    if let Some(meeting) = input.get_mut("meeting").and_then(Value::as_object_mut) {
        meeting.remove("connection");
        meeting.insert("connection_id".to_owned(), json!(connection));
    }
    input
}
