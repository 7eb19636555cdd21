//! Requests that carry an idempotency key are carried out once; the answer is kept for those who ask again.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use throughline_store::tables::{IdempotentResponse, IdempotentResponses, read};

use crate::error::Result;
use crate::hub::Hub;
use crate::views::Begin;

/// How long an answer is kept, in milliseconds: a day.
const KEPT_MS: i64 = 24 * 3600 * 1000;

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
        let row = read::<IdempotentResponses>(&self.inner.store, name)?;
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
        let name = (scope.to_owned(), key.to_owned());
        let body = String::from_utf8_lossy(body).into_owned();
        let response = IdempotentResponse { request: hex(&request), status, body, at: self.now() };
        let kept = self.transact(|tx| Ok(tx.put::<IdempotentResponses>(&name, &response)?)).await;
        self.idempotent_abandon(scope, key);
        kept
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
