//! Content-addressed files.

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

impl Hub {
    /// A file's size in bytes.
    pub fn blob_size(&self, reference: &str) -> Result<u64> {
        self.inner.blobs.size(reference).map_err(|error| unreadable(reference, &error))
    }

    /// A piece of a file; empty at its end.
    pub fn blob_read(&self, reference: &str, offset: u64, max: usize) -> Result<Vec<u8>> {
        self.inner.blobs.read(reference, offset, max).map_err(|error| unreadable(reference, &error))
    }
}

fn unreadable(reference: &str, error: &throughline_store::blobs::BlobError) -> HubError {
    if crate::services::is_callers_fault(error) { HubError::not_found("file", reference) } else { HubError::Internal(error.to_string()) }
}
