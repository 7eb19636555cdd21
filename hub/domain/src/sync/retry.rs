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
