//! What would have been decided under other policies: stored history, taken in once more by a hub that exists only in memory.
//!
//! It is taken in twice, under the policies that hold and under the others, so that what differs is due to them alone. Known persons are
//! known from the start, as they are today; of what people did by hand, the resolving of enquiries is done again at its time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};

use throughline_domain::continuity::ContinuityPolicies;
use throughline_schemas::connector::{Item, ItemKind};
use throughline_schemas::{EnquiryId, Interaction, InteractionId, ProfileId, Timestamp};
use throughline_store::tables::{
    Connections, DecisionIndex, Decisions, Enquiries, EnquiriesByProfile, Identities, Inbox, Interactions, Leaves, Tx, leading_id, read,
    scan_rows,
};
use throughline_store::{Options, Store};

use crate::HubError;
use crate::clock::Clock;
use crate::error::Result;
use crate::hub::{Hub, HubOptions};
use crate::ingest::IngestBatch;
use crate::views::{WhatIf, WhatIfAnswer, WhatIfChange, WhatIfPlace};

/// How many of the last interactions are replayed if nobody says, and at most.
const USUAL: usize = 500;
const MOST: usize = 5_000;
/// How many differences are listed; all are counted.
const LISTED: usize = 200;
/// The kind of item that the replayed news are.
const ENTITY: &str = "replayed";

/// The time as the replayed history has it.
#[derive(Default)]
struct ReplayClock(AtomicI64);

impl Clock for ReplayClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Where one interaction went, in terms of the interactions that opened the enquiries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Went {
    verdict: String,
    enquiry: Option<InteractionId>,
    candidates: Vec<InteractionId>,
}

impl Hub {
    /// Takes the last interactions in again under other policies and says what would have been different. Changes nothing.
    pub async fn what_if_continuity(&self, what_if: WhatIf) -> Result<WhatIfAnswer> {
        super::check(&what_if.policies)?;
        let last = what_if.last.unwrap_or(USUAL);
        if last == 0 || last > MOST {
            return Err(HubError::invalid("/last", format!("1 to {MOST} interactions can be replayed")));
        }
        let history = self.last_interactions(last)?;
        let now = self.replay(&self.policies(), &history).await?;
        let then = self.replay(&what_if.policies, &history).await?;
        let mut answer = WhatIfAnswer { considered: history.len(), different: 0, changes: Vec::new() };
        let real: HashMap<InteractionId, Option<EnquiryId>> = history.iter().map(|known| (known.id, known.enquiry_id)).collect();
        for (interaction, (now, then)) in history.iter().zip(now.iter().zip(&then)).filter(|(_, (now, then))| now != then) {
            answer.different += 1;
            if answer.changes.len() < LISTED {
                let place = |went: &Went| place(went, &real);
                answer.changes.push(WhatIfChange { interaction_id: interaction.id, now: place(now), then: place(then) });
            }
        }
        Ok(answer)
    }

    /// The last interactions, oldest first: their ids are in the order in which they were accepted.
    fn last_interactions(&self, last: usize) -> Result<Vec<Interaction>> {
        let mut ids: std::collections::VecDeque<InteractionId> = std::collections::VecDeque::with_capacity(last);
        let mut after = None;
        loop {
            let page = scan_rows::<Interactions>(&self.inner.store, &[], after.as_deref(), 500)?;
            for id in page.rows.iter().filter_map(|(key, _)| leading_id(key).map(InteractionId::from_bytes)) {
                if ids.len() == last {
                    ids.pop_front();
                }
                ids.push_back(id);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let rows = ids.into_iter().map(|id| Ok(read::<Interactions>(&self.inner.store, &id)?.map(|row| row.value)));
        rows.filter_map(Result::transpose).collect()
    }

    async fn replay(&self, policies: &ContinuityPolicies, history: &[Interaction]) -> Result<Vec<Went>> {
        let clock = Arc::new(ReplayClock::default());
        let hub = self.scratch(clock.clone(), history).await?;
        *hub.inner.continuity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies.clone());
        let mut replay = Replay { real: self, hub, clock, opened_by: HashMap::new(), resolved: BTreeSet::new() };
        let mut all = Vec::with_capacity(history.len());
        for interaction in history {
            all.push(replay.take(interaction).await?);
        }
        Ok(all)
    }

    /// A hub in memory that knows the connections and persons of this one, and nothing that happened.
    async fn scratch(&self, clock: Arc<ReplayClock>, history: &[Interaction]) -> Result<Self> {
        let store = Store::in_memory(Options::new(|| 0))?;
        let options = HubOptions { clock, ..self.inner.options.clone() };
        let hub = Self::open(options, store, self.inner.blobs.clone(), Arc::clone(&self.inner.plugins))?;
        let connections: BTreeSet<_> = history.iter().map(|interaction| interaction.connection_id).collect();
        let mut tx = Tx::new(&hub.inner.store);
        for id in connections {
            if let Some(row) = read::<Connections>(&self.inner.store, &id)? {
                tx.put::<Connections>(&id, &row.value)?;
            }
        }
        commit(tx).await?;
        for leaf in self.everybody_in(history)? {
            let Some(row) = read::<Leaves>(&self.inner.store, &leaf)? else { continue };
            let mut tx = Tx::new(&hub.inner.store);
            tx.put::<Leaves>(&leaf, &row.value)?;
            for identity in &row.value.identities {
                let key = (identity.kind, identity.namespace.clone(), identity.value.clone());
                if let Some(index) = read::<Identities>(&self.inner.store, &key)? {
                    tx.put::<Identities>(&key, &index.value)?;
                }
            }
            commit(tx).await?;
        }
        Ok(hub)
    }

    /// All leaves behind the profiles of these interactions, and of those who share an identity with them.
    fn everybody_in(&self, history: &[Interaction]) -> Result<BTreeSet<ProfileId>> {
        let mut waiting: Vec<ProfileId> = history.iter().filter_map(|interaction| interaction.profile_id).collect();
        let mut found = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if !found.insert(id) {
                continue;
            }
            let Some(row) = read::<Leaves>(&self.inner.store, &id)? else { continue };
            waiting.extend(row.value.merged_into);
            waiting.extend(row.value.members);
            for identity in row.value.identities {
                let key = (identity.kind, identity.namespace, identity.value);
                let index = read::<Identities>(&self.inner.store, &key)?;
                waiting.extend(index.iter().flat_map(|row| row.value.holding()).map(|link| link.profile_id));
            }
        }
        Ok(found)
    }
}

