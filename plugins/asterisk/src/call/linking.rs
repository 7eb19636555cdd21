//! Which legs are one call, and who hears whom.

use std::collections::BTreeSet;

use throughline_plugin_sdk::schemas::{Direction, Timestamp};

use super::Assembler;
use super::model::{Call, Leg, Policy};
use crate::ami::Message;

/// A leg handed over this short a time ago still counts as one that talked: events of the same moment come in either order.
const JUST_NOW_MS: i64 = 500;

impl<P: Policy> Assembler<P> {
    /// Puts a new leg where its linked id says, or into a call of its own; returns the call.
    pub(super) fn place(&mut self, leg_id: &str, name: &str, linked: &str) -> String {
        let role = self.policy.role(name);
        let known = self.by_linked.get(linked).or_else(|| self.by_leg.get(linked)).cloned();
        let call_id = known.filter(|id| self.calls.get(id).is_some_and(|call| call.ended_at.is_none())).unwrap_or_else(|| {
            self.calls.insert(leg_id.to_owned(), Call::new(leg_id, self.now));
            self.by_linked.insert(linked.to_owned(), leg_id.to_owned());
            leg_id.to_owned()
        });
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.legs.push(Leg::new(leg_id, name, role, linked));
        }
        self.by_leg.insert(leg_id.to_owned(), call_id);
        if let Some(peer) = self.other_half(name) {
            self.join_halves(leg_id, &peer);
        }
        self.by_leg.get(leg_id).cloned().unwrap_or_default()
    }

    /// The live other half of a Local channel, which differs in the name's last character alone.
    fn other_half(&self, name: &str) -> Option<String> {
        let (base, half) = name.rsplit_once(';').filter(|_| name.starts_with("Local/"))?;
        let other = format!("{base};{}", if half == "1" { "2" } else { "1" });
        self.open().flat_map(|call| &call.legs).find(|leg| !leg.gone && leg.name == other).map(|leg| leg.id.clone())
    }

    fn join_halves(&mut self, one: &str, two: &str) {
        for (leg, peer) in [(one, two), (two, one)] {
            if let Some(leg) = self.leg_mut(leg) {
                leg.local_peer = Some(peer.to_owned());
            }
        }
        self.unite_legs(&[one.to_owned(), two.to_owned()]);
    }

    /// A leg's linked id may change without an event that says so: the next event simply carries the new one. Then its call and the one
    /// known by that id are one.
    pub(super) fn follow_linked_id(&mut self, call_id: &str, leg_id: &str, linked: Option<&str>) -> String {
        let Some(linked) = linked else { return call_id.to_owned() };
        if self.leg(leg_id).is_none_or(|leg| leg.linked_id == linked || leg.gone) {
            return call_id.to_owned();
        }
        if let Some(leg) = self.leg_mut(leg_id) {
            leg.linked_id = linked.to_owned();
        }
        match self.by_linked.get(linked).or_else(|| self.by_leg.get(linked)).cloned() {
            Some(other) => self.unite(call_id, &other),
            None => {
                self.by_linked.insert(linked.to_owned(), call_id.to_owned());
                call_id.to_owned()
            }
        }
    }

    /// Makes one call of the calls of these legs, where that is right.
    pub(super) fn unite_legs(&mut self, legs: &[String]) {
        for pair in legs.windows(2) {
            let (Some(one), Some(two)) = (self.by_leg.get(&pair[0]).cloned(), self.by_leg.get(&pair[1]).cloned()) else { continue };
            self.unite(&one, &two);
        }
    }

    /// Makes one call of two; returns the one that stays. Two that each have somebody outside stay two, however they are linked: they are
    /// two customers, or a customer and whom an agent asked about him.
    pub(super) fn unite(&mut self, one: &str, two: &str) -> String {
        if one == two {
            return one.to_owned();
        }
        let (Some(first), Some(second)) = (self.calls.get(one), self.calls.get(two)) else { return one.to_owned() };
        let over = first.ended_at.is_some() || second.ended_at.is_some();
        if over || first.stands_by() || second.stands_by() || (first.has_external() && second.has_external()) {
            return one.to_owned();
        }
        // One that was told of keeps its key; otherwise the earlier one gives it.
        let rank = |call: &Call| (!call.announced, call.started_at, call.id.clone());
        let (stays, goes) = if rank(first) <= rank(second) { (one, two) } else { (two, one) };
        let (stays, goes) = (stays.to_owned(), goes.to_owned());
        let Some(gone) = self.calls.remove(&goes) else { return stays };
        for id in self.by_leg.values_mut().chain(self.by_linked.values_mut()).filter(|id| **id == goes) {
            id.clone_from(&stays);
        }
        self.dirty.remove(&goes);
        if let Some(call) = self.calls.get_mut(&stays) {
            absorb(call, gone);
        }
        self.dirty.insert(stays.clone());
        stays
    }

    /// The legs that hear this one, itself included: through bridges and through Local channels from one bridge to the next.
    pub(super) fn connected(&self, leg_id: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::from([leg_id.to_owned()]);
        let mut next = vec![leg_id.to_owned()];
        while let Some(id) = next.pop() {
            let Some(leg) = self.leg(&id).filter(|leg| !leg.gone) else { continue };
            let in_bridge = leg.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge)).into_iter().flatten();
            for other in in_bridge.chain(&leg.local_peer) {
                if reached.insert(other.clone()) {
                    next.push(other.clone());
                }
            }
        }
        reached
    }

    /// Who talks with the customers of the calls that these legs belong to or are connected with.
    pub(super) fn review_talking<'a>(&mut self, legs: impl IntoIterator<Item = &'a String>) {
        let mut calls = BTreeSet::new();
        for leg in legs {
            calls.extend(self.connected(leg).iter().filter_map(|id| self.by_leg.get(id)).cloned());
        }
        for id in calls {
            self.review_call(&id);
        }
    }

    fn review_call(&mut self, id: &str) {
        let Some(call) = self.calls.get(id).filter(|call| call.ended_at.is_none()) else { return };
        let heard = match call.customer_leg.as_deref() {
            Some(customer) => self.connected(customer),
            None => self.heard_among_agents(call),
        };
        let agents: BTreeSet<String> = heard.iter().filter_map(|leg| self.leg(leg)?.agent()).map(str::to_owned).collect();
        let customer = call.customer_leg.clone();
        let third_party = heard.iter().any(|leg| Some(leg) != customer.as_ref() && self.leg(leg).is_some_and(Leg::is_external));
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        for leg in call.legs.iter_mut().filter(|leg| heard.contains(&leg.id) && leg.agent().is_some()) {
            leg.last_talk_at = Some(now);
        }
        if third_party && customer.is_some() {
            call.human_answered = true;
        }
        if !agents.is_empty() {
            call.leave_queue(now);
        }
        call.note_talking(agents);
        self.tell_stage(id);
    }

    /// Without anybody outside: the agents of the call who hear another one.
    fn heard_among_agents(&self, call: &Call) -> BTreeSet<String> {
        let agents_in = |legs: &BTreeSet<String>| legs.iter().filter(|id| self.leg(id).is_some_and(|leg| leg.agent().is_some())).count();
        let groups = call.legs.iter().filter(|leg| !leg.gone).map(|leg| self.connected(&leg.id));
        groups.filter(|group| agents_in(group) > 1).flatten().collect()
    }

    /// Whether this leg hears the customer of its call, or did a moment ago, and no other agent does.
    pub(super) fn is_last_with_customer(&self, call: &Call, leg_id: &str) -> bool {
        let Some(leg) = call.leg(leg_id) else { return false };
        let just_now = |at: Timestamp| self.now.since(at) <= JUST_NOW_MS;
        let Some(customer) = call.customer_leg.as_deref() else { return true };
        let heard = self.connected(customer);
        let others = heard.iter().any(|id| id != leg_id && self.leg(id).is_some_and(|leg| leg.agent().is_some()));
        !others && !leg.passed_on && (heard.contains(leg_id) || leg.last_talk_at.is_some_and(just_now))
    }

    pub(super) fn on_local_bridge(&mut self, event: &Message) {
        let one = self.touch(event, "LocalOne");
        let two = self.touch(event, "LocalTwo");
        let (Some((_, one)), Some((_, two))) = (one, two) else { return };
        self.join_halves(&one, &two);
        self.review_talking([&one]);
    }

    pub(super) fn on_bridge_enter(&mut self, event: &Message) {
        let Some((_, leg_id)) = self.touch(event, "") else { return };
        // A bridge that only holds its members (parking) connects nobody with anybody.
        if event.raw("BridgeTechnology") == Some("holding_bridge") || self.leg(&leg_id).is_none_or(|leg| leg.gone) {
            return;
        }
        let Some(bridge) = event.get("BridgeUniqueid").map(str::to_owned) else { return };
        self.leave_bridge(&leg_id);
        if let Some(leg) = self.leg_mut(&leg_id) {
            leg.bridge = Some(bridge.clone());
            leg.up = true;
            leg.ringing = false;
        }
        let members = self.bridges.entry(bridge).or_default();
        members.insert(leg_id.clone());
        let members: Vec<String> = members.iter().cloned().collect();
        for member in members.iter().filter(|member| **member != leg_id) {
            self.unite_legs(&[leg_id.clone(), member.clone()]);
        }
        self.review_talking([&leg_id]);
    }

    pub(super) fn on_bridge_leave(&mut self, event: &Message) {
        let Some((_, leg_id)) = self.touch(event, "") else { return };
        let bridge = event.get("BridgeUniqueid");
        if self.leg(&leg_id).is_some_and(|leg| leg.bridge.as_deref() == bridge) {
            self.leave_bridge(&leg_id);
        }
    }

    /// Takes a leg out of its bridge and reviews who is left together.
    pub(super) fn leave_bridge(&mut self, leg_id: &str) {
        let Some(bridge) = self.leg_mut(leg_id).and_then(|leg| leg.bridge.take()) else { return };
        let mut affected = vec![leg_id.to_owned()];
        if let Some(members) = self.bridges.get_mut(&bridge) {
            members.remove(leg_id);
            affected.extend(members.iter().cloned());
            if members.is_empty() {
                self.bridges.remove(&bridge);
            }
        }
        self.review_talking(&affected);
    }

    /// The leg of an agent who has logged in and waits; what it was before is of no account.
    pub(super) fn on_agent_login(&mut self, event: &Message) {
        let Some((_, leg_id)) = self.touch(event, "") else { return };
        if let Some(leg) = self.leg_mut(&leg_id) {
            leg.stands_by = true;
        }
    }

    pub(super) fn on_pickup(&mut self, event: &Message) {
        let picker = self.touch(event, "");
        let target = self.touch(event, "Target");
        if let (Some((_, picker)), Some((_, target))) = (picker, target) {
            self.unite_legs(&[picker, target]);
        }
    }

    pub(super) fn on_unparked(&mut self, event: &Message) {
        let legs: Vec<String> =
            ["Parkee", "Retriever"].iter().filter_map(|prefix| self.touch(event, prefix)).map(|touched| touched.1).collect();
        self.unite_legs(&legs);
    }
}

