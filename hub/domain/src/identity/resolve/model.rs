//! What evidence is worth: how often each level occurs between records of one person, and between those of two.
//!
//! Fellegi and Sunter (1969), "A Theory for Record Linkage", with several ways of not being one person instead of one: people of one
//! household share a name and an address, namesakes share a name, colleagues share a switchboard. Within each class fields are taken
//! as independent; what fields do together (an equal phone beside a different given name) follows from the classes. All weights are
//! logarithms to base 2, so that evidence is in bits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::levels::{COUNTS, FIELDS, LEVELS, Levels, MISSING, NAME_RARITIES};

/// Classes of pairs; the first is "one person".
pub(super) const CLASSES: usize = 6;
/// Classes, as indices.
pub(super) mod class {
    pub(in super::super) const SAME: usize = 0;
    pub(in super::super) const HOUSEHOLD: usize = 1;
    pub(in super::super) const NAMESAKE: usize = 2;
    pub(in super::super) const SHARED_CONTACT: usize = 3;
    pub(in super::super) const CHANCE: usize = 4;
    // Class 5, strangers, is all that is left: what was measured between random records.
}
/// What a class is, for the explanation.
pub(super) const CLASS_NAMES: [&str; CLASSES] = [
    "one person",
    "two people of one household",
    "two people of one name",
    "two people who share a contact point",
    "a coincidence",
    "two strangers",
];

/// One value for each class, field and level.
pub(super) type Table = [[[f32; LEVELS]; FIELDS]; CLASSES];

/// A score: thousandths of a bit, whole so that no order of summation shows.
pub type Millibits = i32;

/// Weights, with the rarity of names and cities among those they were fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Names the model; part of every decision it takes.
    pub version: String,
    /// How many records it was fitted on.
    pub population: u64,
    /// Share of each class among pairs that share a key, and probability of each level within the class.
    pub(super) classes: Vec<ClassModel>,
    /// How rare names, cities and companies are.
    pub(super) rarities: Rarities,
    #[serde(skip)]
    bits: Option<Box<Bits>>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClassModel {
    /// Its share among pairs that share a key.
    pub(super) share: f32,
    /// For each field the probability of its levels, level 0 left out.
    pub(super) levels: Vec<Vec<f32>>,
}

/// The model as it is used: logarithms.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bits {
    pub(super) share: [f32; CLASSES],
    pub(super) level: Table,
}

/// How rare values are, as steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rarities {
    pub(super) given: Rarity,
    pub(super) surname: Rarity,
    pub(super) city: Rarity,
    pub(super) company: Rarity,
    pub(super) birth: Rarity,
}

/// Hashes of values to steps of rarity; what is not in it was never seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rarity {
    /// The step of a value that was never seen.
    pub(super) unseen: u8,
    /// Steps of what was.
    pub(super) steps: BTreeMap<u64, u8>,
}

impl Rarity {
    pub(super) fn of(&self, hash: u64) -> u8 {
        self.steps.get(&hash).copied().unwrap_or(self.unseen)
    }

    /// From how often each value occurs. `bounds` are in bits of surprise; the last step has no bound.
    pub(super) fn from_counts(counts: &BTreeMap<u64, u32>, bounds: &[f32]) -> Self {
        let total: f64 = counts.values().map(|count| f64::from(*count)).sum();
        let step = |count: f64| {
            let surprise = -(count / total.max(1.0)).log2() as f32;
            bounds.iter().filter(|bound| surprise >= **bound).count() as u8
        };
        let unseen = if counts.is_empty() { (bounds.len() / 2) as u8 } else { bounds.len() as u8 };
        let steps = counts.iter().map(|(hash, count)| (*hash, step(f64::from(*count)))).filter(|(_, step)| *step != unseen).collect();
        Self { unseen, steps }
    }
}

/// Bounds between steps of rarity of names, in bits.
pub(super) const NAME_BOUNDS: [f32; NAME_RARITIES as usize - 1] = [6.5, 8.0, 9.5, 11.0, 13.0];
/// Bounds between common and rare dates of birth, in bits; were all dates alike, each would have about 14.
pub(super) const BIRTH_BOUNDS: [f32; 2] = [9.5, 12.0];
/// Bound between common and rare cities and companies, in bits.
pub(super) const PLACE_BOUNDS: [f32; 1] = [8.0];

impl Model {
    pub(super) fn new(version: String, population: u64, classes: Vec<ClassModel>, rarities: Rarities) -> Self {
        let bits = Some(Box::new(Bits::of(&classes)));
        Self { version, population, classes, rarities, bits }
    }

