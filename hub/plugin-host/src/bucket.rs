//! A token bucket: so many requests in so many seconds, and closed for a while when the silo says so. Knows no clock: the time is
//! handed in.
//!
//! Kept as the one moment at which the bucket would be full again (the generic cell rate algorithm), so that requests that wait have
//! their places in a row and none wakes up to find that another was faster.

use std::time::{Duration, Instant};

/// One bucket. It begins full.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// How long it takes for one request to come back.
    interval: Duration,
    /// How far ahead of `full_at` a request may go: all places but one.
    slack: Duration,
    /// When it will be full again; none while nothing was taken.
    full_at: Option<Instant>,
    closed_until: Option<Instant>,
}

impl Bucket {
    /// `requests` in each `per`; at least one of each.
    pub(crate) fn new(requests: u32, per: Duration) -> Self {
        let interval = per / requests.max(1);
        Self { interval, slack: interval * (requests.max(1) - 1), full_at: None, closed_until: None }
    }

    /// When the next request may go: `now`, or later.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let refilled = self.full_at.and_then(|full_at| full_at.checked_sub(self.slack));
        now.max(refilled.unwrap_or(now)).max(self.closed_until.unwrap_or(now))
    }

    /// Takes the place of a request that goes at this moment, which [`Bucket::next`] named.
    pub(crate) fn take(&mut self, at: Instant) {
        self.full_at = Some(self.full_at.unwrap_or(at).max(at) + self.interval);
    }

    /// Lets nothing through until then. The later of two closings counts.
    pub(crate) fn close(&mut self, until: Instant) {
        self.closed_until = Some(self.closed_until.map_or(until, |closed| closed.max(until)));
    }

    /// Until when it is closed, if it is.
    pub(crate) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds after the start at which each of these requests goes, when they come at these milliseconds.
    fn went(bucket: &mut Bucket, start: Instant, came: &[u64]) -> Vec<u128> {
        let at = |millis: &u64| start + Duration::from_millis(*millis);
        let mut go = |now: Instant| {
            let next = bucket.next(now);
            bucket.take(next);
            (next - start).as_millis()
        };
        came.iter().map(|millis| go(at(millis))).collect()
    }

    #[test]
    fn requests_go_as_the_bucket_allows() {
        let cases: &[(u32, u64, &[u64], &[u128])] = &[
            (2, 1000, &[0, 0, 0, 0], &[0, 0, 500, 1000]),
            (1, 1000, &[0, 0, 100], &[0, 1000, 2000]),
            (3, 300, &[0, 0, 0, 50, 400], &[0, 0, 0, 100, 400]),
            (2, 1000, &[0, 0, 1000, 1000, 1000], &[0, 0, 1000, 1000, 1500]),
            (100, 1, &[0, 5, 9], &[0, 5, 9]),
        ];
        for (requests, per, came, expected) in cases {
            let mut bucket = Bucket::new(*requests, Duration::from_millis(*per));
            assert_eq!(went(&mut bucket, Instant::now(), came), *expected, "{requests} in {per} ms: {came:?}");
        }
    }

    #[test]
    fn idleness_gives_no_more_than_a_full_bucket() {
        let mut bucket = Bucket::new(2, Duration::from_secs(1));
        assert_eq!(went(&mut bucket, Instant::now(), &[0, 60_000, 60_000, 60_000]), [0, 60_000, 60_000, 60_500]);
    }

    #[test]
    fn a_closed_bucket_waits_and_the_longer_closing_counts() {
        let start = Instant::now();
        let mut bucket = Bucket::new(5, Duration::from_secs(1));
        bucket.close(start + Duration::from_millis(700));
        bucket.close(start + Duration::from_millis(300));
        assert_eq!(bucket.closed_until(start), Some(start + Duration::from_millis(700)));
        assert_eq!(went(&mut bucket, start, &[0, 100, 800]), [700, 700, 800]);
        assert_eq!(bucket.closed_until(start + Duration::from_millis(700)), None);
    }

    #[test]
    fn nonsense_does_not_divide_by_nothing() {
        assert_eq!(went(&mut Bucket::new(0, Duration::ZERO), Instant::now(), &[0, 0]), [0, 0]);
    }
}
