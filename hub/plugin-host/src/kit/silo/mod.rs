//! Silos that a kit scripts: an HTTP server over small collections of records, and line protocols by rules. Both on loopback, both able to
//! misbehave on demand.

pub(crate) mod collection;
pub(crate) mod http;
pub(crate) mod script;
pub(crate) mod tcp;

use std::collections::BTreeMap;

/// Puts the kit's secrets into a text of its scripts: `{secret:NAME}`.
pub(crate) fn with_secrets(text: &str, secrets: &BTreeMap<String, String>) -> String {
    secrets.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{secret:{name}}}"), value))
}
