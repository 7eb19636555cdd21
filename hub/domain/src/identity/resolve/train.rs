//! What a model is fitted on: rarities, random pairs and pairs that share a key, drawn from the records at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fit::{self, Patterns};
use super::hash::of_pair;
use super::model::{BIRTH_BOUNDS, Model, NAME_BOUNDS, PLACE_BOUNDS, Rarities, Rarity};
use super::record::PersonRecord;
use super::resolver::{Resolver, Settings};

/// Pairs that share a key, at most, that a model is fitted on.
const MOST_CANDIDATES: usize = 1_500_000;
/// Random pairs that chance is measured by.
const RANDOM_PAIRS: usize = 400_000;

/// Among fewer records chance cannot be told from habit: of three records that two agree says nothing about how rare that is.
const FEWEST_RECORDS: usize = 500;
/// So many people the weights that ship are taken to be about where there are too few records to say.
const POPULATION_OF_FEW: u64 = 5_000;

/// Fits a model to these records alone, or takes the weights that ship where they are fewer than 500.
#[must_use]
pub fn fit(records: &[PersonRecord]) -> Model {
    if records.len() < FEWEST_RECORDS {
        return Model::shipped().for_population(POPULATION_OF_FEW);
    }
    let rarities = rarities(records);
    let blank = Model::new("blank".to_owned(), 0, Vec::new(), rarities.clone());
    let mut resolver = Resolver::new(Arc::new(blank), Settings::default());
    resolver.fill(records);
    let random = resolver.random_patterns();
    let candidates = resolver.candidate_patterns();
    fit::fit(&random, &candidates, rarities, records.len() as u64)
}

fn rarities(records: &[PersonRecord]) -> Rarities {
    let count = |value: &dyn Fn(&PersonRecord) -> &str, bounds: &[f32]| {
        let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
        for record in records {
            let value = value(record);
            if !value.is_empty() {
                *counts.entry(super::hash::of_text(value)).or_default() += 1;
            }
        }
        Rarity::from_counts(&counts, bounds)
    };
    Rarities {
        given: count(&|record| &record.given, &NAME_BOUNDS),
        surname: count(&|record| &record.surname, &NAME_BOUNDS),
        city: count(&|record| &record.city, &PLACE_BOUNDS),
        company: count(&|record| &record.company, &PLACE_BOUNDS),
        birth: count(&|record| &record.birth_date, &BIRTH_BOUNDS),
    }
}

impl Resolver {
    /// Levels between records drawn at random.
    fn random_patterns(&self) -> Patterns {
        let mut patterns = Patterns::default();
        let mut nodes: Vec<u32> = self.nodes().collect();
        nodes.sort_unstable_by_key(|node| self.entry_of(*node).tie);
        if nodes.len() < 2 {
            return patterns;
        }
        // In the order of their hashes neighbours have nothing to do with each other.
        let rounds = RANDOM_PAIRS.div_ceil(nodes.len()).min(nodes.len() - 1);
        for round in 1..=rounds {
            for (place, node) in nodes.iter().enumerate() {
                let other = nodes[(place + round) % nodes.len()];
                patterns.add(self.levels(self.entry_of(*node), self.entry_of(other)));
            }
        }
        patterns
    }

    /// Levels between records that share a key, thinned by a hash where there are too many.
    fn candidate_patterns(&self) -> Patterns {
        let mut patterns = Patterns::default();
        let mut others = Vec::new();
        let nodes: Vec<u32> = self.nodes().collect();
        let estimate: usize = nodes
            .iter()
            .step_by(nodes.len() / 1000 + 1)
            .map(|node| {
                self.candidates(*node, &mut others);
                others.len()
            })
            .sum::<usize>()
            * (nodes.len() / 1000 + 1)
            / 2;
        let keep = if estimate > MOST_CANDIDATES { u64::MAX / estimate as u64 * MOST_CANDIDATES as u64 } else { u64::MAX };
        for node in &nodes {
            self.candidates(*node, &mut others);
            for other in others.iter().filter(|other| *other > node) {
                let (one, other) = (self.entry_of(*node), self.entry_of(*other));
                if of_pair(one.tie, other.tie) <= keep {
                    patterns.add(self.levels(one, other));
                }
            }
        }
        patterns
    }
}
