//! Merges: which root was put under which, why, and what was undone.

use serde::{Deserialize, Serialize};
use throughline_schemas::{DecisionId, MergeId, ProfileId, Timestamp};

use super::Table;

/// One merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRecord {
    /// Its id.
    pub id: MergeId,
    /// The root that stayed.
    pub survivor: ProfileId,
    /// The root that was put under it.
    pub loser: ProfileId,
    /// The loser's own members at that time: they go back with it.
    pub members: Vec<ProfileId>,
    /// Why.
    pub decision_id: DecisionId,
    /// When.
    pub at: Timestamp,
    /// When it was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_at: Option<Timestamp>,
}

/// The profile that was merged -> its latest merge.
pub struct Merges;

impl Table for Merges {
    const PREFIX: u8 = 0x2e;
    const NAME: &'static str = "merges";
    type Key = ProfileId;
    type Value = MergeRecord;
    fn suffix(key: &ProfileId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}
