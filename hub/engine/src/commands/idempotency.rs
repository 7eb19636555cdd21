//! Requests that carry an idempotency key are carried out once; the answer is kept for those who ask again.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use throughline_store::tables::{IdempotentKey, IdempotentResponse, IdempotentResponses, read, scan_rows};

use crate::error::Result;
use crate::hub::Hub;
use crate::views::Begin;

/// How long an answer is kept, in milliseconds: a day.
const KEPT_MS: i64 = 24 * 3600 * 1000;
/// How many kept answers a round of tidying up looks at, and how many of them go in one commit: what others want done comes first.
const SWEPT_AT_ONCE: usize = 512;
const REMOVED_AT_ONCE: usize = 64;

impl Hub {
    /// Says what to do with a request. After `Fresh`, call [`Hub::idempotent_finish`] or [`Hub::idempotent_abandon`].
    pub async fn idempotent_begin(&self, scope: &str, key: &str, request: [u8; 32]) -> Result<Begin> {
        let name = (scope.to_owned(), key.to_owned());
        // Taken first, read second: whoever finishes in between has kept the answer before letting go.
        if !self.in_flight().insert(name.clone()) {
            return Ok(Begin::Running);
        }
        let begin = self.begin_or_stored(&name, &hex(&request));
        if !matches!(begin, Ok(Begin::Fresh)) {
            self.in_flight().remove(&name);
        }
        begin
    }

    fn begin_or_stored(&self, name: &(String, String), request: &str) -> Result<Begin> {
        let row = read::<IdempotentResponses>(&self.inner.store, &IdempotentKey::new(&name.0, &name.1))?;
        let Some(stored) = row.map(|row| row.value).filter(|stored| self.now().since(stored.at) < KEPT_MS) else {
            return Ok(Begin::Fresh);
        };
        if stored.request != request {
            return Ok(Begin::Mismatch);
        }
        Ok(Begin::Stored { status: stored.status, body: stored.body.into_bytes() })
    }

    fn in_flight(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.inner.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the answer.
    pub async fn idempotent_finish(&self, scope: &str, key: &str, request: [u8; 32], status: u16, body: &[u8]) -> Result<()> {
        let name = IdempotentKey::new(scope, key);
        let body = String::from_utf8_lossy(body).into_owned();
        let response = IdempotentResponse { request: hex(&request), status, body, at: self.now() };
        let kept = self.transact(|tx| Ok(tx.put::<IdempotentResponses>(&name, &response)?)).await;
        self.idempotent_abandon(scope, key);
        kept
    }

    /// Tidies up, which the hub does by itself once it is started: removes answers that have served their time, among the next rows after a place; answers where to go on. Each is looked at again when
    /// it is removed: the key may have been used anew.
    pub async fn forget_old_answers(&self, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
        let page = scan_rows::<IdempotentResponses>(&self.inner.store, &[], after.as_deref(), SWEPT_AT_ONCE)?;
        let old = |response: &IdempotentResponse| self.now().since(response.at) >= KEPT_MS;
        let keys: Vec<Vec<u8>> = page.rows.into_iter().filter(|(_, row)| old(&row.value)).map(|(key, _)| key).collect();
        for keys in keys.chunks(REMOVED_AT_ONCE) {
            self.transact(|tx| {
                for key in keys {
                    let Some(name) = IdempotentKey::of_row(key) else { continue };
                    if tx.get::<IdempotentResponses>(&name)?.is_some_and(|row| old(&row.value)) {
                        tx.delete::<IdempotentResponses>(&name);
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(page.next)
    }

    /// Forgets a request that came to nothing: it may be tried again.
    pub fn idempotent_abandon(&self, scope: &str, key: &str) {
        self.in_flight().remove(&(scope.to_owned(), key.to_owned()));
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
