//! What came of attempts, written down in one commit with the cursor: delivered, to be tried again, given up, or the endpoint's end.

use throughline_domain::outbound::retry::{self, Next};
use throughline_schemas::{Change, ChangeKind, Timestamp};
use throughline_store::tables::{
    Tx, WebhookAttempt, WebhookAttempts, WebhookCursor, WebhookCursors, WebhookOutcome, WebhookPending, WebhookPendings, Webhooks,
    forget_keys, scan_rows,
};

use super::worker::{Attempted, Worker, is_overdue};
use crate::clock::fresh;
use crate::error::Result;

/// Attempts that are kept for each endpoint.
const KEPT_ATTEMPTS: usize = 1000;
/// After so many new ones, the old ones are removed.
const TRIM_EVERY: u32 = 200;
/// The longest text of an error that is kept.
const LONGEST_ERROR: usize = 300;

/// What one attempt leads to.
struct Settled {
    attempt: WebhookAttempt,
    sequence: u64,
    pending: Option<WebhookPending>,
    /// The endpoint is to be disabled, for this reason.
    disable: Option<String>,
}

impl Worker {
    /// Notes that there was nothing of interest up to here, if that is worth a commit.
    pub(super) async fn pass_over(&mut self, seen: u64) -> Result<()> {
        self.seen = seen;
        if !is_overdue(seen, self.committed) {
            return Ok(());
        }
        let (id, cursor) = (self.id, WebhookCursor { sequence: seen, last_success: self.last_success });
        let noted = self.hub.transact(|tx| put_cursor(tx, id, cursor)).await?;
        (self.seen, self.committed) = (noted, noted);
        Ok(())
    }

    pub(super) async fn settle(&mut self, attempted: Vec<Attempted>, seen: u64) -> Result<()> {
        for one in &attempted {
            self.note(one);
        }
        let settled: Vec<Settled> = attempted.iter().map(|one| self.decide(one)).collect();
        self.untrimmed = self.untrimmed.saturating_add(u32::try_from(settled.len()).unwrap_or(u32::MAX));
        let (id, now) = (self.id, self.hub.now());
        let cursor = WebhookCursor { sequence: seen, last_success: self.last_success };
        let keys: Vec<[u8; 16]> = settled.iter().map(|_| fresh()).collect();
        let noted = self
            .hub
            .transact(|tx| {
                // Deleted meanwhile: its rows must not come back.
                if tx.get::<Webhooks>(&id)?.is_none() {
                    return Ok(seen);
                }
                for (one, key) in settled.iter().zip(&keys) {
                    tx.put::<WebhookAttempts>(&(id, one.attempt.at, *key), &one.attempt)?;
                    match &one.pending {
                        Some(pending) => tx.put::<WebhookPendings>(&(id, one.sequence), pending)?,
                        None => tx.delete::<WebhookPendings>(&(id, one.sequence)),
                    }
                }
                if let Some(because) = settled.iter().find_map(|one| one.disable.as_deref()) {
                    disable(tx, id, because, now)?;
                }
                put_cursor(tx, id, cursor)
            })
            .await?;
        (self.seen, self.committed) = (noted, noted);
        let due = settled.iter().filter_map(|one| one.pending.map(|pending| pending.not_before)).min();
        self.next_due = due.into_iter().chain(self.next_due).min();
        self.trim().await
    }

    /// What an attempt says about the endpoint.
    fn note(&mut self, attempted: &Attempted) {
        let outcome = attempted.outcome();
        if retry::next(1, outcome, 0.0) == Next::Delivered {
            self.failures_in_a_row = 0;
            self.last_success = Some(attempted.at);
            return;
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if let Some(rest) = retry::rest_ms(outcome, self.failures_in_a_row) {
            self.resting_until = self.resting_until.max(later(self.hub.now(), rest));
        }
    }

    fn decide(&self, attempted: &Attempted) -> Settled {
        let event = &attempted.event;
        let (failed, since) = event.pending.map_or((0, attempted.at), |pending| (pending.attempts, pending.since));
        let number = failed + 1;
        let jitter = f64::from(fresh()[15]) / f64::from(u8::MAX);
        let next = retry::next(number, attempted.outcome(), jitter);
        let (outcome, next_at, disable) = match next {
            Next::Delivered => (WebhookOutcome::Delivered, None, None),
            Next::Again { after_ms } => (WebhookOutcome::WillRetry, Some(later(self.hub.now(), after_ms)), None),
            Next::Gone => (WebhookOutcome::GivenUp, None, Some("the endpoint answered 410 Gone".to_owned())),
            Next::GiveUp => {
                let for_good = retry::has_failed_for_good(since, self.last_success);
                let because = || format!("nothing has arrived there since {since}, in {number} attempts");
                (WebhookOutcome::GivenUp, None, for_good.then(because))
            }
        };
        let attempt = WebhookAttempt {
            sequence: event.sequence,
            kind: event.change.kind,
            at: attempted.at,
            attempt: number,
            status: attempted.answer.as_ref().ok().map(|answered| answered.status),
            error: attempted.answer.as_ref().err().map(|error| error.to_string().chars().take(LONGEST_ERROR).collect()),
            took_ms: attempted.took_ms,
            outcome,
            next_at,
        };
        // What the endpoint refused for good stays pending for when it is enabled again.
        let kept = next_at.or(disable.as_ref().map(|_| attempted.at));
        let attempts = if disable.is_some() { 0 } else { number };
        let pending = kept.map(|not_before| WebhookPending { attempts, since, not_before });
        Settled { attempt, sequence: event.sequence, pending, disable }
    }

    /// Keeps the newest attempts only.
    async fn trim(&mut self) -> Result<()> {
        if self.untrimmed < TRIM_EVERY {
            return Ok(());
        }
        self.untrimmed = 0;
        let store = &self.hub.inner.store;
        let kept = scan_rows::<WebhookAttempts>(store, self.id.as_bytes(), None, KEPT_ATTEMPTS)?;
        let mut after = kept.next;
        while let Some(key) = after {
            let page = scan_rows::<WebhookAttempts>(store, self.id.as_bytes(), Some(&key), 256)?;
            after = page.next;
            forget_keys(store, page.rows.into_iter().map(|(key, _)| key).collect()).await?;
        }
        Ok(())
    }
}

/// Notes how far an endpoint was told; answers how far it is now, for a command may have moved it on meanwhile.
fn put_cursor(tx: &mut Tx, id: throughline_schemas::WebhookId, mut cursor: WebhookCursor) -> Result<u64> {
    if let Some(row) = tx.get::<WebhookCursors>(&id)? {
        cursor.sequence = cursor.sequence.max(row.value.sequence);
        tx.put::<WebhookCursors>(&id, &cursor)?;
    }
    Ok(cursor.sequence)
}

fn disable(tx: &mut Tx, id: throughline_schemas::WebhookId, because: &str, now: Timestamp) -> Result<()> {
    let Some(mut row) = tx.get::<Webhooks>(&id)? else { return Ok(()) };
    row.value.disabled_at = Some(now);
    row.value.disabled_because = Some(because.to_owned());
    row.value.updated_at = now;
    tx.put::<Webhooks>(&id, &row.value)?;
    tracing::warn!(webhook = %id, because, "a webhook was disabled");
    let data = serde_json::json!({ "webhook": id, "name": row.value.name, "because": because });
    Ok(tx.log(&Change { data, ..Change::new(ChangeKind::WebhookDisabled, now) })?)
}

fn later(now: Timestamp, by_ms: u64) -> Timestamp {
    now.plus_millis(i64::try_from(by_ms).unwrap_or(i64::MAX))
}
