//! The state machine: what an offer, an answer, a passed deadline or an assignment by hand make of a handoff and of the ownership.

use std::fmt;

use throughline_schemas::{
    Briefing, EnquiryId, Handoff, HandoffId, HandoffKind, HandoffState, InteractionId, Meeting, Receiver, Timestamp,
};

use super::{HandoffPolicy, moves_at_accept, moves_owner};

/// Who owns an enquiry, and the number that grows with every passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// An agent's, a queue's or a bot's name; none while it is on its way.
    pub owner: Option<String>,
    /// Never falls. Whoever presents an older one has lost the enquiry meanwhile.
    pub fencing_token: u64,
}

impl Ownership {
    /// With another owner, under the next number; unchanged if it is the same one.
    #[must_use]
    pub fn pass_to(&self, owner: Option<String>) -> Self {
        if owner == self.owner {
            return self.clone();
        }
        Self { owner, fencing_token: self.fencing_token + 1 }
    }
}

/// An offer to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The new handoff's id.
    pub id: HandoffId,
    /// Which enquiry.
    pub enquiry_id: EnquiryId,
    /// What is passed on, and how.
    pub kind: HandoffKind,
    /// Who offers it.
    pub by: String,
    /// Whom to.
    pub to: Option<Receiver>,
    /// Where the customer is to be met.
    pub meeting: Option<Meeting>,
    /// The call under way that goes along; `meeting` is where it is then.
    pub call: Option<InteractionId>,
    /// When the customer is to be called.
    pub at: Option<Timestamp>,
    /// How long it holds; the policy's time if absent.
    pub deadline: Option<Timestamp>,
    /// The enquiry's token as whoever offers it knows it; none if that does not matter.
    pub presented: Option<u64>,
    /// What the receiver needs to know.
    pub briefing: Briefing,
}

/// What happens to a handoff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Somebody takes it.
    Accept {
        /// Who.
        by: String,
        /// The briefing was read.
        acknowledge: bool,
    },
    /// The receiver says no, or whoever offered it takes it back.
    Decline {
        /// Who.
        by: String,
        /// Why, in their words.
        why: Option<String>,
    },
    /// It is done.
    Complete {
        /// Who says so.
        by: String,
        /// The briefing was read.
        acknowledge: bool,
    },
    /// The customer came, or the call was answered: what a channel shows, without anybody asking.
    Happened {
        /// The agent who took it, where one did.
        by: Option<String>,
        /// What happened.
        what: String,
    },
    /// It came to nothing.
    Fail {
        /// Why.
        why: String,
    },
    /// Time went on.
    TimePassed,
}

/// Why a step is refused. Nothing changes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody was faster.
    Fenced {
        /// The token presented.
        presented: u64,
        /// How it stands.
        now: String,
    },
    /// It is over, or not where this step begins.
    WrongState(String),
    /// Not theirs to do.
    NotTheirs(String),
    /// The offer lacks something, or has something it cannot have: field and remedy.
    Invalid(&'static str, String),
    /// The receiver has not acknowledged the briefing.
    NotAcknowledged,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced { presented, now } => write!(f, "the fencing token {presented} is not the current one any more: {now}"),
            Self::WrongState(detail) | Self::NotTheirs(detail) | Self::Invalid(_, detail) => f.write_str(detail),
            Self::NotAcknowledged => f.write_str("the receiver has not acknowledged the briefing: send `acknowledge_briefing: true`"),
        }
    }
}

/// A handoff and the ownership of its enquiry after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// The handoff.
    pub handoff: Handoff,
    /// The ownership.
    pub ownership: Ownership,
}

