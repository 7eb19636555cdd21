//! What happens in a call: queues, keys, holds, transfers, context.

use throughline_plugin_sdk::schemas::Transfer;
use throughline_plugin_sdk::schemas::interaction::EndedBy;

use super::Assembler;
use super::model::{Call, Leg, Policy};
use crate::ami::Message;

/// A hold this soon after a key on the same leg is a feature code of the PBX (a transfer), not the phone's hold button.
const FEATURE_CODE_MS: i64 = 100;
/// A call that is parked this soon after a blind transfer was transferred to the parking lot.
const PARKED_BY_TRANSFER_MS: i64 = 500;
/// Dial plan applications that read one input, however long the caller pauses.
const READING: &[&str] = &["read", "background", "waitexten", "backgrounddetect", "readexten"];
/// What a `UserEvent` carries besides what the dial plan put into it.
const SNAPSHOT_HEADERS: &[&str] = &[
    "Event",
    "Privilege",
    "Timestamp",
    "SystemName",
    "SequenceNumber",
    "File",
    "Line",
    "Func",
    "ActionID",
    "UserEvent",
    "Channel",
    "ChannelState",
    "ChannelStateDesc",
    "CallerIDNum",
    "CallerIDName",
    "ConnectedLineNum",
    "ConnectedLineName",
    "Language",
    "AccountCode",
    "Context",
    "Exten",
    "Priority",
    "Uniqueid",
    "Linkedid",
    "ChanVariable",
];

impl<P: Policy> Assembler<P> {
    pub(super) fn on_queue_join(&mut self, event: &Message) {
        let Some((call_id, _)) = self.touch(event, "") else { return };
        let now = self.now;
        let Some(call) = self.calls.get_mut(&call_id).filter(|call| call.ended_at.is_none()) else { return };
        call.queue = event.get("Queue").map(str::to_owned).or(call.queue.take());
        call.queued_at.get_or_insert(now);
        call.agent_hung_up_at = None;
        call.last_digit_at = None;
        self.tell_stage(&call_id);
    }

