//! A real django-helpdesk for tests: tickets with a token API, a custom field for the hub's key, webhooks that prove themselves by
//! basic authentication only. It knows no times of change and no idempotency keys, and answers 500 to a ticket that it has stored when
//! its webhook finds nobody.
//!
//! Runs on loopback in a folder that the caller gives and removes; stops when the value is dropped. Installed once, with an empty
//! database made ready, below the repository's `target/systems`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::local::{Venv, free_port, http, systems_folder};

/// The token that the hub comes with.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
/// What its webhooks carry behind `Basic `: `hub:hook`.
pub const WEBHOOK_SECRET: &str = "aHViOmhvb2s=";
/// Where it comes from.
const VENV: Venv =
    Venv { name: "helpdesk", packages: &["django-helpdesk==2.6.1", "Django==5.2.19", "djangorestframework==3.18.3"], program: "python" };
/// How long it may take to start; a busy machine takes its time.
const READY: Duration = Duration::from_secs(120);
/// The Django project.
const PROJECT: [(&str, &str); 3] = [
    ("settings.py", include_str!("helpdesk/settings.py")),
    ("urls.py", include_str!("helpdesk/urls.py")),
    ("fill.py", include_str!("helpdesk/fill.py")),
];

/// A running django-helpdesk.
#[derive(Debug)]
pub struct Helpdesk {
    python: PathBuf,
    dir: PathBuf,
    port: u16,
    hook: String,
    child: Option<Child>,
}

impl Helpdesk {
    /// Installs it if it is missing and starts it with data below `dir`. It posts nowhere yet.
    pub fn start(dir: &Path) -> Result<Self> {
        let (python, empty) = install()?;
        lay_out(dir)?;
        fs::copy(&empty, dir.join("helpdesk.sqlite3")).context("copying the empty database")?;
        let mut system = Self { python, dir: dir.to_owned(), port: free_port()?, hook: String::new(), child: None };
        system.restart()?;
        Ok(system)
    }

    /// Where it answers.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, wherever it is; connections are refused from then on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing left to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let log = File::options().create(true).append(true).open(self.dir.join("helpdesk.log"))?;
        // One process, so that killing it kills all of it.
        let child = django(&self.python, &self.dir)
            .args(["-m", "django", "runserver", "--noreload", "--skip-checks"])
            .arg(format!("127.0.0.1:{}", self.port))
            .env("HELPDESK_HOOK", &self.hook)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting django-helpdesk: {}", VENV.by_hand()))?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    /// Has every new ticket and reply posted there from now on.
    pub fn post_to(&mut self, url: &str) -> Result<()> {
        self.hook = url.replacen("http://", "http://hub:hook@", 1);
        self.restart()
    }

    /// Opens a ticket as an agent would; what it became.
    pub fn create(&self, ticket: &Value) -> Result<Value> {
        self.good("POST", "/api/tickets/", Some(ticket))
    }

    /// Changes a ticket; what it became.
    pub fn update(&self, id: i64, changes: &Value) -> Result<Value> {
        self.good("PATCH", &format!("/api/tickets/{id}/"), Some(changes))
    }

    /// All tickets.
    pub fn tickets(&self) -> Result<Vec<Value>> {
        let page = self.good("GET", "/api/tickets/?page_size=1000", None)?;
        ensure!(page["next"].is_null(), "there are more than a thousand tickets");
        Ok(page["results"].as_array().cloned().unwrap_or_default())
    }

    /// How many requests that would change something it has had.
    pub fn writes(&self) -> usize {
        self.log().lines().filter(|line| ["\"POST ", "\"PATCH ", "\"PUT ", "\"DELETE "].iter().any(|verb| line.contains(verb))).count()
    }

    /// A request to its API with the hub's token: status and body.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let text = body.map(Value::to_string);
        http(self.port, method, path, &format!("Token {TOKEN}"), text.as_deref())
    }

    fn good(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.api(method, path, body)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).with_context(|| format!("{method} {path}: {answer}"))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("django-helpdesk ended with {status}: {}", self.log());
            }
            if self.api("GET", "/api/tickets/?page_size=1", None).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("django-helpdesk does not answer on port {}: {}", self.port, self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("helpdesk.log")).unwrap_or_default()
    }
}

impl Drop for Helpdesk {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Its Python and a database with the tables and what [`Helpdesk`] promises, both made if they are missing.
pub fn install() -> Result<(PathBuf, PathBuf)> {
    let python = VENV.install()?;
    let folder = systems_folder()?;
    // Making the tables takes half a minute: once is enough, and two at once spoil each other.
    let lock = File::create(folder.join("helpdesk-database.lock"))?;
    lock.lock()?;
    let empty = folder.join("helpdesk").join("empty.sqlite3");
    if !empty.is_file() {
        let making = folder.join("helpdesk").join("making");
        lay_out(&making)?;
        run(django(&python, &making).args(["-m", "django", "migrate", "--verbosity", "0"]))?;
        run(django(&python, &making).arg("fill.py").arg(TOKEN))?;
        fs::rename(making.join("helpdesk.sqlite3"), &empty)?;
    }
    Ok((python, empty))
}

fn lay_out(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("media"))?;
    PROJECT.iter().try_for_each(|(name, text)| fs::write(dir.join(name), text)).context("writing the Django project")
}

fn django(python: &Path, dir: &Path) -> Command {
    let mut command = Command::new(python);
    command.current_dir(dir).env("HELPDESK_FOLDER", dir).env("PYTHONPATH", dir).env("DJANGO_SETTINGS_MODULE", "settings");
    command.env("PYTHONUNBUFFERED", "1");
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
