//! Golden files: the bytes of every version of every table ever written, kept in the repository. Test code only.
//!
//! `golden/<table>/v<version>.bin` holds one envelope exactly as it was stored. A file is written once, by running the tests with
//! `THROUGHLINE_WRITE_GOLDEN=1`, and never again: a change that no longer reads it, or that writes its version in other bytes, breaks
//! the stores of users.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{Migrate, decode_migrating, encode};

const WRITE: &str = "THROUGHLINE_WRITE_GOLDEN";

/// Checks that the golden file of a table's newest version reads as `value`, that `value` is still written in the same bytes, and that
/// every earlier version has a golden file too.
///
/// # Panics
/// If any of this does not hold.
pub(crate) fn assert_golden<T>(table: &str, version: u8, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let path = file(table, version);
    let written = encode(version, value).expect("encode");
    if !path.exists() && std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().expect("a golden file has a folder")).expect("create the golden folder");
        std::fs::write(&path, &written).expect("write the golden file");
    }
    assert_golden_migrated(table, version, version, |_, value| Ok(value), value);
    let stored = std::fs::read(&path).expect("it was read just now");
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&stored), "version {version} is written otherwise");
    for earlier in 1..version {
        assert!(file(table, earlier).exists(), "{table} has no golden file of version {earlier}");
    }
}

/// Checks that the golden file of `version` reads as `value` in a program whose newest version is `known`.
///
/// # Panics
/// If it does not.
pub(crate) fn assert_golden_migrated<T>(table: &str, version: u8, known: u8, migrate: Migrate, value: &T)
where
    T: DeserializeOwned + PartialEq + Debug,
{
    let path = file(table, version);
    let stored =
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run the tests once with {WRITE}=1 and commit it", path.display()));
    assert_eq!(stored.get(1), Some(&version), "{} is of another version", path.display());
    let read: T = decode_migrating(known, migrate, &stored).expect("decode");
    assert_eq!(&read, value, "{} reads otherwise than it did", path.display());
}

fn file(table: &str, version: u8) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(table).join(format!("v{version}.bin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unchanged(_: u8, value: serde_json::Value) -> Result<serde_json::Value, String> {
        Ok(value)
    }

    #[test]
    #[should_panic(expected = "reads otherwise than it did")]
    fn a_changed_meaning_is_noticed() {
        assert_golden_migrated("sample", 1, 1, unchanged, &json!({ "name": "Grace Hopper" }));
    }

    #[test]
    #[should_panic(expected = "is written otherwise")]
    fn changed_bytes_are_noticed() {
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        struct Grown {
            name: String,
            #[serde(default)]
            nickname: Option<String>,
        }
        assert_golden("sample", 1, &Grown { name: "Ada Lovelace".into(), nickname: None });
    }

    #[test]
    #[should_panic(expected = "commit it")]
    fn a_missing_file_is_noticed() {
        assert_golden_migrated("sample", 8, 9, unchanged, &json!(1));
    }

    #[test]
    #[should_panic(expected = "no golden file of version 4")]
    fn a_missing_earlier_file_is_noticed() {
        assert_golden("gap", 5, &1);
    }
}
