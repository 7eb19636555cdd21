//! A connection's rate budgets: which requests spend which, and what answers say of them. All instances of the connection share them.
//!
//! Scope `account` means the same as `connection` for now: a connection is one account, and two connections of one account do not know
//! of each other. Nothing here waits; that is [`http`](crate::imports::http)'s affair.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{HeaderMap, StatusCode, header};
use serde_json::Value;
use throughline_domain::connector::PluginError;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use throughline_schemas::manifest::{Manifest, RateBudget};
use url::Url;

use crate::bucket::Bucket;
use crate::grants::filled;

/// No answer closes a budget for longer: a silo's slip of the pen must not stop a connection for good.
const LONGEST_CLOSING: Duration = Duration::from_secs(24 * 60 * 60);

/// The budgets of one connection.
pub(crate) struct Budgets {
    rules: Vec<Rule>,
    buckets: Mutex<Vec<Bucket>>,
}

/// What one budget is for.
struct Rule {
    name: String,
    /// URL prefixes; none means every request.
    prefixes: Option<Vec<String>>,
    headers: Vec<String>,
    per: Duration,
}

impl Rule {
    fn covers(&self, url: &Url) -> bool {
        self.prefixes.as_ref().is_none_or(|prefixes| prefixes.iter().any(|prefix| url.as_str().starts_with(prefix)))
    }
}

impl Budgets {
    /// The manifest's budgets, with the config's values in their prefixes.
    pub(crate) fn resolve(manifest: &Manifest, config: &Value) -> Result<Self, PluginError> {
        let rules: Vec<Rule> = manifest.rate_budgets.iter().map(|budget| rule(budget, manifest, config)).collect::<Result<_, _>>()?;
        let bucket = |budget: &RateBudget| Bucket::new(budget.requests, Duration::from_secs(budget.per_seconds.into()));
        Ok(Self { buckets: Mutex::new(manifest.rate_budgets.iter().map(bucket).collect()), rules })
    }

    fn buckets(&self) -> MutexGuard<'_, Vec<Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment at which a request may go; its place is taken in every budget it spends. Refused, and nothing taken, if that is
    /// after `latest`.
    pub(crate) fn take(&self, url: &Url, now: Instant, latest: Instant) -> Result<Instant, ConnectorError> {
        let mut buckets = self.buckets();
        let matching = || self.rules.iter().enumerate().filter(|(_, rule)| rule.covers(url));
        let Some((at, rule)) = matching().map(|(index, rule)| (buckets[index].next(now), rule)).max_by_key(|(at, _)| *at) else {
            return Ok(now);
        };
        if at > latest {
            return Err(used_up(&rule.name, at - now));
        }
        matching().for_each(|(index, _)| buckets[index].take(at));
        Ok(at)
    }

    /// Whether the silo has closed a budget of this request meanwhile: until when. Refused if that is after `latest`.
    pub(crate) fn reopening(&self, url: &Url, now: Instant, latest: Instant) -> Result<Option<Instant>, ConnectorError> {
        let buckets = self.buckets();
        let closed = self.rules.iter().enumerate().filter(|(_, rule)| rule.covers(url));
        let closed = closed.filter_map(|(index, rule)| Some((buckets[index].closed_until(now)?, rule)));
        match closed.max_by_key(|(until, _)| *until) {
            Some((until, rule)) if until > latest => Err(used_up(&rule.name, until - now)),
            closed => Ok(closed.map(|(until, _)| until)),
        }
    }

    /// Closes the budgets that an answer says are used up. `now_ms` is the time of day, for answers that name one.
    pub(crate) fn heed(&self, url: &Url, status: StatusCode, headers: &HeaderMap, now: Instant, now_ms: i64) {
        for (index, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.covers(url)) {
            if let Some(pause) = closing(rule, status, headers, now_ms) {
                self.buckets()[index].close(now + pause.min(LONGEST_CLOSING));
            }
        }
    }
}

fn rule(budget: &RateBudget, manifest: &Manifest, config: &Value) -> Result<Rule, PluginError> {
    let mut prefixes = Vec::new();
    for template in &budget.matching {
        let prefix = filled(template, manifest, config).and_then(|prefix| prefix.map(|prefix| canonical(&prefix)).transpose());
        // A prefix whose config field is not set matches nothing, as with hosts.
        prefixes.extend(prefix.map_err(|detail| PluginError::Grants(format!("rate budget {:?}, {template:?}: {detail}", budget.name)))?);
    }
    Ok(Rule {
        name: budget.name.clone(),
        prefixes: (!budget.matching.is_empty()).then_some(prefixes),
        headers: budget.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        per: Duration::from_secs(budget.per_seconds.into()),
    })
}

/// The prefix as the URLs it is compared with are written.
fn canonical(prefix: &str) -> Result<String, String> {
    Url::parse(prefix).map(String::from).map_err(|error| format!("it is not the beginning of a URL: {error}"))
}

fn used_up(name: &str, wait: Duration) -> ConnectorError {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    ConnectorError::new(ErrorClass::RateLimited, format!("the rate budget {name:?} is used up for {millis} ms more"))
        .with_retry_after_ms(millis)
        .with_details(serde_json::json!({"budget": name}))
}

/// For how long an answer closes a budget.
fn closing(rule: &Rule, status: StatusCode, headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let asked = if busy { retry_after(headers, now_ms) } else { None };
    let remaining = rule.headers.iter().filter(|name| name.contains("remaining"));
    let used_up = remaining.filter(|name| number(headers, name).is_some_and(|left| left < 1.0));
    used_up.map(|name| reset(rule, headers, name, now_ms)).chain(asked).max()
}

