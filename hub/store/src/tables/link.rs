//! Links between our records and the silos', with their shadows; by the silo's key and by ours.

use throughline_schemas::ConnectionId;
use throughline_schemas::sync::Link;

use super::{Table, key};

/// What names a link: connection, entity, the silo's key.
pub type LinkKey = (ConnectionId, String, String);

/// (connection, entity, the silo's key) -> link.
pub struct Links;

impl Table for Links {
    const PREFIX: u8 = 0x25;
    const NAME: &'static str = "links";
    type Key = LinkKey;
    type Value = Link;
    fn suffix((connection, entity, external): &Self::Key) -> Vec<u8> {
        let mut bytes = connection.as_bytes().to_vec();
        key::text(&mut bytes, entity);
        key::text(&mut bytes, external);
        bytes
    }
}

/// (sixteen bytes of our record's id, connection, entity) -> the silo's key.
pub struct LinksByCanonical;

impl Table for LinksByCanonical {
    const PREFIX: u8 = 0x26;
    const NAME: &'static str = "links_by_canonical";
    type Key = ([u8; 16], ConnectionId, String);
    type Value = String;
    fn suffix((canonical, connection, entity): &Self::Key) -> Vec<u8> {
        let mut bytes = canonical.to_vec();
        bytes.extend(connection.as_bytes());
        key::text(&mut bytes, entity);
        bytes
    }
}
