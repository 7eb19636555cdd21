//! Carries runs out, each in a task of its own, from step to step until it waits or ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::flow::{Act, Advance, Evaluate, Redactor, Todo};
use throughline_schemas::RunId;
use throughline_store::tables::{Row, RunRecord, RunState, Runs, RunsDue, read, scan_rows};
use tokio::task::JoinSet;

use super::facts::{Facts, Subject};
use super::handoffs::with_connection;
use super::live::Live;
use super::settle::{Attempt, Outcome};
use super::steps::{StepError, kept_input};
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

/// Runs carried out side by side.
const AT_ONCE: usize = 64;
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Old runs are looked for so often.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Runs until the hub stops: every run that is due gets a task.
pub(super) async fn supervise(hub: Hub) {
    let mut stopping = hub.inner.stopping.listen();
    let mut tasks = JoinSet::new();
    let work = async {
        let mut swept = None::<tokio::time::Instant>;
        loop {
            let wait = match start_due(&hub, &mut tasks) {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "runs of flows cannot be read; it will go on");
                    AFTER_FAILURE
                }
            };
            if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
                swept = Some(tokio::time::Instant::now());
                if let Err(error) = hub.sweep_runs().await {
                    tracing::error!(%error, "old runs of flows could not be removed");
                }
            }
            tokio::select! {
                biased;
                () = hub.inner.flows.due.notified() => {}
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    };
    // What is broken off here goes on at the next start, from its last commit.
    tokio::select! {
        biased;
        () = work => {}
        () = stopping.until(|stop| *stop) => {}
    }
}

/// Starts tasks for what is due; answers how long nothing will be.
fn start_due(hub: &Hub, tasks: &mut JoinSet<()>) -> Result<Duration> {
    let now = hub.now();
    let page = scan_rows::<RunsDue>(&hub.inner.store, &[], None, AT_ONCE * 4)?;
    for (key, _) in &page.rows {
        let Some((at, run)) = RunsDue::parts(key) else { continue };
        if at > now {
            return Ok(Duration::from_millis(u64::try_from(at.since(now)).unwrap_or(0).max(1)).min(LONGEST_SLEEP));
        }
        let mut active = hub.inner.flows.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.len() >= AT_ONCE {
            break;
        }
        if active.insert(run) {
            tasks.spawn(carry_out(hub.clone(), run));
        }
    }
    Ok(LONGEST_SLEEP)
}

async fn carry_out(hub: Hub, id: RunId) {
    let _active = Active { hub: hub.clone(), id };
    loop {
        match hub.flow_step(id).await {
            Ok(Next::More) => {}
            Ok(Next::Stop) => return,
            Err(error) => {
                tracing::error!(run = %id, %error, "a run of a flow could not go on; it will be tried again");
                tokio::time::sleep(AFTER_FAILURE).await;
                return;
            }
        }
    }
}

/// A run that a task is at; no longer when this is dropped, even by a panic.
struct Active {
    hub: Hub,
    id: RunId,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.hub.inner.flows.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.hub.inner.flows.due.notify_one();
    }
}

pub(super) enum Next {
    /// There may be another step at once.
    More,
    /// It waits, or has ended.
    Stop,
}

impl Hub {
    /// One step of a run.
    async fn flow_step(&self, id: RunId) -> Result<Next> {
        let Some(run) = read::<Runs>(&self.inner.store, &id)? else { return Ok(Next::Stop) };
        let is_over = matches!(run.value.state, RunState::Succeeded | RunState::Failed);
        if is_over || run.value.due > self.now() {
            return Ok(Next::Stop);
        }
        let live = match self.flow_version_live(run.value.flow_id, run.value.version) {
            Ok(live) => live,
            Err(error @ HubError::NotFound { .. }) => return self.end_run(id, &run, Err(error.to_string())).await,
            Err(error) => return Err(error),
        };
        self.flow_step_of(id, run, &live).await
    }

