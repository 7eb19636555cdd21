//! What came of a step, in one commit: its effect, its journal entry, and the run's next state.

use serde_json::{Value, json};
use throughline_domain::flow::{Act, Machine, Redactor, Todo, Verdict};
use throughline_schemas::{Cause, Change, ChangeKind, RunId, Timestamp};
use throughline_store::tables::{Present, Row, RunRecord, RunState, RunStep, RunSteps, RunSummary, Runs, RunsByFlow, RunsDue, Tx};

use super::facts::Subject;
use super::runner::{Next, redactor_or_none, subject_of};
use super::steps::StepError;
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

/// The longest text of an error that is kept.
const LONGEST_ERROR: usize = 1_000;
/// Bytes of an input or output in the journal.
const LONGEST_KEPT: usize = 8 * 1024;

/// A step being done.
pub(super) struct Attempt<'a> {
    pub(super) id: RunId,
    /// The run as it was read; if it has changed, nothing of this is written.
    pub(super) run: &'a Row<RunRecord>,
    /// Where the run stands: at the step.
    pub(super) machine: Machine,
    pub(super) todo: &'a Todo,
    pub(super) subject: &'a Subject,
    pub(super) redactor: &'a Redactor,
    pub(super) began: tokio::time::Instant,
    /// What it was given, as it may be kept.
    pub(super) input: Value,
}

