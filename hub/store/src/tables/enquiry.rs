//! Enquiries, by id and by whom they are of, and what was said in each.

use throughline_schemas::{Enquiry, EnquiryId, EnquiryStatus, ProfileId};

use super::interaction::{TimelineKey, interaction_of, timeline_suffix};
use super::{Present, Table, key};

/// Enquiry id -> enquiry.
pub struct Enquiries;

impl Table for Enquiries {
    const PREFIX: u8 = 0x19;
    const NAME: &'static str = "enquiries";
    type Key = EnquiryId;
    type Value = Enquiry;
    fn suffix(key: &EnquiryId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// (profile before any merge, newest enquiry first) -> its status.
pub struct EnquiriesByProfile;

impl EnquiriesByProfile {
    /// The enquiry that a key of this table names.
    #[must_use]
    pub fn enquiry(key: &[u8]) -> Option<EnquiryId> {
        let bytes: [u8; 16] = key.get(17..)?.try_into().ok()?;
        Some(EnquiryId::from_bytes(key::inverted(&bytes)))
    }
}

impl Table for EnquiriesByProfile {
    const PREFIX: u8 = 0x1a;
    const NAME: &'static str = "enquiries_by_profile";
    type Key = (ProfileId, EnquiryId);
    type Value = EnquiryStatus;
    fn suffix((profile, enquiry): &Self::Key) -> Vec<u8> {
        let mut bytes = profile.as_bytes().to_vec();
        bytes.extend(key::inverted(enquiry.as_bytes()));
        bytes
    }
}

/// (enquiry, newest first) -> nothing: the key says which interaction.
pub struct EnquiryTimeline;

impl EnquiryTimeline {
    /// The interaction that a key of this table names.
    #[must_use]
    pub fn interaction(key: &[u8]) -> Option<throughline_schemas::InteractionId> {
        interaction_of(key)
    }
}

impl Table for EnquiryTimeline {
    const PREFIX: u8 = 0x1b;
    const NAME: &'static str = "enquiry_timeline";
    type Key = TimelineKey<EnquiryId>;
    type Value = Present;
    fn suffix(key: &Self::Key) -> Vec<u8> {
        timeline_suffix(key.subject.as_bytes(), key.at, key.interaction)
    }
}

/// A profile that shows itself (a root) -> the enquiry opened for it last.
///
/// Whoever opens an enquiry writes this row and whoever decides about one reads it, so that two messages of one person that arrive at
/// once, each finding nothing open, cannot both open one: a scan of the enquiries could not be a precondition.
pub struct LatestEnquiries;

impl Table for LatestEnquiries {
    const PREFIX: u8 = 0x1e;
    const NAME: &'static str = "latest_enquiries";
    type Key = ProfileId;
    type Value = EnquiryId;
    fn suffix(key: &ProfileId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}
