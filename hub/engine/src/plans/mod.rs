//! Plans: a large run is read, matched and shown first; what somebody approves by its hash is then done, step by step.
//!
//! A step is one commit, together with the plan's place: a crash anywhere goes on behind the last step that was done. A step is only
//! done if what it would do now is what was shown. Live news is never held up: what it changes meanwhile is not overwritten, because
//! the steps about it do not hold any more.

mod apply;
mod commands;
mod foresee;
mod hold;
mod read;

use std::collections::HashMap;
use std::time::Duration;

use throughline_schemas::plan::{Plan, PlanKind, PlanState};
use throughline_schemas::{Change, ChangeKind, ConnectionId, PlanId, Timestamp};
use throughline_store::tables::{Plans, Tx, scan_rows};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Result;
use crate::hub::Hub;

/// A plan that cannot go on now is tried again after so long, doubled with every failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How to tell whoever carries plans out that there is something to do.
#[derive(Debug, Default)]
pub(crate) struct PlanSignal {
    pub(crate) changed: Notify,
}

/// Plans that failed in a row, and when they are tried again.
type Resting = HashMap<PlanId, (u32, Instant)>;

impl Hub {
    /// Carries plans out, one after the other, until the hub stops.
    pub(crate) async fn keep_plans(self) {
        let mut stopping = self.inner.stopping.listen();
        let work = async {
            let mut resting = Resting::new();
            loop {
                let wait = match self.carry_on(&mut resting).await {
                    Ok(wait) => wait,
                    Err(error) => {
                        tracing::error!(%error, "plans could not be carried on; it will be tried again");
                        FIRST_PAUSE
                    }
                };
                tokio::select! {
                    biased;
                    () = self.inner.plans.changed.notified() => {}
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

    /// Carries on with every plan that may go on; answers how long nothing will be due.
    async fn carry_on(&self, resting: &mut Resting) -> Result<Duration> {
        for plan in self.all_plans()? {
            if resting.get(&plan.id).is_some_and(|(_, until)| Instant::now() < *until) {
                continue;
            }
            let ended = match plan.state {
                PlanState::Reading if plan.kind == PlanKind::Backfill => self.read_for_plan(&plan).await,
                PlanState::Applying => self.apply_plan(&plan).await,
                _ => continue,
            };
            match ended {
                Ok(()) => drop(resting.remove(&plan.id)),
                Err(error) => {
                    let failures = resting.get(&plan.id).map_or(0, |(failures, _)| *failures).saturating_add(1);
                    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
                    tracing::warn!(plan = %plan.id, %error, "a plan cannot go on now; it will be tried again");
                    resting.insert(plan.id, (failures, Instant::now() + pause));
                }
            }
        }
        let next = resting.values().map(|(_, until)| until.saturating_duration_since(Instant::now())).min();
        Ok(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }

    /// Held deletions that were being written down when the hub broke off are no plan: the next listing holds them again.
    pub(crate) async fn drop_broken_plans(&self) -> Result<()> {
        for plan in self.all_plans()?.into_iter().filter(|plan| plan.kind == PlanKind::Deletes && plan.state == PlanState::Reading) {
            self.end_reading(&plan, PlanState::Cancelled, "the hub was stopped before it was whole").await?;
        }
        Ok(())
    }

    pub(crate) fn all_plans(&self) -> Result<Vec<Plan>> {
        let page = scan_rows::<Plans>(&self.inner.store, &[], None, usize::MAX)?;
        Ok(page.rows.into_iter().map(|(_, row)| row.value).collect())
    }
}

/// A plan goes into another state; whoever follows the log is told.
fn enter_state(tx: &mut Tx, plan: &mut Plan, state: PlanState, now: Timestamp) -> Result<()> {
    plan.state = state;
    if !state.is_open() {
        plan.ended_at = Some(now);
    }
    tx.put::<Plans>(&plan.id, plan)?;
    log(tx, plan.connection_id, plan.id, state, now)
}

fn log(tx: &mut Tx, connection: ConnectionId, plan: PlanId, state: PlanState, now: Timestamp) -> Result<()> {
    let data = serde_json::json!({ "connection": connection, "plan": plan, "state": state });
    Ok(tx.log(&Change { data, ..Change::new(ChangeKind::ConnectionChanged, now) })?)
}
