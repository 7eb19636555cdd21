//! Which of two versions of a silo's record is the newer: whole numbers as numbers, anything else as text.

use std::cmp::Ordering;

/// How a version relates to the one known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionOrder {
    /// It is newer, or there is none known.
    Newer,
    /// It is the same.
    Same,
    /// It is older: news that was overtaken.
    Older,
    /// The new one has no version, so nothing can be said: read the record back.
    Unknown,
}

/// Compares the version that came in with the one that is known.
#[must_use]
pub fn newer(incoming: Option<&str>, known: Option<&str>) -> VersionOrder {
    let (incoming, known) = match (incoming, known) {
        (None, _) => return VersionOrder::Unknown,
        (Some(_), None) => return VersionOrder::Newer,
        (Some(incoming), Some(known)) => (incoming, known),
    };
    let order = match (digits(incoming), digits(known)) {
        // Longer is greater once leading zeros are gone, however many digits there are.
        (Some(incoming), Some(known)) => incoming.len().cmp(&known.len()).then_with(|| incoming.cmp(known)),
        _ => incoming.cmp(known),
    };
    match order {
        Ordering::Greater => VersionOrder::Newer,
        Ordering::Equal => VersionOrder::Same,
        Ordering::Less => VersionOrder::Older,
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.trim_start_matches('0'))
}

/// What a report of a record is worth, held against what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It is how the record was after what is known.
    Fact,
    /// It was overtaken by what is known.
    Overtaken,
    /// It may be from before what is known, and nothing tells: read the record back.
    Hint,
}

/// What a report with this version is worth, when the one known is `known`. A silo's post, or a page, may have been on its way while
/// the record changed; only a version that is newer for certain says that it was not overtaken.
#[must_use]
pub fn worth(incoming: Option<&str>, known: Option<&str>) -> Worth {
    match (incoming, known) {
        (Some(_), Some(_)) => match newer(incoming, known) {
            VersionOrder::Newer => Worth::Fact,
            VersionOrder::Older => Worth::Overtaken,
            VersionOrder::Same | VersionOrder::Unknown => Worth::Hint,
        },
        _ => Worth::Hint,
    }
}
