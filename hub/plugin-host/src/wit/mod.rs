//! The WIT versions this hub loads, each in its own file with all conversions between its types and ours.
//!
//! Versions are frozen: a new one gets a new file, the oldest goes when two others are there.

pub(crate) mod v0_1_0;
