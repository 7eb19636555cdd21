//! Changing a connection: its settings, and the version of its plugin.
//!
//! When the version changes, the plugin's own `migrate` carries config and cursors over from what the earlier version wrote, and all of
//! it is committed at once with the new version: a connection never runs with one version's config and another's cursors. A version
//! that asks for more hosts than its predecessor waits until somebody says what it is to be given.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use throughline_domain::connector::{ConnectionSpec, Connector, Grants, InstalledPlugin, Secret};
use throughline_schemas::{Change, ChangeKind, ConnectionId};
use throughline_store::tables::{ConnectionRecord, Connections, Cursors, PendingUpdate, StoredCursor, read, scan_rows, trailing_name};

use super::connections::at;
use super::expect_version;
use crate::HubError;
use crate::error::Result;
use crate::hub::{Hub, Stored};
use crate::services::ConnectionServices;
use crate::views::{ConnectionPatch, ConnectionView};

/// A cursor as it was read, and what the new version made of it.
struct MovedCursor {
    entity: String,
    before: StoredCursor,
    after: Value,
}

impl Hub {
    /// Changes a connection and starts it anew. Moving to another version of the plugin migrates config and cursors, or changes
    /// nothing; a bare move to a version that asks for more is left pending.
    pub async fn update_connection(&self, id: ConnectionId, expect: u64, patch: ConnectionPatch) -> Result<Stored<ConnectionView>> {
        let _lifecycle = self.lifecycle(id).await;
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        expect_version(row.version, expect)?;
        if let Some(pending) = self.more_asked(&row.value, &patch)? {
            if !is_bare_move(&patch) {
                let detail = format!(
                    "version {} also asks for {}: say in grants what it is to be given, or move to it in a request of its own",
                    pending.plugin_version,
                    pending.hosts.join(", ")
                );
                return Err(HubError::invalid("/grants", detail));
            }
            self.hold_update(id, expect, &pending).await?;
            return self.connection(id);
        }
        self.apply_patch(id, expect, row.value, patch).await
    }

    /// Moves a connection to the version that waits for approval, with these of the hosts it newly asks for; all of them if none are
    /// named.
    pub async fn approve_update(&self, id: ConnectionId, expect: u64, hosts: Option<Vec<String>>) -> Result<Stored<ConnectionView>> {
        let _lifecycle = self.lifecycle(id).await;
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        expect_version(row.version, expect)?;
        let pending = row.value.pending_update.clone();
        let pending = pending.ok_or_else(|| HubError::conflict("no update waits for approval on this connection"))?;
        let granted = hosts.unwrap_or_else(|| pending.hosts.clone());
        if let Some(index) = granted.iter().position(|host| !pending.hosts.contains(host)) {
            let detail = format!("the update does not ask for {:?}; it asks for: {}", granted[index], pending.hosts.join(", "));
            return Err(HubError::invalid(format!("/hosts/{index}"), detail));
        }
        let plugin =
            self.plugin(&row.value.plugin, Some(&pending.plugin_version)).map_err(|error| HubError::conflict(error.to_string()))?;
        let asked = plugin.manifest.hosts_asked();
        // What the new version no longer asks for could not be granted to it.
        let kept = row.value.grants.hosts.iter().filter(|host| asked.contains(host)).cloned();
        let hosts = kept.chain(granted).collect();
        let grants = Grants { hosts, private_hosts: row.value.grants.private_hosts.clone() };
        let patch = ConnectionPatch { plugin_version: Some(pending.plugin_version), grants: Some(grants), ..ConnectionPatch::default() };
        self.apply_patch(id, expect, row.value, patch).await
    }

