//! Legs from their creation to their end: who came in, who was dialled, who hung up.

use throughline_plugin_sdk::schemas::Direction;

use super::Assembler;
use super::model::{Policy, Role};
use crate::ami::Message;

/// `ChannelState` of a leg that came in and is not answered, of one that rings, of one that is answered.
const RING: &str = "4";
const RINGING: &str = "5";
const UP: &str = "6";
/// Q.850 "interworking" and SIP "request terminated": how a caller who gives up while it rings looks.
const CAUSE_CANCELLED: u32 = 127;
const SIP_CANCELLED: &str = "487";

impl<P: Policy> Assembler<P> {
    pub(super) fn on_new_channel(&mut self, event: &Message) {
        let (Some(leg_id), Some(name)) = (event.get("Uniqueid"), event.get("Channel")) else { return };
        if self.forgotten.contains(leg_id) {
            return;
        }
        if !self.by_leg.contains_key(leg_id) {
            self.drop_namesake(name);
            self.place(leg_id, name, event.get("Linkedid").unwrap_or(leg_id));
        }
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        // What was told of its first leg before it was told to exist came too early, not the call.
        let now = self.now;
        if let Some(call) = self.calls.get_mut(&call_id).filter(|call| call.id == leg_id) {
            call.started_at = call.started_at.min(now);
        }
        if event.raw("ChannelState") == Some(RING) && self.leg(&leg_id).is_some_and(|leg| leg.is_external()) {
            self.came_in(&call_id, &leg_id, event, "");
        }
    }

    /// No two live channels have one name, and names begin again when the PBX restarts: whoever had this one is gone.
    fn drop_namesake(&mut self, name: &str) {
        let holds = |call: &&super::Call| call.legs.iter().any(|leg| !leg.gone && leg.name == name);
        let lost: Vec<String> = self.open().filter(holds).map(|call| call.id.clone()).collect();
        self.close_lost(&lost, &std::collections::HashSet::new());
    }

    /// A leg from outside that nobody here dialled: the customer calls.
    pub(super) fn came_in(&mut self, call_id: &str, leg_id: &str, event: &Message, prefix: &str) {
        let header = |name: &str| event.get(&format!("{prefix}{name}"));
        let number = header("CallerIDNum").and_then(|raw| caller(&self.policy, raw));
        let name = event.text(&format!("{prefix}CallerIDName")).filter(|name| number.is_some() && Some(name) != number.as_ref());
        let endpoint = header("Exten").map(|dialled| self.policy.our_number(dialled));
        let Some(call) = self.calls.get_mut(call_id).filter(|call| call.customer_leg.is_none()) else { return };
        call.direction = Direction::Inbound;
        call.customer_leg = Some(leg_id.to_owned());
        call.customer = number;
        call.customer_name = name;
        call.endpoint = endpoint;
        call.announced = true;
        self.tell_stage(call_id);
    }

    /// What the beginning of a leg will have been that was there before we were.
    pub(super) fn guess_beginning(&mut self, call_id: &str, leg_id: &str, event: &Message, prefix: &str) {
        let state = event.raw(&format!("{prefix}ChannelState")).unwrap_or_default().to_owned();
        let Some(leg) = self.leg_mut(leg_id) else { return };
        leg.up = state == UP;
        leg.ringing = state == RINGING;
        let is_first = leg.linked_id == leg_id;
        if !leg.is_external() || !(state == RING || state == UP) {
            return;
        }
        if state == RING || is_first {
            self.came_in(call_id, leg_id, event, prefix);
        } else {
            self.dialled_out(call_id, leg_id, None);
        }
    }

