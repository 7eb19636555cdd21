//! Handoffs, by id, by enquiry and by deadline; what the watchdog still has to look at; what was answered already.

use serde::{Deserialize, Serialize};
use throughline_domain::handoff::HandoffPolicy;
use throughline_schemas::{Channel, EnquiryId, Handoff, HandoffId, HandoffKind, HandoffState, InteractionId, Timestamp};

use super::{Present, Table, key};

/// Handoff id -> handoff.
pub struct Handoffs;

impl Table for Handoffs {
    const PREFIX: u8 = 0x40;
    const NAME: &'static str = "handoffs";
    type Key = HandoffId;
    type Value = Handoff;
    fn suffix(key: &HandoffId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// (enquiry, newest handoff first) -> where it stands.
pub struct HandoffsByEnquiry;

impl HandoffsByEnquiry {
    /// The handoff that a key of this table names.
    #[must_use]
    pub fn handoff(key: &[u8]) -> Option<HandoffId> {
        let bytes: [u8; 16] = key.get(17..)?.try_into().ok()?;
        Some(HandoffId::from_bytes(key::inverted(&bytes)))
    }
}

impl Table for HandoffsByEnquiry {
    const PREFIX: u8 = 0x41;
    const NAME: &'static str = "handoffs_by_enquiry";
    type Key = (EnquiryId, HandoffId);
    type Value = HandoffState;
    fn suffix((enquiry, handoff): &Self::Key) -> Vec<u8> {
        let mut bytes = enquiry.as_bytes().to_vec();
        bytes.extend(key::inverted(handoff.as_bytes()));
        bytes
    }
}

/// (deadline, handoff) of those that are open -> nothing: the watchdog reads them in this order.
pub struct HandoffDeadlines;

impl HandoffDeadlines {
    /// When, and which handoff, a key of this table names.
    #[must_use]
    pub fn due(key: &[u8]) -> Option<(Timestamp, HandoffId)> {
        let (at, id) = moment_and_id(key)?;
        Some((at, HandoffId::from_bytes(id)))
    }
}

impl Table for HandoffDeadlines {
    const PREFIX: u8 = 0x42;
    const NAME: &'static str = "handoff_deadlines";
    type Key = (Timestamp, HandoffId);
    type Value = Present;
    fn suffix((deadline, handoff): &Self::Key) -> Vec<u8> {
        let mut bytes = oldest_first(*deadline).to_vec();
        bytes.extend(handoff.as_bytes());
        bytes
    }
}

/// A handoff in progress, as far as others must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHandoff {
    /// Which.
    pub id: HandoffId,
    /// What is passed on, and how.
    pub kind: HandoffKind,
    /// Where the customer is to be met, where that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Until when it holds.
    pub deadline: Timestamp,
}

/// Enquiry -> its handoffs in progress, in the order in which they were offered; no row if there are none.
///
/// Whoever offers one reads and writes this row, so that two offers at once cannot both pass the enquiry on.
pub struct OpenHandoffs;

impl Table for OpenHandoffs {
    const PREFIX: u8 = 0x43;
    const NAME: &'static str = "open_handoffs";
    type Key = EnquiryId;
    type Value = Vec<OpenHandoff>;
    fn suffix(key: &EnquiryId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// Brand -> how handoffs of its enquiries go.
pub struct HandoffPolicies;

impl HandoffPolicies {
    /// The brand that a key of this table names.
    #[must_use]
    pub fn brand(key: &[u8]) -> Option<String> {
        key::read_text(key.get(1..)?)
    }
}

impl Table for HandoffPolicies {
    const PREFIX: u8 = 0x44;
    const NAME: &'static str = "handoff_policies";
    type Key = String;
    type Value = HandoffPolicy;
    fn suffix(brand: &String) -> Vec<u8> {
        let mut bytes = Vec::new();
        key::text(&mut bytes, brand);
        bytes
    }
}

/// (when the fallback gets it, enquiry) of those without an owner -> nothing. A row may be left over: whoever acts on it looks again.
pub struct Unowned;

impl Unowned {
    /// When, and which enquiry, a key of this table names.
    #[must_use]
    pub fn due(key: &[u8]) -> Option<(Timestamp, EnquiryId)> {
        let (at, id) = moment_and_id(key)?;
        Some((at, EnquiryId::from_bytes(id)))
    }
}

impl Table for Unowned {
    const PREFIX: u8 = 0x45;
    const NAME: &'static str = "unowned";
    type Key = (Timestamp, EnquiryId);
    type Value = Present;
    fn suffix((due, enquiry): &Self::Key) -> Vec<u8> {
        let mut bytes = oldest_first(*due).to_vec();
        bytes.extend(enquiry.as_bytes());
        bytes
    }
}

/// How far the watchdog has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchPlace {
    /// The last entry of the change log it has looked at.
    pub sequence: u64,
    /// A policy has changed: all enquiries behind this one are still to be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walked_to: Option<EnquiryId>,
}

/// `handoffs` -> how far the watchdog has looked.
pub struct WatchPlaces;

impl Table for WatchPlaces {
    const PREFIX: u8 = 0x46;
    const NAME: &'static str = "watch_places";
    type Key = &'static str;
    type Value = WatchPlace;
    fn suffix(name: &&'static str) -> Vec<u8> {
        let mut bytes = Vec::new();
        key::text(&mut bytes, name);
        bytes
    }
}

/// What a customer said -> the message that answers it: there is one answer, whoever races for it.
pub struct Answers;

impl Table for Answers {
    const PREFIX: u8 = 0x47;
    const NAME: &'static str = "answers";
    type Key = InteractionId;
    type Value = InteractionId;
    fn suffix(key: &InteractionId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// A moment such that earlier ones sort first.
fn oldest_first(at: Timestamp) -> [u8; 8] {
    // The sign bit flipped: negative numbers sort below positive ones.
    ((at.as_millis() as u64) ^ (1 << 63)).to_be_bytes()
}

fn moment_and_id(key: &[u8]) -> Option<(Timestamp, [u8; 16])> {
    let millis = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?) ^ (1 << 63);
    Some((Timestamp::from_millis(millis as i64), key.get(9..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_what_they_were_made_of_and_sort_by_time() {
        let mut keys = Vec::new();
        for millis in [i64::MIN, -1, 0, 1, i64::MAX] {
            let at = Timestamp::from_millis(millis);
            let handoff = HandoffDeadlines::key(&(at, HandoffId::from_bytes([7; 16])));
            assert_eq!(HandoffDeadlines::due(&handoff), Some((at, HandoffId::from_bytes([7; 16]))));
            assert_eq!(Unowned::due(&Unowned::key(&(at, EnquiryId::from_bytes([8; 16])))), Some((at, EnquiryId::from_bytes([8; 16]))));
            keys.push(handoff);
        }
        assert!(keys.is_sorted());
        let by_enquiry = HandoffsByEnquiry::key(&(EnquiryId::from_bytes([1; 16]), HandoffId::from_bytes([9; 16])));
        assert_eq!(HandoffsByEnquiry::handoff(&by_enquiry), Some(HandoffId::from_bytes([9; 16])));
        assert_eq!(HandoffPolicies::brand(&HandoffPolicies::key(&"a\0b".to_owned())).as_deref(), Some("a\0b"));
        assert_eq!(HandoffDeadlines::due(&[0x42, 1]), None);
    }
}
