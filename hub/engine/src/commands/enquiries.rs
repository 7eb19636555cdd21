//! Enquiries: opened, changed, assigned, resolved; their context variables; tokens that point to them.

use std::collections::BTreeMap;

use throughline_domain::disclosure::for_staff;
use throughline_schemas::{Assurance, Change, ChangeKind, ContextVariable, Enquiry, EnquiryId, EnquiryStatus, Interaction, ProfileId};
use throughline_store::tables::{Enquiries, EnquiriesByProfile, EnquiryTimeline, Interactions, Tx, read};

use super::{expect_version, page, page_of};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::handoff::set_by_hand;
use crate::hub::{Hub, PageOf, Paging, Stored};
use crate::views::{EnquiryFilter, EnquiryPatch, NewEnquiry, NewVariable};

/// How many of a profile's enquiries are looked through for live ones.
const LIVE_AMONG: usize = 500;

impl Hub {
    /// Opens an enquiry by hand.
    pub async fn create_enquiry(&self, new: NewEnquiry) -> Result<Stored<Enquiry>> {
        self.profile(new.profile_id).map_err(|error| match error {
            HubError::NotFound { .. } => HubError::invalid("/profile_id", error.to_string()),
            other => other,
        })?;
        if new.reason.trim().is_empty() {
            return Err(HubError::invalid("/reason", "say what it is about"));
        }
        let now = self.now();
        let id = EnquiryId::from_bytes(fresh());
        let enquiry = Enquiry {
            reason: new.reason,
            owner: new.owner,
            variables: new.variables.into_iter().map(|(name, variable)| (name, by_hand(variable, now))).collect(),
            ..Enquiry::open(id, new.profile_id, new.brand.as_deref().unwrap_or("default"), now)
        };
        self.transact(|tx| {
            let profile_id = self.people(tx).write_new_enquiry(&enquiry)?;
            let change = Change { enquiry_id: Some(id), profile_id, ..Change::new(ChangeKind::EnquiryOpened, now) };
            Ok(tx.log(&change)?)
        })
        .await?;
        self.enquiry(id)
    }

