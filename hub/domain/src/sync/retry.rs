//! What to do about a failure, by its class. Knows no clock: how old the work is and a random number come in.

use throughline_schemas::connector::{ConnectorError, ErrorClass};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same again after this time.
    RetryAt {
        /// Milliseconds from now.
        delay_ms: u64,
    },
    /// Everything that spends this rate budget waits; the attempt does not count.
    PauseBudget {
        /// Milliseconds from now.
        delay_ms: u64,
    },
    /// It may have taken effect: read the record back, compare, then decide.
    ReadBack,
    /// Somebody was faster: read the record, merge, then write what is left.
    Reread,
    /// Give this one up, with its reason, for a person to see and replay.
    DeadLetter,
    /// The whole connection stops and asks for attention.
    PauseConnection {
        /// What a person has to do.
        reason: String,
    },
    /// There is nothing left to do it to.
    Drop,
    /// Leave this field out, send the rest.
    QuarantineField {
        /// The field as the error names it, without a leading slash.
        field: String,
    },
}

/// The limits of patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The shortest wait, in milliseconds.
    pub base_ms: u64,
    /// The longest wait, in milliseconds.
    pub cap_ms: u64,
    /// Work older than this is given up, in milliseconds.
    pub max_age_ms: u64,
    /// How often a conflict is merged again.
    pub conflict_tries: u32,
    /// How often the plugin's own fault is tried again, the first time included.
    pub bug_tries: u32,
}

const MINUTE_MS: u64 = 60 * 1000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base_ms: 1000, cap_ms: 15 * MINUTE_MS, max_age_ms: 3 * DAY_MS, conflict_tries: 5, bug_tries: 3 }
    }
}

/// What to do about `error`. `attempt` counts from 1, the one that just failed included; `age_ms` is how long ago the work was first
/// due; `jitter` is a random number from 0 to 1.
#[must_use]
pub fn verdict(error: &ConnectorError, attempt: u32, age_ms: u64, jitter: f64, policy: &RetryPolicy) -> Verdict {
    let waited_long_enough = age_ms >= policy.max_age_ms;
    let backoff = || backoff_ms(attempt, jitter, policy).max(error.retry_after_ms.unwrap_or(0).min(DAY_MS));
    match error.class {
        ErrorClass::Config => pause(error, "correct the configuration"),
        // One refresh of the credentials happens before the second attempt.
        ErrorClass::Auth if attempt <= 1 => Verdict::RetryAt { delay_ms: backoff() },
        ErrorClass::Auth => pause(error, "connect again with good credentials"),
        ErrorClass::RateLimited => Verdict::PauseBudget { delay_ms: backoff() },
        ErrorClass::Transient | ErrorClass::Ambiguous if waited_long_enough => Verdict::DeadLetter,
        ErrorClass::Transient => Verdict::RetryAt { delay_ms: backoff() },
        ErrorClass::Ambiguous => Verdict::ReadBack,
        ErrorClass::Conflict if attempt <= policy.conflict_tries => Verdict::Reread,
        ErrorClass::InvalidRecord => invalid_record(error),
        ErrorClass::Gone => Verdict::Drop,
        // The hub itself ended the call: the work is still due.
        ErrorClass::Cancelled => Verdict::RetryAt { delay_ms: 0 },
        ErrorClass::Bug if attempt < policy.bug_tries => Verdict::RetryAt { delay_ms: backoff() },
        ErrorClass::Conflict | ErrorClass::Bug | ErrorClass::Permission | ErrorClass::Unsupported => Verdict::DeadLetter,
    }
}

/// Exponential with full jitter: anything between the shortest wait and what the attempts have earned.
#[must_use]
pub fn backoff_ms(attempt: u32, jitter: f64, policy: &RetryPolicy) -> u64 {
    let doubled = 1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    let ceiling = policy.base_ms.saturating_mul(doubled).min(policy.cap_ms);
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
    let drawn = (ceiling as f64 * jitter) as u64;
    drawn.clamp(policy.base_ms.min(policy.cap_ms), policy.cap_ms)
}

fn pause(error: &ConnectorError, remedy: &str) -> Verdict {
    let place = error.field.as_ref().map_or_else(String::new, |field| format!(" ({field})"));
    Verdict::PauseConnection { reason: format!("{}{place}: {remedy}", error.message) }
}

