//! What is believed of each class before any data: where fitting begins, and what it falls back to where data say little.

use super::levels::{COUNTS, FIELDS, LEVELS, birth, company, email, field, given, number, phone, place, surname};
use super::model::{CLASSES, class};

/// Probabilities of a class's levels, and how many pairs of data it takes to outweigh them.
#[derive(Debug, Clone)]
pub(super) struct Belief {
    pub(super) levels: [f64; LEVELS],
    pub(super) strength: f64,
}

/// Beliefs of all classes and fields.
pub(super) type Beliefs = Vec<Vec<Belief>>;

/// Shares of the classes among pairs that share a key.
pub(super) const SHARES: [f64; CLASSES] = [0.35, 0.1, 0.25, 0.05, 0.2, 0.05];

/// Learned from data as soon as there are some.
const LOOSE: f64 = 40.0;
/// Moved only by much data.
const FIRM: f64 = 2_000.0;
/// As good as known: chance between strangers.
const FIXED: f64 = 1e9;

/// Beliefs, given how often each level of each field occurs between random records.
pub(super) fn beliefs(random: &[[f64; LEVELS]; FIELDS]) -> Beliefs {
    let strangers = strangers(random);
    let mut all: Beliefs = (0..CLASSES).map(|_| strangers.clone()).collect();
    for belief in all.last_mut().into_iter().flatten() {
        belief.strength = FIXED;
    }
    all[class::SAME] = same(&strangers);
    household(&mut all[class::HOUSEHOLD], &strangers);
    namesake(&mut all[class::NAMESAKE], &strangers);
    shared_contact(&mut all[class::SHARED_CONTACT]);
    chance(&mut all[class::CHANCE]);
    all
}

/// Two people who have nothing to do with each other. Of near-unique identifiers random pairs tell nothing: the few that agree are
/// one person's.
fn strangers(random: &[[f64; LEVELS]; FIELDS]) -> Vec<Belief> {
    let mut all: Vec<Belief> = random.iter().map(|levels| Belief { levels: *levels, strength: FIRM }).collect();
    rare(&mut all[field::EMAIL], &[(1, 1e-7), (2, 1e-7), (3, 1e-6), (email::ROLE, 1e-6), (email::SAME_LOCAL, 1e-4), (email::CLOSE, 1e-6)]);
    rare(&mut all[field::PHONE], &[(1, 1e-7), (2, 1e-7), (3, 1e-7), (4, 1e-6), (5, 1e-6), (phone::CLOSE, 1e-6)]);
    rare(&mut all[field::HANDLE], &[(number::EQUAL, 1e-7), (number::CLOSE, 1e-5)]);
    rare(&mut all[field::MEMBERSHIP], &[(number::EQUAL, 1e-7), (number::CLOSE, 1e-6)]);
    for (index, belief) in all.iter_mut().enumerate() {
        belief.normalise(index);
    }
    all
}

fn rare(belief: &mut Belief, levels: &[(u8, f64)]) {
    for (level, probability) in levels {
        belief.levels[*level as usize] = *probability;
    }
    belief.strength = FIXED;
}

