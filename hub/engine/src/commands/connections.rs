//! Connections: made, changed, checked, paused, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use throughline_domain::connector::{Connector, Secret};
use throughline_schemas::connector::CheckReport;
use throughline_schemas::sync::Link;
use throughline_schemas::{Change, ChangeKind, ConnectionId};
use throughline_store::tables::{
    ConnectionRecord, Connections, DispatchCursor, DispatchCursors, Links, SealedSecret, Secrets, Tx, leading_id, read, scan_rows,
    trailing_name,
};

use super::{expect_version, page, page_of};
use crate::HubError;
use crate::clock::{fresh, random};
use crate::error::Result;
use crate::hub::{Hub, PageOf, Paging, Stored};
use crate::views::{ConnectionView, NewConnection};

impl Hub {
    /// Makes a connection and, unless it is to be paused, starts it.
    pub async fn create_connection(&self, new: NewConnection) -> Result<Stored<ConnectionView>> {
        let plugin = self.plugin(&new.plugin, new.plugin_version.as_deref()).map_err(|error| at("/plugin", &error))?;
        let now = self.now();
        let record = ConnectionRecord {
            name: new.name,
            plugin: plugin.manifest.name.clone(),
            plugin_version: plugin.manifest.version.clone(),
            config: if new.config.is_null() { Value::Object(serde_json::Map::new()) } else { new.config },
            grants: new.grants,
            sync: new.sync,
            extract: new.extract,
            brand: new.brand,
            region: new.region,
            paused: new.paused,
            paused_because: None,
            account_id: None,
            entities: Vec::new(),
            pending_update: None,
            created_at: now,
            updated_at: now,
        };
        self.validate(None, &plugin, &record)?;
        let id = ConnectionId::from_bytes(fresh());
        // Opening proves grants and config together; what cannot even be opened is not kept.
        let opened = new.secrets.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect();
        drop(self.open_with(id, &record, opened)?);
        let secrets: BTreeMap<String, Option<String>> = new.secrets.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let head = self.head();
        let _lifecycle = self.lifecycle(id).await;
        self.transact(|tx| {
            tx.put::<Connections>(&id, &record)?;
            // A new connection is told of what changes from now on.
            tx.put::<DispatchCursors>(&id, &DispatchCursor { sequence: head })?;
            self.put_secrets(tx, id, &secrets)?;
            Ok(tx.log(&changed(self, id))?)
        })
        .await?;
        if !record.paused {
            self.learn_and_start(id).await?;
        }
        self.connection(id)
    }

    /// One connection.
    pub fn connection(&self, id: ConnectionId) -> Result<Stored<ConnectionView>> {
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        Ok(Stored { value: self.show(id, row.value)?, version: row.version })
    }

    /// All connections, oldest first.
    pub fn connections(&self, paging: Paging) -> Result<PageOf<Stored<ConnectionView>>> {
        page_of(page::<Connections>(&self.inner.store, &[], &paging)?, |key, record, version| {
            let id = leading_id(key).map(ConnectionId::from_bytes);
            id.map(|id| Ok(Stored { value: self.show(id, record)?, version })).transpose()
        })
    }

    /// Stops and removes a connection with everything that is about it alone. What it brought stays.
    pub async fn delete_connection(&self, id: ConnectionId, expect: u64) -> Result<()> {
        let _lifecycle = self.lifecycle(id).await;
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        expect_version(row.version, expect)?;
        match self.open_now(id).map_or_else(|| self.open_connector(id, &row.value), Ok) {
            Ok(connector) => self.take_leave(id, &*connector).await,
            Err(error) => tracing::warn!(connection = %id, %error, "a connection that cannot be opened takes no leave of its silo"),
        }
        // Broken off in the middle, it is a paused connection that can be deleted again.
        self.set_paused(id, true, None).await?;
        self.stop_connection(id).await;
        self.forget(id).await
    }

    /// Asks the connector whether config and credentials are good, and keeps what it says of the account and its entities.
    pub async fn check_connection(&self, id: ConnectionId) -> Result<CheckReport> {
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        let connector = match self.open_now(id) {
            Some(connector) => connector,
            None => self.open_connector(id, &row.value)?,
        };
        let report = connector.check().await?;
        if let Some(health) = self.health_of(id) {
            health.checked(self.now());
        }
        if let Some(known) = row.value.account_id.as_ref().filter(|known| **known != report.account_id) {
            let detail = format!(
                "these credentials are of account {:?}, but the connection was made for {known:?}; make a new connection",
                report.account_id
            );
            return Err(HubError::conflict(detail));
        }
        self.transact(|tx| {
            let Some(mut row) = tx.get::<Connections>(&id)? else { return Err(HubError::not_found("connection", id)) };
            if row.value.account_id.as_ref() != Some(&report.account_id) || row.value.entities != report.entities {
                row.value.account_id = Some(report.account_id.clone());
                row.value.entities = report.entities.clone();
                tx.put::<Connections>(&id, &row.value)?;
            }
            Ok(())
        })
        .await?;
        self.forget_context(id);
        Ok(report)
    }

