//! Webhooks as the API asks for them: made, changed, rotated, replayed, deleted; their attempts shown.

use throughline_domain::outbound::signature::WebhookSecret;
use throughline_schemas::{Change, Timestamp, WebhookId};
use throughline_store::tables::{
    SealedSecret, Tx, WebhookAttempts, WebhookCursor, WebhookCursors, WebhookPending, WebhookPendings, WebhookRecord, WebhookSecretRow,
    Webhooks, count_rows, forget_rows, leading_id, read,
};

use super::event_id;
use super::views::{NewWebhook, Replay, Replayed, SecretView, WebhookAttemptView, WebhookMade, WebhookPatch, WebhookView};
use crate::HubError;
use crate::clock::{fresh, random};
use crate::cloud_event::{EVENT_TYPE_PREFIX, EventFilter};
use crate::commands::{expect_version, page, page_of};
use crate::error::{FieldError, Result};
use crate::hub::{Hub, PageOf, Paging, Stored};

/// Requests under way at once, at most.
const MOST_AT_ONCE: u8 = 16;
/// Events that one call queues again.
const MOST_REPLAYED: usize = 1000;
/// Rows put in one commit.
const ROWS_AT_ONCE: usize = 200;
/// Counting what waits ends here.
const COUNTED: usize = 1000;
/// The longest that an old secret goes on signing: thirty days.
const LONGEST_OVERLAP_SECONDS: u64 = 30 * 24 * 3600;
/// Old secrets that go on signing, at most.
const MOST_SECRETS: usize = 5;

