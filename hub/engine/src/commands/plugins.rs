//! Installed plugins.

use throughline_domain::connector::{InstalledPlugin, PluginError};
use throughline_schemas::ConnectionId;

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::views::{ConnectionPatch, PluginUpdate, UpdateOutcome};

impl Hub {
    /// Installs a component. The same bytes again are no change.
    pub async fn install_plugin(&self, component: Vec<u8>) -> Result<InstalledPlugin> {
        Ok(self.inner.plugins.install(component).await?)
    }

    /// All installed plugins.
    #[must_use]
    pub fn plugins(&self) -> Vec<InstalledPlugin> {
        self.inner.plugins.installed()
    }

    /// Removes a plugin that no connection uses.
    pub async fn remove_plugin(&self, name: &str, version: &str) -> Result<()> {
        let users: Vec<String> = self
            .all_connections()?
            .into_iter()
            .filter(|(_, record)| record.plugin == name && record.plugin_version == version)
            .map(|(_, record)| record.name)
            .collect();
        if !users.is_empty() {
            return Err(HubError::conflict(format!(
                "plugin {name} {version} is used by: {}; delete or update them first",
                users.join(", ")
            )));
        }
        Ok(self.inner.plugins.remove(name, version)?)
    }

    /// Moves every connection of a plugin to another installed version, the newest unless one is named. Each is a move of its own:
    /// one that fails stays as it was and keeps none of the others.
    pub async fn update_plugin(&self, name: &str, version: Option<&str>) -> Result<Vec<PluginUpdate>> {
        let to = self.plugin(name, version)?.manifest.version;
        let mut updates = Vec::new();
        for (id, record) in self.all_connections()? {
            let older = semantic(&record.plugin_version) < semantic(&to);
            // A version that is named may be an older one: then it is a step back, which is meant.
            if record.plugin != name || record.plugin_version == to || (version.is_none() && !older) {
                continue;
            }
            let outcome = self.update_one(id, &to).await;
            updates.push(PluginUpdate { connection: id, name: record.name, from: record.plugin_version, to: to.clone(), outcome });
        }
        Ok(updates)
    }

    async fn update_one(&self, id: ConnectionId, to: &str) -> UpdateOutcome {
        let patch = ConnectionPatch { plugin_version: Some(to.to_owned()), ..ConnectionPatch::default() };
        let moved = match self.connection(id) {
            Ok(now) => self.update_connection(id, now.version, patch).await,
            Err(error) => Err(error),
        };
        match moved.map(|stored| stored.value.pending_update) {
            Ok(None) => UpdateOutcome::Moved,
            Ok(Some(pending)) => UpdateOutcome::Pending { hosts: pending.hosts },
            Err(error) => UpdateOutcome::Failed { detail: error.to_string() },
        }
    }

    /// An installed plugin by name, and version or the newest.
    pub(crate) fn plugin(&self, name: &str, version: Option<&str>) -> Result<InstalledPlugin> {
        let mut found: Vec<InstalledPlugin> = self
            .plugins()
            .into_iter()
            .filter(|plugin| plugin.manifest.name == name && version.is_none_or(|version| plugin.manifest.version == version))
            .collect();
        found.sort_by_key(|plugin| semantic(&plugin.manifest.version));
        let missing = || PluginError::NotInstalled { name: name.to_owned(), version: version.map(str::to_owned) };
        found.pop().ok_or_else(|| missing().into())
    }
}

/// Versions in their order; what is no number counts as the lowest.
fn semantic(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0)).collect()
}
