//! The call that makes acknowledged mean durable, behind a trait so that a test can count it, hold it up and make it fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Returns when everything written to the engine's file so far is on stable storage.
pub trait Durability: Send + Sync + 'static {
    /// Does so.
    ///
    /// # Errors
    /// If the system reports that it could not; what was written may then be lost for good, so trying again proves nothing.
    fn make_durable(&self) -> io::Result<()>;
}

/// `fdatasync` on a handle of our own.
///
/// sled's `flush` ends in `sync_file_range`, which neither commits the metadata that a grown file needs to be read back nor empties
/// the disk's volatile cache; its real fsync is up to half a second late. See `docs/adr/0001-durable-means-flush-then-fdatasync.md`.
#[derive(Debug)]
pub struct FileDurability {
    file: File,
}

impl FileDurability {
    /// A handle of our own of the file at `path`, which must exist.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        // For writing too: some file systems report a failed write-back only to handles that could have written.
        Ok(Self { file: OpenOptions::new().read(true).write(true).open(path)? })
    }

    /// The handle, to be compared with the file it should be of.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl From<File> for FileDurability {
    fn from(file: File) -> Self {
        Self { file }
    }
}

impl Durability for FileDurability {
    fn make_durable(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    /// `fdatasync` of a pipe is refused by the kernel with EINVAL. Whatever else may one day stand in `make_durable` (nothing at
    /// all, a flush of user-space buffers, `sync_file_range`, which says ESPIPE) would not give that answer.
    #[test]
    fn make_durable_really_asks_the_kernel_for_fdatasync() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let durability = FileDurability::from(File::from(OwnedFd::from(writer)));
        let error = durability.make_durable().expect_err("a pipe cannot be synchronised");
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::INVAL.raw_os_error()));
    }
}
