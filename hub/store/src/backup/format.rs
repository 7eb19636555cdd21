//! The bytes of a backup, as `FORMAT.md` has them: a header, checksummed records, a digest of everything.

use std::io::{Read, Write};

use sha2::{Digest, Sha256};

use super::{BackupError, Summary};
use crate::engine::sled_engine::MAX_ENTRY;
use crate::mark::StoreId;
use crate::port::Sequence;

/// Version of this format.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"TLBACKUP";
const ENTRY: u8 = 1;
const BLOB: u8 = 2;
const PIECE: u8 = 3;
const END: u8 = 0xff;
const PIECE_LIMIT: usize = 1024 * 1024;

/// One record of a backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A key and its stored value.
    Entry(Vec<u8>, Vec<u8>),
    /// A blob begins, of this digest.
    Blob([u8; 32]),
    /// Bytes of the blob begun last.
    Piece(Vec<u8>),
    /// Nothing follows: how many entries and blobs there were.
    End(u64, u64),
}

/// Writes records and keeps the digest.
pub(super) struct Writer<W> {
    out: W,
    digest: Sha256,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, id: &StoreId, head: Sequence) -> Result<Self, BackupError> {
        let mut writer = Self { out, digest: Sha256::new(), buffer: Vec::new() };
        writer.buffer.extend_from_slice(MAGIC);
        writer.buffer.extend_from_slice(&FORMAT.to_be_bytes());
        writer.buffer.extend_from_slice(id);
        writer.buffer.extend_from_slice(&head.to_be_bytes());
        writer.put()?;
        Ok(writer)
    }

    pub(super) fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        self.buffer.push(ENTRY);
        self.buffer.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.buffer.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.put()
    }

    pub(super) fn blob(&mut self, digest: &[u8; 32]) -> Result<(), BackupError> {
        self.buffer.push(BLOB);
        self.buffer.extend_from_slice(digest);
        self.put()
    }

    pub(super) fn piece(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        for bytes in bytes.chunks(PIECE_LIMIT) {
            self.buffer.push(PIECE);
            self.buffer.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            self.buffer.extend_from_slice(bytes);
            self.put()?;
        }
        Ok(())
    }

    pub(super) fn end(mut self, summary: &Summary) -> Result<(), BackupError> {
        self.buffer.push(END);
        self.buffer.extend_from_slice(&summary.entries.to_be_bytes());
        self.buffer.extend_from_slice(&summary.blobs.to_be_bytes());
        self.put()?;
        let digest = self.digest.finalize();
        self.out.write_all(&digest).and_then(|()| self.out.flush()).map_err(BackupError::Write)
    }

    /// Writes what is in the buffer, and its checksum.
    fn put(&mut self) -> Result<(), BackupError> {
        let checksum = crc32fast::hash(&self.buffer);
        self.buffer.extend_from_slice(&checksum.to_be_bytes());
        self.digest.update(&self.buffer);
        let written = self.out.write_all(&self.buffer).map_err(BackupError::Write);
        self.buffer.clear();
        written
    }
}

/// Reads records and believes none that its checksum does not speak for.
pub(super) struct Reader<R> {
    input: R,
    digest: Sha256,
    record: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub(super) fn begin(input: R) -> Result<(Self, StoreId, Sequence), BackupError> {
        let mut reader = Self { input, digest: Sha256::new(), record: Vec::new() };
        let magic = reader.take(8).map_err(|error| if matches!(error, BackupError::Truncated) { BackupError::NoBackup } else { error })?;
        if magic != MAGIC {
            return Err(BackupError::NoBackup);
        }
        let format = reader.number(4)? as u32;
        if format > FORMAT {
            return Err(BackupError::Newer { found: format, known: FORMAT });
        }
        let id = <StoreId>::try_from(reader.take(16)?).map_err(|_| BackupError::NoBackup)?;
        let head = reader.number(8)?;
        reader.check("header")?;
        if format == 0 {
            return Err(BackupError::NoBackup);
        }
        Ok((reader, id, head))
    }

    /// Reads the next record.
    pub(super) fn next(&mut self) -> Result<Record, BackupError> {
        let record = match self.take(1)?[0] {
            ENTRY => self.entry()?,
            BLOB => Record::Blob(<[u8; 32]>::try_from(self.take(32)?).map_err(|_| BackupError::Truncated)?),
            PIECE => {
                let size = self.number(4)? as usize;
                Record::Piece(self.sized(size, PIECE_LIMIT, "a piece of a blob")?)
            }
            END => Record::End(self.number(8)?, self.number(8)?),
            _ => return Err(BackupError::Altered("a record of no known kind")),
        };
        self.check("a record")?;
        Ok(record)
    }

    /// After the last record: the digest of everything, and nothing more.
    pub(super) fn finish(mut self) -> Result<(), BackupError> {
        let expected = self.digest.finalize();
        let mut found = [0; 32];
        read_exact(&mut self.input, &mut found)?;
        if found != expected[..] {
            return Err(BackupError::Altered("its digest"));
        }
        match self.input.read(&mut [0]).map_err(BackupError::Read)? {
            0 => Ok(()),
            _ => Err(BackupError::Altered("bytes after its end")),
        }
    }

    fn entry(&mut self) -> Result<Record, BackupError> {
        let (key, value) = (self.number(2)? as usize, self.number(2)? as usize);
        if key + value > MAX_ENTRY {
            return Err(BackupError::Altered("the size of an entry"));
        }
        let key = self.take(key)?.to_vec();
        let value = self.take(value)?.to_vec();
        Ok(Record::Entry(key, value))
    }

    fn sized(&mut self, size: usize, limit: usize, what: &'static str) -> Result<Vec<u8>, BackupError> {
        if size > limit {
            return Err(BackupError::Altered(what));
        }
        Ok(self.take(size)?.to_vec())
    }

    /// The next bytes, which are remembered until the checksum is held against them.
    fn take(&mut self, size: usize) -> Result<&[u8], BackupError> {
        let start = self.record.len();
        self.record.resize(start + size, 0);
        read_exact(&mut self.input, &mut self.record[start..])?;
        Ok(&self.record[start..])
    }

    fn number(&mut self, size: usize) -> Result<u64, BackupError> {
        Ok(self.take(size)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn check(&mut self, what: &'static str) -> Result<(), BackupError> {
        let expected = crc32fast::hash(&self.record);
        if self.number(4)? != u64::from(expected) {
            return Err(BackupError::Altered(what));
        }
        self.digest.update(&self.record);
        self.record.clear();
        Ok(())
    }
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => BackupError::Truncated,
        _ => BackupError::Read(error),
    })
}