/// One replay under way.
struct Replay<'a> {
    real: &'a Hub,
    hub: Hub,
    clock: Arc<ReplayClock>,
    /// The real interaction that opened an enquiry of the replay.
    opened_by: HashMap<EnquiryId, InteractionId>,
    /// Enquiries of the replay that were resolved at their time.
    resolved: BTreeSet<EnquiryId>,
}

impl Replay<'_> {
    async fn take(&mut self, interaction: &Interaction) -> Result<Went> {
        self.resolve_until(interaction.accepted_at).await?;
        self.clock.0.store(interaction.accepted_at.as_millis(), Ordering::Relaxed);
        let data = serde_json::to_value(&interaction.fact).map_err(|error| HubError::Internal(error.to_string()))?;
        let key = interaction.id.to_string();
        let item = Item { kind: ItemKind::Interaction, entity: ENTITY.to_owned(), key: key.clone(), version: None, at_ms: None, data };
        self.hub.ingest(interaction.connection_id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await?;
        let inbox = read::<Inbox>(&self.hub.inner.store, &(interaction.connection_id, ENTITY.to_owned(), key))?;
        let Some(replayed) = inbox.map(|row| row.value.interaction) else {
            return Ok(Went { verdict: "refused".to_owned(), enquiry: None, candidates: Vec::new() });
        };
        self.went(interaction, replayed)
    }

    fn went(&mut self, interaction: &Interaction, replayed: InteractionId) -> Result<Went> {
        let store = &self.hub.inner.store;
        let stands_in = read::<Interactions>(store, &replayed)?.and_then(|row| row.value.enquiry_id);
        if let Some(enquiry) = stands_in {
            self.opened_by.entry(enquiry).or_insert(interaction.id);
        }
        let mut went =
            Went { verdict: "none".to_owned(), enquiry: stands_in.and_then(|id| self.opened_by.get(&id).copied()), candidates: Vec::new() };
        let page = scan_rows::<DecisionIndex>(store, replayed.as_bytes(), None, 10)?;
        for id in page.rows.iter().filter_map(|(key, _)| DecisionIndex::decision(key)) {
            let Some(decision) = read::<Decisions>(store, &id)?.map(|row| row.value).filter(|decision| decision.subject == "continuity")
            else {
                continue;
            };
            went.verdict = decision.verdict.unwrap_or_default();
            if went.verdict == "park" {
                went.enquiry = decision.enquiry_id.and_then(|id| self.opened_by.get(&id).copied());
            }
            went.candidates = decision.candidates.iter().filter_map(|id| self.opened_by.get(id).copied()).collect();
            break;
        }
        Ok(went)
    }

    /// Resolves what a person had resolved by then.
    async fn resolve_until(&mut self, now: Timestamp) -> Result<()> {
        let mut due: BTreeMap<(Timestamp, EnquiryId), ()> = BTreeMap::new();
        for (replayed, opener) in &self.opened_by {
            let real = read::<Interactions>(&self.real.inner.store, opener)?.and_then(|row| row.value.enquiry_id);
            let real = real.map(|id| read::<Enquiries>(&self.real.inner.store, &id)).transpose()?.flatten();
            if let Some(at) = real.and_then(|row| row.value.resolved_at).filter(|at| *at < now && !self.resolved.contains(replayed)) {
                due.insert((at, *replayed), ());
            }
        }
        for ((at, replayed), ()) in due {
            self.resolved.insert(replayed);
            let Some(mut row) = read::<Enquiries>(&self.hub.inner.store, &replayed)?.filter(|row| row.value.status.is_live()) else {
                continue;
            };
            row.value.status = throughline_schemas::EnquiryStatus::Resolved;
            row.value.resolved_at = Some(at);
            let mut tx = Tx::new(&self.hub.inner.store);
            tx.put::<Enquiries>(&replayed, &row.value)?;
            tx.put::<EnquiriesByProfile>(&(row.value.profile_id, replayed), &row.value.status)?;
            commit(tx).await?;
        }
        Ok(())
    }
}

fn place(went: &Went, real: &HashMap<InteractionId, Option<EnquiryId>>) -> WhatIfPlace {
    let enquiry = |opener: &InteractionId| real.get(opener).copied().flatten();
    WhatIfPlace {
        verdict: went.verdict.clone(),
        enquiry_id: went.enquiry.as_ref().and_then(enquiry),
        candidates: went.candidates.iter().filter_map(enquiry).collect(),
    }
}

async fn commit(tx: Tx) -> Result<()> {
    if !tx.is_empty() {
        tx.commit().await?;
    }
    Ok(())
}
