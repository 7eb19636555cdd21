//! A field that goes back and forth: two systems, or a system and its own rule, that undo each other's work. Brakes that count only
//! failures are blind to a loop of successes. Knows values by their digest, and no clock but what it is handed.

use serde_json::Value;
use throughline_schemas::sync::Turn;

use super::normalise_value;

/// Turns that make a loop: they, we, they, we, between two values.
const LOOP: usize = 4;
/// Turns farther apart are people who changed their mind, in milliseconds.
const WITHIN_MS: i64 = 24 * 60 * 60 * 1000;
/// FNV-1a, 64 bits (Fowler, Noll, Vo): a digest only has to tell two values of one field apart.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A value's digest, as the silo stores it.
#[must_use]
pub fn digest(normalisers: &[String], value: &Value) -> String {
    let text = normalise_value(normalisers, value).to_string();
    let digest = text.bytes().fold(BASIS, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{digest:016x}")
}

/// The turns with one more, the oldest forgotten. A repeated value is no turn.
#[must_use]
pub fn taken(turns: &[Turn], turn: Turn) -> Vec<Turn> {
    if turns.last().is_some_and(|last| last.value == turn.value) {
        return turns.to_vec();
    }
    let mut turns: Vec<Turn> = turns.iter().filter(|earlier| turn.at.since(earlier.at) < WITHIN_MS).cloned().collect();
    turns.push(turn);
    turns.drain(..turns.len().saturating_sub(LOOP));
    turns
}

/// Whether these turns are a loop: A, B, A, B, in turn ours and theirs, within a day.
#[must_use]
pub fn is_loop(turns: &[Turn]) -> bool {
    let [first, second, third, fourth] = turns else { return false };
    let values = first.value == third.value && second.value == fourth.value && first.value != second.value;
    let sides = first.ours == third.ours && second.ours == fourth.ours && first.ours != second.ours;
    values && sides && fourth.at.since(first.at) < WITHIN_MS
}

/// Whether a value is one of those that went back and forth.
#[must_use]
pub fn is_of(turns: &[Turn], digest: &str) -> bool {
    turns.iter().any(|turn| turn.value == digest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use throughline_schemas::Timestamp;

    use super::*;

    fn turns(script: &str) -> Vec<Turn> {
        // `A1` is the value A by us, `A0` by them, each an hour later.
        let parts = script.split_whitespace().enumerate();
        parts.fold(Vec::new(), |turns, (hour, part)| {
            let at = Timestamp::from_millis(i64::try_from(hour).unwrap() * 3_600_000);
            taken(&turns, Turn { value: part[..1].to_owned(), ours: part.ends_with('1'), at })
        })
    }

    #[test]
    fn only_a_loop_between_two_sides_is_one() {
        let table = [
            ("A0 B1 A0 B1", true),
            ("B1 A0 B1 A0", true),
            ("X1 A0 B1 A0 B1", true),
            ("A0 B1 A0", false),
            ("A0 B0 A0 B0", false),
            ("A0 B1 A0 C1", false),
            ("A0 B1 C0 B1", false),
            ("A0 A0 B1 B1 A0 A1 B1", true),
        ];
        for (script, wanted) in table {
            assert_eq!(is_loop(&turns(script)), wanted, "{script}");
        }
    }

    #[test]
    fn what_took_longer_than_a_day_is_no_loop() {
        let turn = |value: &str, ours, hours: i64| Turn { value: value.to_owned(), ours, at: Timestamp::from_millis(hours * 3_600_000) };
        let slow = [turn("A", false, 0), turn("B", true, 10), turn("A", false, 20), turn("B", true, 30)];
        assert!(!is_loop(&slow));
        assert_eq!(taken(&slow[..3], slow[3].clone()).len(), 3, "what is older than a day is forgotten");
    }

    #[test]
    fn a_value_in_another_form_is_the_same_value() {
        let digits = vec!["phone_digits".to_owned()];
        assert_eq!(digest(&digits, &json!("+44 77")), digest(&digits, &json!("4477")));
        assert_ne!(digest(&[], &json!("+44 77")), digest(&[], &json!("4477")));
    }
}
