//! C2 to C0: the interaction names nothing, so the sender's enquiries are all there is to go by.

use throughline_schemas::EnquiryId;

use super::subject::likeness;
use super::{ContinuityFacts, EnquiryFacts, Placed, Placement, evidence, go_on};

/// So much earlier than the enquiry it belongs to may news be, in milliseconds: silos report late and out of order.
const OUT_OF_ORDER_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) fn place(facts: &ContinuityFacts) -> Placed {
    let live = ranked(facts, |enquiry| enquiry.status.is_live() && enquiry.brand == facts.brand);
    let is_sure = facts.sender_is_sure();
    match live.as_slice() {
        [] => nothing_open(facts, is_sure),
        [only] if is_sure && only.policy.attach_by_person && is_current(facts, only) => one_open(facts, only),
        several => suggest(facts, several, is_sure),
    }
}

/// The enquiries of whoever the sender may be: those about the same first, then the last spoken of.
fn ranked(facts: &ContinuityFacts, wanted: impl Fn(&EnquiryFacts) -> bool) -> Vec<&EnquiryFacts> {
    let is_candidates = |enquiry: &EnquiryFacts| match facts.sender {
        Some(sender) => enquiry.root == sender,
        // A shared identity that points to several persons: the enquiries of all of them came in.
        None => facts.sender_shared,
    };
    let mut found: Vec<&EnquiryFacts> = facts.enquiries.iter().filter(|enquiry| is_candidates(enquiry) && wanted(enquiry)).collect();
    let likeness = |enquiry: &EnquiryFacts| facts.subject.as_deref().map_or(0, |subject| likeness(subject, &enquiry.reason));
    found.sort_by_key(|enquiry| (std::cmp::Reverse(likeness(enquiry)), std::cmp::Reverse(enquiry.updated_at), enquiry.id));
    found.dedup_by_key(|enquiry| enquiry.id);
    found
}

fn is_current(facts: &ContinuityFacts, enquiry: &EnquiryFacts) -> bool {
    let is_spoken_of = facts.now.since(enquiry.updated_at) <= enquiry.policy.window_ms;
    // What happened well before it began (an old mailbox that is read now) is about something else.
    is_spoken_of && enquiry.opened_at.since(facts.occurred_at) <= OUT_OF_ORDER_MS
}

fn one_open(facts: &ContinuityFacts, enquiry: &EnquiryFacts) -> Placed {
    let (placement, outcome) = go_on(facts, enquiry);
    let detail = format!("{} is the sender's only open enquiry with brand {:?}", enquiry.id, facts.brand);
    Placed {
        placement,
        about: Some(enquiry.id),
        evidence: vec![evidence("C2 one open enquiry", detail)],
        alternatives: Vec::new(),
        outcome,
    }
}

fn suggest(facts: &ContinuityFacts, live: &[&EnquiryFacts], is_sure: bool) -> Placed {
    let candidates: Vec<EnquiryId> = live.iter().map(|enquiry| enquiry.id).collect();
    // What nobody spoke of for so long is hardly meant: the customer is not to wait for somebody to look.
    let none_current = !live.iter().any(|enquiry| is_current(facts, enquiry));
    let then_open = (is_sure && none_current && facts.may_open()).then_some(facts.fresh);
    let why = if facts.sender_shared {
        "the identity is shared"
    } else if !facts.sender_is_asserted() {
        "the sender only claims who it is"
    } else if let Some(doubt) = facts.doubt.as_deref().filter(|_| !facts.outbound) {
        doubt
    } else if none_current {
        "nobody spoke of it for long, or it happened before it began"
    } else if live.len() == 1 {
        "the policy wants a person to say"
    } else {
        "several are open"
    };
    let mut outcome = format!("it may belong to an open enquiry, but {why}: a person must say");
    if let Some(fresh) = then_open {
        outcome = format!("{outcome}; {fresh} is opened for it meanwhile");
    }
    Placed {
        evidence: vec![evidence("C1 candidates", format!("{} open, and {why}", live.len()))],
        alternatives: live.iter().map(|enquiry| format!("{} ({})", enquiry.id, enquiry.reason)).collect(),
        placement: Placement::Suggest { candidates, then_open },
        about: None,
        outcome,
    }
}

fn nothing_open(facts: &ContinuityFacts, is_sure: bool) -> Placed {
    let elsewhere = ranked(facts, |enquiry| enquiry.status.is_live() && enquiry.brand != facts.brand);
    let alternatives = elsewhere.iter().map(|enquiry| format!("{} (open with brand {:?})", enquiry.id, enquiry.brand)).collect();
    if !facts.may_open() {
        let why = facts.automated.as_ref().map_or_else(
            || "no enquiry is open, and it is not of a kind that opens one".to_owned(),
            |automated| format!("no enquiry is open, and an automatic message ({automated}) opens none"),
        );
        let evidence = vec![evidence("C0 nothing open", why.clone())];
        return Placed {
            placement: Placement::None,
            about: None,
            evidence,
            alternatives,
            outcome: format!("it belongs to no enquiry: {why}"),
        };
    }
    let follows = if is_sure { ended_lately(facts) } else { None };
    let fresh = facts.fresh;
    let (detail, outcome) = match follows {
        Some(id) => (format!("{id} ended lately"), format!("it opens {fresh}, which follows {id}")),
        None => ("the sender has no open enquiry".to_owned(), format!("it opens {fresh}")),
    };
    Placed {
        placement: Placement::Open { enquiry: fresh, follows },
        about: None,
        evidence: vec![evidence("C0 new enquiry", detail)],
        alternatives,
        outcome,
    }
}

/// The one that ended last, if that is not too long ago.
fn ended_lately(facts: &ContinuityFacts) -> Option<EnquiryId> {
    let over = |enquiry: &EnquiryFacts| {
        !enquiry.status.is_live() && enquiry.brand == facts.brand && facts.now.since(enquiry.ended_at()) <= enquiry.policy.follow_ms
    };
    ranked(facts, over).into_iter().max_by_key(|enquiry| (enquiry.ended_at(), std::cmp::Reverse(enquiry.id))).map(|enquiry| enquiry.id)
}
