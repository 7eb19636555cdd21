//! Compares two descriptions of persons, field by field.

use super::entry::{Birth, Entry, Name, Place};
use super::levels::{Levels, MISSING, birth, company, email, field, given, number, phone, place, surname};
use super::nicknames::are_kin;
use super::text::{jaro_winkler, within_edits};
use super::texts::{NONE, Sym, Texts};

/// Names with at least this likeness are one name with a slip.
const CLOSE: f32 = 0.92;
/// Names with at least this likeness may be.
const NEAR: f32 = 0.82;
/// Local parts of mail addresses with at least this likeness are made of the same name.
const LOCAL_NEAR: f32 = 0.88;
/// Streets with at least this likeness are one street.
const STREET: f32 = 0.9;

/// How many people use an identifier, as far as the given names that come with it tell.
pub(super) trait Crowds {
    /// Different given names that came with this phone number.
    fn at_phone(&self, phone: Sym) -> usize;
    /// Different given names that came with this mail address.
    fn at_email(&self, email: Sym) -> usize;
}

/// The levels at which two records agree.
pub(super) fn compare(texts: &Texts, crowds: &impl Crowds, one: &Entry, other: &Entry) -> Levels {
    let mut levels = [MISSING; super::levels::FIELDS];
    (levels[field::GIVEN], levels[field::SURNAME]) = names(texts, one.name(), other.name());
    levels[field::EMAIL] = emails(texts, crowds, (one.email, one.local, one.role), (other.email, other.local, other.role));
    levels[field::PHONE] = phones(texts, crowds, one.phone, other.phone);
    levels[field::BIRTH] = births(one.birth, other.birth);
    levels[field::PLACE] = places(texts, &one.place(), &other.place());
    levels[field::HANDLE] = numbers(texts, one.handle, other.handle, 1);
    levels[field::MEMBERSHIP] = numbers(texts, one.membership, other.membership, 2);
    levels[field::COMPANY] = companies(texts, one.company, other.company);
    levels
}

/// Given and family names together, since they may have changed places.
pub(super) fn names(texts: &Texts, one: Name, other: Name) -> (u8, u8) {
    let given = given_names(texts, one.given, other.given);
    let surname = surnames(texts, one.surname, other.surname);
    // A caller's name that was cut short has lost its given name, and a second family name stands in its place.
    if given == given::DIFFERENT && surname == surname::PART {
        let stands_in = |given: Sym, surname: Sym| texts.text(surname).split(' ').skip(1).any(|word| begins(word, texts.text(given)));
        if stands_in(one.given, other.surname) || stands_in(other.given, one.surname) {
            return (MISSING, surname);
        }
    }
    let doubtful = given > given::CLOSE && surname != MISSING && surname > surname::CLOSE;
    if doubtful && like(texts, one.given, other.surname) && like(texts, one.surname, other.given) {
        return (given::SWAPPED, surname::SWAPPED);
    }
    (given, surname)
}

fn like(texts: &Texts, one: Sym, other: Sym) -> bool {
    if one == NONE || other == NONE {
        return false;
    }
    let (a, b) = (texts.get(one), texts.get(other));
    one == other || are_kin(a.kin, b.kin) || first_word(&a.text) == first_word(&b.text) || jaro_winkler(&a.text, &b.text) >= CLOSE
}

