//! What is remembered of a call while it goes on: its legs, and what is already known of its outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use throughline_plugin_sdk::schemas::interaction::{CallPhase, EndedBy};
use throughline_plugin_sdk::schemas::{Direction, InteractionFact, Timestamp, Transfer};

/// Context is small; a dial plan that says more is cut.
const MAX_VARIABLES: usize = 64;
const MAX_VALUE: usize = 1024;

/// What a channel is to us, by its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// On a trunk: the customer, or a third party outside.
    External,
    /// An agent's phone, by the agent's name.
    Agent(String),
    /// One half of a Local channel: plumbing, followed only to see what is linked to what.
    Local,
    /// Anything else (announcers, recorders).
    Other,
}

/// What the configuration knows that the events do not say.
pub trait Policy {
    /// The role of a channel, by its name.
    fn role(&self, channel: &str) -> Role;
    /// A caller id as E.164; none when withheld, internal or not certain.
    fn number(&self, raw: &str) -> Option<String>;
    /// The number on our side that was dialled, in E.164 where possible.
    fn our_number(&self, dialled: &str) -> String;
    /// One of our own numbers as it is shown to whom we call; none where it cannot be told from an extension.
    fn shown_number(&self, shown: &str) -> Option<String>;
    /// Whether this is an extension of our own.
    fn is_internal(&self, extension: &str) -> bool;
    /// Whether a `UserEvent` of this name carries context.
    fn takes_user_event(&self, name: &str) -> bool;
    /// Two keys further apart than this begin a new input where the dial plan does not tell.
    fn digit_gap_ms(&self) -> i64;
}

/// One leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) linked_id: String,
    /// The PBX dialled it, so it did not come in by itself.
    pub(crate) dialled: bool,
    /// Dialled by nobody on the PBX: originated by an application.
    pub(crate) originated: bool,
    pub(crate) ringing: bool,
    pub(crate) up: bool,
    pub(crate) gone: bool,
    pub(crate) gone_at: Option<Timestamp>,
    pub(crate) bridge: Option<String>,
    /// The other half of a Local channel.
    pub(crate) local_peer: Option<String>,
    pub(crate) on_hold: bool,
    /// Its last hold counts, and is over since.
    #[serde(default)]
    pub(crate) hold_counted: bool,
    #[serde(default)]
    pub(crate) unheld_at: Option<Timestamp>,
    /// Logged in as an agent: it is there between calls and belongs to none.
    #[serde(default)]
    pub(crate) stands_by: bool,
    /// When it was put into a parking lot.
    #[serde(default)]
    pub(crate) parked_at: Option<Timestamp>,
    /// It has handed the call over: what becomes of it does not end the call.
    pub(crate) passed_on: bool,
    pub(crate) last_key_at: Option<Timestamp>,
    /// When it last was connected with the customer.
    pub(crate) last_talk_at: Option<Timestamp>,
    pub(crate) number: Option<String>,
    pub(crate) dial_status: Option<String>,
    pub(crate) cause: Option<u32>,
    pub(crate) tech_cause: Option<String>,
    /// In an application that reads one input until it says that it is done.
    pub(crate) reading: bool,
}

impl Leg {
    pub(crate) fn new(id: &str, name: &str, role: Role, linked_id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            role,
            linked_id: linked_id.to_owned(),
            dialled: false,
            originated: false,
            ringing: false,
            up: false,
            gone: false,
            gone_at: None,
            bridge: None,
            local_peer: None,
            on_hold: false,
            hold_counted: false,
            unheld_at: None,
            stands_by: false,
            parked_at: None,
            passed_on: false,
            last_key_at: None,
            last_talk_at: None,
            number: None,
            dial_status: None,
            cause: None,
            tech_cause: None,
            reading: false,
        }
    }

    pub(crate) fn agent(&self) -> Option<&str> {
        if let Role::Agent(name) = &self.role { Some(name) } else { None }
    }

    pub(crate) fn is_external(&self) -> bool {
        self.role == Role::External
    }
}

/// A context variable and how it became known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Variable {
    pub(crate) value: String,
    /// Set by an event of its own; the values repeated with every event of a leg may be older.
    pub(crate) told: bool,
}

/// What shows in the fact's phase: a change of it is told at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) phase: CallPhase,
    pub(crate) ringing: Vec<String>,
    pub(crate) agents: usize,
}

