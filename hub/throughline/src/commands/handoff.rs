//! `throughline handoff`: what is handed on to whom, offered, taken and refused from the command line.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use throughline_engine::HandoffAnswer;
use throughline_schemas::{Briefing, EnquiryId, Handoff as Shown, HandoffId, Receiver};

use super::connection;
use crate::arguments::Remote;
use crate::client::{Client, Versioned};
use crate::output;

const COLLECTION: &str = "/v1/handoffs";

#[derive(Debug, Subcommand)]
pub(crate) enum Handoff {
    /// List them; those that wait for somebody to accept by default.
    List {
        /// `offered`, `accepted`, `declined`, `expired`, `completed`, `failed`, or `all`.
        #[arg(long, default_value = "offered")]
        state: String,
        /// Only those of this enquiry.
        #[arg(long)]
        enquiry: Option<String>,
        /// Only those for this agent or queue.
        #[arg(long)]
        receiver: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one with its briefing.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Hand an enquiry on.
    Offer(Box<Offer>),
    /// Take one. You have acknowledged the briefing by this.
    Accept(Answer),
    /// Say no to one, or take an offer back.
    Decline {
        /// Why.
        #[arg(long)]
        why: Option<String>,
        #[command(flatten)]
        answer: Answer,
    },
}

/// What is handed on.
#[derive(Debug, Args)]
pub(crate) struct Offer {
    /// The enquiry's id.
    enquiry: String,
    /// `channel_switch`, `escalate`, `transfer_cold`, `transfer_warm`, `consult`, `bot_to_human` or `callback`.
    #[arg(long)]
    kind: String,
    /// Who hands it on.
    #[arg(long)]
    by: String,
    /// Whom to: `agent:ben` or `queue:support`.
    #[arg(long)]
    to: Option<String>,
    /// The connection through which the customer is to be met: its name or id.
    #[arg(long)]
    connection: Option<String>,
    /// The kind of channel there, as `phone`; the connection's first if absent.
    #[arg(long, requires = "connection")]
    channel: Option<String>,
    /// The customer's address there; the one known if absent.
    #[arg(long, requires = "connection")]
    address: Option<String>,
    /// The call under way that goes along: an interaction's id.
    #[arg(long)]
    call: Option<String>,
    /// When the customer is to be called: `2026-12-01T09:00:00Z`.
    #[arg(long)]
    at: Option<String>,
    /// A word to the receiver.
    #[arg(long)]
    note: Option<String>,
    /// What the customer is written; `{link}` and `{token}` are replaced. Only for a channel switch.
    #[arg(long)]
    invite: Option<String>,
    /// The subject of what the customer is written.
    #[arg(long, requires = "invite")]
    subject: Option<String>,
    /// The page to come to, with `{token}` in it.
    #[arg(long, requires = "invite")]
    link: Option<String>,
    /// How long it holds.
    #[arg(long)]
    deadline_seconds: Option<u32>,
    /// The enquiry's fencing token as you know it: refused if somebody got hold of the enquiry meanwhile.
    #[arg(long)]
    fencing_token: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// Who answers which.
#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// Its id.
    id: String,
    /// Who answers: an agent's name.
    #[arg(long)]
    by: String,
    /// The handoff's fencing token as you know it: refused if somebody was faster. What the hub shows at this moment if absent.
    #[arg(long)]
    fencing_token: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) fn run(command: Handoff, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Handoff::List { state, enquiry, receiver, remote } => list(&state, enquiry.as_deref(), receiver.as_deref(), &remote, json),
        Handoff::Show { id, remote } => {
            let found: Versioned<Shown> = Client::new(&remote)?.get(&path_of(&id)?, &[])?;
            output::print(json, &found, || with_briefing(&found.value))?;
            Ok(ExitCode::SUCCESS)
        }
        Handoff::Offer(offer) => run_offer(&offer, json),
        Handoff::Accept(answer) => run_answer(&answer, "accept", None, json),
        Handoff::Decline { why, answer } => run_answer(&answer, "decline", why, json),
    }
}

