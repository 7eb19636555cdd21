//! The test host: what the hub is to a guest, for native tests of one thread.
//!
//! ```text
//! let host = TestHost::new().secret("token", "t0p").http(|request| Ok(…)).install();
//! let page = Shop::read(config, "orders", None, 100)?;
//! assert!(host.logs().is_empty());
//! ```
//!
//! Nothing is reachable that the test did not give. Time stands still at 2026-01-01T00:00:00Z and moves only by sleeping and by waiting for
//! data, except with [`TestHost::real_network`]. A test that installs no host gets an empty one.

mod host;
mod http1;
pub(crate) mod imports;
mod script;
mod stream;
mod template;

pub use host::{Blob, Guard, LogLine, TestHost};
pub use script::{ScriptedStream, line_matches};
pub use stream::{ByteStream, IntoStream, TestStream, Written};
pub use template::{Place, render};

use throughline_schemas::manifest::Manifest;

/// Reads a manifest as the build step does, so that a mistake fails a test and not the build.
///
/// # Panics
/// With the place of the mistake.
#[must_use]
pub fn manifest(text: &str) -> Manifest {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer)
        .unwrap_or_else(|error| panic!("the manifest is wrong at {}: {}", error.path(), error.inner()))
}
