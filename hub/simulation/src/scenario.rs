//! What happens in a run, drawn from its seed: the silos, the people, their changes, the troubles.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::edits::{Edit, Subject};
use crate::random::Random;
use crate::silo::Silo;
use crate::temper::{Automation, Casing, Temper};
use crate::world::{Event, Outage, Window, World};

/// Which kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two or three silos of any temper, every fault.
    Anything,
    /// Two helpdesks that both keep cases, and whose agents both edit (scenario S10 of the design).
    TwoHelpdesks,
    /// Two silos whose own rules undo each other.
    QuarrellingRules,
}

const MINUTE: u64 = 60_000;
/// People change things until here.
const EDITING: u64 = 30 * MINUTE;
/// Nothing fails after this.
const CALM: u64 = 45 * MINUTE;
/// Everything should be quiet from here on: the longest back-offs and breakers are over.
const QUIET: u64 = CALM + 80 * MINUTE;
/// The end.
pub(crate) const END: u64 = QUIET + 45 * MINUTE;

/// Fields that people change.
const CONTACT_FIELDS: [&str; 3] = ["company", "language", "phone"];
const CASE_FIELDS: [&str; 2] = ["reason", "order"];

/// A run's world, with everything that is going to happen in it.
pub(crate) struct Scenario {
    /// The world.
    pub(crate) world: Arc<World>,
    /// Field policies by silo.
    pub(crate) policies: Vec<BTreeMap<String, Value>>,
}

impl Scenario {
    /// Draws a run from a seed.
    #[must_use]
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = if kind == Kind::Anything { 2 + random.index(2) } else { 2 };
        let cases = kind == Kind::TwoHelpdesks || random.percent(20);
        let tempers = (0..count).map(|number| temper(kind, number, cases, &mut random)).collect();
        let silos = one_rewrites(kind, tempers).into_iter().enumerate();
        let silos = silos.map(|(number, temper)| Silo::new(format!("silo{number}"), temper)).collect();
        let windows = windows(kind, count, &mut random);
        let policies = (0..count).map(|_| policies(kind, &mut random)).collect();
        let world = World::new(random, silos, windows, CALM, QUIET);
        begin(&world, kind);
        Self { world, policies }
    }
}

fn temper(kind: Kind, number: usize, cases: bool, random: &mut Random) -> Temper {
    match kind {
        Kind::Anything => Temper::drawn(random, cases),
        Kind::TwoHelpdesks => Temper { automation: None, refuses: None, ..Temper::drawn(random, true) },
        Kind::QuarrellingRules => {
            let rules = [Automation::Capitals, Automation::SmallLetters];
            Temper { automation: Some(rules[number % 2]), cases, ..Temper::calm() }
        }
    }
}

/// Two that rewrite values quarrel, which is a kind of run of its own.
fn one_rewrites(kind: Kind, mut tempers: Vec<Temper>) -> Vec<Temper> {
    let mut rewrites = false;
    for temper in tempers.iter_mut().filter(|_| kind != Kind::QuarrellingRules) {
        if rewrites {
            (temper.automation, temper.casing) = (None, Casing::Kept);
        }
        if temper.casing != Casing::Kept {
            temper.automation = None;
        }
        rewrites |= temper.automation.is_some() || temper.casing != Casing::Kept;
    }
    tempers
}

fn windows(kind: Kind, silos: usize, random: &mut Random) -> Vec<Window> {
    if kind == Kind::QuarrellingRules {
        return Vec::new();
    }
    let count = random.index(4);
    let outages = [Outage::Dead, Outage::Partition, Outage::Deaf];
    let mut windows = Vec::new();
    for _ in 0..count {
        let from = random.between(MINUTE, EDITING);
        let to = (from + random.between(10_000, 15 * MINUTE)).min(CALM);
        windows.push(Window { silo: random.index(silos), from, to, outage: outages[random.index(3)] });
    }
    windows
}

fn policies(kind: Kind, random: &mut Random) -> BTreeMap<String, Value> {
    let mut policies = BTreeMap::new();
    if kind == Kind::Anything {
        let drawn = ["newest", "newest", "theirs", "ours", "manual"][random.index(5)];
        policies.insert("language".to_owned(), json!(drawn));
    }
    policies
}

