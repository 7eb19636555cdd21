//! Who may be one person: compares profiles as they change, suggests pairs to a person, and merges those the policy lets it.
//!
//! Follows the change log and keeps all profiles in the resolver's memory; what it holds can be thrown away and built anew from the
//! store. What it finds is written with its evidence. Knows no ingest: a profile that came in is compared after it was committed.

mod policy;
mod records;
mod reviews;
mod what_if;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use throughline_domain::identity::resolve::{Explanation, Millibits, Model, PersonRecord, Resolver, Settings, fit};
use throughline_schemas::{ChangeKind, ProfileId};
use throughline_store::Store;
use throughline_store::tables::{Leaf, Leaves, leading_id, read, scan_rows};
use tokio::sync::{Mutex, Notify};

use crate::error::Result;
use crate::hub::Hub;
use records::{profile_of, records_of};

pub(crate) use policy::{crowded, unblocked};
pub use what_if::{IdentityWhatIf, IdentityWhatIfAnswer, WhatIfPair};
pub use why::{MemberView, SaidView, WhyView};

/// With fewer records than this the weights that ship are better than any that could be fitted.
const ENOUGH_TO_FIT: usize = 5_000;
/// A model is fitted anew when there are so many times the records it was fitted on.
const GROWN: usize = 2;
/// Rows and log entries that are read at a time.
const AT_ONCE: usize = 1_000;
/// Likeness never merges within the resolver here; it only finds.
const NEVER: Millibits = Millibits::MAX;

/// What is kept in memory to compare profiles with.
#[derive(Default)]
pub(crate) struct Likeness {
    known: Mutex<Option<Known>>,
    /// Somebody may have changed.
    pub(crate) changed: Notify,
}

/// All profiles, as of a place in the log.
struct Known {
    resolver: Resolver,
    model: Arc<Model>,
    head: u64,
    /// The ids of each leaf's records.
    records: HashMap<ProfileId, Vec<String>>,
    fitted_on: usize,
}

/// Two roots that are alike.
struct Alike {
    one: ProfileId,
    other: ProfileId,
    explanation: Explanation,
}

impl Hub {
    /// Compares whoever changed since the last time, and writes suggestions (and, if the policy says so, merges).
    pub async fn compare_people(&self) -> Result<()> {
        let policy = self.identity_policy()?.value;
        if !policy.suggest && !policy.auto_merge {
            return Ok(());
        }
        let mut known = self.inner.likeness.known.lock().await;
        let touched = self.catch_up(&mut known, policy.suggest_millibits()).await?;
        let Some(known) = known.as_ref() else { return Ok(()) };
        let model = known.model.version.clone();
        for alike in self.alike(known, &touched, policy.suggest_millibits())? {
            self.suggest_or_merge(&alike, &model, &policy).await?;
        }
        Ok(())
    }

    /// What is kept in memory is thrown away, and built anew when it is next needed.
    pub(crate) async fn forget_likeness(&self) {
        *self.inner.likeness.known.lock().await = None;
        self.inner.likeness.changed.notify_one();
    }

    /// Waits for a comparison that is under way; whoever stops the hub has told that no other begins.
    pub(crate) async fn comparing_has_ended(&self) {
        *self.inner.likeness.known.lock().await = None;
    }

    /// Compares people whenever there may be news, until the hub stops.
    pub(crate) async fn keep_comparing(self) {
        let mut stopping = self.inner.stopping.listen();
        loop {
            tokio::select! {
                biased;
                () = stopping.until(|stop| *stop) => return,
                () = self.inner.likeness.changed.notified() => {}
            }
            if let Err(error) = self.compare_people().await {
                tracing::error!(%error, "profiles could not be compared");
            }
        }
    }

