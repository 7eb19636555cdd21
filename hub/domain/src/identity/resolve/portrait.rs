//! What the records of one cluster say together: how two clusters are compared before they are united.
//!
//! A record without a name agrees with everybody who has its phone number; a cluster it belongs to may not. So each union is judged
//! by the best agreement, field by field, of what both sides mostly say, and contradictions count although no pair shows them.

use super::compare::{Crowds, births, companies, emails, names, numbers, phones, places};
use super::entry::{Birth, Entry, Name, Place};
use super::levels::{FIELDS, Levels, MISSING, field};
use super::model::Bits;
use super::texts::{NONE, Sym, Texts};

/// Values that a cluster is known by, of each field.
const PROMINENT: usize = 4;

/// A mail address with its local part, and whether it stands for a role.
type Mailbox = (Sym, Sym, bool);

/// The values of a cluster's records with how often each occurs.
#[derive(Debug, Clone, Default)]
pub(super) struct Portrait {
    names: Values<Name>,
    mailboxes: Values<Mailbox>,
    phones: Values<Sym>,
    births: Values<Birth>,
    places: Values<Place>,
    handles: Values<Sym>,
    memberships: Values<Sym>,
    companies: Values<Sym>,
}

/// Values, most frequent first.
#[derive(Debug, Clone)]
struct Values<T>(Vec<(T, u64, u16)>);

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Values<T> {
    /// Adds a value; its hash orders equally frequent ones.
    fn add(&mut self, value: T, hash: u64, count: u16) {
        match self.0.iter_mut().find(|(known, ..)| *known == value) {
            Some((.., known)) => *known = known.saturating_add(count),
            None => self.0.push((value, hash, count)),
        }
    }

    fn join(&mut self, other: &Self) {
        for (value, hash, count) in &other.0 {
            self.add(*value, *hash, *count);
        }
        self.0.sort_unstable_by_key(|(_, hash, count)| (u16::MAX - count, *hash));
    }

    fn prominent(&self) -> impl Iterator<Item = T> + Clone {
        self.0.iter().take(PROMINENT).map(|(value, ..)| *value)
    }
}

impl Portrait {
    pub(super) fn of(texts: &Texts, entry: &Entry) -> Self {
        let mut portrait = Self::default();
        let hash = |sym: Sym| texts.hash(sym);
        if !entry.name().is_none() {
            portrait.names.add(entry.name(), super::hash::of_parts(&[hash(entry.given), hash(entry.surname)]), 1);
        }
        if !entry.birth.is_none() {
            portrait.births.add(entry.birth, entry.birth.hash(), 1);
        }
        let place = entry.place();
        if !place.is_none() {
            let parts = [place.house, place.street, place.postcode, place.city].map(hash);
            portrait.places.add(place, super::hash::of_parts(&parts), 1);
        }
        if entry.email != NONE {
            portrait.mailboxes.add((entry.email, entry.local, entry.role), hash(entry.email), 1);
        }
        for (values, sym) in [
            (&mut portrait.phones, entry.phone),
            (&mut portrait.handles, entry.handle),
            (&mut portrait.memberships, entry.membership),
            (&mut portrait.companies, entry.company),
        ] {
            if sym != NONE {
                values.add(sym, hash(sym), 1);
            }
        }
        portrait
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.names.join(&other.names);
        self.mailboxes.join(&other.mailboxes);
        self.phones.join(&other.phones);
        self.births.join(&other.births);
        self.places.join(&other.places);
        self.handles.join(&other.handles);
        self.memberships.join(&other.memberships);
        self.companies.join(&other.companies);
    }

    /// For each field the level that says most for one person, among the prominent values of both.
    pub(super) fn levels(&self, other: &Self, bits: &Bits, texts: &Texts, crowds: &impl Crowds) -> Levels {
        let mut levels = [MISSING; FIELDS];
        (levels[field::GIVEN], levels[field::SURNAME]) = self.name_levels(other, bits, texts);
        let best = |index: usize, found: &mut dyn Iterator<Item = u8>| best(bits, index, found);
        levels[field::EMAIL] = best(field::EMAIL, &mut pairs(&self.mailboxes, &other.mailboxes).map(|(a, b)| emails(texts, crowds, a, b)));
        levels[field::PHONE] = best(field::PHONE, &mut pairs(&self.phones, &other.phones).map(|(a, b)| phones(texts, crowds, a, b)));
        levels[field::BIRTH] = best(field::BIRTH, &mut pairs(&self.births, &other.births).map(|(a, b)| births(a, b)));
        levels[field::PLACE] = best(field::PLACE, &mut pairs(&self.places, &other.places).map(|(a, b)| places(texts, &a, &b)));
        levels[field::HANDLE] = best(field::HANDLE, &mut pairs(&self.handles, &other.handles).map(|(a, b)| numbers(texts, a, b, 1)));
        levels[field::MEMBERSHIP] =
            best(field::MEMBERSHIP, &mut pairs(&self.memberships, &other.memberships).map(|(a, b)| numbers(texts, a, b, 2)));
        levels[field::COMPANY] = best(field::COMPANY, &mut pairs(&self.companies, &other.companies).map(|(a, b)| companies(texts, a, b)));
        levels
    }

    fn name_levels(&self, other: &Self, bits: &Bits, texts: &Texts) -> (u8, u8) {
        let gain = |(given, surname): (u8, u8)| bits.gain(field::GIVEN, given) + bits.gain(field::SURNAME, surname);
        let mut best: Option<((u8, u8), f32)> = None;
        for (one, two) in pairs(&self.names, &other.names) {
            let levels = names(texts, one, two);
            let gain = gain(levels);
            if best.is_none_or(|(known, most)| gain > most || (gain == most && levels < known)) {
                best = Some((levels, gain));
            }
        }
        best.map_or((MISSING, MISSING), |(levels, _)| levels)
    }
}

fn pairs<T: Copy + PartialEq>(one: &Values<T>, other: &Values<T>) -> impl Iterator<Item = (T, T)> {
    one.prominent().flat_map(|a| other.prominent().map(move |b| (a, b)))
}

fn best(bits: &Bits, index: usize, levels: &mut dyn Iterator<Item = u8>) -> u8 {
    let mut best = (MISSING, f32::NEG_INFINITY);
    for level in levels.filter(|level| *level != MISSING) {
        let gain = bits.gain(index, level);
        if gain > best.1 || (gain == best.1 && level < best.0) {
            best = (level, gain);
        }
    }
    best.0
}
