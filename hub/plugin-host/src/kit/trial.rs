//! One call to a component, in the real host and under the real limits, towards the real system: for whoever writes a plugin.
//!
//! Nothing is kept: the connection's state begins empty, and what the call sets in it is shown and forgotten.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use throughline_domain::connector::{Grants, PluginError};
use throughline_schemas::connector::{ConnectorError, Found};

use super::rig::{Connected, Rig, Settings};
use crate::options::Limits;

/// What is tried out.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The component.
    pub component: Vec<u8>,
    /// Where compiled code is kept.
    pub cache: PathBuf,
    /// The connection's config.
    pub config: Value,
    /// Its secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Hosts that may be private addresses. All hosts that the manifest asks for are granted.
    pub private_hosts: Vec<String>,
}

/// The call.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// `check`.
    Check,
    /// `options`.
    Options {
        /// The config field.
        field: String,
        /// What was typed so far.
        query: String,
    },
    /// `read`, one page.
    Read {
        /// The entity.
        entity: String,
        /// From where on.
        cursor: Option<Value>,
        /// How many are wished for.
        want: u32,
    },
    /// `get`.
    Get {
        /// The entity.
        entity: String,
        /// The records' keys.
        keys: Vec<String>,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The component cannot be run.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The call failed.
    #[error("{0}")]
    Call(ConnectorError),
}

/// Makes one call; its answer as JSON, with what it set in the state.
pub async fn try_out(trial: Trial, ask: Ask) -> Result<Value, TrialError> {
    let rig = Rig::open(trial.component, trial.cache, Limits::default()).await?;
    let grants = Grants { hosts: rig.plugin().manifest.hosts_asked(), private_hosts: trial.private_hosts };
    let connected = rig.connect(&Settings { config: trial.config, secrets: trial.secrets, grants })?;
    let answered = answer(&connected, ask).await.map_err(TrialError::Call);
    connected.connector.stop().await;
    answered
}

async fn answer(connected: &Connected, ask: Ask) -> Result<Value, ConnectorError> {
    let connector = &connected.connector;
    match ask {
        Ask::Check => connector.check().await.map(|report| json!(report)),
        Ask::Options { field, query } => connector.options(&field, &query).await,
        Ask::Read { entity, cursor, want } => {
            let called = connector.read(&entity, cursor.as_ref(), want).await?;
            Ok(with_state(json!(called.value), &called.state))
        }
        Ask::Get { entity, keys } => connector.get(&entity, &keys).await.map(|found| found.iter().map(shown).collect()),
    }
}

fn shown(found: &Found) -> Value {
    match found {
        Found::Record(item) => json!({ "record": item }),
        Found::Gone => json!({ "gone": true }),
        Found::MovedTo(key) => json!({ "moved_to": key }),
    }
}

fn with_state(mut answer: Value, state: &[(String, Option<Value>)]) -> Value {
    if !state.is_empty() {
        answer["state"] = state.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect();
    }
    answer
}
