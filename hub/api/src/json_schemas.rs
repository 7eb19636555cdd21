//! JSON Schemas of the canonical types, for those who build on the contracts without Rust. Committed; a test keeps them current.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use throughline_schemas::connector::{CheckReport, ConnectorError, Item, OutboundMessage};
use throughline_schemas::manifest::Manifest;
use throughline_schemas::sync::{EntitySync, Link};
use throughline_schemas::{
    Change, ContextVariable, Conversation, Decision, Enquiry, Handoff, Identity, IdentityLink, Interaction, InteractionFact, Participant,
    Profile,
};

fn schema<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// File name (without `.json`) and schema of every canonical type.
#[must_use]
pub fn json_schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("change", schema::<Change>()),
        ("check-report", schema::<CheckReport>()),
        ("connector-error", schema::<ConnectorError>()),
        ("context-variable", schema::<ContextVariable>()),
        ("conversation", schema::<Conversation>()),
        ("decision", schema::<Decision>()),
        ("enquiry", schema::<Enquiry>()),
        ("entity-sync", schema::<EntitySync>()),
        ("flow", schema::<throughline_domain::flow::FlowSpec>()),
        ("handoff", schema::<Handoff>()),
        ("identity", schema::<Identity>()),
        ("identity-link", schema::<IdentityLink>()),
        ("interaction", schema::<Interaction>()),
        ("interaction-fact", schema::<InteractionFact>()),
        ("item", schema::<Item>()),
        ("link", schema::<Link>()),
        ("manifest", schema::<Manifest>()),
        ("outbound-message", schema::<OutboundMessage>()),
        ("participant", schema::<Participant>()),
        ("profile", schema::<Profile>()),
    ]
}