    async fn flow_step_of(&self, id: RunId, run: Row<RunRecord>, live: &Arc<Live>) -> Result<Next> {
        let subject = subject_of(id, &run.value);
        let mut facts = Facts::new(self, &subject);
        let mut machine = run.value.machine.clone();
        let todo = match machine.advance(&live.program, &mut facts) {
            Err(failure) => return self.end_run(id, &run, Err(failure.0)).await,
            Ok(Advance::Done) => return self.end_run(id, &run, Ok(())).await,
            Ok(Advance::Do(todo)) => todo,
        };
        let redactor = self.flow_redactor(&subject)?;
        let mut attempt = Attempt {
            id,
            run: &run,
            machine,
            todo,
            subject: &subject,
            redactor: &redactor,
            began: tokio::time::Instant::now(),
            input: Value::Null,
        };
        if let Act::Wait(seconds) = todo.act {
            attempt.input = json!({ "seconds": seconds });
            return self.flow_wait(&attempt, seconds).await;
        }
        if let (Act::Handoff { waits: true, .. }, Some(intent)) = (&todo.act, &run.value.intent) {
            return self.flow_after_handoff(attempt, intent).await;
        }
        facts.within(&todo.items);
        let input = match &run.value.intent {
            Some(intent) => Ok(intent.clone()),
            None => render(&mut facts, &attempt.machine, todo),
        };
        let input = match input {
            Ok(input) => input,
            Err(error) => return self.settle_failure(attempt, &StepError::final_one(error)).await,
        };
        attempt.input = kept_input(&redactor, &todo.act, &input);
        match &todo.act {
            Act::Call(connection, action, _) => self.flow_call(attempt, live, connection, action, input).await,
            Act::Handoff { connection: Some(name), .. } => match self.pinned_connection(live, name) {
                Ok(id) => self.flow_inner_step(attempt, &with_connection(input, id)).await,
                Err(error) => self.settle_failure(attempt, &error).await,
            },
            _ => self.flow_inner_step(attempt, &input).await,
        }
    }

    /// The first time it is noted until when; the second time it is over.
    async fn flow_wait(&self, attempt: &Attempt<'_>, seconds: u64) -> Result<Next> {
        if attempt.run.value.state == RunState::Waiting {
            return self.settle_step(attempt.clone_for_retry(), Outcome::Done(json!({}))).await;
        }
        let until = self.now().plus_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000));
        self.settle_step(attempt.clone_for_retry(), Outcome::WaitUntil(until)).await
    }

    /// Something outside: noted, done, and what came of it noted. After a crash in between it is done again under the same key.
    async fn flow_call(&self, attempt: Attempt<'_>, live: &Live, connection: &str, action: &str, input: Value) -> Result<Next> {
        if attempt.run.value.intent.is_none() {
            return self.settle_step(attempt, Outcome::Intend(input)).await;
        }
        let key = format!("{}:{}", attempt.id, attempt.machine.done);
        let called = match self.pinned_connection(live, connection) {
            Ok(id) => self.connection_act(id, action, &input, &key).await.map_err(|error| StepError::of(&error)),
            Err(error) => Err(error),
        };
        match called {
            Ok(output) => self.settle_step(attempt, Outcome::Done(output)).await,
            Err(error) => self.settle_failure(attempt, &error).await,
        }
    }

    fn pinned_connection(&self, live: &Live, name: &str) -> std::result::Result<throughline_schemas::ConnectionId, StepError> {
        let Some(pin) = live.record.pins.get(name) else {
            return Err(StepError::final_one(format!("the connection {name:?} was not there when the flow was published")));
        };
        let view = self.connection(pin.connection_id).map_err(|error| StepError::of(&error))?.value;
        if view.plugin_version != pin.plugin_version || view.plugin != pin.plugin {
            return Err(StepError::final_one(format!(
                "the connection {name:?} runs {} {} now; version {} of the flow was published for {} {}: publish the flow again",
                view.plugin, view.plugin_version, live.version, pin.plugin, pin.plugin_version
            )));
        }
        Ok(pin.connection_id)
    }
}

/// What a step is given.
fn render(facts: &mut Facts<'_>, machine: &throughline_domain::flow::Machine, todo: &Todo) -> std::result::Result<Value, String> {
    let Some(template) = todo.act.template() else { return Ok(Value::Null) };
    template.render(&mut |expression| facts.evaluate(machine, expression))
}

pub(super) fn subject_of(id: RunId, run: &RunRecord) -> Subject {
    let flow = json!({ "id": run.flow_id, "version": run.version, "run_id": id });
    Subject { sequence: run.sequence, change: run.change.clone(), input: run.input.clone(), flow }
}

/// Nothing but the redactor of a run whose records may be gone.
pub(super) fn redactor_or_none(hub: &Hub, subject: &Subject) -> Redactor {
    hub.flow_redactor(subject).unwrap_or_default()
}
