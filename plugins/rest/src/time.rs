//! Times as systems write them, read into and rendered from milliseconds since the Unix epoch. Knows no clock.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;
use throughline_plugin_sdk::schemas::Timestamp;

/// How a system writes a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2026-11-21T20:23:05.250Z`; any offset is read.
    #[default]
    Rfc3339,
    /// `2026-11-21 20:23:05.250Z`; any offset is read.
    Rfc3339Space,
    /// `2026-11-21T20:23:05`, without an offset, in UTC.
    NaiveUtc,
    /// `2026-11-21 20:23:05`, without an offset, in UTC.
    NaiveUtcSpace,
    /// `2026-11-21`, midnight in UTC.
    Date,
    /// Seconds since the Unix epoch, as number or text.
    UnixSeconds,
    /// Milliseconds since the Unix epoch, as number or text.
    UnixMillis,
}

/// Reads a time; none for what is not one.
pub(crate) fn parse(value: &Value, format: TimeFormat) -> Option<Timestamp> {
    match format {
        TimeFormat::UnixSeconds => Some(Timestamp::from_millis(millis(value, 1000)?)),
        TimeFormat::UnixMillis => Some(Timestamp::from_millis(millis(value, 1)?)),
        TimeFormat::Rfc3339 | TimeFormat::Rfc3339Space => value.as_str()?.trim().parse().ok(),
        TimeFormat::NaiveUtc | TimeFormat::NaiveUtcSpace => naive(value.as_str()?.trim()),
        TimeFormat::Date => naive(&format!("{}T00:00:00", value.as_str()?.trim().get(..10)?)),
    }
}

/// Writes a time.
pub(crate) fn render(at: Timestamp, format: TimeFormat) -> Value {
    let text = at.to_string();
    match format {
        TimeFormat::UnixSeconds => Value::from(at.as_millis().div_euclid(1000)),
        TimeFormat::UnixMillis => Value::from(at.as_millis()),
        TimeFormat::Rfc3339 => Value::from(text),
        TimeFormat::Rfc3339Space => Value::from(text.replacen('T', " ", 1)),
        TimeFormat::NaiveUtc => Value::from(text.trim_end_matches('Z')),
        TimeFormat::NaiveUtcSpace => Value::from(text.trim_end_matches('Z').replacen('T', " ", 1)),
        TimeFormat::Date => Value::from(text.split('T').next().unwrap_or_default()),
    }
}

/// `scale` milliseconds to one; fractions of seconds are kept.
fn millis(value: &Value, scale: i64) -> Option<i64> {
    let whole = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    if let Some(whole) = whole {
        return Some(whole.saturating_mul(scale));
    }
    let fraction = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "`as` saturates, and times are far below 2^52 milliseconds"
    )]
    let scaled = (fraction * scale as f64) as i64;
    fraction.is_finite().then_some(scaled)
}

fn naive(text: &str) -> Option<Timestamp> {
    // An offset after all: honour it.
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let civil: DateTime = text.parse().ok()?;
    let moment = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(moment.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_format_is_read_and_written() {
        let at: Timestamp = "2026-11-21T20:23:05.250Z".parse().unwrap();
        let table = [
            (TimeFormat::Rfc3339, json!("2026-11-21T20:23:05.250Z"), at),
            (TimeFormat::Rfc3339Space, json!("2026-11-21 20:23:05.250Z"), at),
            (TimeFormat::NaiveUtc, json!("2026-11-21T20:23:05.250"), at),
            (TimeFormat::NaiveUtcSpace, json!("2026-11-21 20:23:05.250"), at),
            (TimeFormat::UnixMillis, json!(1_795_292_585_250_i64), at),
            (TimeFormat::UnixSeconds, json!(1_795_292_585), at.plus_millis(-250)),
            (TimeFormat::Date, json!("2026-11-21"), "2026-11-21T00:00:00Z".parse().unwrap()),
        ];
        for (format, text, moment) in table {
            assert_eq!(parse(&text, format), Some(moment), "{format:?}");
            assert_eq!(render(moment, format), text, "{format:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_none_and_never_panics() {
        let formats = [
            TimeFormat::Rfc3339,
            TimeFormat::Rfc3339Space,
            TimeFormat::NaiveUtc,
            TimeFormat::NaiveUtcSpace,
            TimeFormat::Date,
            TimeFormat::UnixSeconds,
            TimeFormat::UnixMillis,
        ];
        for format in formats {
            for wrong in
                [json!(null), json!(""), json!("é-é-é-é-é"), json!("tomorrow"), json!({}), json!([1]), json!("2026-13-45T99:00:00Z")]
            {
                assert_eq!(parse(&wrong, format), None, "{format:?} {wrong}");
            }
        }
        assert!(parse(&json!(f64::MAX), TimeFormat::UnixSeconds).is_some(), "clamped");
        assert_eq!(parse(&json!(1.5), TimeFormat::UnixSeconds), Some(Timestamp::from_millis(1500)));
        assert_eq!(parse(&json!("2026-11-21T20:23:05+01:00"), TimeFormat::NaiveUtc), "2026-11-21T19:23:05Z".parse().ok());
    }
}
