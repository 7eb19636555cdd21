//! Carries out what a handoff wants of a silo, once: a call that may have been placed is never placed again.
//!
//! The intent is in the store before the plugin is asked. Whatever breaks off in between leaves a mark there, and a marked one is given
//! up for a person to see: a customer who is not called can be called, one who was called twice cannot be uncalled.

use throughline_domain::handoff::Step;
use throughline_schemas::connector::ConnectorError;
use throughline_schemas::{EnquiryId, Evidence, HandoffId};
use throughline_store::tables::{Deliveries, Delivery, DeliveryWork, Handoffs, Tx};

use super::{Dispatcher, Waiting};
use crate::HubError;
use crate::error::Result;
use crate::metrics::Counter;

impl Dispatcher {
    pub(super) async fn act(&mut self, mut waiting: Waiting) -> Result<()> {
        let DeliveryWork::Act { handoff, action, input } = &waiting.delivery.work else { return Ok(()) };
        let (handoff, action, input) = (*handoff, action.clone(), input.clone());
        if waiting.delivery.in_doubt {
            return self.give_up(&waiting, Self::broken_off()).await;
        }
        let Some(version) = self.mark_under_way(&waiting, handoff).await? else { return Ok(()) };
        waiting.version = version;
        match self.task.connector.act(&action, &input, &handoff.to_string()).await {
            Ok(called) => {
                self.insist(|tx| {
                    tx.delete::<Deliveries>(&waiting.key);
                    crate::ingest::write_state(tx, self.task.id, &called.state)
                })
                .await?;
                self.task.hub.inner.counters.add(Counter::Sent, self.task.id, 1);
                // What comes of it is told by the silo's own events: the phone rings, somebody answers, nobody does.
                self.note_success();
                Ok(())
            }
            Err(error) => self.not_done(waiting, error).await,
        }
    }

    /// Notes that it is about to be done, and that the handoff still wants it, in one commit; none if there is nothing to be done.
    async fn mark_under_way(&self, waiting: &Waiting, handoff: HandoffId) -> Result<Option<u64>> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let wanted = tx.get::<Handoffs>(&handoff)?.is_some_and(|row| row.value.state.is_open() && row.value.deadline > self.task.hub.now());
        let row = tx.get::<Deliveries>(&waiting.key)?;
        if row.is_none() {
            return Ok(None);
        }
        match wanted {
            true => tx.put::<Deliveries>(&waiting.key, &Delivery { in_doubt: true, ..waiting.delivery.clone() })?,
            false => tx.delete::<Deliveries>(&waiting.key),
        }
        match tx.commit().await {
            Ok(receipt) => Ok(wanted.then_some(receipt.sequence)),
            // Somebody answered the handoff this very moment: the next round looks again.
            Err(throughline_store::tables::TableError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn not_done(&mut self, waiting: Waiting, error: ConnectorError) -> Result<()> {
        // A callback was not late before its time.
        let since = waiting.delivery.since.max(waiting.delivery.not_before);
        self.not_repeatable(waiting, error, since).await
    }

    /// The handoff whose work was given up comes to nothing; answers whose it is.
    pub(super) fn fail_handoff(&self, tx: &mut Tx, handoff: HandoffId, error: &ConnectorError) -> Result<Option<EnquiryId>> {
        let Some(row) = tx.get::<Handoffs>(&handoff)? else { return Ok(None) };
        let enquiry = row.value.enquiry_id;
        let step = Step::Fail { why: error.message.chars().take(300).collect() };
        let why = Evidence { rule: "the silo could not".to_owned(), detail: error.to_string().chars().take(300).collect() };
        match self.task.hub.take_step(&mut self.task.hub.people(tx), handoff, &step, None, why) {
            // It was over before.
            Ok(_) | Err(HubError::Conflict { .. }) => Ok(Some(enquiry)),
            Err(error) => Err(error),
        }
    }
}