/// People and cases come to be, and all that is going to happen is planned.
fn begin(world: &World, kind: Kind) {
    let mut state = world.state();
    let people = 1 + state.random.index(3);
    let silos = state.silos.len();
    let mut homes = Vec::new();
    for person in 0..people {
        let name = format!("person{person}@example.test");
        state.edits.subjects.push(Subject { entity: "contact", name: name.clone(), person: None });
        let home = state.random.index(silos);
        let mut fields = Map::from_iter([("email".to_owned(), json!(name))]);
        for field in CONTACT_FIELDS {
            let number = state.edits.next();
            state.edits.note(number, Edit { subject: person, field, parent: None, uncertain: false });
            fields.insert(field.to_owned(), value_of(field, number));
        }
        let key = state.silos[home].make("contact", fields, 0);
        state.changed_in_silo(home, "contact", &key, 0);
        let who = state.silos[home].name.clone();
        state.trace.say(0, &who, format!("a person makes contact {key}, {name}"));
        homes.push((home, key));
    }
    for (person, (home, key)) in homes.into_iter().enumerate() {
        if state.silos[home].temper.cases && (kind == Kind::TwoHelpdesks || person == 0) {
            make_case(&mut state, home, person, &key);
        }
    }
    let edits = 6 + state.random.index(12);
    for _ in 0..edits {
        let at = state.random.between(5_000, EDITING);
        let event = edit(&mut state.random, silos, people);
        state.plan(at, event);
    }
    let cuts = if kind == Kind::QuarrellingRules { 0 } else { state.random.index(4) };
    for _ in 0..cuts {
        let at = state.random.between(1_000, EDITING);
        let event = match state.random.index(4) {
            0 => Event::PowerCut,
            1 => Event::CutAtWrite(state.random.between(0, 4)),
            _ => Event::CutAtCommit { after: state.random.between(1, 30), kept: state.random.percent(50) },
        };
        state.plan(at, event);
    }
    for at in [EDITING + MINUTE, CALM + 20 * MINUTE] {
        state.plan(at, Event::Settle);
    }
}

fn make_case(state: &mut crate::world::State, home: usize, person: usize, customer: &str) {
    let subject = state.edits.subjects.len();
    let mut fields = Map::from_iter([("customer".to_owned(), json!(customer))]);
    for field in CASE_FIELDS {
        let number = state.edits.next();
        state.edits.note(number, Edit { subject, field, parent: None, uncertain: false });
        fields.insert(field.to_owned(), value_of(field, number));
    }
    state.edits.subjects.push(Subject { entity: "case", name: format!("case of person{person}"), person: Some(person) });
    let key = state.silos[home].make("case", fields, 0);
    state.changed_in_silo(home, "case", &key, 0);
}

fn edit(random: &mut Random, silos: usize, people: usize) -> Event {
    // The subjects are people first, then cases: a number beyond what there is falls back to a person when it happens.
    let subject = random.index(2 * people);
    let field = CONTACT_FIELDS[random.index(3)];
    if random.percent(15) {
        return Event::HubEdit { subject, field };
    }
    Event::Edit { silo: random.index(silos), subject, field }
}

/// The field that an edit changes, which depends on what the subject is.
#[must_use]
pub(crate) fn field_for(subject: &Subject, drawn: &'static str) -> &'static str {
    match (subject.entity, drawn) {
        ("case", "company") => "reason",
        ("case", _) => "order",
        (_, field) => field,
    }
}

/// The fields of a subject that people change.
#[must_use]
pub(crate) fn fields_of(entity: &str) -> &'static [&'static str] {
    if entity == "case" { &CASE_FIELDS } else { &CONTACT_FIELDS }
}

/// The value with this number.
#[must_use]
pub(crate) fn value_of(field: &str, number: u64) -> Value {
    match field {
        "phone" => format!("+4420{number:08}").into(),
        "company" => format!("Firm {number}").into(),
        "reason" => format!("Reason {number}").into(),
        "order" => format!("order{number}").into(),
        _ => format!("{field}{number}").into(),
    }
}
