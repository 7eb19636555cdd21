//! Remembers. The ordered key-value port, its engines, the sequencer that makes acknowledged mean durable, and one file per table.
//!
//! Nothing outside this crate knows a key's bytes. Nothing above it may assume that it is the only process, that sequence numbers
//! have no gaps, or that a scan is a snapshot.

pub mod backup;
pub mod blobs;
#[doc(hidden)]
pub mod engine;
pub mod envelope;
#[cfg(test)]
pub(crate) mod golden;
mod layout;
mod mark;
mod oneshot;
mod open;
mod options;
mod plan;
pub mod port;
mod queue;
mod sequencer;
mod snapshot;
mod status;
pub mod store;
pub mod tables;
mod watch;

pub use engine::{Fault, MemoryDisk};
pub use oneshot::Pending;
pub use options::{Clock, FreeSpace, Options};
pub use status::Stats;
pub use store::{CommitFuture, Store};
pub use watch::{Changed, Watch};