/// Makes an offer. `open` is the handoff in progress that passes the enquiry's ownership, if there is one.
pub fn offer(offer: Offer, owned: &Ownership, open: Option<HandoffId>, policy: &HandoffPolicy, now: Timestamp) -> Result<Stepped, Refusal> {
    if let Some(presented) = offer.presented.filter(|presented| *presented != owned.fencing_token) {
        return Err(Refusal::Fenced { presented, now: stands(owned) });
    }
    well_formed(&offer, owned, now)?;
    if let (Some(open), true) = (open, moves_owner(offer.kind)) {
        return Err(Refusal::WrongState(format!("{open} is still open for this enquiry: complete, decline or wait for it first")));
    }
    let mut ownership = owned.clone();
    if moves_owner(offer.kind) {
        // The offer itself fences: a bot's answer that was under way when it handed over comes too late.
        ownership.fencing_token += 1;
        if offer.kind == HandoffKind::TransferCold {
            ownership.owner = None;
        }
    }
    let deadline = offer.deadline.unwrap_or_else(|| policy.offered_until(offer.kind, offer.at.unwrap_or(now)));
    let handoff = Handoff {
        id: offer.id,
        enquiry_id: offer.enquiry_id,
        kind: offer.kind,
        state: HandoffState::Offered,
        offered_by: offer.by,
        from: owned.owner.clone(),
        to: offer.to,
        meeting: offer.meeting,
        call: offer.call,
        at: offer.at,
        deadline,
        fencing_token: ownership.fencing_token,
        briefing: offer.briefing,
        accepted_by: None,
        acknowledged_at: None,
        outcome: None,
        offered_at: now,
        accepted_at: None,
        ended_at: None,
    };
    Ok(Stepped { handoff, ownership })
}

fn well_formed(offer: &Offer, owned: &Ownership, now: Timestamp) -> Result<(), Refusal> {
    let invalid = |field, detail: &str| Err(Refusal::Invalid(field, detail.to_owned()));
    match (offer.kind, &offer.to) {
        (HandoffKind::ChannelSwitch, Some(_)) => return invalid("/to", "a channel switch has no receiver: only the customer moves"),
        (HandoffKind::ChannelSwitch, None) | (HandoffKind::Callback, Some(_)) => {}
        (_, None) => return invalid("/to", "say whom it is offered to: {\"agent\": …} or {\"queue\": …}"),
        (_, Some(to)) if moves_owner(offer.kind) && owned.owner.as_deref() == Some(to.name()) && offer.meeting.is_none() => {
            return invalid("/to", "the enquiry is theirs already");
        }
        (_, Some(_)) => {}
    }
    if offer.call.is_some() && !moves_owner(offer.kind) {
        return invalid(
            "/call",
            "a call goes along with an enquiry that is handed on: transfer_cold, transfer_warm, bot_to_human, escalate",
        );
    }
    match (offer.kind, &offer.meeting) {
        (HandoffKind::ChannelSwitch | HandoffKind::Callback, None) => return invalid("/meeting", "say where the customer is to be met"),
        (HandoffKind::TransferCold | HandoffKind::TransferWarm | HandoffKind::Consult | HandoffKind::BotToHuman, Some(_))
            if offer.call.is_none() =>
        {
            return invalid("/meeting", "this kind does not change the channel");
        }
        _ => {}
    }
    match (offer.kind, offer.at) {
        (HandoffKind::Callback, None) => return invalid("/at", "say when the customer is to be called"),
        (HandoffKind::Callback, Some(at)) if at <= now => return invalid("/at", "this time is over"),
        (HandoffKind::Callback, Some(_)) | (_, None) => {}
        (_, Some(_)) => return invalid("/at", "only a callback has a time"),
    }
    if offer.deadline.is_some_and(|deadline| deadline <= offer.at.unwrap_or(now)) {
        return invalid("/deadline_seconds", "the deadline must be in the future");
    }
    Ok(())
}

