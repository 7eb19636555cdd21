//! The side file beside the engine: which store this is, and a sequence that was acknowledged.
//!
//! An engine that finds its file emptied or cut short may open it as if nothing had ever been there. The mark cannot be fooled with
//! it: a store that ends before its mark has lost acknowledged commits and is refused. The mark is never ahead of what is durable.
//!
//! Four blocks of 4 KiB: the header, two slots that are written in turn with fdatasync, so that one of them is always whole, and a third
//! written after every batch without, which is exact whenever the system (not only the process) lived on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::port::{Sequence, StoreError};

const BLOCK: u64 = 4096;
const MAGIC: &[u8; 8] = b"TLMARK\x00\x01";
const HINT_SLOT: u64 = 3;

/// Names a store.
pub(crate) type StoreId = [u8; 16];

/// The open side file.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
    id: StoreId,
    /// The synchronised slot to write next: 1 or 2.
    next_slot: u64,
    settled: Sequence,
}

/// What the file said when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) id: StoreId,
    pub(crate) acknowledged: Sequence,
}

impl Mark {
    /// Makes the file, whole or not at all.
    pub(crate) fn create(path: &Path, id: StoreId, acknowledged: Sequence) -> Result<Self, StoreError> {
        write_new(path, &image(&id, acknowledged)).map_err(|error| io_error(path, &error))?;
        let file = open_file(path).map_err(|error| io_error(path, &error))?;
        Ok(Self { file, path: path.to_owned(), id, next_slot: 1, settled: acknowledged })
    }

    /// Opens the file, if there is one.
    pub(crate) fn open(path: &Path) -> Result<Option<(Self, Marked)>, StoreError> {
        let file = match open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(path, &error)),
        };
        let mut bytes = vec![0; (4 * BLOCK) as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StoreError::Corrupt(format!("{} is too short", path.display())),
            _ => io_error(path, &error),
        })?;
        let id = header(&bytes).ok_or_else(|| StoreError::Corrupt(format!("{} has a damaged header", path.display())))?;
        let slots = [1, 2, HINT_SLOT].map(|slot| slot_in(&bytes, slot, &id));
        let settled = slots[0].max(slots[1]).ok_or_else(|| StoreError::Corrupt(format!("{} has no whole entry", path.display())))?;
        let next_slot = if slots[0] == Some(settled) { 2 } else { 1 };
        let marked = Marked { id, acknowledged: slots[2].map_or(settled, |hint| hint.max(settled)) };
        Ok(Some((Self { file, path: path.to_owned(), id, next_slot, settled }, marked)))
    }

    /// Notes that everything up to `durable` is durable; exact unless the system itself dies.
    pub(crate) fn note(&self, durable: Sequence) -> Result<(), StoreError> {
        self.file.write_all_at(&slot(durable, &self.id), HINT_SLOT * BLOCK).map_err(|error| io_error(&self.path, &error))
    }

    /// The last sequence noted for good.
    pub(crate) fn settled(&self) -> Sequence {
        self.settled
    }

    /// Notes for good that everything up to `durable` is durable.
    pub(crate) fn settle(&mut self, durable: Sequence) -> Result<(), StoreError> {
        let written = self.file.write_all_at(&slot(durable, &self.id), self.next_slot * BLOCK).and_then(|()| self.file.sync_data());
        written.map_err(|error| io_error(&self.path, &error))?;
        self.next_slot = 3 - self.next_slot;
        self.settled = durable;
        Ok(())
    }
}

/// Writes a file so that it is there whole, or not, whatever happens meanwhile.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, bytes)?;
    File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn image(id: &StoreId, acknowledged: Sequence) -> Vec<u8> {
    let mut bytes = vec![0; (4 * BLOCK) as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(id);
    let checksum = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&checksum.to_be_bytes());
    for block in 1..=HINT_SLOT {
        let at = (block * BLOCK) as usize;
        bytes[at..at + 12].copy_from_slice(&slot(acknowledged, id));
    }
    bytes
}

fn header(bytes: &[u8]) -> Option<StoreId> {
    let whole = bytes.starts_with(MAGIC) && crc32fast::hash(&bytes[..24]).to_be_bytes() == bytes[24..28];
    whole.then(|| bytes[8..24].try_into().expect("16 bytes"))
}

/// A sequence with a checksum that covers the store's id too, so that a slot of another store is no slot of this one.
fn slot(sequence: Sequence, id: &StoreId) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(id);
    checksum.update(&bytes[..8]);
    bytes[8..].copy_from_slice(&checksum.finalize().to_be_bytes());
    bytes
}

fn slot_in(bytes: &[u8], number: u64, id: &StoreId) -> Option<Sequence> {
    let at = (number * BLOCK) as usize;
    let sequence = u64::from_be_bytes(*bytes[at..].first_chunk()?);
    (slot(sequence, id) == bytes[at..at + 12]).then_some(sequence)
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StoreId = [7; 16];

    fn reopened(path: &Path) -> Result<Sequence, StoreError> {
        Mark::open(path).map(|found| found.expect("it is there").1.acknowledged)
    }

    fn flip(path: &Path, at: u64) {
        let file = open_file(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    }

    #[test]
    fn remembers_the_newest_of_all_slots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert!(Mark::open(&path).unwrap().is_none());
        let mut mark = Mark::create(&path, ID, 3).unwrap();
        assert_eq!(reopened(&path), Ok(3));
        mark.note(5).unwrap();
        assert_eq!(reopened(&path), Ok(5));
        mark.settle(7).unwrap();
        assert_eq!(reopened(&path), Ok(7));
        mark.settle(9).unwrap();
        assert_eq!((reopened(&path), mark.settled()), (Ok(9), 9));
        assert_eq!(Mark::open(&path).unwrap().unwrap().1.id, ID);
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut mark = Mark::create(&path, ID, 1).unwrap();
        mark.settle(10).unwrap();
        mark.settle(20).unwrap();
        flip(&path, 2 * BLOCK + 3);
        assert_eq!(reopened(&path), Ok(10));
        // The next write goes to the damaged slot and not to the whole one.
        let (mut mark, _) = Mark::open(&path).unwrap().unwrap();
        mark.settle(30).unwrap();
        flip(&path, 2 * BLOCK + 3);
        assert_eq!(reopened(&path), Ok(10));
    }

    #[test]
    fn a_torn_hint_is_only_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mark = Mark::create(&path, ID, 4).unwrap();
        mark.note(6).unwrap();
        flip(&path, HINT_SLOT * BLOCK + 9);
        assert_eq!(reopened(&path), Ok(4));
    }

    #[test]
    fn damage_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        Mark::create(&path, ID, 4).unwrap();
        flip(&path, 9);
        assert!(matches!(reopened(&path), Err(StoreError::Corrupt(detail)) if detail.contains("header")));
        flip(&path, 9);
        flip(&path, BLOCK);
        flip(&path, 2 * BLOCK);
        assert!(matches!(reopened(&path), Err(StoreError::Corrupt(detail)) if detail.contains("no whole entry")));
        open_file(&path).unwrap().set_len(100).unwrap();
        assert!(matches!(reopened(&path), Err(StoreError::Corrupt(detail)) if detail.contains("too short")));
    }
}
