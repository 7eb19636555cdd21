//! What a flow's expressions see. A record is read only if an expression speaks of it, and converted once for all that do.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use throughline_domain::flow::expression::{Expression, Scope};
use throughline_domain::flow::{Evaluate, Machine, Redactor};
use throughline_schemas::{Change, Classification, Conversation, ConversationId, Enquiry, EnquiryId, Profile, ProfileId};

use crate::cloud_event::EVENT_TYPE_PREFIX;
use crate::error::Result;
use crate::hub::Hub;

/// What a run is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) sequence: Option<u64>,
    pub(super) change: Option<Change>,
    pub(super) input: Value,
    /// Shown as `flow`.
    pub(super) flow: Value,
}

impl Subject {
    fn named<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.input.get(name)?.as_str()?.parse().ok()
    }

    pub(super) fn enquiry_id(&self) -> Option<EnquiryId> {
        self.change.as_ref().map_or_else(|| self.named("enquiry_id"), |change| change.enquiry_id)
    }

    pub(super) fn conversation_id(&self) -> Option<ConversationId> {
        self.change.as_ref().map_or_else(|| self.named("conversation_id"), |change| change.conversation_id)
    }

    fn profile_id(&self) -> Option<ProfileId> {
        self.change.as_ref().map_or_else(|| self.named("profile_id"), |change| change.profile_id)
    }
}

/// Expressions are evaluated against this.
pub(super) struct Facts<'h> {
    hub: &'h Hub,
    subject: &'h Subject,
    scope: Scope,
    /// Names of the elements of the loops around the step, the outermost first.
    items: Vec<String>,
}

impl<'h> Facts<'h> {
    pub(super) fn new(hub: &'h Hub, subject: &'h Subject) -> Self {
        Self { hub, subject, scope: Scope::default(), items: Vec::new() }
    }

    /// Names the elements of the loops that are around what is evaluated next.
    pub(super) fn within(&mut self, items: &[String]) {
        self.items = items.to_vec();
    }

    fn provide(&mut self, machine: &Machine, name: &str) -> std::result::Result<(), String> {
        if let Some(depth) = self.items.iter().position(|item| item == name) {
            let element = machine.element(depth).cloned().unwrap_or_default();
            self.scope.set(name, &element);
            return Ok(());
        }
        match name {
            "steps" => self.scope.set(name, &machine.steps()),
            known if self.scope.has(known) => {}
            _ => {
                let value = self.load(name).map_err(|error| format!("{name} cannot be read: {error}"))?;
                self.scope.set(name, &value);
            }
        }
        Ok(())
    }

    fn load(&self, name: &str) -> Result<Value> {
        Ok(match name {
            "event" => self.subject.change.as_ref().map_or_else(|| json!({}), |change| event(change, self.subject.sequence)),
            "enquiry" => self.hub.flow_enquiry(self.subject)?.map_or_else(|| json!({}), |enquiry| enquiry_view(&enquiry)),
            "profile" => self.hub.flow_profile(self.subject)?.map_or_else(|| json!({}), |profile| profile_view(&profile)),
            "conversation" => self.hub.flow_conversation(self.subject)?.map_or_else(|| json!({}), |conversation| json!(conversation)),
            "interaction" => match self.subject.change.as_ref().and_then(|change| change.interaction_id) {
                Some(id) => self.hub.interaction_by_id(id)?.map_or_else(|| json!({}), |interaction| json!(interaction)),
                None => json!({}),
            },
            "input" => self.subject.input.clone(),
            "now" => json!(self.hub.now()),
            "flow" => self.subject.flow.clone(),
            _ => json!({}),
        })
    }
}

impl Evaluate for Facts<'_> {
    fn evaluate(&mut self, machine: &Machine, expression: &Expression) -> std::result::Result<Value, String> {
        for root in expression.roots() {
            self.provide(machine, root)?;
        }
        expression.evaluate(&self.scope)
    }
}

fn event(change: &Change, sequence: Option<u64>) -> Value {
    json!({
        "id": sequence.map(|sequence| sequence.to_string()),
        "type": change.kind.as_str(),
        "cloud_event_type": format!("{EVENT_TYPE_PREFIX}{}", change.kind.as_str()),
        "time": change.at,
        "connection_id": change.caused_by,
        "profile_id": change.profile_id,
        "enquiry_id": change.enquiry_id,
        "conversation_id": change.conversation_id,
        "interaction_id": change.interaction_id,
        "data": if change.data.is_null() { json!({}) } else { change.data.clone() },
        "depth": change.cause.map_or(0, |cause| cause.depth),
    })
}

/// Variables by their values; secret ones are for nobody to see.
fn enquiry_view(enquiry: &Enquiry) -> Value {
    let variables: Map<String, Value> = enquiry
        .variables
        .iter()
        .filter(|(_, variable)| variable.classification < Classification::Secret)
        .map(|(name, variable)| (name.clone(), variable.value.clone()))
        .collect();
    json!({
        "id": enquiry.id, "profile_id": enquiry.profile_id, "reason": enquiry.reason, "status": enquiry.status, "owner": enquiry.owner,
        "brand": enquiry.brand, "variables": variables, "follows": enquiry.follows, "opened_at": enquiry.opened_at,
        "updated_at": enquiry.updated_at, "resolved_at": enquiry.resolved_at,
    })
}

fn profile_view(profile: &Profile) -> Value {
    let fields: BTreeMap<&String, &Value> = profile.fields.iter().map(|(name, field)| (name, &field.value)).collect();
    let identities: Vec<Value> =
        profile.identities.iter().map(|identity| json!({ "type": identity.kind, "value": identity.value })).collect();
    json!({ "id": profile.id, "state": profile.state, "display_name": profile.display_name(), "fields": fields, "identities": identities })
}

impl Hub {
    pub(super) fn flow_enquiry(&self, subject: &Subject) -> Result<Option<Enquiry>> {
        absent_is_none(subject.enquiry_id().map(|id| self.enquiry(id)).transpose()).map(|stored| stored.map(|stored| stored.value))
    }

    /// The profile that the event names; failing that, the enquiry's.
    pub(super) fn flow_profile(&self, subject: &Subject) -> Result<Option<Profile>> {
        let named = match subject.profile_id() {
            Some(id) => Some(id),
            None => self.flow_enquiry(subject)?.map(|enquiry| enquiry.profile_id),
        };
        let root = named.map(|id| self.root(id)).transpose()?.flatten();
        absent_is_none(root.map(|id| self.profile(id)).transpose()).map(|stored| stored.map(|stored| stored.value))
    }

    /// The conversation that the event names; failing that, the one in which its message was said.
    pub(super) fn flow_conversation(&self, subject: &Subject) -> Result<Option<Conversation>> {
        let named = match (subject.conversation_id(), subject.change.as_ref().and_then(|change| change.interaction_id)) {
            (Some(id), _) => Some(id),
            (None, Some(interaction)) => self.interaction_by_id(interaction)?.map(|interaction| interaction.conversation_id),
            (None, None) => None,
        };
        let stored = absent_is_none(named.map(|id| self.conversation(id)).transpose())?;
        Ok(stored.map(|stored| stored.value))
    }

    /// What must not stand in a run's history.
    pub(super) fn flow_redactor(&self, subject: &Subject) -> Result<Redactor> {
        let (profile, enquiry) = (self.flow_profile(subject)?, self.flow_enquiry(subject)?);
        Ok(Redactor::new(profile.as_ref(), enquiry.as_ref()))
    }
}

fn absent_is_none<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match found {
        Err(crate::HubError::NotFound { .. }) => Ok(None),
        other => other,
    }
}