/// Takes a step. `presented` is the fencing token of whoever asks for it; the hub itself needs none.
pub fn step(
    handoff: &Handoff,
    owned: &Ownership,
    step: &Step,
    presented: Option<u64>,
    policy: &HandoffPolicy,
    now: Timestamp,
) -> Result<Stepped, Refusal> {
    if let Some(presented) = presented.filter(|presented| *presented != handoff.fencing_token) {
        return Err(Refusal::Fenced { presented, now: tells(handoff) });
    }
    if !handoff.state.is_open() {
        return Err(Refusal::WrongState(tells(handoff)));
    }
    let mut machine = Machine { after: Stepped { handoff: handoff.clone(), ownership: owned.clone() }, policy, now };
    match step {
        Step::Accept { by, acknowledge } => {
            machine.may_accept(by)?;
            machine.accept(by, *acknowledge);
        }
        Step::Decline { by, why } => {
            machine.may_decline(by)?;
            let outcome = why.clone().unwrap_or_else(|| format!("declined by {by}"));
            machine.end(HandoffState::Declined, outcome);
        }
        Step::Complete { by, acknowledge } => machine.complete(by, *acknowledge)?,
        Step::Happened { by, what } => machine.happened(by.as_deref(), what),
        Step::Fail { why } => machine.end(HandoffState::Failed, why.clone()),
        Step::TimePassed => machine.time_passed()?,
    }
    Ok(machine.after)
}

/// The enquiry was given to somebody by hand, or is over: what is open comes to nothing. The ownership is as it was decided there.
#[must_use]
pub fn overtake(handoff: &Handoff, why: &str, now: Timestamp) -> Handoff {
    let ended = (HandoffState::Failed, Some(why.to_owned()), Some(now));
    Handoff { state: ended.0, outcome: ended.1, ended_at: ended.2, ..handoff.clone() }
}

struct Machine<'p> {
    after: Stepped,
    policy: &'p HandoffPolicy,
    now: Timestamp,
}

