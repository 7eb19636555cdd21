//! A call as the hub is told of it.

use serde_json::Value;
use throughline_plugin_sdk::schemas::interaction::CallPhase;
use throughline_plugin_sdk::schemas::{
    CallFacts, Channel, Content, Direction, IdentityType, InteractionFact, Participant, ParticipantRole, ThreadEvidence,
};

use super::model::{Call, Leg};

impl Call {
    /// Whether it is to be told of though no customer was seen: agents who talked among themselves, or an attempt that carries our context.
    pub(crate) fn is_worth_telling(&self) -> bool {
        if self.has_external() {
            return true;
        }
        let mut agents: Vec<&str> = self.legs.iter().filter_map(Leg::agent).collect();
        agents.sort_unstable();
        agents.dedup();
        match self.direction {
            Direction::Internal => agents.len() > 1,
            Direction::Inbound | Direction::Outbound => !agents.is_empty() && (!self.variables.is_empty() || self.wanted.is_some()),
        }
    }

    /// What is known of it now.
    pub(crate) fn fact(&self) -> InteractionFact {
        InteractionFact {
            channel: Channel::Phone,
            direction: self.direction,
            endpoint: self.endpoint.clone(),
            conversation_key: None,
            occurred_at: self.started_at,
            ended_at: self.ended_at,
            participants: self.participants(),
            thread: ThreadEvidence { tokens: self.tokens.clone(), ..ThreadEvidence::default() },
            automated: None,
            variables: self.variables.iter().map(|(name, variable)| (name.clone(), Value::from(variable.value.as_str()))).collect(),
            content: Content::Call(self.facts()),
        }
    }

    fn facts(&self) -> CallFacts {
        let phase = self.now_phase();
        CallFacts {
            phase,
            ringing: if phase == CallPhase::Ended { Vec::new() } else { self.ringing() },
            agents: self.agents.clone(),
            queue: self.queue.clone(),
            wait_ms: self.wait_ms,
            answered: self.is_answered(),
            outcome: self.outcome(),
            digits: self.digits.clone(),
            transfers: self.transfers.clone(),
            holds: self.holds,
            ended_by: self.ended_by(),
            recordings: self.recordings.clone(),
            attestation: None,
        }
    }

    fn participants(&self) -> Vec<Participant> {
        let outbound = self.direction == Direction::Outbound;
        let mut participants = Vec::new();
        if self.direction != Direction::Internal {
            let wanted = self.variables.get("customer_number").map(|variable| &variable.value).or(self.wanted.as_ref());
            let address = self.customer.as_ref().or(wanted.filter(|_| outbound)).cloned();
            participants.push(party(ParticipantRole::Customer, address, self.customer_name.clone(), !outbound));
        }
        for agent in self.agents_involved() {
            let first = !participants.iter().any(|other: &Participant| other.role == ParticipantRole::Agent);
            let placed_it = self.direction != Direction::Inbound && first;
            participants.push(Participant {
                role: ParticipantRole::Agent,
                identity_type: None,
                address: Some(agent.to_owned()),
                name: None,
                sender: placed_it,
            });
        }
        let third = self.legs.iter().filter(|leg| leg.is_external() && !self.is_customer_leg(&leg.id));
        participants.extend(third.map(|leg| party(ParticipantRole::ThirdParty, leg.number.clone(), None, false)));
        participants
    }

    /// Those who talked, and whose phones placed the call; not those whose phones only rang.
    fn agents_involved(&self) -> Vec<&str> {
        let placed = self.legs.iter().filter(|leg| self.direction != Direction::Inbound && (leg.originated || !leg.dialled));
        let mut agents: Vec<&str> = Vec::new();
        for agent in placed.filter_map(Leg::agent).chain(self.agents.iter().map(String::as_str)) {
            if !agents.contains(&agent) {
                agents.push(agent);
            }
        }
        agents
    }
}

fn party(role: ParticipantRole, address: Option<String>, name: Option<String>, sender: bool) -> Participant {
    Participant { role, identity_type: Some(IdentityType::Phone), address, name, sender }
}
