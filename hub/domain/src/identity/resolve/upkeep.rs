//! Keeps buckets, crowds, edges and persons true when a record comes or goes.

use super::cluster::{self, Edge, Judge, PINNED};
use super::compare::{self, Crowds, email_crowd, phone_crowd};
use super::entry::Entry;
use super::hash::{of_pair, of_parts};
use super::keys::{Key, keys_of};
use super::levels::{self, Levels};
use super::model::Millibits;
use super::portrait::Portrait;
use super::resolver::{Bucket, Resolver};
use super::texts::{NONE, Sym};

/// An identifier whose crowd took a step, so that all who share it are to be compared again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Crowded {
    Phone(Sym),
    Email(Sym),
}

impl Crowds for Resolver {
    fn at_phone(&self, phone: Sym) -> usize {
        self.phones.size(phone)
    }
    fn at_email(&self, email: Sym) -> usize {
        self.emails.size(email)
    }
}

impl Resolver {
    fn keys(&self, node: u32) -> Vec<Key> {
        let mut keys = Vec::with_capacity(18);
        keys_of(&self.texts, self.entry_of(node), &mut keys);
        keys
    }

    /// Adds a record to its buckets; the nodes of those that are over their cap by it.
    pub(super) fn join_buckets(&mut self, node: u32) -> Vec<Vec<u32>> {
        let mut closed = Vec::new();
        for key in self.keys(node) {
            let bucket = self.buckets.entry(key.hash).and_modify(|bucket| bucket.push(node)).or_insert(Bucket::One(node));
            if Some(bucket.nodes().len()) == key.cap.checked_add(1) {
                closed.push(bucket.nodes().to_vec());
            }
        }
        closed
    }

    /// Takes a record out of its buckets; the nodes of those that are within their cap again.
    pub(super) fn leave_buckets(&mut self, node: u32) -> Vec<Vec<u32>> {
        let mut opened = Vec::new();
        for key in self.keys(node) {
            let Some(bucket) = self.buckets.get_mut(&key.hash) else { continue };
            match bucket {
                Bucket::One(_) => drop(self.buckets.remove(&key.hash)),
                Bucket::Many(nodes) => {
                    nodes.retain(|known| *known != node);
                    if nodes.len() == key.cap {
                        opened.push(nodes.clone());
                    }
                    if nodes.is_empty() {
                        self.buckets.remove(&key.hash);
                    }
                }
            }
        }
        opened
    }

    /// Counts a record's given name with its identifiers; those whose crowd took a step.
    pub(super) fn join_crowds(&mut self, node: u32) -> Vec<Crowded> {
        self.count_name(node, |crowd, value, name| crowd.add(value, name))
    }

    /// Takes a record's given name back from its identifiers; those whose crowd took a step.
    pub(super) fn leave_crowds(&mut self, node: u32) -> Vec<Crowded> {
        self.count_name(node, |crowd, value, name| crowd.remove(value, name))
    }

    fn count_name(&mut self, node: u32, count: impl Fn(&mut super::crowd::Crowd, Sym, u64)) -> Vec<Crowded> {
        let entry = self.entry_of(node);
        let (given, phone, email) = (entry.given, entry.phone, entry.email);
        let mut changed = Vec::new();
        // An initial may be anybody's.
        if self.texts.text(given).len() < 2 {
            return changed;
        }
        let name = self.texts.get(given).root;
        if phone != NONE {
            let before = phone_crowd(self.phones.size(phone));
            count(&mut self.phones, phone, name);
            if before != phone_crowd(self.phones.size(phone)) {
                changed.push(Crowded::Phone(phone));
            }
        }
        if email != NONE {
            let before = email_crowd(self.emails.size(email));
            count(&mut self.emails, email, name);
            if before != email_crowd(self.emails.size(email)) {
                changed.push(Crowded::Email(email));
            }
        }
        changed
    }

    /// Records that share a key with this one which finds something, each once.
    pub(super) fn candidates(&self, node: u32, into: &mut Vec<u32>) {
        into.clear();
        for key in self.keys(node) {
            let nodes = self.buckets.get(&key.hash).map_or(&[][..], Bucket::nodes);
            if nodes.len() <= key.cap {
                into.extend(nodes.iter().copied().filter(|other| *other != node));
            }
        }
        into.sort_unstable();
        into.dedup();
    }

    fn share_a_key(&self, one: u32, other: u32) -> bool {
        let theirs = self.keys(other);
        let live = |key: &Key| self.buckets.get(&key.hash).is_some_and(|bucket| bucket.nodes().len() <= key.cap);
        self.keys(one).iter().any(|key| theirs.contains(key) && live(key))
    }

    /// How two records agree.
    pub(super) fn levels(&self, one: &Entry, other: &Entry) -> Levels {
        compare::compare(&self.texts, self, one, other)
    }

    pub(super) fn pair_score(&self, one: &Entry, other: &Entry) -> Millibits {
        if one.group != NONE && one.group == other.group {
            return PINNED;
        }
        self.model.score(&self.levels(one, other))
    }