impl Machine<'_> {
    fn may_accept(&self, by: &str) -> Result<(), Refusal> {
        let handoff = &self.after.handoff;
        if handoff.state != HandoffState::Offered {
            return Err(Refusal::WrongState(tells(handoff)));
        }
        // Whoever comes at the deadline comes too late, whether or not the watchdog was there before.
        if self.now >= handoff.deadline {
            return Err(Refusal::WrongState("the offer has expired".to_owned()));
        }
        match &handoff.to {
            None => Err(Refusal::NotTheirs("nobody is to accept this: the customer is expected".to_owned())),
            Some(Receiver::Agent(agent)) if agent != by => Err(Refusal::NotTheirs(format!("it is offered to {agent}, not to {by}"))),
            Some(_) if handoff.kind == HandoffKind::BotToHuman && by == handoff.offered_by => {
                Err(Refusal::NotTheirs("whoever hands over to a person cannot be that person".to_owned()))
            }
            Some(_) => Ok(()),
        }
    }

    fn may_decline(&self, by: &str) -> Result<(), Refusal> {
        let handoff = &self.after.handoff;
        let receives = match (&handoff.accepted_by, &handoff.to) {
            (Some(accepted), _) => accepted == by,
            (None, Some(Receiver::Agent(agent))) => agent == by,
            (None, Some(Receiver::Queue(_))) => true,
            (None, None) => false,
        };
        let offered = handoff.offered_by == by || handoff.from.as_deref() == Some(by);
        // What has changed hands is not given back by who gave it away: that would be another handoff.
        let passed = handoff.state == HandoffState::Accepted && moves_at_accept(handoff.kind);
        match (passed, receives || offered) {
            (true, _) => Err(Refusal::WrongState(format!("{}: hand it on instead", tells(handoff)))),
            (false, true) => Ok(()),
            (false, false) => Err(Refusal::NotTheirs(format!("only its receiver or who offered it declines it, not {by}"))),
        }
    }

    fn accept(&mut self, by: &str, acknowledge: bool) {
        let handoff = &mut self.after.handoff;
        handoff.state = HandoffState::Accepted;
        handoff.accepted_by = Some(by.to_owned());
        handoff.accepted_at = Some(self.now);
        handoff.acknowledged_at = acknowledge.then_some(self.now);
        handoff.deadline = self.policy.complete_until(self.now);
        if moves_at_accept(handoff.kind) {
            self.pass(by);
        }
    }

    /// The enquiry is theirs from now on, under a number that nobody has seen yet: even where the owner stays the same, as when an
    /// agent escalates to a call of their own, whoever lost the race holds an older one.
    fn pass(&mut self, to: &str) {
        let owned = &mut self.after.ownership;
        *owned = Ownership { owner: Some(to.to_owned()), fencing_token: owned.fencing_token + 1 };
        self.after.handoff.fencing_token = owned.fencing_token;
    }

    fn complete(&mut self, by: &str, acknowledge: bool) -> Result<(), Refusal> {
        let handoff = &mut self.after.handoff;
        let receiver = handoff.accepted_by.clone();
        let by_receiver = receiver.as_deref() == Some(by);
        if acknowledge && by_receiver {
            handoff.acknowledged_at = handoff.acknowledged_at.or(Some(self.now));
        }
        if handoff.kind != HandoffKind::ChannelSwitch && handoff.state != HandoffState::Accepted {
            return Err(Refusal::WrongState("it was not accepted yet".to_owned()));
        }
        if !by_receiver && handoff.offered_by != by && handoff.from.as_deref() != Some(by) {
            return Err(Refusal::NotTheirs(format!("only its receiver or who offered it completes it, not {by}")));
        }
        if receiver.is_some() && handoff.acknowledged_at.is_none() {
            return Err(Refusal::NotAcknowledged);
        }
        self.done(format!("completed by {by}"));
        Ok(())
    }

    fn done(&mut self, outcome: String) {
        if self.after.handoff.kind == HandoffKind::TransferWarm
            && let Some(receiver) = self.after.handoff.accepted_by.clone()
        {
            self.pass(&receiver);
        }
        self.end(HandoffState::Completed, outcome);
    }

    /// What a channel shows needs nobody's word: an agent who takes the call has accepted, the customer who comes has switched.
    fn happened(&mut self, by: Option<&str>, what: &str) {
        if let Some(by) = by.filter(|_| self.after.handoff.state == HandoffState::Offered) {
            // The screen pop showed the briefing with the call.
            self.accept(by, true);
        }
        self.done(what.to_owned());
    }

    fn time_passed(&mut self) -> Result<(), Refusal> {
        let handoff = &self.after.handoff;
        if self.now < handoff.deadline {
            return Err(Refusal::WrongState("its deadline is still to come".to_owned()));
        }
        match handoff.state {
            HandoffState::Offered => self.end(HandoffState::Expired, "nobody accepted it in time".to_owned()),
            // The receiver has it; that nobody said so is no reason to take it away.
            _ if moves_at_accept(handoff.kind) => self.end(HandoffState::Completed, "taken over; nobody completed it in time".to_owned()),
            _ => self.end(HandoffState::Failed, "accepted, but not completed in time".to_owned()),
        }
        Ok(())
    }

    /// Over. What was let go and has no owner now goes to the fallback, or back to who let it go.
    fn end(&mut self, state: HandoffState, outcome: String) {
        let handoff = &mut self.after.handoff;
        handoff.state = state;
        handoff.outcome = Some(outcome);
        handoff.ended_at = Some(self.now);
        let came_to_nothing = matches!(state, HandoffState::Declined | HandoffState::Expired | HandoffState::Failed);
        if came_to_nothing && handoff.kind == HandoffKind::TransferCold && self.after.ownership.owner.is_none() {
            let next = self.policy.fallback.clone().or_else(|| handoff.from.clone());
            self.after.ownership = self.after.ownership.pass_to(next);
        }
    }
}

/// How an enquiry's ownership stands, in words.
fn stands(owned: &Ownership) -> String {
    match &owned.owner {
        Some(owner) => format!("the enquiry is {owner}'s"),
        None => "the enquiry has no owner".to_owned(),
    }
}

/// How a handoff stands, in words.
fn tells(handoff: &Handoff) -> String {
    let by = handoff.accepted_by.as_deref().unwrap_or("its receiver");
    let why = handoff.outcome.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    match handoff.state {
        HandoffState::Offered => "it is offered".to_owned(),
        HandoffState::Accepted => format!("it was accepted by {by}"),
        HandoffState::Declined => format!("it was declined{why}"),
        HandoffState::Expired => format!("it has expired{why}"),
        HandoffState::Completed => format!("it is complete{why}"),
        HandoffState::Failed => format!("it came to nothing{why}"),
    }
}
