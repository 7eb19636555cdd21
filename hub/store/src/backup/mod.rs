//! Backup: the whole store and its blobs in one stream, taken while commits go on; and back into an empty folder.
//!
//! The backup is the state at one durable head. Coming back it is written anew, which compacts it. A backup that was cut short or
//! altered is refused before anything appears under the target's name.

mod export;
mod format;
mod import;

use std::io;

use thiserror::Error;

use crate::blobs::BlobError;
use crate::port::{Sequence, StoreError};

pub use import::import;

/// Why a backup could not be taken or brought back.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The stream could not be written.
    #[error("cannot write the backup: {0}")]
    Write(io::Error),
    /// The stream could not be read.
    #[error("cannot read the backup: {0}")]
    Read(io::Error),
    /// Something else than a backup.
    #[error("this is no backup of a store")]
    NoBackup,
    /// Written by a newer program.
    #[error("the backup has format {found} and this program knows up to {known}; run the newer program")]
    Newer {
        /// The format found.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// It ends before its end.
    #[error("the backup was cut short; nothing was restored")]
    Truncated,
    /// It is not what was written.
    #[error("the backup was altered ({0}); nothing was restored")]
    Altered(&'static str),
    /// The target holds something.
    #[error("{0} is not empty; restore into a new folder")]
    NotEmpty(String),
    /// The target could not be made.
    #[error("{path}: {source}")]
    Target {
        /// Which file or folder.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob could not.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The store's name.
    pub store_id: [u8; 16],
    /// The durable head it is the state of.
    pub head: Sequence,
    /// Keys, the store's own included.
    pub entries: u64,
    /// Blobs.
    pub blobs: u64,
}
