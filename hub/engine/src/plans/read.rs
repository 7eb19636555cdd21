//! Reads what a silo holds, page by page, and notes what taking it in would do. Nothing is taken in.

use std::sync::Arc;

use throughline_domain::connector::Connector;
use throughline_domain::sync::plan::count;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, Page};
use throughline_schemas::plan::{Plan, PlanAction, PlanEffect, PlanState, PlanStep};
use throughline_store::tables::{Connections, PlanSteps, Plans, Tx, read};

use super::enter_state;
use super::foresee::{at_fault, live_link};
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::{ConnectionContext, write_state};

/// Items asked for at once: a page is noted in one commit.
const PAGE: u32 = 50;

/// What came of noting a page.
enum Noted {
    More,
    Over,
}

impl Hub {
    /// Reads on until the silo has no more, the plan is cancelled or the silo fails.
    pub(super) async fn read_for_plan(&self, plan: &Plan) -> Result<()> {
        let Some(row) = read::<Connections>(&self.inner.store, &plan.connection_id)? else { return Ok(()) };
        let running = self.open_now(plan.connection_id);
        let connector = match &running {
            Some(connector) => Arc::clone(connector),
            None => self.open_connector(plan.connection_id, &row.value)?,
        };
        let ended = self.read_pages(plan, connector.as_ref()).await;
        if running.is_none() {
            connector.stop().await;
        }
        match ended {
            Err(HubError::Connector(error)) if is_final(&error) => self.end_reading(plan, PlanState::Failed, &error.to_string()).await,
            Err(HubError::TooLarge { detail }) => self.end_reading(plan, PlanState::Failed, &detail).await,
            ended => ended,
        }
    }

    async fn read_pages(&self, plan: &Plan, connector: &dyn Connector) -> Result<()> {
        let context = self.connection_context(plan.connection_id)?;
        let mut cursor = plan.cursor.clone();
        loop {
            let called = connector.read(&plan.entity, cursor.as_ref(), PAGE).await?;
            if called.value.next.is_some() && called.value.next == cursor {
                let detail = format!("reading {} does not get on: the next page is the same as this one", plan.entity);
                return Err(ConnectorError::new(ErrorClass::Bug, detail).into());
            }
            cursor.clone_from(&called.value.next);
            match self.note_page(plan, &context, &called.value, &called.state).await? {
                Noted::More => {}
                Noted::Over => return Ok(()),
            }
        }
    }

    async fn note_page(
        &self,
        plan: &Plan,
        context: &ConnectionContext,
        page: &Page,
        state: &[(String, Option<serde_json::Value>)],
    ) -> Result<Noted> {
        let steps = page.items.iter().map(|item| self.foreseen(context, item)).collect::<Result<Vec<_>>>()?;
        self.transact(|tx| {
            let Some(row) = tx.get::<Plans>(&plan.id)?.filter(|row| row.value.state == PlanState::Reading) else {
                return Ok(Noted::Over);
            };
            let mut plan = row.value;
            for step in &steps {
                let number = plan.steps;
                if count(&mut plan, step) {
                    tx.put::<PlanSteps>(&(plan.id, number), step)?;
                }
            }
            write_state(tx, plan.connection_id, state)?;
            if let Some(next) = &page.next {
                plan.cursor = Some(next.clone());
                tx.put::<Plans>(&plan.id, &plan)?;
                return Ok(Noted::More);
            }
            plan.cursor = Some(page.checkpoint.clone());
            let next = if plan.steps == 0 { PlanState::Done } else { PlanState::Waiting };
            enter_state(tx, &mut plan, next, self.now())?;
            Ok(Noted::Over)
        })
        .await
    }

    fn foreseen(&self, context: &ConnectionContext, item: &Item) -> Result<PlanStep> {
        // Never committed.
        let mut tx = Tx::new(&self.inner.store);
        let link_version = live_link(&mut tx, context, item)?.map(|(version, _)| version);
        let effect = match self.foresee(&mut tx, context, item) {
            Ok(effect) => effect,
            Err(error) => match at_fault(&error) {
                Some(detail) => PlanEffect { action: PlanAction::Skip, canonical_id: None, changes: Vec::new(), detail: Some(detail) },
                None => return Err(error),
            },
        };
        Ok(PlanStep { key: item.key.clone(), effect, link_version, item: item.clone(), outcome: None })
    }

    pub(super) async fn end_reading(&self, plan: &Plan, state: PlanState, because: &str) -> Result<()> {
        self.transact(|tx| {
            let Some(row) = tx.get::<Plans>(&plan.id)?.filter(|row| row.value.state == PlanState::Reading) else { return Ok(()) };
            let mut plan = Plan { because: Some(because.to_owned()), ..row.value };
            enter_state(tx, &mut plan, state, self.now())
        })
        .await
    }
}

/// Whether asking again is of no use.
const fn is_final(error: &ConnectorError) -> bool {
    use ErrorClass::{Bug, Config, Gone, InvalidRecord, Permission, Unsupported};
    matches!(error.class, Bug | Config | Gone | InvalidRecord | Permission | Unsupported)
}
