//! A hub process and a client of its API.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

/// Where the binary is, set by whoever built it.
pub const BINARY: &str = "THROUGHLINE_BIN";
const READY: &str = "throughline is ready at ";
/// The largest file a test fetches.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A running hub. Stopped when dropped.
#[derive(Debug)]
pub struct HubProcess {
    binary: PathBuf,
    data: PathBuf,
    port: u16,
    child: Option<Child>,
    key: String,
    /// From starting the process to its being ready.
    pub started_in: Duration,
}

impl HubProcess {
    /// Starts a hub on a free port with its data in `data`.
    pub fn start(data: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Self::start_on(data, port)
    }

    /// Starts a hub on this port.
    pub fn start_on(data: &Path, port: u16) -> Result<Self> {
        let mut hub = Self { binary: binary()?, data: data.to_owned(), port, child: None, key: String::new(), started_in: Duration::ZERO };
        hub.restart()?;
        hub.key = std::fs::read_to_string(hub.key_file()).context("the hub wrote no admin key")?.trim().to_owned();
        Ok(hub)
    }

    fn key_file(&self) -> PathBuf {
        self.data.join("admin.key")
    }

    /// Starts the process again on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        std::fs::create_dir_all(&self.data)?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.data.join("hub.log"))?;
        let began = Instant::now();
        let mut child = Command::new(&self.binary)
            .arg("serve")
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data")
            .arg(self.data.join("data"))
            .arg("--admin-key-file")
            .arg(self.key_file())
            .args(["--public-url", &self.url()])
            .current_dir(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let stdout = child.stdout.take().context("the hub's output is piped")?;
        self.child = Some(child);
        for line in BufReader::new(stdout).lines() {
            if line?.starts_with(READY) {
                self.started_in = began.elapsed();
                return Ok(());
            }
        }
        self.kill();
        bail!("the hub did not start: {}", self.log())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("hub.log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The first admin key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its data folder, as `--data` wants it.
    pub fn data(&self) -> PathBuf {
        self.data.join("data")
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end and waits; the exit code.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        ensure!(asked.success(), "the hub could not be signalled");
        Ok(child.wait()?.code())
    }

    /// Lets the process go on when this value is dropped.
    pub fn leave_running(mut self) {
        self.child = None;
    }

    /// Installs a built plugin. What compiling it gave is shared between the hubs of all tests, which is the hub's own cache, filled.
    pub fn install(&self, plugin: &str) -> Result<Value> {
        let (shared, own) = (target().join("tmp").join("compiled"), self.data().join("cache"));
        std::fs::create_dir_all(&shared)?;
        // One compiles, the others wait for it.
        let lock = std::fs::File::create(shared.join("lock"))?;
        lock.lock()?;
        copy_absent(&shared, &own)?;
        let installed = self.client().install(plugin)?;
        copy_absent(&own, &shared)?;
        Ok(installed)
    }

    /// A client with the admin key.
    pub fn client(&self) -> Client {
        Client::new(&self.url(), &self.key)
    }

    /// Runs the command line against this hub; what it printed.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .env("THROUGHLINE_URL", self.url())
            .env("THROUGHLINE_KEY", &self.key)
            .stdin(Stdio::null())
            .output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "throughline {}: {printed}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(printed)
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The binary under test.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os(BINARY).map(PathBuf::from).unwrap_or_else(|| target().join("debug").join("throughline"));
    ensure!(path.is_file(), "{} is missing: build it with `cargo build -p throughline`, or run `cargo xtask test`", path.display());
    Ok(path)
}

/// A built plugin component.
pub fn component(name: &str) -> Result<Vec<u8>> {
    let path = target().join("plugins").join(format!("{name}.wasm"));
    std::fs::read(&path).with_context(|| format!("{} is missing: build it with `cargo xtask plugins`", path.display()))
}

/// Copies the compiled components and their sums that are not there yet.
fn copy_absent(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let goal = to.join(path.file_name().context("an entry has a name")?);
        if path.extension().is_some_and(|extension| extension == "cwasm" || extension == "sha256") && !goal.exists() {
            std::fs::copy(&path, &goal)?;
        }
    }
    Ok(())
}

/// The workspace's target folder.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("target")
}

/// A client of a hub's API.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    key: String,
}

