//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at: often enough to measure milliseconds.
const LOOK: Duration = Duration::from_millis(2);

/// How often it is looked at where nobody measures: seldom enough to leave the machine to those who work.
const GLANCE: Duration = Duration::from_millis(25);

/// Looks until there is something; an error says what was waited for and what was seen last.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    watch(what, LOOK, PATIENCE, look)
}

/// Like [`until`], for what nobody measures.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    watch(what, GLANCE, PATIENCE, look)
}

/// Like [`eventually`], for what is meant to take its time.
pub fn eventually_within<T>(patience: Duration, what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    watch(what, GLANCE, patience, look)
}

fn watch<T>(what: &str, every: Duration, patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut last = None;
    while Instant::now() < deadline {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        std::thread::sleep(every);
    }
    let seen = last.map_or_else(String::new, |error| format!("; the last look failed: {error:#}"));
    Err(anyhow!("waited {patience:?} in vain for: {what}{seen}"))
}
