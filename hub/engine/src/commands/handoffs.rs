//! Handoffs: offered, accepted, declined, completed, shown.

use serde_json::{Value, json};
use throughline_domain::continuity::token::{TokenClaims, TokenForm};
use throughline_domain::handoff::{LONGEST_NAME, LONGEST_SECONDS, Offer, Step, is_name, offer};
use throughline_schemas::{
    Channel, ConnectionId, Enquiry, EnquiryId, Evidence, Handoff, HandoffId, HandoffKind, IdentityType, Meeting, Receiver, Timestamp,
};
use throughline_store::tables::{
    Connections, Deliveries, Delivery, DeliveryKey, DeliveryWork, Enquiries, Handoffs, HandoffsByEnquiry, Tx, read,
};

use super::connection_rules::check_schema;
use super::{page, page_of};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::handoff::{
    DEFAULT_BRAND, HandoffAnswer, HandoffFilter, NewHandoff, NewInvite, NewMeeting, moving, open_of, ownership_of, policy_of,
};
use crate::hub::{Hub, PageOf, Paging, Stored};

/// The longest word to the receiver, in bytes.
const LONGEST_NOTE: usize = 4000;
/// How many handoffs of one enquiry may be in progress at once.
const MOST_OPEN: usize = 20;
/// How much longer than the handoff its continuity token holds, in milliseconds: a call that is answered at the last moment goes on.
const TOKEN_AFTER_MS: i64 = 24 * 3600 * 1000;
/// A call is told of more than once: when it rings, and when it turns out late whose it is.
const USES_OF_CALL: u8 = 3;
/// The action by which a plugin places a call.
const ORIGINATE: &str = "originate";

/// What must be done at a silo for a handoff, checked before anything is written.
enum Deed {
    Nothing,
    /// Places the call at this time.
    Call(Timestamp),
    Invite(NewInvite),
}

/// An offer that was checked: where the customer is to be met, and what must be done for that.
pub(crate) struct PreparedHandoff {
    meeting: Option<Meeting>,
    deed: Deed,
}

impl PreparedHandoff {
    /// Whose dispatcher has work by it.
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        self.meeting.as_ref().map(|meeting| meeting.connection_id)
    }
}

impl Hub {
    /// Offers an enquiry to somebody, or its customer another channel.
    pub async fn create_handoff(&self, enquiry: EnquiryId, new: NewHandoff) -> Result<Stored<Handoff>> {
        let prepared = self.prepare_handoff(enquiry, &new)?;
        let id = HandoffId::from_bytes(fresh());
        self.transact(|tx| self.offer_in(tx, enquiry, id, &new, &prepared)).await?;
        self.inner.watchdog.wake();
        if let Some(connection) = prepared.connection() {
            self.wake_dispatcher(connection);
        }
        self.handoff(id)
    }

    /// Checks an offer as far as that is possible outside of a unit of work.
    pub(crate) fn prepare_handoff(&self, enquiry: EnquiryId, new: &NewHandoff) -> Result<PreparedHandoff> {
        check_form(new, self.now())?;
        let subject = self.enquiry(enquiry)?.value;
        let meeting = match (&new.meeting, new.call) {
            (Some(_), Some(_)) => return Err(HubError::invalid("/meeting", "a call that goes along is where it is: leave this out")),
            (Some(meeting), None) => Some(self.meeting(&subject, new, meeting)?),
            (None, Some(call)) => Some(self.call_to_send(enquiry, call, new.to.as_ref().map(Receiver::name).unwrap_or_default())?),
            (None, None) => None,
        };
        let deed = self.deed(new, meeting.as_ref())?;
        Ok(PreparedHandoff { meeting, deed })
    }

