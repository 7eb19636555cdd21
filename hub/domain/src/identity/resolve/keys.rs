//! Blocking keys: two records are compared only if they share one, so each is a way in which one person's records are found.
//!
//! A key that more records share than its cap finds nothing, and how many share it depends on which records there are, never on
//! the order in which they came.

use super::entry::Entry;
use super::hash::{of_pair, of_parts};
use super::texts::{NONE, Sym, Texts};

/// A key, with the most records that may share it and still be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) hash: u64,
    pub(super) cap: usize,
}

/// Numbers of the kinds of keys that are looked up by themselves.
pub(super) const EMAIL: u64 = 1;
/// See [`EMAIL`].
pub(super) const PHONE: u64 = 2;

/// What one person alone should have: many records of it are likely one person's.
const IDENTIFIER_CAP: usize = 100;
/// What several persons have.
const ATTRIBUTE_CAP: usize = 50;

/// A date of birth alone finds something among few.
const DATE_CAP: usize = 12;

/// The keys of a record, each once.
pub(super) fn keys_of(texts: &Texts, entry: &Entry, into: &mut Vec<Key>) {
    into.clear();
    let given = texts.get(entry.given).root;
    let surname_word = first_word(texts, entry.surname);
    let hash = |sym: Sym| texts.hash(sym);
    let (has_given, has_surname) = (entry.given != NONE && texts.text(entry.given).len() > 1, entry.surname != NONE);
    let (birth, postcode, city) = (entry.birth.hash(), hash(entry.postcode), hash(entry.city));
    let (has_birth, has_postcode, has_city) = (!entry.birth.is_none(), entry.postcode != NONE, entry.city != NONE);
    let mut add = |holds: bool, number: u64, cap: usize, parts: [u64; 3]| {
        if holds {
            into.push(Key { hash: of_parts(&[number, parts[0], parts[1], parts[2]]), cap });
        }
    };
    add(entry.email != NONE, EMAIL, IDENTIFIER_CAP, [hash(entry.email), 0, 0]);
    add(entry.phone != NONE, PHONE, IDENTIFIER_CAP, [hash(entry.phone), 0, 0]);
    add(entry.handle != NONE, 3, IDENTIFIER_CAP, [hash(entry.handle), 0, 0]);
    add(entry.membership != NONE, 4, IDENTIFIER_CAP, [hash(entry.membership), 0, 0]);
    add(entry.local != NONE && !entry.role && texts.text(entry.local).len() > 4, 5, ATTRIBUTE_CAP, [hash(entry.local), 0, 0]);
    // Whichever came first: names change places. Both are taken back to the full name they may be short for.
    let name = of_pair(given, root_of_word(texts, entry.surname, surname_word));
    let has_name = has_given && has_surname;
    add(has_name, 6, ATTRIBUTE_CAP, [name, 0, 0]);
    add(has_name && has_city, 7, ATTRIBUTE_CAP, [name, city, 0]);
    add(has_name && has_postcode, 8, ATTRIBUTE_CAP, [name, postcode, 0]);
    add(has_birth && has_surname, 9, ATTRIBUTE_CAP, [surname_word, birth, 0]);
    add(has_birth && has_given, 10, ATTRIBUTE_CAP, [given, birth, 0]);
    add(has_birth && has_postcode, 11, ATTRIBUTE_CAP, [birth, postcode, 0]);
    add(has_given && has_postcode, 12, ATTRIBUTE_CAP, [given, postcode, 0]);
    add(has_surname && has_postcode, 13, ATTRIBUTE_CAP, [surname_word, postcode, 0]);
    add(entry.street != NONE && entry.house != NONE && has_given, 14, ATTRIBUTE_CAP, [hash(entry.house), hash(entry.street), given]);
    add(has_name && entry.company != NONE, 15, ATTRIBUTE_CAP, [name, hash(entry.company), 1]);
    let initial = texts.text(entry.given).bytes().next().map_or(0, u64::from);
    let sound = sound_of(first_word_text(texts, entry.surname));
    add(entry.given != NONE && has_surname && has_city, 16, ATTRIBUTE_CAP, [sound, initial, city]);
    add(entry.street != NONE && entry.house != NONE, 18, ATTRIBUTE_CAP, [hash(entry.house), hash(entry.street), 0]);
    add(has_birth, 19, DATE_CAP, [birth, 0, 0]);
    // By decree: no number is too many.
    add(entry.group != NONE, 17, usize::MAX, [hash(entry.group), 0, 0]);
    into.sort_unstable_by_key(|key| key.hash);
    into.dedup_by_key(|key| key.hash);
}

fn first_word_text(texts: &Texts, sym: Sym) -> &str {
    let text = texts.text(sym);
    text.split(' ').next().unwrap_or(text)
}

fn first_word(texts: &Texts, sym: Sym) -> u64 {
    super::hash::of_text(first_word_text(texts, sym))
}

fn root_of_word(texts: &Texts, sym: Sym, word: u64) -> u64 {
    let text = texts.get(sym);
    if text.kin.is_empty() { word } else { text.root }
}

/// Soundex (Russell 1918): the first letter, then the classes of the next three consonants.
fn sound_of(word: &str) -> u64 {
    let class = |letter: u8| match letter {
        b'b' | b'f' | b'p' | b'v' => 1,
        b'c' | b'g' | b'j' | b'k' | b'q' | b's' | b'x' | b'z' => 2,
        b'd' | b't' => 3,
        b'l' => 4,
        b'm' | b'n' => 5,
        b'r' => 6,
        b'h' | b'w' => 7,
        _ => 0_u64,
    };
    let bytes = word.as_bytes();
    let Some(first) = bytes.first() else { return 0 };
    let (mut code, mut last, mut count) = (u64::from(*first), class(*first), 0);
    for letter in &bytes[1..] {
        let now = class(*letter);
        if now != 0 && now != 7 && now != last && count < 3 {
            code = code * 8 + now;
            count += 1;
        }
        // h and w do not part two letters of one class, vowels do.
        if now != 7 {
            last = now;
        }
    }
    code
}
