//! Content-addressed files for what is too large for a value: transcripts, attachments, recordings.
//!
//! `blobs/ab/cdef...` holds the bytes whose SHA-256 is `abcdef...`; the reference is `sha256:abcdef...`. A file appears under its name
//! whole and durable or not at all, and never changes. This file does not know who refers to what.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use thiserror::Error;

const FOLDER: &str = "blobs";
const UNFINISHED: &str = "unfinished";
const SCHEME: &str = "sha256:";
const DIGEST_HEX: usize = 64;
/// Most bytes that one read gives.
pub const READ_LIMIT: usize = 1024 * 1024;

/// Why a blob could not be read or written.
#[derive(Debug, Error)]
pub enum BlobError {
    /// Not `sha256:` and 64 lower-case hexadecimal digits.
    #[error("{0:?} is no reference to a blob")]
    Malformed(String),
    /// No such blob.
    #[error("there is no blob {0}")]
    Missing(String),
    /// More was written than allowed.
    #[error("a blob of more than {limit} bytes is not allowed here")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The file's bytes are not those of its name.
    #[error("the file of blob {0} was altered; restore the last backup")]
    Altered(String),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The blobs of one data folder. Clones are the same.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    unfinished: PathBuf,
    next: AtomicU64,
}

impl Blobs {
    /// Opens the blobs in `dir`, and removes what writers left unfinished whose process is gone.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let root = dir.join(FOLDER);
        let unfinished = root.join(UNFINISHED);
        std::fs::create_dir_all(&unfinished).map_err(|error| at(&unfinished, error))?;
        for folder in [root.as_path(), dir] {
            sync_folder(folder)?;
        }
        remove_orphans(&unfinished)?;
        Ok(Self { inner: Arc::new(Inner { root, unfinished, next: AtomicU64::new(0) }) })
    }

    /// Begins a blob of at most `limit` bytes.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        loop {
            let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
            let path = self.inner.unfinished.join(format!("{}-{number}", std::process::id()));
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(at(&path, error)),
            };
            // Says to whoever opens the blobs meanwhile that somebody still writes here.
            file.try_lock().map_err(|error| at(&path, error.into()))?;
            return Ok(BlobWriter { blobs: self.clone(), path, file, digest: Sha256::new(), written: 0, limit });
        }
    }

    /// Whether there is such a blob.
    ///
    /// # Errors
    /// If the reference is malformed or the file system refuses.
    pub fn exists(&self, reference: &str) -> Result<bool, BlobError> {
        let path = self.path(reference)?;
        path.try_exists().map_err(|error| at(&path, error))
    }

    /// A blob's size in bytes.
    ///
    /// # Errors
    /// If the reference is malformed, there is no such blob, or the file system refuses.
    pub fn size(&self, reference: &str) -> Result<u64, BlobError> {
        let path = self.path(reference)?;
        let found = std::fs::metadata(&path).map_err(|error| missing_or(reference, &path, error))?;
        Ok(found.len())
    }

    /// At most `max` bytes (and at most [`READ_LIMIT`]) from `offset` on; empty at the end.
    ///
    /// # Errors
    /// If the reference is malformed, there is no such blob, or the file system refuses.
    pub fn read(&self, reference: &str, offset: u64, max: usize) -> Result<Vec<u8>, BlobError> {
        let path = self.path(reference)?;
        let file = File::open(&path).map_err(|error| missing_or(reference, &path, error))?;
        let size = file.metadata().map_err(|error| at(&path, error))?.len();
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(max).min(READ_LIMIT)];
        file.read_exact_at(&mut bytes, offset).map_err(|error| at(&path, error))?;
        Ok(bytes)
    }

    /// Reads a whole blob and holds it against its name.
    ///
    /// # Errors
    /// `Altered` if it is not what was written; else as [`read`](Self::read).
    pub fn verify(&self, reference: &str) -> Result<(), BlobError> {
        self.for_each_piece(reference, |_| Ok::<(), BlobError>(()))
    }

    /// Removes a blob; that nobody refers to it any more is for the caller to know. Removing what is not there is no error.
    ///
    /// # Errors
    /// If the reference is malformed or the file system refuses.
    pub fn remove(&self, reference: &str) -> Result<(), BlobError> {
        let path = self.path(reference)?;
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(&path, error)),
        }
    }

    /// The references of all blobs, in order.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn references(&self) -> Result<Vec<String>, BlobError> {
        let mut references = Vec::new();
        for folder in names_in(&self.inner.root)?.into_iter().filter(|name| name.len() == 2) {
            let names = names_in(&self.inner.root.join(&folder))?;
            references.extend(names.into_iter().map(|name| format!("{SCHEME}{folder}{name}")).filter(|found| digits(found).is_ok()));
        }
        references.sort();
        Ok(references)
    }

    /// Hands over a blob piece by piece, and says at the end if it was not what its name says.
    pub(crate) fn for_each_piece<E: From<BlobError>>(
        &self,
        reference: &str,
        mut task: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut digest = Sha256::new();
        let mut offset = 0;
        loop {
            let piece = self.read(reference, offset, READ_LIMIT)?;
            if piece.is_empty() {
                break;
            }
            digest.update(&piece);
            offset += piece.len() as u64;
            task(&piece)?;
        }
        if reference_of(digest) == reference { Ok(()) } else { Err(BlobError::Altered(reference.to_owned()).into()) }
    }

    fn path(&self, reference: &str) -> Result<PathBuf, BlobError> {
        let digits = digits(reference)?;
        Ok(self.inner.root.join(&digits[..2]).join(&digits[2..]))
    }
}