    /// Makes an offer within `tx`.
    pub(crate) fn offer_in(
        &self,
        tx: &mut Tx,
        enquiry: EnquiryId,
        id: HandoffId,
        new: &NewHandoff,
        prepared: &PreparedHandoff,
    ) -> Result<()> {
        let PreparedHandoff { meeting, deed } = prepared;
        if let Some(meeting) = meeting {
            // Deleted this very moment, it would take the order with it and leave the offer.
            let here = tx.get::<Connections>(&meeting.connection_id)?.is_some();
            here.then_some(()).ok_or_else(|| HubError::invalid("/meeting/connection_id", "the connection was deleted meanwhile"))?;
        }
        let mut people = self.people(tx);
        let subject = people.tx.get::<Enquiries>(&enquiry)?.ok_or_else(|| HubError::not_found("enquiry", enquiry))?.value;
        if !subject.status.is_live() {
            return Err(HubError::conflict("the enquiry is over; open it again first"));
        }
        let open = open_of(&mut people, enquiry)?;
        if open.len() >= MOST_OPEN {
            return Err(HubError::conflict(format!("{MOST_OPEN} handoffs of this enquiry are in progress already")));
        }
        let policy = policy_of(&mut people, &subject.brand)?;
        let from = new.at.unwrap_or(people.now);
        let wanted = Offer {
            id,
            enquiry_id: enquiry,
            kind: new.kind,
            by: new.by.clone(),
            to: new.to.clone(),
            meeting: meeting.clone(),
            call: new.call,
            at: new.at,
            deadline: new.deadline_seconds.map(|seconds| from.plus_millis(i64::from(seconds) * 1000)),
            presented: new.fencing_token,
            briefing: self.briefing_for_agent(&subject, new.note.clone())?,
        };
        let done = offer(wanted, &ownership_of(&subject), moving(&open), &policy, people.now)?;
        let why = Evidence { rule: "by hand".to_owned(), detail: new.by.clone() };
        self.write_step(&mut people, None, &done, subject.clone(), why)?;
        self.arrange(tx, &subject, &done.handoff, deed)
    }

    /// Leaves what must be done at a silo, with the same commit as the offer: a crash forgets neither, or both.
    fn arrange(&self, tx: &mut Tx, enquiry: &Enquiry, handoff: &Handoff, deed: &Deed) -> Result<()> {
        let Some(meeting) = &handoff.meeting else { return Ok(()) };
        let expires_at = handoff.deadline.plus_millis(TOKEN_AFTER_MS);
        let pointer = |brand: &str, max_uses| {
            self.sealed_token(&TokenClaims { enquiry: enquiry.id, form: TokenForm::Any, max_uses, expires_at }, brand)
        };
        match deed {
            Deed::Nothing => Ok(()),
            Deed::Call(not_before) => {
                // The brand that the call's own events will be taken for.
                let brand = &self.connection_context(meeting.connection_id)?.brand;
                let input = Box::new(call_input(handoff, meeting, &pointer(brand, Some(USES_OF_CALL))));
                let work = DeliveryWork::Act { handoff: handoff.id, action: ORIGINATE.to_owned(), input };
                let delivery = Delivery { not_before: *not_before, ..Delivery::new(work, self.now()) };
                Ok(tx.put::<Deliveries>(&DeliveryKey::act(meeting.connection_id, handoff.id), &delivery)?)
            }
            Deed::Invite(invite) => self.send_invite(tx, enquiry, meeting, invite, &pointer(&enquiry.brand, None)),
        }
    }

