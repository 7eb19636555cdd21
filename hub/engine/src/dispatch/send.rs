//! Sends messages through a silo, once: what may have been sent is never sent again without a person's word.

use throughline_domain::sync::retry::{Verdict, verdict};
use throughline_schemas::connector::{ConnectorError, ErrorClass, OutboundMessage, Written};
use throughline_schemas::interaction::DeliveryState;
use throughline_schemas::{Change, ChangeKind, InteractionId};
use throughline_store::tables::{Deliveries, Delivery, DeliveryKey, DeliveryWork, Interactions, Tx};

use super::Dispatcher;
use crate::error::Result;
use crate::metrics::Counter;

impl Dispatcher {
    pub(super) async fn send(&mut self, key: DeliveryKey, delivery: Delivery) -> Result<()> {
        let DeliveryWork::Send { interaction, message } = &delivery.work else { return Ok(()) };
        let (interaction, message) = (*interaction, message.clone());
        if delivery.in_doubt {
            let error = ConnectorError::new(ErrorClass::Ambiguous, "the hub stopped while this was being sent: it may have gone out");
            return self.give_up_sending(key, delivery, interaction, error).await;
        }
        let mut tx = Tx::new(&self.task.hub.inner.store);
        tx.put::<Deliveries>(&key, &Delivery { in_doubt: true, ..delivery.clone() })?;
        tx.commit().await?;
        match self.task.connector.send(&message, &interaction.to_string()).await {
            Ok(called) => self.sent(key, interaction, &message, called.value).await,
            Err(error) => self.not_sent(key, delivery, interaction, error).await,
        }
    }

    async fn sent(&self, key: DeliveryKey, interaction: InteractionId, message: &OutboundMessage, written: Written) -> Result<()> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        tx.delete::<Deliveries>(&key);
        if let Some(mut row) = tx.get::<Interactions>(&interaction)? {
            row.value.delivery = Some(DeliveryState::Sent);
            row.value.external_id = if written.key.is_empty() { message.message_id.clone().unwrap_or_default() } else { written.key };
            row.value.version = written.version;
            tx.put::<Interactions>(&interaction, &row.value)?;
            let change = Change {
                caused_by: Some(self.task.id),
                profile_id: row.value.profile_id,
                enquiry_id: row.value.enquiry_id,
                conversation_id: Some(row.value.conversation_id),
                interaction_id: Some(interaction),
                data: serde_json::json!({ "delivery": "sent" }),
                ..Change::new(ChangeKind::InteractionUpdated, self.task.hub.now())
            };
            tx.log(&change)?;
        }
        tx.commit().await?;
        self.task.hub.inner.counters.add(Counter::Sent, self.task.id, 1);
        self.task.health.worked(self.task.hub.now());
        Ok(())
    }

    async fn not_sent(&mut self, key: DeliveryKey, delivery: Delivery, interaction: InteractionId, error: ConnectorError) -> Result<()> {
        self.note_failure(&error);
        let attempt = delivery.attempts + 1;
        let age = u64::try_from(self.task.hub.now().since(delivery.since)).unwrap_or(0);
        match verdict(&error, attempt, age, self.jitter(), &self.task.hub.inner.options.retry) {
            Verdict::RetryAt { delay_ms } => self.not_yet(key, delivery, attempt, delay_ms, error).await,
            Verdict::PauseBudget { delay_ms } => {
                self.budget_paused_until = self.task.hub.now().plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX));
                let attempts = delivery.attempts;
                self.not_yet(key, delivery, attempts, delay_ms, error).await
            }
            Verdict::PauseConnection { reason } => {
                self.not_yet(key, delivery, attempt, 60_000, error).await?;
                self.task.hub.pause_because(self.task.id, reason);
                Ok(())
            }
            Verdict::ReadBack | Verdict::Reread | Verdict::DeadLetter | Verdict::Drop | Verdict::QuarantineField { .. } => {
                self.give_up_sending(key, delivery, interaction, error).await
            }
        }
    }

    /// It surely did not go out, so it may be sent again.
    async fn not_yet(&self, key: DeliveryKey, delivery: Delivery, attempts: u32, delay_ms: u64, error: ConnectorError) -> Result<()> {
        let not_before = self.task.hub.now().plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX));
        let mut tx = Tx::new(&self.task.hub.inner.store);
        tx.put::<Deliveries>(&key, &Delivery { attempts, not_before, in_doubt: false, last_error: Some(error), ..delivery })?;
        tx.commit().await?;
        Ok(())
    }

    async fn give_up_sending(&self, key: DeliveryKey, delivery: Delivery, interaction: InteractionId, error: ConnectorError) -> Result<()> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        if let Some(mut row) = tx.get::<Interactions>(&interaction)? {
            row.value.delivery = Some(DeliveryState::Failed);
            tx.put::<Interactions>(&interaction, &row.value)?;
            tx.commit().await?;
        }
        self.give_up(key, delivery, error).await
    }
}
