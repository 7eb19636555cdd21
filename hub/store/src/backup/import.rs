//! Bringing a backup back: built beside the target, held against itself, and only then given the target's name.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::{Reader, Record};
use super::{BackupError, Summary};
use crate::blobs::{BlobWriter, Blobs};
use crate::engine::{KvEngine, SledEngine, SledOptions, WriteBatch};
use crate::layout;
use crate::mark::Mark;
use crate::open::{Folder, Recovered, end, identify};
use crate::port::{Key, StoreError};

const BATCH_BYTES: usize = 512 * 1024;
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Restores a backup into `dir`, which must be absent or empty. On an error it stays as it was. The restored store goes on far beyond the
/// head of the backup, so that no sequence handed out after the backup was taken ever means something else.
///
/// # Errors
/// If the backup was cut short or altered, is of a newer program, or the target cannot be written.
pub fn import(input: impl Read, dir: &Path) -> Result<Summary, BackupError> {
    refuse_unless_empty(dir)?;
    let beside = Beside::make(dir)?;
    let summary = build(input, &beside.path)?;
    beside.take_name_of(dir)?;
    Ok(summary)
}

fn build(input: impl Read, dir: &Path) -> Result<Summary, BackupError> {
    let (mut reader, store_id, head) = Reader::begin(BufReader::new(input))?;
    let folder = Folder::of(dir);
    let engine = SledEngine::open(&folder.engine, SledOptions { cache_bytes: CACHE_BYTES }).map_err(StoreError::from)?;
    let mut build =
        Build { engine: &engine, blobs: Blobs::open(dir)?, batch: WriteBatch::default(), last: Key::new(), entries: 0, found: 0 };
    let (entries, blobs) = build.records(&mut reader)?;
    reader.finish()?;
    if (build.entries, build.found) != (entries, blobs) {
        return Err(BackupError::Altered("the number of its records"));
    }
    build.apply()?;
    if identify(&engine)? != Some(Recovered { id: store_id, head }) {
        return Err(BackupError::Altered("its header is not that of its entries"));
    }
    let begins = head.saturating_add(layout::RESTORE_GAP);
    build.batch.put(layout::HEAD.to_vec(), begins.to_be_bytes().to_vec());
    build.apply()?;
    end(&engine, begins)?;
    engine.close();
    Mark::create(&folder.mark, store_id, begins)?;
    Ok(Summary { store_id, head, entries, blobs })
}

struct Build<'a> {
    engine: &'a SledEngine,
    blobs: Blobs,
    batch: WriteBatch,
    last: Key,
    entries: u64,
    found: u64,
}

impl Build<'_> {
    fn records(&mut self, reader: &mut Reader<impl Read>) -> Result<(u64, u64), BackupError> {
        let mut open: Option<([u8; 32], BlobWriter)> = None;
        loop {
            match (reader.next()?, &mut open) {
                (Record::Entry(key, value), None) => self.entry(key, value)?,
                (Record::Piece(bytes), Some((_, writer))) => writer.write(&bytes)?,
                (Record::Blob(digest), _) => {
                    self.blob(open.take())?;
                    open = Some((digest, self.blobs.writer(u64::MAX)?));
                }
                (Record::End(entries, blobs), _) => {
                    self.blob(open.take())?;
                    return Ok((entries, blobs));
                }
                (Record::Entry(..) | Record::Piece(_), _) => return Err(BackupError::Altered("the order of its records")),
            }
        }
    }

    fn entry(&mut self, key: Key, value: Vec<u8>) -> Result<(), BackupError> {
        if key <= self.last {
            return Err(BackupError::Altered("the order of its keys"));
        }
        self.last.clone_from(&key);
        self.batch.put(key, value);
        self.entries += 1;
        if self.batch.bytes() >= BATCH_BYTES { self.apply() } else { Ok(()) }
    }

    fn blob(&mut self, finished: Option<([u8; 32], BlobWriter)>) -> Result<(), BackupError> {
        let Some((digest, writer)) = finished else { return Ok(()) };
        let mut expected = "sha256:".to_owned();
        for byte in digest {
            write!(expected, "{byte:02x}").expect("writing to a string cannot fail");
        }
        if writer.finish()? != expected {
            return Err(BackupError::Altered("the bytes of a blob"));
        }
        self.found += 1;
        Ok(())
    }

    fn apply(&mut self) -> Result<(), BackupError> {
        Ok(self.engine.apply(std::mem::take(&mut self.batch)).map_err(StoreError::from)?)
    }
}

/// A folder beside the target, removed again unless it becomes the target.
struct Beside {
    path: PathBuf,
}

impl Beside {
    fn make(dir: &Path) -> Result<Self, BackupError> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".restoring");
        let path = dir.with_file_name(name);
        // What an earlier attempt left when its process died.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|error| target(&path, error))?;
        Ok(Self { path })
    }

    fn take_name_of(self, dir: &Path) -> Result<(), BackupError> {
        sync(&self.path)?;
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(target(dir, error)),
            _ => {}
        }
        std::fs::rename(&self.path, dir).map_err(|error| target(dir, error))?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
            _ => sync(Path::new(".")),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Gone already if it became the target.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn refuse_unless_empty(dir: &Path) -> Result<(), BackupError> {
    match std::fs::read_dir(dir).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(BackupError::NotEmpty(dir.display().to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(target(dir, error)),
    }
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| target(folder, error))
}

fn target(path: &Path, source: std::io::Error) -> BackupError {
    BackupError::Target { path: path.display().to_string(), source }
}
