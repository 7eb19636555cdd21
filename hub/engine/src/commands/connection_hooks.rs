//! A connection's webhook: what its silo posts to us, and the registration that makes it do so.

use serde_json::Value;
use throughline_domain::connector::Connector;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{HttpRequest, HttpResponse};
use throughline_store::tables::{Connections, read};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::IngestBatch;
use crate::views::HookView;

impl Hub {
    /// Hands what a silo posted to its plugin. The response goes out only when what came of it is durable.
    pub async fn inbound_hook(&self, id: ConnectionId, request: HttpRequest) -> Result<HttpResponse> {
        let connector = self.open_now(id).ok_or_else(|| HubError::not_found("connection", id))?;
        if !connector.plugin().exports("webhook") {
            return Err(HubError::not_found("hook", id));
        }
        let called = connector.webhook(request).await?;
        let (response, items) = called.value;
        // Only what the plugin took for its silo's.
        if let Some(health) = self.health_of(id).filter(|_| response.status < 300) {
            health.heard_of();
        }
        if !items.is_empty() || !called.state.is_empty() {
            self.ingest(id, IngestBatch { items, cursor: None, state: called.state }).await?;
        }
        Ok(response)
    }

    /// Registers our address at a connection's silo now, and says how that went.
    pub async fn ensure_hook(&self, id: ConnectionId) -> Result<HookView> {
        let (connector, hook) = self.hook_of(id).await?;
        self.register_hook(id, &*connector, &hook).await
    }

    /// What the silo says is registered there, as the plugin lists it.
    pub async fn list_hooks(&self, id: ConnectionId) -> Result<Value> {
        let (connector, _) = self.hook_of(id).await?;
        Ok(connector.webhook_list().await?)
    }

    /// Has the silo forget our address. It is registered again when the connection is started anew, or when asked for.
    pub async fn remove_hook(&self, id: ConnectionId) -> Result<()> {
        let (connector, hook) = self.hook_of(id).await?;
        self.withdraw_hook(id, &*connector, &hook).await
    }

    async fn hook_of(&self, id: ConnectionId) -> Result<(std::sync::Arc<dyn Connector>, std::sync::Arc<crate::supervisor::Hook>)> {
        if read::<Connections>(&self.inner.store, &id)?.is_none() {
            return Err(HubError::not_found("connection", id));
        }
        let found = self.inner.running.lock().await.get(&id).map(|running| (running.connector(), std::sync::Arc::clone(&running.hook)));
        let (connector, hook) = found.ok_or_else(|| HubError::conflict("the connection is paused; resume it first"))?;
        if !connector.plugin().exports("webhook") {
            let plugin = &connector.plugin().manifest.name;
            return Err(HubError::conflict(format!("the plugin {plugin} takes no webhooks")));
        }
        Ok((connector, hook))
    }
}
