//! One entity: where it is listed, how reading goes on, how it is written.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use throughline_plugin_sdk::schemas::manifest::Canonical;

use super::fields::{FieldMap, InteractionMap};
use crate::time::TimeFormat;

/// One entity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// What it is canonically.
    pub canonical: Canonical,
    /// The record's id in a record.
    #[serde(default = "default_id")]
    pub id: String,
    /// The record's version.
    #[serde(default)]
    pub version: Option<Version>,
    /// When the record last changed.
    #[serde(default)]
    pub updated: Option<Updated>,
    /// How it is listed; without it, it cannot be read by polling.
    #[serde(default)]
    pub list: Option<ListCall>,
    /// How reading goes on.
    #[serde(default)]
    pub cursor: Cursor,
    /// How deletions become known.
    #[serde(default)]
    pub deletes: Deletes,
    /// How a merged record names the one it was merged into.
    #[serde(default)]
    pub merged: Option<Merged>,
    /// How one record is read.
    #[serde(default)]
    pub get: Option<RecordCall>,
    /// Canonical field name to its place in the record.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldMap>,
    /// For canonical `interaction`: what it says.
    #[serde(default)]
    pub interaction: Option<InteractionMap>,
    /// How it is written; without it, it is read-only.
    #[serde(default)]
    pub write: Option<Write>,
    /// How a record is found by the value of a canonical field.
    #[serde(default)]
    pub lookups: BTreeMap<String, ListCall>,
    /// How long after a write a read may still show the old value.
    #[serde(default)]
    pub read_lag_ms: u64,
}

/// Where the version is.
#[derive(Debug, Clone)]
pub enum Version {
    /// At a JSON pointer in the record.
    Pointer(String),
    /// In a response header of the record's own endpoint (`ETag`), since a list has none for each record.
    Header(VersionHeader),
}

/// By hand, because an untagged enum cannot say which part was wrong.
impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(pointer) => Ok(Self::Pointer(pointer)),
            other => serde_json::from_value(other).map(Self::Header).map_err(D::Error::custom),
        }
    }
}

/// A response header that holds the version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionHeader {
    /// Its name.
    pub header: String,
}

/// Where the time of the last change is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updated {
    /// Its place in the record.
    pub pointer: String,
    /// How it is written.
    #[serde(default)]
    pub format: TimeFormat,
}

/// A request that answers with a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListCall {
    /// GET, or POST for systems that search so.
    #[serde(default = "default_get")]
    pub method: String,
    /// The endpoint.
    pub path: String,
    /// Query parameters; one that names a variable without a value is left out.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// JSON body for POST.
    #[serde(default)]
    pub body: Option<Value>,
    /// Where the list is in the answer; the answer itself if empty.
    #[serde(default)]
    pub items: String,
    /// How the next page is had.
    #[serde(default)]
    pub pagination: Pagination,
    /// Records asked for in one page: the system's maximum.
    #[serde(default = "default_page_size")]
    pub page_size: u32,
    /// When a walk over numbered pages is over.
    #[serde(default)]
    pub end: End,
    /// Where the number of all records is, to notice that the list changed under the walk.
    #[serde(default)]
    pub total: Option<String>,
}

/// When a walk over numbered pages is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At the first empty page.
    #[default]
    EmptyPage,
    /// At the first page that is not full: only for systems that honour the page size asked for.
    ShortPage,
}

/// How the next page is had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pagination {
    /// There is one page.
    #[default]
    None,
    /// By number: `{page}`, `{per_page}`.
    Page {
        /// The first page's number.
        #[serde(default = "default_first_page")]
        first: u64,
    },
    /// By offset: `{offset}`, `{per_page}`.
    Offset,
    /// By what the last record holds: `{after_id}`, and `{since}` with a timestamp cursor. Immune to changes under the walk.
    Keyset,
    /// By a cursor in the answer: `{cursor}`.
    Cursor {
        /// Where the cursor is.
        pointer: String,
    },
    /// By the `next` link of the Link header (RFC 8288).
    NextLink,
    /// By an address in the answer.
    NextUrl {
        /// Where the address is.
        pointer: String,
    },
}

