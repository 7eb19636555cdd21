//! Who took part, which way the mail went, and the continuity tokens in the addresses it was sent to.
//!
//! The sender is whoever From names: Reply-To may name anybody, and is listed as a third party only.

use mail_parser::{Addr, Address, Message};
use throughline_plugin_sdk::schemas::{Direction, IdentityType, Participant, ParticipantRole};

use super::headers::Headers;
use crate::config::{Own, is_address};

/// Most participants kept of a mail sent to the whole world.
const MAX_PARTICIPANTS: usize = 100;
/// Fields that tell where a mail was delivered to, whatever To says.
const DELIVERY_FIELDS: [&str; 4] = ["Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To"];

/// Who took part.
pub(super) struct People {
    pub(super) direction: Direction,
    pub(super) participants: Vec<Participant>,
    pub(super) sender_address: Option<String>,
}

impl People {
    /// For a mail that names nobody.
    pub(super) fn nobody() -> Self {
        Self { direction: Direction::Inbound, participants: Vec::new(), sender_address: None }
    }
}

/// Who took part in a mail.
pub(super) fn of(message: &Message<'_>, own: &Own) -> People {
    let sender = message.from().and_then(Address::first);
    let sender_address = sender.and_then(usable_address);
    let recipients: Vec<&Addr<'_>> = [message.to(), message.cc()].into_iter().flatten().flat_map(Address::iter).collect();
    let from_us = sender_address.as_deref().is_some_and(|address| own.is_ours(address));
    let to_others = recipients.iter().filter_map(|addr| usable_address(addr)).any(|address| !own.is_ours(&address));
    let direction = match (from_us, to_others) {
        (false, _) => Direction::Inbound,
        (true, true) => Direction::Outbound,
        (true, false) => Direction::Internal,
    };
    let mut people = People { direction, participants: Vec::new(), sender_address };
    people.add_sender(sender, from_us);
    for recipient in recipients {
        people.add_other(recipient, own);
    }
    for reply_to in message.reply_to().into_iter().flat_map(Address::iter) {
        people.add_other(reply_to, own);
    }
    people
}

impl People {
    fn add_sender(&mut self, sender: Option<&Addr<'_>>, from_us: bool) {
        let Some(sender) = sender else { return };
        let role = if from_us { ParticipantRole::Agent } else { ParticipantRole::Customer };
        self.participants.push(Participant { sender: true, ..participant(sender, role) });
    }

    fn add_other(&mut self, addr: &Addr<'_>, own: &Own) {
        let Some(address) = usable_address(addr) else { return };
        let known = self.participants.iter().any(|one| one.address.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(&address)));
        if known || self.participants.len() >= MAX_PARTICIPANTS {
            return;
        }
        self.participants.push(participant(addr, self.role_of(&address, own)));
    }

    /// A mail of ours is meant for the first stranger it is sent to.
    fn role_of(&self, address: &str, own: &Own) -> ParticipantRole {
        if own.is_ours(address) {
            return ParticipantRole::Agent;
        }
        let has_customer = self.participants.iter().any(|one| one.role == ParticipantRole::Customer);
        if self.direction == Direction::Outbound && !has_customer { ParticipantRole::Customer } else { ParticipantRole::ThirdParty }
    }
}

fn participant(addr: &Addr<'_>, role: ParticipantRole) -> Participant {
    let address = usable_address(addr);
    Participant { role, identity_type: address.as_ref().map(|_| IdentityType::Email), address, name: usable_name(addr), sender: false }
}

fn usable_address(addr: &Addr<'_>) -> Option<String> {
    addr.address().map(str::trim).filter(|address| is_address(address)).map(str::to_owned)
}

fn usable_name(addr: &Addr<'_>) -> Option<String> {
    let clean: String = addr.name()?.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    Some(clean.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The tokens in plus-addresses of ours that the mail was sent or delivered to.
pub(super) fn tokens(message: &Message<'_>, headers: &Headers<'_>, own: &Own) -> Vec<String> {
    let written =
        [message.to(), message.cc()].into_iter().flatten().flat_map(Address::iter).filter_map(|addr| addr.address().map(str::to_owned));
    let delivered = DELIVERY_FIELDS.into_iter().flat_map(|name| headers.all(name).map(|value| value.trim_matches(['<', '>']).to_owned()));
    let mut tokens: Vec<String> = Vec::new();
    for address in written.chain(delivered) {
        let token = own.token(address.trim()).filter(|token| token.len() <= 200);
        if let Some(token) = token.filter(|token| !tokens.iter().any(|known| known == token)) {
            tokens.push(token.to_owned());
        }
    }
    tokens.truncate(10);
    tokens
}
