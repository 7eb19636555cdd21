//! The data folder: what is where in it, and how it is opened.
//!
//! ```text
//! store/     the embedded store: sled, its side files, and content-addressed files in blobs/
//! plugins/   installed components
//! cache/     compiled components; safe to delete
//! hub.key    the key that seals secrets; back it up apart from the rest
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use throughline_store::blobs::Blobs;
use throughline_store::{Options, Store};

const KEY_LENGTH: usize = 32;

/// A data folder.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    root: PathBuf,
}

impl Data {
    /// Makes the folder if it is not there.
    pub(crate) fn create(root: &Path) -> anyhow::Result<Self> {
        make_private_folder(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Refuses a folder that is not there.
    pub(crate) fn existing(root: &Path) -> anyhow::Result<Self> {
        if !root.join("store").is_dir() {
            bail!("{} is no data folder of a hub: there is no store in it", root.display());
        }
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// Files of installed components, in order.
    pub(crate) fn components(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for plugin in entries(&self.plugins())?.into_iter().filter(|path| path.is_dir()) {
            found.extend(entries(&plugin)?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "wasm")));
        }
        Ok(found)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub(crate) fn open_store(&self, cache_bytes: Option<u64>, reserve_bytes: Option<u64>) -> anyhow::Result<Store> {
        let mut options = Options::new(now_ms);
        options.cache_bytes = cache_bytes.unwrap_or(options.cache_bytes);
        options.reserve_bytes = reserve_bytes.unwrap_or(options.reserve_bytes);
        let path = self.store();
        Store::open_sled(&path, options).with_context(|| format!("cannot open the store in {}", path.display()))
    }

    pub(crate) fn open_blobs(&self) -> anyhow::Result<Blobs> {
        Blobs::open(&self.store()).context("cannot open the content-addressed files")
    }

    /// The hub's key; made together with the store, and never again: with another key the store's secrets could not be read.
    pub(crate) fn master_key(&self) -> anyhow::Result<[u8; KEY_LENGTH]> {
        let path = self.key_file();
        match fs::read(&path) {
            Ok(bytes) => {
                bytes.try_into().map_err(|_| anyhow::anyhow!("{} must hold {KEY_LENGTH} bytes; put your copy of it back", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.store().exists() => new_key(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "{} is gone, and without it the secrets of all connections cannot be read; put your copy of it back. If there is none: \
                 `head -c {KEY_LENGTH} /dev/urandom > {0}`, then set every connection's secrets again",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.root.join("hub.key")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }
}

/// What is in a folder, in order; nothing if it is not there.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut paths = listing.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn new_key(path: &Path) -> anyhow::Result<[u8; KEY_LENGTH]> {
    let mut key = [0; KEY_LENGTH];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("the operating system gives no random numbers: {error}"))?;
    write_private(path, &key)?;
    Ok(key)
}

/// Makes a folder that only this user can look into, if it is not there: it is about customers.
pub(crate) fn make_private_folder(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Makes a file that only this user can read, and refuses one that is there.
pub(crate) fn new_private_file(path: &Path) -> anyhow::Result<File> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a file that only this user can read, durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = new_private_file(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_folder_of(path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Makes durable that the file is in its folder.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