impl Hub {
    /// Makes a webhook, which is told of what changes from now on. The secret is shown this once.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<WebhookMade> {
        let secret = match &new.secret {
            Some(text) => WebhookSecret::parse(text).map_err(|error| HubError::invalid("/secret", error.to_string()))?,
            None => fresh_secret(),
        };
        let (id, now) = (WebhookId::from_bytes(fresh()), self.now());
        let record = WebhookRecord {
            name: new.name,
            url: new.url,
            types: new.types,
            backfill: new.backfill,
            at_once: new.at_once,
            secrets: vec![self.seal_webhook_secret(id, &secret, now)],
            disabled_at: None,
            disabled_because: None,
            created_at: now,
            updated_at: now,
        };
        self.validate_webhook(None, &record)?;
        let cursor = WebhookCursor { sequence: self.head(), last_success: None };
        self.transact(|tx| {
            tx.put::<WebhookCursors>(&id, &cursor)?;
            Ok(tx.put::<Webhooks>(&id, &record)?)
        })
        .await?;
        self.start_webhook(id);
        self.webhook_made(id, &secret)
    }

    /// One webhook.
    pub fn webhook(&self, id: WebhookId) -> Result<Stored<WebhookView>> {
        let row = read::<Webhooks>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("webhook", id))?;
        Ok(Stored { value: self.show_webhook(id, row.value)?, version: row.version })
    }

    /// All webhooks, in the order they were made.
    pub fn webhooks(&self, paging: Paging) -> Result<PageOf<Stored<WebhookView>>> {
        page_of(page::<Webhooks>(&self.inner.store, &[], &paging)?, |key, record, version| {
            let Some(id) = leading_id(key).map(WebhookId::from_bytes) else { return Ok(None) };
            Ok(Some(Stored { value: self.show_webhook(id, record)?, version }))
        })
    }

    /// Changes a webhook of the version that was read.
    pub async fn update_webhook(&self, id: WebhookId, expect: u64, patch: WebhookPatch) -> Result<Stored<WebhookView>> {
        if patch.skip_missed {
            self.webhook(id).and_then(|stored| expect_version(stored.version, expect))?;
            forget_rows::<WebhookPendings>(&self.inner.store, id.as_bytes(), ROWS_AT_ONCE).await?;
        }
        self.transact(|tx| {
            let mut row = tx.get::<Webhooks>(&id)?.ok_or_else(|| HubError::not_found("webhook", id))?;
            expect_version(row.version, expect)?;
            let now = self.now();
            apply(&mut row.value, &patch, now);
            self.validate_webhook(Some(id), &row.value)?;
            if patch.skip_missed
                && let Some(mut cursor) = tx.get::<WebhookCursors>(&id)?
            {
                cursor.value.sequence = self.head();
                tx.put::<WebhookCursors>(&id, &cursor.value)?;
            }
            row.value.updated_at = now;
            Ok(tx.put::<Webhooks>(&id, &row.value)?)
        })
        .await?;
        self.start_webhook(id);
        self.wake_webhook(id);
        self.webhook(id)
    }

    /// Ends a webhook. What it was not told yet it never is.
    pub async fn delete_webhook(&self, id: WebhookId, expect: u64) -> Result<()> {
        self.transact(|tx| {
            let row = tx.get::<Webhooks>(&id)?.ok_or_else(|| HubError::not_found("webhook", id))?;
            expect_version(row.version, expect)?;
            tx.delete::<Webhooks>(&id);
            tx.delete::<WebhookCursors>(&id);
            Ok(())
        })
        .await?;
        self.wake_webhook(id);
        forget_rows::<WebhookPendings>(&self.inner.store, id.as_bytes(), ROWS_AT_ONCE).await?;
        forget_rows::<WebhookAttempts>(&self.inner.store, id.as_bytes(), ROWS_AT_ONCE).await?;
        Ok(())
    }

    /// Gives a webhook a new secret, shown this once. The one before goes on signing beside it for so long.
    pub async fn rotate_webhook_secret(&self, id: WebhookId, secret: Option<&str>, overlap_seconds: u64) -> Result<WebhookMade> {
        if overlap_seconds > LONGEST_OVERLAP_SECONDS {
            let detail = format!("an old secret goes on signing for at most {LONGEST_OVERLAP_SECONDS} seconds");
            return Err(HubError::invalid("/overlap_seconds", detail));
        }
        let secret = match secret {
            Some(text) => WebhookSecret::parse(text).map_err(|error| HubError::invalid("/secret", error.to_string()))?,
            None => fresh_secret(),
        };
        self.transact(|tx| {
            let mut row = tx.get::<Webhooks>(&id)?.ok_or_else(|| HubError::not_found("webhook", id))?;
            let now = self.now();
            let until = now.plus_millis(i64::try_from(overlap_seconds).unwrap_or(i64::MAX).saturating_mul(1000));
            for old in &mut row.value.secrets {
                old.until = Some(old.until.map_or(until, |earlier| earlier.min(until)));
            }
            row.value.secrets.retain(|old| old.until.is_none_or(|until| now < until));
            row.value.secrets.insert(0, self.seal_webhook_secret(id, &secret, now));
            row.value.secrets.truncate(MOST_SECRETS);
            row.value.updated_at = now;
            Ok(tx.put::<Webhooks>(&id, &row.value)?)
        })
        .await?;
        self.webhook_made(id, &secret)
    }

    /// Has events sent again, under the ids they had.
    pub async fn replay_webhook(&self, id: WebhookId, replay: Replay) -> Result<Replayed> {
        let record = read::<Webhooks>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("webhook", id))?.value;
        let (sequences, next) = match (replay.events.is_empty(), replay.after) {
            (false, None) if replay.until.is_none() => (self.named_events(&replay.events)?, None),
            (true, Some(after)) => self.events_of_range(&record, after, replay.until)?,
            _ => {
                let detail = "give either `events`, or `after` and, if you like, `until`";
                return Err(HubError::invalid(if replay.events.is_empty() { "/after" } else { "/events" }, detail));
            }
        };
        let now = self.now();
        for some in sequences.chunks(ROWS_AT_ONCE) {
            self.transact(|tx| some.iter().try_for_each(|sequence| queue(tx, id, *sequence, now))).await?;
        }
        self.wake_webhook(id);
        Ok(Replayed { queued: sequences.len(), next })
    }

    /// What was tried, newest first.
    pub fn webhook_attempts(&self, id: WebhookId, paging: Paging) -> Result<PageOf<WebhookAttemptView>> {
        self.webhook(id)?;
        page_of(page::<WebhookAttempts>(&self.inner.store, id.as_bytes(), &paging)?, |_, attempt, _| {
            Ok(Some(WebhookAttemptView {
                event_id: event_id(attempt.sequence),
                r#type: format!("{EVENT_TYPE_PREFIX}{}", attempt.kind.as_str()),
                at: attempt.at,
                attempt: attempt.attempt,
                status: attempt.status,
                error: attempt.error,
                took_ms: attempt.took_ms,
                outcome: attempt.outcome,
                next_at: attempt.next_at,
            }))
        })
    }

    fn named_events(&self, names: &[String]) -> Result<Vec<u64>> {
        if names.len() > MOST_REPLAYED {
            return Err(HubError::invalid("/events", format!("at most {MOST_REPLAYED} events at once")));
        }
        let find = |(index, name): (usize, &String)| {
            let sequence = name.strip_prefix("evt_").and_then(|number| number.parse::<u64>().ok());
            let known = match sequence {
                Some(sequence) => self.change_at(sequence)?.map(|_| sequence),
                None => None,
            };
            known.ok_or_else(|| HubError::invalid(format!("/events/{index}"), format!("there is no event {name:?}")))
        };
        names.iter().enumerate().map(find).collect()
    }

    fn events_of_range(&self, record: &WebhookRecord, after: u64, until: Option<u64>) -> Result<(Vec<u64>, Option<u64>)> {
        let filter = EventFilter::parse(record.types.iter().map(String::as_str)).unwrap_or_default();
        let until = until.unwrap_or_else(|| self.head());
        let (mut found, mut seen) = (Vec::new(), after);
        loop {
            let changes = self.changes(seen, 256)?;
            if changes.is_empty() {
                return Ok((found, None));
            }
            for (sequence, change) in changes {
                if sequence > until {
                    return Ok((found, None));
                }
                if filter.wants(change.kind) {
                    if found.len() >= MOST_REPLAYED {
                        return Ok((found, Some(seen)));
                    }
                    found.push(sequence);
                }
                seen = sequence;
            }
        }
    }

    /// The entry of the change log at exactly this place.
    pub(crate) fn change_at(&self, sequence: u64) -> Result<Option<Change>> {
        let before = sequence.checked_sub(1).map(|before| self.changes(before, 1)).transpose()?.unwrap_or_default();
        Ok(before.into_iter().next().filter(|(found, _)| *found == sequence).map(|(_, change)| change))
    }

    /// The secrets that sign now, the newest first.
    pub(super) fn webhook_secrets(&self, id: WebhookId, record: &WebhookRecord, now: Timestamp) -> Result<Vec<WebhookSecret>> {
        let holds = |row: &&WebhookSecretRow| row.until.is_none_or(|until| now < until);
        let open = |row: &WebhookSecretRow| {
            let text = self.inner.options.master_key.open(&place(id), &row.secret.sealed);
            text.and_then(|text| WebhookSecret::parse(&text).ok()).ok_or_else(|| {
                HubError::Internal(format!("a secret of {id} cannot be opened: the hub's key is not the one it was sealed with"))
            })
        };
        record.secrets.iter().filter(holds).map(open).collect()
    }

    fn seal_webhook_secret(&self, id: WebhookId, secret: &WebhookSecret, now: Timestamp) -> WebhookSecretRow {
        let sealed = self.inner.options.master_key.seal(&place(id), &secret.to_text(), random());
        WebhookSecretRow { secret: SealedSecret { sealed, set_at: now }, until: None }
    }

    fn webhook_made(&self, id: WebhookId, secret: &WebhookSecret) -> Result<WebhookMade> {
        let stored = self.webhook(id)?;
        Ok(WebhookMade { view: stored.value, version: stored.version, secret: secret.to_text() })
    }

    fn show_webhook(&self, id: WebhookId, record: WebhookRecord) -> Result<WebhookView> {
        let now = self.now();
        let cursor = read::<WebhookCursors>(&self.inner.store, &id)?.map(|row| row.value);
        let signing = record.secrets.iter().filter(|row| row.until.is_none_or(|until| now < until));
        Ok(WebhookView {
            id,
            secrets: signing.map(|row| SecretView { since: row.secret.set_at, until: row.until }).collect(),
            name: record.name,
            url: record.url,
            types: record.types,
            backfill: record.backfill,
            at_once: record.at_once,
            enabled: record.disabled_at.is_none(),
            disabled_at: record.disabled_at,
            disabled_because: record.disabled_because,
            waiting: count_rows::<WebhookPendings>(&self.inner.store, id.as_bytes(), COUNTED)?,
            told: cursor.map_or(0, |cursor| cursor.sequence),
            last_success: cursor.and_then(|cursor| cursor.last_success),
            created_at: record.created_at,
            updated_at: record.updated_at,
        })
    }

    fn validate_webhook(&self, own: Option<WebhookId>, record: &WebhookRecord) -> Result<()> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: String, detail: String| errors.push(FieldError { pointer, detail });
        if record.name.trim().is_empty() || record.name.len() > 100 {
            wrong("/name".to_owned(), "a name of 1 to 100 characters is needed".to_owned());
        }
        if self.all_webhooks()?.iter().any(|(id, other)| Some(*id) != own && other.name == record.name) {
            wrong("/name".to_owned(), format!("another webhook is called {:?} already", record.name));
        }
        match &self.inner.options.poster {
            Some(poster) => {
                if let Err(detail) = poster.check(&record.url) {
                    wrong("/url".to_owned(), detail);
                }
            }
            None => wrong("/url".to_owned(), "this hub was started without the means to send".to_owned()),
        }
        if let Err((index, name)) = EventFilter::parse(record.types.iter().map(String::as_str)) {
            wrong(
                format!("/types/{index}"),
                format!("there is no event type {name:?}; write for instance `enquiry.opened` or `enquiry.*`"),
            );
        }
        if !(1..=MOST_AT_ONCE).contains(&record.at_once) {
            wrong("/at_once".to_owned(), format!("from 1 to {MOST_AT_ONCE} requests may be under way at once"));
        }
        if errors.is_empty() { Ok(()) } else { Err(HubError::Invalid { errors }) }
    }
}