fn begins(word: &str, cut: &str) -> bool {
    cut.len() >= 2 && word.starts_with(cut)
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

fn given_names(texts: &Texts, one: Sym, other: Sym) -> u8 {
    if one == NONE || other == NONE {
        return MISSING;
    }
    let (a, b) = (texts.get(one), texts.get(other));
    let initial = a.text.len() == 1 || b.text.len() == 1;
    let same_initial = a.text.as_bytes().first() == b.text.as_bytes().first();
    if initial {
        return if same_initial { given::INITIAL } else { given::DIFFERENT };
    }
    if one == other {
        return given::EQUAL + a.given_rarity;
    }
    if are_kin(a.kin, b.kin) {
        return given::NICKNAME;
    }
    if is_part(&a.text, &b.text) {
        return given::PART;
    }
    match likeness(&a.text, &b.text) {
        Likeness::Close => given::CLOSE,
        Likeness::Near => given::NEAR,
        Likeness::None => given::DIFFERENT,
    }
}

fn surnames(texts: &Texts, one: Sym, other: Sym) -> u8 {
    if one == NONE || other == NONE {
        return MISSING;
    }
    let (a, b) = (texts.get(one), texts.get(other));
    if one == other {
        return surname::EQUAL + a.surname_rarity;
    }
    if is_part(&a.text, &b.text) {
        return surname::PART;
    }
    match likeness(&a.text, &b.text) {
        Likeness::Close => surname::CLOSE,
        Likeness::Near => surname::NEAR,
        Likeness::None => surname::DIFFERENT,
    }
}

enum Likeness {
    Close,
    Near,
    None,
}

fn likeness(one: &str, other: &str) -> Likeness {
    let short = one.len().min(other.len()) < 4;
    if !short && within_edits(one, other, 1) {
        return Likeness::Close;
    }
    match jaro_winkler(one, other) {
        like if like >= CLOSE => Likeness::Close,
        like if like >= NEAR => Likeness::Near,
        _ => Likeness::None,
    }
}

/// One name is cut short, or one of several.
fn is_part(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let cut = short.len() >= 3 && long.starts_with(short);
    let shared_word = || short.split(' ').any(|word| word.len() >= 2 && long.split(' ').any(|other| other == word));
    cut || ((one.contains(' ') || other.contains(' ')) && shared_word())
}

pub(super) fn emails(texts: &Texts, crowds: &impl Crowds, one: (Sym, Sym, bool), other: (Sym, Sym, bool)) -> u8 {
    if one.0 == NONE || other.0 == NONE {
        return MISSING;
    }
    if one.0 == other.0 {
        return if one.2 { email::ROLE } else { email::EQUAL + crowd_of_three(crowds.at_email(one.0)) };
    }
    if one.1 == other.1 && !one.2 {
        return email::SAME_LOCAL;
    }
    let (a, b) = (texts.text(one.0), texts.text(other.0));
    if within_edits(a, b, 2) {
        return email::CLOSE;
    }
    if jaro_winkler(texts.text(one.1), texts.text(other.1)) >= LOCAL_NEAR { email::LOCAL_NEAR } else { email::DIFFERENT }
}

const fn crowd_of_three(people: usize) -> u8 {
    match people {
        0 | 1 => 0,
        2 => 1,
        _ => 2,
    }
}

/// The step of a phone number's crowd.
pub(super) const fn phone_crowd(people: usize) -> u8 {
    match people {
        0 | 1 => 0,
        2 => 1,
        3 | 4 => 2,
        5..=8 => 3,
        _ => 4,
    }
}

/// The step of a mail address's crowd.
pub(super) const fn email_crowd(people: usize) -> u8 {
    crowd_of_three(people)
}

pub(super) fn phones(texts: &Texts, crowds: &impl Crowds, one: Sym, other: Sym) -> u8 {
    if one == NONE || other == NONE {
        return MISSING;
    }
    if one == other {
        return phone::EQUAL + phone_crowd(crowds.at_phone(one));
    }
    if within_edits(texts.text(one), texts.text(other), 1) { phone::CLOSE } else { phone::DIFFERENT }
}

pub(super) fn births(one: Birth, other: Birth) -> u8 {
    if one.is_none() || other.is_none() {
        return MISSING;
    }
    if one == other {
        return birth::EQUAL + one.rarity;
    }
    if one.year == other.year && one.month == other.day && one.day == other.month {
        return birth::SWAPPED;
    }
    let parts = [one.year == other.year, one.month == other.month, one.day == other.day];
    match parts.iter().filter(|equal| **equal).count() {
        2 if one_digit(one, other) => birth::ONE_DIGIT,
        2 => birth::TWO_PARTS,
        1 => birth::ONE_PART,
        _ => birth::DIFFERENT,
    }
}

fn one_digit(one: Birth, other: Birth) -> bool {
    let digits = |birth: Birth| {
        let (year, month, day) = (birth.year, u16::from(birth.month), u16::from(birth.day));
        [year / 1000, year / 100 % 10, year / 10 % 10, year % 10, month / 10, month % 10, day / 10, day % 10]
    };
    digits(one).iter().zip(digits(other)).filter(|(a, b)| **a != *b).count() == 1
}

pub(super) fn places(texts: &Texts, one: &Place, other: &Place) -> u8 {
    place::of(postal(texts, one, other), cities(texts, one.city, other.city))
}

fn postal(texts: &Texts, one: &Place, other: &Place) -> u8 {
    let streets = one.street != NONE && other.street != NONE;
    if streets && one.house == other.house && same_street(texts, one.street, other.street) {
        return place::ADDRESS;
    }
    if one.postcode == NONE || other.postcode == NONE {
        return if streets { place::POSTAL_DIFFERENT } else { place::POSTAL_MISSING };
    }
    if one.postcode == other.postcode {
        return place::POSTCODE;
    }
    if within_edits(texts.text(one.postcode), texts.text(other.postcode), 1) { place::POSTCODE_CLOSE } else { place::POSTAL_DIFFERENT }
}

fn same_street(texts: &Texts, one: Sym, other: Sym) -> bool {
    one == other || jaro_winkler(texts.text(one), texts.text(other)) >= STREET
}

fn cities(texts: &Texts, one: Sym, other: Sym) -> u8 {
    if one == NONE || other == NONE {
        return place::CITY_MISSING;
    }
    let (a, b) = (texts.get(one), texts.get(other));
    if one == other {
        return place::CITY_COMMON + a.city_rarity;
    }
    match likeness(&a.text, &b.text) {
        Likeness::Close => place::CITY_NEAR,
        _ => place::CITY_DIFFERENT,
    }
}

pub(super) fn numbers(texts: &Texts, one: Sym, other: Sym, slips: usize) -> u8 {
    if one == NONE || other == NONE {
        return MISSING;
    }
    if one == other {
        return number::EQUAL;
    }
    if within_edits(texts.text(one), texts.text(other), slips) { number::CLOSE } else { number::DIFFERENT }
}

pub(super) fn companies(texts: &Texts, one: Sym, other: Sym) -> u8 {
    if one == NONE || other == NONE {
        return MISSING;
    }
    let (a, b) = (texts.get(one), texts.get(other));
    if one == other {
        return company::COMMON + a.company_rarity;
    }
    if is_part(&a.text, &b.text) || jaro_winkler(&a.text, &b.text) >= CLOSE { company::PART } else { company::DIFFERENT }
}
