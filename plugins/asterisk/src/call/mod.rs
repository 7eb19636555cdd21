//! The call assembler: manager events in, snapshots of calls out.
//!
//! Pure: no clock, no socket, no configuration of its own. Time comes from the events or with them. Calls are grouped by linked id, which
//! may change, and by everything else that shows two legs to be one conversation; the rules are in BEHAVIOR.md. Every change is idempotent,
//! so that repeated events do no harm.

mod dialogue;
mod fact;
mod lifecycle;
mod linking;
mod model;
mod outcome;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use throughline_plugin_sdk::schemas::interaction::CallPhase;
use throughline_plugin_sdk::schemas::{InteractionFact, Timestamp};

use crate::ami::Message;
use model::Leg;
pub use model::{Call, Policy, Role};

/// Ended calls kept for what is told of them late (a mailbox count, a webhook).
const ENDED_KEPT: usize = 256;
/// Unique ids of calls no longer kept, so that stragglers do not bring them back.
const FORGOTTEN_KEPT: usize = 8192;
/// Recent events by digest, to tell a repetition.
const RECENT_KEPT: usize = 512;

/// What is to be said of a call now.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The first unique id seen of the call.
    pub call: String,
    /// Grows with every snapshot of the call.
    pub version: i64,
    /// When it became so.
    pub at: Timestamp,
    /// What is known.
    pub fact: InteractionFact,
}

/// Puts calls together.
pub struct Assembler<P> {
    policy: P,
    calls: BTreeMap<String, Call>,
    /// Unique id of a leg to its call.
    by_leg: HashMap<String, String>,
    /// Linked id to the call that was first seen under it.
    by_linked: HashMap<String, String>,
    /// Bridge to the legs in it.
    bridges: HashMap<String, BTreeSet<String>>,
    ended: VecDeque<String>,
    forgotten: HashSet<String>,
    forgotten_order: VecDeque<String>,
    recent: HashSet<u64>,
    recent_order: VecDeque<u64>,
    dirty: BTreeSet<String>,
    out: Vec<Snapshot>,
    now: Timestamp,
}

impl<P: Policy> Assembler<P> {
    /// An assembler that knows of no call.
    pub fn new(policy: P) -> Self {
        Self {
            policy,
            calls: BTreeMap::new(),
            by_leg: HashMap::new(),
            by_linked: HashMap::new(),
            bridges: HashMap::new(),
            ended: VecDeque::new(),
            forgotten: HashSet::new(),
            forgotten_order: VecDeque::new(),
            recent: HashSet::new(),
            recent_order: VecDeque::new(),
            dirty: BTreeSet::new(),
            out: Vec::new(),
            now: Timestamp::default(),
        }
    }

    /// Takes up calls that an earlier run had open.
    pub fn restore(&mut self, calls: Vec<Call>) {
        for call in calls {
            for leg in &call.legs {
                self.by_leg.insert(leg.id.clone(), call.id.clone());
                self.by_linked.entry(leg.linked_id.clone()).or_insert_with(|| call.id.clone());
                if let Some(bridge) = &leg.bridge {
                    self.bridges.entry(bridge.clone()).or_default().insert(leg.id.clone());
                }
            }
            self.calls.insert(call.id.clone(), call);
        }
    }

    /// Takes one event. `arrived` stands in for the PBX's own time where the event carries none.
    pub fn apply(&mut self, event: &Message, arrived: Timestamp) {
        if event.event().is_none() || is_list_answer(event) || self.is_repetition(event) {
            return;
        }
        self.now = event.at_ms().map_or(arrived, Timestamp::from_millis);
        self.dispatch(event);
    }

    /// What changed since the last call, with every stage a call went through.
    pub fn take(&mut self) -> Vec<Snapshot> {
        for id in std::mem::take(&mut self.dirty) {
            self.tell_if_changed(&id);
        }
        std::mem::take(&mut self.out)
    }

    /// A call that is still known, open or ended a while ago.
    #[must_use]
    pub fn call(&self, id: &str) -> Option<&Call> {
        self.calls.get(id)
    }

    /// The calls that have not ended.
    pub fn open(&self) -> impl Iterator<Item = &Call> {
        self.calls.values().filter(|call| call.ended_at.is_none())
    }