    /// Connects two records that are not connected, if their score is worth it.
    pub(super) fn connect_new(&mut self, one: u32, other: u32) {
        let score = self.pair_score(self.entry_of(one), self.entry_of(other));
        if score >= self.settings.merge.min(self.settings.suggest) {
            self.edges[one as usize].push((other, score));
            self.edges[other as usize].push((one, score));
        }
    }

    fn disconnect(&mut self, one: u32, other: u32) {
        self.edges[one as usize].retain(|(known, _)| *known != other);
        self.edges[other as usize].retain(|(known, _)| *known != one);
    }

    /// A key finds nothing any more: edges that nothing else stands behind go.
    pub(super) fn drop_unfounded(&mut self, nodes: &[u32], touched: &mut Vec<u32>) {
        let among: std::collections::HashSet<u32> = nodes.iter().copied().collect();
        for node in nodes {
            let others: Vec<u32> =
                self.edges[*node as usize].iter().map(|(other, _)| *other).filter(|other| other > node && among.contains(other)).collect();
            for other in others {
                if !self.share_a_key(*node, other) {
                    self.disconnect(*node, other);
                    touched.extend([*node, other]);
                }
            }
        }
    }

    /// A key finds something again.
    pub(super) fn connect_all(&mut self, nodes: &[u32], touched: &mut Vec<u32>) {
        for (place, one) in nodes.iter().enumerate() {
            for other in &nodes[place + 1..] {
                if !self.edges[*one as usize].iter().any(|(known, _)| known == other) {
                    self.connect_new(*one, *other);
                }
            }
        }
        touched.extend(nodes);
    }

    /// Compares everybody again who shares an identifier whose crowd took a step.
    pub(super) fn rescore(&mut self, changed: &[Crowded], touched: &mut Vec<u32>) {
        for crowded in changed {
            for node in self.sharing(*crowded) {
                let mut others = Vec::new();
                self.candidates(node, &mut others);
                for other in others {
                    if other > node && self.shares(other, *crowded) {
                        self.disconnect(node, other);
                        self.connect_new(node, other);
                        touched.extend([node, other]);
                    }
                }
            }
        }
    }

    fn sharing(&self, crowded: Crowded) -> Vec<u32> {
        let (number, value) = match crowded {
            Crowded::Phone(value) => (super::keys::PHONE, value),
            Crowded::Email(value) => (super::keys::EMAIL, value),
        };
        let key = of_parts(&[number, self.texts.hash(value), 0, 0]);
        self.buckets.get(&key).map_or(&[][..], Bucket::nodes).to_vec()
    }

    fn shares(&self, node: u32, crowded: Crowded) -> bool {
        match crowded {
            Crowded::Phone(value) => self.entry_of(node).phone == value,
            Crowded::Email(value) => self.entry_of(node).email == value,
        }
    }

    /// Parts the components of these nodes anew.
    pub(super) fn settle(&mut self, touched: &[u32]) {
        self.round += 1;
        for node in touched {
            if self.visited[*node as usize] == self.round || self.entries[*node as usize].is_none() {
                continue;
            }
            let (nodes, edges) = self.component(*node);
            for cluster in cluster::part(self, &nodes, edges) {
                for node in &cluster {
                    self.person[*node as usize] = cluster[0];
                }
            }
        }
    }

    /// Everything a node is connected with, and the connections.
    fn component(&mut self, start: u32) -> (Vec<u32>, Vec<Edge>) {
        let (mut nodes, mut edges) = (vec![start], Vec::new());
        self.visited[start as usize] = self.round;
        let mut at = 0;
        while let Some(node) = nodes.get(at).copied() {
            at += 1;
            for (other, score) in self.edges[node as usize].iter().filter(|(_, score)| *score >= self.settings.merge) {
                if self.visited[*other as usize] != self.round {
                    self.visited[*other as usize] = self.round;
                    nodes.push(*other);
                }
                if node < *other {
                    let tie = of_pair(self.entry_of(node).tie, self.entry_of(*other).tie);
                    edges.push(Edge { one: node, other: *other, score: *score, tie });
                }
            }
        }
        (nodes, edges)
    }

    /// What a record may be named by in constraints.
    pub(super) fn names_of(&self, node: u32) -> [u64; 2] {
        let entry = self.entry_of(node);
        let group = if entry.group == NONE { entry.tie } else { self.texts.hash(entry.group) };
        [entry.tie, group]
    }
}

impl Judge for Resolver {
    fn portrait(&self, node: u32) -> Portrait {
        Portrait::of(&self.texts, self.entry_of(node))
    }

    fn score(&self, edge: &Edge, one: &Portrait, other: &Portrait) -> Millibits {
        let pair = self.levels(self.entry_of(edge.one), self.entry_of(edge.other));
        let whole = one.levels(other, self.model.bits(), &self.texts, self);
        self.model.score(&levels::filled(pair, whole))
    }

    fn kept_apart(&self, node: u32) -> Vec<(u64, Vec<u64>)> {
        if self.apart.is_empty() {
            return Vec::new();
        }
        self.names_of(node).iter().filter_map(|name| Some((*name, self.apart.get(name)?.clone()))).collect()
    }

    fn threshold(&self) -> Millibits {
        self.settings.merge
    }

    fn largest(&self) -> usize {
        self.settings.largest
    }
}
