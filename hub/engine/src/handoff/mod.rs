//! Handoffs in the store: takes the steps that the domain decides and writes what comes of them, all in one unit of work.
//!
//! An enquiry's owner and fencing token are in its own row, so whoever races for it collides there. What has a deadline is a row that
//! the watchdog reads; what must be done at a silo is a delivery. Nothing of it is in memory only.

mod along;
mod arrival;
mod gather;
mod views;
mod watchdog;

pub use views::{HandoffAnswer, HandoffFilter, HandoffPolicyView, NewHandoff, NewInvite, NewMeeting};
pub(crate) use watchdog::Watchdog;

use throughline_domain::handoff::{HandoffPolicy, Ownership, Refusal, Step, Stepped, moves_owner, overtake, step};
use throughline_schemas::{Change, ChangeKind, DecisionId, Enquiry, EnquiryId, Evidence, Handoff, HandoffId, HandoffState, ProfileId};
use throughline_store::tables::{
    Deliveries, DeliveryKey, Enquiries, HandoffDeadlines, HandoffPolicies, Handoffs, HandoffsByEnquiry, OpenHandoff, OpenHandoffs, Present,
};

use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;

/// The brand whose policy holds for brands without one.
pub(crate) const DEFAULT_BRAND: &str = "default";

impl From<Refusal> for HubError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fenced { .. } => Self::Fenced { detail: format!("{refusal}; read it again") },
            Refusal::Invalid(field, detail) => Self::invalid(field, detail),
            Refusal::WrongState(_) | Refusal::NotTheirs(_) | Refusal::NotAcknowledged => Self::conflict(refusal.to_string()),
        }
    }
}

pub(crate) fn ownership_of(enquiry: &Enquiry) -> Ownership {
    Ownership { owner: enquiry.owner.clone(), fencing_token: enquiry.fencing_token }
}

/// The policy that holds for a brand.
pub(crate) fn policy_of(people: &mut People<'_>, brand: &str) -> Result<HandoffPolicy> {
    for brand in [brand, DEFAULT_BRAND] {
        if let Some(row) = people.tx.get::<HandoffPolicies>(&brand.to_owned())? {
            return Ok(row.value);
        }
    }
    Ok(HandoffPolicy::default())
}

/// The handoff in progress that passes the enquiry's ownership, if there is one.
pub(crate) fn moving(open: &[OpenHandoff]) -> Option<HandoffId> {
    open.iter().find(|open| moves_owner(open.kind)).map(|open| open.id)
}

impl Hub {
    /// Takes a step of a handoff; `why` is what it rests on.
    pub(crate) fn take_step(
        &self,
        people: &mut People<'_>,
        id: HandoffId,
        what: &Step,
        presented: Option<u64>,
        why: Evidence,
    ) -> Result<Handoff> {
        let before = people.tx.get::<Handoffs>(&id)?.ok_or_else(|| HubError::not_found("handoff", id))?.value;
        let enquiry = people.tx.get::<Enquiries>(&before.enquiry_id)?.ok_or_else(|| HubError::not_found("enquiry", before.enquiry_id))?;
        let policy = policy_of(people, &enquiry.value.brand)?;
        let done = step(&before, &ownership_of(&enquiry.value), what, presented, &policy, people.now)?;
        self.write_step(people, Some(&before), &done, enquiry.value, why)?;
        Ok(done.handoff)
    }

    /// Writes a handoff after a step, its enquiry's owner, and why.
    pub(crate) fn write_step(
        &self,
        people: &mut People<'_>,
        before: Option<&Handoff>,
        done: &Stepped,
        enquiry: Enquiry,
        why: Evidence,
    ) -> Result<()> {
        let root = people.root_of(enquiry.profile_id)?.map(|(root, _)| root);
        let decision = DecisionId::from_bytes(fresh());
        let outcome = in_words(&done.handoff, &done.ownership);
        people.decide(decision, "handoff", &outcome, vec![why], Vec::new(), root, Some(enquiry.id), None)?;
        put_handoff(people, before, &done.handoff)?;
        self.send_call_along(people, before, &done.handoff)?;
        log_step(people, before, &done.handoff, root, Some(decision))?;
        pass_on(people, enquiry, &done.ownership, root, decision)
    }
}

/// The enquiry under its new owner.
pub(crate) fn pass_on(
    people: &mut People<'_>,
    mut enquiry: Enquiry,
    to: &Ownership,
    root: Option<ProfileId>,
    decision: DecisionId,
) -> Result<()> {
    if ownership_of(&enquiry) == *to {
        return Ok(());
    }
    let changes_hands = enquiry.owner != to.owner;
    enquiry.fencing_token = to.fencing_token;
    if changes_hands {
        let before = enquiry.clone();
        enquiry.owner.clone_from(&to.owner);
        enquiry.note_origins(&before, None, people.now);
        enquiry.owner_since = Some(people.now);
        enquiry.updated_at = people.now;
        let change = Change {
            enquiry_id: Some(enquiry.id),
            profile_id: root,
            decision_id: Some(decision),
            data: serde_json::json!({ "fields": ["owner"], "owner": to.owner }),
            ..people.change(ChangeKind::EnquiryUpdated)
        };
        people.tx.log(&change)?;
    }
    Ok(people.tx.put::<Enquiries>(&enquiry.id, &enquiry)?)
}

