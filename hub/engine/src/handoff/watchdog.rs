//! What happens by time alone: offers expire, what nobody completes ends, and an enquiry without an owner goes to its fallback.
//!
//! It takes no input but the store and the clock, so that a restart, a missed wake-up or two rounds at once change nothing: each round
//! does what is due by then, and each deed looks again before it is done. Who has no owner is found by following the change log, and
//! by one walk over all enquiries whenever a policy changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use throughline_domain::handoff::{HandoffPolicy, Ownership, Step};
use throughline_schemas::{ChangeKind, DecisionId, EnquiryId, Evidence, HandoffId, Timestamp};
use throughline_store::tables::{
    Enquiries, HandoffDeadlines, HandoffPolicies, Handoffs, Present, Unowned, WatchPlace, WatchPlaces, leading_id, read, scan_rows,
};
use tokio::sync::Notify;

use super::{moving, open_of, ownership_of, pass_on, policy_of};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;

/// The row of [`WatchPlaces`] that is the watchdog's.
const PLACE: &str = "handoffs";
/// How much is done in one go.
const AT_ONCE: usize = 128;
/// The longest sleep where enquiries without an owner have a fallback: bounds how late one is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep otherwise: whoever makes a deadline wakes the watchdog, so this only bounds how late a missed wake is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Tidying up is never urgent.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How to wake the watchdog.
#[derive(Default)]
pub(crate) struct Watchdog {
    wake: Arc<Notify>,
    started: AtomicBool,
}

impl Watchdog {
    /// There is a new deadline, perhaps an early one.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Hub {
    /// Starts what happens by time alone; a second time it is no change.
    pub(crate) fn start_watchdog(&self) {
        if !self.inner.watchdog.started.swap(true, Ordering::SeqCst) {
            self.spawn_background(watch(self.clone()));
            self.spawn_background(tidy(self.clone()));
        }
    }

    /// Does what is due by time: one round of the watchdog, which also runs by itself once the hub is started. Answers when the next
    /// deadline is.
    pub async fn watch_handoffs(&self) -> Result<Option<Timestamp>> {
        let handoffs = self.end_overdue().await?;
        if self.any_fallback()? {
            self.follow_log().await?;
            self.walk_enquiries().await?;
        }
        let unowned = self.give_to_fallback().await?;
        Ok([handoffs, unowned].into_iter().flatten().min())
    }

    async fn end_overdue(&self) -> Result<Option<Timestamp>> {
        let now = self.now();
        let page = scan_rows::<HandoffDeadlines>(&self.inner.store, &[], None, AT_ONCE)?;
        for (deadline, id) in page.rows.iter().filter_map(|(key, _)| HandoffDeadlines::due(key)) {
            if deadline > now {
                return Ok(Some(deadline));
            }
            self.end_one(deadline, id).await?;
        }
        // Full of what was due: there may be more.
        Ok(page.next.map(|_| now))
    }

    async fn end_one(&self, deadline: Timestamp, id: HandoffId) -> Result<()> {
        self.transact(|tx| {
            let current = tx.get::<Handoffs>(&id)?.map(|row| row.value);
            if current.is_none_or(|handoff| !handoff.state.is_open() || handoff.deadline != deadline) {
                tx.delete::<HandoffDeadlines>(&(deadline, id));
                return Ok(());
            }
            let why = Evidence { rule: "deadline".to_owned(), detail: format!("it was to happen before {deadline}") };
            self.take_step(&mut self.people(tx), id, &Step::TimePassed, None, why).map(drop)
        })
        .await
    }

    /// Whether there is anybody for what has no owner.
    fn any_fallback(&self) -> Result<bool> {
        let policies = scan_rows::<HandoffPolicies>(&self.inner.store, &[], None, usize::MAX)?;
        Ok(policies.rows.iter().any(|(_, row)| row.value.fallback.is_some()))
    }

