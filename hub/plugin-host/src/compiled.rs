//! Compiled components on disk, so that nothing is compiled twice and never on the request path.
//!
//! A file's name is the hash of everything its content depends on: the component's digest, wasmtime's version, the engine's settings
//! and the processor's features. Beside it lies its SHA-256: a damaged file is compiled again, not loaded. The folder is this user's
//! alone, because whoever can write it can run native code in the hub.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use throughline_domain::connector::PluginError;
use wasmtime::Engine;
use wasmtime::component::Component;

/// The folder of compiled components.
pub(crate) struct CompiledCache {
    folder: PathBuf,
}

impl CompiledCache {
    /// Opens the folder, makes it if need be, and takes everyone else's access away.
    pub(crate) fn open(folder: &Path) -> Result<Self, PluginError> {
        make_private(folder).map_err(|error| internal(folder, "cannot be made private", &error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The component ready to run: from the folder if it is there undamaged, else compiled now and kept.
    pub(crate) fn load(&self, engine: &Engine, digest: &str, bytes: &[u8]) -> Result<Component, PluginError> {
        let path = self.folder.join(format!("{}.cwasm", key(engine, digest)));
        if !is_intact(&path) {
            let compiled = engine.precompile_component(bytes).map_err(|error| PluginError::NotAComponent(format!("{error:#}")))?;
            keep(&path, &compiled).map_err(|error| internal(&path, "cannot be written", &error))?;
        }
        deserialize(engine, &path).map_err(|error| PluginError::Internal(format!("compiled component {}: {error:#}", path.display())))
    }

    /// Forgets a component's compiled code.
    pub(crate) fn forget(&self, engine: &Engine, digest: &str) {
        let path = self.folder.join(format!("{}.cwasm", key(engine, digest)));
        for path in [sidecar(&path), path] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a compiled component cannot be removed");
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime cannot verify native code: the file was written by us in a private folder and its hash was just checked"
)]
fn deserialize(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file is the output of `precompile_component` of this very engine configuration (its name is the hash of it), lies
    // in a folder only this user can write, and `is_intact` or `keep` has just vouched for its content.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Lets `Hash` values run into a hash that is the same in every process.
struct StableHasher(Sha256);

impl Hasher for StableHasher {
    fn finish(&self) -> u64 {
        0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

fn key(engine: &Engine, digest: &str) -> String {
    let mut hasher = StableHasher(Sha256::new());
    digest.hash(&mut hasher);
    // Covers wasmtime's version, all settings and the processor features compiled for.
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hex(&hasher.0.finalize())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

/// `sha256:<hex>` of these bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn sidecar(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

fn is_intact(path: &Path) -> bool {
    let (Ok(content), Ok(expected)) = (fs::read(path), fs::read_to_string(sidecar(path))) else { return false };
    let intact = digest_of(&content) == expected.trim();
    if !intact {
        tracing::warn!(path = %path.display(), "a compiled component is damaged and will be compiled again");
    }
    intact
}

fn keep(path: &Path, compiled: &[u8]) -> io::Result<()> {
    write_whole(path, compiled)?;
    write_whole(&sidecar(path), digest_of(compiled).as_bytes())
}

/// Writes beside, makes durable and renames, so that no reader ever sees half a file.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let serial = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!("{name}.{}-{serial}.tmp", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn internal(path: &Path, what: &str, error: &io::Error) -> PluginError {
    PluginError::Internal(format!("{} {what}: {error}", path.display()))
}
