//! Fits a model to records nobody has labelled: expectation maximisation over pairs that share a key.
//!
//! Dempster, Laird, Rubin (1977); for record linkage Winkler (1988). Pairs with equal levels are counted once, so that an iteration
//! costs as much as there are different patterns.

use std::collections::{BTreeMap, HashMap};

use super::levels::{COUNTS, FIELDS, LEVELS, Levels, MISSING};
use super::model::{CLASSES, ClassModel, Model, Rarities, empty_levels};
use super::prior::{self, Beliefs};

/// Iterations: what a further one changes shows in no decision.
const ITERATIONS: usize = 40;

/// How much the believed shares of classes count against those that are found: none may vanish.
const SHARE_OF_BELIEF: f64 = 0.05;

/// Patterns of levels with the number of pairs that have them.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    counts: HashMap<Levels, u32>,
}

impl Patterns {
    pub(super) fn add(&mut self, levels: Levels) {
        *self.counts.entry(levels).or_default() += 1;
    }

    /// In an order that does not depend on how they came.
    fn sorted(&self) -> Vec<(Levels, f64)> {
        let sorted: BTreeMap<&Levels, &u32> = self.counts.iter().collect();
        sorted.into_iter().map(|(levels, count)| (*levels, f64::from(*count))).collect()
    }
}

/// Fits a model. `random` are levels between records drawn at random, `candidates` those between records that share a key.
pub(super) fn fit(random: &Patterns, candidates: &Patterns, rarities: Rarities, population: u64) -> Model {
    let mut beliefs = prior::beliefs(&frequencies(random));
    for class in &mut beliefs {
        for (index, belief) in class.iter_mut().enumerate() {
            belief.normalise(index);
        }
    }
    let patterns = candidates.sorted();
    let mut current = Estimate::from_beliefs(&beliefs);
    for _ in 0..ITERATIONS {
        current = current.step(&patterns, &beliefs);
    }
    Model::new(format!("fitted-{population}"), population, current.classes(), rarities)
}

fn frequencies(random: &Patterns) -> [[f64; LEVELS]; FIELDS] {
    let mut counts = [[0.0; LEVELS]; FIELDS];
    for (levels, count) in random.sorted() {
        for (field, level) in levels.iter().enumerate().filter(|(_, level)| **level != MISSING) {
            counts[field][*level as usize] += count;
        }
    }
    for (field, levels) in counts.iter_mut().enumerate() {
        let sum: f64 = levels.iter().sum::<f64>() + 1.0;
        for level in &mut levels[1..COUNTS[field]] {
            *level = (*level + 1.0 / (COUNTS[field] - 1) as f64) / sum;
        }
    }
    counts
}

/// Shares of classes and probabilities of levels.
struct Estimate {
    shares: [f64; CLASSES],
    levels: Vec<[[f64; LEVELS]; FIELDS]>,
}

impl Estimate {
    fn from_beliefs(beliefs: &Beliefs) -> Self {
        let levels = beliefs
            .iter()
            .map(|class| {
                let mut all = [[0.0; LEVELS]; FIELDS];
                for (field, belief) in class.iter().enumerate() {
                    all[field] = belief.levels;
                }
                all
            })
            .collect();
        Self { shares: prior::SHARES, levels }
    }

    fn step(&self, patterns: &[(Levels, f64)], beliefs: &Beliefs) -> Self {
        let mut shares = [0.0; CLASSES];
        let mut counts = vec![[[0.0; LEVELS]; FIELDS]; CLASSES];
        for (levels, count) in patterns {
            let posterior = self.posterior(levels);
            for class in 0..CLASSES {
                let weight = posterior[class] * count;
                shares[class] += weight;
                for (field, level) in levels.iter().enumerate() {
                    counts[class][field][*level as usize] += weight;
                }
            }
        }
        Self::maximised(shares, &counts, beliefs)
    }

    fn maximised(shares: [f64; CLASSES], counts: &[[[f64; LEVELS]; FIELDS]], beliefs: &Beliefs) -> Self {
        let mut next = Self::from_beliefs(beliefs);
        let seen: f64 = shares.iter().sum();
        let believed = 10.0 + SHARE_OF_BELIEF * seen;
        for class in 0..CLASSES {
            next.shares[class] = (shares[class] + believed * prior::SHARES[class]) / (seen + believed);
            for field in 0..FIELDS {
                let belief = &beliefs[class][field];
                let seen: f64 = counts[class][field][1..].iter().sum();
                for (level, count) in counts[class][field].iter().enumerate().take(COUNTS[field]).skip(1) {
                    next.levels[class][field][level] = (count + belief.strength * belief.levels[level]) / (seen + belief.strength);
                }
            }
        }
        next
    }

    fn posterior(&self, levels: &Levels) -> [f64; CLASSES] {
        let mut joint = self.shares;
        for (class, probability) in joint.iter_mut().enumerate() {
            for (field, level) in levels.iter().enumerate().filter(|(_, level)| **level != MISSING) {
                *probability *= self.levels[class][field][*level as usize];
            }
        }
        let sum: f64 = joint.iter().sum();
        joint.map(|probability| if sum > 0.0 { probability / sum } else { 1.0 / CLASSES as f64 })
    }

    fn classes(&self) -> Vec<ClassModel> {
        let class = |class: usize| {
            let mut levels = empty_levels();
            for (field, known) in levels.iter_mut().enumerate() {
                for (level, probability) in known.iter_mut().enumerate() {
                    *probability = self.levels[class][field][level + 1] as f32;
                }
            }
            ClassModel { share: self.shares[class] as f32, levels }
        };
        (0..CLASSES).map(class).collect()
    }
}
