//! Profiles: shown, corrected, merged, separated.

use throughline_domain::identity::{Merge, Normalised, normalise, parse_query};
use throughline_schemas::{
    Assurance, Attributed, Change, ChangeKind, DecisionId, Evidence, IdentityLink, IdentityType, Interaction, LinkMethod, Profile,
    ProfileId, ProfileState,
};
use throughline_store::tables::{Identities, Interactions, Leaves, Timeline, Tx, leading_id, read, scan_rows};

use super::{decode_cursor, encode_cursor, expect_version, page, page_of};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::{Hub, PageOf, Paging, Stored};
use crate::ingest::{People, links_of_leaf, some_names};
use crate::views::{ContextView, ProfilePatch};

/// How many interactions a context shows.
const RECENT: usize = 20;
/// Bytes of a place on a timeline: time and interaction.
const PLACE: usize = 24;

impl Hub {
    /// One profile, its members folded in. A merged one answers into which.
    pub fn profile(&self, id: ProfileId) -> Result<Stored<Profile>> {
        let mut tx = Tx::new(&self.inner.store);
        let mut people = self.people(&mut tx);
        let row = people.tx.get::<Leaves>(&id)?.ok_or_else(|| HubError::not_found("profile", id))?;
        if row.value.merged_into.is_some() {
            let (into, _) = people.root_of(id)?.ok_or_else(|| HubError::Internal(format!("the root of {id} is missing")))?;
            return Err(HubError::Merged { into });
        }
        let view = people.view(id)?.ok_or_else(|| HubError::not_found("profile", id))?;
        // A member's change must change the version of what is shown.
        let mut version = row.version;
        for member in &view.members {
            version = version.max(people.tx.get::<Leaves>(member)?.map_or(0, |row| row.version));
        }
        Ok(Stored { value: view, version })
    }

    /// Profiles by identity (`phone:+44…`), or all of them, oldest first; merged ones appear as part of their survivor.
    pub fn profiles(&self, identity: Option<&str>, paging: Paging) -> Result<PageOf<Stored<Profile>>> {
        if let Some(query) = identity {
            let roots = self.roots_of_query(query, None)?;
            let items = roots.into_iter().map(|root| self.profile(root)).collect::<Result<Vec<_>>>()?;
            return Ok(PageOf { items, next: None });
        }
        page_of(page::<Leaves>(&self.inner.store, &[], &paging)?, |key, leaf, _| {
            let id = leading_id(key).map(ProfileId::from_bytes);
            id.filter(|_| leaf.merged_into.is_none()).map(|id| self.profile(id)).transpose()
        })
    }

    /// The profiles an identity leads to, after merges: one, none, or several if it is shared.
    pub(crate) fn roots_of_query(&self, query: &str, region: Option<&str>) -> Result<Vec<ProfileId>> {
        let (kind, namespace, value) = parse_query(query).map_err(|error| HubError::invalid("/identity", error.to_string()))?;
        let normalised = normalise(kind, &namespace, &value, region).map_err(|error| HubError::invalid("/identity", error.to_string()))?;
        self.roots_of(&normalised)
    }

    pub(crate) fn roots_of(&self, identity: &Normalised) -> Result<Vec<ProfileId>> {
        let key = &identity.key;
        let row = read::<Identities>(&self.inner.store, &(key.kind, key.namespace.clone(), key.value.clone()))?;
        let mut roots = Vec::new();
        for link in row.iter().flat_map(|row| row.value.holding()) {
            let root = self.root(link.profile_id)?;
            roots.extend(root.filter(|root| !roots.contains(root)));
        }
        Ok(roots)
    }

    /// The profile that shows this one.
    pub(crate) fn root(&self, id: ProfileId) -> Result<Option<ProfileId>> {
        let mut tx = Tx::new(&self.inner.store);
        Ok(self.people(&mut tx).root_of(id)?.map(|(root, _)| root))
    }

