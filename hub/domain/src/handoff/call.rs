//! A call under way that goes along with its enquiry.

use throughline_schemas::interaction::CallPhase;
use throughline_schemas::{CallFacts, Handoff, HandoffKind, HandoffState, Receiver};

use super::Step;

/// Whose phone the call that goes along is to be sent to, now that a step was taken; none if it is not sent by this step. `before` is
/// where the handoff stood; none if it was just offered.
///
/// Let go to an agent (cold), it goes at once. Otherwise it goes when somebody has accepted, so that whoever takes it was told first,
/// and to nobody but them.
#[must_use]
pub fn call_goes_to(before: Option<HandoffState>, after: &Handoff) -> Option<&str> {
    after.call?;
    let at_once = match &after.to {
        Some(Receiver::Agent(agent)) if after.kind == HandoffKind::TransferCold => Some(agent.as_str()),
        _ => None,
    };
    match (before, after.state) {
        (None, HandoffState::Offered) => at_once,
        (Some(HandoffState::Offered), HandoffState::Accepted) if at_once.is_none() => after.accepted_by.as_deref(),
        _ => None,
    }
}

/// What the call that goes along shows of its handoff: the receiver talks to the customer, or it is over before that.
#[must_use]
pub fn shown_by_moved_call(call: &CallFacts, handoff: &Handoff) -> Option<Step> {
    let receiver = match (&handoff.accepted_by, &handoff.to) {
        (Some(agent), _) | (None, Some(Receiver::Agent(agent))) => Some(agent),
        (None, _) => None,
    };
    match (receiver, call.agents.last()) {
        (Some(receiver), Some(agent)) if receiver == agent => {
            Some(Step::Happened { by: Some(agent.clone()), what: format!("{agent} has the call") })
        }
        _ if call.phase == CallPhase::Ended => Some(Step::Fail { why: "the call ended before it was taken over".to_owned() }),
        _ => None,
    }
}