    /// One enquiry, as our own people see it: values of secrets are left out.
    pub fn enquiry(&self, id: EnquiryId) -> Result<Stored<Enquiry>> {
        let row = read::<Enquiries>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("enquiry", id))?;
        Ok(Stored { value: for_staff(row.value), version: row.version })
    }

    /// Enquiries: a profile's newest first, or all of them oldest first.
    pub fn enquiries(&self, filter: EnquiryFilter, paging: Paging) -> Result<PageOf<Stored<Enquiry>>> {
        let wanted = |status: EnquiryStatus| filter.status.is_none_or(|filter| filter == status);
        let Some(profile) = filter.profile else {
            return page_of(page::<Enquiries>(&self.inner.store, &[], &paging)?, |_, enquiry, version| {
                Ok(wanted(enquiry.status).then(|| Stored { value: for_staff(enquiry), version }))
            });
        };
        let members = self.profile(profile)?.value.members;
        if members.is_empty() {
            return page_of(page::<EnquiriesByProfile>(&self.inner.store, profile.as_bytes(), &paging)?, |key, status, _| {
                let id = EnquiriesByProfile::enquiry(key).filter(|_| wanted(status));
                id.map(|id| self.enquiry(id)).transpose()
            });
        }
        self.enquiries_of_members(profile, &members, wanted, &paging)
    }

    /// Over several merged profiles: few enough to be put in order here. The cursor is the last id shown.
    fn enquiries_of_members(
        &self,
        profile: ProfileId,
        members: &[ProfileId],
        wanted: impl Fn(EnquiryStatus) -> bool,
        paging: &Paging,
    ) -> Result<PageOf<Stored<Enquiry>>> {
        let mut ids: Vec<EnquiryId> = Vec::new();
        for leaf in std::iter::once(&profile).chain(members) {
            let page = throughline_store::tables::scan_rows::<EnquiriesByProfile>(&self.inner.store, leaf.as_bytes(), None, usize::MAX)?;
            ids.extend(page.rows.iter().filter(|(_, row)| wanted(row.value)).filter_map(|(key, _)| EnquiriesByProfile::enquiry(key)));
        }
        ids.sort_by(|one, other| other.cmp(one));
        if let Some(cursor) = &paging.cursor {
            let after: EnquiryId = cursor.parse().map_err(|_| HubError::invalid("/cursor", "this is no cursor of an earlier page"))?;
            ids.retain(|id| *id < after);
        }
        let limit = paging.limit.clamp(1, super::MAX_PAGE);
        let next = (ids.len() > limit).then(|| ids[limit - 1].to_string());
        let items = ids.into_iter().take(limit).map(|id| self.enquiry(id)).collect::<Result<Vec<_>>>()?;
        Ok(PageOf { items, next })
    }

    /// The live enquiries of a profile and its members, newest first; only those are read.
    pub(crate) fn live_enquiries(&self, root: &throughline_schemas::Profile, limit: usize) -> Result<Vec<Enquiry>> {
        let mut ids: Vec<EnquiryId> = Vec::new();
        for leaf in std::iter::once(&root.id).chain(&root.members) {
            let page = throughline_store::tables::scan_rows::<EnquiriesByProfile>(&self.inner.store, leaf.as_bytes(), None, LIVE_AMONG)?;
            ids.extend(page.rows.iter().filter(|(_, row)| row.value.is_live()).filter_map(|(key, _)| EnquiriesByProfile::enquiry(key)));
        }
        ids.sort_by(|one, other| other.cmp(one));
        ids.truncate(limit);
        ids.into_iter().map(|id| Ok(self.enquiry(id)?.value)).collect()
    }

    /// Changes an enquiry of the version that was read.
    pub async fn update_enquiry(&self, id: EnquiryId, expect: u64, patch: EnquiryPatch) -> Result<Stored<Enquiry>> {
        self.transact(|tx| self.patch_enquiry_in(tx, id, Some(expect), &patch)).await?;
        self.enquiry(id)
    }

    /// Changes an enquiry within a unit of work.
    pub(crate) fn patch_enquiry_in(&self, tx: &mut Tx, id: EnquiryId, expect: Option<u64>, patch: &EnquiryPatch) -> Result<()> {
        if patch.reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            return Err(HubError::invalid("/reason", "say what it is about"));
        }
        self.change_enquiry_in(tx, id, expect, |enquiry, now| {
            if let Some(reason) = &patch.reason {
                enquiry.reason.clone_from(reason);
            }
            if let Some(owner) = &patch.owner {
                enquiry.owner.clone_from(owner);
            }
            if let Some(status) = patch.status {
                set_status(enquiry, status, now);
            }
            Ok(())
        })
    }

    /// Sets context variables; `None` removes one.
    pub async fn set_enquiry_variables(&self, id: EnquiryId, set: BTreeMap<String, Option<NewVariable>>) -> Result<Stored<Enquiry>> {
        self.transact(|tx| self.set_variables_in(tx, id, &set)).await?;
        self.enquiry(id)
    }

    /// Sets context variables within a unit of work.
    pub(crate) fn set_variables_in(&self, tx: &mut Tx, id: EnquiryId, set: &BTreeMap<String, Option<NewVariable>>) -> Result<()> {
        self.change_enquiry_in(tx, id, None, |enquiry, now| {
            for (name, variable) in set {
                match variable {
                    Some(variable) => enquiry.variables.insert(name.clone(), by_hand(variable.clone(), now)),
                    None => enquiry.variables.remove(name),
                };
            }
            Ok(())
        })
    }

    /// Gives an enquiry an owner, or frees it.
    pub async fn assign_enquiry(&self, id: EnquiryId, owner: Option<String>) -> Result<Stored<Enquiry>> {
        self.change_enquiry(id, None, |enquiry, _| {
            enquiry.owner.clone_from(&owner);
            Ok(())
        })
        .await
    }

    /// Done; a message within the grace period opens it again.
    pub async fn resolve_enquiry(&self, id: EnquiryId) -> Result<Stored<Enquiry>> {
        self.change_enquiry(id, None, |enquiry, now| {
            if enquiry.status == EnquiryStatus::Closed {
                return Err(HubError::conflict("the enquiry is closed already"));
            }
            set_status(enquiry, EnquiryStatus::Resolved, now);
            Ok(())
        })
        .await
    }

    /// Opens a resolved or closed enquiry again.
    pub async fn reopen_enquiry(&self, id: EnquiryId) -> Result<Stored<Enquiry>> {
        self.change_enquiry(id, None, |enquiry, now| {
            set_status(enquiry, EnquiryStatus::Open, now);
            Ok(())
        })
        .await
    }

    async fn change_enquiry(
        &self,
        id: EnquiryId,
        expect: Option<u64>,
        change: impl Fn(&mut Enquiry, throughline_schemas::Timestamp) -> Result<()>,
    ) -> Result<Stored<Enquiry>> {
        self.transact(|tx| self.change_enquiry_in(tx, id, expect, &change)).await?;
        self.enquiry(id)
    }

    fn change_enquiry_in(
        &self,
        tx: &mut Tx,
        id: EnquiryId,
        expect: Option<u64>,
        change: impl Fn(&mut Enquiry, throughline_schemas::Timestamp) -> Result<()>,
    ) -> Result<()> {
        let mut row = tx.get::<Enquiries>(&id)?.ok_or_else(|| HubError::not_found("enquiry", id))?;
        if let Some(expect) = expect {
            expect_version(row.version, expect)?;
        }
        let before = row.value.clone();
        let now = self.now();
        change(&mut row.value, now)?;
        if row.value == before {
            return Ok(());
        }
        row.value.updated_at = now;
        set_by_hand(&mut self.people(tx), &before, &mut row.value)?;
        row.value.note_origins(&before, None, now);
        tx.put::<Enquiries>(&id, &row.value)?;
        if row.value.status != before.status {
            tx.put::<EnquiriesByProfile>(&(row.value.profile_id, id), &row.value.status)?;
        }
        let root = self.people(tx).root_of(row.value.profile_id)?.map(|(root, _)| root);
        let data = serde_json::json!({ "fields": changed_fields(&before, &row.value) });
        let change = Change { enquiry_id: Some(id), profile_id: root, data, ..Change::new(ChangeKind::EnquiryUpdated, now) };
        Ok(tx.log(&change)?)
    }

    /// What was said in an enquiry, newest first, over all channels.
    pub fn enquiry_interactions(&self, id: EnquiryId, paging: Paging) -> Result<PageOf<Interaction>> {
        self.enquiry(id)?;
        page_of(page::<EnquiryTimeline>(&self.inner.store, id.as_bytes(), &paging)?, |key, _, _| {
            let Some(id) = EnquiryTimeline::interaction(key) else { return Ok(None) };
            Ok(read::<Interactions>(&self.inner.store, &id)?.map(|row| row.value))
        })
    }
}

