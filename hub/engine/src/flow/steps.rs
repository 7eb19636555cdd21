//! What steps do to the hub's own records. Each is part of the commit that also holds the run's next state.

use serde_json::{Value, json};
use throughline_domain::flow::{Act, FieldRecord, Redactor};
use throughline_schemas::connector::ErrorClass;
use throughline_schemas::{Change, ChangeKind, ConnectionId, ConversationId, EnquiryId};
use throughline_store::tables::Tx;

use super::facts::Subject;
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::views::{NewMessage, NewVariable};

/// Bytes of an emitted event's data: a log entry holds some four thousand.
const LONGEST_EVENT: usize = 2_000;

/// Why a step failed.
#[derive(Debug, Clone)]
pub(super) struct StepError {
    pub(super) message: String,
    /// Whether another attempt may go better.
    pub(super) may_retry: bool,
}

impl StepError {
    pub(super) fn final_one(message: impl Into<String>) -> Self {
        Self { message: message.into(), may_retry: false }
    }

    pub(super) fn of(error: &HubError) -> Self {
        let may_retry = match error {
            HubError::Connector(error) => {
                matches!(
                    error.class,
                    ErrorClass::Transient | ErrorClass::RateLimited | ErrorClass::Auth | ErrorClass::Cancelled | ErrorClass::Bug
                )
            }
            HubError::Busy | HubError::Full { .. } | HubError::Store(_) | HubError::Internal(_) => true,
            // A connection that is paused now may run again at the next attempt.
            HubError::Conflict { .. } => true,
            _ => false,
        };
        Self { message: error.to_string(), may_retry }
    }
}

/// What a step gave, and whose dispatcher has to be told.
pub(super) struct Effect {
    pub(super) output: Value,
    pub(super) wake: Option<ConnectionId>,
}

impl Effect {
    const fn of(output: Value) -> Self {
        Self { output, wake: None }
    }
}

impl Hub {
    /// Does, within `tx`, what a step of the hub's own says.
    pub(super) fn flow_effect(&self, tx: &mut Tx, act: &Act, input: &Value, subject: &Subject) -> Result<Effect> {
        match act {
            Act::Send(_) => self.flow_send(tx, input, subject),
            Act::Write(FieldRecord::Profile, _) => {
                let profile = self.flow_profile(subject)?.ok_or_else(|| no_record("profile"))?;
                let fields = input.as_object().cloned().unwrap_or_default();
                let fields = fields.into_iter().map(|(name, value)| (name, Some(value).filter(|value| !value.is_null()))).collect();
                self.set_profile_fields(tx, profile.id, &fields, None)?;
                Ok(Effect::of(json!({ "profile_id": profile.id })))
            }
            Act::Write(FieldRecord::Enquiry, _) => {
                let id = subject.enquiry_id().ok_or_else(|| no_record("enquiry"))?;
                self.flow_write_enquiry(tx, id, input)?;
                Ok(Effect::of(json!({ "enquiry_id": id })))
            }
            Act::SetContext(_, classes) => {
                let id = subject.enquiry_id().ok_or_else(|| no_record("enquiry"))?;
                let set = classes.iter().map(|(name, classification)| {
                    let value = input.get(name).filter(|value| !value.is_null()).cloned();
                    let variable = value.map(|value| NewVariable {
                        value,
                        scope: Default::default(),
                        classification: *classification,
                        expires_at: None,
                    });
                    (name.clone(), variable)
                });
                self.set_variables_in(tx, id, &set.collect())?;
                Ok(Effect::of(json!({ "enquiry_id": id })))
            }
            Act::Emit(kind, _) => {
                if input.to_string().len() > LONGEST_EVENT {
                    return Err(HubError::invalid("/data", format!("an event's data has at most {LONGEST_EVENT} bytes as JSON")));
                }
                let of = subject.change.clone().unwrap_or_else(|| Change::new(ChangeKind::FlowEmitted, self.now()));
                let change = Change {
                    caused_by: None,
                    profile_id: of.profile_id,
                    enquiry_id: subject.enquiry_id(),
                    conversation_id: subject.conversation_id(),
                    interaction_id: of.interaction_id,
                    data: json!({ "type": kind, "data": input }),
                    ..Change::new(ChangeKind::FlowEmitted, self.now())
                };
                tx.log(&change)?;
                Ok(Effect::of(json!({ "type": kind })))
            }
            Act::Handoff { .. } => self.flow_handoff(tx, input, subject),
            Act::Wait(_) | Act::Call(..) => Err(HubError::Internal("this step has no effect within the hub".to_owned())),
        }
    }

    fn flow_send(&self, tx: &mut Tx, input: &Value, subject: &Subject) -> Result<Effect> {
        let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
        let conversation = match text("conversation") {
            Some(named) => {
                let id = named.parse::<ConversationId>().map_err(|error| HubError::invalid("/conversation", error.to_string()))?;
                self.conversation(id)?.value
            }
            None => self.flow_conversation(subject)?.ok_or_else(|| no_record("conversation"))?,
        };
        let message = NewMessage {
            text: text("text").unwrap_or_default(),
            subject: text("subject"),
            to: None,
            automatic: true,
            answers: None,
            fencing_token: None,
        };
        self.check_message(&conversation, &message)?;
        let interaction = self.queue_message(tx, &conversation, &message)?;
        Ok(Effect { output: json!({ "interaction_id": interaction.id }), wake: Some(conversation.connection_id) })
    }

    fn flow_write_enquiry(&self, tx: &mut Tx, id: EnquiryId, input: &Value) -> Result<()> {
        let patch = serde_json::from_value(input.clone()).map_err(|error| HubError::invalid("/fields", error.to_string()))?;
        self.patch_enquiry_in(tx, id, None, &patch)
    }
}

pub(super) fn no_record(kind: &'static str) -> HubError {
    HubError::invalid("", format!("what started the run concerns no {kind}"))
}

/// A copy of what a step was given, fit to be kept: with what it is done to, without what is personal, and of a message only how long it
/// is.
pub(super) fn kept_input(redactor: &Redactor, act: &Act, input: &Value) -> Value {
    let mut kept = redactor.apply(input);
    match act {
        Act::Send(_) => {
            if let Some(fields) = kept.as_object_mut() {
                let length = input.get("text").and_then(Value::as_str).map_or(0, |text| text.chars().count());
                fields.insert("text".to_owned(), json!(format!("[{length} characters]")));
            }
            kept
        }
        Act::SetContext(_, classes) => {
            if let Some(fields) = kept.as_object_mut() {
                for (name, _) in classes.iter().filter(|(_, class)| *class >= throughline_schemas::Classification::Pii) {
                    fields.insert(name.clone(), json!("[redacted]"));
                }
            }
            kept
        }
        Act::Write(to, _) => json!({ "to": to, "fields": kept }),
        Act::Emit(kind, _) => json!({ "type": kind, "data": kept }),
        Act::Call(connection, action, _) => json!({ "connection": connection, "action": action, "input": kept }),
        Act::Handoff { .. } => {
            if let Some(text) = input.pointer("/invite/text").and_then(Value::as_str) {
                kept["invite"]["text"] = json!(format!("[{} characters]", text.chars().count()));
            }
            kept
        }
        Act::Wait(_) => kept,
    }
}