/// What `Retry-After` says (RFC 9110, 10.2.3): seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(since_epoch(now_ms)))
}

/// How long until the window of this `…remaining` header begins anew: what a declared `…reset` header says, or the one of the same
/// name; without either the budget's own window.
fn reset(rule: &Rule, headers: &HeaderMap, remaining: &str, now_ms: i64) -> Duration {
    let sibling = remaining.replace("remaining", "reset");
    let declared = rule.headers.iter().filter(|name| name.contains("reset")).map(String::as_str);
    let said = std::iter::once(sibling.as_str()).chain(declared).find_map(|name| number(headers, name));
    said.map_or(rule.per, |value| until(value, now_ms))
}

// Silos write seconds from now, seconds of the epoch or milliseconds of the epoch; the size tells which.
fn until(value: f64, now_ms: i64) -> Duration {
    const LEAST_EPOCH_SECONDS: f64 = 1e9;
    const LEAST_EPOCH_MILLIS: f64 = 1e12;
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST_CLOSING);
    if value >= LEAST_EPOCH_MILLIS {
        return seconds(value / 1000.0).saturating_sub(since_epoch(now_ms));
    }
    if value >= LEAST_EPOCH_SECONDS {
        return seconds(value).saturating_sub(since_epoch(now_ms));
    }
    seconds(value)
}

fn since_epoch(now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms).unwrap_or(0))
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn budgets(budgets: Value, config: Value) -> Result<Budgets, PluginError> {
        let manifest = serde_json::from_value(json!({
            "name": "x", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "x", "kinds": ["crm"],
            "config": {"type": "object"}, "rate_budgets": budgets,
        }));
        Budgets::resolve(&manifest.unwrap(), &config)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_request_spends_every_budget_it_matches_or_none() {
        let declared = json!([
            {"name": "all", "scope": "account", "requests": 3, "per_seconds": 60},
            {"name": "search", "scope": "connection", "matching": ["{config.base}/search"], "requests": 1, "per_seconds": 10},
            {"name": "unset", "scope": "connection", "matching": ["{config.other}/"], "requests": 1, "per_seconds": 10},
        ]);
        let budgets = budgets(declared, json!({"base": "https://api.example.com/"})).unwrap();
        let now = Instant::now();
        let take = |address: &str| budgets.take(&url(address), now, now);
        assert!(take("https://api.example.com/search?q=1").is_ok());
        let refused = take("https://api.example.com/search?q=2").unwrap_err();
        assert_eq!((refused.class, refused.retry_after_ms), (ErrorClass::RateLimited, Some(10_000)));
        assert!(refused.message.contains("\"search\""), "{refused}");
        for _ in 0..2 {
            assert!(take("https://api.example.com/other").is_ok(), "the refused request spent nothing");
        }
        assert_eq!(take("https://api.example.com/other").unwrap_err().retry_after_ms, Some(20_000));
        let later = budgets.take(&url("https://api.example.com/other"), now, now + Duration::from_secs(20)).unwrap();
        assert_eq!(later, now + Duration::from_secs(20), "who is patient gets a place");
    }

    #[test]
    fn a_prefix_that_is_no_url_is_refused() {
        let declared = json!([{"name": "x", "scope": "connection", "matching": ["/search"], "requests": 1, "per_seconds": 1}]);
        assert!(matches!(budgets(declared, json!({})), Err(PluginError::Grants(detail)) if detail.contains("/search")));
    }

    type Headers<'h> = &'h [(&'static str, &'h str)];

    fn closed_for(status: u16, answer: Headers<'_>) -> Option<u128> {
        let declared = json!([{
            "name": "x", "scope": "connection", "requests": 10, "per_seconds": 30,
            "headers": ["X-RateLimit-Remaining", "x-daily-remaining", "x-daily-renewal-reset"],
        }]);
        let budgets = budgets(declared, json!({})).unwrap();
        let headers = answer.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect();
        let (now, address) = (Instant::now(), url("https://api.example.com/"));
        budgets.heed(&address, StatusCode::from_u16(status).unwrap(), &headers, now, NOW_MS);
        let far = now + LONGEST_CLOSING * 2;
        budgets.reopening(&address, now, far).unwrap().map(|until| (until - now).as_millis())
    }

    #[test]
    fn answers_close_a_budget_for_as_long_as_they_say() {
        let cases: &[(u16, Headers<'_>, Option<u128>)] = &[
            (200, &[], None),
            (429, &[], None),
            (429, &[("retry-after", "7")], Some(7000)),
            (503, &[("retry-after", "Tue, 14 Nov 2023 22:13:25 GMT")], Some(5000)),
            (503, &[("retry-after", "Tue, 14 Nov 2023 22:13:15 GMT")], None),
            (200, &[("retry-after", "7")], None),
            (429, &[("retry-after", "soon")], None),
            (429, &[("retry-after", "99999999999999")], Some(LONGEST_CLOSING.as_millis())),
            (200, &[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "9")], None),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")], Some(9000)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1.5")], Some(1500)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000004")], Some(4000)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000004500")], Some(4500)),
            (200, &[("x-ratelimit-remaining", "0")], Some(30_000)),
            (200, &[("x-ratelimit-remaining", "none"), ("x-ratelimit-reset", "9")], None),
            (200, &[("x-ratelimit-remaining", "NaN")], None),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "-5")], None),
            (429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9"), ("retry-after", "12")], Some(12_000)),
            (200, &[("x-daily-remaining", "0"), ("x-daily-renewal-reset", "60")], Some(60_000)),
        ];
        for (status, answer, expected) in cases {
            assert_eq!(closed_for(*status, answer), *expected, "{status} {answer:?}");
        }
    }
}
