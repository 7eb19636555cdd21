//! Short names for the classified errors this connector gives.

use throughline_plugin_sdk::{Error, ErrorClass};

/// Worth trying again later.
pub(crate) fn transient(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Transient, message)
}

/// The config, or a cursor, cannot be used as it is.
pub(crate) fn config(field: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Config, message).with_field(field)
}

/// User name or password refused.
pub(crate) fn auth(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Auth, message).with_field("password")
}

/// This message can never be sent as it is.
pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorClass::InvalidRecord, message).with_field(field)
}

/// Neither the server nor we can do this.
pub(crate) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Unsupported, message)
}

/// What a server said, made fit for a message to a person: one line, no control characters, bounded.
pub(crate) fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}
