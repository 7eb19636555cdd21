//! Connections: made, changed, checked, paused, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use throughline_domain::connector::{Connector, InstalledPlugin};
use throughline_domain::extract::{ExtractRule, Extractor};
use throughline_schemas::connector::{CheckReport, ConnectorError, ErrorClass, HttpRequest, HttpResponse};
use throughline_schemas::sync::{EntitySync, Link};
use throughline_schemas::{Change, ChangeKind, ConnectionId};
use throughline_store::tables::{
    ConnectionRecord, Connections, Cursors, Deliveries, DispatchCursor, DispatchCursors, Links, PluginState, SealedSecret, Secrets, Tx,
    leading_id, read, scan_rows, trailing_name,
};

use super::{expect_version, page, page_of};
use crate::HubError;
use crate::clock::{fresh, random};
use crate::error::{FieldError, Result};
use crate::hub::{Hub, PageOf, Paging, Stored};
use crate::ingest::IngestBatch;
use crate::views::{ConnectionPatch, ConnectionView, CursorView, HealthState, HealthView, NewConnection};

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
            created_at: now,
            updated_at: now,
        };
        self.validate(None, &plugin, &record)?;
        let id = ConnectionId::from_bytes(fresh());
        let secrets: BTreeMap<String, Option<String>> = new.secrets.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let head = self.head();
        self.transact(|tx| {
            tx.put::<Connections>(&id, &record)?;
            // A new connection is told of what changes from now on.
            tx.put::<DispatchCursors>(&id, &DispatchCursor { sequence: head })?;
            self.put_secrets(tx, id, &secrets)?;
            Ok(tx.log(&changed(self, id))?)
        })
        .await?;
        // Opening proves grants and config together; what cannot even be opened is not kept.
        if let Err(error) = self.open_connector(id, &record) {
            self.forget(id).await?;
            return Err(error);
        }
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

    /// Changes a connection and starts it anew.
    pub async fn update_connection(&self, id: ConnectionId, expect: u64, patch: ConnectionPatch) -> Result<Stored<ConnectionView>> {
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        expect_version(row.version, expect)?;
        let before = row.value.clone();
        let record = apply(row.value, &patch, self.now());
        let plugin = self.plugin(&record.plugin, Some(&record.plugin_version)).map_err(|error| at("/plugin_version", &error))?;
        self.validate(Some(id), &plugin, &record)?;
        self.transact(|tx| {
            let current = tx.get::<Connections>(&id)?.ok_or_else(|| HubError::not_found("connection", id))?;
            expect_version(current.version, expect)?;
            tx.put::<Connections>(&id, &record)?;
            self.put_secrets(tx, id, &patch.secrets)?;
            Ok(tx.log(&changed(self, id))?)
        })
        .await?;
        if let Err(error) = self.open_connector(id, &record) {
            // The old configuration worked, the new one cannot even be opened: what was there stays.
            self.transact(|tx| Ok(tx.put::<Connections>(&id, &before)?)).await?;
            return Err(error);
        }
        self.stop_connection(id).await;
        if !record.paused {
            self.learn_and_start(id).await?;
        }
        self.connection(id)
    }

    /// Stops and removes a connection with its secrets, cursors and links. What it brought stays.
    pub async fn delete_connection(&self, id: ConnectionId, expect: u64) -> Result<()> {
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        expect_version(row.version, expect)?;
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
        if let Some(known) = row.value.account_id.as_ref().filter(|known| **known != report.account_id) {
            let detail = format!(
                "these credentials are of account {:?}, but the connection was made for {known:?}; make a new connection",
                report.account_id
            );
            return Err(ConnectorError::new(ErrorClass::Config, detail).into());
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
        self.set_paused(id, true, None).await?;
        self.stop_connection(id).await;
        self.connection(id)
    }

    /// Starts a stopped connection.
    pub async fn resume_connection(&self, id: ConnectionId) -> Result<Stored<ConnectionView>> {
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
            Some(running) => running.poll_now.notify_waiters(),
            None => return Err(HubError::conflict("the connection is paused; resume it first")),
        }
        Ok(())
    }

    /// How a connection is.
    pub async fn connection_health(&self, id: ConnectionId) -> Result<HealthView> {
        let view = self.connection(id)?.value;
        let waiting = scan_rows::<Deliveries>(&self.inner.store, id.as_bytes(), None, 10_000)?.rows.len() as u64;
        let seen = read::<DispatchCursors>(&self.inner.store, &id)?.map_or(0, |row| row.value.sequence);
        let running = self.inner.running.lock().await;
        let snapshot = running.get(&id).map(|running| running.health.snapshot(self.now()));
        let state = match &snapshot {
            Some(snapshot) => snapshot.state,
            None if view.paused_because.is_some() => HealthState::NeedsAttention,
            None => HealthState::Paused,
        };
        let last_error = snapshot.as_ref().and_then(|snapshot| snapshot.last_error.clone());
        Ok(HealthView {
            state,
            last_error_at: last_error.as_ref().map(|(_, at)| *at),
            last_error: last_error
                .map(|(error, _)| error)
                .or_else(|| view.paused_because.map(|because| ConnectorError::new(ErrorClass::Config, because))),
            last_success_at: snapshot.as_ref().and_then(|snapshot| snapshot.last_success),
            next_attempt_at: snapshot.as_ref().and_then(|snapshot| snapshot.next_attempt),
            deliveries_waiting: waiting,
            dispatch_lag: self.head().saturating_sub(seen),
        })
    }

    /// Where a connection's walks go on.
    pub fn connection_cursors(&self, id: ConnectionId) -> Result<Vec<CursorView>> {
        self.connection(id)?;
        let page = scan_rows::<Cursors>(&self.inner.store, id.as_bytes(), None, 1000)?;
        let views = page.rows.into_iter().map(|(key, row)| CursorView {
            entity: trailing_name(&key).unwrap_or_default(),
            cursor: row.value.cursor,
            at: row.value.at,
        });
        Ok(views.collect())
    }

    /// A connection's links with their shadows.
    pub fn connection_links(&self, id: ConnectionId, paging: Paging) -> Result<PageOf<Link>> {
        self.connection(id)?;
        page_of(page::<Links>(&self.inner.store, id.as_bytes(), &paging)?, |_, link, _| Ok(Some(link)))
    }

    /// Hands what a silo posted to its plugin. The response goes out only when what came of it is durable.
    pub async fn inbound_hook(&self, id: ConnectionId, request: HttpRequest) -> Result<HttpResponse> {
        let connector = self.open_now(id).ok_or_else(|| HubError::not_found("connection", id))?;
        if !connector.plugin().exports("webhook") {
            return Err(HubError::not_found("hook", id));
        }
        let called = connector.webhook(request).await?;
        let (response, items) = called.value;
        if !items.is_empty() || !called.state.is_empty() {
            self.ingest(id, IngestBatch { items, cursor: None, state: called.state }).await?;
        }
        Ok(response)
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

    /// Stops a connection because only a person can help, from one of its own tasks.
    pub(crate) fn pause_because(&self, id: ConnectionId, reason: String) {
        let hub = self.clone();
        // Detached on purpose: it ends the very task that asks for it.
        tokio::spawn(async move {
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
        if let Err(error) = self.check_connection(id).await {
            tracing::warn!(connection = %id, %error, "the connection's check failed; it is started all the same");
        }
        self.start_connection(id).await
    }

    async fn set_paused(&self, id: ConnectionId, paused: bool, because: Option<String>) -> Result<()> {
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

    fn put_secrets(&self, tx: &mut Tx, id: ConnectionId, secrets: &BTreeMap<String, Option<String>>) -> Result<()> {
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

    async fn forget(&self, id: ConnectionId) -> Result<()> {
        let store = self.inner.store.clone();
        self.transact(|tx| {
            for (key, _) in scan_rows::<Secrets>(&store, id.as_bytes(), None, usize::MAX)?.rows {
                tx.delete::<Secrets>(&(id, trailing_name(&key).unwrap_or_default()));
            }
            for (key, _) in scan_rows::<Cursors>(&store, id.as_bytes(), None, usize::MAX)?.rows {
                tx.delete::<Cursors>(&(id, trailing_name(&key).unwrap_or_default()));
            }
            for (key, _) in scan_rows::<PluginState>(&store, id.as_bytes(), None, usize::MAX)?.rows {
                tx.delete::<PluginState>(&(id, trailing_name(&key).unwrap_or_default()));
            }
            tx.delete::<DispatchCursors>(&id);
            tx.delete::<Connections>(&id);
            Ok(tx.log(&changed(self, id))?)
        })
        .await?;
        self.forget_links(id).await?;
        self.forget_context(id);
        Ok(())
    }

    /// Links and waiting deliveries can be many: a thousand a commit.
    async fn forget_links(&self, id: ConnectionId) -> Result<()> {
        loop {
            let links = scan_rows::<Links>(&self.inner.store, id.as_bytes(), None, 1000)?.rows;
            let deliveries = scan_rows::<Deliveries>(&self.inner.store, id.as_bytes(), None, 1000)?.rows;
            if links.is_empty() && deliveries.is_empty() {
                return Ok(());
            }
            let mut tx = Tx::new(&self.inner.store);
            for (_, row) in links {
                let link = row.value;
                if let Some(bytes) = crate::ingest::canonical_bytes(&link.canonical_id) {
                    tx.delete::<throughline_store::tables::LinksByCanonical>(&(bytes, id, link.entity.clone()));
                }
                tx.delete::<Links>(&(id, link.entity, link.key));
            }
            for (key, _) in deliveries {
                let name = trailing_name(&key).unwrap_or_default();
                tx.delete::<Deliveries>(&throughline_store::tables::DeliveryKey { connection: id, name });
            }
            tx.commit().await?;
        }
    }

    fn validate(&self, own: Option<ConnectionId>, plugin: &InstalledPlugin, record: &ConnectionRecord) -> Result<()> {
        let mut errors = Vec::new();
        if record.name.trim().is_empty() || record.name.len() > 100 {
            errors.push(FieldError { pointer: "/name".to_owned(), detail: "a name of 1 to 100 characters is needed".to_owned() });
        }
        if self.all_connections()?.iter().any(|(id, other)| Some(*id) != own && other.name == record.name) {
            errors.push(FieldError {
                pointer: "/name".to_owned(),
                detail: format!("another connection is called {:?} already", record.name),
            });
        }
        errors.extend(schema_errors(&plugin.manifest.config, &record.config, "/config"));
        errors.extend(extract_errors(&record.extract));
        errors.extend(grant_errors(plugin, record));
        errors.extend(sync_errors(plugin, &record.sync));
        if let Some(region) = &record.region
            && (region.len() != 2 || !region.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            let detail = format!("{region:?} is no ISO 3166 region; write for instance \"GB\"");
            errors.push(FieldError { pointer: "/region".to_owned(), detail });
        }
        if errors.is_empty() { Ok(()) } else { Err(HubError::Invalid { errors }) }
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
            created_at: record.created_at,
            updated_at: record.updated_at,
        })
    }
}

fn at(pointer: &str, error: &HubError) -> HubError {
    HubError::invalid(pointer, error.to_string())
}

fn changed(hub: &Hub, id: ConnectionId) -> Change {
    Change { data: serde_json::json!({ "connection": id }), ..Change::new(ChangeKind::ConnectionChanged, hub.now()) }
}

fn apply(mut record: ConnectionRecord, patch: &ConnectionPatch, now: throughline_schemas::Timestamp) -> ConnectionRecord {
    let patch = patch.clone();
    record.name = patch.name.unwrap_or(record.name);
    record.plugin_version = patch.plugin_version.unwrap_or(record.plugin_version);
    record.config = patch.config.unwrap_or(record.config);
    record.grants = patch.grants.unwrap_or(record.grants);
    record.sync = patch.sync.unwrap_or(record.sync);
    record.extract = patch.extract.unwrap_or(record.extract);
    record.brand = patch.brand.unwrap_or(record.brand);
    record.region = patch.region.or(record.region);
    record.updated_at = now;
    record
}

fn check_schema(schema: &Value, value: &Value, pointer: &str) -> Result<()> {
    let errors = schema_errors(schema, value, pointer);
    if errors.is_empty() { Ok(()) } else { Err(HubError::Invalid { errors }) }
}

/// Where a value breaks a JSON Schema 2020-12.
pub(crate) fn schema_errors(schema: &Value, value: &Value, pointer: &str) -> Vec<FieldError> {
    match jsonschema::draft202012::new(schema) {
        Ok(validator) => validator
            .iter_errors(value)
            .map(|error| FieldError { pointer: format!("{pointer}{}", error.instance_path()), detail: error.to_string() })
            .collect(),
        Err(error) => vec![FieldError { pointer: pointer.to_owned(), detail: format!("the plugin's own schema is not usable: {error}") }],
    }
}

fn extract_errors(rules: &[ExtractRule]) -> Vec<FieldError> {
    let broken = rules.iter().enumerate().filter_map(|(index, rule)| Some((index, Extractor::new(rule.clone()).err()?)));
    broken.map(|(index, detail)| FieldError { pointer: format!("/extract/{index}/pattern"), detail }).collect()
}

fn grant_errors(plugin: &InstalledPlugin, record: &ConnectionRecord) -> Vec<FieldError> {
    let asked = &plugin.manifest.capabilities.hosts;
    let beyond = record.grants.hosts.iter().enumerate().filter(|(_, host)| !asked.contains(host));
    beyond
        .map(|(index, host)| FieldError {
            pointer: format!("/grants/hosts/{index}"),
            detail: format!("the plugin does not ask for {host:?}; it asks for: {}", asked.join(", ")),
        })
        .collect()
}

fn sync_errors(plugin: &InstalledPlugin, sync: &BTreeMap<String, EntitySync>) -> Vec<FieldError> {
    let known = &plugin.manifest.entities;
    // A plugin without entities of its own learns them from its config, when it is checked.
    if known.is_empty() {
        return Vec::new();
    }
    let unknown = sync.keys().filter(|name| !known.iter().any(|entity| entity.name == **name));
    unknown
        .map(|name| FieldError {
            pointer: format!("/sync/{name}"),
            detail: format!(
                "the plugin has no such entity; it has: {}",
                known.iter().map(|entity| entity.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        })
        .collect()
}
