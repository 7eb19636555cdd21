//! The hub's clock. `SystemTime::now` and `Instant::now` panic in a guest: use these.

use throughline_schemas::Timestamp;

use crate::sys;

/// The time of day.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_millis(i64::try_from(sys::now_ms()).unwrap_or(i64::MAX))
}

/// Milliseconds since some fixed moment; never goes back.
#[must_use]
pub fn monotonic_ms() -> u64 {
    sys::monotonic_ns() / 1_000_000
}
