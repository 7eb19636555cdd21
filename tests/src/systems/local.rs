//! What systems on loopback share: virtual environments for those that come as Python packages, free ports, plain requests.
//!
//! Depends on `std` and `anyhow` only, so that a plugin's own tests can include this file.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long an answer may take; a busy machine takes its time.
const ANSWER: Duration = Duration::from_secs(60);

/// Python packages in an environment of their own.
#[derive(Debug, Clone, Copy)]
pub struct Venv {
    /// The environment's folder, below the repository's `target/systems`.
    pub name: &'static str,
    /// The packages, with the releases that the tests were written against.
    pub packages: &'static [&'static str],
    /// A program that they bring.
    pub program: &'static str,
}

impl Venv {
    /// Makes the environment if it is missing; where its program is.
    pub fn install(self) -> Result<PathBuf> {
        let folder = systems_folder()?;
        // Tests run in parallel, and two installations at once spoil each other.
        let lock = File::create(folder.join(format!("{}.lock", self.name)))?;
        lock.lock()?;
        let venv = folder.join(self.name);
        let program = venv.join("bin").join(self.program);
        if !program.is_file() {
            self.run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let pip = ["install", "--quiet", "--disable-pip-version-check"];
            self.run(Command::new(venv.join("bin").join("pip")).args(pip).args(self.packages))?;
        }
        ensure!(program.is_file(), "{:?} bring no {}: {}", self.packages, program.display(), self.by_hand());
        Ok(program)
    }

    /// What to do when it cannot be installed.
    pub fn by_hand(self) -> String {
        let Self { name, packages, .. } = self;
        let packages = packages.join(" ");
        format!("install it by hand: python3 -m venv target/systems/{name} && target/systems/{name}/bin/pip install {packages}")
    }

    fn run(self, command: &mut Command) -> Result<()> {
        let output = command.output().with_context(|| format!("running {command:?}: {}", self.by_hand()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?} failed: {}\n{}", said.trim(), self.by_hand());
        Ok(())
    }
}

/// Where systems are installed: below the folder with Cargo.lock above the crate that includes this file.
pub fn systems_folder() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).context("there is no Cargo.lock above this crate")?;
    let folder = root.join("target").join("systems");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A JSON request over HTTP/1.0, whose answer ends with the connection: status and body. No `authorization` sends no such header.
pub fn http(port: u16, method: &str, path: &str, authorization: &str, body: Option<&str>) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let body = body.unwrap_or_default();
    let authorization = if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    Ok((status, body.to_owned()))
}
