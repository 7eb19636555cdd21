//! One call as one flat JSON object: what `throughline plugin replay` prints, a line for each.

use serde_json::{Value, json};

use crate::interaction::{Content, InteractionFact, ParticipantRole};

/// The line for a call; none for what is no call.
///
/// The keys are always the same: `kind, direction, customer, endpoint, agents, queue, answered, outcome, digits, transfers, holds,
/// ended_by, variables, started_at, ended_at`. `customer` is null when the number is withheld; `agents` are in the order in which they
/// talked to the customer.
#[must_use]
pub fn replay_line(fact: &InteractionFact) -> Option<Value> {
    let Content::Call(call) = &fact.content else { return None };
    let customer = fact.participants.iter().find(|party| party.role == ParticipantRole::Customer);
    Some(json!({
        "kind": fact.content.kind(),
        "direction": fact.direction,
        "customer": customer.and_then(|party| party.address.as_deref()),
        "endpoint": fact.endpoint,
        "agents": call.agents,
        "queue": call.queue,
        "answered": call.answered,
        "outcome": call.outcome,
        "digits": call.digits,
        "transfers": call.transfers,
        "holds": call.holds,
        "ended_by": call.ended_by,
        "variables": fact.variables,
        "started_at": fact.occurred_at,
        "ended_at": fact.ended_at,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interaction::{CallFacts, Channel, Direction, Participant};
    use crate::{IdentityType, MessageFacts, Timestamp};

    fn fact(content: Content, address: Option<&str>) -> InteractionFact {
        InteractionFact {
            channel: Channel::Phone,
            direction: Direction::Inbound,
            endpoint: Some("+441632960100".to_owned()),
            conversation_key: None,
            occurred_at: Timestamp::from_millis(0),
            ended_at: None,
            participants: vec![Participant {
                role: ParticipantRole::Customer,
                identity_type: Some(IdentityType::Phone),
                address: address.map(str::to_owned),
                name: None,
                sender: true,
            }],
            thread: crate::ThreadEvidence::default(),
            automated: None,
            variables: std::collections::BTreeMap::new(),
            content,
        }
    }

    #[test]
    fn every_key_is_there_also_for_a_call_of_which_nothing_is_known() {
        let line = replay_line(&fact(Content::Call(CallFacts::default()), None)).unwrap();
        let expected = json!({
            "kind": "call", "direction": "inbound", "customer": null, "endpoint": "+441632960100", "agents": [], "queue": null,
            "answered": false, "outcome": "unknown", "digits": [], "transfers": [], "holds": 0, "ended_by": null, "variables": {},
            "started_at": "1970-01-01T00:00:00.000Z", "ended_at": null,
        });
        assert_eq!(line, expected);
        let known = replay_line(&fact(Content::Call(CallFacts::default()), Some("+441632960123"))).unwrap();
        assert_eq!(known["customer"], "+441632960123");
    }

    #[test]
    fn what_is_no_call_has_no_line() {
        assert_eq!(replay_line(&fact(Content::Message(MessageFacts::default()), None)), None);
    }
}
