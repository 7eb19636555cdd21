//! The kit: real components in the real host against stand-ins of their silos, offline.
//!
//! [`replay`] plays what a PBX sent and says which calls came of it.

mod desk;
mod manager;
mod replay;
mod rig;

pub use replay::{ReplayError, replay};
pub use rig::default_cache;
