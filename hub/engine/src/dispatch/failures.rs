//! What a failed write leads to, by the class of its error.

use throughline_domain::sync::retry::{Verdict, backoff_ms, verdict};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Found};
use throughline_schemas::manifest::Entity;

use super::Dispatcher;
use super::write::{Planned, is_blind};
use crate::error::Result;
use crate::ingest::IngestBatch;
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
        // Who broke or was ended in the middle of a create does not know whether there is a record now.
        let in_doubt = is_blind(entity, planned.link.as_ref()) && matches!(error.class, ErrorClass::Bug | ErrorClass::Cancelled);
        match verdict {
            Verdict::RetryAt { .. } if error.class == ErrorClass::Cancelled => {
                self.retry(waiting, attempts, CANCELLED_MS, in_doubt, Some(error)).await
            }
            Verdict::RetryAt { .. } if in_doubt => self.give_up_in_doubt(waiting, error).await,
            Verdict::RetryAt { delay_ms } => self.retry(waiting, attempt, delay_ms, false, Some(error)).await,
            Verdict::PauseBudget { delay_ms } => {
                self.pause(delay_ms);
                self.retry(waiting, attempts, delay_ms, false, Some(error)).await
            }
            Verdict::ReadBack | Verdict::Reread => self.look_again(entity, planned, attempt, error).await,
            Verdict::DeadLetter => self.give_up(waiting, error).await,
            Verdict::PauseConnection { reason } => {
                self.retry(waiting, attempt, 0, false, Some(error)).await?;
                self.pause_connection(reason);
                Ok(())
            }
            Verdict::Drop => self.gone(entity, &planned).await,
            Verdict::QuarantineField { field } => self.quarantine(planned, &field, error).await,
        }
    }

    /// The outcome is not known, or somebody was faster: read the record back, take it in, compare again.
    async fn look_again(&self, entity: &Entity, planned: Planned, attempt: u32, error: ConnectorError) -> Result<()> {
        let backoff = backoff_ms(attempt, self.jitter(), &self.task.hub.inner.options.retry);
        let waiting = &planned.waiting;
        let Some(link) = &planned.link else {
            // A create: harmless to repeat where the silo knows our key, else only a person can tell.
            if is_blind(entity, None) {
                return self.give_up_in_doubt(waiting, error).await;
            }
            return self.retry(waiting, attempt, backoff, false, Some(error)).await;
        };
        // Who lost a race goes on at once; a silo that leaves its answers open gets time.
        let delay = if error.class == ErrorClass::Conflict { 0 } else { backoff };
        match self.task.connector.get(&entity.name, std::slice::from_ref(&link.key)).await.map(|found| found.into_iter().next()) {
            Ok(Some(Found::Record(item))) => {
                self.task.hub.ingest(self.task.id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await?;
                self.retry(waiting, attempt, delay, false, Some(error)).await
            }
            Ok(Some(Found::Gone)) => self.follow(&planned, None).await,
            Ok(Some(Found::MovedTo(key))) => self.follow(&planned, Some(key)).await,
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
