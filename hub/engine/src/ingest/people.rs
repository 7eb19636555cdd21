//! Who an item is about: gathers what the store knows of its identities, asks the rule, writes links, profiles and merges.

use std::collections::BTreeMap;

use throughline_domain::identity::{Candidate, IdentityDecision, IdentityFacts, IdentityKey, LinkedTo, Normalised, Owner, decide};
use throughline_domain::profile::{LeafFacts, view};
use throughline_schemas::{
    Assurance, Change, ChangeKind, ConnectionId, Decision, DecisionId, Enquiry, Identity, IdentityLink, InteractionId, LinkMethod, Profile,
    ProfileId, ProfileState, Timestamp,
};
use throughline_store::Store;
use throughline_store::tables::{
    DecisionIndex, Decisions, Enquiries, EnquiriesByProfile, Identities, IdentityPolicies, IdentityRow, LatestEnquiries, Leaf, Leaves,
    Present, Row, Tx, read,
};

use crate::clock::fresh;
use crate::error::Result;
use crate::likeness::{crowded, unblocked};

/// How many merges deep a profile can be looked for: roots are kept flat, so one step is the rule.
const MAX_DEPTH: usize = 8;
/// Identities kept with one profile; more than that is no person.
const MAX_IDENTITIES: usize = 200;
/// Profiles that one identity is linked to, or was; more than that (a switchboard, a role mailbox) tell nothing, and each one more
/// would be read by whoever comes with it.
const MAX_LINKS: usize = 32;

/// Reading and writing of people within one unit of work.
pub(crate) struct People<'t> {
    pub(crate) tx: &'t mut Tx,
    pub(crate) now: Timestamp,
    pub(crate) connection: Option<ConnectionId>,
}

/// What came of looking for a person.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The profile to keep the fact with, before any merge.
    pub(crate) leaf: Option<ProfileId>,
    /// The profile that shows it.
    pub(crate) root: Option<ProfileId>,
    /// Only an identity that several persons use was known.
    pub(crate) shared: bool,
    /// Who it may be, where that could not be decided: roots, best first.
    pub(crate) possible: Vec<ProfileId>,
    /// It was made just now.
    pub(crate) created: bool,
}

impl Found {
    pub(crate) const fn nobody() -> Self {
        Self { leaf: None, root: None, shared: false, possible: Vec::new(), created: false }
    }
}

