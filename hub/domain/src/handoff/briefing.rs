//! What the receiver is told, built from nothing but the context: what it is about, what was said, what was tried, what came with it.
//!
//! What the receiver may not see is left out and counted, so that nobody takes an incomplete briefing for a complete one.

use std::collections::BTreeSet;

use throughline_schemas::interaction::CallPhase;
use throughline_schemas::{
    Attachment, Briefing, CallFacts, CallOutcome, Classification, Content, Direction, Enquiry, Exchange, Handoff, Interaction, Timestamp,
};

/// How many exchanges are shown.
const EXCHANGES: usize = 12;
/// How much of one is shown, in characters.
const LONGEST_TEXT: usize = 600;
/// How many files are shown.
const ATTACHMENTS: usize = 20;
/// How many things tried are told.
const TRIED: usize = 20;

/// What a briefing is built from.
pub struct BriefingFacts<'a> {
    /// The enquiry.
    pub enquiry: &'a Enquiry,
    /// What to call the customer.
    pub customer: Option<String>,
    /// What happened in it, newest first.
    pub interactions: &'a [Interaction],
    /// Its earlier handoffs, oldest first.
    pub earlier: &'a [Handoff],
    /// A word of whoever hands it on.
    pub note: Option<String>,
    /// The time of asking.
    pub now: Timestamp,
}

/// Builds a briefing for somebody who may see what `may_see` allows.
#[must_use]
pub fn briefing(facts: &BriefingFacts<'_>, may_see: &dyn Fn(Classification) -> bool) -> Briefing {
    let enquiry = facts.enquiry;
    let personal = may_see(Classification::Pii);
    let mut withheld = 0;
    let mut variables = std::collections::BTreeMap::new();
    for (name, variable) in &enquiry.variables {
        if variable.expires_at.is_some_and(|expires| facts.now >= expires) {
            continue;
        }
        if may_see(variable.classification) {
            variables.insert(name.clone(), variable.value.clone());
        } else {
            withheld += 1;
        }
    }
    let exchanges = last_exchanges(facts.interactions);
    let attachments = attachments(facts.interactions);
    if !personal {
        let counted = [exchanges.len(), attachments.len(), usize::from(facts.customer.is_some()), 1];
        withheld += counted.iter().map(|count| u32::try_from(*count).unwrap_or(u32::MAX)).sum::<u32>();
    }
    Briefing {
        enquiry_id: enquiry.id,
        reason: personal.then(|| enquiry.reason.clone()),
        status: enquiry.status,
        opened_at: enquiry.opened_at,
        note: facts.note.clone(),
        customer: facts.customer.clone().filter(|_| personal),
        variables,
        last_exchanges: if personal { exchanges } else { Vec::new() },
        tried: tried(facts),
        attachments: if personal { attachments } else { Vec::new() },
        withheld,
    }
}

fn last_exchanges(newest_first: &[Interaction]) -> Vec<Exchange> {
    let mut shown: Vec<Exchange> = newest_first.iter().filter_map(exchange).take(EXCHANGES).collect();
    shown.reverse();
    shown
}

fn exchange(interaction: &Interaction) -> Option<Exchange> {
    let fact = &interaction.fact;
    let text = match &fact.content {
        Content::Message(message) => match &message.subject {
            Some(subject) if !subject.trim().is_empty() => format!("{subject}\n{}", message.text),
            _ => message.text.clone(),
        },
        Content::Call(call) => call_in_words(call),
        Content::SelfService(session) => session.steps.join(", "),
        Content::Note { text } => text.clone(),
    };
    let sender = fact.participants.iter().find(|participant| participant.sender).map(|participant| participant.role);
    Some(Exchange {
        interaction_id: interaction.id,
        at: fact.occurred_at,
        channel: fact.channel,
        direction: fact.direction,
        by: sender,
        text: cut(text.trim()),
    })
    .filter(|exchange| !exchange.text.is_empty())
}