/// One call: one interaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The first unique id seen of it.
    pub(crate) id: String,
    pub(crate) legs: Vec<Leg>,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// When something last was heard of it.
    pub(crate) seen_at: Timestamp,
    /// Whether we lost sight of it before it ended.
    pub(crate) lost: bool,
    pub(crate) direction: Direction,
    /// The leg of the customer.
    pub(crate) customer_leg: Option<String>,
    pub(crate) customer: Option<String>,
    pub(crate) customer_name: Option<String>,
    /// Whom an originated call was meant for, as long as he was not dialled.
    pub(crate) wanted: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) queued_at: Option<Timestamp>,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) human_answered: bool,
    pub(crate) agents: Vec<String>,
    pub(crate) talking: BTreeSet<String>,
    pub(crate) digits: Vec<String>,
    pub(crate) last_digit_at: Option<Timestamp>,
    pub(crate) served_by_ivr: bool,
    pub(crate) voicemail: bool,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) transfer_ids: BTreeSet<String>,
    #[serde(default)]
    pub(crate) transferred_at: Option<Timestamp>,
    pub(crate) holds: u32,
    pub(crate) customer_hung_up: bool,
    /// When an agent hung up on the customer, who was last with him.
    pub(crate) agent_hung_up_at: Option<Timestamp>,
    /// An agent hung up before the customer was reached.
    pub(crate) agent_gave_up: bool,
    pub(crate) hangup_seen: bool,
    pub(crate) completed_by: Option<EndedBy>,
    /// The result of the customer's last `Dial`, as the dial plan saw it.
    pub(crate) dial_status: Option<String>,
    pub(crate) recordings: Vec<String>,
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) tokens: Vec<String>,
    pub(crate) announced: bool,
    pub(crate) version: i64,
    #[serde(skip)]
    pub(crate) stage: Option<Stage>,
    /// The last that was said of it.
    #[serde(skip)]
    pub(crate) told: Option<InteractionFact>,
}