fn fresh_secret() -> WebhookSecret {
    WebhookSecret::from_bytes(&random::<32>()).expect("32 bytes are within the bounds")
}

/// Where a secret is sealed for.
fn place(id: WebhookId) -> String {
    format!("{id}/secret")
}

fn apply(record: &mut WebhookRecord, patch: &WebhookPatch, now: Timestamp) {
    let WebhookPatch { name, url, types, backfill, at_once, enabled, skip_missed: _ } = patch;
    if let Some(name) = name {
        record.name.clone_from(name);
    }
    if let Some(url) = url {
        record.url.clone_from(url);
    }
    if let Some(types) = types {
        record.types.clone_from(types);
    }
    if let Some(backfill) = backfill {
        record.backfill = *backfill;
    }
    if let Some(at_once) = at_once {
        record.at_once = *at_once;
    }
    if let Some(enabled) = enabled {
        record.disabled_because = None;
        record.disabled_at = if *enabled { None } else { Some(record.disabled_at.unwrap_or(now)) };
    }
}

/// An event is to be sent again from the first attempt on; one that waits already is due at once.
fn queue(tx: &mut Tx, id: WebhookId, sequence: u64, now: Timestamp) -> Result<()> {
    Ok(tx.put::<WebhookPendings>(&(id, sequence), &WebhookPending { attempts: 0, since: now, not_before: now })?)
}
