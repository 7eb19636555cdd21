//! Interactions, the timelines they stand on, and the message ids by which later ones find them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use throughline_schemas::{ConversationId, Interaction, InteractionId, ProfileId, Timestamp};

use super::{Present, Table, key};

/// Interaction id -> interaction.
pub struct Interactions;

impl Table for Interactions {
    const PREFIX: u8 = 0x15;
    const NAME: &'static str = "interactions";
    type Key = InteractionId;
    type Value = Interaction;
    fn suffix(key: &InteractionId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// A place on a timeline: newest first, so that the latest fifty are the first fifty of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineKey<S> {
    /// Whose timeline.
    pub subject: S,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub interaction: InteractionId,
}

pub(super) fn timeline_suffix(subject: &[u8; 16], at: Timestamp, interaction: InteractionId) -> Vec<u8> {
    let mut bytes = subject.to_vec();
    bytes.extend(key::newest_first(at.as_millis()));
    bytes.extend(key::inverted(interaction.as_bytes()));
    bytes
}

/// The interaction a timeline's key names.
#[must_use]
pub(super) fn interaction_of(key: &[u8]) -> Option<InteractionId> {
    let bytes: [u8; 16] = key.get(key.len().checked_sub(16)?..)?.try_into().ok()?;
    Some(InteractionId::from_bytes(key::inverted(&bytes)))
}

/// (profile, newest first) -> nothing: the key says which interaction.
pub struct Timeline;

impl Timeline {
    /// The part of a key that orders it among all profiles: time, then interaction.
    #[must_use]
    pub fn place(key: &[u8]) -> Option<&[u8]> {
        key.get(17..)
    }

    /// The key at a place on another profile's timeline, to go on after.
    #[must_use]
    pub fn at_place(profile: ProfileId, place: &[u8]) -> Vec<u8> {
        [&[Self::PREFIX], profile.as_bytes().as_slice(), place].concat()
    }

    /// The interaction that a key of this table names.
    #[must_use]
    pub fn interaction(key: &[u8]) -> Option<InteractionId> {
        interaction_of(key)
    }
}

impl Table for Timeline {
    const PREFIX: u8 = 0x17;
    const NAME: &'static str = "timeline";
    type Key = TimelineKey<ProfileId>;
    type Value = Present;
    fn suffix(key: &Self::Key) -> Vec<u8> {
        timeline_suffix(key.subject.as_bytes(), key.at, key.interaction)
    }
}

/// (conversation, newest first) -> nothing: the key says which interaction.
pub struct ConversationTimeline;

impl ConversationTimeline {
    /// The interaction that a key of this table names.
    #[must_use]
    pub fn interaction(key: &[u8]) -> Option<InteractionId> {
        interaction_of(key)
    }
}

impl Table for ConversationTimeline {
    const PREFIX: u8 = 0x18;
    const NAME: &'static str = "conversation_timeline";
    type Key = TimelineKey<ConversationId>;
    type Value = Present;
    fn suffix(key: &Self::Key) -> Vec<u8> {
        timeline_suffix(key.subject.as_bytes(), key.at, key.interaction)
    }
}

/// Where a message id was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageIdRow {
    /// The conversation it belongs to.
    pub conversation: ConversationId,
    /// Whether it is the id of a message that we sent.
    pub ours: bool,
    /// Whether a message of this id reached us, or it was only referred to.
    pub seen: bool,
}

/// Digest of a message id -> where it was seen.
pub struct MessageIds;

impl Table for MessageIds {
    const PREFIX: u8 = 0x14;
    const NAME: &'static str = "message_ids";
    type Key = String;
    type Value = MessageIdRow;
    fn suffix(message_id: &String) -> Vec<u8> {
        // Sixteen bytes of SHA-256: ids come from strangers and may be of any length.
        Sha256::digest(message_id.as_bytes())[..16].to_vec()
    }
}
