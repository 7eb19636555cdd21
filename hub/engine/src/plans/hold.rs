//! Deletions that are too many to be believed unseen wait as a plan.

use serde_json::json;
use throughline_domain::sync::plan::count;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{Item, ItemKind};
use throughline_schemas::plan::{Plan, PlanAction, PlanEffect, PlanKind, PlanState, PlanStep};
use throughline_store::tables::{Links, PlanSteps, Plans, read};

use super::enter_state;
use crate::error::Result;
use crate::hub::Hub;

/// Steps noted in one commit.
const AT_ONCE: usize = 200;

impl Hub {
    /// Holds these deletions until somebody approves them. The same ones are held once, and not again when they were cancelled; others
    /// take their place.
    pub(crate) async fn hold_deletes(&self, connection: ConnectionId, entity: &str, keys: &[String], because: String) -> Result<()> {
        let mut plan = self.new_plan(connection, entity, PlanKind::Deletes);
        plan.because = Some(because);
        let mut steps = Vec::new();
        for key in keys {
            let row = read::<Links>(&self.inner.store, &(connection, entity.to_owned(), key.clone()))?;
            let Some(row) = row.filter(|row| row.value.deleted_at.is_none()) else { continue };
            let item =
                Item { kind: ItemKind::Deleted, entity: entity.to_owned(), key: key.clone(), version: None, at_ms: None, data: json!({}) };
            let effect =
                PlanEffect { action: PlanAction::Delete, canonical_id: Some(row.value.canonical_id), changes: Vec::new(), detail: None };
            let step = PlanStep { key: key.clone(), effect, link_version: Some(row.version), item, outcome: None };
            count(&mut plan, &step);
            steps.push(step);
        }
        let earlier = self.plans_of(connection, entity, PlanKind::Deletes)?;
        let same = |earlier: &&Plan| earlier.hash == plan.hash && earlier.state != PlanState::Failed && earlier.state != PlanState::Reading;
        if steps.is_empty() || earlier.iter().any(|earlier| same(&earlier)) {
            return Ok(());
        }
        self.forget_old_steps(&plan).await?;
        self.write_held(&plan, &steps).await?;
        tracing::warn!(%connection, entity, plan = %plan.id, because = ?plan.because, "deletions wait for approval");
        let others = earlier.iter().filter(|plan| plan.state == PlanState::Waiting);
        for other in others {
            self.supersede(other, &plan).await?;
        }
        Ok(())
    }

    async fn write_held(&self, plan: &Plan, steps: &[PlanStep]) -> Result<()> {
        self.transact(|tx| Ok(tx.put::<Plans>(&plan.id, plan)?)).await?;
        for (index, steps) in steps.chunks(AT_ONCE).enumerate() {
            self.transact(|tx| {
                for (number, step) in steps.iter().enumerate() {
                    tx.put::<PlanSteps>(&(plan.id, (index * AT_ONCE + number) as u64), step)?;
                }
                Ok(())
            })
            .await?;
        }
        self.transact(|tx| enter_state(tx, &mut plan.clone(), PlanState::Waiting, self.now())).await
    }

    async fn supersede(&self, old: &Plan, by: &Plan) -> Result<()> {
        self.transact(|tx| {
            let Some(row) = tx.get::<Plans>(&old.id)?.filter(|row| row.value.state == PlanState::Waiting) else { return Ok(()) };
            let mut old = Plan { because: Some(format!("{} has taken its place", by.id)), ..row.value };
            enter_state(tx, &mut old, PlanState::Cancelled, self.now())
        })
        .await
    }
}
