//! When an event is sent to an endpoint again, when it is given up, and when the endpoint is.
//!
//! The schedule is the example of the Standard Webhooks specification: ten attempts over 75 hours and 35 minutes. Its random part only
//! ever adds, so that an attempt is never made before its time.

use throughline_schemas::Timestamp;

/// The waits between attempts, in milliseconds: after the first attempt, after the second, and so on.
pub const SCHEDULE_MS: [u64; 9] =
    [5_000, 5 * 60_000, 30 * 60_000, 2 * 3_600_000, 5 * 3_600_000, 10 * 3_600_000, 14 * 3_600_000, 20 * 3_600_000, 24 * 3_600_000];
/// So much is added to a wait at most, as a part of it.
const JITTER: f64 = 0.1;
/// An endpoint that asks for more patience than this does not get it.
const LONGEST_ASKED_MS: u64 = 24 * 3_600_000;
/// The longest rest of an endpoint that does not answer.
const LONGEST_REST_MS: u64 = 5 * 60_000;
const FIRST_REST_MS: u64 = 5_000;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was an answer.
    Answered {
        /// Its status.
        status: u16,
        /// How long the endpoint asks to be left alone, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// There was none: not reached, no TLS, not in time.
    Unanswered,
}

/// What is to be done with the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It has arrived.
    Delivered,
    /// Try it again after so many milliseconds.
    Again {
        /// Not before that much later.
        after_ms: u64,
    },
    /// All attempts failed.
    GiveUp,
    /// The endpoint wants nothing any more (410).
    Gone,
}

/// What follows from the `attempt`th attempt (from 1 on). `jitter` is a random number from 0 to 1.
#[must_use]
pub fn next(attempt: u32, outcome: Outcome, jitter: f64) -> Next {
    let asked = match outcome {
        Outcome::Answered { status: 200..=299, .. } => return Next::Delivered,
        Outcome::Answered { status: 410, .. } => return Next::Gone,
        Outcome::Answered { retry_after_ms, .. } => retry_after_ms.unwrap_or(0).min(LONGEST_ASKED_MS),
        Outcome::Unanswered => 0,
    };
    let index = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
    match SCHEDULE_MS.get(index) {
        Some(wait) => Next::Again { after_ms: jittered(*wait, jitter).max(asked) },
        None => Next::GiveUp,
    }
}

/// For how long an endpoint is left alone altogether, in milliseconds, after so many failures in a row; none if the failure says
/// something about the event rather than about the endpoint.
#[must_use]
pub fn rest_ms(outcome: Outcome, failures_in_a_row: u32) -> Option<u64> {
    let asked = match outcome {
        Outcome::Answered { status: 429 | 502 | 503 | 504, retry_after_ms } => retry_after_ms.unwrap_or(0).min(LONGEST_ASKED_MS),
        Outcome::Unanswered => 0,
        Outcome::Answered { .. } => return None,
    };
    let doublings = failures_in_a_row.saturating_sub(1).min(10);
    Some((FIRST_REST_MS << doublings).min(LONGEST_REST_MS).max(asked))
}

/// Whether an endpoint is to be disabled when an event is given up: nothing has arrived since that event was first tried.
#[must_use]
pub fn has_failed_for_good(first_attempt: Timestamp, last_success: Option<Timestamp>) -> bool {
    last_success.is_none_or(|success| success < first_attempt)
}

fn jittered(wait_ms: u64, jitter: f64) -> u64 {
    wait_ms + (wait_ms as f64 * JITTER * jitter.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, retry_after_ms: None }
    }

    #[test]
    fn the_schedule_is_that_of_the_specification() {
        // Time since the start, as the specification's table has it.
        let table = ["00:00:05", "00:05:05", "00:35:05", "02:35:05", "07:35:05", "17:35:05", "31:35:05", "51:35:05", "75:35:05"];
        let mut elapsed = 0;
        for (attempt, wanted) in (1..).zip(table) {
            let Next::Again { after_ms } = next(attempt, answered(500), 0.0) else { panic!("attempt {attempt}") };
            elapsed += after_ms / 1000;
            assert_eq!(format!("{:02}:{:02}:{:02}", elapsed / 3600, elapsed / 60 % 60, elapsed % 60), wanted);
        }
        assert_eq!(next(10, answered(500), 0.0), Next::GiveUp);
        assert_eq!(next(u32::MAX, Outcome::Unanswered, 0.0), Next::GiveUp);
    }

    #[test]
    fn only_the_two_hundreds_are_success_and_gone_is_gone() {
        for (status, wanted) in [(200, Next::Delivered), (204, Next::Delivered), (299, Next::Delivered), (410, Next::Gone)] {
            assert_eq!(next(1, answered(status), 0.0), wanted, "{status}");
        }
        for status in [199, 301, 304, 400, 401, 404, 429, 500, 503] {
            assert!(matches!(next(1, answered(status), 0.0), Next::Again { .. }), "{status}");
        }
        assert!(matches!(next(1, Outcome::Unanswered, 0.0), Next::Again { .. }));
    }

    #[test]
    fn chance_only_adds_and_what_the_endpoint_asks_for_is_kept() {
        assert_eq!(next(1, answered(500), 1.0), Next::Again { after_ms: 5_500 });
        let asks = |ms| Outcome::Answered { status: 503, retry_after_ms: Some(ms) };
        assert_eq!(next(1, asks(60_000), 0.0), Next::Again { after_ms: 60_000 });
        assert_eq!(next(2, asks(1_000), 0.0), Next::Again { after_ms: 300_000 });
        assert_eq!(next(1, asks(u64::MAX), 0.0), Next::Again { after_ms: LONGEST_ASKED_MS });
    }

    #[test]
    fn only_what_speaks_of_the_endpoint_lets_it_rest() {
        assert_eq!(rest_ms(answered(500), 3), None);
        assert_eq!(rest_ms(answered(404), 3), None);
        for (failures, wanted) in [(1, 5_000), (2, 10_000), (3, 20_000), (7, LONGEST_REST_MS), (u32::MAX, LONGEST_REST_MS)] {
            assert_eq!(rest_ms(Outcome::Unanswered, failures), Some(wanted), "{failures}");
        }
        assert_eq!(rest_ms(Outcome::Answered { status: 429, retry_after_ms: Some(900_000) }, 1), Some(900_000));
    }

    #[test]
    fn an_endpoint_fails_for_good_if_nothing_arrived_since_the_first_attempt() {
        let at = Timestamp::from_millis;
        for (success, wanted) in [(None, true), (Some(at(99)), true), (Some(at(100)), false), (Some(at(500)), false)] {
            assert_eq!(has_failed_for_good(at(100), success), wanted, "{success:?}");
        }
    }
}