impl Attempt<'_> {
    pub(super) fn clone_for_retry(&self) -> Self {
        Attempt {
            id: self.id,
            run: self.run,
            machine: self.machine.clone(),
            todo: self.todo,
            subject: self.subject,
            redactor: self.redactor,
            began: self.began,
            input: self.input.clone(),
        }
    }

    fn cause(&self) -> Cause {
        cause_of(self.id, &self.run.value)
    }

    fn entry(&self, at: Timestamp, output: Value, error: Option<String>) -> RunStep {
        RunStep {
            name: self.todo.name.clone(),
            pointer: self.todo.pointer.clone(),
            r#do: self.todo.act.name().to_owned(),
            attempt: self.run.value.machine.attempts + 1,
            input: bounded(self.input.clone()),
            output: bounded(self.redactor.apply(&output)),
            error,
            at,
            took_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What is to be written down of a step.
pub(super) enum Outcome {
    /// It is done and gave this.
    Done(Value),
    /// It is over at this time.
    WaitUntil(Timestamp),
    /// It is about to be done outside, with this.
    Intend(Value),
}

fn cause_of(id: RunId, run: &RunRecord) -> Cause {
    Cause { flow_id: run.flow_id, run_id: id, depth: run.depth }
}

impl Hub {
    /// A step within the hub: its effect and what is noted of it are one commit.
    pub(super) async fn flow_inner_step(&self, attempt: Attempt<'_>, input: &Value) -> Result<Next> {
        let mut refused = None;
        let done = self
            .transact(|tx| {
                let Some(mut run) = unchanged(tx, &attempt)? else { return Ok(None) };
                tx.caused_by(attempt.cause());
                let effect = match self.flow_effect(tx, &attempt.todo.act, input, attempt.subject) {
                    Ok(effect) => effect,
                    Err(error) => {
                        refused = Some(StepError::of(&error));
                        return Err(error);
                    }
                };
                match attempt.todo.act {
                    Act::Handoff { waits: true, .. } => self.await_handoff(tx, &attempt, run, &effect.output)?,
                    _ => self.note_done(tx, &attempt, &mut run, &effect.output)?,
                }
                Ok(effect.wake)
            })
            .await;
        match (done, refused) {
            (Ok(wake), _) => {
                if matches!(attempt.todo.act, Act::Handoff { .. }) {
                    self.inner.watchdog.wake();
                }
                if let Some(connection) = wake {
                    self.wake_dispatcher(connection);
                }
                Ok(Next::More)
            }
            (Err(_), Some(error)) => self.settle_failure(attempt, &error).await,
            // The run's own state is too large to be kept, or the whole is more than a commit takes.
            (Err(HubError::TooLarge { detail }), None) => self.settle_failure(attempt, &StepError::final_one(detail)).await,
            (Err(error), None) => Err(error),
        }
    }

    pub(super) async fn settle_step(&self, attempt: Attempt<'_>, outcome: Outcome) -> Result<Next> {
        let settled = self.transact(|tx| {
            let Some(mut run) = unchanged(tx, &attempt)? else { return Ok(()) };
            match &outcome {
                Outcome::Done(output) => self.note_done(tx, &attempt, &mut run, output),
                Outcome::WaitUntil(until) => {
                    run.machine = attempt.machine.clone();
                    run.state = RunState::Waiting;
                    tx.put::<RunsByFlow>(
                        &(run.flow_id, attempt.id),
                        &RunSummary { state: run.state, finished_at: None, bytes: run.bytes },
                    )?;
                    make_due(tx, attempt.id, &mut run, *until)?;
                    Ok(tx.put::<Runs>(&attempt.id, &run)?)
                }
                Outcome::Intend(input) => {
                    run.machine = attempt.machine.clone();
                    run.intent = Some(input.clone());
                    Ok(tx.put::<Runs>(&attempt.id, &run)?)
                }
            }
        });
        match settled.await {
            Ok(()) if matches!(outcome, Outcome::WaitUntil(_)) => Ok(Next::Stop),
            Ok(()) => Ok(Next::More),
            Err(HubError::TooLarge { detail }) => self.settle_failure(attempt, &StepError::final_one(detail)).await,
            Err(error) => Err(error),
        }
    }

    /// An attempt failed: tried again later, passed over, or the end of the run.
    pub(super) async fn settle_failure(&self, attempt: Attempt<'_>, error: &StepError) -> Result<Next> {
        let message: String = attempt.redactor.text(&error.message).chars().take(LONGEST_ERROR).collect();
        let mut next = Next::More;
        self.transact(|tx| {
            let Some(mut run) = unchanged(tx, &attempt)? else { return Ok(()) };
            let now = self.now();
            let entry = attempt.entry(now, Value::Null, Some(message.clone()));
            journal(tx, attempt.id, &mut run, &entry)?;
            run.machine = attempt.machine.clone();
            match run.machine.failed(attempt.todo, &message, error.may_retry) {
                Verdict::Again(wait_ms) => {
                    make_due(tx, attempt.id, &mut run, now.plus_millis(i64::try_from(wait_ms).unwrap_or(i64::MAX)))?;
                    next = Next::Stop;
                }
                Verdict::GoOn => run.intent = None,
                Verdict::Fail => {
                    next = Next::Stop;
                    return self.finish(tx, attempt.id, run, Some(format!("{}: {message}", attempt.todo.name)));
                }
            }
            Ok(tx.put::<Runs>(&attempt.id, &run)?)
        })
        .await?;
        Ok(next)
    }

    fn note_done(&self, tx: &mut Tx, attempt: &Attempt<'_>, run: &mut RunRecord, output: &Value) -> Result<()> {
        let now = self.now();
        let entry = attempt.entry(now, output.clone(), None);
        journal(tx, attempt.id, run, &entry)?;
        run.machine = attempt.machine.clone();
        run.machine.did(attempt.todo, output);
        run.intent = None;
        if run.state != RunState::Running {
            run.state = RunState::Running;
            tx.put::<RunsByFlow>(&(run.flow_id, attempt.id), &RunSummary { state: run.state, finished_at: None, bytes: run.bytes })?;
        }
        Ok(tx.put::<Runs>(&attempt.id, run)?)
    }

    /// The end of a run that no step brought about.
    pub(super) async fn end_run(&self, id: RunId, read: &Row<RunRecord>, result: std::result::Result<(), String>) -> Result<Next> {
        let redactor = redactor_or_none(self, &subject_of(id, &read.value));
        let error = result.err().map(|error| redactor.text(&error).chars().take(LONGEST_ERROR).collect::<String>());
        self.transact(|tx| {
            let Some(run) = tx.get::<Runs>(&id)?.filter(|row| row.version == read.version) else { return Ok(()) };
            self.finish(tx, id, run.value, error.clone())
        })
        .await?;
        Ok(Next::Stop)
    }

    fn finish(&self, tx: &mut Tx, id: RunId, mut run: RunRecord, error: Option<String>) -> Result<()> {
        let now = self.now();
        run.finished_at = Some(now);
        run.state = if error.is_some() { RunState::Failed } else { RunState::Succeeded };
        if error.is_none() {
            // Only a run that can be retried needs what its steps gave; the journal has it without what is personal.
            run.machine.outputs.clear();
            run.input = redactor_or_none(self, &subject_of(id, &run)).apply(&run.input);
        } else {
            tx.caused_by(cause_of(id, &run));
            let change = run.change.clone();
            let data = json!({ "flow": run.flow_id, "run": id, "error": error });
            tx.log(&Change {
                profile_id: change.as_ref().and_then(|change| change.profile_id),
                enquiry_id: change.as_ref().and_then(|change| change.enquiry_id),
                data,
                ..Change::new(ChangeKind::FlowFailed, now)
            })?;
        }
        run.error = error;
        tx.delete::<RunsDue>(&(run.due, id));
        tx.put::<RunsByFlow>(&(run.flow_id, id), &RunSummary { state: run.state, finished_at: run.finished_at, bytes: run.bytes })?;
        Ok(tx.put::<Runs>(&id, &run)?)
    }
}

/// The run, if nobody has changed it since it was read: a precondition of everything that is written.
fn unchanged(tx: &mut Tx, attempt: &Attempt<'_>) -> Result<Option<RunRecord>> {
    Ok(tx.get::<Runs>(&attempt.id)?.filter(|row| row.version == attempt.run.version).map(|row| row.value))
}

fn journal(tx: &mut Tx, id: RunId, run: &mut RunRecord, entry: &RunStep) -> Result<()> {
    tx.put::<RunSteps>(&(id, run.entries), entry)?;
    run.entries += 1;
    run.bytes += serde_json::to_string(entry).map_or(0, |text| text.len() as u64);
    Ok(())
}

pub(super) fn make_due(tx: &mut Tx, id: RunId, run: &mut RunRecord, at: Timestamp) -> Result<()> {
    tx.delete::<RunsDue>(&(run.due, id));
    run.due = at;
    Ok(tx.put::<RunsDue>(&(at, id), &Present {})?)
}

fn bounded(value: Value) -> Value {
    let size = value.to_string().len();
    if size <= LONGEST_KEPT { value } else { json!({ "left_out": format!("{size} bytes, more than {LONGEST_KEPT}") }) }
}
