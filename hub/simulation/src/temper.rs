//! What kind of system a simulated silo is: how it tells versions, what it does to values, how well it answers. Drawn from the seed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use throughline_domain::connector::InstalledPlugin;

use crate::random::Random;

/// How a silo tells one state of a record from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// A number that rises with every change, and conditional writes.
    Counter,
    /// The second of the last change, by its own clock: ties are common, writes are unconditional.
    Seconds,
    /// None at all.
    Nothing,
}

/// What a silo does to a company's name when it stores it, without saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Casing {
    /// Nothing.
    Kept,
    /// Upper case, at once: the answer to a write shows it.
    Upper,
}

/// A rule of the silo's own that changes a record some time after anybody changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Automation {
    /// Companies end in " Ltd".
    AppendLtd,
    /// Companies are in capitals.
    Capitals,
    /// Companies are in small letters.
    SmallLetters,
}

impl Automation {
    /// What the rule makes of a value; none if it leaves it.
    #[must_use]
    pub(crate) fn rewrites(self, value: &str) -> Option<String> {
        let rewritten = match self {
            Self::AppendLtd if value.to_lowercase().ends_with(" ltd") => value.to_owned(),
            Self::AppendLtd => format!("{value} Ltd"),
            Self::Capitals => value.to_uppercase(),
            Self::SmallLetters => value.to_lowercase(),
        };
        (rewritten != value).then_some(rewritten)
    }
}

/// How a silo is.
#[derive(Debug, Clone)]
pub(crate) struct Temper {
    /// How it tells versions.
    pub(crate) versions: Versions,
    /// Whether it answers a write with the record as stored.
    pub(crate) answers: bool,
    /// Whether creates are idempotent by our id.
    pub(crate) upserts: bool,
    /// Whether its records say when they were changed.
    pub(crate) stamps: bool,
    /// Whether a read lists all records every time, so that what is missing is deleted.
    pub(crate) lists: bool,
    /// Whether it posts webhooks.
    pub(crate) hooks: bool,
    /// Stores phone numbers as digits, and declares it.
    pub(crate) digits: bool,
    /// What it does to companies without declaring it.
    pub(crate) casing: Casing,
    /// Its own rule.
    pub(crate) automation: Option<Automation>,
    /// Refuses companies whose number is a multiple of this.
    pub(crate) refuses: Option<u64>,
    /// How far its clock is off, in milliseconds.
    pub(crate) skew_ms: i64,
    /// How long a call takes at most, in milliseconds.
    pub(crate) latency_ms: u64,
    /// Webhooks that never arrive, in a hundred.
    pub(crate) hooks_lost: u64,
    /// Webhooks that arrive twice, in a hundred.
    pub(crate) hooks_doubled: u64,
    /// How late a webhook may be, in milliseconds: what makes them overtake each other.
    pub(crate) hooks_late_ms: u64,
    /// Writes that take effect and whose answer is lost, in a hundred.
    pub(crate) answers_lost: u64,
    /// Calls that fail before anything happens, in a hundred.
    pub(crate) refusals: u64,
    /// A write that fails with 500 although it took effect, in a hundred.
    pub(crate) lies: u64,
    /// Whether it has cases beside contacts.
    pub(crate) cases: bool,
    /// Writes taken in one call.
    pub(crate) batch: u32,
}

impl Temper {
    /// A well-behaved silo.
    #[must_use]
    pub(crate) fn calm() -> Self {
        Self {
            versions: Versions::Counter,
            answers: true,
            upserts: false,
            stamps: true,
            lists: false,
            hooks: true,
            digits: false,
            casing: Casing::Kept,
            automation: None,
            refuses: None,
            skew_ms: 0,
            latency_ms: 200,
            hooks_lost: 0,
            hooks_doubled: 0,
            hooks_late_ms: 500,
            answers_lost: 0,
            refusals: 0,
            lies: 0,
            cases: false,
            batch: 4,
        }
    }

    /// Any silo.
    #[must_use]
    pub(crate) fn drawn(random: &mut Random, cases: bool) -> Self {
        let versions = [Versions::Counter, Versions::Counter, Versions::Seconds, Versions::Nothing][random.index(4)];
        let automations = [Automation::AppendLtd, Automation::Capitals, Automation::SmallLetters];
        Self {
            versions,
            answers: random.percent(60),
            upserts: random.percent(30),
            stamps: random.percent(60),
            lists: random.percent(30),
            hooks: random.percent(85),
            digits: random.percent(40),
            casing: if random.percent(15) { Casing::Upper } else { Casing::Kept },
            automation: random.percent(25).then(|| automations[random.index(3)]),
            refuses: random.percent(10).then_some(5),
            skew_ms: if random.percent(50) { 0 } else { i64::try_from(random.between(0, 600_000)).unwrap_or(0) - 300_000 },
            latency_ms: [50, 500, 20_000][random.index(3)],
            hooks_lost: [0, 3, 30][random.index(3)],
            hooks_doubled: [0, 5, 30][random.index(3)],
            hooks_late_ms: [200, 5_000, 120_000][random.index(3)],
            answers_lost: [0, 2, 10][random.index(3)],
            refusals: [0, 5, 20][random.index(3)],
            lies: [0, 0, 5][random.index(3)],
            cases,
            batch: [1, 4][random.index(2)],
        }
    }

    /// The plugin that speaks to such a silo.
    #[must_use]
    pub(crate) fn plugin(&self, name: &str) -> InstalledPlugin {
        let field = json!({"writable": true});
        let phone = if self.digits { json!({"writable": true, "normalisers": ["phone_digits"]}) } else { field.clone() };
        let mut writes = json!({"create": true, "update": true, "batch": self.batch});
        if self.upserts {
            writes["upsert_key"] = json!("hub_id");
        }
        if self.versions == Versions::Counter {
            writes["concurrency"] = json!("version");
        }
        let deletes = if self.lists { "full_list" } else { "none" };
        let cursor = if self.lists { "none" } else { "opaque" };
        let mut entities = vec![json!({
            "name": "contact", "canonical": "profile", "readable": true, "cursor": cursor, "deletes": deletes, "writes": writes,
            "fields": {"hub_id": field, "email": field, "phone": phone, "company": field, "language": field},
        })];
        if self.cases {
            entities.push(json!({
                "name": "case", "canonical": "enquiry", "readable": true, "cursor": cursor, "deletes": deletes, "writes": writes,
                "fields": {"hub_id": field, "customer": field, "reason": field, "order": field},
            }));
        }
        let manifest = json!({
            "name": name, "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "simulated", "kinds": ["crm"],
            "config": {"type": "object"}, "entities": entities,
        });
        InstalledPlugin {
            manifest: serde_json::from_value(manifest).expect("written above"),
            digest: format!("sha256:{}", "ab".repeat(32)),
            exports: ["source", "sink", "webhook"].map(str::to_owned).to_vec(),
            imports: Vec::new(),
            signed_by: None,
        }
    }

    /// How its entities are synchronised.
    #[must_use]
    pub(crate) fn sync(&self, policies: &BTreeMap<String, Value>) -> Value {
        let both = json!({"direction": "both", "create_remote": true, "poll_seconds": 600, "fields": policies});
        let mut sync = json!({"contact": both});
        if self.cases {
            sync["case"] = json!({"direction": "both", "create_remote": true, "poll_seconds": 600});
        }
        sync
    }
}