    /// Notes which enquiries have no owner, as far as the log has got.
    async fn follow_log(&self) -> Result<()> {
        loop {
            let head = self.head();
            let place = read::<WatchPlaces>(&self.inner.store, &PLACE)?.map(|row| row.value);
            // What was before the first policy is looked at by a walk.
            let place = place.unwrap_or(WatchPlace { sequence: head, walked_to: None });
            let changes = self.changes(place.sequence, AT_ONCE)?;
            let sequence = match changes.last() {
                Some((last, _)) => *last,
                None => return Ok(()),
            };
            let concerned: BTreeSet<EnquiryId> =
                changes.iter().filter(|(_, change)| may_free(change.kind)).filter_map(|(_, change)| change.enquiry_id).collect();
            self.transact(|tx| {
                let mut people = self.people(tx);
                concerned.iter().try_for_each(|id| note_unowned(&mut people, *id))?;
                Ok(tx.put::<WatchPlaces>(&PLACE, &WatchPlace { sequence, ..place })?)
            })
            .await?;
        }
    }

    /// Looks at all enquiries once after a policy has changed, a piece at a time; a restart goes on.
    async fn walk_enquiries(&self) -> Result<()> {
        loop {
            let Some(place) = read::<WatchPlaces>(&self.inner.store, &PLACE)?.map(|row| row.value) else { return Ok(()) };
            let Some(after) = place.walked_to else { return Ok(()) };
            let after = <Enquiries as throughline_store::tables::Table>::key(&after);
            let page = scan_rows::<Enquiries>(&self.inner.store, &[], Some(&after), AT_ONCE)?;
            let ids: Vec<EnquiryId> = page.rows.iter().filter_map(|(key, _)| leading_id(key)).map(EnquiryId::from_bytes).collect();
            let walked_to = page.next.as_deref().and_then(leading_id).map(EnquiryId::from_bytes);
            self.transact(|tx| {
                let mut people = self.people(tx);
                ids.iter().try_for_each(|id| note_unowned(&mut people, *id))?;
                Ok(tx.put::<WatchPlaces>(&PLACE, &WatchPlace { walked_to, ..place })?)
            })
            .await?;
        }
    }

    async fn give_to_fallback(&self) -> Result<Option<Timestamp>> {
        let now = self.now();
        let page = scan_rows::<Unowned>(&self.inner.store, &[], None, AT_ONCE)?;
        for (due, id) in page.rows.iter().filter_map(|(key, _)| Unowned::due(key)) {
            if due > now {
                return Ok(Some(due));
            }
            self.transact(|tx| {
                tx.delete::<Unowned>(&(due, id));
                give(&mut self.people(tx), id)
            })
            .await?;
        }
        Ok(page.next.map(|_| now))
    }

    /// Sets a brand's policy; everything without an owner is looked at again.
    pub async fn set_handoff_policy(&self, brand: &str, policy: HandoffPolicy) -> Result<HandoffPolicy> {
        if let Some((field, detail)) = policy.problem() {
            return Err(crate::HubError::invalid(field, detail));
        }
        if !throughline_domain::handoff::is_name(brand) {
            return Err(crate::HubError::invalid("/brand", "a brand's name of 1 to 200 bytes is needed"));
        }
        let head = self.head();
        self.transact(|tx| {
            tx.put::<HandoffPolicies>(&brand.to_owned(), &policy)?;
            let place = tx.get::<WatchPlaces>(&PLACE)?.map_or(head, |row| row.value.sequence);
            Ok(tx.put::<WatchPlaces>(&PLACE, &WatchPlace { sequence: place, walked_to: Some(EnquiryId::from_bytes([0; 16])) })?)
        })
        .await?;
        self.inner.watchdog.wake();
        Ok(policy)
    }