    pub(super) fn on_queue_leave(&mut self, event: &Message) {
        let Some((call_id, _)) = self.touch(event, "") else { return };
        let now = self.now;
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.leave_queue(now);
        }
        self.tell_stage(&call_id);
    }

    pub(super) fn on_agent_connect(&mut self, event: &Message) {
        let caller = self.touch(event, "");
        let member = self.touch(event, "Dest");
        let (Some((_, caller)), Some((_, member))) = (caller, member) else { return };
        self.unite_legs(&[caller.clone(), member.clone()]);
        let Some(call_id) = self.by_leg.get(&caller).cloned() else { return };
        let now = self.now;
        let Some(call) = self.calls.get_mut(&call_id).filter(|call| call.ended_at.is_none()) else { return };
        call.human_answered = true;
        call.leave_queue(now);
        let agent = call.leg_mut(&member).and_then(|leg| {
            leg.up = true;
            leg.ringing = false;
            leg.agent().map(str::to_owned)
        });
        // A Local member's phone shows in the bridge.
        if let Some(agent) = agent
            && call.agents.last() != Some(&agent)
        {
            call.agents.push(agent);
        }
        self.tell_stage(&call_id);
    }

    pub(super) fn on_agent_complete(&mut self, event: &Message) {
        let Some((call_id, _)) = self.touch(event, "") else { return };
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.completed_by = match event.raw("Reason") {
                Some("agent") => Some(EndedBy::Agent),
                Some("caller") => Some(EndedBy::Customer),
                _ => None,
            };
        }
    }

    /// A key is told once as received on the leg it was pressed on and again as sent on the others.
    pub(super) fn on_digit(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let (Some("Received"), Some(digit)) = (event.raw("Direction"), event.get("Digit")) else { return };
        let (now, gap) = (self.now, self.policy.digit_gap_ms());
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        // A key that is told after the hangup counts if it was pressed before it.
        let Some(leg) = call.leg_mut(&leg_id).filter(|leg| !leg.gone || leg.gone_at.is_some_and(|gone_at| now <= gone_at)) else { return };
        leg.last_key_at = Some(now);
        let reading = leg.reading;
        if !call.is_customer_leg(&leg_id) {
            return;
        }
        call.agent_hung_up_at = None;
        let goes_on = call.last_digit_at.is_some_and(|last| reading || now.since(last) <= gap);
        call.last_digit_at = Some(now);
        match call.digits.last_mut().filter(|_| goes_on) {
            // The hash ends an input and is no part of it.
            Some(_) if digit == "#" => call.last_digit_at = None,
            Some(input) => input.push_str(digit),
            None => call.digits.push(digit.to_owned()),
        }
    }

    pub(super) fn on_hold(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let Some(call) = self.calls.get(&call_id) else { return };
        let with_customer = call.customer_leg.as_ref().is_some_and(|customer| self.connected(customer).contains(&leg_id));
        let now = self.now;
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        let Some(leg) = call.leg_mut(&leg_id).filter(|leg| leg.agent().is_some()) else { return };
        let feature_code = leg.last_key_at.is_some_and(|key| (0..=FEATURE_CODE_MS).contains(&now.since(key)));
        if !std::mem::replace(&mut leg.on_hold, true) {
            leg.hold_counted = with_customer && !feature_code;
            call.holds += u32::from(leg.hold_counted);
        }
    }

    /// Comes without a hold before it at every transfer.
    pub(super) fn on_unhold(&mut self, event: &Message) {
        let Some((_, leg_id)) = self.touch(event, "") else { return };
        let now = self.now;
        if let Some(leg) = self.leg_mut(&leg_id).filter(|leg| leg.on_hold) {
            leg.on_hold = false;
            leg.unheld_at = Some(now);
        }
    }

    /// A transfer keyed as a feature code holds the call by itself. Where keys are not told, only the transfer shows whose hold it was.
    fn excuse_hold(&mut self, event: &Message, leg_id: &str) {
        if event.raw("IsExternal") != Some("No") {
            return;
        }
        let now = self.now;
        let Some(call) = self.by_leg.get(leg_id).and_then(|id| self.calls.get_mut(id)) else { return };
        let Some(leg) = call.leg_mut(leg_id) else { return };
        let still = leg.on_hold || leg.unheld_at.is_some_and(|at| now.since(at) <= FEATURE_CODE_MS);
        if still && std::mem::take(&mut leg.hold_counted) {
            call.holds = call.holds.saturating_sub(1);
        }
    }

    pub(super) fn on_blind_transfer(&mut self, event: &Message) {
        let by = self.touch(event, "Transferer").map(|touched| touched.1);
        let whom = self.touch(event, "Transferee").map(|touched| touched.1);
        if event.raw("Result").is_some_and(|result| result != "Success") {
            return;
        }
        let legs: Vec<String> = [&whom, &by].into_iter().flatten().cloned().collect();
        self.unite_legs(&legs);
        let Some(by) = by else { return };
        self.excuse_hold(event, &by);
        let now = self.now;
        let parked = |leg: &Leg| leg.parked_at.is_some_and(|at| now.since(at) <= PARKED_BY_TRANSFER_MS);
        if whom.as_ref().and_then(|whom| self.leg(whom)).is_some_and(parked) {
            self.let_go(&[&by], whom.as_ref().unwrap_or(&by));
            return;
        }
        let id = format!("blind:{by}:{}", event.raw("Extension").unwrap_or_default());
        self.note_transfer(whom.as_ref().unwrap_or(&by), &[&by], Transfer::Blind, id);
    }

    pub(super) fn on_attended_transfer(&mut self, event: &Message) {
        let prefixes = ["Transferee", "OrigTransferer", "SecondTransferer", "TransferTarget"];
        let [whom, first, second, target] = prefixes.map(|prefix| self.touch(event, prefix).map(|touched| touched.1));
        // In a three-way call nobody has been handed over.
        if event.raw("Result").is_some_and(|result| result != "Success") || event.raw("DestType") == Some("Threeway") {
            return;
        }
        let legs: Vec<String> = [&whom, &first, &second, &target].into_iter().flatten().cloned().collect();
        self.unite_legs(&legs);
        let (Some(first), Some(second)) = (first, second) else { return };
        self.excuse_hold(event, &first);
        let id = format!("attended:{first}:{second}");
        self.note_transfer(whom.as_ref().unwrap_or(&first), &[&first, &second], Transfer::Attended, id);
        self.review_talking(&legs);
    }

    /// How an agent passed the call on. A customer who transfers himself away is not passed on.
    fn note_transfer(&mut self, whom: &str, by: &[&String], how: Transfer, id: String) {
        let now = self.now;
        let Some(call) = self.let_go(by, whom) else { return };
        let by_customer = by.iter().any(|leg| call.is_customer_leg(leg));
        if !by_customer && call.transfer_ids.insert(id) {
            call.transfers.push(how);
            call.transferred_at = Some(now);
        }
    }

    /// These legs have the call no more, whatever becomes of them; returns the call.
    fn let_go(&mut self, by: &[&String], whom: &str) -> Option<&mut Call> {
        for leg in by {
            if let Some(leg) = self.leg_mut(leg) {
                leg.passed_on = true;
            }
        }
        let call = self.calls.get_mut(self.by_leg.get(whom)?)?;
        call.agent_hung_up_at = None;
        Some(call)
    }

    /// Put where anybody can take it, by whatever means: also by a blind transfer to the lot, which hands the call to nobody.
    pub(super) fn on_parked(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "Parkee") else { return };
        let now = self.now;
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        if let Some(leg) = call.leg_mut(&leg_id) {
            leg.parked_at = Some(now);
        }
        call.agent_hung_up_at = None;
        let just_now = call.transferred_at.is_some_and(|at| now.since(at) <= PARKED_BY_TRANSFER_MS);
        if just_now && call.transfers.last() == Some(&Transfer::Blind) {
            call.transfers.pop();
            call.transferred_at = None;
        }
    }

    pub(super) fn on_dial_plan_step(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let application = event.get("Application").unwrap_or_default().to_ascii_lowercase();
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        if call.is_customer_leg(&leg_id) {
            call.last_digit_at = None;
        }
        if let Some(leg) = call.leg_mut(&leg_id) {
            leg.reading = READING.contains(&application.as_str());
        }
    }

    pub(super) fn on_variable(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let Some(name) = event.get("Variable").map(|name| name.trim_start_matches('_').to_owned()) else { return };
        let value = event.text("Value");
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        let of_customer = call.is_customer_leg(&leg_id);
        match (name.as_str(), value) {
            (_, Some(value)) if name.starts_with("TL_") => {
                call.set_variable(&name[3..], value, true);
                self.follow_context(&call_id);
            }
            ("READSTATUS", _) if of_customer => call.last_digit_at = None,
            ("DIALSTATUS", Some(status)) if of_customer => call.dial_status = Some(status),
            ("MIXMONITOR_FILENAME" | "VM_MESSAGEFILE", Some(file)) if !call.recordings.contains(&file) => call.recordings.push(file),
            ("VMSTATUS", Some(status)) if of_customer => call.voicemail |= status == "SUCCESS",
            _ => {}
        }
    }

    /// What the configuration has repeated with every event of a leg (`channelvars` in manager.conf).
    /// Returns the call, which may turn out to be one with another.
    pub(super) fn note_repeated_variables(&mut self, event: &Message, prefix: &str, call_id: &str, leg_id: &str) -> String {
        let Some(call) = self.calls.get_mut(call_id) else { return call_id.to_owned() };
        let mut names_interaction = false;
        let of_customer = call.is_customer_leg(leg_id);
        for variable in event.all(&format!("{prefix}ChanVariable")) {
            let Some((name, value)) = variable.split_once('=') else { continue };
            let Some(name) = name.trim_start_matches('_').strip_prefix("TL_").filter(|_| !value.is_empty()) else { continue };
            let known = call.variables.get(&name.to_ascii_lowercase());
            // Other legs keep the value they were created with.
            if known.is_none_or(|known| of_customer && !known.told) {
                call.set_variable(name, value.to_owned(), false);
                names_interaction |= name == "INTERACTION";
            }
        }
        if names_interaction { self.follow_context(call_id) } else { call_id.to_owned() }
    }

    /// Two calls under way that carry the same interaction are one, whatever their linked ids say. Returns the one that stays.
    fn follow_context(&mut self, call_id: &str) -> String {
        let interaction = |call: &Call| call.variables.get("interaction").map(|variable| variable.value.clone());
        let Some(mine) = self.calls.get(call_id).and_then(interaction) else { return call_id.to_owned() };
        let other = self.open().find(|call| call.id != call_id && interaction(call).as_ref() == Some(&mine)).map(|call| call.id.clone());
        other.map_or_else(|| call_id.to_owned(), |other| self.unite(call_id, &other))
    }

    pub(super) fn on_user_event(&mut self, event: &Message) {
        if !event.get("UserEvent").is_some_and(|name| self.policy.takes_user_event(name)) {
            return;
        }
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        if call.is_customer_leg(&leg_id) {
            call.served_by_ivr = true;
            call.last_digit_at = None;
        }
        for (name, value) in event.headers() {
            let is_ours = !SNAPSHOT_HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name));
            if is_ours && !value.is_empty() {
                call.set_variable(name, crate::ami::unescape(value), true);
            }
        }
    }

    /// With a channel: the caller left a message. Without: somebody listened to one.
    pub(super) fn on_message_waiting(&mut self, event: &Message) {
        let Some((call_id, leg_id)) = self.touch(event, "") else { return };
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.voicemail |= call.is_customer_leg(&leg_id);
        }
    }
}
