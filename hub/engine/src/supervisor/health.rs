//! How a connection is, kept in memory: it is measured anew after every start.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use throughline_domain::sync::breaker::{Breaker, BreakerState};
use throughline_schemas::Timestamp;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use crate::HealthState;
use crate::signal::{Listener, Signal};

/// What only a person can mend is tried again this seldom, in milliseconds.
const ATTENTION_MS: i64 = 15 * 60 * 1000;

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    last_error: Option<(ConnectorError, Timestamp)>,
    last_success: Option<Timestamp>,
    next_attempt: Option<Timestamp>,
}

/// The health of one connection. A plain mutex: held for a few field accesses, never across an await.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: Mutex<State>,
    dispatched: AtomicU64,
    /// Told when there is reason to believe that the silo is back, to whoever waits for its time to try again.
    back: Signal<()>,
}

/// Health at a moment.
pub(crate) struct Snapshot {
    pub(crate) state: HealthState,
    pub(crate) last_error: Option<(ConnectorError, Timestamp)>,
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) next_attempt: Option<Timestamp>,
}

impl Health {
    /// How far the dispatcher has read the log.
    pub(crate) fn dispatched(&self, sequence: u64) {
        self.dispatched.store(sequence, Ordering::Relaxed);
    }

    /// As last said.
    pub(crate) fn dispatched_to(&self) -> u64 {
        self.dispatched.load(Ordering::Relaxed)
    }

    /// Something worked.
    pub(crate) fn worked(&self, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.breaker.record_success(now);
        state.last_success = Some(now);
        let failing = state.next_attempt.take().is_some();
        // A wrong password is not mended by something else that works.
        let mendable = state.last_error.as_ref().is_none_or(|(error, _)| !needs_attention(error));
        drop(state);
        if failing && mendable {
            self.back.set(());
        }
    }

    /// A person has looked, and it works: whatever waits may try again.
    pub(crate) fn checked(&self, now: Timestamp) {
        self.worked(now);
        self.back.set(());
    }

    /// The silo spoke to us by itself, so it is there; whether we may speak to it must still be tried.
    pub(crate) fn heard_of(&self) {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let waits = state.next_attempt.is_some() && state.last_error.as_ref().is_some_and(|(error, _)| !needs_attention(error));
        drop(state);
        if waits {
            self.back.set(());
        }
    }

    /// Resolves when there is reason to believe that the silo is back.
    pub(crate) fn back(&self) -> Listener<()> {
        self.back.listen()
    }

    /// Something failed; answers when it may be tried again.
    pub(crate) fn failed(&self, error: ConnectorError, now: Timestamp) -> Timestamp {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.breaker.record_failure(now);
        let asked = error.retry_after_ms.map_or(now, |millis| now.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX)));
        let mut next = state.breaker.next_attempt(now).max(asked);
        if needs_attention(&error) {
            next = next.max(now.plus_millis(ATTENTION_MS));
        }
        state.last_error = Some((error, now));
        state.next_attempt = Some(next);
        next
    }

    pub(crate) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failing = match (&state.last_error, state.last_success) {
            (Some((_, failed)), Some(worked)) => *failed > worked || state.next_attempt.is_some(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        let overall = match (&state.last_error, failing) {
            (Some((error, _)), true) if needs_attention(error) => HealthState::NeedsAttention,
            (_, true) if matches!(state.breaker.state(now), BreakerState::Open { .. }) => HealthState::Broken,
            (_, true) => HealthState::Failing,
            (_, false) if state.last_success.is_some() => HealthState::Healthy,
            (_, false) => HealthState::Starting,
        };
        Snapshot {
            state: overall,
            last_error: state.last_error.clone(),
            last_success: state.last_success,
            next_attempt: state.next_attempt,
        }
    }
}

fn needs_attention(error: &ConnectorError) -> bool {
    matches!(error.class, ErrorClass::Config | ErrorClass::Auth | ErrorClass::Permission)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_person_can_mend_is_said_so_and_success_clears_it() {
        let health = Health::default();
        let now = Timestamp::from_millis(0);
        assert_eq!(health.snapshot(now).state, HealthState::Starting);
        let next = health.failed(ConnectorError::new(ErrorClass::Auth, "wrong password"), now);
        assert!(next.since(now) >= ATTENTION_MS);
        assert_eq!(health.snapshot(now).state, HealthState::NeedsAttention);
        health.worked(now.plus_millis(1));
        assert_eq!(health.snapshot(now).state, HealthState::Healthy);
        health.failed(ConnectorError::new(ErrorClass::Transient, "refused"), now.plus_millis(2));
        assert_eq!(health.snapshot(now.plus_millis(2)).state, HealthState::Failing);
    }
}