    /// One handoff.
    pub fn handoff(&self, id: HandoffId) -> Result<Stored<Handoff>> {
        let row = read::<Handoffs>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("handoff", id))?;
        Ok(Stored { value: row.value, version: row.version })
    }

    /// Handoffs: an enquiry's newest first, or all of them oldest first.
    pub fn handoffs(&self, filter: &HandoffFilter, paging: Paging) -> Result<PageOf<Stored<Handoff>>> {
        let wanted = |handoff: &Handoff| {
            let receives = |name: &String| {
                handoff.accepted_by.as_ref() == Some(name) || handoff.to.as_ref().is_some_and(|to| to.name() == name.as_str())
            };
            filter.state.is_none_or(|state| state == handoff.state) && filter.receiver.as_ref().is_none_or(receives)
        };
        let Some(enquiry) = filter.enquiry else {
            return page_of(page::<Handoffs>(&self.inner.store, &[], &paging)?, |_, handoff, version| {
                Ok(wanted(&handoff).then_some(Stored { value: handoff, version }))
            });
        };
        self.enquiry(enquiry)?;
        page_of(page::<HandoffsByEnquiry>(&self.inner.store, enquiry.as_bytes(), &paging)?, |key, _, _| {
            let found = HandoffsByEnquiry::handoff(key).map(|id| self.handoff(id)).transpose()?;
            Ok(found.filter(|stored| wanted(&stored.value)))
        })
    }

    /// Somebody takes it. The answer's fencing token is the new one.
    pub async fn accept_handoff(&self, id: HandoffId, answer: HandoffAnswer) -> Result<Stored<Handoff>> {
        self.answer_handoff(id, &answer, Step::Accept { by: answer.by.clone(), acknowledge: answer.acknowledge_briefing }).await
    }

    /// The receiver says no, or whoever offered it takes it back.
    pub async fn decline_handoff(&self, id: HandoffId, answer: HandoffAnswer) -> Result<Stored<Handoff>> {
        self.answer_handoff(id, &answer, Step::Decline { by: answer.by.clone(), why: answer.why.clone() }).await
    }

    /// It is done.
    pub async fn complete_handoff(&self, id: HandoffId, answer: HandoffAnswer) -> Result<Stored<Handoff>> {
        self.answer_handoff(id, &answer, Step::Complete { by: answer.by.clone(), acknowledge: answer.acknowledge_briefing }).await
    }

    async fn answer_handoff(&self, id: HandoffId, answer: &HandoffAnswer, step: Step) -> Result<Stored<Handoff>> {
        check_name("/by", &answer.by)?;
        if answer.why.as_ref().is_some_and(|why| why.len() > LONGEST_NOTE) {
            return Err(HubError::invalid("/why", format!("at most {LONGEST_NOTE} bytes are kept")));
        }
        self.transact(|tx| {
            let why = Evidence { rule: "by hand".to_owned(), detail: answer.by.clone() };
            self.take_step(&mut self.people(tx), id, &step, Some(answer.fencing_token), why)
        })
        .await?;
        self.inner.watchdog.wake();
        let answered = self.handoff(id)?;
        if let Some(meeting) = &answered.value.meeting {
            self.wake_dispatcher(meeting.connection_id);
        }
        Ok(answered)
    }

    /// Where the customer is to be met, with what was left out filled in.
    fn meeting(&self, enquiry: &Enquiry, new: &NewHandoff, wanted: &NewMeeting) -> Result<Meeting> {
        let id = wanted.connection_id;
        let at = "/meeting/connection_id";
        let row =
            read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::invalid(at, format!("there is no connection {id}")))?;
        let plugin = self.plugin(&row.value.plugin, Some(&row.value.plugin_version))?;
        let channels: Vec<Channel> = plugin.manifest.channels.iter().map(|capability| capability.channel).collect();
        let calls = matches!(new.kind, HandoffKind::Escalate | HandoffKind::Callback);
        let channel = wanted.channel.or_else(|| calls.then_some(Channel::Phone)).or_else(|| channels.first().copied());
        let channel = channel.ok_or_else(|| HubError::invalid("/meeting/channel", "the connection does not say which channel it is"))?;
        if !channels.contains(&channel) && !channels.is_empty() {
            return Err(HubError::invalid("/meeting/channel", format!("connection {:?} has no such channel", row.value.name)));
        }
        let address = match &wanted.address {
            Some(address) => address.clone(),
            None => self.known_address(enquiry, channel, id)?,
        };
        if address.trim().is_empty() || address.len() > 320 || address.chars().any(char::is_control) {
            return Err(HubError::invalid("/meeting/address", "an address of 1 to 320 bytes is needed"));
        }
        Ok(Meeting { channel, connection_id: id, address })
    }

    fn known_address(&self, enquiry: &Enquiry, channel: Channel, connection: ConnectionId) -> Result<String> {
        let kind = super::conversations::identity_type(channel);
        let root = self.root(enquiry.profile_id)?.unwrap_or(enquiry.profile_id);
        let profile = self.profile(root)?.value;
        let namespace = if matches!(kind, IdentityType::Handle) { connection.to_string() } else { String::new() };
        let mut known: Vec<_> = profile.identities.iter().filter(|one| one.kind == kind && one.namespace == namespace).collect();
        // The one that they used last.
        known.sort_by_key(|identity| std::cmp::Reverse(identity.last_seen));
        let found = known.first().map(|identity| identity.value.clone());
        found.ok_or_else(|| HubError::invalid("/meeting/address", "no address of the customer for this channel is known; name one"))
    }

    /// What must be done at the silo, checked as far as that is possible before it is promised.
    fn deed(&self, new: &NewHandoff, meeting: Option<&Meeting>) -> Result<Deed> {
        if new.invite.is_some() && new.kind != HandoffKind::ChannelSwitch {
            return Err(HubError::invalid("/invite", "only a channel switch invites"));
        }
        let Some(meeting) = meeting else { return Ok(Deed::Nothing) };
        if let Some(invite) = &new.invite {
            self.check_invite(meeting, invite)?;
            return Ok(Deed::Invite(invite.clone()));
        }
        if new.call.is_some() {
            // It is sent by the step that hands the enquiry on.
            return Ok(Deed::Nothing);
        }
        if new.kind == HandoffKind::ChannelSwitch {
            // The customer hears of it otherwise: an agent reads a code out, a page shows a link.
            return Ok(Deed::Nothing);
        }
        if !matches!(new.to, Some(Receiver::Agent(_))) {
            return Err(HubError::invalid("/to", "name the agent whose phone is to ring: {\"agent\": …}"));
        }
        let record = self.connection(meeting.connection_id)?.value;
        let plugin = self.plugin(&record.plugin, Some(&record.plugin_version))?;
        let Some(action) = plugin.manifest.actions.get(ORIGINATE).filter(|_| plugin.exports("channel")) else {
            let detail = format!("connection {:?} cannot place calls: its plugin has no action `{ORIGINATE}`", record.name);
            return Err(HubError::invalid("/meeting/connection_id", detail));
        };
        let agent = new.to.as_ref().map(Receiver::name).unwrap_or_default();
        check_schema(&action.input, &input_of(agent, &meeting.address, "token"), "/meeting")?;
        Ok(Deed::Call(new.at.unwrap_or_else(|| self.now())))
    }
}

