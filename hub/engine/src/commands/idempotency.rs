//! Requests that carry an idempotency key are carried out once; the answer is kept for those who ask again.

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
        let request = hex(&request);
        let row = read::<IdempotentResponses>(&self.inner.store, &name)?;
        if let Some(row) = row.filter(|row| self.now().since(row.value.at) < KEPT_MS) {
            let stored = row.value;
            return Ok(if stored.request == request {
                Begin::Stored { status: stored.status, body: stored.body.into_bytes() }
            } else {
                Begin::Mismatch
            });
        }
        let mut running = self.inner.in_flight.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(if running.insert(name) { Begin::Fresh } else { Begin::Running })
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
        let mut running = self.inner.in_flight.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.remove(&(scope.to_owned(), key.to_owned()));
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