    /// Stops a connection.
    pub async fn pause_connection(&self, id: ConnectionId) -> Result<Stored<ConnectionView>> {
        let _lifecycle = self.lifecycle(id).await;
        self.set_paused(id, true, None).await?;
        self.stop_connection(id).await;
        self.connection(id)
    }

    /// Starts a stopped connection.
    pub async fn resume_connection(&self, id: ConnectionId) -> Result<Stored<ConnectionView>> {
        let _lifecycle = self.lifecycle(id).await;
        self.set_paused(id, false, None).await?;
        // One that waits for its next attempt is to try now.
        self.stop_connection(id).await;
        self.learn_and_start(id).await?;
        self.connection(id)
    }

    /// Polls all entities of a connection now.
    pub async fn sync_connection(&self, id: ConnectionId) -> Result<()> {
        self.connection(id)?;
        match self.inner.running.lock().await.get(&id) {
            Some(running) => {
                running.poll_now.set(());
            }
            None => return Err(HubError::conflict("the connection is paused; resume it first")),
        }
        Ok(())
    }

    /// A connection's links with their shadows.
    pub fn connection_links(&self, id: ConnectionId, paging: Paging) -> Result<PageOf<Link>> {
        self.connection(id)?;
        page_of(page::<Links>(&self.inner.store, id.as_bytes(), &paging)?, |_, link, _| Ok(Some(link)))
    }

    /// Stops a connection because only a person can help, from one of its own tasks.
    pub(crate) fn pause_because(&self, id: ConnectionId, reason: String) {
        let hub = self.clone();
        // Detached on purpose: it ends the very task that asks for it.
        tokio::spawn(async move {
            let _lifecycle = hub.lifecycle(id).await;
            if !hub.inner.running.lock().await.contains_key(&id) {
                // Somebody else stopped it, or deleted it, meanwhile.
                return;
            }
            tracing::error!(connection = %id, %reason, "connection paused: it needs attention");
            if let Err(error) = hub.set_paused(id, true, Some(reason)).await {
                tracing::error!(connection = %id, %error, "the pause could not be noted");
            }
            hub.stop_connection(id).await;
        });
    }

    pub(crate) fn open_now(&self, id: ConnectionId) -> Option<Arc<dyn Connector>> {
        self.inner.open.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).cloned()
    }

    /// Learns the entities of a config-driven connector, then starts it. A silo that cannot be reached now is tried later.
    pub(crate) async fn learn_and_start(&self, id: ConnectionId) -> Result<()> {
        match self.check_connection(id).await {
            // Another account's records must never meet the links that were made for this one.
            Err(HubError::Conflict { detail }) => {
                tracing::error!(connection = %id, %detail, "connection not started");
                return self.set_paused(id, true, Some(detail)).await;
            }
            Err(error) => tracing::warn!(connection = %id, %error, "the connection's check failed; it is started all the same"),
            Ok(_) => {}
        }
        self.start_connection(id).await
    }

    pub(super) async fn set_paused(&self, id: ConnectionId, paused: bool, because: Option<String>) -> Result<()> {
        self.transact(|tx| {
            let mut row = tx.get::<Connections>(&id)?.ok_or_else(|| HubError::not_found("connection", id))?;
            if row.value.paused != paused || row.value.paused_because != because {
                row.value.paused = paused;
                row.value.paused_because.clone_from(&because);
                tx.put::<Connections>(&id, &row.value)?;
                tx.log(&changed(self, id))?;
            }
            Ok(())
        })
        .await
    }

    pub(super) fn put_secrets(&self, tx: &mut Tx, id: ConnectionId, secrets: &BTreeMap<String, Option<String>>) -> Result<()> {
        for (name, value) in secrets {
            let key = (id, name.clone());
            match value {
                Some(value) => {
                    let sealed = self.inner.options.master_key.seal(&format!("{id}/{name}"), value, random());
                    tx.put::<Secrets>(&key, &SealedSecret { sealed, set_at: self.now() })?;
                }
                None => tx.delete::<Secrets>(&key),
            }
        }
        Ok(())
    }

    fn show(&self, id: ConnectionId, record: ConnectionRecord) -> Result<ConnectionView> {
        let secrets = scan_rows::<Secrets>(&self.inner.store, id.as_bytes(), None, 1000)?;
        let secret_names = secrets.rows.iter().filter_map(|(key, _)| trailing_name(key)).collect();
        Ok(ConnectionView {
            id,
            name: record.name,
            plugin: record.plugin,
            plugin_version: record.plugin_version,
            config: record.config,
            secret_names,
            grants: record.grants,
            sync: record.sync,
            extract: record.extract,
            brand: record.brand,
            region: record.region,
            paused: record.paused,
            paused_because: record.paused_because,
            account_id: record.account_id,
            hook_path: format!("/hooks/{id}"),
            entities: record.entities,
            pending_update: record.pending_update,
            created_at: record.created_at,
            updated_at: record.updated_at,
        })
    }
}

pub(super) fn at(pointer: &str, error: &HubError) -> HubError {
    HubError::invalid(pointer, error.to_string())
}

fn changed(hub: &Hub, id: ConnectionId) -> Change {
    Change { data: serde_json::json!({ "connection": id }), ..Change::new(ChangeKind::ConnectionChanged, hub.now()) }
}
