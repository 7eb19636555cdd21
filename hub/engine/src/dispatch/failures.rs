//! What a failed write leads to, by the class of its error.

use throughline_domain::sync::retry::{Verdict, backoff_ms, verdict};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Found};
use throughline_schemas::manifest::Entity;

use super::Dispatcher;
use super::write::{Planned, is_blind};
use crate::error::Result;
use crate::metrics::Counter;

/// The pause before a call that was cancelled, although nothing is being stopped, is made again.
const CANCELLED_MS: u64 = 1000;

impl Dispatcher {
    pub(super) async fn failed_write(&mut self, entity: &Entity, planned: Planned, error: ConnectorError) -> Result<()> {
        self.task.hub.inner.counters.add(Counter::DeliveryFailures, self.task.id, 1);
        let waiting = &planned.waiting;
        let (attempts, attempt) = (waiting.delivery.attempts, waiting.delivery.attempts + 1);
        let age = u64::try_from(self.task.hub.now().since(waiting.delivery.since)).unwrap_or(0);
        let verdict = verdict(&error, attempt, age, self.jitter(), &self.task.hub.inner.options.retry);
        tracing::warn!(connection = %self.task.id, delivery = %waiting.key.name, %error, ?verdict, "write failed");
        // Whoever broke, was ended or answered with a failure in the middle may have done it all the same.
        let in_doubt = leaves_doubt(error.class) && self.task.hub.inner.options.protections.intents;
        match verdict {
            Verdict::RetryAt { .. } if error.class == ErrorClass::Cancelled => {
                self.retry(waiting, attempts, CANCELLED_MS, in_doubt, Some(error)).await
            }
            Verdict::RetryAt { delay_ms } => self.retry(waiting, attempt, delay_ms, in_doubt, Some(error)).await,
            Verdict::PauseBudget { delay_ms } => {
                self.pause(delay_ms);
                self.retry(waiting, attempts, delay_ms, false, Some(error)).await
            }
            Verdict::ReadBack => {
                let delay = backoff_ms(attempt, self.jitter(), &self.task.hub.inner.options.retry);
                self.retry(waiting, attempt, delay, in_doubt, Some(error)).await
            }
            Verdict::Reread => self.look_again(entity, planned, attempt, error).await,
            // No later change makes a record that may be there already.
            Verdict::DeadLetter if in_doubt && is_blind(entity, planned.link.as_ref()) => self.give_up_in_doubt(waiting, error).await,
            Verdict::DeadLetter => self.give_up(waiting, error).await,
            Verdict::PauseConnection { reason } => {
                self.retry(waiting, attempt, 0, false, Some(error)).await?;
                self.pause_connection(reason);
                Ok(())
            }
            Verdict::Drop => self.gone(entity, &planned).await,
            Verdict::QuarantineField { field } if self.task.hub.inner.options.protections.quarantine => {
                self.quarantine(planned, &field, error).await
            }
            Verdict::QuarantineField { .. } => self.give_up(waiting, error).await,
        }
    }

    /// Somebody was faster: read the record, take it in, compare again.
    async fn look_again(&self, entity: &Entity, planned: Planned, attempt: u32, error: ConnectorError) -> Result<()> {
        let backoff = backoff_ms(attempt, self.jitter(), &self.task.hub.inner.options.retry);
        // It was refused, so nothing of it is on its way: what the silo holds now stands against our value, not after it.
        let Some(waiting) = self.clear_of_doubt(planned.waiting).await? else { return Ok(()) };
        let waiting = &waiting;
        let Some(link) = &planned.link else { return self.retry(waiting, attempt, backoff, false, Some(error)).await };
        let context = self.task.hub.connection_context(self.task.id)?;
        let found = self.task.hub.look_at(&context, self.task.connector.as_ref(), &entity.name, std::slice::from_ref(&link.key)).await;
        match found.map(|found| found.into_iter().next()) {
            Ok(Some(Found::Record(_) | Found::MovedTo(_))) => self.retry(waiting, attempt, 0, false, Some(error)).await,
            Ok(Some(Found::Gone)) => self.forget(waiting).await,
            Ok(None) => self.retry(waiting, attempt, backoff, false, Some(error)).await,
            Err(again) => self.retry(waiting, attempt, backoff, false, Some(again)).await,
        }
    }

    /// A record that is not there any more may have been merged into another.
    async fn gone(&self, entity: &Entity, planned: &Planned) -> Result<()> {
        let Some(link) = &planned.link else { return self.follow(planned, None).await };
        let found = self.task.connector.get(&entity.name, std::slice::from_ref(&link.key)).await;
        match found.map(|found| found.into_iter().next()) {
            Ok(Some(Found::MovedTo(key))) if key != link.key => self.follow(planned, Some(key)).await,
            _ => self.follow(planned, None).await,
        }
    }
}

/// Whether an error leaves it open whether the write took effect. A silo that answers with a failure has been seen to have done what it
/// was asked (a helpdesk that answers 500 because its mail could not be sent, and keeps the ticket).
const fn leaves_doubt(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Transient | ErrorClass::Ambiguous | ErrorClass::Bug | ErrorClass::Cancelled)
}
