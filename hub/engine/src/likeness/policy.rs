//! Identity's policy: read, set, and what it says of the identities that come in.

use throughline_domain::identity::{IdentityPolicy, Normalised};
use throughline_schemas::{Assurance, Sharing};
use throughline_store::tables::{IdentityPolicies, read};

use crate::HubError;
use crate::error::Result;
use crate::hub::{Hub, Stored};

impl Hub {
    /// The policy; version 0 is the one that a hub begins with.
    pub fn identity_policy(&self) -> Result<Stored<IdentityPolicy>> {
        let row = read::<IdentityPolicies>(&self.inner.store, &())?;
        Ok(row.map_or_else(
            || Stored { value: IdentityPolicy::default(), version: 0 },
            |row| Stored { value: row.value, version: row.version },
        ))
    }

    /// Sets the policy. What was merged before stays merged.
    pub async fn set_identity_policy(&self, expect: u64, policy: IdentityPolicy) -> Result<Stored<IdentityPolicy>> {
        policy.check().map_err(|error| HubError::invalid(error.pointer, error.detail.clone()))?;
        self.transact(|tx| {
            let actual = tx.get::<IdentityPolicies>(&())?.map_or(0, |row| row.version);
            if actual != expect {
                return Err(HubError::Stale { actual });
            }
            Ok(tx.put::<IdentityPolicies>(&(), &policy)?)
        })
        .await?;
        self.forget_likeness().await;
        self.identity_policy()
    }
}

/// The identities of a new fact without those that the policy blocks.
pub(crate) fn unblocked(policy: &IdentityPolicy, identities: &[(Normalised, Assurance)]) -> Vec<(Normalised, Assurance)> {
    identities.iter().filter(|(identity, _)| !policy.blocks(&identity.key.value)).cloned().collect()
}

/// An identity that leads to more profiles than the policy lets it is shared, whatever its value looks like.
pub(crate) fn crowded(policy: &IdentityPolicy, identity: &Normalised, profiles: usize) -> Normalised {
    let mut identity = identity.clone();
    if policy.is_crowded(identity.key.kind, profiles) {
        identity.sharing = Sharing::Shared;
    }
    identity
}