    /// What belongs to a model that was read from a file.
    #[must_use]
    pub fn prepared(mut self) -> Self {
        self.bits = Some(Box::new(Bits::of(&self.classes)));
        self
    }

    /// The weights that ship with the hub, for records that are too few to fit any: fitted on made-up customers of several silos.
    #[must_use]
    pub fn shipped() -> Self {
        let model: Self = serde_json::from_str(include_str!("shipped.json")).expect("the model beside this file is valid");
        Self { version: "shipped-1".to_owned(), ..model }.prepared()
    }

    /// As if fitted on so many records: among more people more share a name or a date by chance, while households and persons stay
    /// as large as they are.
    #[must_use]
    pub fn for_population(&self, population: u64) -> Self {
        let factor = population.max(1) as f32 / self.population.max(1) as f32;
        let mut classes = self.classes.clone();
        for chance in [class::NAMESAKE, class::CHANCE, CLASSES - 1] {
            classes[chance].share *= factor;
        }
        let sum: f32 = classes.iter().map(|class| class.share).sum();
        for class in &mut classes {
            class.share /= sum;
        }
        Self::new(format!("{}-of-{population}", self.version), population, classes, self.rarities.clone())
    }

    /// Its weights alone, for records of other people: how rare a name is among these says nothing of its rarity there.
    #[must_use]
    pub fn without_rarities(&self) -> Self {
        let unseen = |bounds: usize| Rarity { unseen: (bounds / 2) as u8, steps: BTreeMap::new() };
        let rarities = Rarities {
            given: unseen(NAME_BOUNDS.len()),
            surname: unseen(NAME_BOUNDS.len()),
            city: unseen(PLACE_BOUNDS.len()),
            company: unseen(PLACE_BOUNDS.len()),
            birth: unseen(BIRTH_BOUNDS.len()),
        };
        Self::new(self.version.clone(), self.population, self.classes.clone(), rarities)
    }

    pub(super) fn bits(&self) -> &Bits {
        self.bits.as_ref().expect("a model is prepared when it is made and when it is read")
    }

    /// The bits in favour of one person: above zero that is likelier than all else together.
    pub(super) fn score(&self, levels: &Levels) -> Millibits {
        let logs = self.bits().classes(levels);
        let other = log_sum(&logs[1..]);
        ((logs[class::SAME] - other) * 1000.0).round().clamp(-1e6, 1e6) as Millibits
    }
}

impl Bits {
    fn of(classes: &[ClassModel]) -> Self {
        let mut bits = Self { share: [0.0; CLASSES], level: [[[0.0; LEVELS]; FIELDS]; CLASSES] };
        for (index, class) in classes.iter().enumerate().take(CLASSES) {
            bits.share[index] = class.share.max(f32::MIN_POSITIVE).log2();
            for (field, levels) in class.levels.iter().enumerate().take(FIELDS) {
                for (level, probability) in levels.iter().enumerate().take(LEVELS - 1) {
                    bits.level[index][field][level + 1] = probability.max(1e-12).log2();
                }
            }
        }
        bits
    }

    /// The logarithm of each class's share times its probability of these levels.
    pub(super) fn classes(&self, levels: &Levels) -> [f32; CLASSES] {
        let mut logs = self.share;
        for (index, log) in logs.iter_mut().enumerate() {
            for (field, level) in levels.iter().enumerate() {
                *log += self.level[index][field][*level as usize];
            }
        }
        logs
    }

    /// What a level of a field says for one person, against the mixture of all else: how the best of several values is chosen.
    pub(super) fn gain(&self, field: usize, level: u8) -> f32 {
        if level == MISSING {
            return 0.0;
        }
        let other: Vec<f32> = (1..CLASSES).map(|class| self.share[class] + self.level[class][field][level as usize]).collect();
        self.level[class::SAME][field][level as usize] - log_sum(&other) + log_sum(&self.share[1..])
    }
}

/// The logarithm of the sum of what these are the logarithms of.
pub(super) fn log_sum(logs: &[f32]) -> f32 {
    let most = logs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    most + logs.iter().map(|log| (log - most).exp2()).sum::<f32>().log2()
}

/// Probabilities of levels with level 0 left out, of the right length.
pub(super) fn empty_levels() -> Vec<Vec<f32>> {
    COUNTS.iter().map(|count| vec![0.0; count - 1]).collect()
}
