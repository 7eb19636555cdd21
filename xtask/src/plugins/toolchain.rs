//! Finding a compiler for `wasm32-unknown-unknown`, installing one where that is possible, and keeping the outer cargo's environment from it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's compiler, with the library's source to build the standard library for wasm from.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "cargo-web", "lld-22"];
/// How long the toolchain server may take to answer before we look elsewhere.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(120);
/// `rustup` or `debian`: take this one only.
const CHOICE: &str = "THROUGHLINE_GUEST_TOOLCHAIN";

/// A way to compile guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain we run on has the target's standard library.
    Own {
        /// Whether we just added it.
        added: bool,
    },
    /// Debian's compiler builds the standard library along.
    Debian {
        /// Its linker.
        linker: PathBuf,
        /// Whether we just installed it.
        installed: bool,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own { added: false } => write!(f, "this toolchain, which has the target installed"),
            Self::Own { added: true } => write!(f, "this toolchain, to which `rustup target add {TARGET}` added the target"),
            Self::Debian { installed: false, .. } => write!(f, "Debian's rustc-web, building the standard library along"),
            Self::Debian { installed: true, .. } => write!(f, "Debian's rustc-web, just installed, building the standard library along"),
        }
    }
}

impl Toolchain {
    /// The first that there is, or that can be had: the target of our own toolchain, added to it if need be, then Debian's compiler.
    pub(crate) fn find() -> Result<Self> {
        let choice = std::env::var(CHOICE).unwrap_or_default();
        if choice != "debian"
            && let Some(own) = own()
        {
            return Ok(own);
        }
        if choice != "rustup" {
            if let Some(debian) = debian(false) {
                return Ok(debian);
            }
            if install_debian()?
                && let Some(debian) = debian(true)
            {
                return Ok(debian);
            }
        }
        bail!(
            "no compiler for {TARGET}. With rustup: `rustup target add {TARGET}`. Without it, install a Rust toolchain that has the target \
             (see https://rustup.rs), or as root on Debian: `apt-get install {}`",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    /// Cargo, ready for `build`.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Own { .. } => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Self::Debian { .. } => Command::new("/usr/bin/cargo"),
        };
        for (name, _) in std::env::vars_os() {
            if leaks(&name.to_string_lossy(), self) {
                command.env_remove(name);
            }
        }
        // Dependencies that want randomness ask the hub, if the plugin switched the SDK's feature on.
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "--cfg getrandom_backend=\"custom\"");
        if let Self::Debian { linker, .. } = self {
            command.env("PATH", debian_path()).env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker).arg("-Zbuild-std=std,panic_abort");
        }
        command
    }

    /// The folder for its output: outputs of different compilers only push each other out.
    pub(crate) fn folder(&self) -> &'static str {
        match self {
            Self::Own { .. } => "own",
            Self::Debian { .. } => "debian",
        }
    }
}

/// What the outer cargo sets or obeys, and the inner must not. Settings of the network and of the user's home stay.
fn leaks(name: &str, toolchain: &Toolchain) -> bool {
    const KEPT: [&str; 7] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_TERM_", "CARGO_BUILD_JOBS"];
    if KEPT.iter().any(|kept| name.starts_with(kept)) {
        return false;
    }
    match name {
        // Our own toolchain is the one that the outer cargo runs on.
        "RUSTUP_TOOLCHAIN" | "LD_LIBRARY_PATH" => matches!(toolchain, Toolchain::Debian { .. }),
        _ => name.starts_with("CARGO") || name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS") || name == "RUST_RECURSION_COUNT",
    }
}

fn debian_path() -> OsString {
    let mut path = OsString::from("/usr/bin");
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

fn own() -> Option<Toolchain> {
    if has_target() {
        return Some(Toolchain::Own { added: false });
    }
    eprintln!("the target {TARGET} is not installed: trying `rustup target add {TARGET}`");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    let added = succeeds_within(rustup, RUSTUP_PATIENCE) && has_target();
    added.then_some(Toolchain::Own { added: true })
}

/// Whether the compiler's own folder holds a standard library for the target: true after `rustup target add`, and for distributions'.
fn has_target() -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).stderr(Stdio::null()).output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn debian(installed: bool) -> Option<Toolchain> {
    let source = Path::new("/usr/lib/rustlib/src/rust/library/Cargo.lock");
    let complete = Path::new("/usr/bin/rustc").exists() && Path::new("/usr/bin/cargo").exists() && source.exists();
    let linker = newest_linker()?;
    complete.then_some(Toolchain::Debian { linker, installed })
}

/// `/usr/bin/wasm-ld-22`, or whichever version is the highest.
fn newest_linker() -> Option<PathBuf> {
    let names = std::fs::read_dir("/usr/bin").ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = |name: &String| name.strip_prefix("wasm-ld-").and_then(|version| version.parse::<u32>().ok());
    let newest = names.filter_map(|name| version(&name).map(|version| (version, name))).max()?;
    Some(Path::new("/usr/bin").join(newest.1))
}

/// True if it was installed; false where this cannot be done (no Debian, not root).
fn install_debian() -> Result<bool> {
    if !Path::new("/usr/bin/apt-get").exists() || !is_root() {
        return Ok(false);
    }
    eprintln!("no toolchain server in reach: installing {} with apt-get, to compile the plugins with", DEBIAN_PACKAGES.join(", "));
    for arguments in [&["update", "-q"][..], &[&["install", "-y", "-q", "--no-install-recommends"][..], &DEBIAN_PACKAGES].concat()] {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        let status = command.status().context("cannot run apt-get")?;
        if !status.success() {
            eprintln!("apt-get {} failed", arguments[0]);
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "0")
}

/// Runs a command and ends it when it takes too long: a server that does not answer must not hold up the build.
fn succeeds_within(mut command: Command, patience: Duration) -> bool {
    let Ok(mut child) = command.spawn() else { return false };
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < patience => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                // It is beyond use either way.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_cargo_does_not_leak_into_the_inner() {
        let own = Toolchain::Own { added: false };
        let debian = Toolchain::Debian { linker: "/usr/bin/wasm-ld-22".into(), installed: false };
        let table = [
            ("CARGO", true, true),
            ("CARGO_TARGET_DIR", true, true),
            ("CARGO_MANIFEST_DIR", true, true),
            ("CARGO_ENCODED_RUSTFLAGS", true, true),
            ("CARGO_BUILD_TARGET", true, true),
            ("RUSTC", true, true),
            ("RUSTC_WRAPPER", true, true),
            ("RUSTFLAGS", true, true),
            ("RUSTUP_TOOLCHAIN", false, true),
            ("LD_LIBRARY_PATH", false, true),
            ("CARGO_HOME", false, false),
            ("CARGO_NET_OFFLINE", false, false),
            ("CARGO_BUILD_JOBS", false, false),
            ("RUST_BACKTRACE", false, false),
            ("RUSTUP_HOME", false, false),
            ("PATH", false, false),
        ];
        for (name, from_own, from_debian) in table {
            assert_eq!(leaks(name, &own), from_own, "{name}");
            assert_eq!(leaks(name, &debian), from_debian, "{name}");
        }
    }

    #[test]
    fn a_command_that_takes_too_long_is_given_up() {
        let mut endless = Command::new("sleep");
        endless.arg("600");
        assert!(!succeeds_within(endless, Duration::from_millis(50)));
        assert!(succeeds_within(Command::new("true"), Duration::from_secs(60)));
        assert!(!succeeds_within(Command::new("false"), Duration::from_secs(60)));
        assert!(!succeeds_within(Command::new("no-such-command-here"), Duration::from_secs(60)));
    }
}
