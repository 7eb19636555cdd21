//! A record as it is kept: texts by number, the date of birth in four bytes.

use super::hash;
use super::model::Rarities;
use super::record::PersonRecord;
use super::texts::{NONE, Sym, Texts};

/// A record among others.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: Box<str>,
    /// Breaks ties: the hash of the id, which no order of arrival changes.
    pub(super) tie: u64,
    pub(super) given: Sym,
    pub(super) surname: Sym,
    pub(super) email: Sym,
    pub(super) local: Sym,
    pub(super) phone: Sym,
    pub(super) house: Sym,
    pub(super) street: Sym,
    pub(super) city: Sym,
    pub(super) postcode: Sym,
    pub(super) company: Sym,
    pub(super) handle: Sym,
    pub(super) membership: Sym,
    pub(super) group: Sym,
    pub(super) birth: Birth,
    /// The mail address stands for a role.
    pub(super) role: bool,
}

/// A date of birth; year 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Birth {
    pub(super) year: u16,
    pub(super) month: u8,
    pub(super) day: u8,
    /// How rare the date is.
    pub(super) rarity: u8,
}

/// Given and family names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) given: Sym,
    pub(super) surname: Sym,
}

/// Where somebody lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) house: Sym,
    pub(super) street: Sym,
    pub(super) postcode: Sym,
    pub(super) city: Sym,
}

impl Entry {
    pub(super) fn new(record: &PersonRecord, texts: &mut Texts, rarities: &Rarities) -> Self {
        let local: String = local_part(&record.email).chars().filter(char::is_ascii_alphanumeric).collect();
        let mut number = |text: &str| texts.number_of(text, rarities);
        Self {
            id: record.id.as_str().into(),
            tie: hash::of_text(&record.id),
            given: number(&record.given),
            surname: number(&record.surname),
            email: number(&record.email),
            local: number(&local),
            phone: number(&record.phone),
            house: number(&record.house),
            street: number(&record.street),
            city: number(&record.city),
            postcode: number(&record.postcode),
            company: number(&record.company),
            handle: number(&record.handle),
            membership: number(&record.membership),
            group: number(&record.group),
            birth: Birth::parse(&record.birth_date, rarities),
            role: crate::identity::is_role_mailbox(&record.email),
        }
    }

    pub(super) const fn name(&self) -> Name {
        Name { given: self.given, surname: self.surname }
    }

    pub(super) const fn place(&self) -> Place {
        Place { house: self.house, street: self.street, postcode: self.postcode, city: self.city }
    }
}

fn local_part(email: &str) -> &str {
    email.rsplit_once('@').map_or("", |(local, _)| local)
}

impl Birth {
    /// Reads `YYYY-MM-DD`; anything else is none.
    pub(super) fn parse(text: &str, rarities: &Rarities) -> Self {
        let mut parts = text.split('-').map(str::parse::<u16>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) if year > 0 && month < 100 && day < 100 => {
                Self { year, month: month as u8, day: day as u8, rarity: rarities.birth.of(hash::of_text(text)) }
            }
            _ => Self::default(),
        }
    }

    pub(super) const fn is_none(self) -> bool {
        self.year == 0
    }

    pub(super) fn hash(self) -> u64 {
        hash::of_parts(&[u64::from(self.year), u64::from(self.month), u64::from(self.day)])
    }
}

impl Name {
    pub(super) const fn is_none(self) -> bool {
        self.given == NONE && self.surname == NONE
    }
}

impl Place {
    pub(super) const fn is_none(self) -> bool {
        self.street == NONE && self.postcode == NONE && self.city == NONE
    }
}