/// Takes everything of a call that turned out to be part of this one. At most one of the two has somebody outside.
fn absorb(call: &mut Call, gone: Call) {
    // Who talked among agents has not talked with the customer.
    match (call.has_external(), gone.has_external()) {
        (false, false) => {
            call.agents.extend(gone.agents);
            call.human_answered |= gone.human_answered;
        }
        (false, true) => {
            call.agents = gone.agents;
            call.human_answered = gone.human_answered;
            call.direction = gone.direction;
            call.customer_leg = gone.customer_leg;
            call.customer = gone.customer;
            call.customer_name = gone.customer_name;
            call.endpoint = gone.endpoint;
        }
        // An agent's leg that was originated before the customer's began the call; a consultation did not.
        (true, _) if gone.direction == Direction::Outbound => call.started_at = call.started_at.min(gone.started_at),
        (true, _) => {}
    }
    call.legs.extend(gone.legs);
    call.voicemail |= gone.voicemail;
    call.served_by_ivr |= gone.served_by_ivr;
    call.hangup_seen |= gone.hangup_seen;
    call.wanted = call.wanted.take().or(gone.wanted);
    call.queue = call.queue.take().or(gone.queue);
    call.queued_at = call.queued_at.or(gone.queued_at);
    call.transfers.extend(gone.transfers);
    call.transferred_at = call.transferred_at.max(gone.transferred_at);
    call.transfer_ids.extend(gone.transfer_ids);
    call.recordings.extend(gone.recordings);
    for (name, variable) in gone.variables {
        call.variables.entry(name).or_insert(variable);
    }
    call.tokens.extend(gone.tokens);
}