    /// A leg on a trunk that was dialled: the customer of an outbound call, unless the call has a customer already.
    fn dialled_out(&mut self, call_id: &str, leg_id: &str, dialled: Option<&str>) {
        let number = dialled.and_then(|text| number_in(&self.policy, text));
        if let Some(leg) = self.leg_mut(leg_id) {
            leg.number = leg.number.take().or_else(|| number.clone());
        }
        let Some(call) = self.calls.get_mut(call_id) else { return };
        match &call.customer_leg {
            None => call.customer_leg = Some(leg_id.to_owned()),
            Some(customer) if customer == leg_id => {}
            Some(_) => return,
        }
        call.direction = Direction::Outbound;
        call.customer = number.or(call.customer.take());
        call.announced = true;
    }

    /// On an outbound call our number is what the customer's phone is shown: the leg's connected line, or its caller id where that is not
    /// the customer's.
    fn note_our_number(&mut self, call_id: &str, leg_id: &str, event: &Message, prefix: &str) {
        let shown: Vec<String> = ["ConnectedLineNum", "CallerIDNum"]
            .iter()
            .filter_map(|name| self.policy.shown_number(event.get(&format!("{prefix}{name}"))?))
            .collect();
        let Some(call) = self.calls.get_mut(call_id) else { return };
        if call.direction != Direction::Outbound || !call.is_customer_leg(leg_id) || call.endpoint.is_some() {
            return;
        }
        call.endpoint = shown.into_iter().find(|number| Some(number) != call.customer.as_ref());
    }

    pub(super) fn on_new_state(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let state = event.raw("ChannelState").unwrap_or_default();
        let Some(leg) = self.leg_mut(&leg_id).filter(|leg| !leg.gone) else { return };
        match state {
            RINGING if !leg.up => leg.ringing = true,
            UP => {
                leg.up = true;
                leg.ringing = false;
            }
            _ => {}
        }
        self.note_our_number(&call_id, &leg_id, event, "");
        self.tell_stage(&call_id);
    }

    pub(super) fn on_numbers(&mut self, event: &Message) {
        if let Some((call_id, leg_id)) = self.touch(event, "") {
            self.note_our_number(&call_id, &leg_id, event, "");
        }
    }

    /// The two ends of a `Dial`, made one call: the source is absent for what was originated.
    fn dial_ends(&mut self, event: &Message) -> Option<(String, String, Option<String>)> {
        let source = self.touch(event, "").map(|touched| touched.1);
        let (_, dest) = self.touch(event, "Dest")?;
        if let Some(source) = &source {
            self.unite_legs(&[source.clone(), dest.clone()]);
        }
        if let Some(leg) = self.leg_mut(&dest) {
            leg.dialled = true;
        }
        Some((self.by_leg.get(&dest)?.clone(), dest, source))
    }

    pub(super) fn on_dial_begin(&mut self, event: &Message) {
        let Some((call_id, dest, source)) = self.dial_ends(event) else { return };
        let is_external = self.leg(&dest).is_some_and(|leg| leg.is_external());
        if let Some(leg) = self.leg_mut(&dest) {
            leg.originated = source.is_none();
        }
        if is_external {
            self.dialled_out(&call_id, &dest, event.get("DialString"));
            self.note_our_number(&call_id, &dest, event, "Dest");
        } else if let Some(call) = self.calls.get_mut(&call_id) {
            call.agent_hung_up_at = None;
            if source.is_none() && call.customer_leg.is_none() {
                call.direction = Direction::Outbound;
            }
        }
        self.tell_stage(&call_id);
    }

    pub(super) fn on_dial_state(&mut self, event: &Message) {
        let Some((call_id, dest, _)) = self.dial_ends(event) else { return };
        if event.raw("DialStatus") == Some("RINGING")
            && let Some(leg) = self.leg_mut(&dest).filter(|leg| !leg.up && !leg.gone && leg.dial_status.is_none())
        {
            leg.ringing = true;
        }
        self.tell_stage(&call_id);
    }

