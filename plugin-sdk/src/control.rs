//! How long this call may go on.

use crate::{Result, sys};

/// Waits. Fails with class `cancelled` when the hub wants the call to end.
pub fn sleep_ms(ms: u64) -> Result<()> {
    sys::sleep_ms(ms)
}
/// Whether the hub wants the call to end; every blocking call then answers class `cancelled`.
#[must_use]
pub fn cancelled() -> bool {
    sys::cancelled()
}
/// Milliseconds left to this call; none for one without a limit.
#[must_use]
pub fn deadline_ms() -> Option<u64> {
    sys::deadline_ms()
}
