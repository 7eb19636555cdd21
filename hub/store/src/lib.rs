//! Remembers. The ordered key-value port, its engines, the sequencer that makes acknowledged mean durable, and one file per table.
//!
//! Nothing outside this crate knows a key's bytes. Nothing above it may assume that it is the only process, that sequence numbers
//! have no gaps, or that a scan is a snapshot.

pub mod port;
