//! What can be asked of plans: begin one, look at it, approve it, cancel it.

use std::collections::BTreeMap;

use throughline_domain::sync::plan::{NotApproved, may_approve};
use throughline_schemas::plan::{Plan, PlanKind, PlanState, PlanStep};
use throughline_schemas::{ConnectionId, PlanId};
use throughline_store::tables::{Connections, PlanSteps, Plans, forget_rows, read};

use super::enter_state;
use crate::HubError;
use crate::clock::fresh;
use crate::commands::{page, page_of};
use crate::error::Result;
use crate::hub::{Hub, PageOf, Paging};

/// Steps forgotten in one commit.
const AT_ONCE: usize = 200;

impl Hub {
    /// Begins to read everything that a silo holds of an entity. Nothing is taken in before the plan that comes of it is approved.
    pub async fn begin_backfill(&self, id: ConnectionId, entity: &str) -> Result<Plan> {
        let record = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?.value;
        let context = self.connection_context(id)?;
        let plugin = self.plugin(&record.plugin, Some(&record.plugin_version))?;
        let readable: Vec<&str> = context.entities.values().filter(|entity| entity.readable).map(|entity| entity.name.as_str()).collect();
        if !plugin.exports("source") || !readable.contains(&entity) {
            let known = if readable.is_empty() { "nothing".to_owned() } else { readable.join(", ") };
            return Err(HubError::invalid("/entity", format!("{entity:?} cannot be read; this connection reads: {known}")));
        }
        if let Some(open) = self.plans_of(id, entity, PlanKind::Backfill)?.into_iter().find(|plan| plan.state.is_open()) {
            let detail = format!("{} for {entity} is not over yet: approve or cancel it first", open.id);
            return Err(HubError::conflict(detail));
        }
        let plan = self.new_plan(id, entity, PlanKind::Backfill);
        self.forget_old_steps(&plan).await?;
        self.transact(|tx| enter_state(tx, &mut plan.clone(), PlanState::Reading, self.now())).await?;
        self.inner.plans.changed.notify_one();
        Ok(plan)
    }

    /// Plans, oldest first; of one connection, or all.
    pub fn plans(&self, connection: Option<ConnectionId>, state: Option<PlanState>, paging: Paging) -> Result<PageOf<Plan>> {
        page_of(page::<Plans>(&self.inner.store, &[], &paging)?, |_, plan, _| {
            let wanted = connection.is_none_or(|id| plan.connection_id == id) && state.is_none_or(|state| plan.state == state);
            Ok(Some(plan).filter(|_| wanted))
        })
    }

    /// One plan.
    pub fn plan(&self, id: PlanId) -> Result<Plan> {
        Ok(read::<Plans>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("plan", id))?.value)
    }

    /// A plan's steps, in order, with what became of them.
    pub fn plan_steps(&self, id: PlanId, paging: Paging) -> Result<PageOf<PlanStep>> {
        self.plan(id)?;
        page_of(page::<PlanSteps>(&self.inner.store, id.as_bytes(), &paging)?, |_, step, _| Ok(Some(step)))
    }

    /// Has exactly this plan carried out.
    pub async fn approve_plan(&self, id: PlanId, hash: &str, by: &str) -> Result<Plan> {
        let plan = self
            .transact(|tx| {
                let mut plan = tx.get::<Plans>(&id)?.ok_or_else(|| HubError::not_found("plan", id))?.value;
                may_approve(&plan, hash).map_err(|why| match why {
                    NotApproved::OtherHash => HubError::conflict(format!("the plan's hash is {}: look at it again", plan.hash)),
                    NotApproved::NotWaiting(state) => HubError::conflict(format!("the plan is {}, not waiting", name_of(state))),
                })?;
                plan.approved_at = Some(self.now());
                plan.approved_by = Some(by.to_owned());
                enter_state(tx, &mut plan, PlanState::Applying, self.now())?;
                Ok(plan)
            })
            .await?;
        self.inner.plans.changed.notify_one();
        Ok(plan)
    }

    /// Nothing more of this plan is done. What was done stays.
    pub async fn cancel_plan(&self, id: PlanId, by: &str) -> Result<Plan> {
        self.transact(|tx| {
            let mut plan = tx.get::<Plans>(&id)?.ok_or_else(|| HubError::not_found("plan", id))?.value;
            if !plan.state.is_open() {
                return Err(HubError::conflict(format!("the plan is over: it is {}", name_of(plan.state))));
            }
            plan.because = Some(format!("cancelled by {by}"));
            enter_state(tx, &mut plan, PlanState::Cancelled, self.now())?;
            Ok(plan)
        })
        .await
    }

    pub(super) fn plans_of(&self, connection: ConnectionId, entity: &str, kind: PlanKind) -> Result<Vec<Plan>> {
        let mut plans = self.all_plans()?;
        plans.retain(|plan| plan.connection_id == connection && plan.entity == entity && plan.kind == kind);
        Ok(plans)
    }

    pub(super) fn new_plan(&self, connection_id: ConnectionId, entity: &str, kind: PlanKind) -> Plan {
        Plan {
            id: PlanId::from_bytes(fresh()),
            connection_id,
            entity: entity.to_owned(),
            kind,
            state: PlanState::Reading,
            hash: String::new(),
            because: None,
            counts: BTreeMap::new(),
            samples: Vec::new(),
            steps: 0,
            done: 0,
            applied: 0,
            changed: 0,
            failed: 0,
            cursor: None,
            created_at: self.now(),
            approved_at: None,
            approved_by: None,
            ended_at: None,
        }
    }

    /// Of earlier plans for the same, what was decided stays; step by step nobody asks any more.
    pub(super) async fn forget_old_steps(&self, plan: &Plan) -> Result<()> {
        for old in self.plans_of(plan.connection_id, &plan.entity, plan.kind)?.into_iter().filter(|old| !old.state.is_open()) {
            forget_rows::<PlanSteps>(&self.inner.store, old.id.as_bytes(), AT_ONCE).await?;
        }
        Ok(())
    }

    /// The plans of a connection that is deleted go with it.
    pub(crate) async fn forget_plans(&self, connection: ConnectionId) -> Result<()> {
        for plan in self.all_plans()?.into_iter().filter(|plan| plan.connection_id == connection) {
            self.transact(|tx| {
                tx.delete::<Plans>(&plan.id);
                Ok(())
            })
            .await?;
            forget_rows::<PlanSteps>(&self.inner.store, plan.id.as_bytes(), AT_ONCE).await?;
        }
        Ok(())
    }
}

fn name_of(state: PlanState) -> String {
    serde_json::to_value(state).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
