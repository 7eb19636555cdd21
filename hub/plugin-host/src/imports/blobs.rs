//! `blobs`: large content, in pieces, to and from the hub's content-addressed files.

use throughline_domain::connector::BlobWriter;
use throughline_schemas::connector::ConnectorError;
use wasmtime::component::Resource;

use crate::call::bug;
use crate::guest::Guest;
use crate::wit::v0_1_0::{imports, types};

/// The largest piece read at once.
const LARGEST_PIECE: u32 = 1024 * 1024;
/// Files being written at once by one instance.
const MOST_WRITERS: usize = 16;

/// A file being written.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Writer {
    /// None once it is finished or has failed.
    inner: Option<Box<dyn BlobWriter>>,
    left: usize,
}

impl imports::blobs::HostWriter for Guest {
    fn create(&mut self, media_type: String, name: Option<String>) -> Result<Resource<Writer>, types::Error> {
        self.blob_create(&media_type, name.as_deref()).map_err(|error| self.guest_error(error))
    }

    fn write(&mut self, writer: Resource<Writer>, data: Vec<u8>) -> Result<(), types::Error> {
        self.blob_write(&writer, &data).map_err(|error| self.guest_error(error))
    }

    fn finish(&mut self, writer: Resource<Writer>) -> Result<String, types::Error> {
        self.blob_finish(&writer).map_err(|error| self.guest_error(error))
    }

    fn drop(&mut self, writer: Resource<Writer>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}

impl imports::blobs::Host for Guest {
    fn read(&mut self, reference: String, offset: u64, max: u32) -> Result<Vec<u8>, types::Error> {
        let piece = self.connection.services.blob_read(&reference, offset, max.min(LARGEST_PIECE));
        piece.map_err(|error| self.guest_error(error))
    }
}

impl Guest {
    fn blob_create(&mut self, media_type: &str, name: Option<&str>) -> Result<Resource<Writer>, ConnectorError> {
        let limit = self.connection.limits.body_bytes();
        let open = self.table.iter_mut().filter(|entry| entry.is::<Writer>()).count();
        if open >= MOST_WRITERS {
            return Err(bug(format!("{MOST_WRITERS} files are being written already: finish or drop one")));
        }
        let inner = self.connection.services.blob_writer(media_type, name, limit as u64)?;
        self.table.push(Writer { inner: Some(inner), left: limit }).map_err(|error| bug(error.to_string()))
    }

    fn blob_write(&mut self, writer: &Resource<Writer>, data: &[u8]) -> Result<(), ConnectorError> {
        let limit = self.connection.limits.body_mib;
        let writer = self.table.get_mut(writer).map_err(|error| bug(error.to_string()))?;
        let Some(inner) = writer.inner.as_mut() else { return Err(bug("the file is finished")) };
        match writer.left.checked_sub(data.len()) {
            Some(left) => writer.left = left,
            None => {
                writer.inner = None;
                return Err(bug(format!("the file is larger than {limit} MiB")));
            }
        }
        inner.write(data)
    }

    fn blob_finish(&mut self, writer: &Resource<Writer>) -> Result<String, ConnectorError> {
        let writer = self.table.get_mut(writer).map_err(|error| bug(error.to_string()))?;
        writer.inner.take().ok_or_else(|| bug("the file is finished"))?.finish()
    }
}
