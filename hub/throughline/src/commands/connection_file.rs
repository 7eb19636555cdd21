//! A connection as it is written in a file: what `POST /v1/connections` takes, but secrets by reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use throughline_engine::NewConnection;

use super::secrets::{self, Source};

/// A connection as described, its secrets not fetched yet.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// Without secrets.
    pub(crate) connection: NewConnection,
    pub(crate) secrets: BTreeMap<String, Source>,
    /// Whether the file says anything about being paused: if not, that stays as it is.
    pub(crate) says_paused: bool,
    /// Where relative paths in it begin.
    base: PathBuf,
}

impl Described {
    /// From a file's value; relative paths in it are looked for in `base`.
    pub(crate) fn parse(value: Value, base: &Path) -> anyhow::Result<Self> {
        let mut fields = match value {
            Value::Object(fields) => fields,
            other => return Err(anyhow::anyhow!("a connection is a map of fields, not {other}")),
        };
        let secrets = fields.remove("secrets").unwrap_or_else(|| Value::Object(Map::new()));
        let secrets = typed(secrets)
            .map_err(|error| error.context("a secret is written as NAME: { env: VARIABLE } or NAME: { file: PATH }, never as itself"))?;
        let says_paused = fields.contains_key("paused");
        Ok(Self { connection: typed(Value::Object(fields))?, secrets, says_paused, base: base.to_owned() })
    }

    /// With all its secrets.
    pub(crate) fn with_secrets(&self) -> anyhow::Result<NewConnection> {
        let mut connection = self.connection.clone();
        connection.secrets = self.fetch_secrets(|_| true)?;
        Ok(connection)
    }

    /// Those secrets whose name is wanted.
    pub(crate) fn fetch_secrets(&self, wanted: impl Fn(&String) -> bool) -> anyhow::Result<BTreeMap<String, String>> {
        let sources = self.secrets.iter().filter(|(name, _)| wanted(name)).map(|(name, source)| (name.clone(), source.clone()));
        secrets::fetch(&sources.collect(), &self.base)
    }
}

/// Reads YAML, of which JSON is a part.
pub(crate) fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{} is neither YAML nor JSON", path.display()))
}

/// Where relative paths in a file begin.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The value as a type; an error names the place in it. A secret written by mistake where its source belongs is not repeated.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let place = if path == "." { String::new() } else { format!("at {path}: ") };
        let unrepeated = message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", ")).map(|(_, rest)| rest.to_owned());
        anyhow::anyhow!("{place}{}", unrepeated.unwrap_or(message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> anyhow::Result<Described> {
        Described::parse(serde_yaml_ng::from_str(yaml).unwrap(), Path::new("."))
    }

    #[test]
    fn secrets_are_references_only() {
        let good = parsed("{name: n, plugin: p, secrets: {a: {env: A}, b: {file: f}}}").unwrap();
        assert_eq!(good.secrets, BTreeMap::from([("a".into(), Source::Env("A".into())), ("b".into(), Source::File("f".into()))]));
        for bad in ["{name: n, plugin: p, secrets: {a: hunter2}}", "{name: n, plugin: p, secrets: {a: {value: hunter2}}}"] {
            let error = format!("{:#}", parsed(bad).unwrap_err());
            assert!(error.contains("env") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (yaml, place) in [
            ("{name: n, plugin: p, grants: {host: []}}", "grants"),
            ("{name: n, plugin: p, sync: {contacts: {poll_seconds: often}}}", "sync.contacts.poll_seconds"),
            ("{plugin: p}", "name"),
            ("{name: n, plugin: p, colour: red}", "colour"),
            ("[]", "map"),
        ] {
            let error = format!("{:#}", parsed(yaml).unwrap_err());
            assert!(error.contains(place), "{yaml}: {error}");
        }
    }

    #[test]
    fn being_paused_is_told_from_not_being_mentioned() {
        assert!(!parsed("{name: n, plugin: p}").unwrap().says_paused);
        assert!(parsed("{name: n, plugin: p, paused: false}").unwrap().says_paused);
    }
}