fn list(state: &str, enquiry: Option<&str>, receiver: Option<&str>, remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend((state != "all").then_some(("state", state)));
    query.extend(enquiry.map(|enquiry| ("enquiry", enquiry)));
    query.extend(receiver.map(|receiver| ("receiver", receiver)));
    let found: Vec<Versioned<Shown>> = Client::new(remote)?.list(COLLECTION, &query, usize::MAX)?;
    output::print(json, &found, || match found.as_slice() {
        [] => "None.".to_owned(),
        found => found.iter().map(|one| line(&one.value)).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn run_offer(offer: &Offer, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&offer.remote)?;
    let enquiry: EnquiryId = offer.enquiry.parse().map_err(|_| anyhow::anyhow!("{:?} is no enquiry's id (enq_…)", offer.enquiry))?;
    let meeting = match &offer.connection {
        Some(name) => {
            let id = connection::find(&client, name)?.value.id;
            Some(json!({ "connection_id": id, "channel": offer.channel, "address": offer.address }))
        }
        None => None,
    };
    let made: Versioned<Shown> = client.post(&format!("/v1/enquiries/{enquiry}/handoffs"), &body_of(offer, meeting)?)?;
    output::print(json, &made, || line(&made.value))?;
    Ok(ExitCode::SUCCESS)
}

fn body_of(offer: &Offer, meeting: Option<Value>) -> anyhow::Result<Value> {
    let invite = offer.invite.as_ref().map(|text| json!({ "text": text, "subject": offer.subject, "link": offer.link }));
    Ok(json!({
        "kind": offer.kind, "by": offer.by, "to": offer.to.as_deref().map(receiver).transpose()?, "meeting": meeting, "call": offer.call,
        "at": offer.at, "note": offer.note, "invite": invite, "deadline_seconds": offer.deadline_seconds, "fencing_token": offer.fencing_token,
    }))
}

/// `agent:ben` or `queue:support`.
fn receiver(text: &str) -> anyhow::Result<Receiver> {
    match text.split_once(':') {
        Some(("agent", name)) if !name.is_empty() => Ok(Receiver::Agent(name.to_owned())),
        Some(("queue", name)) if !name.is_empty() => Ok(Receiver::Queue(name.to_owned())),
        _ => bail!("--to is `agent:NAME` or `queue:NAME`, and {text:?} is neither"),
    }
}

fn run_answer(answer: &Answer, verb: &str, why: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&answer.remote)?;
    let path = path_of(&answer.id)?;
    let fencing_token = match answer.fencing_token {
        Some(token) => token,
        None => client.get::<Versioned<Shown>>(&path, &[])?.value.fencing_token,
    };
    let body = HandoffAnswer { by: answer.by.clone(), fencing_token, acknowledge_briefing: verb == "accept", why };
    let after: Versioned<Shown> = client.post(&format!("{path}/{verb}"), &body)?;
    output::print(json, &after, || line(&after.value))?;
    Ok(ExitCode::SUCCESS)
}

fn path_of(id: &str) -> anyhow::Result<String> {
    let id: HandoffId = id.parse().ok().with_context(|| format!("{id:?} is no handoff's id; `handoff list` shows them"))?;
    Ok(format!("{COLLECTION}/{id}"))
}

fn line(handoff: &Shown) -> String {
    let word = |value: &Value| output::plain(value);
    let to = handoff.to.as_ref().map_or_else(|| "the customer".to_owned(), |to| output::one_line(to.name(), 80));
    let mut parts = vec![
        handoff.id.to_string(),
        word(&json!(handoff.state)),
        format!("{} by {} to {to}", word(&json!(handoff.kind)), output::one_line(&handoff.offered_by, 80)),
    ];
    if let Some(meeting) = &handoff.meeting {
        parts.push(format!("{} {}", word(&json!(meeting.channel)), output::one_line(&meeting.address, 80)));
    }
    parts.extend(handoff.at.map(|at| format!("at {at}")));
    match &handoff.outcome {
        Some(outcome) => parts.push(output::one_line(outcome, 160)),
        None => parts.push(format!("until {}, token {}", handoff.deadline, handoff.fencing_token)),
    }
    parts.join("  ")
}

fn with_briefing(handoff: &Shown) -> String {
    let Briefing { reason, note, customer, variables, last_exchanges, tried, withheld, .. } = &handoff.briefing;
    let mut lines = vec![line(handoff), format!("  enquiry: {}, open since {}", handoff.enquiry_id, handoff.briefing.opened_at)];
    let named = [("customer", customer), ("reason", reason), ("note", note)];
    lines.extend(named.into_iter().filter_map(|(name, text)| Some(format!("  {name}: {}", output::one_line(text.as_deref()?, 200)))));
    lines.extend(variables.iter().map(|(name, value)| format!("  {name}: {}", output::plain(value))));
    lines.extend(last_exchanges.iter().map(|said| {
        let (channel, direction) = (output::plain(&json!(said.channel)), output::plain(&json!(said.direction)));
        format!("  {}  {channel} {direction}  {}", said.at, output::one_line(&said.text, 160))
    }));
    lines.extend(tried.iter().map(|tried| format!("  tried: {}", output::one_line(tried, 160))));
    lines.extend((*withheld > 0).then(|| format!("  {withheld} values are kept back.")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_an_agent_or_a_queue() {
        assert_eq!(receiver("agent:ben").unwrap(), Receiver::Agent("ben".to_owned()));
        assert_eq!(receiver("queue:a:b").unwrap(), Receiver::Queue("a:b".to_owned()));
        for wrong in ["ben", "agent:", "team:x", ""] {
            assert!(receiver(wrong).unwrap_err().to_string().contains("agent:NAME"), "{wrong}");
        }
    }

    #[test]
    fn the_briefing_is_shown_without_what_could_move_a_cursor() {
        let shown: Shown = serde_json::from_value(json!({
            "id": "hnd_00000000000000000000000001", "enquiry_id": "enq_00000000000000000000000002", "kind": "transfer_cold", "state": "offered",
            "offered_by": "ann", "to": {"queue": "support"}, "deadline": "2026-11-21T12:00:00.000Z", "fencing_token": 7,
            "offered_at": "2026-11-21T11:00:00.000Z",
            "briefing": {"enquiry_id": "enq_00000000000000000000000002", "reason": "Late \u{1b}[2Jorder", "status": "open", "note": "angry",
                "opened_at": "2026-11-21T10:00:00.000Z", "variables": {"order": "4711"}, "last_exchanges": [], "tried": ["mail"],
                "attachments": [], "withheld": 2},
        }))
        .unwrap();
        let text = with_briefing(&shown);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for part in ["transfer_cold by ann to support", "token 7", "note: angry", "order: 4711", "tried: mail", "2 values"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
