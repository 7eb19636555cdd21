//! A hub in a folder of its own, for tests that add only the systems they need.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub::{Client, HubProcess};
use crate::wait::eventually;

/// How much of the hub's log a failed test shows.
const LOG_LINES: usize = 80;

/// A running hub with plugins.
#[derive(Debug)]
pub struct Stage {
    /// The hub.
    pub hub: HubProcess,
    /// A client with the admin key. Good for as long as the hub keeps its port, so also after a restart.
    pub client: Client,
    // Removed last, when the hub has ended.
    folder: TempDir,
}

impl Stage {
    /// Starts a hub and installs built plugins.
    pub fn start(plugins: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let hub = HubProcess::start(&folder.path().join("hub"))?;
        let client = hub.client();
        for plugin in plugins {
            hub.install(plugin).with_context(|| format!("installing {plugin}"))?;
        }
        Ok(Self { hub, client, folder })
    }

    /// Starts a hub, plays a scene, and shows the hub's log if it goes wrong.
    pub fn play(plugins: &[&str], scene: impl FnOnce(&mut Self) -> Result<()>) {
        let mut stage = Self::start(plugins).expect("the hub starts and takes the built plugins");
        if let Err(error) = scene(&mut stage) {
            let log = stage.hub.log();
            // Looking at things is most of what a test does.
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("method=GET") || line.contains("WARN")).collect();
            panic!("{error:?}\n--- the hub's last lines\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        }
    }

    /// A folder for the test's own files and systems.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a connection; its id.
    pub fn connect(&self, connection: &Value) -> Result<String> {
        let made = self.client.post("/v1/connections", connection)?;
        Ok(made["id"].as_str().context("a connection has an id")?.to_owned())
    }

    /// How a connection is.
    pub fn health(&self, connection: &str) -> Result<Value> {
        self.client.get(&format!("/v1/connections/{connection}/health"))
    }

    /// Waits until a connection is in this state; its health.
    pub fn until_health(&self, connection: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        eventually(&format!("the connection to be {state}"), || {
            last = self.health(connection)?;
            Ok((last["state"] == state).then(|| last.clone()))
        })
        .with_context(|| format!("its last health was {last}"))
    }

    /// Waits until nothing is waiting for a connection, and each of its entities was looked through once more.
    pub fn until_settled(&self, connection: &str) -> Result<()> {
        eventually("everything to be delivered", || {
            let health = self.health(connection)?;
            Ok((health["deliveries_waiting"] == 0 && health["dispatch_lag"] == 0).then_some(()))
        })?;
        let before = self.cursors(connection)?;
        self.client.post(&format!("/v1/connections/{connection}/sync"), &json!({}))?;
        eventually("each entity to be looked through", || {
            let now = self.cursors(connection)?;
            Ok((!now.is_empty() && now.iter().zip(&before).all(|(now, before)| now != before)).then_some(()))
        })
    }

    fn cursors(&self, connection: &str) -> Result<Vec<String>> {
        let found = self.client.get(&format!("/v1/connections/{connection}/cursors"))?;
        let items = found["items"].as_array().context("cursors are a list")?;
        Ok(items.iter().map(|cursor| format!("{} {}", cursor["entity"], cursor["at"])).collect())
    }

    /// Whether the hub can serve.
    pub fn is_ready(&self) -> Result<bool> {
        Ok(self.client.get("/readyz")?["ready"] == true)
    }
}
