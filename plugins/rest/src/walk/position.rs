//! Where a walk is: what the hub keeps for us between calls as cursor. Its JSON is versioned; what is not of our making is refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_plugin_sdk::{Error, ErrorClass, Result};

/// The shape of this release.
const SHAPE: u8 = 1;
/// Records remembered to drop repetitions of the overlap; more than that are repeated, which the hub recognises.
const REMEMBERED: usize = 5000;

/// Where reading of an entity is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    pub(super) shape: u8,
    /// The newest time of change read, in milliseconds: where the next walk begins, less the overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<i64>,
    /// The silo's own token for where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Key and version of records at or after the overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
    /// When a full listing last finished, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<i64>,
    /// The walk that goes on; absent: the next read begins one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Walk>,
}

impl Default for Position {
    fn default() -> Self {
        Self { shape: SHAPE, high: None, token: None, seen: Vec::new(), listed_at: None, walk: None }
    }
}

/// A record already handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen(pub String, pub String, pub i64);

/// A walk under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Walk {
    /// The lower bound in the system's own form, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The time of change that `since` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// When the walk began, by the system's clock if it tells.
    #[serde(default)]
    pub started: i64,
    /// The newest time of change read in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<i64>,
    /// The page.
    #[serde(default)]
    pub place: Place,
    /// Pages read with this lower bound.
    #[serde(default)]
    pub tied: u32,
    /// Whether one of them brought something new.
    #[serde(default)]
    pub fresh: bool,
    /// How often the ties were read.
    #[serde(default)]
    pub pass: u32,
    /// The listing whose keys this instance collects, if this walk is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// Whether it only lists, after an incremental walk.
    #[serde(default)]
    pub sweep: bool,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// Page number or offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The last record's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_id: Option<String>,
    /// Cursor or address that the system gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Records asked for: constant through a walk, because page numbers depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_page: Option<u32>,
    /// A digest of the last page's ids, to notice a system that ignores the page asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<u64>,
    /// How often the same page came again.
    #[serde(default)]
    pub repeats: u8,
}

impl Position {
    /// Reads a cursor.
    pub(crate) fn read(cursor: Option<Value>) -> Result<Self> {
        let Some(value) = cursor.filter(|value| !value.is_null()) else { return Ok(Self::default()) };
        if !value.is_object() {
            return Err(foreign("it is no object"));
        }
        let position: Self = serde_json::from_value(value).map_err(|error| foreign(&error.to_string()))?;
        if position.shape != SHAPE {
            return Err(foreign(&format!("its shape is {}, this release knows {SHAPE}", position.shape)));
        }
        Ok(position)
    }

    /// Writes a cursor.
    pub(crate) fn write(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|error| Error::new(ErrorClass::Bug, format!("a cursor cannot be written: {error}")))
    }

    /// Whether a record was handed over with this version.
    pub(crate) fn has_seen(&self, key: &str, version: Option<&str>) -> bool {
        version.is_some_and(|version| self.seen.iter().any(|Seen(known, held, _)| known == key && held == version))
    }

    /// Remembers a record; forgets those from before `window`, and the oldest when there are too many.
    pub(crate) fn remember(&mut self, key: &str, version: Option<&str>, at: Option<i64>) {
        let (Some(version), Some(at)) = (version, at) else { return };
        self.seen.retain(|Seen(known, _, _)| known != key);
        self.seen.push(Seen(key.to_owned(), version.to_owned(), at));
    }

    /// Forgets records from before `window`, and the oldest when there are too many.
    pub(crate) fn forget_before(&mut self, window: i64) {
        self.seen.retain(|Seen(_, _, at)| *at >= window);
        let surplus = self.seen.len().saturating_sub(REMEMBERED);
        if surplus > 0 {
            self.seen.sort_by_key(|Seen(_, _, at)| *at);
            self.seen.drain(..surplus);
        }
    }

    /// The same without its walk: where to begin again.
    pub(crate) fn at_rest(&self) -> Self {
        Self { walk: None, ..self.clone() }
    }
}

fn foreign(detail: &str) -> Error {
    let message = format!("this cursor was not made by this connector: {detail}; reset the entity's cursor to read everything again");
    Error::new(ErrorClass::Config, message).with_field("cursor")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_survives_writing_and_reading() {
        let mut position = Position { high: Some(7), token: Some("t".into()), listed_at: Some(1), ..Position::default() };
        position.remember("a", Some("1"), Some(5));
        position.walk = Some(Walk { since: Some("x".into()), place: Place { number: Some(3), ..Place::default() }, ..Walk::default() });
        assert_eq!(Position::read(Some(position.write().unwrap())).unwrap(), position);
        assert_eq!(Position::read(None).unwrap(), Position::default());
    }

    #[test]
    fn garbage_is_refused_and_named() {
        for garbage in [
            json!("x"),
            json!(7),
            json!([]),
            json!({}),
            json!({"shape": 9}),
            json!({"shape": 1, "more": 1}),
            json!({"shape": 1, "high": "x"}),
        ] {
            let error = Position::read(Some(garbage.clone())).unwrap_err();
            assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("cursor")), "{garbage}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut position = Position::default();
        for at in 0..6000_i64 {
            position.seen.push(Seen(at.to_string(), "1".into(), at));
        }
        position.forget_before(10);
        assert_eq!(position.seen.len(), REMEMBERED);
        assert_eq!(position.seen[0].2, 1000);
        assert!(position.has_seen("5999", Some("1")) && !position.has_seen("5999", Some("2")) && !position.has_seen("5999", None));
    }
}
