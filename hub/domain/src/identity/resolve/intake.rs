//! From what a silo writes of a person to the record that is compared.
//!
//! Names lose their titles and are folded to ASCII letters, the house number is told from the street, dates are read in the order of
//! the country, phone numbers and mail addresses become canonical as everywhere in the hub. What cannot be read is left out: it is
//! no evidence.

use deunicode::deunicode;
use throughline_schemas::IdentityType;

use super::record::PersonRecord;
use crate::identity::normalise;

/// Titles that are no part of a name.
const TITLES: [&str; 17] =
    ["mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "herr", "frau", "m", "mme", "mlle", "sr", "sra", "dott", "ing"];
/// Sources that show a caller's name as networks deliver it: family name first.
const CALLERS: [&str; 10] = ["pbx", "phone", "telephony", "call", "calls", "cnam", "voip", "sip", "asterisk", "freeswitch"];
/// Ways to write kinds of streets, and one way for each.
const STREETS: [(&str, &str); 18] = [
    ("street", "st"),
    ("road", "rd"),
    ("avenue", "ave"),
    ("av", "ave"),
    ("avenida", "ave"),
    ("drive", "dr"),
    ("lane", "ln"),
    ("court", "ct"),
    ("square", "sq"),
    ("boulevard", "blvd"),
    ("place", "pl"),
    ("strasse", "str"),
    ("v", "via"),
    ("c", "calle"),
    ("r", "rua"),
    ("apt", ""),
    ("unit", ""),
    ("flat", ""),
];
/// Dates that stand for "unknown" in mandatory fields.
const PLACEHOLDER_DATES: [&str; 4] = ["1900-01-01", "1970-01-01", "2000-01-01", "1901-01-01"];

/// A person as a silo writes them; empty where it says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawPerson<'t> {
    /// The record's id.
    pub id: &'t str,
    /// Where it comes from, as a word: `crm`, `pbx`.
    pub source: &'t str,
    /// The name in one field, in any order that people write it.
    pub name: &'t str,
    /// Given names.
    pub given: &'t str,
    /// Family names.
    pub surname: &'t str,
    /// Mail address.
    pub email: &'t str,
    /// Phone number.
    pub phone: &'t str,
    /// Street and house number.
    pub address: &'t str,
    /// City.
    pub city: &'t str,
    /// Postcode.
    pub postcode: &'t str,
    /// Country, ISO 3166; says how national phone numbers and dates are meant.
    pub country: &'t str,
    /// Date of birth.
    pub birth_date: &'t str,
    /// Employer.
    pub company: &'t str,
    /// Handle on a platform.
    pub handle: &'t str,
    /// A number that is given to one person only.
    pub membership: &'t str,
}

/// The record that is compared.
#[must_use]
pub fn record_of(raw: &RawPerson<'_>) -> PersonRecord {
    let (given, surname) = names(raw);
    let (house, street) = address(raw.address);
    let identity = |kind, value: &str| {
        let region = Some(raw.country.trim()).filter(|region| !region.is_empty());
        // A country that is no region must not cost an international number.
        let read = normalise(kind, "", value, region).or_else(|_| normalise(kind, "", value, None));
        read.map(|identity| identity.key.value).unwrap_or_default()
    };
    PersonRecord {
        id: raw.id.to_owned(),
        given,
        surname,
        email: identity(IdentityType::Email, raw.email),
        phone: identity(IdentityType::Phone, raw.phone),
        house,
        street,
        city: words(raw.city).join(" "),
        postcode: words(raw.postcode).concat(),
        country: raw.country.trim().to_ascii_uppercase(),
        birth_date: birth_date(raw.birth_date, raw.country.trim()).unwrap_or_default(),
        company: words(raw.company).join(" "),
        handle: raw.handle.to_lowercase().chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | ',' | '@')).collect(),
        membership: raw.membership.trim().to_uppercase(),
        group: String::new(),
    }
}

/// The words of a text in small ASCII letters and digits.
fn words(text: &str) -> Vec<String> {
    let folded = deunicode(text).to_lowercase();
    folded.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn names(raw: &RawPerson<'_>) -> (String, String) {
    let (given, surname) = if raw.given.trim().is_empty() && raw.surname.trim().is_empty() {
        names_in_one(raw.name, raw.source)
    } else {
        (words(raw.given), words(raw.surname))
    };
    let mut given: Vec<String> = without_titles(given);
    // A middle initial tells less than it disturbs.
    if given.len() > 1 && given.last().is_some_and(|word| word.len() == 1) {
        given.pop();
    }
    (given.join(" "), surname.join(" "))
}

fn names_in_one(name: &str, source: &str) -> (Vec<String>, Vec<String>) {
    if let Some((surname, given)) = name.split_once(',') {
        return (words(given), words(surname));
    }
    let mut all = without_titles(words(name));
    if all.len() < 2 {
        return (all, Vec::new());
    }
    if CALLERS.contains(&source.trim().to_lowercase().as_str()) {
        let given = all.pop().into_iter().collect();
        return (given, all);
    }
    let surname = all.split_off(1);
    (all, surname)
}

fn without_titles(words: Vec<String>) -> Vec<String> {
    words.into_iter().filter(|word| !TITLES.contains(&word.as_str())).collect()
}

/// House number and street; what follows a comma (a flat, a floor) is left out, since half of the silos leave it out.
fn address(text: &str) -> (String, String) {
    let head = text.split(',').next().unwrap_or(text);
    let words: Vec<String> = words(head);
    let house = words.iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).cloned().unwrap_or_default();
    let street: Vec<&str> = words.iter().filter(|word| **word != house).map(|word| one_way(word)).filter(|word| !word.is_empty()).collect();
    (house, street.join(" "))
}

