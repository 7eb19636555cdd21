//! `throughline backup`: one file with everything of a data folder that no hub is using.
//!
//! A tar archive: `store` (the store's own backup stream, stored files included), `plugins/…`, `hub.key` if asked for, and last
//! `contents.json` with the size and digest of each: without it the archive was cut short.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use throughline_schemas::Timestamp;

use crate::arguments::Backup;
use crate::config::Config;
use crate::data::{self, Data, new_private_file, sync_folder_of};
use crate::output;

/// The archive's entries.
pub(crate) const STORE: &str = "store";
pub(crate) const PLUGINS: &str = "plugins/";
pub(crate) const KEY: &str = "hub.key";
pub(crate) const CONTENTS: &str = "contents.json";
pub(crate) const FORMAT: u32 = 1;

/// What is in a backup; its last entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) format: u32,
    /// The version of the program that wrote it.
    pub(crate) program: String,
    pub(crate) made_at: Timestamp,
    /// Keys in the store.
    pub(crate) store_entries: u64,
    /// Files that the store refers to.
    pub(crate) store_files: u64,
    pub(crate) entries: Vec<Listed>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// Counts and digests what passes through it.
pub(crate) struct Measured<T> {
    inner: T,
    digest: Sha256,
    size: u64,
}

pub(crate) fn run(backup: &Backup, json: bool) -> anyhow::Result<ExitCode> {
    let root = Config::data_folder(&backup.folder)?;
    let data = Data::existing(&root)?;
    if backup.file.exists() {
        bail!("{} is there already; choose another name, so that no backup is overwritten", backup.file.display());
    }
    let part = part_of(&backup.file);
    // What a backup left whose process was killed.
    drop(fs::remove_file(&part));
    let made = write(&data, &part, backup.include_key).and_then(|contents| {
        fs::rename(&part, &backup.file).and_then(|()| sync_folder_of(&backup.file)).context("cannot give the backup its name")?;
        Ok(contents)
    });
    if made.is_err() {
        drop(fs::remove_file(&part));
    }
    let contents = made?;
    output::print(json, &contents, || text(backup, &root, &contents))?;
    Ok(ExitCode::SUCCESS)
}

fn text(backup: &Backup, root: &Path, contents: &Contents) -> String {
    let size: u64 = contents.entries.iter().map(|entry| entry.size).sum();
    let key = if backup.include_key {
        "The hub's key is in it: who has this file can read every secret.".to_owned()
    } else {
        format!("The hub's key is not in it: keep a copy of {} elsewhere, or the secrets cannot be read.", root.join(KEY).display())
    };
    format!(
        "{} holds {} store entries, {} files and {} plugins ({size} bytes).\n{key}",
        backup.file.display(),
        contents.store_entries,
        contents.store_files,
        contents.entries.iter().filter(|entry| entry.path.ends_with(".wasm")).count(),
    )
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn write(data: &Data, part: &Path, include_key: bool) -> anyhow::Result<Contents> {
    let store = data.open_store(None, None).context("a backup is taken while no hub uses the folder; stop it first")?;
    let blobs = data.open_blobs()?;
    let file = new_private_file(part)?;
    let mut archive = Archive { tar: tar::Builder::new(file), entries: Vec::new() };
    let mut summary = None;
    archive.add(STORE, |out| {
        summary = Some(store.export(&blobs, out)?);
        Ok(())
    })?;
    store.close().context("the store did not close well")?;
    for (path, file) in plugin_files(data)? {
        archive.add(&path, |mut out| {
            io::copy(&mut File::open(&file)?, &mut out)?;
            Ok(())
        })?;
    }
    if include_key {
        let key = data.master_key()?;
        archive.add(KEY, |out| Ok(out.write_all(&key)?))?;
    }
    let summary = summary.expect("export gave a summary, or adding the store failed");
    archive.finish(summary.entries, summary.blobs).with_context(|| format!("cannot write {}", part.display()))
}

struct Archive {
    tar: tar::Builder<File>,
    entries: Vec<Listed>,
}

impl Archive {
    fn add(&mut self, path: &str, fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut header = header();
        let writer = self.tar.append_writer(&mut header, path).with_context(|| format!("cannot write {path} into the backup"))?;
        let mut measured = Measured::new(writer);
        fill(&mut measured).with_context(|| format!("cannot put {path} into the backup"))?;
        let (writer, listed) = measured.end(path);
        writer.finish().with_context(|| format!("cannot write {path} into the backup"))?;
        self.entries.push(listed);
        Ok(())
    }

    fn finish(mut self, store_entries: u64, store_files: u64) -> io::Result<Contents> {
        let made_at = Timestamp::from_millis(i64::try_from(data::now_ms()).unwrap_or(i64::MAX));
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let contents = Contents { format: FORMAT, program, made_at, store_entries, store_files, entries: self.entries };
        let bytes = serde_json::to_vec_pretty(&contents)?;
        let mut header = header();
        header.set_size(bytes.len() as u64);
        self.tar.append_data(&mut header, CONTENTS, bytes.as_slice())?;
        self.tar.into_inner()?.sync_all()?;
        Ok(contents)
    }
}

fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// Path in the archive, and the file: each component with its digest.
fn plugin_files(data: &Data) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for component in data.components()? {
        for file in [component.clone(), component.with_extension("wasm.sha256")] {
            let inside = file.strip_prefix(data.plugins()).expect("it was found in this folder");
            found.push((format!("{PLUGINS}{}", inside.display()), file.clone()));
        }
    }
    Ok(found)
}

impl<T> Measured<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, digest: Sha256::new(), size: 0 }
    }

    /// What passed through.
    pub(crate) fn end(self, path: &str) -> (T, Listed) {
        let sha256 = self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.inner, Listed { path: path.to_owned(), size: self.size, sha256 })
    }

    fn note(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
    }
}

impl<T: Write> Write for Measured<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.note(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: io::Read> io::Read for Measured<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let (bytes, _) = buffer.split_at(read);
        self.note(bytes);
        Ok(read)
    }
}
