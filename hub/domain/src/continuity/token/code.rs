//! Short codes, six to eight digits to be keyed into a phone, and how guessing them is bounded.
//!
//! So few digits can be guessed. Three things bound it: codes of a brand are never denser than one in [`SPARSENESS`] numbers of their
//! length, a caller has [`PER_CALLER`] wrong ones, and a brand has [`PER_BRAND`] from all callers together. So whoever calls from one
//! number finds a code of anybody's with a probability of at most 10 in 10,000 in an hour, all callers together at most 200 in 10,000,
//! 100 in each further one; and what is found is parked, because the caller is no participant.

use throughline_schemas::Timestamp;

use crate::continuity::budget::Budget;

/// Of so many numbers of a length at most one is a code that holds.
pub const SPARSENESS: u64 = 10_000;
/// Wrong codes that one caller may key: five at once, then one each twelve minutes.
pub const PER_CALLER: Budget = Budget { burst: 5, every_ms: 12 * 60 * 1000 };
/// Wrong codes that all callers of a brand may key together: a hundred at once, then one each 36 seconds.
pub const PER_BRAND: Budget = Budget { burst: 100, every_ms: 36 * 1000 };
/// The shortest and the longest code.
pub const LENGTHS: std::ops::RangeInclusive<u8> = 6..=8;

/// How many codes of this length a brand may have at a time: `10^length / SPARSENESS`.
#[must_use]
pub const fn most_of_length(length: u8) -> u64 {
    10u64.pow(length as u32) / SPARSENESS
}

/// The shortest length from `at_least` on that has room, given how many codes of a length there are.
pub fn choose_length(at_least: u8, mut holding: impl FnMut(u8) -> u64) -> Option<u8> {
    LENGTHS.filter(|length| *length >= at_least).find(|length| holding(*length) < most_of_length(*length))
}

/// A code of this length out of a random number; all codes are equally likely but for less than one in 10^11.
#[must_use]
pub fn code_of(random: u64, length: u8) -> String {
    format!("{:0width$}", random % 10u64.pow(u32::from(length)), width = usize::from(length))
}

/// Digits as somebody keyed or typed them, if they can be a code: blanks, hyphens, star and hash do not count.
#[must_use]
pub fn read(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|char| !matches!(char, ' ' | '-' | '#' | '*')).collect();
    let is_code =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && u8::try_from(digits.len()).is_ok_and(|length| LENGTHS.contains(&length));
    is_code.then_some(digits)
}

/// Whether one more code may be tried, given when the budgets of the caller and of the brand are full again.
#[must_use]
pub fn may_try(caller: Option<Timestamp>, brand: Option<Timestamp>, now: Timestamp) -> bool {
    PER_CALLER.allows(caller, now) && PER_BRAND.allows(brand, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_sparse_as_promised() {
        assert_eq!([6, 7, 8].map(most_of_length), [100, 1_000, 10_000]);
        assert_eq!(choose_length(6, |_| 0), Some(6));
        assert_eq!(choose_length(7, |_| 0), Some(7));
        assert_eq!(choose_length(6, |length| if length == 6 { 100 } else { 0 }), Some(7));
        assert_eq!(choose_length(6, |length| if length == 6 { 99 } else { 0 }), Some(6));
        assert_eq!(choose_length(6, |length| if length == 8 { 9_999 } else { 1_000 }), Some(8));
        assert_eq!(choose_length(6, |_| 10_000), None);
        assert_eq!(choose_length(9, |_| 0), None);
    }

    #[test]
    fn codes_have_their_length() {
        assert_eq!(code_of(7, 6), "000007");
        assert_eq!(code_of(u64::MAX, 8).len(), 8);
        assert_eq!(code_of(123_456_789, 6), "456789");
    }

    /// The bound of the module's description, counted rather than calculated: a caller who never stops trying.
    #[test]
    fn tries_in_an_hour_are_bounded() {
        let tried = |budget: Budget, hours: i64| {
            let (mut full_at, mut tries) = (None, 0);
            for now in (0..hours * 3_600_000).step_by(1_000).map(Timestamp::from_millis) {
                while budget.allows(full_at, now) {
                    full_at = Some(budget.spend(full_at, now));
                    tries += 1;
                }
            }
            tries
        };
        assert_eq!((tried(PER_CALLER, 1), tried(PER_CALLER, 2)), (9, 14));
        assert_eq!((tried(PER_BRAND, 1), tried(PER_BRAND, 2)), (199, 299));
        // Of so many tries at most so many hit: the density is 1 in SPARSENESS at worst.
        assert!(tried(PER_CALLER, 1) as f64 / SPARSENESS as f64 <= 0.001);
        assert!(tried(PER_BRAND, 1) as f64 / SPARSENESS as f64 <= 0.02);
    }
}
