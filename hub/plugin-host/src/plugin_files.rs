//! Installed components on disk: `<plugins_dir>/<name>/<version>.wasm` with the digest beside it in `<version>.sha256`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use throughline_domain::connector::PluginError;

use crate::compiled::{digest_of, write_whole};

/// The folder of installed components.
pub(crate) struct PluginFiles {
    folder: PathBuf,
}

/// One component as found on disk.
pub(crate) struct Stored {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

impl PluginFiles {
    pub(crate) fn open(folder: &Path) -> Result<Self, PluginError> {
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Everything in the folder whose digest is right. What is not is left out with an error in the log: one damaged plugin must
    /// not keep the hub from starting.
    pub(crate) fn load_all(&self) -> Result<Vec<Stored>, PluginError> {
        let mut stored = Vec::new();
        for folder in entries(&self.folder)? {
            if !folder.is_dir() {
                continue;
            }
            for path in entries(&folder)? {
                if path.extension().is_some_and(|extension| extension == "wasm")
                    && let Some(component) = load(&path)
                {
                    stored.push(component);
                }
            }
        }
        Ok(stored)
    }

    pub(crate) fn save(&self, name: &str, version: &str, bytes: &[u8]) -> Result<(), PluginError> {
        let path = self.path(name, version);
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.folder.join(name))?;
            write_whole(&digest_path(&path), digest_of(bytes).as_bytes())?;
            write_whole(&path, bytes)
        };
        write().map_err(|error| failed(&path, &error))
    }

    pub(crate) fn remove(&self, name: &str, version: &str) -> Result<(), PluginError> {
        let path = self.path(name, version);
        fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        // The digest alone installs nothing; neither does an empty folder.
        drop(fs::remove_file(digest_path(&path)));
        drop(fs::remove_dir(self.folder.join(name)));
        Ok(())
    }

    // Name and version come out of a checked manifest: neither can hold a separator or begin with a dot.
    fn path(&self, name: &str, version: &str) -> PathBuf {
        self.folder.join(name).join(format!("{version}.wasm"))
    }
}

fn digest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let listing = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    let mut paths =
        listing.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(|error| failed(folder, &error))?;
    paths.sort();
    Ok(paths)
}

fn load(path: &Path) -> Option<Stored> {
    let read = || -> io::Result<(Vec<u8>, String)> { Ok((fs::read(path)?, fs::read_to_string(digest_path(path))?)) };
    match read() {
        Ok((bytes, expected)) => {
            let digest = digest_of(&bytes);
            if digest == expected.trim() {
                return Some(Stored { path: path.to_owned(), bytes, digest });
            }
            tracing::error!(path = %path.display(), "an installed plugin is damaged: its digest is another; install it again");
        }
        Err(error) => tracing::error!(path = %path.display(), %error, "an installed plugin cannot be read"),
    }
    None
}

fn failed(path: &Path, error: &io::Error) -> PluginError {
    PluginError::Internal(format!("{}: {error}", path.display()))
}
