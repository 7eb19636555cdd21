//! Installed plugins.

use throughline_domain::connector::{InstalledPlugin, PluginError};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

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
