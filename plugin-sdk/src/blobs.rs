//! Large content goes to the hub's content-addressed files, in pieces; records carry only the reference `sha256:<hex>`.

use crate::{Result, sys};

/// The size of the pieces that content is written in.
pub const PIECE: usize = 256 * 1024;

/// Stores content and returns its reference.
pub fn put(media_type: &str, name: Option<&str>, data: &[u8]) -> Result<String> {
    let writer = Writer::create(media_type, name)?;
    for piece in data.chunks(PIECE) {
        writer.write(piece)?;
    }
    writer.finish()
}

/// A piece of a stored file; empty at its end.
pub fn read(reference: &str, offset: u64, max: u32) -> Result<Vec<u8>> {
    sys::blob_read(reference, offset, max)
}

/// A file being written, for content that need not be in memory as a whole. Dropped before [`Writer::finish`], it leaves nothing behind.
pub struct Writer(sys::BlobWriter);

impl Writer {
    /// Begins a file.
    pub fn create(media_type: &str, name: Option<&str>) -> Result<Self> {
        sys::BlobWriter::create(media_type, name).map(Self)
    }
    /// Adds bytes.
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.0.write(data)
    }
    /// Makes it durable and returns its reference.
    pub fn finish(self) -> Result<String> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;

    #[test]
    fn content_larger_than_a_piece_comes_back_whole() {
        let host = TestHost::new().install();
        let data: Vec<u8> = (0..PIECE * 2 + 5).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let reference = put("application/pdf", Some("a.pdf"), &data).unwrap();
        assert!(reference.starts_with("sha256:"));
        assert_eq!(host.blobs()[&reference].data, data);
        assert_eq!(read(&reference, u64::try_from(PIECE).unwrap() * 2, 100).unwrap(), data[PIECE * 2..]);
        assert!(read(&reference, u64::try_from(data.len()).unwrap(), 100).unwrap().is_empty());
    }
}