    /// The connection is gone: until the last event that came over it, of whatever call, those that are open had not ended; those
    /// of an earlier connection that may have ended `before` it apart.
    pub fn lose_sight(&mut self, before: &[String]) {
        let now = self.now;
        for call in self.calls.values_mut().filter(|call| call.ended_at.is_none() && !before.contains(&call.id)) {
            call.seen_at = call.seen_at.max(now);
        }
    }

    /// Of these calls, closes those none of whose legs is among `alive`: the PBX restarted, or they ended while we were not connected.
    /// When they ended nobody knows; they are said to have ended when they were last heard of.
    pub fn close_lost(&mut self, calls: &[String], alive: &HashSet<String>) {
        for id in calls {
            let Some(call) = self.calls.get_mut(id).filter(|call| call.ended_at.is_none()) else { continue };
            if call.legs.iter().any(|leg| !leg.gone && alive.contains(&leg.id)) {
                continue;
            }
            call.lost = true;
            let last_seen = call.seen_at;
            for leg in call.legs.iter_mut().filter(|leg| !leg.gone) {
                leg.gone = true;
                leg.gone_at = Some(last_seen);
            }
            let now = std::mem::replace(&mut self.now, last_seen);
            self.end(id);
            self.now = now;
        }
    }

    /// The ids of the calls that have not ended.
    #[must_use]
    pub fn open_ids(&self) -> Vec<String> {
        self.open().map(|call| call.id.clone()).collect()
    }

    /// The calls of which there may be news at the next [`Assembler::take`].
    pub fn touched(&self) -> impl Iterator<Item = &Call> {
        self.dirty.iter().filter_map(|id| self.calls.get(id))
    }

    /// Context that came by another way than AMI and was told under `version`.
    pub fn add_variables(&mut self, call: &str, variables: &BTreeMap<String, String>, version: i64) {
        let Some(call) = self.calls.get_mut(call) else { return };
        for (name, value) in variables {
            call.set_variable(name, value.clone(), true);
        }
        call.version = call.version.max(version);
        self.dirty.insert(call.id.clone());
    }

