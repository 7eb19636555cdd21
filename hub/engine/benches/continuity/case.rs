//! The format of a case: what happens, and what a person says must come of it. See `docs/continuity-corpus.md`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One history with what is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) id: String,
    /// Which failure it is about.
    pub(crate) group: String,
    /// Why that is right.
    #[serde(default, rename = "why")]
    pub(crate) _why: String,
    /// Connections beside the usual ones, or in their place.
    #[serde(default)]
    pub(crate) connections: BTreeMap<String, Map<String, Value>>,
    /// What happens, in this order.
    pub(crate) events: Vec<Event>,
}

/// One thing that happens; exactly one of the fields that say what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Event {
    /// When, since the case began: `90s`, `5m`, `2h`, `3d`, `2d4h`. A minute after the one before if absent.
    pub(crate) at: Option<String>,
    /// A record of a silo, new or changed.
    pub(crate) record: Option<Record>,
    /// A message that a connection reports.
    pub(crate) message: Option<Message>,
    /// A call that a connection reports.
    pub(crate) call: Option<Call>,
    /// A message that is sent through the hub.
    pub(crate) reply: Option<Reply>,
    /// A token that is issued.
    pub(crate) issue: Option<Issue>,
    /// Enquiries whose status a person changes: the name of what stands in it, and the status.
    pub(crate) status: Option<BTreeMap<String, String>>,
    /// Context variables that are set: the name of what stands in the enquiry, and the variables.
    pub(crate) set: Option<BTreeMap<String, Value>>,
    /// Profiles that a person merges, by what stands in them: the survivor, and who is merged into it.
    pub(crate) merge: Option<[String; 2]>,
    /// A conversation that a person moves, by what stands in it, to the enquiry of another, or out of any.
    #[serde(rename = "move")]
    pub(crate) moves: Option<(String, Option<String>)>,
    /// Policies of continuity that are set.
    pub(crate) policies: Option<Value>,
    /// A look-up.
    pub(crate) lookup: Option<BTreeMap<String, String>>,
    /// What is right.
    pub(crate) expect: Option<Expect>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    #[serde(default = "crm")]
    pub(crate) on: String,
    pub(crate) key: String,
    pub(crate) fields: Value,
}

fn crm() -> String {
    "crm".to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Message {
    pub(crate) on: Option<String>,
    pub(crate) name: String,
    /// `Ada <ada@example.com>`, or a bare address; none if it is withheld.
    pub(crate) from: Option<String>,
    pub(crate) to: Vec<String>,
    pub(crate) cc: Vec<String>,
    pub(crate) direction: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) in_reply_to: Vec<String>,
    pub(crate) references: Vec<String>,
    pub(crate) tokens: Vec<String>,
    pub(crate) thread: Option<String>,
    pub(crate) automated: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) authentication: Option<String>,
    /// When it happened, if that is another time than when it is reported: how long before, as `at`.
    pub(crate) ago: Option<String>,
    /// A newer version of what was reported under the same name.
    pub(crate) version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Call {
    pub(crate) on: Option<String>,
    pub(crate) name: String,
    pub(crate) from: Option<String>,
    pub(crate) from_name: Option<String>,
    pub(crate) direction: Option<String>,
    pub(crate) phase: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) tokens: Vec<String>,
    pub(crate) attestation: Option<String>,
    pub(crate) variables: BTreeMap<String, Value>,
    pub(crate) ago: Option<String>,
    pub(crate) version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) recipients: Vec<String>,
    #[serde(default)]
    pub(crate) automatic: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issue {
    #[serde(rename = "for")]
    pub(crate) of: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) token: Value,
}

/// What is right. What is absent is not asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    /// Where it goes: `attach m1`, `open`, `open after m1`, `park m1`, `suggest m1 m2`, `none`; several if each is right.
    pub(crate) place: Option<OneOrMany>,
    /// Whether it is taken for a machine's.
    pub(crate) automated: Option<bool>,
    /// Statuses of enquiries afterwards, by what stands in them.
    pub(crate) status: BTreeMap<String, String>,
    /// Whether the hub sends it.
    pub(crate) sent: Option<bool>,
    /// Whether the look-up knows exactly one person.
    pub(crate) known: Option<bool>,
    /// Whether the look-up says that several share the identifier.
    pub(crate) ambiguous: Option<bool>,
    /// Whether the token of the look-up holds.
    pub(crate) token: Option<bool>,
    /// What must be told: texts that stand in the answer.
    pub(crate) tells: Vec<String>,
    /// What must be kept back: texts that stand nowhere in the answer.
    pub(crate) keeps: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn all(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

/// `2d4h` in milliseconds.
pub(crate) fn duration(text: &str) -> i64 {
    let (mut total, mut number) = (0i64, 0i64);
    for letter in text.chars() {
        match letter {
            '0'..='9' => number = number * 10 + i64::from(letter as u8 - b'0'),
            's' | 'm' | 'h' | 'd' => {
                let unit = match letter {
                    's' => 1,
                    'm' => 60,
                    'h' => 3600,
                    _ => 86_400,
                };
                total += number * unit * 1000;
                number = 0;
            }
            _ => panic!("{text:?} is no time: write 90s, 5m, 2h, 3d"),
        }
    }
    total
}
