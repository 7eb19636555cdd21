//! `clock`, `random` and `control`: what a guest has instead of an operating system.

use std::time::{Duration, Instant};

use crate::call::cancelled;
use crate::guest::Guest;
use crate::wit::v0_1_0::{imports, types};

/// More random bytes at once would only be a way to waste our time.
const MOST_RANDOM_BYTES: usize = 64 * 1024;

impl imports::types::Host for Guest {}

impl imports::clock::Host for Guest {
    fn now_ms(&mut self) -> u64 {
        u64::try_from(self.connection.services.now().as_millis()).unwrap_or(0)
    }

    fn monotonic_ns(&mut self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl imports::random::Host for Guest {
    fn bytes(&mut self, n: u32) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(n).unwrap_or(usize::MAX).min(MOST_RANDOM_BYTES)];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // Zeros would be taken for randomness; nothing cannot be.
            tracing::error!(%error, "the machine gives no random bytes");
            bytes.clear();
        }
        bytes
    }
}

impl imports::control::Host for Guest {
    async fn sleep(&mut self, ms: u64) -> Result<(), types::Error> {
        let sleep = async {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        };
        self.or_cancelled(sleep).await.map_err(|error| self.guest_error(error))?;
        // A guest that polls with `sleep(0)` must notice it too.
        if self.is_cancelled() { Err(self.guest_error(cancelled())) } else { Ok(()) }
    }

    fn cancelled(&mut self) -> bool {
        self.is_cancelled()
    }

    fn deadline_ms(&mut self) -> Option<u64> {
        let left = self.deadline?.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
}
