//! Records in, persons out: one core for a stream and for a batch.
//!
//! The persons are a function of the set of records, the model and the constraints. A stream keeps that function up to date: a record
//! that comes or goes changes which keys find something, how crowded its identifiers are, and with them some edges; the components
//! that those touch are parted anew, and nothing else can have changed. A batch puts everything in first and parts once.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cluster::PINNED;
use super::crowd::Crowd;
use super::entry::Entry;
use super::hash::{self, HashedMap};
use super::model::{Millibits, Model};
use super::record::PersonRecord;
use super::texts::Texts;

/// What is decided by whoever runs the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The least evidence for one person, in thousandths of a bit; 0 is as likely as not.
    pub merge: Millibits,
    /// The least evidence for a suggestion that two records may be one person's.
    pub suggest: Millibits,
    /// The most records of one person; a union beyond it is refused.
    pub largest: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { merge: 0, suggest: 0, largest: 500 }
    }
}

/// Records, and the persons they are of.
#[derive(Debug)]
pub struct Resolver {
    pub(super) model: Arc<Model>,
    pub(super) settings: Settings,
    pub(super) texts: Texts,
    pub(super) entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    pub(super) by_id: HashedMap<u32>,
    pub(super) buckets: HashedMap<Bucket>,
    pub(super) phones: Crowd,
    pub(super) emails: Crowd,
    pub(super) edges: Vec<Vec<(u32, Millibits)>>,
    pub(super) person: Vec<u32>,
    /// When a node was last visited, in rounds.
    pub(super) visited: Vec<u32>,
    pub(super) round: u32,
    /// Names (of records or groups) that are different persons' by decree.
    pub(super) apart: HashedMap<Vec<u64>>,
}

/// Records that share a key; nearly always one.
#[derive(Debug)]
pub(super) enum Bucket {
    One(u32),
    Many(Vec<u32>),
}

impl Bucket {
    pub(super) fn nodes(&self) -> &[u32] {
        match self {
            Self::One(node) => std::slice::from_ref(node),
            Self::Many(nodes) => nodes,
        }
    }

    pub(super) fn push(&mut self, node: u32) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, node]),
            Self::Many(nodes) => nodes.push(node),
        }
    }
}

impl Resolver {
    /// A resolver without records.
    #[must_use]
    pub fn new(model: Arc<Model>, settings: Settings) -> Self {
        let texts = Texts::new(&model.rarities);
        Self {
            model,
            settings,
            texts,
            entries: Vec::new(),
            free: Vec::new(),
            by_id: HashedMap::default(),
            buckets: HashedMap::default(),
            phones: Crowd::default(),
            emails: Crowd::default(),
            edges: Vec::new(),
            person: Vec::new(),
            visited: Vec::new(),
            round: 0,
            apart: HashedMap::default(),
        }
    }

