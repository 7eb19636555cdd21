//! The versioned envelope around every stored value: one byte of format, one byte of version, JSON.
//!
//! Only a table's newest version is ever written. Older ones are brought up to date while reading, one step for each version, by
//! the table's own hook. A version newer than the program knows is refused: guessing at it would lose what it added.
//! This file knows neither tables nor keys.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// The only format so far: JSON as written by `serde_json`.
pub const FORMAT_JSON: u8 = 1;

/// Bytes that the envelope adds to a value.
pub const OVERHEAD: usize = 2;

/// Brings a value of version `from` to version `from + 1`, or says why it cannot.
pub type Migrate = fn(from: u8, value: Value) -> Result<Value, String>;

/// Why a value could not be put into its envelope or taken out of it. The table's name is the caller's to add.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// Fewer bytes than an envelope has.
    #[error("it has {size} bytes, fewer than its envelope")]
    Truncated {
        /// Bytes found.
        size: usize,
    },
    /// A format this program does not know: damage, or a newer program.
    #[error("it has format {found} and this program knows format {FORMAT_JSON}")]
    Format {
        /// The format found.
        found: u8,
    },
    /// Written by a newer program.
    #[error("it has version {found} and this program knows up to {known}; run the newer program")]
    Newer {
        /// The version found.
        found: u8,
        /// The newest known version.
        known: u8,
    },
    /// Version 0 is never written.
    #[error("it has version 0, which no program writes")]
    NoVersion,
    /// The value has no JSON form.
    #[error("it cannot be written as JSON: {0}")]
    Encode(String),
    /// The bytes are not the JSON that was expected.
    #[error("its version {version} cannot be read: {reason}")]
    Decode {
        /// The version it was written in.
        version: u8,
        /// The parser's reason.
        reason: String,
    },
    /// An old value could not be brought up to date.
    #[error("it could not be brought from version {from} to the next: {reason}")]
    Migrate {
        /// The version that could not be left.
        from: u8,
        /// The hook's reason.
        reason: String,
    },
}

/// Puts a value into an envelope of `version`.
///
/// # Errors
/// If the value has no JSON form (a map with keys that are no strings, for one), or `version` is 0.
pub fn encode<T: Serialize + ?Sized>(version: u8, value: &T) -> Result<Vec<u8>, EnvelopeError> {
    if version == 0 {
        return Err(EnvelopeError::NoVersion);
    }
    let mut bytes = vec![FORMAT_JSON, version];
    serde_json::to_writer(&mut bytes, value).map_err(|error| EnvelopeError::Encode(error.to_string()))?;
    Ok(bytes)
}

/// Takes a value of a table that has had one version only (or whose older versions read as the newest) out of its envelope.
///
/// # Errors
/// If the bytes are damaged or of a version above `known`.
pub fn decode<T: DeserializeOwned>(known: u8, bytes: &[u8]) -> Result<T, EnvelopeError> {
    decode_migrating(known, |_, value| Ok(value), bytes)
}

/// Takes a value out of its envelope; one older than `known` goes through `migrate`, step by step.
///
/// # Errors
/// If the bytes are damaged, of a version above `known`, or cannot be brought up to date.
pub fn decode_migrating<T: DeserializeOwned>(known: u8, migrate: Migrate, bytes: &[u8]) -> Result<T, EnvelopeError> {
    let (version, json) = open(known, bytes)?;
    let unreadable = |error: serde_json::Error| EnvelopeError::Decode { version, reason: error.to_string() };
    if version == known {
        return serde_json::from_slice(json).map_err(unreadable);
    }
    let mut value: Value = serde_json::from_slice(json).map_err(unreadable)?;
    for from in version..known {
        value = migrate(from, value).map_err(|reason| EnvelopeError::Migrate { from, reason })?;
    }
    serde_json::from_value(value).map_err(unreadable)
}

/// The version and the JSON, if this program may read them.
fn open(known: u8, bytes: &[u8]) -> Result<(u8, &[u8]), EnvelopeError> {
    match bytes {
        [FORMAT_JSON, 0, ..] => Err(EnvelopeError::NoVersion),
        [FORMAT_JSON, version, ..] if *version > known => Err(EnvelopeError::Newer { found: *version, known }),
        [FORMAT_JSON, version, json @ ..] => Ok((*version, json)),
        [format, _, ..] => Err(EnvelopeError::Format { found: *format }),
        _ => Err(EnvelopeError::Truncated { size: bytes.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_golden, assert_golden_migrated};
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        given: String,
        family: String,
        visits: u32,
    }

    /// Version 1 had one `name`, version 2 split it, version 3 counts visits.
    fn migrate(from: u8, mut value: Value) -> Result<Value, String> {
        match from {
            1 => {
                let name = value["name"].as_str().ok_or("name is missing")?.to_owned();
                let (given, family) = name.split_once(' ').ok_or("name has one word")?;
                Ok(serde_json::json!({ "given": given, "family": family }))
            }
            2 => {
                value["visits"] = 0.into();
                Ok(value)
            }
            other => Err(format!("unknown version {other}")),
        }
    }

    fn ada(visits: u32) -> Sample {
        Sample { given: "Ada".into(), family: "Lovelace".into(), visits }
    }

    #[test]
    fn every_version_ever_written_is_read() {
        assert_golden_migrated("sample", 1, 3, migrate, &ada(0));
        assert_golden_migrated("sample", 2, 3, migrate, &ada(0));
        assert_golden("sample", 3, &ada(7));
    }

    #[test]
    fn a_value_comes_back_in_its_envelope_of_two_bytes() {
        let bytes = encode(3, &ada(2)).unwrap();
        assert_eq!(bytes[..OVERHEAD], [FORMAT_JSON, 3]);
        assert_eq!(decode::<Sample>(3, &bytes).unwrap(), ada(2));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_reason() {
        let check = |bytes: &[u8], expected: &str| {
            let error = decode_migrating::<Sample>(3, migrate, bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(b"", "it has 0 bytes, fewer than its envelope");
        check(b"\x01", "it has 1 bytes, fewer than its envelope");
        check(b"\x02\x01{}", "it has format 2 and this program knows format 1");
        check(b"\x01\x04{}", "it has version 4 and this program knows up to 3; run the newer program");
        check(b"\x01\x00{}", "it has version 0, which no program writes");
        check(b"\x01\x03{\"given\"", "its version 3 cannot be read: EOF");
        check(b"\x01\x03{}", "its version 3 cannot be read: missing field");
        check(b"\x01\x01{}", "it could not be brought from version 1 to the next: name is missing");
        check(b"\x01\x02[]\xff", "its version 2 cannot be read");
        assert_eq!(encode(0, &1).unwrap_err().to_string(), "it has version 0, which no program writes");
    }

    #[test]
    fn what_has_no_json_form_is_refused() {
        let map = std::collections::BTreeMap::from([(vec![1_u8], 1)]);
        assert!(matches!(encode(1, &map), Err(EnvelopeError::Encode(_))));
    }
}