fn call_in_words(call: &CallFacts) -> String {
    let mut words = vec![match call.phase {
        CallPhase::Ended => format!("call, {}", outcome_in_words(call.outcome)),
        _ => "call, under way".to_owned(),
    }];
    words.extend(call.queue.as_ref().map(|queue| format!("queue {queue}")));
    if !call.digits.is_empty() {
        words.push(format!("keyed {}", call.digits.join(" ")));
    }
    if !call.agents.is_empty() {
        words.push(format!("talked to {}", call.agents.join(", then ")));
    }
    words.join("; ")
}

const fn outcome_in_words(outcome: CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Answered => "answered",
        CallOutcome::Abandoned => "given up by the customer",
        CallOutcome::Voicemail => "ended in voicemail",
        CallOutcome::SelfService => "served by the menu",
        CallOutcome::Busy => "busy",
        CallOutcome::NoAnswer => "not answered",
        CallOutcome::Declined => "declined",
        CallOutcome::Failed => "could not be set up",
        CallOutcome::Unknown => "outcome unknown",
    }
}

/// Each file once, however often it was sent around.
fn attachments(newest_first: &[Interaction]) -> Vec<Attachment> {
    let mut seen = BTreeSet::new();
    let all = newest_first.iter().filter_map(|interaction| match &interaction.fact.content {
        Content::Message(message) => Some(&message.attachments),
        _ => None,
    });
    all.flatten().filter(|file| seen.insert(file.reference.clone())).take(ATTACHMENTS).cloned().collect()
}

/// What was tried so far: handoffs that ended, calls that nobody answered, what the customer did alone, how often we answered.
fn tried(facts: &BriefingFacts<'_>) -> Vec<String> {
    let mut steps: Vec<(Timestamp, String)> = Vec::new();
    for handoff in facts.earlier {
        let kind = serde_json::to_value(handoff.kind).ok().and_then(|kind| kind.as_str().map(|kind| kind.replace('_', " ")));
        let to = handoff.to.as_ref().map(|to| format!(" to {}", to.name())).unwrap_or_default();
        let outcome = handoff.outcome.as_deref().unwrap_or("still open");
        steps.push((handoff.offered_at, format!("{}{to}: {outcome}", kind.unwrap_or_default())));
    }
    for interaction in facts.interactions {
        let fact = &interaction.fact;
        match &fact.content {
            Content::Call(call) if call.phase == CallPhase::Ended && !call.answered => {
                steps.push((fact.occurred_at, format!("call, {}", outcome_in_words(call.outcome))));
            }
            Content::SelfService(session) if !session.steps.is_empty() => {
                steps.push((fact.occurred_at, format!("self-service: {}", cut(&session.steps.join(", ")))));
            }
            _ => {}
        }
    }
    let answers = facts.interactions.iter().filter(|one| {
        one.fact.direction == Direction::Outbound && one.fact.automated.is_none() && matches!(one.fact.content, Content::Message(_))
    });
    let answers: Vec<Timestamp> = answers.map(|one| one.fact.occurred_at).collect();
    if let Some(last) = answers.iter().max() {
        steps.push((*last, format!("answered {} time{}", answers.len(), if answers.len() == 1 { "" } else { "s" })));
    }
    steps.sort();
    let skipped = steps.len().saturating_sub(TRIED);
    steps.into_iter().skip(skipped).map(|(_, step)| step).collect()
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST_TEXT).collect();
    short.push('…');
    short
}

/// Makes a briefing fit into so many bytes of JSON: the oldest exchanges go first, then files, then the longest variables. What went is
/// counted as kept back.
pub fn fit(briefing: &mut Briefing, bytes: usize) {
    let size = |briefing: &Briefing| serde_json::to_vec(briefing).map_or(usize::MAX, |json| json.len());
    while size(briefing) > bytes {
        let longest = briefing.variables.iter().max_by_key(|(_, value)| value.to_string().len()).map(|(name, _)| name.clone());
        let shortened = if briefing.last_exchanges.len() > 1 {
            briefing.last_exchanges.remove(0);
            true
        } else {
            briefing.attachments.pop().is_some() || longest.is_some_and(|name| briefing.variables.remove(&name).is_some())
        };
        if !shortened {
            return;
        }
        briefing.withheld += 1;
    }
}
