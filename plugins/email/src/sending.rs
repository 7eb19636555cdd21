//! Sending: compose, hand over, keep a copy.
//!
//! SMTP has no idempotency: a reply that is lost on the way leaves open whether the mail was taken. What can be done is done: the
//! Message-ID is the same at every attempt, and where copies are kept, the copy shows that the mail went out.

use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{OutboundMessage, Result, Written, clock, log};

use crate::config::Config;
use crate::imap::mailbox::{Listed, Raw};
use crate::imap::session::Session as Imap;
use crate::mail::{self, Arrival, Files};
use crate::smtp::compose::{Composed, compose};
use crate::smtp::session::{Envelope, Session as Smtp};

/// Sends a message, unless its copy says that an earlier attempt did.
pub(crate) fn send(config: &Config, message: &OutboundMessage, idempotency_key: &str) -> Result<Written> {
    let composed = compose(config, message, idempotency_key, clock::now())?;
    let mut copies = match &config.sent_mailbox {
        Some(mailbox) => Some((Imap::open(config)?, mailbox)),
        None => None,
    };
    if let Some((imap, mailbox)) = &mut copies
        && let Some(raw) = copy(imap, mailbox, &composed)?
    {
        log::info("the mail is already among the sent ones; not sending it again");
        return written(config, &raw);
    }
    let mut smtp = Smtp::open(config)?;
    smtp.deliver(&Envelope { from: &composed.from, to: &composed.to, raw: &composed.raw })?;
    smtp.quit();
    if let Some((imap, mailbox)) = &mut copies {
        // The mail is out: to fail now would only have it sent again.
        if let Err(error) = imap.append(mailbox, &composed.raw) {
            log::warn(format!("the mail was sent, but no copy could be kept: {}", error.message));
        }
    }
    written(config, &composed.raw)
}

/// The bytes of the copy of this mail, if there is one.
fn copy(imap: &mut Imap, mailbox: &str, composed: &Composed) -> Result<Option<Vec<u8>>> {
    imap.examine("sent_mailbox", mailbox)?;
    let found: Vec<Listed> = imap.find_message_id(&composed.message_id)?;
    let mut copy = None;
    imap.fetch_each(&found[..found.len().min(1)], |_, raw| {
        copy = raw.map(|raw| match raw {
            Raw::Whole(bytes) | Raw::Header(bytes) => bytes,
        });
        Ok(())
    })?;
    Ok(copy)
}

/// The key is the one under which the mail would be read, should it come back to us as a copy.
fn written(config: &Config, raw: &[u8]) -> Result<Written> {
    let own = config.own();
    let arrival = Arrival { own: &own, received_at: Timestamp::from_millis(0) };
    let mapped = mail::map(raw, arrival, &mut Nowhere)?;
    Ok(Written { key: mapped.key, version: Some("1".to_owned()), record: None })
}

/// The hub has what it sent; nothing of it is stored again.
struct Nowhere;

impl Files for Nowhere {
    fn keep(&mut self, _: &str, _: Option<&str>, _: &[u8]) -> Result<String> {
        Ok(String::new())
    }
}