/// Names of what differs between two states of an enquiry: its own fields and its variables.
pub(crate) fn changed_fields(before: &Enquiry, after: &Enquiry) -> Vec<String> {
    /// More would not fit into a log entry.
    const MOST: usize = 50;
    let own = [
        ("status", before.status != after.status),
        ("owner", before.owner != after.owner),
        ("reason", before.reason != after.reason),
        ("brand", before.brand != after.brand),
    ];
    let own = own.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
    let names = before.variables.keys().chain(after.variables.keys()).map(String::as_str).collect::<std::collections::BTreeSet<_>>();
    let value = |enquiry: &Enquiry, name: &str| enquiry.variables.get(name).map(|variable| variable.value.clone());
    let variables = names.into_iter().filter(|name| value(before, name) != value(after, name));
    own.chain(variables).take(MOST).map(str::to_owned).collect()
}

fn set_status(enquiry: &mut Enquiry, status: EnquiryStatus, now: throughline_schemas::Timestamp) {
    if enquiry.status != status {
        enquiry.status = status;
        enquiry.resolved_at = (!status.is_live()).then_some(now);
    }
}

fn by_hand(variable: NewVariable, now: throughline_schemas::Timestamp) -> ContextVariable {
    ContextVariable {
        value: variable.value,
        scope: variable.scope,
        classification: variable.classification,
        assurance: Assurance::Confirmed,
        source: None,
        at: now,
        expires_at: variable.expires_at,
    }
}
