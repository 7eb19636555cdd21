//! Parts a connected component into persons.
//!
//! Edges from the strongest down, ties by a hash; two clusters are united only if what they say together still speaks for one person.
//! Connected components alone would join thousands over a few shared numbers.

use super::hash::HashedMap;
use super::model::Millibits;
use super::portrait::Portrait;

/// A pair of records with its score: 0 is as likely one person as not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) one: u32,
    pub(super) other: u32,
    pub(super) score: Millibits,
    /// Orders equal scores.
    pub(super) tie: u64,
}

/// The score of two records that are one person's by decree.
pub(super) const PINNED: Millibits = Millibits::MAX;

/// What parting a component needs to know.
pub(super) trait Judge {
    /// What one record says.
    fn portrait(&self, node: u32) -> Portrait;
    /// The bits in favour of two clusters being one person.
    fn score(&self, edge: &Edge, one: &Portrait, other: &Portrait) -> Millibits;
    /// Names of this record that somebody said are another person's than some other names, each with those.
    fn kept_apart(&self, node: u32) -> Vec<(u64, Vec<u64>)>;
    /// The least score for a union.
    fn threshold(&self) -> Millibits;
    /// The most records of one person.
    fn largest(&self) -> usize;
}

/// The clusters of a component, each sorted by node. Nodes must be without repetition; the result depends on no order.
pub(super) fn part(judge: &impl Judge, nodes: &[u32], mut edges: Vec<Edge>) -> Vec<Vec<u32>> {
    edges.sort_unstable_by_key(|edge| (std::cmp::Reverse(edge.score), edge.tie));
    let mut groups = Groups::new(judge, nodes);
    for edge in edges {
        groups.consider(judge, &edge);
    }
    groups.finish()
}

struct Groups {
    place: HashedMap<usize>,
    parent: Vec<usize>,
    groups: Vec<Option<Group>>,
}

struct Group {
    nodes: Vec<u32>,
    portrait: Option<Portrait>,
    /// Names of its members that are in some cannot-link, and the names those exclude.
    names: Vec<u64>,
    excluded: Vec<u64>,
}

impl Groups {
    fn new(judge: &impl Judge, nodes: &[u32]) -> Self {
        let place = nodes.iter().enumerate().map(|(place, node)| (u64::from(*node), place)).collect();
        let group = |node: &u32| {
            let apart = judge.kept_apart(*node);
            let names = apart.iter().map(|(name, _)| *name).collect();
            Some(Group { nodes: vec![*node], portrait: None, names, excluded: apart.into_iter().flat_map(|(_, others)| others).collect() })
        };
        Self { place, parent: (0..nodes.len()).collect(), groups: nodes.iter().map(group).collect() }
    }

    fn root(&mut self, node: u32) -> usize {
        let mut at = self.place[&u64::from(node)];
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn consider(&mut self, judge: &impl Judge, edge: &Edge) {
        let (one, other) = (self.root(edge.one), self.root(edge.other));
        if one == other {
            return;
        }
        let (mut a, mut b) = match (self.groups[one].take(), self.groups[other].take()) {
            (Some(a), Some(b)) => (a, b),
            _ => unreachable!("roots hold their groups"),
        };
        if may_unite(judge, edge, &mut a, &mut b) {
            let (to, from, mut kept, gone) = if a.nodes.len() >= b.nodes.len() { (one, other, a, b) } else { (other, one, b, a) };
            kept.join(judge, gone);
            self.parent[from] = to;
            self.groups[to] = Some(kept);
        } else {
            self.groups[one] = Some(a);
            self.groups[other] = Some(b);
        }
    }

    fn finish(self) -> Vec<Vec<u32>> {
        self.groups
            .into_iter()
            .flatten()
            .map(|mut group| {
                group.nodes.sort_unstable();
                group.nodes
            })
            .collect()
    }
}

fn may_unite(judge: &impl Judge, edge: &Edge, a: &mut Group, b: &mut Group) -> bool {
    if edge.score == PINNED {
        return true;
    }
    if a.names.iter().any(|name| b.excluded.contains(name)) || a.nodes.len() + b.nodes.len() > judge.largest() {
        return false;
    }
    if a.nodes.len() == 1 && b.nodes.len() == 1 {
        return edge.score >= judge.threshold();
    }
    judge.score(edge, a.portrait(judge), b.portrait(judge)) >= judge.threshold()
}

impl Group {
    fn portrait(&mut self, judge: &impl Judge) -> &Portrait {
        let node = self.nodes[0];
        self.portrait.get_or_insert_with(|| judge.portrait(node))
    }

    fn join(&mut self, judge: &impl Judge, mut other: Self) {
        self.portrait(judge);
        other.portrait(judge);
        if let (Some(mine), Some(theirs)) = (&mut self.portrait, &other.portrait) {
            mine.join(theirs);
        }
        self.nodes.append(&mut other.nodes);
        self.names.append(&mut other.names);
        self.excluded.append(&mut other.excluded);
    }
}
