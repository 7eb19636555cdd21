//! What an admin writes to connect a system: the shape of a connection's config.
//!
//! The JSON Schema in `manifest.json` says the same to forms and to the hub; `validate` checks what a schema cannot say.
//! Nothing here knows HTTP or how a record is read.

mod entity;
mod fields;
mod validate;
mod webhook;

pub use entity::{
    Clear, Concurrency, Cursor, Deletes, End, Entity, Flag, FullList, Idempotency, ListCall, Merged, Pagination, RecordCall, Updated,
    Version, Write,
};
pub use fields::{DateMap, FieldMap, FieldSpec, InteractionMap, SenderType, Split, Transform, ValueMap};
pub use webhook::{Composite, DeliveryId, Encoding, Event, EventAction, Registration, Signature, Webhook};

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use throughline_plugin_sdk::ErrorClass;

/// A whole connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the system is: `https://crm.example.com` with an optional path; every other path is put behind it.
    pub base_url: String,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one request may take, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The largest response body taken, in bytes; the host's own limit holds as well.
    #[serde(default)]
    pub max_body_bytes: Option<u64>,
    /// How we authenticate.
    #[serde(default)]
    pub auth: Auth,
    /// How requests are signed, where the system wants it.
    #[serde(default)]
    pub signing: Option<Signing>,
    /// Where the account's id and name can be read.
    #[serde(default)]
    pub account: Option<Account>,
    /// What is read and written, by name.
    #[serde(default)]
    pub entities: BTreeMap<String, Entity>,
    /// What the system posts to us.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// How this system says that something failed, tried in order before the defaults.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Where an error's text is, as a JSON pointer.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Where errors of single fields are.
    #[serde(default)]
    pub field_errors: Option<FieldErrors>,
    /// The system's own rate limit headers.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

/// How we authenticate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer <secret>`.
    Bearer {
        /// The secret's name.
        #[serde(default = "default_token_secret")]
        secret: String,
    },
    /// A header of the system's own.
    Header {
        /// The header's name.
        name: String,
        /// Its value, with `{secret:NAME}` in it.
        value: String,
    },
    /// A query parameter.
    Query {
        /// The parameter's name.
        name: String,
        /// The secret's name.
        #[serde(default = "default_token_secret")]
        secret: String,
    },
    /// HTTP Basic.
    Basic {
        /// The user's name.
        username: String,
        /// The secret's name.
        #[serde(default = "default_password_secret")]
        secret: String,
    },
    /// A request that gives a token, which every other request carries.
    Login(Login),
}

/// A request that gives a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Where the request goes.
    pub path: String,
    /// Its method.
    #[serde(default = "default_post")]
    pub method: String,
    /// Its JSON body, with `{secret:NAME}` in it.
    #[serde(default)]
    pub body: Value,
    /// Headers only for it.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Where the token is in the answer, as a JSON pointer.
    pub token: String,
    /// The header that carries it.
    #[serde(default = "default_authorization")]
    pub header: String,
    /// The header's value, with `{token}` in it.
    #[serde(default = "default_token_template")]
    pub value: String,
    /// The account's id in the answer, as a JSON pointer.
    #[serde(default)]
    pub account: Option<String>,
    /// Statuses that mean that the token has run out: we log in once more.
    #[serde(default = "default_expired")]
    pub expired_status: Vec<u16>,
}

/// How a request is signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// The secret's name.
    #[serde(default = "default_signing_secret")]
    pub secret: String,
    /// What is signed: `{method}`, `{path}` (with the query), `{timestamp}`, `{body}`.
    #[serde(default = "default_signing_template")]
    pub template: String,
    /// The header that carries the signature.
    pub header: String,
    /// Put before the signature.
    #[serde(default)]
    pub prefix: String,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// The header that carries the time, in seconds since the Unix epoch.
    #[serde(default)]
    pub timestamp_header: Option<String>,
}

/// Where the account's id and name can be read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The endpoint.
    pub path: String,
    /// Its id, as a JSON pointer.
    pub id: String,
    /// Its name, as a JSON pointer.
    #[serde(default)]
    pub name: Option<String>,
}

/// One way in which the system says that something failed. All conditions that are given must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// Any of these statuses; empty: any status, 200 included.
    #[serde(default)]
    pub status: Vec<u16>,
    /// A place in the body; without `equals`, `contains` or `matches_any` it is enough that there is a value other than null.
    #[serde(default)]
    pub pointer: Option<String>,
    /// The value there.
    #[serde(default)]
    pub equals: Option<Value>,
    /// A text within the value there, or within the whole body when there is no pointer; case does not count.
    #[serde(default)]
    pub contains: Option<String>,
    /// The beginning of the content type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// What it means.
    pub class: ErrorClass,
    /// The canonical field at fault.
    #[serde(default)]
    pub field: Option<String>,
    /// Where the time to wait is, in milliseconds, as a JSON pointer.
    #[serde(default)]
    pub retry_after_ms: Option<String>,
}

/// Where errors of single fields are: an object by field name, or a list of objects.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldErrors {
    /// The object or list.
    pub pointer: String,
    /// In a list: where the field's name is in each entry.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the text is in each entry; the entry itself if absent.
    #[serde(default)]
    pub message: Option<String>,
}

/// The system's own rate limit headers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// The header that says how many requests are left: `0` with status 403 is read as "wait", as with 429.
    #[serde(default)]
    pub remaining: Option<String>,
    /// The header that says when there are new ones.
    #[serde(default)]
    pub reset: Option<String>,
    /// What the reset header counts.
    #[serde(default)]
    pub reset_unit: ResetUnit,
}

/// What a reset header counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetUnit {
    /// Seconds from now.
    #[default]
    Seconds,
    /// Seconds since the Unix epoch.
    UnixSeconds,
    /// Milliseconds since the Unix epoch.
    UnixMillis,
}

fn default_token_secret() -> String {
    "api_token".to_owned()
}
fn default_password_secret() -> String {
    "password".to_owned()
}
fn default_signing_secret() -> String {
    "signing_key".to_owned()
}
fn default_signing_template() -> String {
    "{method}\n{path}\n{timestamp}\n{body}".to_owned()
}
fn default_post() -> String {
    "POST".to_owned()
}
fn default_authorization() -> String {
    "Authorization".to_owned()
}
fn default_token_template() -> String {
    "Bearer {token}".to_owned()
}
fn default_expired() -> Vec<u16> {
    vec![401]
}
