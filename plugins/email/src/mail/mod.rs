//! What a mail means: from its bytes to an [`InteractionFact`]. Pure but for the files, which go through [`Files`].
//!
//! Knows nothing of IMAP, and nothing of who the customer is beyond what the mail claims.

mod authentication;
mod automated;
mod files;
mod headers;
mod key;
mod people;
mod text;
pub(crate) mod weight;

use mail_parser::{Message, MessageParser};
use throughline_plugin_sdk::schemas::{Channel, Content, InteractionFact, MessageFacts, ThreadEvidence, Timestamp};
use throughline_plugin_sdk::{Error, ErrorClass, Item, ItemKind, Result};

use crate::config::Own;
pub use files::{Blobs, Files};
use headers::Headers;
pub use key::is_message_id;
pub(crate) use key::message_id_of_key;

/// The entity under which mails are read.
pub const ENTITY: &str = "messages";
/// A Date header further than this from when the server received the mail is a wrong clock, or a lie.
const SANE_DATE_MS: i64 = 2 * 24 * 60 * 60 * 1000;
/// Longest subject kept, in characters.
const MAX_SUBJECT: usize = 1_000;
/// Most references kept: the newest count.
const MAX_REFERENCES: usize = 100;

/// A mail, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// The same for the same mail wherever it lies, another for any other mail. See [`key`].
    pub key: String,
    /// What happened.
    pub fact: InteractionFact,
}

impl Mapped {
    /// The item that tells the hub of it.
    pub fn into_item(self) -> Result<Item> {
        let data = serde_json::to_value(&self.fact).map_err(|error| Error::new(ErrorClass::Bug, error.to_string()))?;
        Ok(Item {
            kind: ItemKind::Interaction,
            entity: ENTITY.to_owned(),
            key: self.key,
            version: Some("1".to_owned()),
            at_ms: u64::try_from(self.fact.occurred_at.as_millis()).ok(),
            data,
        })
    }
}

/// What is known of a mail besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Which addresses are ours.
    pub own: &'a Own,
    /// When the server received it.
    pub received_at: Timestamp,
}

/// Understands a whole mail. Whatever is broken in it is left out; there is no mail that this fails on, only files that cannot be
/// stored.
pub fn map(raw: &[u8], arrival: Arrival<'_>, files: &mut dyn Files) -> Result<Mapped> {
    let Some(message) = parse(raw) else { return map_unparsable(raw, arrival, files) };
    let headers = Headers::of(&message);
    let text = text::of(&message);
    let content = MessageFacts {
        subject: subject(&message),
        text_reference: if text::is_long(&text) { Some(files.keep("text/plain; charset=utf-8", None, text.as_bytes())?) } else { None },
        html_reference: match text::html(&message) {
            Some(html) => Some(files.keep("text/html; charset=utf-8", None, html.as_bytes())?),
            None => None,
        },
        attachments: files::attachments(&message, files)?,
        text: text::beginning(&text),
        authentication: authentication::verdict(&headers, arrival.own),
        ..MessageFacts::default()
    };
    let body = message.parts.first().and_then(|part| raw.get(part.offset_body as usize..)).unwrap_or_default();
    Ok(understood(&message, &headers, key::Body::Bytes(body), arrival, content))
}

/// Understands what the header of a mail says that is too large to read.
pub fn map_header(header: &[u8], size: u32, arrival: Arrival<'_>) -> Mapped {
    let note = format!("[This mail of {} MiB is too large to be read here. It is still in the mailbox.]", size / (1024 * 1024));
    let parsed = MessageParser::default().parse_headers(header).filter(|message| !message.parts.is_empty());
    let Some(message) = parsed else { return bare(key::Body::Size(size), header, note, arrival) };
    let headers = Headers::of(&message);
    let authentication = authentication::verdict(&headers, arrival.own);
    let content = MessageFacts { subject: subject(&message), text: note, authentication, ..MessageFacts::default() };
    understood(&message, &headers, key::Body::Size(size), arrival, content)
}

