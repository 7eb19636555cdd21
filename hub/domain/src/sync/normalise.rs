//! What silos do to values when they store them, so that a value and its stored form are seen to be the same.

use serde_json::{Number, Value};

/// Enough for every sequence in use to settle.
const MAX_ROUNDS: usize = 8;

/// A value as the silo would store it: texts (also those in lists) go through the named normalisers until nothing changes any more.
///
/// `trim`, `lowercase`, `uppercase`, `collapse_spaces`, `newlines` (CR LF to LF), `phone_digits` (digits only, numbers become texts),
/// `date` (an RFC 3339 time to its day), `truncate:N` (N characters), `as:A=B` (the silo has no word for A and keeps it as B). A name
/// that is not known changes nothing.
#[must_use]
pub fn normalise_value(normalisers: &[String], value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(settle(normalisers, text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| normalise_value(normalisers, item)).collect()),
        Value::Number(number) if normalisers.iter().any(|name| name == "phone_digits") => {
            Value::String(settle(normalisers, &number.to_string()))
        }
        Value::Number(number) => Value::Number(whole(number)),
        other => other.clone(),
    }
}

/// Whether two values are the same once stored. Null, empty text and an empty list are all the same nothing.
#[must_use]
pub fn same_value(normalisers: &[String], one: &Value, other: &Value) -> bool {
    let (one, other) = (normalise_value(normalisers, one), normalise_value(normalisers, other));
    one == other || is_blank(&one) && is_blank(&other)
}

pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn settle(normalisers: &[String], text: &str) -> String {
    let mut settled = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let next = normalisers.iter().fold(settled.clone(), |text, name| apply(name, text));
        if next == settled {
            break;
        }
        settled = next;
    }
    settled
}

fn apply(name: &str, text: String) -> String {
    match name {
        "trim" => text.trim().to_owned(),
        "lowercase" => text.to_lowercase(),
        "uppercase" => text.to_uppercase(),
        "collapse_spaces" => text.split_whitespace().collect::<Vec<_>>().join(" "),
        "newlines" => text.replace("\r\n", "\n").replace('\r', "\n"),
        "phone_digits" => text.chars().filter(char::is_ascii_digit).collect(),
        "date" => day(&text).map_or_else(|| text.clone(), str::to_owned),
        _ => with_argument(name, text),
    }
}

fn with_argument(name: &str, text: String) -> String {
    match name.split_once(':') {
        Some(("truncate", length)) => match length.parse() {
            Ok(length) => text.chars().take(length).collect(),
            Err(_) => text,
        },
        Some(("as", pair)) => match pair.split_once('=') {
            Some((ours, theirs)) if ours == text => theirs.to_owned(),
            _ => text,
        },
        _ => text,
    }
}

/// The day in `2026-11-21T19:59:15Z` or `2026-11-21 19:59`.
fn day(text: &str) -> Option<&str> {
    let (day, rest) = text.split_at_checked(10)?;
    let is_day = day.bytes().enumerate().all(|(place, byte)| if matches!(place, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    (is_day && (rest.is_empty() || rest.starts_with(['T', 't', ' ']))).then_some(day)
}

/// 1.0 and 1 are the same number to people and to most silos.
fn whole(number: &Number) -> Number {
    /// Up to here a double holds every whole number exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => Number::from(float as i64),
        _ => number.clone(),
    }
}
