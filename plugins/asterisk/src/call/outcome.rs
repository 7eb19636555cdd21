//! How a call came out and who ended it, decided from the legs when all are gone.

use throughline_plugin_sdk::schemas::interaction::EndedBy;
use throughline_plugin_sdk::schemas::{CallOutcome, Direction, Timestamp};

use super::model::{Call, Leg};

/// An agent who hangs up ends the call if the customer's leg follows within this time; later, the dial plan had gone on with it.
const FOLLOWS_WITHIN_MS: i64 = 5_000;

impl Call {
    /// How it came out.
    pub(crate) fn outcome(&self) -> CallOutcome {
        if self.ended_at.is_none() || self.lost {
            return CallOutcome::Unknown;
        }
        if self.is_answered() {
            return CallOutcome::Answered;
        }
        match self.direction {
            Direction::Inbound => self.inbound_unanswered(),
            Direction::Outbound | Direction::Internal => self.outbound_unanswered(),
        }
    }

    /// Whether a human answered. The one we call answers by picking up; one who calls us is answered by an agent, not by the dial plan.
    pub(crate) fn is_answered(&self) -> bool {
        self.human_answered || (self.direction == Direction::Outbound && self.customer_leg().is_some_and(|leg| leg.up))
    }

    fn inbound_unanswered(&self) -> CallOutcome {
        if self.voicemail {
            return CallOutcome::Voicemail;
        }
        let wanted_a_human = self.agent_was_called() || self.queue.is_some();
        let used_the_ivr = self.served_by_ivr || !self.digits.is_empty();
        if self.customer_hung_up {
            return if used_the_ivr && !wanted_a_human { CallOutcome::SelfService } else { CallOutcome::Abandoned };
        }
        let customer = self.customer_leg();
        if wanted_a_human {
            return self.agents_result();
        }
        match self.dial_status.as_deref() {
            Some("BUSY") => return CallOutcome::Busy,
            Some("NOANSWER") => return CallOutcome::NoAnswer,
            Some("CHANUNAVAIL" | "CONGESTION" | "INVALIDARGS") => return CallOutcome::Failed,
            _ => {}
        }
        if customer.is_some_and(|leg| leg.up) { CallOutcome::SelfService } else { customer.map_or(CallOutcome::Unknown, leg_result) }
    }

    /// What came of calling agents: a phone that rang in vain says more than one that was busy.
    fn agents_result(&self) -> CallOutcome {
        let results: Vec<CallOutcome> = self.legs.iter().filter(|leg| leg.dialled && leg.agent().is_some()).map(leg_result).collect();
        let order = [CallOutcome::NoAnswer, CallOutcome::Busy, CallOutcome::Declined, CallOutcome::Failed];
        order.into_iter().find(|outcome| results.contains(outcome)).unwrap_or(CallOutcome::NoAnswer)
    }

    fn outbound_unanswered(&self) -> CallOutcome {
        let reached_for = self.customer_leg().or_else(|| self.legs.iter().rfind(|leg| leg.dialled && leg.agent().is_some()));
        reached_for.map_or(CallOutcome::Unknown, leg_result)
    }

    /// Who ended it.
    pub(crate) fn ended_by(&self) -> Option<EndedBy> {
        self.ended_at?;
        if self.lost {
            return Some(EndedBy::System);
        }
        if self.customer_hung_up {
            return Some(EndedBy::Customer);
        }
        if self.outcome() == CallOutcome::Declined {
            return Some(self.decliner());
        }
        if self.agent_hung_up_at.is_some_and(|at| self.ended_soon_after(at)) || (self.agent_gave_up && !self.is_answered()) {
            return Some(EndedBy::Agent);
        }
        // Said even when the PBX itself ended it, so it counts only where nothing better was seen.
        if let Some(by) = self.completed_by.filter(|_| !self.hangup_seen) {
            return Some(by);
        }
        Some(EndedBy::System)
    }

    fn decliner(&self) -> EndedBy {
        let customer_was_called = self.direction == Direction::Outbound && self.customer_leg().is_some();
        if customer_was_called { EndedBy::Customer } else { EndedBy::Agent }
    }

    fn ended_soon_after(&self, at: Timestamp) -> bool {
        let gone = self.customer_leg().and_then(|leg| leg.gone_at).or(self.ended_at);
        gone.is_some_and(|gone| gone.since(at) <= FOLLOWS_WITHIN_MS)
    }
}

/// What became of a leg that was called, from all three of dial status, Q.850 cause and SIP code: none of them tells alone (603 is
/// NOANSWER by status, a ring time-out is cause 0, and an originated leg that rings out has no status at all).
fn leg_result(leg: &Leg) -> CallOutcome {
    if let Some(outcome) = leg.tech_cause.as_deref().and_then(by_sip_code) {
        return outcome;
    }
    match (leg.dial_status.as_deref(), leg.cause) {
        (Some("BUSY"), _) | (_, Some(17)) => CallOutcome::Busy,
        (_, Some(21)) => CallOutcome::Declined,
        (Some("CONGESTION" | "CHANUNAVAIL"), _) => CallOutcome::Failed,
        (_, Some(0 | 16 | 18 | 19 | 26 | 127) | None) => CallOutcome::NoAnswer,
        (_, Some(_)) => CallOutcome::Failed,
    }
}

fn by_sip_code(code: &str) -> Option<CallOutcome> {
    match code {
        "486" | "600" => Some(CallOutcome::Busy),
        "603" | "607" => Some(CallOutcome::Declined),
        "408" | "480" | "487" => Some(CallOutcome::NoAnswer),
        "401" | "403" | "404" | "407" | "410" | "484" | "488" | "604" => Some(CallOutcome::Failed),
        code if code.len() == 3 && code.starts_with('5') && code != "500" => Some(CallOutcome::Failed),
        _ => None,
    }
}
