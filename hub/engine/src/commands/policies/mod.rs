//! Policies of continuity: shown, set, and tried out on what has happened.

mod replay;

use std::sync::Arc;

use throughline_domain::continuity::ContinuityPolicies;
use throughline_schemas::{Change, ChangeKind};
use throughline_store::Store;
use throughline_store::tables::{Policies, StoredPolicy, read};

use super::expect_version;
use crate::HubError;
use crate::error::{FieldError, Result};
use crate::hub::{Hub, Stored};

/// Under which name they are kept.
const CONTINUITY: &str = "continuity";

/// What is set, as the store has it.
pub(crate) fn stored_policies(store: &Store) -> Result<ContinuityPolicies> {
    let Some(row) = read::<Policies>(store, &CONTINUITY.to_owned())? else { return Ok(ContinuityPolicies::default()) };
    serde_json::from_value(row.value.set).map_err(|error| HubError::Internal(format!("the stored policies cannot be read: {error}")))
}

impl Hub {
    /// What holds now.
    pub(crate) fn policies(&self) -> Arc<ContinuityPolicies> {
        Arc::clone(&self.inner.continuity.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What is set. Nothing set is version 0.
    pub fn continuity_policies(&self) -> Result<Stored<ContinuityPolicies>> {
        let version = read::<Policies>(&self.inner.store, &CONTINUITY.to_owned())?.map_or(0, |row| row.version);
        Ok(Stored { value: stored_policies(&self.inner.store)?, version })
    }

    /// Sets all of it anew. What was decided before stays.
    pub async fn set_continuity_policies(&self, expect: u64, policies: ContinuityPolicies) -> Result<Stored<ContinuityPolicies>> {
        check(&policies)?;
        let set = serde_json::to_value(&policies).map_err(|error| HubError::Internal(error.to_string()))?;
        self.transact(|tx| {
            let current = tx.get::<Policies>(&CONTINUITY.to_owned())?.map_or(0, |row| row.version);
            expect_version(current, expect)?;
            let now = self.now();
            tx.put::<Policies>(&CONTINUITY.to_owned(), &StoredPolicy { set: set.clone(), at: now })?;
            let data = serde_json::json!({ "policy": CONTINUITY });
            Ok(tx.log(&Change { data, ..Change::new(ChangeKind::PolicyChanged, now) })?)
        })
        .await?;
        let stored = self.continuity_policies()?;
        *self.inner.continuity.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(stored.value.clone());
        Ok(stored)
    }
}

fn check(policies: &ContinuityPolicies) -> Result<()> {
    let errors: Vec<FieldError> = policies.problems().into_iter().map(|(pointer, detail)| FieldError { pointer, detail }).collect();
    if errors.is_empty() { Ok(()) } else { Err(HubError::Invalid { errors }) }
}
