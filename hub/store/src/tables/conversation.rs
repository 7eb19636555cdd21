//! Conversations, by id and by the silo's thread key.

use throughline_schemas::{ConnectionId, Conversation, ConversationId};

use super::{Table, key};

/// Conversation id -> conversation.
pub struct Conversations;

impl Table for Conversations {
    const PREFIX: u8 = 0x12;
    const NAME: &'static str = "conversations";
    type Key = ConversationId;
    type Value = Conversation;
    fn suffix(key: &ConversationId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// (connection, the silo's thread key) -> conversation id.
pub struct ConversationKeys;

impl Table for ConversationKeys {
    const PREFIX: u8 = 0x13;
    const NAME: &'static str = "conversation_keys";
    type Key = (ConnectionId, String);
    type Value = ConversationId;
    fn suffix((connection, thread): &Self::Key) -> Vec<u8> {
        let mut bytes = connection.as_bytes().to_vec();
        key::text(&mut bytes, thread);
        bytes
    }
}
