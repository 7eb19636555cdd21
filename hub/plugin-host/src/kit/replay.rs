//! Replays what a PBX sent, byte for byte, through the real component in the real host, and says which calls came of it.
//!
//! A recording's folder holds `ami.s2c.raw`, what Asterisk's manager interface sent on one connection. What it sent on the connections
//! after that one broke lies beside it (`ami-*.s2c.raw`) and is played as these: one after the other. Streams that another account had at
//! the same time tell of the same calls again and are left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::connector::Grants;
use throughline_schemas::InteractionFact;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_schemas::replay::replay_line;
use tokio::net::TcpListener;

use super::desk::Desk;
use super::manager;
use super::rig::{Connected, Rig, Settings};
use crate::options::Limits;

const MAIN: &str = "ami.s2c.raw";
const MAIN_TLS: &str = "ami-tls.s2c.raw";
/// A plugin that has not noticed within this time that its stream has ended will not notice any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// The plugins whose recordings are manager streams.
const PLUGIN: &str = "asterisk";

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The folder holds no recording of what this plugin listens to.
    #[error(
        "{folder} holds no recorded manager stream: there must be a file {MAIN}, what the PBX sent over AMI (a recording of ARI alone cannot be replayed)"
    )]
    NoStream {
        /// The folder.
        folder: String,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why not.
        error: std::io::Error,
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

/// Plays the recording in `folder` to the component; the calls that come of it, as `throughline plugin replay` prints them, in the order in
/// which they began. `cache` is where compiled code is kept.
pub async fn replay(component: Vec<u8>, folder: &Path, cache: PathBuf) -> Result<Vec<Value>, ReplayError> {
    let streams = streams(folder)?;
    let rig = Rig::open(component, cache, Limits::default()).await?;
    let name = &rig.plugin().manifest.name;
    if name != PLUGIN {
        return Err(ReplayError::OtherPlugin(name.clone()));
    }
    let silo = TcpListener::bind(("127.0.0.1", 0)).await?;
    let settings = settings(silo.local_addr()?.port());
    let desk = Arc::new(Desk::default());
    for stream in &streams {
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
    Ok(lines(calls))
}

/// The config under which the recordings were made: a British PBX on this machine, its trunk named `trunk`.
fn settings(port: u16) -> Settings {
    Settings {
        config: json!({
            "pbx_id": "replay", "ami_host": "127.0.0.1", "ami_port": port, "ami_security": "plain", "ami_username": "throughline",
            "trunk_endpoints": ["PJSIP/trunk"], "internal_extensions": ["1001", "1002", "1003"], "region": "GB",
        }),
        secrets: BTreeMap::from([("ami_secret".to_owned(), "replayed-not-checked".to_owned())]),
        grants: Grants { hosts: vec!["tcp://{config.ami_host}:{config.ami_port}".to_owned()], private_hosts: vec!["127.0.0.1".to_owned()] },
    }
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

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> ReplayError + '_ {
    |error| ReplayError::Unreadable { path: path.display().to_string(), error }
}

/// The recorded connections in the order in which they were had.
fn streams(folder: &Path) -> Result<Vec<Vec<u8>>, ReplayError> {
    let mut others = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name == MAIN || (name.starts_with("ami-") && name.ends_with(".s2c.raw")) {
            others.insert(name, fs::read(&path).map_err(unreadable(&path))?);
        }
    }
    let Some(main) = others.remove(MAIN).or_else(|| others.remove(MAIN_TLS)) else {
        // Connections none of which came to anything, like refused log-ins.
        let all: Vec<Vec<u8>> = others.into_values().collect();
        return if all.is_empty() { Err(ReplayError::NoStream { folder: folder.display().to_string() }) } else { Ok(all) };
    };
    Ok(with_reconnects(main, others.into_values().collect()))
}

/// The main connection and those that began after it had ended, in the order of time.
fn with_reconnects(main: Vec<u8>, others: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let begun = |stream: Vec<u8>| {
        let first = timestamps(&stream).next()?;
        Some((first, stream))
    };
    let mut later: Vec<(f64, Vec<u8>)> = others.into_iter().filter_map(begun).collect();
    later.sort_by(|(one, _), (two, _)| one.total_cmp(two));
    let mut streams = vec![main];
    for (first, stream) in later {
        let before = streams.last().and_then(|stream| timestamps(stream).last());
        if before.is_some_and(|last| first >= last) {
            streams.push(stream);
        }
    }
    streams
}

/// The PBX's own times of its events, in seconds.
fn timestamps(stream: &[u8]) -> impl Iterator<Item = f64> + '_ {
    stream.split(|byte| *byte == b'\n').filter_map(|line| {
        let value = line.strip_prefix(b"Timestamp: ")?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(first: u32, last: u32) -> Vec<u8> {
        format!("Asterisk Call Manager/9\r\nEvent: A\r\nTimestamp: {first}.5\r\n\r\nEvent: B\r\nTimestamp: {last}.5\r\n\r\n").into_bytes()
    }

    #[test]
    fn what_began_after_the_connection_broke_is_played_after_it_and_what_ran_beside_it_is_not() {
        let (main, beside, second, third) = (stream(10, 20), stream(11, 20), stream(22, 30), stream(31, 40));
        let others = vec![third.clone(), beside, b"Asterisk Call Manager/9\r\n".to_vec(), second.clone()];
        assert_eq!(with_reconnects(main.clone(), others), [main, second, third]);
    }

    #[test]
    fn a_folder_without_a_manager_stream_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ari-rest.jsonl"), "{}").unwrap();
        let error = streams(folder.path()).unwrap_err().to_string();
        assert!(error.contains(MAIN) && error.contains(&folder.path().display().to_string()), "{error}");
        assert!(matches!(streams(&folder.path().join("none")), Err(ReplayError::Unreadable { .. })));
    }
}