    pub(super) fn on_dial_end(&mut self, event: &Message) {
        let Some((call_id, dest, _)) = self.dial_ends(event) else { return };
        let Some(status) = event.get("DialStatus") else { return };
        if let Some(leg) = self.leg_mut(&dest) {
            leg.ringing = false;
            leg.up |= status == "ANSWER";
            // A queue says CANCEL after NOANSWER for the same leg: the first is the reason.
            if leg.dial_status.is_none() || status == "ANSWER" {
                leg.dial_status = Some(status.to_owned());
            }
        }
        self.tell_stage(&call_id);
    }

    /// The other side of a channel asks for its end: whoever does it ends the call, if he still has it.
    pub(super) fn on_hangup_request(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let now = self.now;
        let Some(call) = self.calls.get(&call_id) else { return };
        let Some(leg) = call.leg(&leg_id) else { return };
        let is_agent = leg.agent().is_some();
        let was_reached = call.customer_leg().is_some_and(|customer| call.direction == Direction::Inbound || customer.up);
        let by_customer = call.is_customer_leg(&leg_id) && was_reached;
        let ends_it = is_agent && self.is_last_with_customer(call, &leg_id);
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        if leg_role_counts(call.leg(&leg_id).map(|leg| &leg.role)) {
            call.hangup_seen = true;
        }
        call.customer_hung_up |= by_customer && call.ended_at.is_none();
        if ends_it {
            call.agent_hung_up_at = Some(now);
        }
        call.agent_gave_up |= is_agent && !was_reached && call.direction == Direction::Outbound;
    }

    pub(super) fn on_soft_hangup_request(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        if let Some(call) = self.calls.get_mut(&call_id)
            && leg_role_counts(call.leg(&leg_id).map(|leg| &leg.role))
        {
            call.hangup_seen = true;
        }
    }

    pub(super) fn on_hangup(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        if self.leg(&leg_id).is_none_or(|leg| leg.gone) {
            return;
        }
        self.leave_bridge(&leg_id);
        let now = self.now;
        let cause = event.get("Cause").and_then(|cause| cause.parse().ok());
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        let Some(leg) = call.leg_mut(&leg_id) else { return };
        leg.gone = true;
        leg.gone_at = Some(now);
        leg.ringing = false;
        leg.cause = cause;
        leg.tech_cause = event.get("TechCause").map(str::to_owned);
        let cancelled = !leg.up && (cause == Some(CAUSE_CANCELLED) || leg.tech_cause.as_deref() == Some(SIP_CANCELLED));
        if call.is_customer_leg(&leg_id) {
            call.customer_hung_up |= cancelled && call.direction == Direction::Inbound;
            call.leave_queue(now);
        }
        if call.is_over() {
            self.end(&call_id);
        } else {
            self.tell_stage(&call_id);
        }
    }

    /// An action's outcome. It speaks of the first leg only; what it has that nothing else has is the number that was to be dialled.
    pub(super) fn on_originate_response(&mut self, event: &Message) {
        let Some(call_id) = event.get("Uniqueid").and_then(|leg| self.by_leg.get(leg)).cloned() else { return };
        let wanted = event.get("Exten").and_then(|exten| self.policy.number(exten));
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.wanted = wanted.or(call.wanted.take());
        }
    }
}

/// The caller's number: E.164, or as given where that is not certain; none when withheld.
fn caller<P: Policy>(policy: &P, raw: &str) -> Option<String> {
    if crate::number::is_withheld(raw) {
        return None;
    }
    policy.number(raw).or_else(|| Some(raw.trim().to_owned()))
}

/// The number in a dial string: `+441632960201@trunk`, `PJSIP/trunk/sip:01632960201@carrier`, `trunk/01632960201`.
fn number_in<P: Policy>(policy: &P, dialled: &str) -> Option<String> {
    let parts = || dialled.split(['/', '@', '&', ',']).map(|part| part.trim_start_matches("sip:"));
    let in_full = parts().find_map(|part| policy.number(part));
    in_full.or_else(|| parts().find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned))
}

/// Plumbing hangs up by itself.
fn leg_role_counts(role: Option<&Role>) -> bool {
    matches!(role, Some(Role::External | Role::Agent(_)))
}
