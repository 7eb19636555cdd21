//! `kit.json`: how a plugin is tried out. The scripts it names lie beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use throughline_domain::connector::Grants;
use throughline_schemas::connector::OutboundMessage;

use super::KitError;

const FILE: &str = "kit.json";

/// What a kit says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The plugin it is for.
    pub(crate) plugin: String,
    /// The connection's config. `{http}` is the HTTP silo's address, `{http.port}` its port, `{NAME.port}` a TCP silo's
    /// port (a number where it stands alone).
    pub(crate) config: Value,
    /// Secrets by name: long enough to be recognised wherever they turn up.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
    /// What is granted besides loopback; all the manifest asks if absent.
    #[serde(default)]
    pub(crate) hosts: Option<Vec<String>>,
    /// The HTTP silo's script.
    #[serde(default)]
    pub(crate) http: Option<String>,
    /// TCP silos' scripts by name.
    #[serde(default)]
    pub(crate) tcp: BTreeMap<String, String>,
    /// The entities that are read; those the manifest says are readable if absent.
    #[serde(default)]
    pub(crate) read: Option<Vec<String>>,
    /// A record that the silo has merged into another or moved there.
    #[serde(default)]
    pub(crate) moved: Option<MovedPlan>,
    /// What is written.
    #[serde(default)]
    pub(crate) write: Option<WritePlan>,
    /// What is posted to the hook.
    #[serde(default)]
    pub(crate) webhook: Option<WebhookPlan>,
    /// What is sent.
    #[serde(default)]
    pub(crate) send: Option<SendPlan>,
    /// What is done.
    #[serde(default)]
    pub(crate) act: Option<ActPlan>,
    /// A listener's stream is cut at every byte; one that is longer than this at so many places, evenly.
    #[serde(default = "most_cuts")]
    pub(crate) most_cuts: usize,
    /// Checks that are left out, each with its reason.
    #[serde(default)]
    pub(crate) skip: BTreeMap<String, String>,
    /// The folder it was read from.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

fn most_cuts() -> usize {
    4096
}

/// A record that is another's now.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovedPlan {
    pub(crate) entity: String,
    /// The key it had.
    pub(crate) key: String,
    /// The key under which it lives on.
    pub(crate) into: String,
}

/// Messages to send.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendPlan {
    /// One that the silo delivers.
    pub(crate) message: OutboundMessage,
    /// One to a recipient that the silo refuses.
    pub(crate) refused: OutboundMessage,
}

/// An action whose effect the silo can show: a record more, or a whole payload.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActPlan {
    pub(crate) action: String,
    /// Silos' addresses are put in as into the config.
    pub(crate) input: Value,
}

/// Writes to one entity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WritePlan {
    pub(crate) entity: String,
    /// A record the silo takes.
    pub(crate) create: Value,
    /// Changes to it.
    pub(crate) update: Value,
    /// A field of it that is emptied.
    pub(crate) clear: String,
    /// A record the silo refuses.
    pub(crate) refused: Value,
    /// Where the silo holds the field that is emptied, as a JSON pointer into its record.
    pub(crate) cleared_at: String,
    /// Values that the declared normalisers change.
    #[serde(default)]
    pub(crate) unnormal: Value,
}

/// A request that the silo would post.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookPlan {
    /// Headers besides the proof.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as text.
    pub(crate) body: String,
    pub(crate) proof: Proof,
    /// How many items must come of it at least.
    #[serde(default = "one")]
    pub(crate) items: usize,
    /// Where the silo keeps what is registered, for a plugin that registers itself.
    #[serde(default)]
    pub(crate) registration: Option<RegistrationPlan>,
}

/// The HTTP silo's collection of registrations. One of somebody else must be in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistrationPlan {
    /// Its path.
    pub(crate) collection: String,
    /// Where a registration has its address, as a JSON pointer into the record.
    pub(crate) address_at: String,
}

fn one() -> usize {
    1
}

/// How the silo proves who it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum Proof {
    /// The secret itself in a header.
    Token { secret: String, header: String },
    /// HMAC-SHA256 in hex over `TIMESTAMP.BODY`, or over the body alone without a timestamp header.
    HmacSha256 {
        secret: String,
        header: String,
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        timestamp_header: Option<String>,
    },
}

impl Plan {
    /// Reads the kit in a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self, KitError> {
        let plan: Self = read_json(&folder.join(FILE))?;
        Ok(Self { folder: folder.to_owned(), ..plan })
    }

    /// One of its scripts.
    pub(crate) fn script<T: serde::de::DeserializeOwned>(&self, file: &str) -> Result<T, KitError> {
        read_json(&self.folder.join(file))
    }

    /// The grants of its connections.
    pub(crate) fn grants(&self, asked: &[String], config: &Value) -> Grants {
        // A pattern whose config field is absent stands for nothing.
        let resolves = |pattern: &&String| fields(pattern).iter().all(|field| config.get(field).is_some());
        let hosts = self.hosts.clone().unwrap_or_else(|| asked.iter().filter(resolves).cloned().collect());
        Grants { hosts, private_hosts: vec!["127.0.0.1".to_owned()] }
    }
}

fn fields(pattern: &str) -> Vec<&str> {
    pattern.split("{config.").skip(1).filter_map(|rest| rest.split_once('}')).map(|(field, _)| field).collect()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, KitError> {
    let wrong = |detail: String| KitError::Kit { file: path.display().to_string(), detail };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| wrong(format!("at {}: {}", error.path(), error.inner())))
}

/// Puts the silos' addresses into a config.
pub(crate) fn placed(value: &Value, places: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let filled = places.iter().fold(text.clone(), |text, (name, place)| text.replace(&format!("{{{name}}}"), place));
            let is_port = text.starts_with('{') && text.ends_with(".port}");
            match filled.parse::<u16>() {
                Ok(port) if is_port => port.into(),
                _ => filled.into(),
            }
        }
        Value::Array(values) => values.iter().map(|value| placed(value, places)).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), placed(value, places))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_put_where_the_kit_names_them() {
        let places = BTreeMap::from([("http".to_owned(), "http://127.0.0.1:9".to_owned()), ("imap.port".to_owned(), "143".to_owned())]);
        let config = json!({"a": "{http}/api", "b": ["{imap.port}"], "c": "port {imap.port}", "d": 1});
        assert_eq!(placed(&config, &places), json!({"a": "http://127.0.0.1:9/api", "b": [143], "c": "port 143", "d": 1}));
    }

    #[test]
    fn a_wrong_kit_is_refused_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), r#"{"plugin": "x", "config": {}, "skipp": {}}"#).unwrap();
        assert!(Plan::load(folder.path()).unwrap_err().to_string().contains("skipp"));
    }
}
