//! Profiles that may be one person's, for a person to say; and the policy by which they are found.

use serde::{Deserialize, Serialize};
use throughline_domain::identity::IdentityPolicy;
use throughline_schemas::{DecisionId, Evidence, ProfileId, ReviewId, Timestamp};

use super::Table;

/// What became of a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReviewStatus {
    /// It waits for a person.
    Open,
    /// They are one person, and were merged.
    Accepted,
    /// They are two, and are kept apart from then on.
    Rejected,
}

/// Two profiles that may be one person's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Review {
    /// Its id: the same two profiles have the same one.
    pub id: ReviewId,
    /// The two.
    pub profiles: [ProfileId; 2],
    /// The evidence for one person, in bits.
    pub bits: f32,
    /// What it is made of: the bits add up.
    pub evidence: Vec<Evidence>,
    /// What else they may be, likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The model that weighed it.
    pub model: String,
    /// What became of it.
    pub status: ReviewStatus,
    /// Since when.
    pub at: Timestamp,
    /// When somebody decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Who did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The decision that suggested it, later the one that settled it.
    pub decision_id: DecisionId,
}

/// Review id -> review.
pub struct Reviews;

impl Table for Reviews {
    const PREFIX: u8 = 0x60;
    const NAME: &'static str = "reviews";
    type Key = ReviewId;
    type Value = Review;
    fn suffix(key: &ReviewId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// The one policy of identity.
pub struct IdentityPolicies;

impl Table for IdentityPolicies {
    const PREFIX: u8 = 0x61;
    const NAME: &'static str = "identity_policies";
    type Key = ();
    type Value = IdentityPolicy;
    fn suffix(_: &()) -> Vec<u8> {
        Vec::new()
    }
}
