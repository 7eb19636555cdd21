//! Sends messages through a silo, once: what may have been sent is never sent again without a person's word.

use throughline_domain::sync::retry::{Verdict, verdict};
use throughline_schemas::connector::{ConnectorError, ErrorClass, OutboundMessage, Written};
use throughline_schemas::interaction::DeliveryState;
use throughline_schemas::manifest::Canonical;
use throughline_schemas::{Change, ChangeKind, InteractionId, Timestamp};
use throughline_store::tables::{Deliveries, Delivery, DeliveryWork, Inbox, InboxEntry, Interactions, Tx};

use super::{Dispatcher, Waiting};
use crate::error::Result;
use crate::ingest::ConnectionContext;
use crate::metrics::Counter;

impl Dispatcher {
    pub(super) async fn send(&mut self, mut waiting: Waiting) -> Result<()> {
        let DeliveryWork::Send { interaction, message } = &waiting.delivery.work else { return Ok(()) };
        let (interaction, mut message) = (*interaction, message.clone());
        if waiting.delivery.in_doubt {
            return self.give_up(&waiting, Self::broken_off()).await;
        }
        message.to_name = self.task.hub.name_of_recipient(interaction, &message)?;
        let under_way = Delivery { in_doubt: true, ..waiting.delivery.clone() };
        let mut tx = Tx::new(&self.task.hub.inner.store);
        tx.put::<Deliveries>(&waiting.key, &under_way)?;
        waiting.version = tx.commit().await?.sequence;
        match self.task.connector.send(&message, &interaction.to_string()).await {
            Ok(called) => self.sent(&waiting, interaction, &message, called.value, called.state).await,
            Err(error) => self.not_sent(waiting, error).await,
        }
    }

    async fn sent(
        &mut self,
        waiting: &Waiting,
        interaction: InteractionId,
        message: &OutboundMessage,
        written: Written,
        state: Vec<(String, Option<serde_json::Value>)>,
    ) -> Result<()> {
        let context = self.task.hub.connection_context(self.task.id)?;
        self.insist(|tx| {
            tx.delete::<Deliveries>(&waiting.key);
            crate::ingest::write_state(tx, self.task.id, &state)?;
            self.note_sent(tx, &context, interaction, message, &written)
        })
        .await?;
        self.task.hub.inner.counters.add(Counter::Sent, self.task.id, 1);
        self.note_success();
        Ok(())
    }

    fn note_sent(
        &self,
        tx: &mut Tx,
        context: &ConnectionContext,
        interaction: InteractionId,
        message: &OutboundMessage,
        written: &Written,
    ) -> Result<()> {
        let Some(mut row) = tx.get::<Interactions>(&interaction)? else { return Ok(()) };
        row.value.delivery = Some(DeliveryState::Sent);
        row.value.external_id = if written.key.is_empty() { message.message_id.clone().unwrap_or_default() } else { written.key.clone() };
        row.value.version.clone_from(&written.version);
        tx.put::<Interactions>(&interaction, &row.value)?;
        // The silo will tell of it as well: by the key it gave, it is this one.
        let mut of_things = context.entities.values().filter(|entity| entity.canonical == Canonical::Interaction);
        if let (Some(entity), None, false) = (of_things.next(), of_things.next(), written.key.is_empty()) {
            let key = (context.id, entity.name.clone(), written.key.clone());
            if tx.get::<Inbox>(&key)?.is_none() {
                tx.put::<Inbox>(&key, &InboxEntry { interaction, version: written.version.clone() })?;
            }
        }
        let change = Change {
            caused_by: Some(self.task.id),
            profile_id: row.value.profile_id,
            enquiry_id: row.value.enquiry_id,
            conversation_id: Some(row.value.conversation_id),
            interaction_id: Some(interaction),
            data: serde_json::json!({ "delivery": "sent" }),
            ..Change::new(ChangeKind::InteractionUpdated, self.task.hub.now())
        };
        Ok(tx.log(&change)?)
    }

    async fn not_sent(&mut self, waiting: Waiting, error: ConnectorError) -> Result<()> {
        let since = waiting.delivery.since;
        self.not_repeatable(waiting, error, since).await
    }

    /// What a failure leads to of what must not be done twice, a message or a call; `since`: from when on it is late.
    pub(super) async fn not_repeatable(&mut self, waiting: Waiting, error: ConnectorError, since: Timestamp) -> Result<()> {
        self.note_failure(&error);
        let attempt = waiting.delivery.attempts + 1;
        let age = u64::try_from(self.task.hub.now().since(since)).unwrap_or(0);
        // A plugin that broke or was ended in the middle does not know whether it was done.
        if matches!(error.class, ErrorClass::Bug | ErrorClass::Cancelled | ErrorClass::Ambiguous) {
            return self.give_up(&waiting, error).await;
        }
        match verdict(&error, attempt, age, self.jitter(), &self.task.hub.inner.options.retry) {
            Verdict::RetryAt { delay_ms } => self.retry(&waiting, attempt, delay_ms, false, Some(error)).await,
            Verdict::PauseBudget { delay_ms } => {
                self.pause(delay_ms);
                self.retry(&waiting, waiting.delivery.attempts, delay_ms, false, Some(error)).await
            }
            Verdict::PauseConnection { reason } => {
                self.retry(&waiting, attempt, 0, false, Some(error)).await?;
                self.pause_connection(reason);
                Ok(())
            }
            Verdict::ReadBack | Verdict::Reread | Verdict::DeadLetter | Verdict::Drop | Verdict::QuarantineField { .. } => {
                self.give_up(&waiting, error).await
            }
        }
    }

    /// Stops the connection until a person has looked at it; what waits is sent when it is resumed.
    pub(super) fn pause_connection(&mut self, reason: String) {
        // The stop comes from elsewhere and takes a moment.
        self.pause(60_000);
        self.task.hub.pause_because(self.task.id, reason);
    }
}
