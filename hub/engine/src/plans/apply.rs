//! Carries an approved plan out: each step with the plan's place in one commit, at a capped rate.

use std::time::Duration;

use throughline_domain::sync::plan::still_holds;
use throughline_schemas::ChangeOrigin;
use throughline_schemas::plan::{Plan, PlanAction, PlanKind, PlanState, PlanStep, StepOutcome};
use throughline_store::tables::{Cursors, PlanSteps, Plans, StoredCursor, TableError, Tx, read};

use super::enter_state;
use super::foresee::{at_fault, live_link};
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::ConnectionContext;

/// How often a step is decided anew because somebody else changed what it rests on.
const RETRIES: usize = 16;

/// Whether there is more to do.
#[derive(PartialEq, Eq)]
enum After {
    More,
    Over,
}

impl Hub {
    /// Goes on until the plan is done or cancelled.
    pub(super) async fn apply_plan(&self, plan: &Plan) -> Result<()> {
        let context = self.connection_context(plan.connection_id)?;
        let pause = Duration::from_secs(1) / self.inner.options.plan_steps_per_second.max(1);
        let mut number = plan.done;
        while self.apply_step(&context, plan, number).await? == After::More {
            number += 1;
            tokio::time::sleep(pause).await;
        }
        self.wake_dispatcher(plan.connection_id);
        Ok(())
    }

    async fn apply_step(&self, context: &ConnectionContext, plan: &Plan, number: u64) -> Result<After> {
        let key = (plan.id, number);
        let Some(step) = read::<PlanSteps>(&self.inner.store, &key)?.map(|row| row.value) else {
            return Err(HubError::Internal(format!("step {number} of {} is not there", plan.id)));
        };
        for _ in 0..RETRIES {
            let _lanes = self.inner.lanes.enter(context.lanes_of(&step.item)).await;
            let (tx, outcome) = self.decide_step(context, plan, &step)?;
            let after = match self.note_step(tx, plan, number, &step, outcome).await {
                Err(HubError::TooLarge { detail }) => {
                    let outcome = StepOutcome::Failed { detail };
                    self.note_step(Tx::new(&self.inner.store), plan, number, &step, outcome).await
                }
                settled => settled,
            }?;
            if let Some(after) = after {
                self.inner.likeness.changed.notify_one();
                return Ok(after);
            }
        }
        Err(HubError::Busy)
    }

    /// The step's own writes, or none if it does not hold any more.
    fn decide_step(&self, context: &ConnectionContext, plan: &Plan, step: &PlanStep) -> Result<(Tx, StepOutcome)> {
        let mut tx = Tx::new(&self.inner.store);
        if plan.kind == PlanKind::Backfill {
            tx.of_origin(ChangeOrigin::Backfill);
        }
        let nothing = || Tx::new(&self.inner.store);
        if live_link(&mut tx, context, &step.item)?.map(|(version, _)| version) != step.link_version {
            return Ok((nothing(), StepOutcome::Changed));
        }
        match self.foresee(&mut tx, context, &step.item) {
            Ok(now) if step.effect.action == PlanAction::Delete || still_holds(&step.effect, &now) => Ok((tx, StepOutcome::Applied)),
            Ok(_) => Ok((nothing(), StepOutcome::Changed)),
            Err(error) => match at_fault(&error) {
                Some(detail) => Ok((nothing(), StepOutcome::Failed { detail })),
                None => Err(error),
            },
        }
    }

    /// Commits a step with the plan's place; none if it is to be decided again.
    async fn note_step(&self, mut tx: Tx, plan: &Plan, number: u64, step: &PlanStep, outcome: StepOutcome) -> Result<Option<After>> {
        let still = |plan: &Plan| plan.state == PlanState::Applying && plan.done == number;
        let Some(mut plan) = tx.get::<Plans>(&plan.id)?.map(|row| row.value).filter(still) else { return Ok(Some(After::Over)) };
        match &outcome {
            StepOutcome::Applied => plan.applied += 1,
            StepOutcome::Changed => plan.changed += 1,
            StepOutcome::Failed { .. } => plan.failed += 1,
        }
        plan.done += 1;
        tx.put::<PlanSteps>(&(plan.id, number), &PlanStep { outcome: Some(outcome), ..step.clone() })?;
        let over = plan.done >= plan.steps;
        if over {
            enter_state(&mut tx, &mut plan, PlanState::Done, self.now())?;
            self.set_watermark(&mut tx, &plan)?;
        } else {
            tx.put::<Plans>(&plan.id, &plan)?;
        }
        match tx.commit().await {
            Ok(_) => Ok(Some(if over { After::Over } else { After::More })),
            Err(TableError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What was read for the plan need not be read again, if the entity was never read before.
    fn set_watermark(&self, tx: &mut Tx, plan: &Plan) -> Result<()> {
        let Some(cursor) = plan.cursor.clone().filter(|_| plan.kind == PlanKind::Backfill) else { return Ok(()) };
        let key = (plan.connection_id, plan.entity.clone());
        if tx.get::<Cursors>(&key)?.is_none() {
            tx.put::<Cursors>(&key, &StoredCursor { cursor, at: plan.created_at })?;
        }
        Ok(())
    }
}