    /// An exact repetition of a recent event. Without a time in the event two keys pressed alike look alike, so nothing is dropped then.
    fn is_repetition(&mut self, event: &Message) -> bool {
        if event.at_ms().is_none() {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        event.hash(&mut hasher);
        let digest = hasher.finish();
        if !self.recent.insert(digest) {
            return true;
        }
        self.recent_order.push_back(digest);
        if self.recent_order.len() > RECENT_KEPT
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        false
    }

    fn dispatch(&mut self, event: &Message) {
        match event.event().unwrap_or_default() {
            "Newchannel" => self.on_new_channel(event),
            "Newstate" => self.on_new_state(event),
            "NewCallerid" | "NewConnectedLine" => self.on_numbers(event),
            "DialBegin" => self.on_dial_begin(event),
            "DialState" => self.on_dial_state(event),
            "DialEnd" => self.on_dial_end(event),
            "HangupRequest" => self.on_hangup_request(event),
            "SoftHangupRequest" => self.on_soft_hangup_request(event),
            "Hangup" => self.on_hangup(event),
            "Shutdown" => self.close_lost(&self.open_ids(), &HashSet::new()),
            "LocalBridge" => self.on_local_bridge(event),
            "BridgeEnter" | "ConfbridgeJoin" => self.on_bridge_enter(event),
            "BridgeLeave" | "ConfbridgeLeave" => self.on_bridge_leave(event),
            "BlindTransfer" => self.on_blind_transfer(event),
            "AttendedTransfer" => self.on_attended_transfer(event),
            "Pickup" => self.on_pickup(event),
            "ParkedCall" => self.on_parked(event),
            "UnParkedCall" => self.on_unparked(event),
            "QueueCallerJoin" => self.on_queue_join(event),
            "QueueCallerLeave" | "QueueCallerAbandon" => self.on_queue_leave(event),
            "AgentConnect" => self.on_agent_connect(event),
            "AgentLogin" => self.on_agent_login(event),
            "AgentComplete" => self.on_agent_complete(event),
            "DTMFEnd" => self.on_digit(event),
            "Hold" => self.on_hold(event),
            "Unhold" => self.on_unhold(event),
            "Newexten" => self.on_dial_plan_step(event),
            "VarSet" => self.on_variable(event),
            "UserEvent" => self.on_user_event(event),
            "MessageWaiting" => self.on_message_waiting(event),
            "OriginateResponse" => self.on_originate_response(event),
            _ => {}
        }
    }

    /// The call of an event's channel, after what every event repeats about it was taken note of. `prefix` is that of the headers
    /// (`Dest`, `Transferee`…).
    fn touch(&mut self, event: &Message, prefix: &str) -> Option<(String, String)> {
        let leg_id = event.get(&format!("{prefix}Uniqueid"))?.to_owned();
        let linked = event.get(&format!("{prefix}Linkedid")).map(str::to_owned);
        let call_id = match self.by_leg.get(&leg_id) {
            Some(call_id) => call_id.clone(),
            None => self.join_late(event, prefix, &leg_id, linked.as_deref())?,
        };
        let call_id = self.follow_linked_id(&call_id, &leg_id, linked.as_deref());
        let call_id = self.note_repeated_variables(event, prefix, &call_id, &leg_id);
        let now = self.now;
        if let Some(call) = self.calls.get_mut(&call_id).filter(|call| call.ended_at.is_none()) {
            call.seen_at = now;
        }
        self.dirty.insert(call_id.clone());
        Some((call_id, leg_id))
    }

    /// A leg that was there before us: its beginning was missed.
    fn join_late(&mut self, event: &Message, prefix: &str, leg_id: &str, linked: Option<&str>) -> Option<String> {
        // Global variables are set on a channel called "none".
        let name = event.get(&format!("{prefix}Channel")).filter(|name| name.contains('/'))?;
        if event.event() == Some("Hangup") {
            self.bury(leg_id.to_owned());
        }
        // A message is counted when its caller has gone: that brings no call to life.
        if event.event() == Some("MessageWaiting") || self.forgotten.contains(leg_id) {
            return None;
        }
        let call_id = self.place(leg_id, name, linked.unwrap_or(leg_id));
        self.guess_beginning(&call_id, leg_id, event, prefix);
        Some(call_id)
    }

    fn leg(&self, id: &str) -> Option<&Leg> {
        self.calls.get(self.by_leg.get(id)?)?.leg(id)
    }

    fn leg_mut(&mut self, id: &str) -> Option<&mut Leg> {
        self.calls.get_mut(self.by_leg.get(id)?)?.leg_mut(id)
    }

    /// Says a stage a call has come to, if it is a new one.
    fn tell_stage(&mut self, id: &str) {
        let Some(call) = self.calls.get(id) else { return };
        if call.announced && call.stage.as_ref() != Some(&call.now_stage()) {
            self.tell_if_changed(id);
        }
    }

    fn tell_if_changed(&mut self, id: &str) {
        let at = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        if !call.announced {
            return;
        }
        let fact = call.fact();
        if call.told.as_ref() == Some(&fact) {
            return;
        }
        call.version = at.as_millis().max(call.version + 1);
        call.stage = Some(call.now_stage());
        call.told = Some(fact.clone());
        self.out.push(Snapshot { call: call.id.clone(), version: call.version, at, fact });
    }

    /// The last leg is gone.
    fn end(&mut self, id: &str) {
        let at = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.ended_at.is_some() {
            return;
        }
        call.leave_queue(at);
        call.ended_at = Some(at);
        call.talking.clear();
        call.announced = call.announced || call.is_worth_telling();
        debug_assert_eq!(call.now_phase(), CallPhase::Ended);
        self.by_linked.retain(|_, call_id| call_id != id);
        self.tell_if_changed(id);
        self.ended.push_back(id.to_owned());
        if self.ended.len() > ENDED_KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, id: &str) {
        let Some(call) = self.calls.remove(id) else { return };
        for leg in call.legs {
            self.by_leg.remove(&leg.id);
            self.bury(leg.id);
        }
    }

    /// Remembers that this leg is gone for good, so that what is said of it later is passed over.
    fn bury(&mut self, leg_id: String) {
        if self.forgotten.insert(leg_id.clone()) {
            self.forgotten_order.push_back(leg_id);
        }
        while self.forgotten_order.len() > FORGOTTEN_KEPT {
            if let Some(oldest) = self.forgotten_order.pop_front() {
                self.forgotten.remove(&oldest);
            }
        }
    }
}

/// An entry of a list that somebody asked the PBX for: how things stand, told without a time, and no news. What came of an action is.
fn is_list_answer(event: &Message) -> bool {
    event.get("ActionID").is_some() && event.event() != Some("OriginateResponse")
}

#[cfg(test)]
mod tests;
