//! Likeness of short texts. Every function here is symmetric: which text comes first never matters.
//!
//! Texts are folded to ASCII before they come here, so bytes are characters. Jaro-Winkler after Winkler (1990), "String Comparator
//! Metrics and Enhanced Decision Rules in the Fellegi-Sunter Model of Record Linkage"; edit distance is the restricted one of
//! Damerau (1964), where neighbours that changed places count once.

/// Longest text that is compared letter by letter; what is longer is cut.
const LONGEST: usize = 64;
/// Letters at the beginning that Jaro-Winkler rewards.
const WINKLER_PREFIX: usize = 4;

/// Jaro-Winkler likeness from 0 to 1.
#[must_use]
pub(super) fn jaro_winkler(one: &str, other: &str) -> f32 {
    let (a, b) = in_order(one, other);
    if a == b {
        return 1.0;
    }
    let jaro = jaro(a, b);
    let prefix = a.iter().zip(b).take(WINKLER_PREFIX).take_while(|(x, y)| x == y).count();
    (prefix as f32 * 0.1).mul_add(1.0 - jaro, jaro)
}

/// The shorter text first, of equally long ones the smaller: greedy matching depends on the order.
fn in_order<'t>(one: &'t str, other: &'t str) -> (&'t [u8], &'t [u8]) {
    let cut = |text: &'t str| &text.as_bytes()[..text.len().min(LONGEST)];
    let (a, b) = (cut(one), cut(other));
    if (a.len(), a) <= (b.len(), b) { (a, b) } else { (b, a) }
}

fn jaro(a: &[u8], b: &[u8]) -> f32 {
    if a.is_empty() {
        return 0.0;
    }
    let window = (b.len() / 2).saturating_sub(1);
    let (mut taken, mut matched) = (0_u64, [0_u8; LONGEST]);
    let mut matches = 0;
    for (i, letter) in a.iter().enumerate() {
        let reach = i.saturating_sub(window)..(i + window + 1).min(b.len());
        for j in reach {
            if taken & (1 << j) == 0 && b[j] == *letter {
                taken |= 1 << j;
                matched[matches] = *letter;
                matches += 1;
                break;
            }
        }
    }
    if matches == 0 {
        return 0.0;
    }
    let in_b = (0..b.len()).filter(|j| taken & (1 << j) != 0).map(|j| b[j]);
    let out_of_place = in_b.zip(&matched[..matches]).filter(|(x, y)| x != *y).count();
    let found = matches as f32;
    let transposed = (out_of_place / 2) as f32;
    (found / a.len() as f32 + found / b.len() as f32 + (found - transposed) / found) / 3.0
}

/// Whether at most `limit` letters were dropped, added, replaced, or changed places with their neighbour.
#[must_use]
pub(super) fn within_edits(one: &str, other: &str, limit: usize) -> bool {
    let (a, b) = in_order(one, other);
    if b.len() - a.len() > limit {
        return false;
    }
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[common..], &b[common..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    edits(&a[..a.len() - tail], &b[..b.len() - tail]) <= limit
}

fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before_last = [0_usize; LONGEST + 1];
    let mut last = [0_usize; LONGEST + 1];
    for (j, cell) in last.iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        let mut row = [0_usize; LONGEST + 1];
        row[0] = i;
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_that_of_the_literature() {
        for (one, other, wanted) in
            [("martha", "marhta", 0.961), ("dwayne", "duane", 0.84), ("dixon", "dicksonx", 0.813), ("abc", "xyz", 0.0), ("", "a", 0.0)]
        {
            assert!((jaro_winkler(one, other) - wanted).abs() < 0.001, "{one} {other} {}", jaro_winkler(one, other));
        }
    }

    #[test]
    fn edits_are_counted_up_to_a_limit() {
        for (one, other, count) in
            [("ada", "ada", 0), ("ada", "adda", 1), ("ada", "daa", 1), ("smith", "smyth", 1), ("abcd", "badc", 2), ("", "abc", 3)]
        {
            assert!(within_edits(one, other, count), "{one} {other}");
            assert!(count == 0 || !within_edits(one, other, count - 1), "{one} {other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_order_never_matters(one in "[a-e]{0,9}", other in "[a-e]{0,9}") {
            proptest::prop_assert_eq!(jaro_winkler(&one, &other).to_bits(), jaro_winkler(&other, &one).to_bits());
            for limit in 0..4 {
                proptest::prop_assert_eq!(within_edits(&one, &other, limit), within_edits(&other, &one, limit));
            }
        }
    }
}
