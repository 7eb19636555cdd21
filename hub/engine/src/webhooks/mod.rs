//! Outbound webhooks: tells endpoints of changes, signed, at least once, from the durable change log.
//!
//! Each endpoint has a cursor of its own and a task of its own. What fails is written down as pending before the cursor moves past it,
//! so that one event that an endpoint cannot take holds up no other. A crash makes an endpoint hear again of what was under way, under
//! the same id.

mod commands;
mod settle;
mod views;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use throughline_schemas::WebhookId;
use throughline_store::tables::{WebhookRecord, Webhooks, leading_id, scan_rows};
use tokio::sync::Notify;

pub use views::{NewWebhook, Replay, Replayed, SecretView, WebhookAttemptView, WebhookMade, WebhookPatch, WebhookView};

use crate::error::Result;
use crate::hub::Hub;

/// How the tasks of endpoints are told that there is news for them.
pub(crate) type Wakes = HashMap<WebhookId, Arc<Notify>>;

impl Hub {
    pub(crate) fn all_webhooks(&self) -> Result<Vec<(WebhookId, WebhookRecord)>> {
        let page = scan_rows::<Webhooks>(&self.inner.store, &[], None, usize::MAX)?;
        Ok(page.rows.into_iter().filter_map(|(key, row)| Some((WebhookId::from_bytes(leading_id(&key)?), row.value))).collect())
    }

    /// Starts the tasks of all endpoints.
    pub(crate) fn start_webhooks(&self) -> Result<()> {
        for (id, _) in self.all_webhooks()? {
            self.start_webhook(id);
        }
        Ok(())
    }

    /// Starts an endpoint's task; it ends by itself when the endpoint is deleted.
    pub(crate) fn start_webhook(&self, id: WebhookId) {
        let mut wakes = self.inner.webhook_wakes.lock().unwrap_or_else(PoisonError::into_inner);
        if wakes.contains_key(&id) {
            return;
        }
        let wake = Arc::new(Notify::new());
        wakes.insert(id, Arc::clone(&wake));
        drop(wakes);
        let hub = self.clone();
        self.spawn_background(async move {
            worker::run(hub.clone(), id, wake).await;
            hub.inner.webhook_wakes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// Something was asked of an endpoint's task.
    pub(crate) fn wake_webhook(&self, id: WebhookId) {
        if let Some(wake) = self.inner.webhook_wakes.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            wake.notify_one();
        }
    }
}

/// What names an event in `webhook-id`: without a full stop, which would make the signed text ambiguous.
pub(crate) fn event_id(sequence: u64) -> String {
    format!("evt_{sequence}")
}
