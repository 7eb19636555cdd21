//! The call under way that goes along with an enquiry: which it may be, and the order to the PBX when its time has come.

use serde_json::{Value, json};
use throughline_domain::handoff::call_goes_to;
use throughline_schemas::interaction::CallPhase;
use throughline_schemas::{Content, EnquiryId, Handoff, Interaction, InteractionId, Meeting, ParticipantRole};
use throughline_store::tables::{Deliveries, Delivery, DeliveryKey, DeliveryWork};

use crate::HubError;
use crate::commands::check_schema;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;

/// The action by which a plugin sends a call to an agent's phone.
const REDIRECT: &str = "redirect";
const AT: &str = "/call";
/// What SIP calls a caller who does not say who it is (RFC 3323).
const ANONYMOUS: &str = "anonymous";

impl Hub {
    /// Where a call under way is, checked as far as that is possible before it is promised to anybody.
    pub(crate) fn call_to_send(&self, enquiry: EnquiryId, id: InteractionId, receiver: &str) -> Result<Meeting> {
        let interaction = self.interaction(id).map_err(|_| HubError::invalid(AT, format!("there is no interaction {id}")))?;
        let Content::Call(call) = &interaction.fact.content else { return Err(HubError::invalid(AT, "this is not a call")) };
        if interaction.enquiry_id != Some(enquiry) {
            return Err(HubError::invalid(AT, "this call does not belong to the enquiry"));
        }
        if call.phase == CallPhase::Ended {
            return Err(HubError::invalid(AT, "this call is over; offer a callback or escalate to a new call"));
        }
        let record = self.connection(interaction.connection_id)?.value;
        let plugin = self.plugin(&record.plugin, Some(&record.plugin_version))?;
        let Some(action) = plugin.manifest.actions.get(REDIRECT) else {
            let detail = format!("connection {:?} cannot send calls elsewhere: its plugin has no action `{REDIRECT}`", record.name);
            return Err(HubError::invalid(AT, detail));
        };
        check_schema(&action.input, &input_of(&interaction, receiver), AT)?;
        let customer = interaction.fact.participants.iter().find(|one| one.role == ParticipantRole::Customer);
        let address = customer.and_then(|one| one.address.clone()).unwrap_or_else(|| ANONYMOUS.to_owned());
        Ok(Meeting { channel: interaction.fact.channel, connection_id: interaction.connection_id, address })
    }

    /// Leaves the order to send the call, with the same commit as the step by which its time came.
    pub(super) fn send_call_along(&self, people: &mut People<'_>, before: Option<&Handoff>, after: &Handoff) -> Result<()> {
        let (Some(agent), Some(id)) = (call_goes_to(before.map(|before| before.state), after), after.call) else { return Ok(()) };
        let interaction = self.interaction(id)?;
        let work = DeliveryWork::Act { handoff: after.id, action: REDIRECT.to_owned(), input: Box::new(input_of(&interaction, agent)) };
        let delivery = Delivery::new(work, people.now);
        Ok(people.tx.put::<Deliveries>(&DeliveryKey::act(interaction.connection_id, after.id), &delivery)?)
    }
}

fn input_of(call: &Interaction, agent: &str) -> Value {
    json!({ "call": call.external_id, "agent": agent })
}