impl People<'_> {
    /// The root a profile is shown by.
    pub(crate) fn root_of(&mut self, leaf: ProfileId) -> Result<Option<(ProfileId, Row<Leaf>)>> {
        let mut id = leaf;
        for _ in 0..MAX_DEPTH {
            let Some(row) = self.tx.get::<Leaves>(&id)? else { return Ok(None) };
            match row.value.merged_into {
                Some(into) => id = into,
                None => return Ok(Some((id, row))),
            }
        }
        Ok(None)
    }

    fn linked_to(&mut self, leaf: ProfileId) -> Result<Option<LinkedTo>> {
        Ok(self.root_of(leaf)?.map(|(root, row)| LinkedTo {
            leaf,
            root,
            root_created_at: row.value.created_at,
            root_state: row.value.state,
        }))
    }

    /// Finds or makes the person that these identities are of.
    pub(crate) fn resolve(
        &mut self,
        identities: &[(Normalised, Assurance)],
        trusted_record: bool,
        linked_record: Option<ProfileId>,
        interaction: Option<InteractionId>,
    ) -> Result<Found> {
        self.resolve_known(identities, trusted_record, linked_record, interaction, true)
    }

    /// As `resolve`, but makes nobody unless `may_create`.
    pub(crate) fn resolve_known(
        &mut self,
        identities: &[(Normalised, Assurance)],
        trusted_record: bool,
        linked_record: Option<ProfileId>,
        interaction: Option<InteractionId>,
        may_create: bool,
    ) -> Result<Found> {
        let policy = read::<IdentityPolicies>(self.tx.store(), &())?.map(|row| row.value).unwrap_or_default();
        let identities = &unblocked(&policy, identities)[..];
        let mut candidates = Vec::with_capacity(identities.len());
        let mut cannot_link = Vec::new();
        for (identity, assurance) in identities {
            let key = &identity.key;
            let row = self.tx.get::<Identities>(&(key.kind, key.namespace.clone(), key.value.clone()))?;
            let leaves: Vec<ProfileId> = row.iter().flat_map(|row| row.value.holding()).map(|link| link.profile_id).collect();
            let identity = &crowded(&policy, identity, leaves.len());
            if leaves.is_empty() {
                candidates.push(Candidate { identity: identity.clone(), assurance: *assurance, linked_to: None });
            }
            for leaf in leaves {
                let linked_to = self.linked_to(leaf)?;
                if let Some(linked) = linked_to {
                    self.collect_cannot_link(linked, &mut cannot_link)?;
                }
                candidates.push(Candidate { identity: identity.clone(), assurance: *assurance, linked_to });
            }
        }
        let linked_record = linked_record.map(|leaf| self.linked_to(leaf)).transpose()?.flatten();
        if let Some(linked) = linked_record {
            self.collect_cannot_link(linked, &mut cannot_link)?;
        }
        let facts = IdentityFacts { candidates, trusted_record, linked_record, fresh: ProfileId::from_bytes(fresh()), cannot_link };
        let decision = decide(&facts);
        if !may_create && matches!(decision.owner, Owner::New(_)) {
            return Ok(Found::nobody());
        }
        self.apply(identities, decision, interaction)
    }

    fn collect_cannot_link(&mut self, linked: LinkedTo, into: &mut Vec<(ProfileId, ProfileId)>) -> Result<()> {
        let mut everybody = vec![linked.leaf, linked.root];
        if let Some(row) = self.tx.get::<Leaves>(&linked.root)? {
            everybody.extend(row.value.members);
        }
        for id in everybody {
            let Some(row) = self.tx.get::<Leaves>(&id)? else { continue };
            // The rule compares roots: both sides are named as they stand now, and as they were separated.
            for other in row.value.cannot_link {
                into.push((id, other));
                if let Some((root, _)) = self.root_of(other)? {
                    into.push((linked.root, root));
                }
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        identities: &[(Normalised, Assurance)],
        decision: IdentityDecision,
        interaction: Option<InteractionId>,
    ) -> Result<Found> {
        let (leaf, created) = match decision.owner {
            Owner::Known { leaf, .. } => (leaf, false),
            Owner::New(id) => (id, true),
            Owner::Nobody => {
                return Ok(Found { possible: decision.possible, shared: decision.shared || decision.ambiguous, ..Found::nobody() });
            }
        };
        let decision_id = DecisionId::from_bytes(fresh());
        let changed = created || !decision.link.is_empty() || !decision.merges.is_empty();
        if created {
            self.create(leaf, decision_id)?;
        }
        for (key, method) in &decision.link {
            let found = identities.iter().find(|(identity, _)| identity.key == *key);
            let (identity, assurance) = found.expect("the rule links only identities it was given");
            self.link(leaf, identity, *assurance, *method, decision_id)?;
        }
        for merge in &decision.merges {
            self.merge(merge, decision_id)?;
        }
        let root = self.root_of(leaf)?.map(|(root, _)| root);
        if changed {
            self.decide(decision_id, "identity", &decision.outcome, decision.evidence, decision.alternatives, root, None, interaction)?;
        }
        Ok(Found { leaf: Some(leaf), root, shared: decision.shared, possible: Vec::new(), created })
    }

    fn create(&mut self, id: ProfileId, decision: DecisionId) -> Result<()> {
        let leaf = Leaf {
            state: ProfileState::Anonymous,
            fields: BTreeMap::new(),
            identities: Vec::new(),
            merged_into: None,
            members: Vec::new(),
            cannot_link: Vec::new(),
            created_at: self.now,
            updated_at: self.now,
        };
        self.tx.put::<Leaves>(&id, &leaf)?;
        let change = Change { profile_id: Some(id), decision_id: Some(decision), ..self.change(ChangeKind::ProfileCreated) };
        Ok(self.tx.log(&change)?)
    }

    /// Links an identity to a leaf.
    pub(crate) fn link(
        &mut self,
        leaf: ProfileId,
        normalised: &Normalised,
        assurance: Assurance,
        method: LinkMethod,
        decision_id: DecisionId,
    ) -> Result<()> {
        let key = &normalised.key;
        let identity = Identity {
            kind: key.kind,
            namespace: key.namespace.clone(),
            value: key.value.clone(),
            raw: normalised.raw.clone(),
            sharing: normalised.sharing,
            assurance,
            first_seen: self.now,
            last_seen: self.now,
        };
        let row_key = (key.kind, key.namespace.clone(), key.value.clone());
        let mut row = self.tx.get::<Identities>(&row_key)?.map_or_else(IdentityRow::default, |row| row.value);
        let Some(mut owner) = self.tx.get::<Leaves>(&leaf)? else { return Ok(()) };
        // Index and leaf say the same, or neither says it.
        if row.holding().any(|link| link.profile_id == leaf)
            || row.holding().count() >= MAX_LINKS
            || owner.value.identities.len() >= MAX_IDENTITIES
        {
            return Ok(());
        }
        while row.links.len() >= 2 * MAX_LINKS
            && let Some(oldest) = row.links.iter().position(|link| link.retracted_at.is_some())
        {
            row.links.remove(oldest);
        }
        row.links.push(IdentityLink {
            identity: identity.clone(),
            profile_id: leaf,
            method,
            decision_id,
            linked_at: self.now,
            retracted_at: None,
        });
        self.tx.put::<Identities>(&row_key, &row)?;
        owner.value.identities.push(identity);
        owner.value.updated_at = self.now;
        Ok(self.tx.put::<Leaves>(&leaf, &owner.value)?)
    }

    /// The profiles that hold an identity now, after merges.
    pub(crate) fn roots_holding(&mut self, key: &IdentityKey) -> Result<Vec<ProfileId>> {
        let row = self.tx.get::<Identities>(&(key.kind, key.namespace.clone(), key.value.clone()))?;
        let mut roots = Vec::new();
        for link in row.iter().flat_map(|row| row.value.holding()) {
            roots.extend(self.root_of(link.profile_id)?.map(|(root, _)| root));
        }
        Ok(roots)
    }

    /// Takes an identity's link to a leaf back.
    pub(crate) fn unlink(&mut self, leaf: ProfileId, key: &IdentityKey) -> Result<bool> {
        let row_key = (key.kind, key.namespace.clone(), key.value.clone());
        let Some(mut row) = self.tx.get::<Identities>(&row_key)? else { return Ok(false) };
        let Some(link) = row.value.links.iter_mut().find(|link| link.profile_id == leaf && link.retracted_at.is_none()) else {
            return Ok(false);
        };
        link.retracted_at = Some(self.now);
        self.tx.put::<Identities>(&row_key, &row.value)?;
        if let Some(mut owner) = self.tx.get::<Leaves>(&leaf)? {
            owner
                .value
                .identities
                .retain(|identity| (identity.kind, &identity.namespace, &identity.value) != (key.kind, &key.namespace, &key.value));
            owner.value.updated_at = self.now;
            self.tx.put::<Leaves>(&leaf, &owner.value)?;
        }
        Ok(true)
    }

    /// The profile that a root shows, its members folded in.
    pub(crate) fn view(&mut self, id: ProfileId) -> Result<Option<Profile>> {
        let Some(row) = self.tx.get::<Leaves>(&id)? else { return Ok(None) };
        let mut members = Vec::with_capacity(row.value.members.len());
        for member in &row.value.members {
            if let Some(leaf) = self.tx.get::<Leaves>(member)? {
                members.push(leaf_facts(*member, &leaf.value));
            }
        }
        Ok(Some(view(&leaf_facts(id, &row.value), &members, row.value.merged_into)))
    }

    /// Writes an enquiry that was just opened, and the guard against a second one; answers whose it is, after merges.
    pub(crate) fn write_new_enquiry(&mut self, enquiry: &Enquiry) -> Result<Option<ProfileId>> {
        let (id, leaf) = (enquiry.id, enquiry.profile_id);
        self.tx.put::<Enquiries>(&id, enquiry)?;
        self.tx.put::<EnquiriesByProfile>(&(leaf, id), &enquiry.status)?;
        let root = self.root_of(leaf)?.map(|(root, _)| root);
        self.tx.put::<LatestEnquiries>(&root.unwrap_or(leaf), &id)?;
        Ok(root)
    }

    /// Keeps a decision and finds it again by everything it is about.
    #[expect(clippy::too_many_arguments, reason = "these are the fields of a decision")]
    pub(crate) fn decide(
        &mut self,
        id: DecisionId,
        subject: &str,
        outcome: &str,
        evidence: Vec<throughline_schemas::Evidence>,
        alternatives: Vec<String>,
        profile_id: Option<ProfileId>,
        enquiry_id: Option<throughline_schemas::EnquiryId>,
        interaction_id: Option<InteractionId>,
    ) -> Result<()> {
        let decision = Decision {
            id,
            subject: subject.to_owned(),
            outcome: outcome.to_owned(),
            evidence,
            alternatives,
            verdict: None,
            candidates: Vec::new(),
            rules: throughline_domain::RULES.to_owned(),
            at: self.now,
            profile_id,
            enquiry_id,
            interaction_id,
        };
        self.keep(&decision)
    }

    /// Keeps a decision and finds it again by everything it is about.
    pub(crate) fn keep(&mut self, decision: &Decision) -> Result<()> {
        self.tx.put::<Decisions>(&decision.id, decision)?;
        // An enquiry's decisions are found by the enquiry, the others by the profile; those about an interaction by it as well, and a
        // suggestion by whatever it suggests.
        let about = decision.enquiry_id.map(|id| *id.as_bytes()).or(decision.profile_id.map(|id| *id.as_bytes()));
        let interaction = decision.interaction_id.map(|id| *id.as_bytes());
        let candidates = decision.candidates.iter().map(|id| *id.as_bytes());
        let all: std::collections::BTreeSet<[u8; 16]> = about.into_iter().chain(interaction).chain(candidates).collect();
        for about in all {
            self.tx.put::<DecisionIndex>(&(about, decision.id), &Present {})?;
        }
        Ok(())
    }

    pub(crate) fn change(&self, kind: ChangeKind) -> Change {
        Change { caused_by: self.connection, ..Change::new(kind, self.now) }
    }
}

fn leaf_facts(id: ProfileId, leaf: &Leaf) -> LeafFacts {
    LeafFacts {
        id,
        created_at: leaf.created_at,
        state: leaf.state,
        fields: leaf.fields.clone(),
        identities: leaf.identities.clone(),
        updated_at: leaf.updated_at,
    }
}

/// All links of a leaf's identities, those taken back included.
pub(crate) fn links_of_leaf(store: &Store, leaf: ProfileId) -> Result<Vec<IdentityLink>> {
    let Some(row) = read::<Leaves>(store, &leaf)? else { return Ok(Vec::new()) };
    let mut links = Vec::new();
    for identity in &row.value.identities {
        let key = (identity.kind, identity.namespace.clone(), identity.value.clone());
        if let Some(row) = read::<Identities>(store, &key)? {
            links.extend(row.value.links.into_iter().filter(|link| link.profile_id == leaf));
        }
    }
    Ok(links)
}

impl People<'_> {
    /// Keeps the name a channel showed for somebody new, as weakly as it was said.
    pub(crate) fn suggest_name(&mut self, leaf: ProfileId, name: &str, source: ConnectionId) -> Result<()> {
        const LONGEST: usize = 200;
        let name: String = name.trim().chars().filter(|character| !character.is_control()).take(LONGEST).collect();
        let Some(mut row) = self.tx.get::<Leaves>(&leaf)? else { return Ok(()) };
        // An address shown as a name is no name.
        if name.is_empty() || name.contains('@') || row.value.fields.contains_key("display_name") {
            return Ok(());
        }
        let said =
            throughline_schemas::Attributed { value: name.into(), source: Some(source), assurance: Assurance::Claimed, at: self.now };
        row.value.fields.insert("display_name".to_owned(), said);
        Ok(self.tx.put::<Leaves>(&leaf, &row.value)?)
    }
}
