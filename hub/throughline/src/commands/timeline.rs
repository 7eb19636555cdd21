//! `throughline timeline`: what happened with a customer, a line each.

use std::process::ExitCode;

use anyhow::bail;
use throughline_schemas::{CallFacts, Content, Direction, Interaction, Participant, ParticipantRole, Profile, ProfileId};

use crate::arguments::Timeline;
use crate::client::{Client, Versioned};
use crate::output;

const LONGEST_TEXT: usize = 120;

pub(crate) fn run(timeline: &Timeline, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&timeline.remote)?;
    let profile = who(&client, &timeline.who)?;
    let path = format!("/v1/profiles/{profile}/timeline");
    let interactions: Vec<Interaction> = client.list(&path, &[], usize::from(timeline.limit.max(1)))?;
    output::print(json, &interactions, || text(&interactions))?;
    Ok(ExitCode::SUCCESS)
}

/// A profile's id, or an identity that leads to one.
pub(crate) fn who(client: &Client, who: &str) -> anyhow::Result<ProfileId> {
    if let Ok(id) = who.parse() {
        return Ok(id);
    }
    let profiles: Vec<Versioned<Profile>> = client.list("/v1/profiles", &[("identity", who)], usize::MAX)?;
    match profiles.as_slice() {
        [] => bail!("nobody is known by {who}"),
        [one] => Ok(one.value.id),
        several => {
            let ids: Vec<String> = several.iter().map(|profile| profile.value.id.to_string()).collect();
            bail!("{who} leads to more than one customer; name one by id: {}", ids.join(", "));
        }
    }
}

fn text(interactions: &[Interaction]) -> String {
    if interactions.is_empty() {
        return "Nothing has happened yet.".to_owned();
    }
    let rows: Vec<Vec<String>> = interactions.iter().map(row).collect();
    output::table(&rows)
}

fn row(interaction: &Interaction) -> Vec<String> {
    let fact = &interaction.fact;
    let direction = match fact.direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
        Direction::Internal => "internal",
    };
    let channel = output::plain(&serde_json::json!(fact.channel));
    vec![fact.occurred_at.to_string(), channel, direction.to_owned(), party(interaction), what(interaction)]
}

/// The other side: the customer, or whoever sent it.
fn party(interaction: &Interaction) -> String {
    let participants = &interaction.fact.participants;
    let of_role = |role| participants.iter().find(|participant| participant.role == role);
    let found = of_role(ParticipantRole::Customer).or_else(|| participants.iter().find(|participant| participant.sender));
    found.map_or_else(|| "-".to_owned(), name_of)
}

fn name_of(participant: &Participant) -> String {
    let name = participant.name.as_deref().or(participant.address.as_deref()).unwrap_or("withheld");
    output::one_line(name, 40)
}

fn what(interaction: &Interaction) -> String {
    let mut text = match &interaction.fact.content {
        Content::Message(message) => {
            let attached = if message.attachments.is_empty() { String::new() } else { format!(" [{} files]", message.attachments.len()) };
            let subject = message.subject.as_ref().map(|subject| format!("{subject}: ")).unwrap_or_default();
            format!("{}{attached}", output::one_line(&format!("{subject}{}", message.text), LONGEST_TEXT))
        }
        Content::Call(call) => call_text(call),
        Content::SelfService(session) => output::one_line(&format!("self-service: {}", session.steps.join(" > ")), LONGEST_TEXT),
        Content::Note { text } => output::one_line(&format!("note: {text}"), LONGEST_TEXT),
    };
    if let Some(delivery) = interaction.delivery {
        text.push_str(&format!(" ({})", output::plain(&serde_json::json!(delivery))));
    }
    if interaction.fact.automated.is_some() {
        text.push_str(" (automatic)");
    }
    text
}

fn call_text(call: &CallFacts) -> String {
    let mut words = vec![format!("call {}", output::plain(&serde_json::json!(call.outcome)))];
    if !call.agents.is_empty() {
        words.push(format!("by {}", output::one_line(&call.agents.join(", "), 60)));
    }
    words.extend(call.queue.iter().map(|queue| format!("queue {}", output::one_line(queue, 40))));
    words.extend(call.wait_ms.map(|wait| format!("waited {} s", wait / 1000)));
    if !call.digits.is_empty() {
        words.push(format!("keyed {}", output::one_line(&call.digits.join(" "), 40)));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn interaction(fact: serde_json::Value) -> Interaction {
        let id = |prefix: &str| ProfileId::from_bytes([1; 16]).to_string().replacen("pro", prefix, 1);
        let mut value = json!({
            "id": id("int"), "connection_id": id("cnx"), "external_id": "1", "conversation_id": id("con"),
            "accepted_at": "2026-01-02T03:04:05Z", "occurred_at": "2026-01-02T03:04:05Z", "participants": []
        });
        value.as_object_mut().unwrap().extend(fact.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_mail_and_a_call_read_as_lines() {
        let mail = interaction(json!({
            "channel": "email", "direction": "inbound",
            "participants": [{"role": "customer", "address": "ada@example.com", "name": "Ada", "sender": true}],
            "content": {"kind": "message", "subject": "Late", "text": "Where is\nmy order?"}
        }));
        let call = interaction(json!({
            "channel": "phone", "direction": "inbound", "participants": [{"role": "customer", "type": "phone", "address": "+441632960123"}],
            "content": {"kind": "call", "phase": "ended", "answered": true, "outcome": "answered", "agents": ["bob"], "queue": "sales",
                        "wait_ms": 4200, "digits": ["1"]}
        }));
        assert_eq!(row(&mail)[1..], ["email", "in", "Ada", "Late: Where is my order?"]);
        assert_eq!(row(&call)[1..], ["phone", "in", "+441632960123", "call answered, by bob, queue sales, waited 4 s, keyed 1"]);
    }
}