impl Call {
    pub(crate) fn new(id: &str, at: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            legs: Vec::new(),
            started_at: at,
            ended_at: None,
            seen_at: at,
            lost: false,
            direction: Direction::Internal,
            customer_leg: None,
            customer: None,
            customer_name: None,
            wanted: None,
            endpoint: None,
            queue: None,
            queued_at: None,
            wait_ms: None,
            human_answered: false,
            agents: Vec::new(),
            talking: BTreeSet::new(),
            digits: Vec::new(),
            last_digit_at: None,
            served_by_ivr: false,
            voicemail: false,
            transfers: Vec::new(),
            transfer_ids: BTreeSet::new(),
            transferred_at: None,
            holds: 0,
            customer_hung_up: false,
            agent_hung_up_at: None,
            agent_gave_up: false,
            hangup_seen: false,
            completed_by: None,
            dial_status: None,
            recordings: Vec::new(),
            variables: BTreeMap::new(),
            tokens: Vec::new(),
            announced: false,
            version: 0,
            stage: None,
            told: None,
        }
    }

    /// The first unique id seen of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The unique ids of its legs from outside.
    pub fn external_legs(&self) -> impl Iterator<Item = &str> {
        self.legs.iter().filter(|leg| leg.is_external()).map(|leg| leg.id.as_str())
    }

    /// Whether a leg with this unique id belongs to it.
    #[must_use]
    pub fn has_leg(&self, id: &str) -> bool {
        self.leg(id).is_some()
    }

    /// The channel of the customer, while it is there.
    #[must_use]
    pub fn customer_channel(&self) -> Option<&str> {
        self.customer_leg().filter(|leg| !leg.gone).map(|leg| leg.id.as_str())
    }

    /// The channel name of the agent who talks: naming it in a transfer moves the other side.
    #[must_use]
    pub fn talking_agent_channel(&self) -> Option<&str> {
        let talks = |leg: &&Leg| !leg.gone && leg.bridge.is_some() && leg.agent().is_some_and(|agent| self.talking.contains(agent));
        self.legs.iter().find(talks).map(|leg| leg.name.as_str())
    }

    /// The version last told.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// What is known of it, with context that came by another way.
    #[must_use]
    pub fn fact_with(&self, variables: &BTreeMap<String, String>) -> InteractionFact {
        let mut call = self.clone();
        for (name, value) in variables {
            call.set_variable(name, value.clone(), true);
        }
        call.fact()
    }

    pub(crate) fn leg(&self, id: &str) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    pub(crate) fn leg_mut(&mut self, id: &str) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg of the customer.
    pub(crate) fn customer_leg(&self) -> Option<&Leg> {
        self.leg(self.customer_leg.as_deref()?)
    }

    pub(crate) fn is_customer_leg(&self, id: &str) -> bool {
        self.customer_leg.as_deref() == Some(id)
    }

    /// Whether somebody outside takes part.
    pub(crate) fn has_external(&self) -> bool {
        self.legs.iter().any(Leg::is_external)
    }

    /// Whether it is no call but an agent who waits for calls.
    pub(crate) fn stands_by(&self) -> bool {
        self.legs.iter().any(|leg| leg.stands_by && !leg.gone)
    }

    /// Whether nothing is left of it but plumbing: Local halves, announcers, recorders.
    pub(crate) fn is_over(&self) -> bool {
        let mut people = self.legs.iter().filter(|leg| leg.is_external() || leg.agent().is_some()).peekable();
        if people.peek().is_some() { people.all(|leg| leg.gone) } else { self.legs.iter().all(|leg| leg.gone) }
    }

    /// Agents whose phones ring, in the order in which they were called.
    pub(crate) fn ringing(&self) -> Vec<String> {
        let mut agents: Vec<String> = Vec::new();
        for leg in self.legs.iter().filter(|leg| leg.ringing && !leg.up && !leg.gone) {
            if let Some(agent) = leg.agent()
                && !agents.iter().any(|known| known == agent)
            {
                agents.push(agent.to_owned());
            }
        }
        agents
    }

    /// Whether an agent's phone was called on behalf of the customer.
    pub(crate) fn agent_was_called(&self) -> bool {
        self.legs.iter().any(|leg| leg.dialled && leg.agent().is_some())
    }

    /// Notes who talks with the customer now; whoever is new stands at the end of the list of those who did.
    pub(crate) fn note_talking(&mut self, now: BTreeSet<String>) {
        for leg in &self.legs {
            let Some(agent) = leg.agent() else { continue };
            let new = now.contains(agent) && !self.talking.contains(agent);
            if new && leg.bridge.is_some() && self.agents.last().is_none_or(|last| last != agent) {
                self.agents.push(agent.to_owned());
            }
        }
        // Agents whose legs belong to another call (a conference of two).
        for agent in now.difference(&self.talking) {
            if !self.agents.contains(agent) {
                self.agents.push(agent.clone());
            }
        }
        if now.difference(&self.talking).next().is_some() {
            self.human_answered = true;
            self.agent_hung_up_at = None;
        }
        self.talking = now;
    }

    /// Keeps a context variable, lower case and without prefix. A token is a pointer of ours and stands apart.
    pub(crate) fn set_variable(&mut self, name: &str, value: String, told: bool) {
        let name = name.to_ascii_lowercase();
        let value: String = value.chars().take(MAX_VALUE).collect();
        if name == "token" {
            if !self.tokens.contains(&value) {
                self.tokens.push(value);
            }
            return;
        }
        if self.variables.len() < MAX_VARIABLES || self.variables.contains_key(&name) {
            self.variables.insert(name, Variable { value, told });
        }
    }

    /// The wait in the queue ends here.
    pub(crate) fn leave_queue(&mut self, at: Timestamp) {
        if let Some(since) = self.queued_at.take() {
            let waited = u64::try_from(at.since(since)).unwrap_or(0);
            self.wait_ms = Some(self.wait_ms.unwrap_or(0).saturating_add(waited));
        }
    }

    pub(crate) fn now_phase(&self) -> CallPhase {
        if self.ended_at.is_some() {
            CallPhase::Ended
        } else if !self.talking.is_empty() || self.is_being_hung_up() {
            CallPhase::Talking
        } else if !self.ringing().is_empty() || self.is_being_connected() {
            CallPhase::Ringing
        } else if self.queued_at.is_some() {
            CallPhase::Queued
        } else {
            CallPhase::Offered
        }
    }

    /// An agent has picked up and is not in the bridge yet: a few milliseconds that are no stage of their own.
    fn is_being_connected(&self) -> bool {
        let picked_up = |leg: &Leg| leg.dialled && leg.up && !leg.gone && leg.agent().is_some() && leg.last_talk_at.is_none();
        self.direction == Direction::Inbound && self.legs.iter().any(picked_up)
    }

    /// One of the two has hung up and the legs are not all gone yet.
    fn is_being_hung_up(&self) -> bool {
        !self.agents.is_empty() && (self.customer_hung_up || self.agent_hung_up_at.is_some())
    }

    pub(crate) fn now_stage(&self) -> Stage {
        Stage { phase: self.now_phase(), ringing: self.ringing(), agents: self.agents.len() }
    }
}
