//! Replays what a PBX sent, byte for byte, through the real component in the real host, and says which calls came of it.
//!
//! A recording's folder holds `ami.s2c.raw`, what Asterisk's manager interface sent on one connection. What it sent on the connections
//! after that one broke lies beside it (`ami-*.s2c.raw`) and is played as these: one after the other. Streams that another account had at
//! the same time tell of the same calls again and are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use throughline_domain::connector::Grants;
use throughline_schemas::InteractionFact;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_schemas::replay::replay_line;
use tokio::net::TcpListener;

use super::desk::Desk;
use super::manager;
use super::recording::{self, Recording};
use super::rig::{Connected, Rig, Settings};
use crate::options::Limits;

/// A plugin that has not noticed within this time that its stream has ended will not notice any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// The plugins whose recordings are manager streams.
const PLUGIN: &str = "asterisk";
/// Config that is the stand-in's, whatever else is told.
const OWN: [&str; 4] = ["ami_host", "ami_port", "ami_security", "ami_ca_pem"];

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The folder holds nothing that can be replayed.
    #[error(transparent)]
    Recording(#[from] recording::RecordingError),
    /// A setting that the plugin does not take.
    #[error("settings{pointer}: {detail}")]
    Config {
        /// Where in the config, as a JSON pointer.
        pointer: String,
        /// What is wrong there.
        detail: String,
    },
    /// Only one plugin's recordings are understood.
    #[error("there is no replay for the plugin {0:?}: only recordings of {PLUGIN} can be replayed")]
    OtherPlugin(String),
    /// The component cannot be run.
    #[error(transparent)]
    Plugin(#[from] throughline_domain::connector::PluginError),
    /// The plugin failed otherwise than by the end of its stream.
    #[error("the plugin failed: {0}")]
    Failed(ConnectorError),
    /// The plugin handed over what is no interaction.
    #[error("the plugin emitted {key:?}, which is no interaction: {detail}")]
    NoInteraction {
        /// The item's key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The machine failed us.
    #[error("the stand-in for the PBX does not work: {0}")]
    StandIn(#[from] std::io::Error),
}

/// What came of a recording.
#[derive(Debug)]
pub struct Replayed {
    /// The calls, as `throughline plugin replay` prints them, in the order in which they began.
    pub calls: Vec<Value>,
    /// What whoever reads them should know besides.
    pub notes: Vec<String>,
}

/// Plays the recording in `folder` to the component. `config` has the connection's settings where they are not those of the PBX that the
/// project's recordings come from. `cache` is where compiled code is kept.
pub async fn replay(component: Vec<u8>, folder: &Path, config: &Map<String, Value>, cache: PathBuf) -> Result<Replayed, ReplayError> {
    let recording = Recording::read(folder)?;
    let rig = Rig::open(component, cache, Limits::default()).await?;
    let manifest = &rig.plugin().manifest;
    if manifest.name != PLUGIN {
        return Err(ReplayError::OtherPlugin(manifest.name.clone()));
    }
    let silo = TcpListener::bind(("127.0.0.1", 0)).await?;
    let settings = settings(silo.local_addr()?.port(), config);
    check(&manifest.config, &settings.config)?;
    let desk = Arc::new(Desk::default());
    for stream in &recording.streams {
        let connected = rig.connect_to(&settings, desk.clone())?;
        listen(&connected, manager::play(&silo, stream)).await?;
    }
    let mut calls = calls(&desk.kept().items)?;
    if calls.values().any(|call| call.ended_at.is_none()) {
        // The recording ends while these go on. The next the plugin learns is that its PBX knows nothing of them any more.
        let connected = rig.connect_to(&settings, desk.clone())?;
        listen(&connected, manager::quiet(&silo)).await?;
        calls = self::calls(&desk.kept().items)?;
    }
    let calls = lines(calls);
    let mut notes = recording.notes.clone();
    notes.extend(nobody_outside(&recording, &calls, &settings.config));
    Ok(Replayed { calls, notes })
}

/// The config under which the project's recordings were made (a British PBX on this machine, its trunk named `trunk`), changed as told.
fn settings(port: u16, changed: &Map<String, Value>) -> Settings {
    let mut config = json!({
        "pbx_id": "replay", "ami_host": "127.0.0.1", "ami_port": port, "ami_security": "plain", "ami_username": "throughline",
        "trunk_endpoints": ["PJSIP/trunk"], "internal_extensions": ["1001", "1002", "1003"], "region": "GB",
    });
    for (name, value) in changed.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        config[name] = value.clone();
    }
    Settings {
        config,
        secrets: BTreeMap::from([("ami_secret".to_owned(), "replayed-not-checked".to_owned())]),
        grants: Grants { hosts: vec!["tcp://{config.ami_host}:{config.ami_port}".to_owned()], private_hosts: vec!["127.0.0.1".to_owned()] },
    }
}

fn check(schema: &Value, config: &Value) -> Result<(), ReplayError> {
    let unusable = |detail: String| ReplayError::Config { pointer: String::new(), detail };
    let validator =
        jsonschema::draft202012::new(schema).map_err(|error| unusable(format!("the plugin's schema is not usable: {error}")))?;
    match validator.iter_errors(config).next() {
        Some(error) => Err(ReplayError::Config { pointer: error.instance_path().to_string(), detail: error.to_string() }),
        None => Ok(()),
    }
}

/// Where channels came and went and yet nobody outside took part, the trunk may go by a name that the config does not know.
fn nobody_outside(recording: &Recording, calls: &[Value], config: &Value) -> Option<String> {
    let outside = calls.iter().any(|call| call["direction"] != "internal");
    let endpoints: Vec<String> = if outside { Vec::new() } else { recording.endpoints().into_iter().collect() };
    (!endpoints.is_empty()).then(|| {
        format!(
            "no call with anybody outside came of it. Trunks are {}; the recording has channels of {}. If one of these is a trunk, say so: \
             --settings FILE with {{\"trunk_endpoints\": [...]}}",
            config["trunk_endpoints"],
            endpoints.join(", ")
        )
    })
}

/// Lets the plugin listen to a stand-in until it notices the stream's end.
async fn listen(connected: &Connected, playing: impl Future<Output = std::io::Result<()>>) -> Result<(), ReplayError> {
    let listening = connected.connector.listen(None);
    let mut listening = std::pin::pin!(listening);
    let mut playing = std::pin::pin!(playing);
    let ended = tokio::select! {
        ended = &mut listening => ended,
        played = &mut playing => {
            played?;
            let late = || ConnectorError::new(ErrorClass::Bug, "it did not notice the end of its stream");
            tokio::time::timeout(PATIENCE, listening).await.unwrap_or_else(|_| Err(late()))
        }
    };
    connected.connector.stop().await;
    match ended {
        // The stream's end, and a log-in that the recorded PBX refused.
        Err(error) if !matches!(error.class, ErrorClass::Transient | ErrorClass::Auth | ErrorClass::Permission) => {
            Err(ReplayError::Failed(error))
        }
        _ => Ok(()),
    }
}

/// What was said last of each interaction, by its key.
fn calls(items: &[Item]) -> Result<BTreeMap<String, InteractionFact>, ReplayError> {
    let interactions = items.iter().filter(|item| item.kind == ItemKind::Interaction);
    interactions
        .map(|item| {
            let fact = serde_json::from_value(item.data.clone());
            let fact = fact.map_err(|error| ReplayError::NoInteraction { key: item.key.clone(), detail: error.to_string() })?;
            Ok((item.key.clone(), fact))
        })
        .collect()
}

fn lines(calls: BTreeMap<String, InteractionFact>) -> Vec<Value> {
    let mut calls: Vec<(String, InteractionFact)> = calls.into_iter().collect();
    // By key already, and the sort is stable.
    calls.sort_by_key(|(_, fact)| fact.occurred_at);
    calls.iter().filter_map(|(_, fact)| replay_line(fact)).collect()
}
