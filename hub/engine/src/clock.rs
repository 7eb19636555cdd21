//! The one place that knows what time it is, what the next id will be, and where random numbers come from.

use std::time::{SystemTime, UNIX_EPOCH};

use throughline_schemas::Timestamp;

/// Where the hub gets the time from; tests hand in their own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Sixteen fresh bytes for an id: a UUIDv7, so that ids sort by when they were made.
pub(crate) fn fresh() -> [u8; 16] {
    *uuid::Uuid::now_v7().as_bytes()
}

/// Bytes nobody can guess, from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers once it has booted");
    bytes
}
