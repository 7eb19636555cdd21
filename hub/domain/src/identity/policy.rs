//! What admins set of identity: how much likeness it takes, and which identifiers say little.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_schemas::IdentityType;

use super::resolve::Millibits;

/// The most bits a threshold may be set to; no pair of records ever has so many.
const MOST_BITS: f32 = 200.0;

/// Identity's policy. A wrong merge shows one customer another's affairs, so that likeness alone merges nobody unless it is told to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct IdentityPolicy {
    /// Whether profiles that are alike enough are merged without a person.
    pub auto_merge: bool,
    /// The least evidence for that, in bits: with 20 one in a million is wrong, if the weights fit.
    pub merge_bits: f32,
    /// Whether profiles that are alike are suggested to a person.
    pub suggest: bool,
    /// The least evidence for that, in bits; at 0 one person is as likely as not.
    pub suggest_bits: f32,
    /// Canonical identifiers that say nothing, as `+15550000000`: nobody is recognised by them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<String>,
    /// For each type of identity the most profiles it may lead to and still say who somebody is; with more it only finds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub most_profiles: BTreeMap<IdentityType, usize>,
}

impl Default for IdentityPolicy {
    fn default() -> Self {
        Self { auto_merge: false, merge_bits: 20.0, suggest: true, suggest_bits: 3.0, blocked: Vec::new(), most_profiles: BTreeMap::new() }
    }
}

/// A value that a policy may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PolicyError {
    /// Which, as a JSON pointer.
    pub pointer: &'static str,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl IdentityPolicy {
    /// Whether it can be kept.
    pub fn check(&self) -> Result<(), PolicyError> {
        let fail = |pointer, detail: &str| Err(PolicyError { pointer, detail: detail.to_owned() });
        if !(0.0..=MOST_BITS).contains(&self.merge_bits) {
            return fail("/merge_bits", "merge_bits is from 0 to 200");
        }
        if !(-MOST_BITS..=MOST_BITS).contains(&self.suggest_bits) {
            return fail("/suggest_bits", "suggest_bits is from -200 to 200");
        }
        if self.suggest_bits > self.merge_bits {
            return fail("/suggest_bits", "suggest_bits is at most merge_bits: what is sure enough to merge is sure enough to suggest");
        }
        if self.most_profiles.values().any(|most| *most == 0) {
            return fail("/most_profiles", "an identity leads to at least one profile: block the value instead");
        }
        Ok(())
    }

    /// The threshold of merging, as scores are counted.
    #[must_use]
    pub fn merge_millibits(&self) -> Millibits {
        millibits(self.merge_bits)
    }

    /// The threshold of suggestions, as scores are counted.
    #[must_use]
    pub fn suggest_millibits(&self) -> Millibits {
        millibits(self.suggest_bits)
    }

    /// Whether nobody is recognised by this canonical value.
    #[must_use]
    pub fn blocks(&self, value: &str) -> bool {
        self.blocked.iter().any(|blocked| blocked == value)
    }

    /// Whether an identity that leads to so many profiles only finds.
    #[must_use]
    pub fn is_crowded(&self, kind: IdentityType, profiles: usize) -> bool {
        self.most_profiles.get(&kind).is_some_and(|most| profiles > *most)
    }
}

fn millibits(bits: f32) -> Millibits {
    (bits * 1000.0).round() as Millibits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_thresholds_that_mean_something_are_kept() {
        let policy = |merge_bits, suggest_bits| IdentityPolicy { merge_bits, suggest_bits, ..IdentityPolicy::default() };
        assert_eq!(IdentityPolicy::default().check(), Ok(()));
        for (bad, pointer) in [
            (policy(f32::NAN, 0.0), "/merge_bits"),
            (policy(-1.0, -2.0), "/merge_bits"),
            (policy(3.0, 4.0), "/suggest_bits"),
            (policy(3.0, f32::NAN), "/suggest_bits"),
        ] {
            assert_eq!(bad.check().map_err(|error| error.pointer), Err(pointer), "{bad:?}");
        }
        let crowded = IdentityPolicy { most_profiles: [(IdentityType::Phone, 3)].into(), ..IdentityPolicy::default() };
        assert!(
            crowded.is_crowded(IdentityType::Phone, 4)
                && !crowded.is_crowded(IdentityType::Phone, 3)
                && !crowded.is_crowded(IdentityType::Email, 9)
        );
    }
}
