//! What is asked of a running connection from outside: its plugin's actions and choices, how it is.

use serde_json::Value;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use throughline_store::tables::{Connections, Deliveries, DispatchCursors, count_rows, read};

use super::connection_rules::check_schema;
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::IngestBatch;
use crate::views::{HealthState, HealthView};

/// Waiting deliveries are counted up to here: health is asked for often.
const COUNTED: usize = 1000;

impl Hub {
    /// How a connection is.
    pub async fn connection_health(&self, id: ConnectionId) -> Result<HealthView> {
        let record = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?.value;
        let waiting = count_rows::<Deliveries>(&self.inner.store, id.as_bytes(), COUNTED)? as u64;
        let running = self.inner.running.lock().await.get(&id).map(|running| (std::sync::Arc::clone(&running.health), running.hook.view()));
        let (running, webhook) = running.unzip();
        let snapshot = running.as_ref().map(|health| health.snapshot(self.now()));
        let seen = match &running {
            Some(health) => health.dispatched_to(),
            None => read::<DispatchCursors>(&self.inner.store, &id)?.map_or(0, |row| row.value.sequence),
        };
        let state = match &snapshot {
            Some(snapshot) => snapshot.state,
            None if record.paused_because.is_some() => HealthState::NeedsAttention,
            None => HealthState::Paused,
        };
        let last_error = snapshot.as_ref().and_then(|snapshot| snapshot.last_error.clone());
        Ok(HealthView {
            state,
            last_error_at: last_error.as_ref().map(|(_, at)| *at),
            last_error: last_error
                .map(|(error, _)| error)
                .or_else(|| record.paused_because.map(|because| ConnectorError::new(ErrorClass::Config, because))),
            last_success_at: snapshot.as_ref().and_then(|snapshot| snapshot.last_success),
            next_attempt_at: snapshot.as_ref().and_then(|snapshot| snapshot.next_attempt),
            deliveries_waiting: waiting,
            dispatch_lag: self.head().saturating_sub(seen),
            webhook: webhook.flatten(),
        })
    }

    /// Carries out one of the plugin's actions.
    pub async fn connection_act(&self, id: ConnectionId, action: &str, input: &Value, idempotency_key: &str) -> Result<Value> {
        let connector = self.open_now(id).ok_or_else(|| HubError::conflict("the connection is paused or does not exist"))?;
        let declared = connector.plugin().manifest.actions.get(action).ok_or_else(|| {
            let known: Vec<&str> = connector.plugin().manifest.actions.keys().map(String::as_str).collect();
            HubError::invalid("/action", format!("the plugin has no action {action:?}; it has: {}", known.join(", ")))
        })?;
        check_schema(&declared.input, input, "/input")?;
        let called = connector.act(action, input, idempotency_key).await?;
        self.ingest(id, IngestBatch { state: called.state, ..IngestBatch::default() }).await?;
        Ok(called.value)
    }

    /// Choices for a config field.
    pub async fn connection_options(&self, id: ConnectionId, field: &str, query: &str) -> Result<Value> {
        let connector = self.open_now(id).ok_or_else(|| HubError::conflict("the connection is paused or does not exist"))?;
        Ok(connector.options(field, query).await?)
    }
}
