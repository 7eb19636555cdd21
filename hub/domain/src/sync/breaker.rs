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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Failures at these times; when the next attempt may start after each.
    fn waits(breaker: &mut Breaker, times: &[i64]) -> Vec<i64> {
        times
            .iter()
            .map(|&time| {
                breaker.record_failure(at(time));
                breaker.next_attempt(at(time)).since(at(time))
            })
            .collect()
    }

    #[test]
    fn the_wait_doubles_until_the_fifth_failure_opens_the_breaker() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.next_attempt(at(7)), at(7));
        assert_eq!(waits(&mut breaker, &[0, 1000, 3000, 7000]), [1000, 2000, 4000, 8000]);
        assert_eq!(breaker.state(at(7000)), BreakerState::Closed);
        assert_eq!(waits(&mut breaker, &[15_000]), [5 * MINUTE_MS]);
        let until = at(15_000 + 5 * MINUTE_MS);
        assert_eq!(breaker.state(at(16_000)), BreakerState::Open { until });
        assert_eq!(breaker.next_attempt(at(16_000)), until);
        assert_eq!(breaker.state(until), BreakerState::HalfOpen);
        assert_eq!(breaker.failures_in_a_row(), 5);
    }

    #[test]
    fn a_failed_trial_opens_it_for_longer_and_a_good_one_closes_it() {
        let mut breaker = Breaker::default();
        waits(&mut breaker, &[0, 1, 2, 3, 4]);
        let mut now = 4;
        for wait in [10, 20, 40, 60, 60] {
            now = breaker.next_attempt(at(now)).as_millis();
            assert_eq!(breaker.state(at(now)), BreakerState::HalfOpen);
            assert_eq!(waits(&mut breaker, &[now]), [wait * MINUTE_MS]);
        }
        now = breaker.next_attempt(at(now)).as_millis();
        breaker.record_success(at(now));
        assert_eq!((breaker.state(at(now)), breaker.next_attempt(at(now))), (BreakerState::Closed, at(now)));
        assert_eq!(waits(&mut breaker, &[now + 1]), [SECOND_MS]);
    }

    #[test]
    fn a_good_trial_forgets_what_led_to_it() {
        let mut breaker = Breaker::default();
        waits(&mut breaker, &[0, 1, 2, 3, 4]);
        breaker.record_success(breaker.next_attempt(at(5)));
        // Well within ten minutes of the five failures.
        assert_eq!(waits(&mut breaker, &[6 * MINUTE_MS]), [SECOND_MS]);
    }

    #[test]
    fn failures_long_apart_do_not_open_it() {
        let mut breaker = Breaker::default();
        let far_apart: Vec<i64> = (0..20).map(|number| number * 3 * MINUTE_MS).collect();
        waits(&mut breaker, &far_apart);
        assert_eq!(breaker.state(at(far_apart[19])), BreakerState::Closed);
        assert_eq!(breaker.next_attempt(at(far_apart[19])).since(at(far_apart[19])), MINUTE_MS);
    }

    #[test]
    fn what_starts_and_fails_over_and_over_opens_it() {
        let mut breaker = Breaker::default();
        for time in 0..5 {
            assert_eq!(breaker.state(at(time * 1000)), BreakerState::Closed);
            breaker.record_success(at(time * 1000));
            breaker.record_failure(at(time * 1000 + 1));
        }
        assert!(matches!(breaker.state(at(5000)), BreakerState::Open { .. }));
    }

    proptest! {
        #[test]
        fn it_never_forbids_for_longer_than_the_cap(steps in proptest::collection::vec((any::<bool>(), 0i64..20 * MINUTE_MS), 0..60)) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (fails, later) in steps {
                now += later;
                if fails { breaker.record_failure(at(now)) } else { breaker.record_success(at(now)) }
                let wait = breaker.next_attempt(at(now)).since(at(now));
                prop_assert!((0..=BreakerPolicy::default().open_cap_ms).contains(&wait));
                prop_assert_eq!(wait == 0, !fails);
            }
        }
    }
}