fn invalid_record(error: &ConnectorError) -> Verdict {
    match error.field.as_deref().map(|field| field.trim_start_matches('/')) {
        Some(field) if !field.is_empty() => Verdict::QuarantineField { field: field.to_owned() },
        _ => Verdict::DeadLetter,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: [ErrorClass; 12] = [
        ErrorClass::Config,
        ErrorClass::Auth,
        ErrorClass::Permission,
        ErrorClass::RateLimited,
        ErrorClass::Transient,
        ErrorClass::Ambiguous,
        ErrorClass::Conflict,
        ErrorClass::InvalidRecord,
        ErrorClass::Gone,
        ErrorClass::Unsupported,
        ErrorClass::Cancelled,
        ErrorClass::Bug,
    ];

    fn error(class: ErrorClass) -> ConnectorError {
        ConnectorError::new(class, "it failed")
    }

    /// With the greatest jitter, so that the delay is the whole of what the attempts have earned.
    fn check(error: &ConnectorError, attempt: u32, age_ms: u64, wanted: &Verdict) {
        assert_eq!(&verdict(error, attempt, age_ms, 1.0, &RetryPolicy::default()), wanted, "{error} at {attempt}");
    }

    #[test]
    fn each_class_has_its_verdict() {
        use ErrorClass::*;
        let retry = |delay_ms| Verdict::RetryAt { delay_ms };
        let table = [
            (Permission, 1, Verdict::DeadLetter),
            (Unsupported, 1, Verdict::DeadLetter),
            (Gone, 1, Verdict::Drop),
            (Cancelled, 9, retry(0)),
            (Auth, 1, retry(1000)),
            (RateLimited, 1, Verdict::PauseBudget { delay_ms: 1000 }),
            (RateLimited, 100, Verdict::PauseBudget { delay_ms: 900_000 }),
            (Transient, 1, retry(1000)),
            (Transient, 4, retry(8000)),
            (Transient, 11, retry(900_000)),
            (Transient, u32::MAX, retry(900_000)),
            (Ambiguous, 1, Verdict::ReadBack),
            (Conflict, 5, Verdict::Reread),
            (Conflict, 6, Verdict::DeadLetter),
            (InvalidRecord, 1, Verdict::DeadLetter),
            (Bug, 2, retry(2000)),
            (Bug, 3, Verdict::DeadLetter),
        ];
        for (class, attempt, wanted) in table {
            check(&error(class), attempt, 0, &wanted);
        }
    }

    #[test]
    fn work_that_is_too_old_is_given_up() {
        for class in [ErrorClass::Transient, ErrorClass::Ambiguous] {
            check(&error(class), 2, 3 * DAY_MS, &Verdict::DeadLetter);
        }
        assert!(matches!(
            verdict(&error(ErrorClass::RateLimited), 2, 9 * DAY_MS, 1.0, &RetryPolicy::default()),
            Verdict::PauseBudget { .. }
        ));
    }

    #[test]
    fn the_silo_may_ask_for_a_longer_wait_within_reason() {
        let asks = |class, millis| error(class).with_retry_after_ms(millis);
        check(&asks(ErrorClass::RateLimited, 30_000), 1, 0, &Verdict::PauseBudget { delay_ms: 30_000 });
        check(&asks(ErrorClass::RateLimited, u64::MAX), 1, 0, &Verdict::PauseBudget { delay_ms: DAY_MS });
        check(&asks(ErrorClass::Transient, 30_000), 1, 0, &Verdict::RetryAt { delay_ms: 30_000 });
        check(&asks(ErrorClass::Transient, 10), 1, 0, &Verdict::RetryAt { delay_ms: 1000 });
    }

    #[test]
    fn a_person_is_told_what_to_do() {
        let config = error(ErrorClass::Config).with_field("host");
        check(&config, 1, 0, &Verdict::PauseConnection { reason: "it failed (host): correct the configuration".to_owned() });
        let reason = "it failed: connect again with good credentials".to_owned();
        check(&error(ErrorClass::Auth), 2, 0, &Verdict::PauseConnection { reason });
    }

    #[test]
    fn one_bad_field_is_left_out() {
        let invalid = |field: &str| error(ErrorClass::InvalidRecord).with_field(field);
        check(&invalid("/phone"), 1, 0, &Verdict::QuarantineField { field: "phone".to_owned() });
        check(&invalid("phone"), 1, 0, &Verdict::QuarantineField { field: "phone".to_owned() });
        check(&invalid("/"), 1, 0, &Verdict::DeadLetter);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_nor_longer_than_allowed(
            class in proptest::sample::select(CLASSES.to_vec()), attempt in any::<u32>(), age in any::<u64>(), jitter in any::<f64>(),
        ) {
            let policy = RetryPolicy::default();
            if let Verdict::RetryAt { delay_ms } | Verdict::PauseBudget { delay_ms } = verdict(&error(class), attempt, age, jitter, &policy) {
                prop_assert!((policy.base_ms..=policy.cap_ms).contains(&delay_ms) || class == ErrorClass::Cancelled && delay_ms == 0);
            }
        }

        #[test]
        fn jitter_spreads_over_the_whole_time(attempt in 5u32..20, jitter in 0.2f64..1.0) {
            let policy = RetryPolicy::default();
            let whole = backoff_ms(attempt, 1.0, &policy);
            prop_assert_eq!(backoff_ms(attempt, jitter, &policy), (whole as f64 * jitter) as u64);
        }
    }
}
