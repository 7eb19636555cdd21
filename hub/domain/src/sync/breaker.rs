//! When a connection may be started again: growing back-off, and a breaker for the one that fails again and again. A plain value,
//! without a clock; time comes in.

use throughline_schemas::Timestamp;

/// How patient the supervisor is, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// The wait after a first failure; doubles with each further one.
    pub base_ms: i64,
    /// The longest wait while the breaker is closed.
    pub cap_ms: i64,
    /// So many failures ...
    pub failures: usize,
    /// ... within this time open the breaker.
    pub within_ms: i64,
    /// How long it then stays open; doubles each time the one trial after it fails.
    pub open_ms: i64,
    /// The longest it stays open.
    pub open_cap_ms: i64,
}

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            base_ms: SECOND_MS,
            cap_ms: MINUTE_MS,
            failures: 5,
            within_ms: 10 * MINUTE_MS,
            open_ms: 5 * MINUTE_MS,
            open_cap_ms: 60 * MINUTE_MS,
        }
    }
}

/// How the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass, after the back-off.
    Closed,
    /// No call passes.
    Open {
        /// Until when.
        until: Timestamp,
    },
    /// One call may try; its result opens or closes the breaker.
    HalfOpen,
}

/// The memory of one connection's failures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    policy: BreakerPolicy,
    /// Failures within the window, oldest first.
    recent: Vec<Timestamp>,
    /// Failures since the last success.
    in_a_row: u32,
    /// How often in a row it opened.
    opened: u32,
    /// When the next attempt may start; while `opened` is not 0 this is the end of the open time.
    next: Option<Timestamp>,
}

impl Breaker {
    /// A breaker that has seen no failure.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// A start or a run failed.
    pub fn record_failure(&mut self, now: Timestamp) {
        let was = self.state(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.recent.retain(|at| now.since(*at) < self.policy.within_ms);
        self.recent.push(now);
        let opens = was != BreakerState::Closed || self.recent.len() >= self.policy.failures;
        let wait = if opens {
            self.opened = self.opened.saturating_add(1);
            doubled(self.policy.open_ms, self.opened, self.policy.open_cap_ms)
        } else {
            doubled(self.policy.base_ms, self.in_a_row, self.policy.cap_ms)
        };
        self.next = Some(now.plus_millis(wait));
    }

    /// It runs. A trial that succeeds closes the breaker; failures of a closed one still count for their window, because what starts
    /// and fails over and over is not well.
    pub fn record_success(&mut self, now: Timestamp) {
        if self.opened > 0 {
            self.recent.clear();
        }
        self.recent.retain(|at| now.since(*at) < self.policy.within_ms);
        self.in_a_row = 0;
        self.opened = 0;
        self.next = None;
    }

    /// When the next attempt may start: now, or after the back-off or the open time.
    #[must_use]
    pub fn next_attempt(&self, now: Timestamp) -> Timestamp {
        self.next.map_or(now, |next| next.max(now))
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.next {
            Some(until) if self.opened > 0 && now < until => BreakerState::Open { until },
            _ if self.opened > 0 => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        }
    }

    /// Failures since the last success, for the connection's health.
    #[must_use]
    pub const fn failures_in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

/// `base` doubled for each time after the first, at most `cap`.
fn doubled(base: i64, times: u32, cap: i64) -> i64 {
    let factor = 1i64.checked_shl(times.saturating_sub(1)).filter(|factor| *factor > 0).unwrap_or(i64::MAX);
    base.saturating_mul(factor).min(cap)
}