fn parse(raw: &[u8]) -> Option<Message<'_>> {
    MessageParser::default().parse(raw).filter(|message| !message.parts.is_empty())
}

/// Bytes without a header that could be read: kept as they are, for a person to look at.
fn map_unparsable(raw: &[u8], arrival: Arrival<'_>, files: &mut dyn Files) -> Result<Mapped> {
    let text = String::from_utf8_lossy(raw).replace('\0', "");
    let mut mapped = bare(key::Body::Bytes(raw), b"", text::beginning(&text), arrival);
    if text::is_long(&text)
        && let Content::Message(message) = &mut mapped.fact.content
    {
        message.text_reference = Some(files.keep("text/plain; charset=utf-8", None, text.as_bytes())?);
    }
    Ok(mapped)
}

fn bare(body: key::Body<'_>, header: &[u8], text: String, arrival: Arrival<'_>) -> Mapped {
    let subject = String::from_utf8_lossy(header);
    let content = MessageFacts { text, ..MessageFacts::default() };
    let named = key::Named { message_id: None, from: "", date: &arrival.received_at.to_string(), subject: &subject };
    Mapped { key: key::key(named, body), fact: fact(arrival, people::People::nobody(), arrival.received_at, content) }
}

fn understood(message: &Message<'_>, headers: &Headers<'_>, body: key::Body<'_>, arrival: Arrival<'_>, content: MessageFacts) -> Mapped {
    let people = people::of(message, arrival.own);
    let thread = thread(message, headers, arrival.own);
    let received_at = arrival.received_at.to_string();
    let named = key::Named {
        message_id: thread.message_id.as_deref(),
        from: headers.first("From").unwrap_or(""),
        // Mails without an id and a date may well say the same twice ("hello"); when they came then tells them apart.
        date: headers.first("Date").unwrap_or(if thread.message_id.is_none() { &received_at } else { "" }),
        subject: headers.first("Subject").unwrap_or(""),
    };
    let key = key::key(named, body);
    let automated = automated::reason(message, headers, people.sender_address.as_deref(), arrival.own).map(str::to_owned);
    let mut fact = fact(arrival, people, occurred_at(message, arrival.received_at), content);
    fact.automated = automated;
    fact.thread = thread;
    Mapped { key, fact }
}

fn fact(arrival: Arrival<'_>, people: people::People, occurred_at: Timestamp, content: MessageFacts) -> InteractionFact {
    InteractionFact {
        channel: Channel::Email,
        direction: people.direction,
        endpoint: Some(arrival.own.endpoint()),
        conversation_key: None,
        occurred_at,
        ended_at: None,
        participants: people.participants,
        thread: ThreadEvidence::default(),
        automated: None,
        variables: Default::default(),
        content: Content::Message(content),
    }
}

fn subject(message: &Message<'_>) -> Option<String> {
    let subject = message.subject()?;
    let clean: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SUBJECT).collect();
    Some(clean.trim().to_owned()).filter(|subject| !subject.is_empty())
}

fn occurred_at(message: &Message<'_>, received_at: Timestamp) -> Timestamp {
    let claimed =
        message.date().filter(|date| date.is_valid()).map(|date| Timestamp::from_millis(date.to_timestamp().saturating_mul(1000)));
    claimed.filter(|claimed| received_at.since(*claimed).abs() <= SANE_DATE_MS).unwrap_or(received_at)
}

fn thread(message: &Message<'_>, headers: &Headers<'_>, own: &Own) -> ThreadEvidence {
    let mut references = key::ids(message.references());
    references.drain(..references.len().saturating_sub(MAX_REFERENCES));
    let mut in_reply_to = key::ids(message.in_reply_to());
    in_reply_to.extend(automated::reported_id(message).filter(|id| is_message_id(id)));
    in_reply_to.truncate(MAX_REFERENCES);
    ThreadEvidence {
        message_id: message.message_id().filter(|id| is_message_id(id)).map(str::to_owned),
        in_reply_to,
        references,
        tokens: people::tokens(message, headers, own),
    }
}

#[cfg(test)]
mod tests;
