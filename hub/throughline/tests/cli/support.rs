//! Folders, processes and answers for the tests beside this file.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A folder to work in; the data folder in it is called `data`.
pub(crate) struct Place {
    folder: TempDir,
}

/// A running hub; killed when dropped.
pub(crate) struct Hub {
    child: Child,
    pub(crate) url: String,
    /// What it printed before it was ready.
    pub(crate) printed: Vec<String>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The binary, with nothing of our environment that means anything to it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("THROUGHLINE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.folder.path()).env("THROUGHLINE_DATA", "data").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    pub(crate) fn serve(&self) -> Hub {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, more: &[&str]) -> Hub {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
        let mut child = command.args(more).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut printed = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
            let url = line.strip_prefix("throughline is ready at ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
            printed.push(line);
            if let Some(url) = url {
                return Hub { child, url, printed };
            }
        }
        panic!("the hub ended before it was ready: {:?} {printed:?}", child.wait());
    }
}

impl Hub {
    /// The admin key, if this was its first start.
    pub(crate) fn key(&self) -> Option<String> {
        self.printed.iter().map(|line| line.trim()).find(|line| line.starts_with("tl_")).map(str::to_owned)
    }

    pub(crate) fn status(&self, path: &str) -> u16 {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        agent.get(format!("{}{path}", self.url)).call().unwrap().status().as_u16()
    }

    /// A command against this hub.
    pub(crate) fn run(&self, place: &Place, key: &str, arguments: &[&str]) -> Ran {
        let mut command = place.command(arguments);
        Ran::of(
            command.env("THROUGHLINE_URL", &self.url).env("THROUGHLINE_KEY", key).env("API_TOKEN", "secret-of-a-test").output().unwrap(),
        )
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to end; its exit code and the time it took.
    pub(crate) fn stop(mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        (status.code(), asked.elapsed())
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Gone already when a test stopped it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Insists on success.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Insists on this exit code and on these words in the error.
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing: {}", self.err);
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A component that `cargo xtask plugins` built.
pub(crate) fn component(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run cargo xtask plugins", path.display());
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}