fn same(strangers: &[Belief]) -> Vec<Belief> {
    let given_levels = with_equals(
        &strangers[field::GIVEN],
        given::NICKNAME,
        0.74,
        &[
            (given::NICKNAME, 0.1),
            (given::INITIAL, 0.03),
            (given::PART, 0.03),
            (given::CLOSE, 0.05),
            (given::NEAR, 0.01),
            (given::SWAPPED, 0.01),
            (given::DIFFERENT, 0.03),
        ],
    );
    let surname_levels = with_equals(
        &strangers[field::SURNAME],
        surname::PART,
        0.8,
        &[(surname::PART, 0.05), (surname::CLOSE, 0.06), (surname::NEAR, 0.02), (surname::SWAPPED, 0.01), (surname::DIFFERENT, 0.06)],
    );
    vec![
        Belief::loose(given_levels),
        Belief::loose(surname_levels),
        Belief::of(&[
            (1, 0.55),
            (2, 0.05),
            (3, 0.02),
            (email::ROLE, 0.02),
            (email::SAME_LOCAL, 0.04),
            (email::CLOSE, 0.03),
            (email::LOCAL_NEAR, 0.12),
            (email::DIFFERENT, 0.17),
        ]),
        Belief::of(&[(1, 0.5), (2, 0.1), (3, 0.03), (4, 0.01), (5, 0.005), (phone::CLOSE, 0.02), (phone::DIFFERENT, 0.335)]),
        Belief::loose(with_equals(
            &strangers[field::BIRTH],
            birth::SWAPPED,
            0.88,
            &[
                (birth::SWAPPED, 0.03),
                (birth::ONE_DIGIT, 0.04),
                (birth::TWO_PARTS, 0.03),
                (birth::ONE_PART, 0.01),
                (birth::DIFFERENT, 0.01),
            ],
        )),
        Belief::loose(places(&[0.2, 0.5, 0.1, 0.03, 0.17], &[0.1, 0.3, 0.3, 0.05, 0.25])),
        Belief::of(&[(number::EQUAL, 0.85), (number::CLOSE, 0.05), (number::DIFFERENT, 0.1)]),
        Belief::of(&[(number::EQUAL, 0.95), (number::CLOSE, 0.03), (number::DIFFERENT, 0.02)]),
        Belief::of(&[(company::COMMON, 0.4), (company::RARE, 0.4), (company::PART, 0.1), (company::DIFFERENT, 0.1)]),
    ]
}

/// People who live together: often one family name and one address, but given names and dates of birth like strangers.
fn household(beliefs: &mut [Belief], strangers: &[Belief]) {
    let surnames = with_equals(
        &strangers[field::SURNAME],
        surname::PART,
        0.75,
        &[(surname::PART, 0.03), (surname::CLOSE, 0.04), (surname::NEAR, 0.01), (surname::DIFFERENT, 0.17)],
    );
    beliefs[field::SURNAME] = Belief::loose(surnames);
    beliefs[field::GIVEN].strength = FIXED;
    beliefs[field::BIRTH].strength = FIXED;
    beliefs[field::EMAIL] = Belief::of(&[
        (1, 0.002),
        (2, 0.04),
        (3, 0.03),
        (email::ROLE, 0.001),
        (email::SAME_LOCAL, 0.002),
        (email::LOCAL_NEAR, 0.1),
        (email::CLOSE, 0.002),
        (email::DIFFERENT, 0.8),
    ]);
    beliefs[field::PHONE] =
        Belief::of(&[(1, 0.002), (2, 0.1), (3, 0.1), (4, 0.02), (5, 0.002), (phone::CLOSE, 0.0005), (phone::DIFFERENT, 0.77)]);
    beliefs[field::PLACE] = Belief::loose(places(&[0.1, 0.55, 0.1, 0.02, 0.23], &[0.05, 0.35, 0.35, 0.05, 0.2]));
}

/// People who happen to have one name.
fn namesake(beliefs: &mut [Belief], strangers: &[Belief]) {
    let given_levels = with_equals(
        &strangers[field::GIVEN],
        given::NICKNAME,
        0.8,
        &[
            (given::NICKNAME, 0.15),
            (given::PART, 0.02),
            (given::CLOSE, 0.01),
            (given::NEAR, 0.01),
            (given::SWAPPED, 0.005),
            (given::DIFFERENT, 0.005),
        ],
    );
    let surnames = with_equals(
        &strangers[field::SURNAME],
        surname::PART,
        0.93,
        &[(surname::PART, 0.03), (surname::CLOSE, 0.01), (surname::NEAR, 0.005), (surname::SWAPPED, 0.005), (surname::DIFFERENT, 0.02)],
    );
    beliefs[field::GIVEN] = Belief { levels: given_levels, strength: FIRM };
    beliefs[field::SURNAME] = Belief { levels: surnames, strength: FIRM };
    // Addresses are made of names.
    beliefs[field::EMAIL] = Belief::of(&[
        (1, 1e-5),
        (2, 1e-5),
        (3, 1e-5),
        (email::ROLE, 1e-5),
        (email::SAME_LOCAL, 0.02),
        (email::CLOSE, 0.005),
        (email::LOCAL_NEAR, 0.4),
        (email::DIFFERENT, 0.57),
    ]);
    beliefs[field::EMAIL].strength = FIRM;
    beliefs[field::BIRTH].strength = FIXED;
}

