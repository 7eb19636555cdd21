//! Rate limits: one token bucket for each API key and each connection's hook.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use throughline_schemas::{ApiKeyId, ConnectionId};
use tokio::time::Instant;

use crate::problem::Problem;
use crate::problem_codes::Code;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// Full buckets are forgotten when there are more than this many.
const MOST_BUCKETS: usize = 10_000;

/// How many requests are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Sustained requests in a second.
    pub per_second: u32,
    /// Requests that may come at once.
    pub burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_second: 1_000, burst: 2_000 }
    }
}

/// Who spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Spender {
    Key(ApiKeyId),
    Hook(ConnectionId),
}

struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

/// What is left after a request was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Allowance {
    limit: u32,
    remaining: u32,
    /// Seconds until the bucket is full again.
    reset: u64,
    /// Seconds to wait, if this request was one too many.
    wait: Option<u64>,
}

pub(crate) struct Limits {
    rate: RateLimit,
    /// Held for a few instructions only, never across an await.
    buckets: Mutex<HashMap<Spender, Bucket>>,
}

impl Limits {
    pub(crate) fn new(rate: RateLimit) -> Self {
        let rate = RateLimit { per_second: rate.per_second.max(1), burst: rate.burst.max(1) };
        Self { rate, buckets: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn spend(&self, spender: Spender, now: Instant) -> Allowance {
        let (rate, burst) = (f64::from(self.rate.per_second), f64::from(self.rate.burst));
        let filled = |bucket: &Bucket| (bucket.tokens + now.saturating_duration_since(bucket.filled_at).as_secs_f64() * rate).min(burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() > MOST_BUCKETS {
            buckets.retain(|_, bucket| filled(bucket) < burst);
        }
        let bucket = buckets.entry(spender).or_insert(Bucket { tokens: burst, filled_at: now });
        bucket.tokens = filled(bucket);
        bucket.filled_at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        Allowance {
            limit: self.rate.burst,
            remaining: bucket.tokens as u32,
            reset: ((burst - bucket.tokens) / rate).ceil() as u64,
            wait: (!allowed).then(|| (((1.0 - bucket.tokens) / rate).ceil() as u64).max(1)),
        }
    }
}

impl Allowance {
    /// Adds the `RateLimit-*` headers.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
    }

    /// The refusal, if this request was one too many.
    pub(crate) fn refusal(self) -> Option<Problem> {
        self.wait.map(|seconds| {
            let detail = format!("more than {} requests came at once; wait {seconds} s", self.limit);
            Problem::new(Code::RateLimited, detail).retry_after(seconds)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_allowed_then_the_rate_holds() {
        let limits = Limits::new(RateLimit { per_second: 2, burst: 3 });
        let start = Instant::now();
        let (one, two) = (Spender::Key(ApiKeyId::from_bytes([1; 16])), Spender::Hook(ConnectionId::from_bytes([2; 16])));
        let refused = |spender, millis| limits.spend(spender, start + Duration::from_millis(millis)).refusal().is_some();
        assert_eq!([refused(one, 0), refused(one, 0), refused(one, 0), refused(one, 0)], [false, false, false, true]);
        assert!(!refused(two, 0), "spenders do not share");
        assert!(refused(one, 400) && !refused(one, 500), "half a second buys one request");
        assert!(refused(one, 500));
    }

    #[test]
    fn headers_tell_what_is_left() {
        let limits = Limits::new(RateLimit { per_second: 1, burst: 10 });
        let mut headers = HeaderMap::new();
        limits.spend(Spender::Key(ApiKeyId::from_bytes([1; 16])), Instant::now()).write(&mut headers);
        assert_eq!(
            (headers[LIMIT].to_str().unwrap(), headers[REMAINING].to_str().unwrap(), headers[RESET].to_str().unwrap()),
            ("10", "9", "1")
        );
    }
}
