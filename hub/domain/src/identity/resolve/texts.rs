//! Texts by number: each text is kept once, with what comparing it needs again and again.

use std::collections::HashMap;
use std::sync::Arc;

use super::hash;
use super::model::Rarities;
use super::nicknames;

/// A text's number; [`NONE`] for no text. Numbers depend on the order of arrival, so that nothing but equality may hang on them.
pub(super) type Sym = u32;
/// No text.
pub(super) const NONE: Sym = 0;

/// A text and what is known of it.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    pub(super) hash: u64,
    /// How rare it is as a given name, a family name, a city, a company.
    pub(super) given_rarity: u8,
    pub(super) surname_rarity: u8,
    pub(super) city_rarity: u8,
    pub(super) company_rarity: u8,
    /// Full given names that its first word is a form of.
    pub(super) kin: &'static [u16],
    /// What stands for all forms of this given name where one must be chosen.
    pub(super) root: u64,
}

/// All texts.
#[derive(Debug)]
pub(super) struct Texts {
    texts: Vec<Text>,
    numbers: HashMap<Arc<str>, Sym>,
}

impl Texts {
    pub(super) fn new(rarities: &Rarities) -> Self {
        let mut texts = Self { texts: Vec::new(), numbers: HashMap::new() };
        texts.number_of("", rarities);
        texts
    }

    pub(super) fn number_of(&mut self, text: &str, rarities: &Rarities) -> Sym {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = Sym::try_from(self.texts.len()).expect("four billion texts do not fit into memory");
        let text: Arc<str> = Arc::from(text);
        let first_word = text.split(' ').next().unwrap_or_default();
        let kin = nicknames::kin_of(first_word);
        let hash = hash::of_text(&text);
        self.texts.push(Text {
            hash,
            given_rarity: rarities.given.of(hash),
            surname_rarity: rarities.surname.of(hash),
            city_rarity: rarities.city.of(hash),
            company_rarity: rarities.company.of(hash),
            kin,
            root: kin.first().map_or_else(|| hash::of_text(first_word), |number| hash::of_parts(&[u64::from(*number)])),
            text: Arc::clone(&text),
        });
        self.numbers.insert(text, number);
        number
    }

    pub(super) fn get(&self, number: Sym) -> &Text {
        &self.texts[number as usize]
    }

    pub(super) fn text(&self, number: Sym) -> &str {
        &self.texts[number as usize].text
    }

    pub(super) fn hash(&self, number: Sym) -> u64 {
        self.texts[number as usize].hash
    }
}