/// People behind one switchboard or role mailbox, or who had one number after another.
fn shared_contact(beliefs: &mut [Belief]) {
    beliefs[field::PHONE] =
        Belief::of(&[(1, 0.01), (2, 0.2), (3, 0.1), (4, 0.1), (5, 0.3), (phone::CLOSE, 0.001), (phone::DIFFERENT, 0.29)]);
    beliefs[field::EMAIL] = Belief::of(&[
        (1, 0.01),
        (2, 0.05),
        (3, 0.05),
        (email::ROLE, 0.3),
        (email::SAME_LOCAL, 0.01),
        (email::CLOSE, 0.001),
        (email::LOCAL_NEAR, 0.08),
        (email::DIFFERENT, 0.5),
    ]);
    beliefs[field::COMPANY] =
        Belief::of(&[(company::COMMON, 0.35), (company::RARE, 0.35), (company::PART, 0.02), (company::DIFFERENT, 0.28)]);
    beliefs[field::GIVEN].strength = FIXED;
    beliefs[field::SURNAME].strength = FIXED;
    beliefs[field::BIRTH].strength = FIXED;
}

/// People who share a key for no reason: half a name with a date or a postcode.
fn chance(beliefs: &mut [Belief]) {
    for index in [field::GIVEN, field::SURNAME, field::BIRTH, field::PLACE] {
        beliefs[index].strength = LOOSE;
    }
}

/// Equal names are spread over the steps of rarity as people are: by how often a name occurs, not by its square as among chance pairs.
fn with_equals(strangers: &Belief, first_other: u8, equal: f64, others: &[(u8, f64)]) -> [f64; LEVELS] {
    let mut levels = [0.0; LEVELS];
    let steps = 1..first_other as usize;
    let roots: f64 = steps.clone().map(|level| strangers.levels[level].max(1e-9).sqrt()).sum();
    for level in steps {
        levels[level] = equal * strangers.levels[level].max(1e-9).sqrt() / roots;
    }
    for (level, probability) in others {
        levels[*level as usize] = *probability;
    }
    levels
}

fn places(postal: &[f64; 5], city: &[f64; 5]) -> [f64; LEVELS] {
    let mut levels = [0.0; LEVELS];
    for (i, p) in postal.iter().enumerate() {
        for (j, c) in city.iter().enumerate() {
            levels[place::of(i as u8, j as u8) as usize] = p * c;
        }
    }
    levels[0] = 0.0;
    levels
}

impl Belief {
    fn of(levels: &[(u8, f64)]) -> Self {
        let mut all = [0.0; LEVELS];
        for (level, probability) in levels {
            all[*level as usize] = *probability;
        }
        Self::loose(all)
    }

    const fn loose(levels: [f64; LEVELS]) -> Self {
        Self { levels, strength: LOOSE }
    }

    /// Level 0 is no level; every other one is possible.
    pub(super) fn normalise(&mut self, index: usize) {
        self.levels[0] = 0.0;
        let levels = &mut self.levels[1..COUNTS[index]];
        for probability in levels.iter_mut() {
            *probability = probability.max(1e-8);
        }
        let sum: f64 = levels.iter().sum();
        for probability in levels {
            *probability /= sum;
        }
    }
}
