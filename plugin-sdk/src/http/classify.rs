//! From an HTTP status to the error class that the hub's retry policy goes by.

use std::time::UNIX_EPOCH;

use super::ResponseExt;
use crate::{Error, ErrorClass, HttpResponse, clock};

/// How much of a silo's answer is quoted in an error.
const QUOTE: usize = 300;

/// None for 2xx and 3xx; otherwise the error that a well-behaved HTTP API means by this status. A silo that means something else needs
/// its own table.
#[must_use]
pub fn classify_status(response: &HttpResponse) -> Option<Error> {
    let class = match response.status {
        200..=399 => return None,
        401 => ErrorClass::Auth,
        403 => ErrorClass::Permission,
        404 | 410 => ErrorClass::Gone,
        409 | 412 => ErrorClass::Conflict,
        408 | 425 => ErrorClass::Transient,
        429 => ErrorClass::RateLimited,
        405 | 501 => ErrorClass::Unsupported,
        400..=499 => ErrorClass::InvalidRecord,
        502 | 504 => ErrorClass::Ambiguous,
        _ => ErrorClass::Transient,
    };
    let error = Error::new(class, format!("the silo answered {}{}", response.status, quoted(response)));
    Some(match retry_after_ms(response) {
        Some(ms) if matches!(class, ErrorClass::RateLimited | ErrorClass::Transient) => error.with_retry_after_ms(ms),
        _ => error,
    })
}

/// The `Retry-After` header, in seconds or as a date, as milliseconds from now.
#[must_use]
pub fn retry_after_ms(response: &HttpResponse) -> Option<u64> {
    let value = response.header("retry-after")?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = i64::try_from(at.as_millis()).ok()?;
    Some(u64::try_from(at - clock::now().as_millis()).unwrap_or(0))
}

/// The beginning of a short textual answer; pages of HTML say nothing to a person.
fn quoted(response: &HttpResponse) -> String {
    let html = response.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let text = response.text();
    let text = text.trim();
    if html || text.is_empty() {
        return String::new();
    }
    let beginning: String = text.chars().filter(|char| !char.is_control()).take(QUOTE).collect();
    format!(": {beginning}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;

    fn response(status: u16, headers: &[(&str, &str)]) -> HttpResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpResponse { status, headers, body: Vec::new() }
    }

    #[test]
    fn each_status_has_its_class() {
        let table = [
            (401, ErrorClass::Auth),
            (403, ErrorClass::Permission),
            (404, ErrorClass::Gone),
            (410, ErrorClass::Gone),
            (409, ErrorClass::Conflict),
            (412, ErrorClass::Conflict),
            (400, ErrorClass::InvalidRecord),
            (422, ErrorClass::InvalidRecord),
            (413, ErrorClass::InvalidRecord),
            (429, ErrorClass::RateLimited),
            (405, ErrorClass::Unsupported),
            (408, ErrorClass::Transient),
            (500, ErrorClass::Transient),
            (503, ErrorClass::Transient),
            (502, ErrorClass::Ambiguous),
            (504, ErrorClass::Ambiguous),
        ];
        for (status, class) in table {
            assert_eq!(classify_status(&response(status, &[])).unwrap().class, class, "{status}");
        }
        assert_eq!(classify_status(&response(204, &[])), None);
        assert_eq!(classify_status(&response(304, &[])), None);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let _host = TestHost::new().now("2026-11-21T12:00:00Z".parse().unwrap()).install();
        let table = [
            ("3", Some(3000)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 12:00:07 GMT", Some(7000)),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (value, wanted) in table {
            let error = classify_status(&response(429, &[("retry-after", value)])).unwrap();
            assert_eq!(error.retry_after_ms, wanted, "{value}");
        }
    }

    #[test]
    fn a_short_answer_is_quoted_and_a_page_is_not() {
        let mut answer = response(400, &[("content-type", "application/json")]);
        answer.body = b"{\"error\":\"no such field\"}".to_vec();
        assert!(classify_status(&answer).unwrap().message.ends_with("no such field\"}"));
        answer.headers[0].1 = "text/html".into();
        assert_eq!(classify_status(&answer).unwrap().message, "the silo answered 400");
    }
}