    /// All records at once: the same persons as if each had been inserted.
    pub fn load<'r>(&mut self, records: impl IntoIterator<Item = &'r PersonRecord>) {
        self.fill(records);
        let mut others = Vec::new();
        let all: Vec<u32> = self.nodes().collect();
        for node in &all {
            self.candidates(*node, &mut others);
            for other in others.iter().copied().filter(|other| other > node) {
                self.connect_new(*node, other);
            }
        }
        self.settle(&all);
    }

    /// Takes records in without saying whose they are.
    pub(super) fn fill<'r>(&mut self, records: impl IntoIterator<Item = &'r PersonRecord>) {
        for record in records {
            let node = self.take_in(record);
            self.join_buckets(node);
            self.join_crowds(node);
        }
    }

    /// Takes one record in. A record with a known id replaces that.
    pub fn insert(&mut self, record: &PersonRecord) {
        self.remove(&record.id);
        let node = self.take_in(record);
        let mut touched = vec![node];
        for nodes in self.join_buckets(node) {
            self.drop_unfounded(&nodes, &mut touched);
        }
        let changed = self.join_crowds(node);
        let mut others = Vec::new();
        self.candidates(node, &mut others);
        for other in &others {
            self.connect_new(node, *other);
        }
        self.rescore(&changed, &mut touched);
        self.settle(&touched);
    }

    /// Forgets a record, as if it had never been. Whether there was one.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(node) = self.by_id.remove(&hash::of_text(id)) else { return false };
        let mut touched: Vec<u32> = self.edges[node as usize].iter().map(|(other, _)| *other).collect();
        for other in &touched {
            self.edges[*other as usize].retain(|(known, _)| *known != node);
        }
        self.edges[node as usize] = Vec::new();
        let opened = self.leave_buckets(node);
        let changed = self.leave_crowds(node);
        self.entries[node as usize] = None;
        self.free.push(node);
        for nodes in opened {
            self.connect_all(&nodes, &mut touched);
        }
        self.rescore(&changed, &mut touched);
        self.settle(&touched);
        true
    }

    /// Says that two records (or groups) are different persons', whatever speaks for one.
    pub fn keep_apart(&mut self, one: &str, other: &str) {
        let (a, b) = (hash::of_text(one), hash::of_text(other));
        self.apart.entry(a).or_default().push(b);
        self.apart.entry(b).or_default().push(a);
        let touched: Vec<u32> = self.nodes().filter(|node| self.names_of(*node).iter().any(|name| *name == a || *name == b)).collect();
        self.settle(&touched);
    }

    /// For each record the person it is of, named by the least id among that person's records; sorted by record.
    #[must_use]
    pub fn persons(&self) -> Vec<(&str, &str)> {
        let mut named: HashMap<u32, &str> = HashMap::new();
        for node in self.nodes() {
            let id = &*self.entry_of(node).id;
            named.entry(self.person[node as usize]).and_modify(|least| *least = id.min(least)).or_insert(id);
        }
        let mut persons: Vec<(&str, &str)> =
            self.nodes().map(|node| (&*self.entry_of(node).id, named[&self.person[node as usize]])).collect();
        persons.sort_unstable();
        persons
    }

    /// Pairs of records of different persons with a score of at least `least`: what may be suggested. Strongest first.
    #[must_use]
    pub fn doubtful(&self, least: Millibits) -> Vec<(&str, &str, Millibits)> {
        let mut pairs = Vec::new();
        for node in self.nodes() {
            for (other, score) in &self.edges[node as usize] {
                let different = self.person[node as usize] != self.person[*other as usize];
                if node < *other && different && *score >= least {
                    let (a, b) = (&*self.entry_of(node).id, &*self.entry_of(*other).id);
                    pairs.push((a.min(b), a.max(b), *score));
                }
            }
        }
        pairs.sort_unstable_by_key(|(one, other, score)| (std::cmp::Reverse(*score), *one, *other));
        pairs
    }

    /// Records that are alike to this one by at least `least`, those of its own group left out; strongest first.
    #[must_use]
    pub fn alike(&self, id: &str, least: Millibits) -> Vec<(&str, Millibits)> {
        let Some(node) = self.node_of(id) else { return Vec::new() };
        let edges = self.edges[node as usize].iter().filter(|(_, score)| *score >= least && *score != PINNED);
        let mut alike: Vec<(&str, Millibits)> = edges.map(|(other, score)| (&*self.entry_of(*other).id, *score)).collect();
        alike.sort_unstable_by_key(|(other, score)| (std::cmp::Reverse(*score), *other));
        alike
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some()).map(|(node, _)| node as u32)
    }

    pub(super) fn node_of(&self, id: &str) -> Option<u32> {
        self.by_id.get(&hash::of_text(id)).copied()
    }

    pub(super) fn entry_of(&self, node: u32) -> &Entry {
        self.entries[node as usize].as_ref().expect("buckets and edges name records that are there")
    }

    fn take_in(&mut self, record: &PersonRecord) -> u32 {
        let entry = Entry::new(record, &mut self.texts, &self.model.rarities);
        let node = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.edges.push(Vec::new());
            self.person.push(0);
            self.visited.push(0);
            u32::try_from(self.entries.len() - 1).expect("four billion records do not fit into memory")
        });
        self.by_id.insert(entry.tie, node);
        self.person[node as usize] = node;
        self.entries[node as usize] = Some(entry);
        node
    }
}
