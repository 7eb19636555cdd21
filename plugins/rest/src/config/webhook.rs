//! What the system posts to us, and how we know that it was the system.

use serde::Deserialize;
use serde_json::Value;

use super::RecordCall;

/// A webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The path below the connection's hook that the system posts to; absent: any.
    #[serde(default)]
    pub path: Option<String>,
    /// How its requests are proven; there is no default, so that nobody leaves it open by forgetting.
    pub signature: Signature,
    /// What names one delivery, to refuse it a second time.
    #[serde(default)]
    pub delivery_id: Option<DeliveryId>,
    /// Whether the record is read back by its id rather than taken from the request.
    #[serde(default)]
    pub refetch: bool,
    /// Where the list of events is, for systems that send several at once.
    #[serde(default)]
    pub batch: Option<String>,
    /// How the system is told where to post; absent: by hand.
    #[serde(default)]
    pub registration: Option<Registration>,
    /// What the requests mean; the first that fits counts.
    pub events: Vec<Event>,
}

/// How our address is registered at the system.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// How registrations are listed; `record` is where the list is in the answer.
    #[serde(default)]
    pub list: Option<RecordCall>,
    /// How one is made: `{url}` is our address.
    pub create: RecordCall,
    /// How one is removed: `{key}` is its id.
    #[serde(default)]
    pub delete: Option<RecordCall>,
    /// Where a registration's id is.
    #[serde(default = "default_id")]
    pub id: String,
    /// Where its address is.
    #[serde(default = "default_url")]
    pub url: String,
}

/// How a webhook request is proven.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Signature {
    /// By HMAC-SHA256 over a template.
    HmacSha256 {
        /// The secret's name.
        #[serde(default = "default_webhook_secret")]
        secret: String,
        /// The header with the signature.
        header: String,
        /// What stands before the signature.
        #[serde(default)]
        prefix: String,
        /// How the signature is written.
        #[serde(default)]
        encoding: Encoding,
        /// What is signed: `{timestamp}`, `{delivery_id}`, `{body}`.
        #[serde(default = "default_template")]
        template: String,
        /// The header with the time, in seconds since the Unix epoch.
        #[serde(default)]
        timestamp_header: Option<String>,
        /// For one header that holds both (`t=1700000000,v1=…`).
        #[serde(default)]
        composite: Option<Composite>,
        /// How old a request may be.
        #[serde(default = "default_tolerance")]
        tolerance_seconds: u64,
    },
    /// By a shared token in a header.
    Token {
        /// The secret's name.
        #[serde(default = "default_webhook_secret")]
        secret: String,
        /// The header.
        header: String,
        /// What stands before the token.
        #[serde(default)]
        prefix: String,
    },
    /// Not at all: anyone who knows the address can post.
    None,
}

/// Names of the parts of a composite signature header.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composite {
    /// The time's.
    pub timestamp: String,
    /// The signature's.
    pub signature: String,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower-case hexadecimal; upper case is read too.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// Where a delivery's id is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DeliveryId {
    /// In a header.
    Header(String),
    /// In the body, as a JSON pointer.
    Pointer(String),
}

/// What a request means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The entity it is about.
    pub entity: String,
    /// A place in the body that must hold `equals` for this event to fit.
    #[serde(default)]
    pub when: Option<When>,
    /// What happened, by a value in the body or in a header; absent: a create or update.
    #[serde(default)]
    pub action: Option<EventAction>,
    /// Where the record is.
    #[serde(default)]
    pub record: String,
    /// Where the record's id is in the body; absent: the entity's own place in the record.
    #[serde(default)]
    pub id: Option<String>,
}

/// A condition on the body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The place.
    pub pointer: String,
    /// The value.
    pub equals: Value,
}

/// How a request says what happened.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventAction {
    /// A place in the body.
    #[serde(default)]
    pub pointer: Option<String>,
    /// A header.
    #[serde(default)]
    pub header: Option<String>,
    /// Values that mean a record was created.
    #[serde(default)]
    pub create: Vec<String>,
    /// Values that mean a record was changed.
    #[serde(default)]
    pub update: Vec<String>,
    /// Values that mean a record was deleted.
    #[serde(default)]
    pub delete: Vec<String>,
}

fn default_id() -> String {
    "/id".to_owned()
}
fn default_url() -> String {
    "/url".to_owned()
}
fn default_webhook_secret() -> String {
    "webhook_secret".to_owned()
}
fn default_template() -> String {
    "{timestamp}.{body}".to_owned()
}
fn default_tolerance() -> u64 {
    300
}
