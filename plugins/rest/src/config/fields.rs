//! How a canonical field and a place in the system's record correspond.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use throughline_plugin_sdk::schemas::{Channel, Direction, IdentityType};

use crate::time::TimeFormat;

/// A field: a JSON pointer alone, or one with what is to be done to the value.
#[derive(Debug, Clone)]
pub enum FieldMap {
    /// Just the place.
    Pointer(String),
    /// The place and more.
    Spec(Box<FieldSpec>),
}

/// By hand, because an untagged enum cannot say which part was wrong.
impl<'de> Deserialize<'de> for FieldMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(pointer) => Ok(Self::Pointer(pointer)),
            other => serde_json::from_value(other).map(|spec| Self::Spec(Box::new(spec))).map_err(D::Error::custom),
        }
    }
}

impl FieldMap {
    /// The full form.
    pub fn spec(&self) -> FieldSpec {
        match self {
            Self::Pointer(pointer) => FieldSpec { pointer: Some(pointer.clone()), ..FieldSpec::default() },
            Self::Spec(spec) => (**spec).clone(),
        }
    }
}

/// A field in full.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// The place in the record.
    #[serde(default)]
    pub pointer: Option<String>,
    /// Several places whose texts are joined; such a field is only read.
    #[serde(default)]
    pub join: Vec<String>,
    /// What stands between joined texts; a space by default.
    #[serde(default)]
    pub separator: Option<String>,
    /// A part of a name; such a field is only read.
    #[serde(default)]
    pub split: Option<Split>,
    /// A fixed value; such a field is only read.
    #[serde(default, rename = "const")]
    pub constant: Option<Value>,
    /// Done to the value in both directions, in order.
    #[serde(default)]
    pub transforms: Vec<Transform>,
    /// The value is a time, written like this; canonical times are RFC 3339.
    #[serde(default)]
    pub date: Option<DateMap>,
    /// The system's values to ours.
    #[serde(default)]
    pub values: Option<ValueMap>,
    /// Only read.
    #[serde(default)]
    pub read_only: bool,
    /// Only written.
    #[serde(default)]
    pub write_only: bool,
    /// Longest value in characters.
    #[serde(default)]
    pub max_length: Option<u32>,
}

impl FieldSpec {
    /// Whether a write can carry it.
    pub fn writable(&self) -> bool {
        self.pointer.is_some() && !self.read_only && self.split.is_none() && self.join.is_empty() && self.constant.is_none()
    }
}

/// Which part of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// All words but the last.
    First,
    /// The last word.
    Last,
}

/// Something done to a value, idempotent so that both directions agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// No blanks at the ends.
    Trim,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// A leading `+` and digits.
    Phone,
    /// As text.
    Text,
}

/// A time's format.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DateMap {
    /// How the system writes it.
    #[serde(default)]
    pub format: TimeFormat,
}

/// The system's values to ours.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueMap {
    /// The system's value, as text, to ours. In the other direction the first that fits, by the system's value in alphabetical order,
    /// unless `write` says otherwise.
    pub read: BTreeMap<String, Value>,
    /// Our value, as text, to the system's, where turning `read` round is not enough.
    #[serde(default)]
    pub write: BTreeMap<String, Value>,
    /// Ours for a value that `read` does not name; absent: the value itself.
    #[serde(default)]
    pub otherwise: Option<Value>,
}

/// What an interaction record says; pointers into the record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InteractionMap {
    /// The kind of channel.
    pub channel: Channel,
    /// The direction of every record, or of those that `direction_pointer` does not decide.
    #[serde(default = "default_inbound")]
    pub direction: Direction,
    /// Where the direction is.
    #[serde(default)]
    pub direction_pointer: Option<String>,
    /// The values there, as text, to ours.
    #[serde(default)]
    pub directions: BTreeMap<String, Direction>,
    /// The text.
    pub text: String,
    /// The subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// The customer's address.
    pub customer: String,
    /// What kind of identifier that is.
    #[serde(default)]
    pub customer_type: SenderType,
    /// The customer's name.
    #[serde(default)]
    pub customer_name: Option<String>,
    /// Our agent, by the system's name.
    #[serde(default)]
    pub agent: Option<String>,
    /// The address on our side.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The system's key of the thread.
    #[serde(default)]
    pub conversation_key: Option<String>,
    /// When it happened; the time of receipt if absent.
    #[serde(default)]
    pub occurred_at: Option<String>,
    /// How that time is written.
    #[serde(default)]
    pub time_format: TimeFormat,
    /// The system's id of the message.
    #[serde(default)]
    pub message_id: Option<String>,
    /// A continuity token, as presented.
    #[serde(default)]
    pub token: Option<String>,
    /// Context variables by name.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// A note among ourselves rather than a message.
    #[serde(default)]
    pub note: bool,
}

/// What kind of identifier the customer's address is.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct SenderType(pub IdentityType);

impl Default for SenderType {
    fn default() -> Self {
        Self(IdentityType::Handle)
    }
}

fn default_inbound() -> Direction {
    Direction::Inbound
}