    /// Brings what is kept up to date; the leaves that changed.
    async fn catch_up(&self, known: &mut Option<Known>, least: Millibits) -> Result<BTreeSet<ProfileId>> {
        let mut touched = BTreeSet::new();
        let grown = known.as_ref().is_some_and(|known| known.records.len() > GROWN * known.fitted_on.max(ENOUGH_TO_FIT));
        if known.is_none() || grown {
            let (store, head) = (self.inner.store.clone(), self.head());
            let built = self.apart(move || Known::build(&store, head, least)).await?;
            touched.extend(built.records.keys());
            *known = Some(built);
        }
        let Some(known) = known else { return Ok(touched) };
        let mut changed: BTreeSet<ProfileId> = BTreeSet::new();
        loop {
            let changes = self.changes(known.head, AT_ONCE)?;
            let Some((last, _)) = changes.last() else { break };
            known.head = *last;
            for (_, change) in &changes {
                changed.extend(change.profile_id.filter(|_| concerns_people(change.kind)));
                let other: Option<ProfileId> =
                    change.data.get("merged").or_else(|| change.data.get("separated")).and_then(|id| id.as_str()?.parse().ok());
                changed.extend(other.filter(|_| concerns_people(change.kind)));
            }
        }
        for id in changed {
            touched.extend(known.take_in(&self.inner.store, id)?);
        }
        Ok(touched)
    }

    /// Pairs of roots that are alike, of which one has changed: the strongest evidence for each.
    fn alike(&self, known: &Known, touched: &BTreeSet<ProfileId>, least: Millibits) -> Result<Vec<Alike>> {
        let mut best: BTreeMap<(ProfileId, ProfileId), (Millibits, &str, &str)> = BTreeMap::new();
        for record in touched.iter().filter_map(|leaf| known.records.get(leaf)).flatten() {
            for (other, score) in known.resolver.alike(record, least) {
                let (Some(one), Some(two)) = (self.root_of_record(record)?, self.root_of_record(other)?) else { continue };
                if one == two {
                    continue;
                }
                let found = (score, record.as_str().min(other), record.as_str().max(other));
                best.entry((one.min(two), one.max(two))).and_modify(|most| *most = found.max(*most)).or_insert(found);
            }
        }
        let explained =
            best.into_iter().filter_map(|((one, other), (_, a, b))| Some(Alike { one, other, explanation: known.resolver.explain(a, b)? }));
        Ok(explained.collect())
    }

    fn root_of_record(&self, record: &str) -> Result<Option<ProfileId>> {
        profile_of(record).map_or(Ok(None), |leaf| self.root(leaf))
    }
}

const fn concerns_people(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::ProfileCreated | ChangeKind::ProfileUpdated | ChangeKind::ProfileMerged | ChangeKind::ProfileUnmerged)
}

impl Known {
    fn build(store: &Store, head: u64, least: Millibits) -> Result<Self> {
        let mut all: Vec<PersonRecord> = Vec::new();
        let mut records = HashMap::new();
        for (id, leaf) in every_leaf(store)? {
            let of_leaf = records_of(id, &leaf, leaf.merged_into.unwrap_or(id));
            records.insert(id, of_leaf.iter().map(|record| record.id.clone()).collect());
            all.extend(of_leaf);
        }
        let model = Arc::new(model_for(&all));
        let settings = Settings { merge: NEVER, suggest: least, ..Settings::default() };
        let mut resolver = Resolver::new(Arc::clone(&model), settings);
        resolver.load(&all);
        Ok(Self { resolver, model, head, fitted_on: all.len(), records })
    }

    /// Takes a profile and those merged into it in as they are now.
    fn take_in(&mut self, store: &Store, id: ProfileId) -> Result<Vec<ProfileId>> {
        let Some(row) = read::<Leaves>(store, &id)? else { return Ok(Vec::new()) };
        let mut taken = vec![id];
        taken.extend(&row.value.members);
        for leaf in &taken {
            let Some(row) = read::<Leaves>(store, leaf)? else { continue };
            let now = records_of(*leaf, &row.value, row.value.merged_into.unwrap_or(*leaf));
            for gone in self.records.remove(leaf).unwrap_or_default() {
                self.resolver.remove(&gone);
            }
            for record in &now {
                self.resolver.insert(record);
            }
            self.records.insert(*leaf, now.into_iter().map(|record| record.id).collect());
        }
        Ok(taken)
    }
}

/// Weights fitted on these records, or those that ship where these are too few.
fn model_for(records: &[PersonRecord]) -> Model {
    if records.len() >= ENOUGH_TO_FIT { fit(records) } else { Model::shipped().for_population(ENOUGH_TO_FIT as u64) }
}

fn every_leaf(store: &Store) -> Result<Vec<(ProfileId, Leaf)>> {
    let mut all = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = scan_rows::<Leaves>(store, &[], after.as_deref(), AT_ONCE)?;
        all.extend(page.rows.into_iter().filter_map(|(key, row)| Some((ProfileId::from_bytes(leading_id(&key)?), row.value))));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}