    pub(crate) fn people<'t>(&self, tx: &'t mut Tx) -> People<'t> {
        People { tx, now: self.now(), connection: None }
    }

    /// Sets and removes fields by hand.
    pub async fn update_profile(&self, id: ProfileId, expect: u64, patch: ProfilePatch) -> Result<Stored<Profile>> {
        expect_version(self.profile(id)?.version, expect)?;
        self.transact(|tx| self.set_profile_fields(tx, id, &patch.fields, Some(expect))).await?;
        self.profile(id)
    }

    /// Sets and removes fields of a profile that was not merged, within a unit of work.
    pub(crate) fn set_profile_fields(
        &self,
        tx: &mut Tx,
        id: ProfileId,
        fields: &std::collections::BTreeMap<String, Option<serde_json::Value>>,
        expect: Option<u64>,
    ) -> Result<()> {
        let people = self.people(tx);
        let root = people.tx.get::<Leaves>(&id)?.ok_or_else(|| HubError::not_found("profile", id))?;
        let (mut version, members) = (root.version, root.value.members);
        for member in &members {
            version = version.max(people.tx.get::<Leaves>(member)?.map_or(0, |row| row.version));
        }
        // Here again, where it is a precondition: of two who read the same version only one may write.
        if let Some(expect) = expect {
            expect_version(version, expect)?;
        }
        for leaf in std::iter::once(id).chain(members) {
            let Some(mut row) = people.tx.get::<Leaves>(&leaf)? else { continue };
            for (name, value) in fields {
                match value {
                    // Set on the survivor only; its newer value is what is shown.
                    Some(value) if leaf == id => {
                        let said = Attributed { value: value.clone(), source: None, assurance: Assurance::Confirmed, at: people.now };
                        row.value.fields.insert(name.clone(), said);
                    }
                    Some(_) => {}
                    None => {
                        row.value.fields.remove(name);
                    }
                }
            }
            row.value.updated_at = people.now;
            if leaf == id {
                row.value.state = ProfileState::Curated;
            }
            people.tx.put::<Leaves>(&leaf, &row.value)?;
        }
        let names = some_names(fields.keys());
        let change =
            Change { profile_id: Some(id), data: serde_json::json!({ "fields": names }), ..people.change(ChangeKind::ProfileUpdated) };
        Ok(people.tx.log(&change)?)
    }

    /// What happened with this person, newest first, over all channels and merged profiles.
    pub fn timeline(&self, id: ProfileId, paging: Paging) -> Result<PageOf<Interaction>> {
        let profile = self.profile(id)?.value;
        let limit = paging.limit.clamp(1, super::MAX_PAGE);
        let after = paging.cursor.as_deref().map(decode_cursor).transpose()?;
        if after.as_ref().is_some_and(|place| place.len() != PLACE) {
            return Err(HubError::invalid("/cursor", "this is a cursor of another list; leave it out to begin again"));
        }
        // The part of a key behind the profile's id is the same for all members: time and interaction, newest first.
        let mut places: Vec<(Vec<u8>, throughline_schemas::InteractionId)> = Vec::new();
        for member in std::iter::once(id).chain(profile.members) {
            let start = after.as_ref().map(|place| Timeline::at_place(member, place));
            let page = scan_rows::<Timeline>(&self.inner.store, member.as_bytes(), start.as_deref(), limit + 1)?;
            places
                .extend(page.rows.into_iter().filter_map(|(key, _)| Some((Timeline::place(&key)?.to_vec(), Timeline::interaction(&key)?))));
        }
        places.sort();
        let more = places.len() > limit;
        places.truncate(limit);
        let next = places.last().filter(|_| more).map(|(place, _)| encode_cursor(place));
        let mut items = Vec::with_capacity(places.len());
        for (_, interaction) in places {
            items.extend(read::<Interactions>(&self.inner.store, &interaction)?.map(|row| row.value));
        }
        Ok(PageOf { items, next })
    }

    /// Everything an agent needs on one screen.
    pub fn context(&self, id: ProfileId) -> Result<ContextView> {
        let profile = self.profile(id)?.value;
        let enquiries = self.live_enquiries(&profile, RECENT)?;
        let recent = self.timeline(id, Paging { cursor: None, limit: RECENT })?.items;
        Ok(ContextView { profile, enquiries, recent })
    }

    /// Merges by hand: `loser` is shown as part of `survivor` from then on.
    pub async fn merge_profiles(&self, survivor: ProfileId, loser: ProfileId, by: &str, reason: &str) -> Result<Stored<Profile>> {
        if survivor == loser {
            return Err(HubError::invalid("/profile_id", "a profile cannot be merged with itself"));
        }
        self.profile(survivor)?;
        self.profile(loser)?;
        self.transact(|tx| {
            let mut people = self.people(tx);
            for (one, other) in [(survivor, loser), (loser, survivor)] {
                // What was separated by hand and is joined by hand again is no longer kept apart.
                if let Some(mut row) = people.tx.get::<Leaves>(&one)?
                    && row.value.cannot_link.contains(&other)
                {
                    row.value.cannot_link.retain(|kept| *kept != other);
                    people.tx.put::<Leaves>(&one, &row.value)?;
                }
            }
            let decision = DecisionId::from_bytes(fresh());
            people.merge(&Merge { loser_root: loser, survivor_root: survivor, because: reason.to_owned() }, decision)?;
            self.reconsider(&mut people, survivor)?;
            let evidence = vec![Evidence { rule: "by hand".to_owned(), detail: format!("{by}: {reason}") }];
            people.decide(
                decision,
                "merge",
                &format!("{loser} was merged into {survivor}"),
                evidence,
                Vec::new(),
                Some(survivor),
                None,
                None,
            )
        })
        .await?;
        self.profile(survivor)
    }

    /// Takes a merge back: both profiles are as they would have been, with what came meanwhile where its identity belongs.
    pub async fn unmerge_profile(&self, survivor: ProfileId, member: ProfileId, by: &str, reason: &str) -> Result<Stored<Profile>> {
        let shown = self.profile(survivor)?.value;
        if !shown.members.contains(&member) {
            return Err(HubError::invalid("/profile_id", format!("{member} is not merged into {survivor}")));
        }
        let decision = DecisionId::from_bytes(fresh());
        let mut merged_at = self.now();
        self.transact(|tx| {
            let mut people = self.people(tx);
            let Some(since) = people.unmerge(member, decision)? else {
                return Err(HubError::conflict(format!("{member} is not merged any more")));
            };
            merged_at = since;
            people.part_enquiries(survivor, member, since, decision)?;
            let evidence = vec![Evidence { rule: "by hand".to_owned(), detail: format!("{by}: {reason}") }];
            people.decide(
                decision,
                "merge",
                &format!("{member} was separated from {survivor}"),
                evidence,
                Vec::new(),
                Some(survivor),
                None,
                None,
            )
        })
        .await?;
        // What was taken in while the two were being separated was decided before it, and may stand with the other as well.
        self.transact(|tx| self.people(tx).part_enquiries(survivor, member, merged_at, decision)).await?;
        self.profile(member)
    }

    /// All identity links of a profile and its members, those taken back included.
    pub fn identity_links(&self, id: ProfileId) -> Result<Vec<IdentityLink>> {
        let profile = self.profile(id)?.value;
        let mut links = Vec::new();
        for leaf in std::iter::once(id).chain(profile.members) {
            links.extend(links_of_leaf(&self.inner.store, leaf)?);
        }
        Ok(links)
    }

    /// Links an identity by hand.
    pub async fn link_identity(&self, id: ProfileId, kind: IdentityType, value: &str, by: &str) -> Result<Stored<Profile>> {
        self.profile(id)?;
        let normalised = by_hand(kind, value)?;
        self.transact(|tx| {
            let mut people = self.people(tx);
            if let Some(other) = people.roots_holding(&normalised.key)?.into_iter().find(|root| *root != id) {
                let detail = format!("{} belongs to {other}; unlink it there or merge the two profiles", normalised.key);
                return Err(HubError::conflict(detail));
            }
            let decision = DecisionId::from_bytes(fresh());
            people.link(id, &normalised, Assurance::Confirmed, LinkMethod::Manual, decision)?;
            let evidence = vec![Evidence { rule: "by hand".to_owned(), detail: by.to_owned() }];
            people.decide(decision, "identity", &format!("{} was linked", normalised.key), evidence, Vec::new(), Some(id), None, None)?;
            let change = Change { profile_id: Some(id), decision_id: Some(decision), ..people.change(ChangeKind::ProfileUpdated) };
            Ok(people.tx.log(&change)?)
        })
        .await?;
        self.profile(id)
    }

    /// Takes an identity's link back by hand.
    pub async fn unlink_identity(&self, id: ProfileId, kind: IdentityType, value: &str, by: &str) -> Result<Stored<Profile>> {
        let profile = self.profile(id)?.value;
        let normalised = by_hand(kind, value)?;
        self.transact(|tx| {
            let mut people = self.people(tx);
            let mut found = false;
            for leaf in std::iter::once(id).chain(profile.members.iter().copied()) {
                found |= people.unlink(leaf, &normalised.key)?;
            }
            if !found {
                return Err(HubError::not_found("identity", &normalised.key));
            }
            let decision = DecisionId::from_bytes(fresh());
            let evidence = vec![Evidence { rule: "by hand".to_owned(), detail: by.to_owned() }];
            people.decide(decision, "identity", &format!("{} was unlinked", normalised.key), evidence, Vec::new(), Some(id), None, None)?;
            let change = Change { profile_id: Some(id), decision_id: Some(decision), ..people.change(ChangeKind::ProfileUpdated) };
            Ok(people.tx.log(&change)?)
        })
        .await?;
        self.profile(id)
    }
}

/// An identity as a person writes it: `namespace:value` for handles and external ids.
fn by_hand(kind: IdentityType, value: &str) -> Result<Normalised> {
    let (namespace, value) = match kind {
        IdentityType::Phone | IdentityType::Email => ("", value),
        IdentityType::Handle | IdentityType::External => {
            value.rsplit_once(':').ok_or_else(|| HubError::invalid("/value", "write namespace:value"))?
        }
    };
    normalise(kind, namespace, value, None).map_err(|error| HubError::invalid("/value", error.to_string()))
}