fn one_way(word: &str) -> &str {
    if let Some((_, short)) = STREETS.iter().find(|(long, _)| *long == word) {
        return short;
    }
    // Hauptstrasse and Hauptstr.
    if word.len() > "strasse".len() { word.strip_suffix("asse").filter(|rest| rest.ends_with("str")).unwrap_or(word) } else { word }
}

/// `YYYY-MM-DD` of a date as silos write it; none if it stands for nothing or is none.
fn birth_date(text: &str, country: &str) -> Option<String> {
    let text = text.trim();
    let digits = |part: &str| part.parse::<u16>().ok();
    let parts: Vec<&str> = text.split(['-', '/', '.']).collect();
    let (year, month, day) = match parts.as_slice() {
        [whole] if whole.len() == 8 && whole.is_ascii() => (digits(&whole[..4])?, digits(&whole[4..6])?, digits(&whole[6..])?),
        [year, month, day] if year.len() == 4 => (digits(year)?, digits(month)?, digits(day)?),
        [first, second, year] if year.len() == 4 => {
            let month_first = country.eq_ignore_ascii_case("US") && text.contains('/');
            let (first, second) = (digits(first)?, digits(second)?);
            let (month, day) = if month_first { (first, second) } else { (second, first) };
            if month > 12 { (digits(year)?, day, month) } else { (digits(year)?, month, day) }
        }
        _ => return None,
    };
    let date = format!("{year:04}-{month:02}-{day:02}");
    (!PLACEHOLDER_DATES.contains(&date.as_str()) && year > 0).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sources_write_them() {
        let table = [
            ("crm", "Ada Lovelace", "", "", "ada", "lovelace"),
            ("crm", "Lovelace, Ada", "", "", "ada", "lovelace"),
            ("pbx", "GARCIA LOPEZ ANA", "", "", "ana", "garcia lopez"),
            ("sms", "Ada", "", "", "ada", ""),
            ("crm", "", "Mrs. Ada K", "King-Lovelace", "ada", "king lovelace"),
            ("crm", "Dr. Łukasz Größe", "", "", "lukasz", "grosse"),
            ("crm", "", "", "", "", ""),
        ];
        for (source, name, given, surname, wanted_given, wanted_surname) in table {
            let raw = RawPerson { source, name, given, surname, ..RawPerson::default() };
            let record = record_of(&raw);
            assert_eq!((record.given.as_str(), record.surname.as_str()), (wanted_given, wanted_surname), "{raw:?}");
        }
    }

    #[test]
    fn addresses_are_told_apart_and_dates_are_read_by_country() {
        for (text, house, street) in [
            ("12 Main Street, Apt 4", "12", "main st"),
            ("Hauptstraße 7a", "7a", "hauptstr"),
            ("Hauptstr. 7a", "7a", "hauptstr"),
            ("53 boulevard Rossi", "53", "blvd rossi"),
            ("", "", ""),
        ] {
            assert_eq!(address(text), (house.to_owned(), street.to_owned()), "{text}");
        }
        for (text, country, wanted) in [
            ("1980-02-03", "GB", Some("1980-02-03")),
            ("19800203", "", Some("1980-02-03")),
            ("02/03/1980", "US", Some("1980-02-03")),
            ("03/02/1980", "GB", Some("1980-02-03")),
            ("13/02/1980", "US", Some("1980-02-13")),
            ("3.2.1980", "DE", Some("1980-02-03")),
            ("1970-01-01", "US", None),
            ("unknown", "US", None),
            ("", "US", None),
        ] {
            assert_eq!(birth_date(text, country).as_deref(), wanted, "{text} {country}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in proptest::prelude::any::<String>()) {
            let raw = RawPerson { name: &text, address: &text, birth_date: &text, phone: &text, email: &text, country: &text, ..RawPerson::default() };
            let record = record_of(&raw);
            proptest::prop_assert!(record.given.is_ascii() && record.street.is_ascii());
        }
    }
}
