//! Lines in the connection's log. The hub stamps, bounds and redacts them; never put a customer's data into one.

use crate::sys;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be, and the plugin went on.
    Warn,
    /// Something failed.
    Error,
}

/// A line with fields.
pub fn with_fields(level: Level, message: impl AsRef<str>, fields: &[(&str, String)]) {
    sys::log(level, message.as_ref(), fields);
}
/// A line for whoever looks for a fault.
pub fn debug(message: impl AsRef<str>) {
    with_fields(Level::Debug, message, &[]);
}
/// A line worth knowing.
pub fn info(message: impl AsRef<str>) {
    with_fields(Level::Info, message, &[]);
}
/// A line about something that is not as it should be.
pub fn warn(message: impl AsRef<str>) {
    with_fields(Level::Warn, message, &[]);
}
/// A line about something that failed.
pub fn error(message: impl AsRef<str>) {
    with_fields(Level::Error, message, &[]);
}
