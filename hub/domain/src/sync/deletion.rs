//! What a record's deletion in a silo leads to, and how many deletions and changes at once are believed.

use throughline_schemas::Timestamp;
use throughline_schemas::sync::DeletePolicy;

/// As many deletions are believed whatever their share is.
const DELETES_AT_LEAST: usize = 20;
/// Percent of the known records.
const DELETES_PERCENT: usize = 5;
/// Percent of the known records.
const CHANGES_PERCENT: usize = 30;
/// A record is made anew once in so long, in milliseconds.
const RESTORE_EVERY_MS: i64 = 24 * 60 * 60 * 1000;

/// What is to be done about a record that its silo has deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Noted on the link, nothing else.
    Note,
    /// Noted on the link: it was made anew already, and is not again so soon.
    LeaveDeleted,
    /// The link is forgotten.
    Unlink,
    /// Our record is put aside.
    Archive,
    /// Our record is put aside, and the other silos are to delete theirs.
    Remove,
    /// The silo is to get our record again.
    Recreate,
}

/// What the policy says of a record that was last made anew at `restored_at`, if it ever was.
#[must_use]
pub fn consequence(policy: DeletePolicy, restored_at: Option<Timestamp>, now: Timestamp) -> Consequence {
    match policy {
        DeletePolicy::Ignore => Consequence::Note,
        DeletePolicy::Unlink => Consequence::Unlink,
        DeletePolicy::Archive => Consequence::Archive,
        DeletePolicy::Delete => Consequence::Remove,
        DeletePolicy::Restore if restored_at.is_some_and(|at| now.since(at) < RESTORE_EVERY_MS) => Consequence::LeaveDeleted,
        DeletePolicy::Restore => Consequence::Recreate,
    }
}

/// Whether so many deletions of `known` records at once wait for a person: a silo that answers half a list must not empty the hub.
#[must_use]
pub const fn is_held(deleted: usize, known: usize) -> bool {
    let share = known.saturating_mul(DELETES_PERCENT) / 100;
    deleted > if share > DELETES_AT_LEAST { share } else { DELETES_AT_LEAST }
}

/// Whether so many changes of `known` records at once wait for a person.
#[must_use]
pub const fn changes_are_held(changed: usize, known: usize) -> bool {
    changed.saturating_mul(100) > known.saturating_mul(CHANGES_PERCENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_policy_says_what_follows() {
        let hour = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
        let table = [
            (DeletePolicy::Ignore, None, Consequence::Note),
            (DeletePolicy::Unlink, None, Consequence::Unlink),
            (DeletePolicy::Archive, None, Consequence::Archive),
            (DeletePolicy::Delete, None, Consequence::Remove),
            (DeletePolicy::Restore, None, Consequence::Recreate),
            (DeletePolicy::Restore, Some(hour(77)), Consequence::LeaveDeleted),
            (DeletePolicy::Restore, Some(hour(76)), Consequence::Recreate),
            (DeletePolicy::Archive, Some(hour(99)), Consequence::Archive),
        ];
        for (policy, restored, wanted) in table {
            assert_eq!(consequence(policy, restored, hour(100)), wanted, "{policy:?} {restored:?}");
        }
    }

    #[test]
    fn so_many_deletions_are_believed() {
        for (deleted, known, held) in
            [(0, 0, false), (20, 20, false), (21, 21, true), (20, 400, false), (21, 400, true), (50, 1000, false), (51, 1000, true)]
        {
            assert_eq!(is_held(deleted, known), held, "{deleted} of {known}");
        }
    }

    #[test]
    fn so_many_changes_are_believed() {
        for (changed, known, held) in [(0, 0, false), (1, 0, true), (30, 100, false), (31, 100, true), (3, 10, false), (4, 10, true)] {
            assert_eq!(changes_are_held(changed, known), held, "{changed} of {known}");
        }
    }

    proptest! {
        #[test]
        fn fewer_deletions_of_more_records_are_never_held_where_more_of_fewer_are_not(
            deleted in 0usize..10_000, known in 0usize..100_000, less in 0usize..100, more in 0usize..10_000,
        ) {
            if !is_held(deleted, known) {
                prop_assert!(!is_held(deleted.saturating_sub(less), known + more));
            }
        }
    }
}
