//! Who changed what, and what he had before him when he did: what tells a lost update from a conflict.
//!
//! Every change writes a number that no other change writes. A change made where an earlier one was to be seen has superseded it, and
//! all that one had superseded; two that did not know each other are in conflict, and either may win. A value that was superseded must
//! never come back.

use std::collections::{BTreeMap, BTreeSet};

/// A thing that is kept in several places: a person or a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// `contact` or `case`.
    pub(crate) entity: &'static str,
    /// What it is found by in the hub and in every silo: a person's address, a case's first reason.
    pub(crate) name: String,
    /// The person a case is of.
    pub(crate) person: Option<usize>,
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// Of which subject.
    pub(crate) subject: usize,
    /// Which field.
    pub(crate) field: &'static str,
    /// The number that was to be seen where it was made.
    pub(crate) parent: Option<u64>,
    /// It may not have happened: whoever made it heard that it failed.
    pub(crate) uncertain: bool,
}

/// All changes.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// The subjects.
    pub(crate) subjects: Vec<Subject>,
    edits: BTreeMap<u64, Edit>,
    last: u64,
}

impl Edits {
    /// A number for the next change.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes a change.
    pub(crate) fn note(&mut self, number: u64, edit: Edit) {
        self.edits.insert(number, edit);
    }

    /// It may not have happened.
    pub(crate) fn doubt(&mut self, number: u64) {
        if let Some(edit) = self.edits.get_mut(&number) {
            edit.uncertain = true;
        }
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.edits.len()
    }

    /// The numbers that may stand in a field in the end: those that nobody superseded.
    #[must_use]
    pub(crate) fn survivors(&self, subject: usize, field: &str) -> BTreeSet<u64> {
        let of = |edit: &&Edit| edit.subject == subject && edit.field == field;
        let certain: BTreeSet<u64> = self.edits.values().filter(of).filter(|edit| !edit.uncertain).filter_map(|edit| edit.parent).collect();
        self.edits.iter().filter(|(number, edit)| of(edit) && !certain.contains(number)).map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_and_changed_again_does_not_survive() {
        let mut edits = Edits::default();
        let edit = |parent, uncertain| Edit { subject: 0, field: "company", parent, uncertain };
        edits.note(1, edit(None, false));
        edits.note(2, edit(Some(1), false));
        edits.note(3, edit(Some(1), false));
        edits.note(4, edit(Some(2), true));
        assert_eq!(edits.survivors(0, "company"), BTreeSet::from([2, 3, 4]));
        assert!(edits.survivors(0, "language").is_empty());
    }
}