fn call_input(handoff: &Handoff, meeting: &Meeting, token: &str) -> Value {
    input_of(handoff.to.as_ref().map(Receiver::name).unwrap_or_default(), &meeting.address, token)
}

/// What the call carries: whose phone rings first, who is called, and the pointer by which the PBX's events lead back to the enquiry.
fn input_of(agent: &str, customer: &str, token: &str) -> Value {
    json!({ "agent": agent, "customer": customer, "token": token })
}

fn check_form(new: &NewHandoff, now: Timestamp) -> Result<()> {
    check_name("/by", &new.by)?;
    if let Some(to) = &new.to {
        check_name("/to", to.name())?;
    }
    if new.note.as_ref().is_some_and(|note| note.len() > LONGEST_NOTE) {
        return Err(HubError::invalid("/note", format!("at most {LONGEST_NOTE} bytes are kept")));
    }
    if new.deadline_seconds.is_some_and(|seconds| seconds == 0 || seconds > LONGEST_SECONDS) {
        return Err(HubError::invalid("/deadline_seconds", format!("a time of 1 to {LONGEST_SECONDS} seconds is needed")));
    }
    let far = i64::from(LONGEST_SECONDS) * 1000;
    if new.at.is_some_and(|at| at.since(now) > far) {
        return Err(HubError::invalid("/at", format!("a time within the next {} days is needed", far / 86_400_000)));
    }
    Ok(())
}

fn check_name(at: &str, name: &str) -> Result<()> {
    if is_name(name) { Ok(()) } else { Err(HubError::invalid(at, format!("a name of 1 to {LONGEST_NAME} bytes on one line is needed"))) }
}

impl Hub {
    /// What holds for a brand: its own policy, else that of the brand `default`, else the built-in one.
    pub fn handoff_policy(&self, brand: &str) -> Result<throughline_domain::handoff::HandoffPolicy> {
        let mut tx = Tx::new(&self.inner.store);
        let brand = if brand.is_empty() { DEFAULT_BRAND } else { brand };
        policy_of(&mut self.people(&mut tx), brand)
    }
}
