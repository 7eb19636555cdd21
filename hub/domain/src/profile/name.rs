//! Given and family name out of a name as it is shown: only where that is hardly ever wrong, and only used when nothing better is known.

/// Titles that are no part of the name.
const TITLES: [&str; 16] = ["mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "herr", "frau", "m", "mme", "mlle", "sr", "sra", "dott"];
/// Words with which a family name begins, or goes on.
const PARTICLES: [&str; 23] = [
    "van", "von", "de", "der", "den", "del", "della", "di", "da", "do", "dos", "das", "du", "la", "le", "ten", "ter", "zu", "zum", "bin",
    "ibn", "al", "st",
];
/// Words that stand for firms, shops and senders, not for persons.
const NOT_PERSONS: [&str; 28] = [
    "ltd",
    "limited",
    "inc",
    "llc",
    "llp",
    "gmbh",
    "ag",
    "kg",
    "corp",
    "corporation",
    "company",
    "co",
    "plc",
    "sarl",
    "sa",
    "bv",
    "oy",
    "ab",
    "team",
    "support",
    "service",
    "sales",
    "info",
    "office",
    "noreply",
    "newsletter",
    "via",
    "and",
];
/// More words than this are a name whose parts only its bearer knows.
const MAX_WORDS: usize = 3;

/// Given and family name of `Ada Lovelace`, `Lovelace, Ada`, `LOVELACE Ada`, `Ludwig van Beethoven`; none of what may be no person or
/// may be read in two ways.
#[must_use]
pub fn split_name(display: &str) -> (Option<String>, Option<String>) {
    let display = display.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    let strange = |c: char| c.is_numeric() || matches!(c, '@' | '(' | ')' | '/' | '&' | '|' | '<' | '>' | '_' | '#' | ':' | ';');
    if display.chars().any(strange) {
        return (None, None);
    }
    match display.split_once(',') {
        Some((family, given)) if !given.contains(',') => by_comma(family, given),
        Some(_) => (None, None),
        None => by_order(&words(display)),
    }
}

fn by_comma(family: &str, given: &str) -> (Option<String>, Option<String>) {
    let (family, given) = (words(family), words(given));
    if family.is_empty() || given.is_empty() || family.iter().chain(&given).any(|word| is_any_of(word, &NOT_PERSONS)) {
        return (None, None);
    }
    (Some(given.join(" ")), Some(family.join(" ")))
}

fn by_order(words: &[&str]) -> (Option<String>, Option<String>) {
    if words.iter().any(|word| is_any_of(word, &NOT_PERSONS)) {
        return (None, None);
    }
    let shouted = words.iter().filter(|word| is_shouted(word)).count();
    match words {
        [] => (None, None),
        // One word may be either; people who show one show what they are called by.
        [only] => (only.chars().all(|c| c.is_ascii() || c.is_lowercase() || c.is_uppercase()).then(|| (*only).to_owned()), None),
        // SURNAME GIVEN and GIVEN SURNAME look alike in capitals, as caller names come.
        _ if shouted == words.len() => (None, None),
        [first, rest @ ..] if shouted == 1 && is_shouted(first) && rest.len() < MAX_WORDS => {
            (Some(rest.join(" ")), Some((*first).to_owned()))
        }
        _ => by_particle(words),
    }
}

fn by_particle(words: &[&str]) -> (Option<String>, Option<String>) {
    let particle = words.iter().skip(1).position(|word| is_any_of(word, &PARTICLES)).map(|place| place + 1);
    let family_from = match particle {
        Some(place) if place + 1 < words.len() => place,
        Some(_) => return (None, None),
        None if words.len() <= MAX_WORDS => words.len() - 1,
        None => return (None, None),
    };
    let (given, family) = words.split_at(family_from);
    (Some(given.join(" ")), Some(family.join(" ")))
}

/// The words without titles in front.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().skip_while(|word| is_any_of(word, &TITLES)).collect()
}

fn is_any_of(word: &str, known: &[&str]) -> bool {
    let bare = word.trim_matches('.').to_lowercase();
    known.contains(&bare.as_str())
}

fn is_shouted(word: &str) -> bool {
    word.chars().count() > 2 && word.chars().any(char::is_uppercase) && !word.chars().any(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_only_where_it_reads_one_way() {
        let table = [
            ("Ada Lovelace", "Ada", "Lovelace"),
            ("  Ada   King Lovelace ", "Ada King", "Lovelace"),
            ("Lovelace, Ada", "Ada", "Lovelace"),
            ("King Lovelace, Ada Augusta", "Ada Augusta", "King Lovelace"),
            ("LOVELACE Ada", "Ada", "LOVELACE"),
            ("Dr. Ada Lovelace", "Ada", "Lovelace"),
            ("Ludwig van Beethoven", "Ludwig", "van Beethoven"),
            ("Juan de la Cruz Ortega", "Juan", "de la Cruz Ortega"),
            ("'Ada Lovelace'", "Ada", "Lovelace"),
            ("Ada", "Ada", ""),
            ("LOVELACE ADA", "", ""),
            ("Acme Ltd.", "", ""),
            ("Acme Support", "", ""),
            ("Ada via Shop", "", ""),
            ("Ada Lovelace (Acme)", "", ""),
            ("ada@example.com", "", ""),
            ("+44 7700 900123", "", ""),
            ("Lovelace, Ada, Dr", "", ""),
            ("Maria Garcia Lopez Ruiz", "", ""),
            ("Dr.", "", ""),
            ("Ludwig van", "", ""),
            ("山田太郎", "", ""),
            ("", "", ""),
        ];
        for (display, given, family) in table {
            let (got_given, got_family) = split_name(display);
            assert_eq!((got_given.as_deref().unwrap_or(""), got_family.as_deref().unwrap_or("")), (given, family), "{display:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in proptest::prelude::any::<String>()) {
            let (given, family) = split_name(&text);
            for part in [given, family].into_iter().flatten() {
                proptest::prop_assert!(!part.trim().is_empty());
            }
        }
    }
}
