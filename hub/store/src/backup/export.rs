//! Taking a backup.

use std::io::{BufWriter, Write};

use super::format::Writer;
use super::{BackupError, Summary};
use crate::blobs::{BlobError, Blobs};
use crate::store::Store;

/// Keys read at once: few enough to stay small, enough to be quick.
const PAGE: usize = 512;

impl Store {
    /// Writes the state of the store at its durable head, and its blobs, as one stream. Commits go on meanwhile. Blocks the thread.
    ///
    /// # Errors
    /// If the stream cannot be written or the store not be read; `Busy` if commits outran a slow stream by too much.
    pub fn export(&self, blobs: &Blobs, out: impl Write) -> Result<Summary, BackupError> {
        let mut snapshot = self.snapshot()?;
        let mut summary = Summary { store_id: self.id(), head: snapshot.head(), entries: 0, blobs: 0 };
        let mut writer = Writer::begin(BufWriter::new(out), &summary.store_id, summary.head)?;
        while let Some(page) = snapshot.next_page(PAGE)? {
            for (key, value) in page {
                writer.entry(&key, &value)?;
                summary.entries += 1;
            }
        }
        // After the keys: every blob that they refer to was there before them.
        for reference in blobs.references()? {
            summary.blobs += u64::from(write_blob(&mut writer, blobs, &reference)?);
        }
        writer.end(&summary)?;
        Ok(summary)
    }
}

/// Whether it was still there.
fn write_blob(writer: &mut Writer<impl Write>, blobs: &Blobs, reference: &str) -> Result<bool, BackupError> {
    match blobs.size(reference) {
        Err(BlobError::Missing(_)) => return Ok(false),
        other => other?,
    };
    writer.blob(&digest_in(reference))?;
    blobs.for_each_piece(reference, |piece| writer.piece(piece))?;
    Ok(true)
}

fn digest_in(reference: &str) -> [u8; 32] {
    let digits = reference.rsplit(':').next().unwrap_or_default();
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = digits.get(2 * index..2 * index + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default();
    }
    digest
}