/// How reading goes on where it stopped.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cursor {
    /// Every read is a full listing.
    #[default]
    None,
    /// By the time of last change: `{since}`.
    Timestamp {
        /// How far back every new walk begins, for changes that become visible late.
        #[serde(default = "default_overlap")]
        overlap_seconds: u64,
        /// The resolution of the system's times, in milliseconds.
        #[serde(default = "default_resolution")]
        resolution_ms: u64,
        /// Whether the system's filter includes `{since}` itself; if not, one unit of resolution earlier is asked for.
        #[serde(default = "default_true")]
        inclusive: bool,
        /// Whether the list is sorted by time of change, oldest first: only then can a walk be continued in the middle.
        #[serde(default)]
        sorted: bool,
    },
    /// A token that the system hands out at the end of a walk: `{since}`.
    Opaque {
        /// Where the token is in the last page.
        pointer: String,
    },
}

/// How deletions become known.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Deletes {
    /// They do not.
    #[default]
    None,
    /// A field of the record says so.
    Flag(Flag),
    /// By comparing with a full listing that finished cleanly.
    FullList(FullList),
}

/// A field that marks a deleted record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Its place.
    pub pointer: String,
    /// The value that means deleted; absent: anything but null, false and "".
    #[serde(default)]
    pub equals: Option<Value>,
}

/// A listing of everything, to see what is missing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullList {
    /// How; absent: the entity's own list (for cursor `none`).
    #[serde(default)]
    pub list: Option<ListCall>,
    /// How often at most.
    #[serde(default = "default_full_list_seconds")]
    pub every_seconds: u64,
}

/// How a merged record names its survivor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merged {
    /// Where the survivor's id is; null or "" when the record was not merged.
    pub pointer: String,
}

/// A request about one record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordCall {
    /// The method; each use has its own default.
    #[serde(default)]
    pub method: Option<String>,
    /// The endpoint, with `{key}`.
    pub path: String,
    /// Query parameters.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// The JSON body; a text that is just `{record}` is replaced by the record.
    #[serde(default)]
    pub body: Option<Value>,
    /// Headers only for it.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Where the record is in the answer; the answer itself if empty.
    #[serde(default)]
    pub record: String,
}

/// How an entity is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// How a record is created.
    #[serde(default)]
    pub create: Option<RecordCall>,
    /// How a record is changed.
    #[serde(default)]
    pub update: Option<RecordCall>,
    /// How a record is deleted.
    #[serde(default)]
    pub delete: Option<RecordCall>,
    /// How a field is emptied.
    #[serde(default)]
    pub clear: Clear,
    /// How lost updates are prevented.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// How a create sent twice has one effect.
    #[serde(default)]
    pub idempotency: Idempotency,
}

/// How a field is emptied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clear {
    /// By null.
    #[default]
    Null,
    /// By an empty text.
    EmptyString,
    /// It cannot be.
    Unsupported,
}

/// How lost updates are prevented.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Concurrency {
    /// They are not.
    #[default]
    None,
    /// By a conditional header.
    Etag {
        /// Its name.
        #[serde(default = "default_if_match")]
        header: String,
        /// Its value, with `{version}`.
        #[serde(default = "default_if_match_value")]
        value: String,
    },
    /// By sending back the version in the record.
    VersionField {
        /// Its place in the record.
        pointer: String,
    },
    /// By reading the record first: narrows the gap where the system offers nothing better.
    Compare,
}

/// How a create sent twice has one effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Idempotency {
    /// It has two.
    #[default]
    None,
    /// The system knows an idempotency key.
    Header {
        /// The header that carries it.
        #[serde(default = "default_idempotency_header")]
        name: String,
    },
    /// A field holds a key of ours, and is looked up first.
    Upsert {
        /// The canonical field; it must have a look-up.
        field: String,
    },
}

fn default_id() -> String {
    "/id".to_owned()
}
fn default_get() -> String {
    "GET".to_owned()
}
fn default_page_size() -> u32 {
    100
}
fn default_first_page() -> u64 {
    1
}
fn default_overlap() -> u64 {
    5
}
fn default_resolution() -> u64 {
    1000
}
fn default_true() -> bool {
    true
}
fn default_full_list_seconds() -> u64 {
    3600
}
fn default_if_match() -> String {
    "If-Match".to_owned()
}
fn default_if_match_value() -> String {
    "\"{version}\"".to_owned()
}
fn default_idempotency_header() -> String {
    "Idempotency-Key".to_owned()
}
