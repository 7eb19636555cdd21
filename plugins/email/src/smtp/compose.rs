//! A message of the hub's as the bytes of a mail. Pure: the same message, key and time give the same mail.

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use sha2::{Digest, Sha256};
use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{Error, ErrorClass, OutboundMessage, Result};

use crate::config::{Config, TOKEN_PREFIX, is_address, split_address};
use crate::errors::invalid;
use crate::mail::is_message_id;

/// Most recipients of one message.
const MAX_RECIPIENTS: usize = 100;
/// Longest subject and sender's name, in characters.
const MAX_LINE: usize = 1_000;
/// Longest name of a recipient, in characters.
const MAX_NAME: usize = 200;

/// A mail ready to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Composed {
    pub(crate) message_id: String,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) raw: Vec<u8>,
}

/// Writes the mail, dated when it was handed in or, if that is not said, `now`. Whatever could smuggle in a header field is refused, not repaired.
pub(crate) fn compose(config: &Config, message: &OutboundMessage, idempotency_key: &str, now: Timestamp) -> Result<Composed> {
    let from = sender(config, message)?;
    let to = recipients(message)?;
    let message_id = message_id(config, message, idempotency_key)?;
    let from_name = message.from_name.as_deref().or(config.from_name.as_deref()).filter(|name| !name.is_empty());
    if let Some(name) = from_name {
        must_be_line("/from_name", name)?;
    }
    // Only a name that is one: what a silo keeps as a name may hold anything, and is no reason not to send.
    let to_name = message.to_name.as_deref().and_then(shown_name);
    let named = |(place, to): (usize, &String)| Address::new_address(to_name.clone().filter(|_| place == 0), to.clone());
    let mut mail = MessageBuilder::new()
        .date(Date::new(message.sent_at.unwrap_or(now).as_millis().max(0) / 1000))
        .message_id(message_id.clone())
        .from(Address::new_address(from_name.map(str::to_owned), from.clone()))
        .to(Address::new_list(to.iter().enumerate().map(named).collect()))
        .text_body(message.text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n"));
    if let Some(subject) = &message.subject {
        must_be_line("/subject", subject)?;
        mail = mail.subject(subject.as_str());
    }
    if let Some(token) = &message.token {
        mail = mail.reply_to(Address::new_address(from_name.map(str::to_owned), token_address(&from, token)?));
    }
    mail = with_thread(mail, message)?;
    if message.automatic {
        mail = mail.header("Auto-Submitted", Raw::new("auto-replied")).header("X-Auto-Response-Suppress", Raw::new("All"));
    }
    let raw = mail.write_to_vec().map_err(|error| Error::new(ErrorClass::Bug, format!("the mail cannot be written: {error}")))?;
    Ok(Composed { message_id, from, to, raw })
}

fn with_thread<'a>(mail: MessageBuilder<'a>, message: &'a OutboundMessage) -> Result<MessageBuilder<'a>> {
    let mut references = Vec::new();
    for id in &message.references {
        references.push(bare_id("/references", id)?);
    }
    let Some(answered) = &message.in_reply_to else {
        return Ok(if references.is_empty() { mail } else { mail.references(MessageId::new_list(references.into_iter())) });
    };
    let answered = bare_id("/in_reply_to", answered)?;
    // RFC 5322 section 3.6.4: the thread so far, ending with what is answered.
    if references.last() != Some(&answered) {
        references.push(answered);
    }
    Ok(mail.in_reply_to(MessageId::new(answered)).references(MessageId::new_list(references.into_iter())))
}

fn sender(config: &Config, message: &OutboundMessage) -> Result<String> {
    let Some(from) = &message.from else { return Ok(config.address.clone()) };
    if !is_address(from) {
        return Err(invalid("/from", "is no e-mail address"));
    }
    if !config.own().is_ours(from) {
        return Err(invalid("/from", "is neither this connection's address nor at one of its own domains"));
    }
    Ok(from.clone())
}

fn recipients(message: &OutboundMessage) -> Result<Vec<String>> {
    if message.to.is_empty() || message.to.len() > MAX_RECIPIENTS {
        return Err(invalid("/to", format!("a mail goes to between 1 and {MAX_RECIPIENTS} addresses, not {}", message.to.len())));
    }
    if let Some(position) = message.to.iter().position(|to| !is_address(to)) {
        return Err(invalid("/to", format!("number {} is no e-mail address", position + 1)));
    }
    Ok(message.to.clone())
}

/// The id given, or one that is the same whenever this message is tried again.
fn message_id(config: &Config, message: &OutboundMessage, idempotency_key: &str) -> Result<String> {
    if let Some(id) = &message.message_id {
        return bare_id("/message_id", id).map(str::to_owned);
    }
    let own = config.own();
    let domain = if own.domain().is_ascii() { own.domain() } else { "throughline.invalid" };
    let digest = Sha256::digest(format!("{}\0{idempotency_key}", own.endpoint()));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("tl.{hex}@{domain}"))
}

fn bare_id<'a>(field: &str, id: &'a str) -> Result<&'a str> {
    let bare = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    if is_message_id(bare) { Ok(bare) } else { Err(invalid(field, "holds something that is no Message-ID")) }
}

/// `support+tl.TOKEN@example.com`.
fn token_address(from: &str, token: &str) -> Result<String> {
    if token.is_empty()
        || token.len() > 200
        || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err(invalid("/token", "does not fit into an address"));
    }
    let (local, domain) = split_address(from).ok_or_else(|| invalid("/from", "is no e-mail address"))?;
    let base = local.split('+').next().unwrap_or(local);
    Ok(format!("{base}+{TOKEN_PREFIX}{token}@{domain}"))
}

/// A name as it may stand in a header field: one line, not too long, none if nothing is left.
fn shown_name(name: &str) -> Option<String> {
    let line: String = name.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    let shown: String = words.join(" ").chars().take(MAX_NAME).collect();
    Some(shown).filter(|shown| !shown.is_empty())
}

fn must_be_line(field: &str, text: &str) -> Result<()> {
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "must not hold line ends or other control characters"));
    }
    if text.chars().nth(MAX_LINE).is_some() {
        return Err(invalid(field, format!("is longer than {MAX_LINE} characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
