//! Holds what was found against what is right, and adds it up.
//!
//! Attaching where a person says otherwise, and telling what is to be kept back, are breaches: none is allowed. Not attaching what
//! belongs somewhere is a nuisance: one in twenty is allowed. Everything else that differs is counted and shown.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::case::Case;
use crate::play::expected;

/// What was found after an event.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) event: usize,
    pub(crate) place: Option<String>,
    pub(crate) automated: Option<bool>,
    pub(crate) sent: Option<bool>,
    pub(crate) statuses: BTreeMap<String, String>,
    pub(crate) answer: Option<Value>,
}

/// The sum.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) cases: usize,
    groups: BTreeMap<String, usize>,
    placements: usize,
    attachments: usize,
    disclosures: usize,
    wrong_attachments: Vec<String>,
    wrong_disclosures: Vec<String>,
    missed: Vec<String>,
    others: Vec<String>,
    unreadable: Vec<String>,
}

impl Score {
    pub(crate) fn add(&mut self, case: &Case, found: Vec<Found>) {
        self.cases += 1;
        *self.groups.entry(case.group.clone()).or_default() += 1;
        for found in found {
            self.add_place(case, &found);
            self.add_answer(case, &found);
            self.add_rest(case, &found);
        }
    }

    pub(crate) fn unreadable(&mut self, what: String) {
        self.unreadable.push(what);
    }

    /// At most five in a hundred attachments missed, nothing wrong, nothing unread.
    pub(crate) fn is_good(&self) -> bool {
        let few_missed = self.missed.len() * 100 <= self.attachments * 5;
        self.wrong_attachments.is_empty() && self.wrong_disclosures.is_empty() && few_missed && self.unreadable.is_empty() && self.cases > 0
    }

    /// Nothing differs at all.
    pub(crate) fn is_exact(&self) -> bool {
        self.missed.is_empty() && self.others.is_empty()
    }

    fn add_place(&mut self, case: &Case, found: &Found) {
        let expect = expected(case, found);
        let (Some(right), Some(place)) = (&expect.place, &found.place) else { return };
        let right: Vec<String> = right.all().iter().map(|place| in_order(place)).collect();
        self.placements += 1;
        let must_attach = right.iter().all(|place| place.starts_with("attach"));
        self.attachments += usize::from(must_attach);
        if right.contains(place) {
            return;
        }
        let told = format!("{} event {}: {place}, and not {}", case.id, found.event, right.join(" or "));
        if place.starts_with("attach") {
            self.wrong_attachments.push(told);
        } else if must_attach {
            self.missed.push(told);
        } else {
            self.others.push(told);
        }
    }

    fn add_answer(&mut self, case: &Case, found: &Found) {
        let (expect, Some(answer)) = (expected(case, found), &found.answer) else { return };
        self.disclosures += 1;
        let text = answer.to_string().to_lowercase();
        for kept in expect.keeps.iter().filter(|kept| text.contains(&kept.to_lowercase())) {
            self.wrong_disclosures.push(format!("{} event {}: tells {kept:?}: {answer}", case.id, found.event));
        }
        for told in expect.tells.iter().filter(|told| !text.contains(&told.to_lowercase())) {
            self.others.push(format!("{} event {}: does not tell {told:?}: {answer}", case.id, found.event));
        }
        let token = answer["token"]["valid"].as_bool();
        let flags = [
            ("known", expect.known, answer["known"].as_bool()),
            ("ambiguous", expect.ambiguous, answer["ambiguous"].as_bool()),
            ("token", expect.token, token),
        ];
        for (name, wanted, is) in flags {
            if wanted.is_some() && wanted != is {
                self.others.push(format!("{} event {}: {name} is {is:?}", case.id, found.event));
            }
        }
    }

    fn add_rest(&mut self, case: &Case, found: &Found) {
        let expect = expected(case, found);
        let at = format!("{} event {}", case.id, found.event);
        for (name, wanted, is) in [("automated", expect.automated, found.automated), ("sent", expect.sent, found.sent)] {
            if wanted.is_some() && wanted != is {
                self.others.push(format!("{at}: {name} is {is:?}"));
            }
        }
        for (name, wanted) in &expect.status {
            let is = found.statuses.get(name);
            if is != Some(wanted) {
                self.others.push(format!("{at}: the enquiry of {name} is {is:?}, and not {wanted}"));
            }
        }
    }
}

/// Candidates in whichever order.
fn in_order(place: &str) -> String {
    match place.strip_prefix("suggest ") {
        Some(names) => {
            let mut names: Vec<&str> = names.split_whitespace().collect();
            names.sort_unstable();
            format!("suggest {}", names.join(" "))
        }
        None => place.to_owned(),
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, list) in [
            ("Wrong attachment", &self.wrong_attachments),
            ("Wrong disclosure", &self.wrong_disclosures),
            ("Missed attachment", &self.missed),
            ("Differs", &self.others),
            ("Cannot be read", &self.unreadable),
        ] {
            for line in list {
                writeln!(f, "{title}: {line}")?;
            }
        }
        for (group, count) in &self.groups {
            writeln!(f, "  {count:4}  {group}")?;
        }
        writeln!(f, "{} cases, {} placements, {} look-ups", self.cases, self.placements, self.disclosures)?;
        writeln!(f, "wrong attachments: {} (must be 0)", self.wrong_attachments.len())?;
        writeln!(f, "wrong disclosures: {} (must be 0)", self.wrong_disclosures.len())?;
        let share = 100.0 * self.missed.len() as f64 / self.attachments.max(1) as f64;
        writeln!(f, "missed attachments: {} of {} ({share:.1} %, at most 5 %)", self.missed.len(), self.attachments)?;
        writeln!(f, "other differences: {}", self.others.len())
    }
}