/// Somebody set an enquiry's owner or status otherwise than by a handoff: handoffs that this overtakes come to nothing, and whoever
/// holds the old fencing token has lost. Call it before the enquiry is written.
pub(crate) fn set_by_hand(people: &mut People<'_>, before: &Enquiry, after: &mut Enquiry) -> Result<()> {
    let passed = before.owner != after.owner;
    let over = before.status.is_live() && !after.status.is_live();
    if passed {
        after.fencing_token = before.fencing_token + 1;
        after.owner_since = Some(people.now);
    }
    if !passed && !over {
        return Ok(());
    }
    let why = if over { "the enquiry ended" } else { "the enquiry was given to somebody otherwise" };
    let open = people.tx.get::<OpenHandoffs>(&after.id)?.map(|row| row.value).unwrap_or_default();
    let root = people.root_of(after.profile_id)?.map(|(root, _)| root);
    for open in open.into_iter().filter(|open| over || moves_owner(open.kind)) {
        let Some(row) = people.tx.get::<Handoffs>(&open.id)? else { continue };
        let ended = overtake(&row.value, why, people.now);
        put_handoff(people, Some(&row.value), &ended)?;
        log_step(people, Some(&row.value), &ended, root, None)?;
    }
    Ok(())
}

/// A handoff with everything by which it is found, and without the work that its end has made needless.
fn put_handoff(people: &mut People<'_>, before: Option<&Handoff>, after: &Handoff) -> Result<()> {
    let (id, enquiry) = (after.id, after.enquiry_id);
    people.tx.put::<Handoffs>(&id, after)?;
    people.tx.put::<HandoffsByEnquiry>(&(enquiry, id), &after.state)?;
    if let Some(before) = before {
        people.tx.delete::<HandoffDeadlines>(&(before.deadline, id));
    }
    let mut open = people.tx.get::<OpenHandoffs>(&enquiry)?.map(|row| row.value).unwrap_or_default();
    open.retain(|open| open.id != id);
    if after.state.is_open() {
        people.tx.put::<HandoffDeadlines>(&(after.deadline, id), &Present {})?;
        let channel = after.meeting.as_ref().map(|meeting| meeting.channel);
        open.push(OpenHandoff { id, kind: after.kind, channel, deadline: after.deadline });
    } else if let Some(meeting) = &after.meeting {
        people.tx.delete::<Deliveries>(&DeliveryKey::act(meeting.connection_id, id));
    }
    if !after.state.is_open() {
        crate::flow::go_on_after(people.tx, id, people.now)?;
    }
    match open.is_empty() {
        true => people.tx.delete::<OpenHandoffs>(&enquiry),
        false => people.tx.put::<OpenHandoffs>(&enquiry, &open)?,
    }
    Ok(())
}

fn log_step(
    people: &mut People<'_>,
    before: Option<&Handoff>,
    after: &Handoff,
    root: Option<ProfileId>,
    decision: Option<DecisionId>,
) -> Result<()> {
    // An agent who takes a call has accepted and completed at once: both are told.
    let skipped = before.is_some_and(|before| before.state == HandoffState::Offered) && after.accepted_at.is_some();
    let accepted = (skipped && after.state != HandoffState::Accepted).then_some(ChangeKind::HandoffAccepted);
    for kind in accepted.into_iter().chain([kind_of(after.state)]) {
        let change = Change {
            enquiry_id: Some(after.enquiry_id),
            profile_id: root,
            decision_id: decision,
            data: serde_json::json!({ "handoff": after.id, "kind": after.kind, "to": after.to, "accepted_by": after.accepted_by }),
            ..people.change(kind)
        };
        people.tx.log(&change)?;
    }
    Ok(())
}

const fn kind_of(state: HandoffState) -> ChangeKind {
    match state {
        HandoffState::Offered => ChangeKind::HandoffOffered,
        HandoffState::Accepted => ChangeKind::HandoffAccepted,
        HandoffState::Declined => ChangeKind::HandoffDeclined,
        HandoffState::Expired => ChangeKind::HandoffExpired,
        HandoffState::Completed => ChangeKind::HandoffCompleted,
        HandoffState::Failed => ChangeKind::HandoffFailed,
    }
}

fn in_words(handoff: &Handoff, owned: &Ownership) -> String {
    let to = handoff.to.as_ref().map(|to| format!(" to {}", to.name())).unwrap_or_default();
    let (kind, state) = (name_of(&handoff.kind), name_of(&handoff.state));
    let why = handoff.outcome.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    let owner = owned.owner.as_deref().unwrap_or("nobody");
    format!("{kind}{to} is {state}{why}; {} is {owner}'s", handoff.enquiry_id)
}

/// As in JSON.
fn name_of<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What is in progress for an enquiry.
pub(crate) fn open_of(people: &mut People<'_>, enquiry: EnquiryId) -> Result<Vec<OpenHandoff>> {
    Ok(people.tx.get::<OpenHandoffs>(&enquiry)?.map(|row| row.value).unwrap_or_default())
}
