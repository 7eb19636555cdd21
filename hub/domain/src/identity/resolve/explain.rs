//! Why two records are taken for one person's or not: the evidence, field by field, in bits.

use serde::{Deserialize, Serialize};

use super::levels::{COUNTS, FIELD_NAMES, FIELDS, Levels, MISSING, birth, company, email, field, given, number, phone, place, surname};
use super::model::{CLASS_NAMES, CLASSES, Millibits, Model, log_sum};
use super::resolver::Resolver;

/// The evidence for two records being one person's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The whole, in thousandths of a bit; above 0 is likelier than not.
    pub score: Millibits,
    /// What it is made of, the prior first; the bits add up to the score.
    pub steps: Vec<Step>,
    /// What else they may be, likeliest first, each with its probability in thousandths.
    pub alternatives: Vec<(String, u16)>,
}

/// One step of the waterfall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The field, or `prior`.
    pub field: String,
    /// How the two agree in it.
    pub agreement: String,
    /// Bits for one person (above 0) or against it.
    pub bits: f32,
}

impl Resolver {
    /// Why two of its records are taken for one person's or not. None if one is unknown.
    #[must_use]
    pub fn explain(&self, one: &str, other: &str) -> Option<Explanation> {
        let (one, other) = (self.node_of(one)?, self.node_of(other)?);
        Some(self.model.explain(&self.levels(self.entry_of(one), self.entry_of(other))))
    }
}

impl Model {
    /// Fields are weighed one after another, each against what the fields before it left of the alternatives: so that what fields do
    /// together (an equal phone beside a different given name) shows where it does it, and the bits add up.
    pub(super) fn explain(&self, levels: &Levels) -> Explanation {
        let bits = self.bits();
        let mut logs = bits.share;
        let odds = |logs: &[f32; CLASSES]| logs[0] - log_sum(&logs[1..]);
        let mut before = odds(&logs);
        let mut steps = vec![Step { field: "prior".to_owned(), agreement: "they share a key".to_owned(), bits: before }];
        for index in (0..FIELDS).filter(|index| levels[*index] != MISSING) {
            for (class, log) in logs.iter_mut().enumerate() {
                *log += bits.level[class][index][levels[index] as usize];
            }
            let after = odds(&logs);
            let agreement = agreement(index, levels[index]);
            steps.push(Step { field: FIELD_NAMES[index].to_owned(), agreement, bits: after - before });
            before = after;
        }
        let all = log_sum(&logs);
        let mut alternatives: Vec<(String, u16)> =
            (1..CLASSES).map(|class| (CLASS_NAMES[class].to_owned(), ((logs[class] - all).exp2() * 1000.0).round() as u16)).collect();
        alternatives.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Explanation { score: self.score(levels), steps, alternatives }
    }
}

/// A level in words.
fn agreement(index: usize, level: u8) -> String {
    debug_assert!((level as usize) < COUNTS[index]);
    let words = match index {
        field::GIVEN => given_words(level),
        field::SURNAME => surname_words(level),
        field::EMAIL => email_words(level),
        field::PHONE => phone_words(level),
        field::BIRTH => birth_words(level),
        field::PLACE => return place_words(level),
        field::COMPANY => company_words(level),
        _ => number_words(level),
    };
    words.to_owned()
}

const fn given_words(level: u8) -> &'static str {
    match level {
        1 | 2 => "equal, a common name",
        3 | 4 => "equal",
        5 | 6 => "equal, a rare name",
        given::NICKNAME => "one is short for the other",
        given::INITIAL => "one is the other's initial",
        given::PART => "one is part of the other",
        given::CLOSE => "equal but for a slip",
        given::NEAR => "alike",
        given::SWAPPED => "given and family name have changed places",
        _ => "different",
    }
}

const fn surname_words(level: u8) -> &'static str {
    match level {
        1 | 2 => "equal, a common name",
        3 | 4 => "equal",
        5 | 6 => "equal, a rare name",
        surname::PART => "one is part of the other",
        surname::CLOSE => "equal but for a slip",
        surname::NEAR => "alike",
        surname::SWAPPED => "given and family name have changed places",
        _ => "different",
    }
}

const fn email_words(level: u8) -> &'static str {
    match level {
        email::EQUAL => "equal, used under one given name",
        2 => "equal, used under two given names",
        3 => "equal, used under several given names",
        email::ROLE => "equal, a role's mailbox",
        email::SAME_LOCAL => "the same before the @",
        email::CLOSE => "equal but for a slip",
        email::LOCAL_NEAR => "alike before the @",
        _ => "different",
    }
}

const fn phone_words(level: u8) -> &'static str {
    match level {
        phone::EQUAL => "equal, used under one given name",
        2 => "equal, used under two given names",
        3 => "equal, used under three or four given names",
        4 => "equal, used under five to eight given names",
        5 => "equal, used by many",
        phone::CLOSE => "equal but for a digit",
        _ => "different",
    }
}

const fn birth_words(level: u8) -> &'static str {
    match level {
        birth::EQUAL => "equal, a date that many have",
        2 | 3 => "equal",
        birth::SWAPPED => "day and month have changed places",
        birth::ONE_DIGIT => "equal but for a digit",
        birth::TWO_PARTS => "two of day, month and year are equal",
        birth::ONE_PART => "one of day, month and year is equal",
        _ => "different",
    }
}

fn place_words(level: u8) -> String {
    let postal = match level / 5 {
        place::ADDRESS => "the same address",
        place::POSTCODE => "the same postcode",
        place::POSTCODE_CLOSE => "a postcode with a slip",
        place::POSTAL_DIFFERENT => "another address",
        _ => "",
    };
    let city = match level % 5 {
        place::CITY_MISSING => "",
        place::CITY_NEAR => "a city with a slip",
        place::CITY_DIFFERENT => "another city",
        _ => "the same city",
    };
    [postal, city].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
}

const fn number_words(level: u8) -> &'static str {
    match level {
        number::EQUAL => "equal",
        number::CLOSE => "equal but for a slip",
        _ => "different",
    }
}

const fn company_words(level: u8) -> &'static str {
    match level {
        company::COMMON => "equal, one that many belong to",
        company::RARE => "equal",
        company::PART => "alike",
        _ => "different",
    }
}
