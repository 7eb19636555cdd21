//! Bob is Robert: which given names are forms of one another.
//!
//! A name belongs to the kin of every full name it is a form of; two names are kin if they share one. The data is beside this file,
//! with its origin and licence in its first lines.

use std::collections::HashMap;
use std::sync::LazyLock;

const DATA: &str = include_str!("nicknames.txt");

static KIN: LazyLock<HashMap<&'static str, Vec<u16>>> = LazyLock::new(|| {
    let mut kin: HashMap<&str, Vec<u16>> = HashMap::new();
    let lines = DATA.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    for (number, (full, short)) in (0_u16..).zip(lines) {
        for name in std::iter::once(full).chain(short.split_whitespace()) {
            kin.entry(name).or_default().push(number);
        }
    }
    kin
});

/// The full names that a name is a form of, as numbers in ascending order; none for a name without known forms.
pub(super) fn kin_of(name: &str) -> &'static [u16] {
    KIN.get(name).map_or(&[], Vec::as_slice)
}

/// Whether two names are forms of one.
pub(super) fn are_kin(one: &[u16], other: &[u16]) -> bool {
    one.iter().any(|number| other.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_kin_of_their_full_name_and_of_each_other() {
        let kin = |one, other| are_kin(kin_of(one), kin_of(other));
        assert!(kin("bob", "robert") && kin("robert", "rob") && kin("bill", "william") && kin("peggy", "margaret"));
        assert!(!kin("bob", "william") && !kin("zzz", "zzz"));
    }
}