/// A blob in the making. Dropped before it is finished it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    path: PathBuf,
    file: File,
    digest: Sha256,
    written: u64,
    limit: u64,
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// `TooLarge` beyond the limit, or if the file system refuses; then the blob can only be dropped.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let written = self.written.saturating_add(bytes.len() as u64);
        if written > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.file.write_all(bytes).map_err(|error| at(&self.path, error))?;
        self.digest.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Makes the blob durable under its name and gives its reference.
    ///
    /// # Errors
    /// If the file system refuses; then there is no blob.
    pub fn finish(mut self) -> Result<String, BlobError> {
        let reference = reference_of(std::mem::take(&mut self.digest));
        let target = self.blobs.path(&reference)?;
        self.file.sync_all().map_err(|error| at(&self.path, error))?;
        let folder = target.parent().unwrap_or(&self.blobs.inner.root);
        std::fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        // If the same bytes are there already this replaces them by themselves.
        std::fs::rename(&self.path, &target).map_err(|error| at(&target, error))?;
        sync_folder(folder)?;
        sync_folder(&self.blobs.inner.root)?;
        Ok(reference)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; if it cannot be removed the next opening will.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The 64 digits of a well-formed reference. Nothing else ever becomes part of a path.
fn digits(reference: &str) -> Result<&str, BlobError> {
    let digits = reference.strip_prefix(SCHEME).unwrap_or_default();
    let well_formed = digits.len() == DIGEST_HEX && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if well_formed { Ok(digits) } else { Err(BlobError::Malformed(reference.chars().take(100).collect())) }
}

fn reference_of(digest: Sha256) -> String {
    digest.finalize().iter().fold(SCHEME.to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn remove_orphans(unfinished: &Path) -> Result<(), BlobError> {
    for name in names_in(unfinished)? {
        let path = unfinished.join(name);
        let abandoned = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if abandoned {
            std::fs::remove_file(&path).map_err(|error| at(&path, error))?;
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>, BlobError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let entry = entry.map_err(|error| at(folder, error))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

fn sync_folder(folder: &Path) -> Result<(), BlobError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| at(folder, error))
}

fn missing_or(reference: &str, path: &Path, error: io::Error) -> BlobError {
    if error.kind() == io::ErrorKind::NotFound { BlobError::Missing(reference.to_owned()) } else { at(path, error) }
}

fn at(path: &Path, source: io::Error) -> BlobError {
    BlobError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn stored(blobs: &Blobs, pieces: &[&[u8]]) -> String {
        let mut writer = blobs.writer(u64::MAX).unwrap();
        pieces.iter().for_each(|piece| writer.write(piece).unwrap());
        writer.finish().unwrap()
    }

    fn unfinished(dir: &Path) -> usize {
        std::fs::read_dir(dir.join("blobs/unfinished")).unwrap().count()
    }

    #[test]
    fn a_blob_is_found_under_the_digest_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        assert!(!blobs.exists(ABC).unwrap());
        assert_eq!(stored(&blobs, &[b"a", b"", b"bc"]), ABC);
        assert_eq!(stored(&blobs, &[b"abc"]), ABC);
        let again = Blobs::open(dir.path()).unwrap();
        assert_eq!((again.size(ABC).unwrap(), again.exists(ABC).unwrap()), (3, true));
        assert_eq!(std::fs::read(dir.path().join("blobs").join(&ABC[7..9]).join(&ABC[9..])).unwrap(), b"abc");
        assert_eq!((again.references().unwrap(), unfinished(dir.path())), (vec![ABC.to_owned()], 0));
        again.verify(ABC).unwrap();
    }

    #[test]
    fn ranges_end_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        stored(&blobs, &[b"abc"]);
        let check = |offset, max, expected: &[u8]| assert_eq!(blobs.read(ABC, offset, max).unwrap(), expected, "{offset} {max}");
        check(0, 2, b"ab");
        check(1, 100, b"bc");
        check(3, 1, b"");
        check(u64::MAX, 1, b"");
        check(0, 0, b"");
        let large = stored(&blobs, &[&vec![7; READ_LIMIT + 10]]);
        assert_eq!(blobs.read(&large, 0, usize::MAX).unwrap().len(), READ_LIMIT);
        let empty = stored(&blobs, &[]);
        assert_eq!(blobs.size(&empty).unwrap(), 0);
        blobs.verify(&empty).unwrap();
    }

    #[test]
    fn malformed_references_reach_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        let upper = ABC.to_uppercase().replace("SHA256", "sha256");
        for reference in ["", "sha256:", "../secret", "sha256:../../secret", &ABC[7..], &ABC[..70], &format!("{ABC}0"), &upper, "md5:abc"] {
            assert!(matches!(blobs.read(reference, 0, 1), Err(BlobError::Malformed(_))), "{reference}");
            assert!(matches!(blobs.exists(reference), Err(BlobError::Malformed(_))), "{reference}");
            assert!(matches!(blobs.size(reference), Err(BlobError::Malformed(_))), "{reference}");
            assert!(matches!(blobs.remove(reference), Err(BlobError::Malformed(_))), "{reference}");
        }
        assert!(matches!(blobs.read(ABC, 0, 1), Err(BlobError::Missing(_))));
        assert!(matches!(blobs.size(ABC), Err(BlobError::Missing(_))));
    }

    #[test]
    fn the_limit_is_kept_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let mut writer = blobs.writer(3).unwrap();
        writer.write(b"abc").unwrap();
        assert!(matches!(writer.write(b"d"), Err(BlobError::TooLarge { limit: 3 })));
        drop(writer);
        assert_eq!((blobs.references().unwrap().len(), unfinished(dir.path())), (0, 0));
    }

    #[test]
    fn opening_removes_orphans_and_spares_who_still_writes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("blobs/unfinished/1-1"), "left by a killed process").unwrap();
        let mut writer = blobs.writer(100).unwrap();
        writer.write(b"ab").unwrap();
        Blobs::open(dir.path()).unwrap();
        assert_eq!(unfinished(dir.path()), 1);
        writer.write(b"c").unwrap();
        assert_eq!(writer.finish().unwrap(), ABC);
    }

    #[test]
    fn altered_bytes_are_noticed_and_removing_twice_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        stored(&blobs, &[b"abc"]);
        std::fs::write(blobs.path(ABC).unwrap(), "abd").unwrap();
        assert!(matches!(blobs.verify(ABC), Err(BlobError::Altered(_))));
        blobs.remove(ABC).unwrap();
        blobs.remove(ABC).unwrap();
        assert!(!blobs.exists(ABC).unwrap());
    }
}
