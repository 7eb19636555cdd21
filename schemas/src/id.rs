//! Typed, prefixed, sortable ids: `pro_` + 26 characters of Crockford base32 over a UUIDv7.
//!
//! An id is a value handed in from outside: this module makes none, so that the pure core stays free of clock and randomness.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    /// The prefix that was wanted, for instance `pro`.
    pub wanted: &'static str,
    /// What was given instead.
    pub given: String,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a {wanted}_… id", self.given, wanted = self.wanted)
    }
}

impl std::error::Error for InvalidId {}

fn encode(bytes: [u8; 16]) -> String {
    let mut number = u128::from_be_bytes(bytes);
    let mut out = [0u8; ENCODED_LEN];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(number & 31) as usize];
        number >>= 5;
    }
    out.iter().map(|&byte| byte as char).collect()
}

fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != ENCODED_LEN {
        return None;
    }
    let mut number: u128 = 0;
    for (position, byte) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|&letter| letter == byte)? as u128;
        // 26 x 5 = 130 bits: the first character may carry only the top three.
        if position == 0 && value > 7 {
            return None;
        }
        number = number << 5 | value;
    }
    Some(number.to_be_bytes())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What every id of this kind begins with, without the underscore.
            pub const PREFIX: &'static str = $prefix;
            /// Wraps the sixteen bytes of a UUID.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self { Self(bytes) }
            /// The sixteen bytes, sorting as the ids do.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str("_")?;
                f.write_str(&encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix).and_then(|rest| rest.strip_prefix('_')).and_then(decode).map(Self)
                    .ok_or_else(|| InvalidId { wanted: $prefix, given: text.chars().take(64).collect() })
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> { serializer.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn inline_schema() -> bool { true }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$") })
            }
        }
    )*};
}

ids! {
    /// A [`Profile`](crate::Profile). Never dies: after a merge the old id still resolves.
    ProfileId = "pro";
    /// An [`Enquiry`](crate::Enquiry).
    EnquiryId = "enq";
    /// A [`Conversation`](crate::Conversation).
    ConversationId = "con";
    /// An [`Interaction`](crate::Interaction).
    InteractionId = "int";
    /// A configured connection to one real system.
    ConnectionId = "cnx";
    /// A recorded [`Decision`](crate::Decision).
    DecisionId = "dec";
    /// A handoff of an enquiry.
    HandoffId = "hnd";
    /// A flow.
    FlowId = "flw";
    /// One run of a flow.
    RunId = "run";
    /// An endpoint that the hub tells of its changes.
    WebhookId = "whk";
    /// A suggestion that two profiles are one person's.
    ReviewId = "rev";
    /// A merge of two profiles, which can be undone by this id.
    MergeId = "mrg";
    /// An entry of the dead-letter list.
    DeadLetterId = "dlt";
    /// A pending or past delivery to a silo.
    DeliveryId = "dlv";
    /// An unresolved two-sided change of one field.
    ConflictId = "cfl";
    /// What a large run would do, until somebody approves it.
    PlanId = "pln";
    /// An API key's public name (not its secret).
    ApiKeyId = "key";
    /// A continuity token's record (not the code itself).
    TokenId = "tok";
    /// A proof that an address is the speaker's.
    ProofId = "prf";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_sorts_like_the_bytes() {
        let low = ProfileId::from_bytes([0; 16]);
        let high = ProfileId::from_bytes([0xff; 16]);
        for id in [low, high, ProfileId::from_bytes(*b"0123456789abcdef")] {
            assert_eq!(id.to_string().parse::<ProfileId>(), Ok(id));
        }
        assert!(low.to_string() < high.to_string());
        assert_eq!(low.to_string().len(), 30);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for bad in
            ["", "pro_", "enq_00000000000000000000000000", "pro_8zzzzzzzzzzzzzzzzzzzzzzzzz", "pro_0000000000000000000000000u", "pro_é"]
        {
            assert!(bad.parse::<ProfileId>().is_err(), "{bad}");
        }
    }
}