    /// The policies that were set, by brand.
    pub fn handoff_policies(&self) -> Result<Vec<(String, HandoffPolicy)>> {
        let page = scan_rows::<HandoffPolicies>(&self.inner.store, &[], None, usize::MAX)?;
        Ok(page.rows.into_iter().filter_map(|(key, row)| Some((HandoffPolicies::brand(&key)?, row.value))).collect())
    }
}

/// Whether an enquiry may be without an owner after such a change.
const fn may_free(kind: ChangeKind) -> bool {
    use ChangeKind::{EnquiryOpened, EnquiryUpdated, HandoffDeclined, HandoffExpired, HandoffFailed};
    matches!(kind, EnquiryOpened | EnquiryUpdated | HandoffDeclined | HandoffExpired | HandoffFailed)
}

/// When an enquiry's fallback is to get it: none while it has an owner, is on its way to one, or is over.
fn due(people: &mut People<'_>, id: EnquiryId) -> Result<Option<(Timestamp, String)>> {
    let Some(row) = people.tx.get::<Enquiries>(&id)? else { return Ok(None) };
    let enquiry = row.value;
    if !enquiry.status.is_live() || enquiry.owner.is_some() {
        return Ok(None);
    }
    let policy = policy_of(people, &enquiry.brand)?;
    let Some(fallback) = policy.fallback else { return Ok(None) };
    if moving(&open_of(people, id)?).is_some() {
        return Ok(None);
    }
    let since = enquiry.owner_since.unwrap_or(enquiry.opened_at);
    Ok(Some((since.plus_millis(i64::from(policy.unowned_seconds) * 1000), fallback)))
}

fn note_unowned(people: &mut People<'_>, id: EnquiryId) -> Result<()> {
    let Some((at, _)) = due(people, id)? else { return Ok(()) };
    Ok(people.tx.put::<Unowned>(&(at, id), &Present {})?)
}

fn give(people: &mut People<'_>, id: EnquiryId) -> Result<()> {
    let Some((at, fallback)) = due(people, id)? else { return Ok(()) };
    if at > people.now {
        return Ok(people.tx.put::<Unowned>(&(at, id), &Present {})?);
    }
    let Some(row) = people.tx.get::<Enquiries>(&id)? else { return Ok(()) };
    let enquiry = row.value;
    let owned: Ownership = ownership_of(&enquiry).pass_to(Some(fallback.clone()));
    let root = people.root_of(enquiry.profile_id)?.map(|(root, _)| root);
    let decision = DecisionId::from_bytes(fresh());
    let why = Evidence { rule: "no owner".to_owned(), detail: format!("it had none until {at}") };
    let outcome = format!("{id} goes to {fallback}, the fallback of brand {}", enquiry.brand);
    people.decide(decision, "handoff", &outcome, vec![why], Vec::new(), root, Some(id), None)?;
    pass_on(people, enquiry, &owned, root, decision)
}

async fn watch(hub: Hub) {
    let wake = Arc::clone(&hub.inner.watchdog.wake);
    loop {
        let wait = match hub.watch_handoffs().await {
            Ok(next) => {
                let longest = if hub.any_fallback().unwrap_or(true) { LOOK_EVERY } else { LONGEST_SLEEP };
                let due = |next: Timestamp| Duration::from_millis(u64::try_from(next.since(hub.now())).unwrap_or(0).max(1));
                next.map_or(longest, |next| due(next).min(longest))
            }
            Err(error) => {
                tracing::error!(%error, "the watchdog could not do what is due; it goes on");
                LOOK_EVERY
            }
        };
        tokio::select! {
            biased;
            () = hub.stopping() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Removes what has served its time, a piece at a time.
async fn tidy(hub: Hub) {
    let mut place = None;
    loop {
        tokio::select! {
            biased;
            () = hub.stopping() => return,
            () = tokio::time::sleep(TIDY_EVERY) => {}
        }
        place = match hub.forget_old_answers(place).await {
            Ok(place) => place,
            Err(error) => {
                tracing::warn!(%error, "old answers could not be removed; it will be tried again");
                None
            }
        };
    }
}