/// An answer of the hub.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The ETag, if there was one.
    pub etag: Option<String>,
    /// The body; null if there was none.
    pub body: Value,
}

impl Client {
    /// For a hub at this address, with this key.
    pub fn new(url: &str, key: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(180))).build();
        Self { agent: config.into(), url: url.to_owned(), key: key.to_owned() }
    }

    /// Any request.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        request = request.header("authorization", format!("Bearer {}", self.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let text = response.body_mut().read_to_vec()?;
        let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
        Ok(Answer { status: response.status().as_u16(), etag, body })
    }

    /// GET; anything but 200 is an error.
    pub fn get(&self, path: &str) -> Result<Value> {
        good("GET", path, self.request("GET", path, &[], None)?)
    }

    /// POST of JSON; anything but 2xx is an error.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let bytes = serde_json::to_vec(body)?;
        good("POST", path, self.request("POST", path, &[("content-type", "application/json")], Some(&bytes))?)
    }

    /// PATCH of JSON against the version that is there now.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        let etag = self.request("GET", path, &[], None)?.etag.ok_or_else(|| anyhow!("{path} has no ETag"))?;
        let bytes = serde_json::to_vec(body)?;
        let headers = [("content-type", "application/json"), ("if-match", etag.as_str())];
        good("PATCH", path, self.request("PATCH", path, &headers, Some(&bytes))?)
    }

    /// The bytes at a path; anything but 200 is an error.
    pub fn download(&self, path: &str) -> Result<Vec<u8>> {
        let request = ureq::http::Request::builder().uri(format!("{}{path}", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.key)).body(())?;
        let mut response = self.agent.run(request)?;
        ensure!(response.status() == 200, "GET {path} answered {}", response.status());
        Ok(response.body_mut().with_config().limit(LARGEST).read_to_vec()?)
    }

    /// All items of a list, page by page. `path` has no query of its own, or one.
    pub fn all(&self, path: &str) -> Result<Vec<Value>> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{glue}limit=200{cursor}"))?;
            items.extend(page["items"].as_array().context("a list has items")?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// The one person with an identity such as `email:ada@example.com`; none if nobody has it.
    pub fn person(&self, identity: &str) -> Result<Option<Value>> {
        let mut found = self.all(&format!("/v1/profiles?identity={}", identity.replace('+', "%2B")))?;
        ensure!(found.len() <= 1, "{identity} leads to more than one profile: {found:?}");
        Ok(found.pop())
    }

    /// All that happened with the person who has an identity, newest first; nothing if nobody has it.
    pub fn timeline(&self, identity: &str) -> Result<Vec<Value>> {
        match self.person(identity)? {
            Some(person) => self.all(&format!("/v1/profiles/{}/timeline", person["id"].as_str().context("a profile has an id")?)),
            None => Ok(Vec::new()),
        }
    }

    /// Installs a built plugin.
    pub fn install(&self, plugin: &str) -> Result<Value> {
        let component = component(plugin)?;
        let answer = self.request("POST", "/v1/plugins", &[("content-type", "application/wasm")], Some(&component))?;
        good("POST", "/v1/plugins", answer)
    }

    /// Subscribes to events of these types; they arrive on the channel until the hub goes away.
    pub fn events(&self, types: &str) -> Result<Receiver<(Instant, Value)>> {
        let request = ureq::http::Request::builder()
            .uri(format!("{}/v1/events?type={types}", self.url))
            .header("authorization", format!("Bearer {}", self.key))
            .body(())?;
        let config = ureq::Agent::config_builder().timeout_global(None).build();
        let response = ureq::Agent::from(config).run(request)?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || read_events(response.into_body().into_reader(), &sender));
        Ok(receiver)
    }
}

fn read_events(reader: impl Read, sender: &std::sync::mpsc::Sender<(Instant, Value)>) {
    for line in BufReader::new(reader).lines() {
        let Ok(line) = line else { return };
        let event = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data.trim()).ok());
        if let Some(event) = event
            && sender.send((Instant::now(), event)).is_err()
        {
            return;
        }
    }
}

fn good(method: &str, path: &str, answer: Answer) -> Result<Value> {
    ensure!((200..300).contains(&answer.status), "{method} {path} answered {}: {}", answer.status, answer.body);
    Ok(answer.body)
}
