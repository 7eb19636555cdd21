//! The real program, as a process: started, spoken to over its API, looked at from outside, stopped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

const READY: &str = "throughline is ready at ";

/// A running hub; killed when dropped.
pub(crate) struct Process {
    child: Child,
    url: String,
    key: String,
    /// From the start of the process to its saying that it is ready.
    pub(crate) ready_after: Duration,
}

impl Process {
    /// Starts one on a free port, with everything in `folder`.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let key_file = folder.join("admin.key");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("hub.log"))?;
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_throughline"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .arg("--admin-key-file")
            .arg(&key_file)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the hub")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut hub = Self { child, url: String::new(), key: String::new(), ready_after: Duration::ZERO };
        for line in BufReader::new(stdout).lines() {
            if let Some(rest) = line?.strip_prefix(READY) {
                hub.ready_after = began.elapsed();
                rest.split(' ').next().unwrap_or_default().clone_into(&mut hub.url);
                std::fs::read_to_string(&key_file)?.trim().clone_into(&mut hub.key);
                return Ok(hub);
            }
        }
        bail!("the hub did not start: {}", log_of(folder))
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = agent().get(self.at(path)).header("authorization", self.bearer()).call()?;
        good(path, answer)
    }

    pub(crate) fn post(&self, path: &str, media_type: &str, body: &[u8]) -> anyhow::Result<Value> {
        let request = agent().post(self.at(path)).header("authorization", self.bearer()).content_type(media_type);
        good(path, request.send(body)?)
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").args(["-TERM", &self.pid()]).status()?;
        ensure!(asked.success() && self.child.wait()?.success(), "the hub did not stop in good order");
        Ok(())
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build().into()
}

fn good(path: &str, mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let text = answer.body_mut().read_to_string()?;
    ensure!(answer.status().is_success(), "{path}: {}: {text}", answer.status());
    Ok(serde_json::from_str(&text)?)
}

/// What a hub in this folder said.
pub(crate) fn log_of(folder: &Path) -> String {
    let path: PathBuf = folder.join("hub.log");
    std::fs::read_to_string(path).unwrap_or_default()
}