    /// What a move asks for that nobody has decided about yet.
    fn more_asked(&self, before: &ConnectionRecord, patch: &ConnectionPatch) -> Result<Option<PendingUpdate>> {
        let wanted = patch.plugin_version.as_ref().filter(|version| **version != before.plugin_version);
        let (Some(version), None) = (wanted, &patch.grants) else { return Ok(None) };
        let plugin = self.plugin(&before.plugin, Some(version)).map_err(|error| at("/plugin_version", &error))?;
        // Whoever made the connection decided about what that version asked for. One that is gone counts as having asked for nothing.
        let known = self.plugin(&before.plugin, Some(&before.plugin_version)).map(|plugin| plugin.manifest.hosts_asked());
        let known = known.unwrap_or_default();
        let asked = plugin.manifest.hosts_asked().into_iter();
        let hosts: Vec<String> = asked.filter(|host| !known.contains(host) && !before.grants.hosts.contains(host)).collect();
        Ok((!hosts.is_empty()).then(|| PendingUpdate { plugin_version: version.clone(), hosts, since: self.now() }))
    }

    async fn hold_update(&self, id: ConnectionId, expect: u64, pending: &PendingUpdate) -> Result<()> {
        tracing::warn!(connection = %id, version = %pending.plugin_version, hosts = ?pending.hosts, "an update asks for more and waits for approval");
        self.transact(|tx| {
            let mut row = tx.get::<Connections>(&id)?.ok_or_else(|| HubError::not_found("connection", id))?;
            expect_version(row.version, expect)?;
            row.value.pending_update = Some(pending.clone());
            row.value.updated_at = self.now();
            tx.put::<Connections>(&id, &row.value)?;
            let data = json!({ "connection": id, "pending_update": pending.plugin_version });
            Ok(tx.log(&Change { data, ..Change::new(ChangeKind::ConnectionChanged, self.now()) })?)
        })
        .await
    }

    /// Applies a patch that everything is decided about. The caller holds the connection's lifecycle.
    async fn apply_patch(
        &self,
        id: ConnectionId,
        expect: u64,
        before: ConnectionRecord,
        patch: ConnectionPatch,
    ) -> Result<Stored<ConnectionView>> {
        let mut record = apply(before.clone(), &patch, self.now());
        let plugin = self.plugin(&record.plugin, Some(&record.plugin_version)).map_err(|error| at("/plugin_version", &error))?;
        let migrator = (record.plugin_version != before.plugin_version).then(|| self.migrator(id, &record, &before)).transpose()?;
        if let Some(migrator) = &migrator {
            fit(&mut record, &patch, &plugin);
            if patch.config.is_none() {
                record.config = migrator
                    .migrate("config", &before.plugin_version, &before.config)
                    .await
                    .map_err(|error| refused(&record, &before, "the config", &error))?;
            }
        }
        self.validate(Some(id), &plugin, &record)?;
        // The old configuration works: one that cannot even be opened does not take its place.
        drop(self.open_with(id, &record, self.patched_secrets(id, &patch)?)?);
        let moved = match &migrator {
            Some(migrator) => self.with_stopped(id, &before, self.move_cursors(id, &record, &before, migrator)).await?,
            None => Vec::new(),
        };
        if let Some(migrator) = migrator {
            migrator.stop().await;
        }
        let committed = self.commit_patch(id, expect, &before, &record, &patch, &moved);
        self.with_stopped(id, &before, committed).await?;
        if !record.paused {
            self.learn_and_start(id).await?;
        }
        self.connection(id)
    }

    /// Does something while the connection's tasks rest; if it fails, the connection goes on as it was.
    async fn with_stopped<T>(&self, id: ConnectionId, before: &ConnectionRecord, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.stop_connection(id).await;
        let done = work.await;
        if done.is_err()
            && !before.paused
            && let Err(error) = self.start_connection(id).await
        {
            tracing::error!(connection = %id, %error, "a connection that was not changed could not be started again");
        }
        done
    }

    fn patched_secrets(&self, id: ConnectionId, patch: &ConnectionPatch) -> Result<BTreeMap<String, Secret>> {
        let mut secrets = self.secrets(id)?;
        for (name, value) in &patch.secrets {
            match value {
                Some(value) => secrets.insert(name.clone(), Secret::new(value.clone())),
                None => secrets.remove(name),
            };
        }
        Ok(secrets)
    }

