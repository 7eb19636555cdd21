//! Invitations to another channel: a message with a link or code in it, on a conversation that the hub begins.

use throughline_schemas::{Change, ChangeKind, Channel, Conversation, ConversationId, Enquiry, Meeting};
use throughline_store::tables::{ConversationKeys, Conversations, Tx};

use super::conversations::{LONGEST_TEXT, check_recipients};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::handoff::NewInvite;
use crate::hub::Hub;
use crate::views::NewMessage;

/// What is replaced in an invitation.
const LINK: &str = "{link}";
const TOKEN: &str = "{token}";
/// Room for what takes their place.
const LONGEST_LINK: usize = 2000;

impl Hub {
    /// Says what is wrong with an invitation before anything is promised.
    pub(super) fn check_invite(&self, meeting: &Meeting, invite: &NewInvite) -> Result<()> {
        if invite.text.trim().is_empty() || invite.text.len() > LONGEST_TEXT - 2 * LONGEST_LINK {
            let most = LONGEST_TEXT - 2 * LONGEST_LINK;
            return Err(HubError::invalid("/invite/text", format!("a text of 1 to {most} bytes is needed")));
        }
        if invite.text.contains(LINK) && invite.link.is_none() {
            return Err(HubError::invalid("/invite/link", format!("the text has {LINK}, so say what the link is")));
        }
        let pointer = invite.text.contains(TOKEN) || (invite.text.contains(LINK) && invite.link.is_some());
        // An answer to a mail leads back by itself: its return address carries the token.
        if !pointer && meeting.channel != Channel::Email {
            return Err(HubError::invalid(
                "/invite/text",
                format!("put {LINK} (with `link`) or {TOKEN} where the customer finds the way back"),
            ));
        }
        if invite.text.matches(LINK).count() + invite.text.matches(TOKEN).count() > 2 {
            return Err(HubError::invalid("/invite/text", format!("{LINK} and {TOKEN} may stand in it twice together")));
        }
        let bad_link = |link: &String| link.len() > LONGEST_LINK / 2 || !link.contains(TOKEN) || link.chars().any(char::is_whitespace);
        if invite.link.as_ref().is_some_and(bad_link) {
            return Err(HubError::invalid("/invite/link", format!("an address of at most {} bytes with {TOKEN} in it", LONGEST_LINK / 2)));
        }
        let plugin = self.connection(meeting.connection_id)?.value;
        if !self.plugin(&plugin.plugin, Some(&plugin.plugin_version))?.exports("channel") {
            return Err(HubError::invalid("/meeting/connection_id", format!("connection {:?} cannot send messages", plugin.name)));
        }
        check_recipients(&self.message_of(meeting, invite, ""))
    }

    /// Begins a conversation with the customer there and leaves the message to be sent, in the same unit of work.
    pub(super) fn send_invite(&self, tx: &mut Tx, enquiry: &Enquiry, meeting: &Meeting, invite: &NewInvite, token: &str) -> Result<()> {
        let id = ConversationId::from_bytes(fresh());
        let now = self.now();
        let conversation = Conversation {
            id,
            connection_id: meeting.connection_id,
            channel: meeting.channel,
            key: id.to_string(),
            profile_id: Some(enquiry.profile_id),
            enquiry_id: Some(enquiry.id),
            endpoint: invite.from.clone(),
            subject: invite.subject.clone(),
            started_at: now,
            updated_at: now,
            proven: Vec::new(),
        };
        tx.put::<Conversations>(&id, &conversation)?;
        tx.put::<ConversationKeys>(&(meeting.connection_id, id.to_string()), &id)?;
        let change = Change {
            conversation_id: Some(id),
            enquiry_id: Some(enquiry.id),
            profile_id: Some(enquiry.profile_id),
            ..Change::new(ChangeKind::ConversationStarted, now)
        };
        tx.log(&change)?;
        self.queue_message(tx, &conversation, &self.message_of(meeting, invite, token))?;
        Ok(())
    }

    fn message_of(&self, meeting: &Meeting, invite: &NewInvite, token: &str) -> NewMessage {
        let link = invite.link.as_deref().unwrap_or_default().replace(TOKEN, token);
        NewMessage {
            // The link first: a token does not hold one.
            text: invite.text.replace(LINK, &link).replace(TOKEN, token),
            subject: invite.subject.clone(),
            to: Some(vec![meeting.address.clone()]),
            automatic: false,
            answers: None,
            fencing_token: None,
        }
    }
}
