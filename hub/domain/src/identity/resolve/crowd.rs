//! Who comes with an identifier: the different given names, by which a family's or a switchboard's number is told from a person's.

use std::collections::HashMap;

use super::texts::Sym;

/// Given names (as the full name they are a form of) that came with each value, and how often.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    names: HashMap<Sym, Vec<(u64, u32)>>,
}

impl Crowd {
    pub(super) fn size(&self, value: Sym) -> usize {
        self.names.get(&value).map_or(0, Vec::len)
    }

    pub(super) fn add(&mut self, value: Sym, name: u64) {
        let names = self.names.entry(value).or_default();
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }

    pub(super) fn remove(&mut self, value: Sym, name: u64) {
        let Some(names) = self.names.get_mut(&value) else { return };
        if let Some((_, count)) = names.iter_mut().find(|(known, _)| *known == name) {
            *count -= 1;
        }
        names.retain(|(_, count)| *count > 0);
        if names.is_empty() {
            self.names.remove(&value);
        }
    }
}