    /// The new version's connector, to migrate with.
    fn migrator(&self, id: ConnectionId, record: &ConnectionRecord, before: &ConnectionRecord) -> Result<Arc<dyn Connector>> {
        let spec = ConnectionSpec {
            id,
            plugin: record.plugin.clone(),
            version: record.plugin_version.clone(),
            config: before.config.clone(),
            secrets: BTreeMap::new(),
            grants: Grants::default(),
        };
        Ok(self.inner.plugins.open_to_migrate(spec, ConnectionServices::new(self, id))?)
    }

    async fn move_cursors(
        &self,
        id: ConnectionId,
        record: &ConnectionRecord,
        before: &ConnectionRecord,
        migrator: &Arc<dyn Connector>,
    ) -> Result<Vec<MovedCursor>> {
        let mut moved = Vec::new();
        for (key, row) in scan_rows::<Cursors>(&self.inner.store, id.as_bytes(), None, usize::MAX)?.rows {
            let entity = trailing_name(&key).unwrap_or_default();
            let what = format!("cursor:{entity}");
            let after = migrator.migrate(&what, &before.plugin_version, &row.value.cursor).await;
            let after = after.map_err(|error| refused(record, before, &format!("the cursor of {entity}"), &error))?;
            moved.push(MovedCursor { entity, before: row.value, after });
        }
        Ok(moved)
    }

    /// Everything that a patch changes, in one commit.
    async fn commit_patch(
        &self,
        id: ConnectionId,
        expect: u64,
        before: &ConnectionRecord,
        record: &ConnectionRecord,
        patch: &ConnectionPatch,
        moved: &[MovedCursor],
    ) -> Result<()> {
        let mut data = json!({ "connection": id });
        if record.plugin_version != before.plugin_version {
            data["plugin_version"] = json!({ "from": before.plugin_version, "to": record.plugin_version });
        }
        self.transact(|tx| {
            let current = tx.get::<Connections>(&id)?.ok_or_else(|| HubError::not_found("connection", id))?;
            expect_version(current.version, expect)?;
            tx.put::<Connections>(&id, record)?;
            for cursor in moved {
                let key = (id, cursor.entity.clone());
                if tx.get::<Cursors>(&key)?.map(|row| row.value).as_ref() != Some(&cursor.before) {
                    return Err(HubError::Busy);
                }
                tx.put::<Cursors>(&key, &StoredCursor { cursor: cursor.after.clone(), at: cursor.before.at })?;
            }
            self.put_secrets(tx, id, &patch.secrets)?;
            Ok(tx.log(&Change { data: data.clone(), ..Change::new(ChangeKind::ConnectionChanged, self.now()) })?)
        })
        .await
    }
}

/// Whether a patch moves the version and does nothing else.
fn is_bare_move(patch: &ConnectionPatch) -> bool {
    let ConnectionPatch { name, plugin_version: _, config, secrets, grants, sync, extract, brand, region } = patch;
    let others = [name.is_some(), config.is_some(), grants.is_some(), sync.is_some(), extract.is_some(), brand.is_some(), region.is_some()];
    secrets.is_empty() && !others.contains(&true)
}

fn apply(mut record: ConnectionRecord, patch: &ConnectionPatch, now: throughline_schemas::Timestamp) -> ConnectionRecord {
    let patch = patch.clone();
    if patch.plugin_version.is_some() {
        // Moved, or told to stay: either way the update that waited is decided about.
        record.pending_update = None;
    }
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

/// Takes back what the version moved to does not ask for: it could not be granted, and its entities are learnt anew.
fn fit(record: &mut ConnectionRecord, patch: &ConnectionPatch, plugin: &InstalledPlugin) {
    if patch.grants.is_none() {
        let asked = plugin.manifest.hosts_asked();
        record.grants.hosts.retain(|host| asked.contains(host));
    }
}

fn refused(
    record: &ConnectionRecord,
    before: &ConnectionRecord,
    what: &str,
    error: &throughline_schemas::connector::ConnectorError,
) -> HubError {
    let detail = format!(
        "{} {} does not take over {what} of {}: {}; nothing was changed. Give the new version a config of its own, or stay with {}",
        record.plugin, record.plugin_version, before.plugin_version, error.message, before.plugin_version
    );
    HubError::invalid("/plugin_version", detail)
}
