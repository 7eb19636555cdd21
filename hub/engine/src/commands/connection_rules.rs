//! What a connection must be to be kept: its config by the plugin's schema, grants within what the plugin asks, names that exist.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_domain::connector::InstalledPlugin;
use throughline_domain::extract::{ExtractRule, Extractor};
use throughline_schemas::ConnectionId;
use throughline_schemas::sync::{DeletePolicy, EntitySync, SyncDirection};
use throughline_store::tables::ConnectionRecord;

use crate::HubError;
use crate::error::{FieldError, Result};
use crate::hub::Hub;

impl Hub {
    pub(super) fn validate(&self, own: Option<ConnectionId>, plugin: &InstalledPlugin, record: &ConnectionRecord) -> Result<()> {
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
}

pub(crate) fn check_schema(schema: &Value, value: &Value, pointer: &str) -> Result<()> {
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
    let asked = plugin.manifest.hosts_asked();
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
    let mut errors = Vec::new();
    for (name, _) in sync.iter().filter(|(_, sync)| sync.on_delete == DeletePolicy::Restore && !makes_records(sync)) {
        let detail = "a record is only made anew where records are made: set `create_remote`, and `direction` to `out` or `both`";
        errors.push(FieldError { pointer: format!("/sync/{name}/on_delete"), detail: detail.to_owned() });
    }
    // A plugin without entities of its own learns them from its config, when it is checked.
    if known.is_empty() {
        return errors;
    }
    let unknown = sync.keys().filter(|name| !known.iter().any(|entity| entity.name == **name));
    errors.extend(unknown.map(|name| FieldError {
        pointer: format!("/sync/{name}"),
        detail: format!(
            "the plugin has no such entity; it has: {}",
            known.iter().map(|entity| entity.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
    }));
    errors
}

fn makes_records(sync: &EntitySync) -> bool {
    sync.create_remote && sync.direction != SyncDirection::In
}
