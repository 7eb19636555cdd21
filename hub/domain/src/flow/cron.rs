//! When a schedule comes: every so many seconds, or at times of day and week as cron(8) writes them, in a time zone.
//!
//! Where clocks are put forward or back, a fixed hour comes once each day: a time that is skipped comes as much later as the clocks jump
//! (02:30 becomes 03:30), of a time that comes twice the first counts, as RFC 5545 has it for calendars. Where the hours are written with
//! `*`, every moment counts that the clock shows so: nothing is made up for in spring, and both hours count in autumn. Time zones are
//! those of the IANA database that the hub is built with.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Moment, ToSpan};
use throughline_schemas::Timestamp;

use super::spec::ScheduleSpec;

const LONGEST_SECONDS: u64 = 31_536_000;
/// 29 February may be eight years away, as from 2096 to 2104.
const MOST_DAYS: usize = 9 * 366;
const MINUTES_OF_DAY: usize = 25 * 60;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When a schedule comes.
#[derive(Debug, Clone)]
pub enum Timing {
    /// Every so many seconds.
    Every(u64),
    /// At these times.
    Cron(Box<Cron>),
}

impl Timing {
    /// Reads a schedule.
    ///
    /// # Errors
    /// The field that is wrong, and what would be right.
    pub fn of(spec: &ScheduleSpec) -> Result<Self, (&'static str, String)> {
        match (spec.every_seconds, &spec.cron) {
            (Some(seconds), None) if spec.time_zone.is_some() => {
                Err(("time_zone", format!("every {seconds} seconds is the same in all time zones; leave it out, or write `cron`")))
            }
            (Some(seconds), None) if (60..=LONGEST_SECONDS).contains(&seconds) => Ok(Self::Every(seconds)),
            (Some(_), None) => Err(("every_seconds", "from 60 seconds to a year".to_owned())),
            (None, Some(cron)) => {
                let zone = spec.time_zone.as_deref().unwrap_or("UTC");
                let unknown = |_| ("time_zone", format!("{zone:?} is no time zone of the IANA database, as Europe/Berlin is"));
                let zone = TimeZoneDatabase::bundled().get(zone).map_err(unknown)?;
                Ok(Self::Cron(Box::new(Cron::parse(cron, zone).map_err(|detail| ("cron", detail))?)))
            }
            (Some(_), Some(_)) => Err(("cron", "write `every_seconds` or `cron`, not both".to_owned())),
            (None, None) => Err(("", "write `every_seconds`, or `cron` with a `time_zone`".to_owned())),
        }
    }

    /// The first time after this one.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Every(seconds) => now.plus_millis(i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1000)),
            // What has a next time once has one always, up to the end of all times.
            Self::Cron(cron) => cron.next_after(now).unwrap_or(Timestamp::from_millis(i64::MAX)),
        }
    }
}

/// Times of day and week in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both kinds of day are restricted: either will do.
    either_day: bool,
    /// Every moment counts at which the clock shows it.
    any_hour: bool,
    zone: TimeZone,
}

impl Cron {
    fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("five fields are needed (minute, hour, day, month, weekday); this has {}", fields.len()));
        };
        let sundays = field("weekday", weekdays, 0, 7, &DAYS)?;
        let cron = Self {
            minutes: field("minute", minutes, 0, 59, &[])?,
            hours: field("hour", hours, 0, 23, &[])?,
            days: field("day", days, 1, 31, &[])?,
            months: field("month", months, 1, 12, &MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: (sundays | (sundays >> 7)) & 0x7f,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
            any_hour: hours.starts_with('*'),
            zone,
        };
        let comes = cron.next_after(Timestamp::from_millis(0)).is_some();
        if comes { Ok(cron) } else { Err(format!("{text:?} never comes: no such month has such a day")) }
    }

    /// The first time after this one; none if it does not come within nine years.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = Moment::from_millisecond(now.as_millis()).ok()?;
        let mut date = now.to_zoned(self.zone.clone()).date();
        for _ in 0..MOST_DAYS {
            if self.is_day(date)
                && let Some(found) = self.first_of_day(date, now)
            {
                return Some(Timestamp::from_millis(found.as_millisecond()));
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, weekday_of(date.weekday()));
        let fits = if self.either_day { day || weekday } else { day && weekday };
        has(self.months, date.month()) && fits
    }

    /// The earliest moment of a day that is after `now`.
    fn first_of_day(&self, date: Date, now: Moment) -> Option<Moment> {
        if self.any_hour { self.first_shown(date, now) } else { self.first_fixed(date, now) }
    }

    /// Each of its times on this day once, whatever the clocks do.
    fn first_fixed(&self, date: Date, now: Moment) -> Option<Moment> {
        let times = (0..24).filter(|hour| has(self.hours, *hour)).flat_map(|hour| {
            let minutes = (0..60).filter(|minute| has(self.minutes, *minute));
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        });
        let moments = times.filter_map(|time: DateTime| self.zone.to_ambiguous_timestamp(time).compatible().ok());
        moments.filter(|moment| *moment > now).min()
    }

    /// The first moment at which the clock shows one of its times, minute by minute through a day, which may have 23 to 25 hours.
    fn first_shown(&self, date: Date, now: Moment) -> Option<Moment> {
        let begin = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok()?;
        let into = (now.as_second() - begin.as_second()).div_euclid(60) + 1;
        let first = usize::try_from(into).unwrap_or(0);
        let moments = (first..MINUTES_OF_DAY).filter_map(|minute| begin.checked_add(i64::try_from(minute).ok()?.minutes()).ok());
        moments.filter(|moment| *moment > now).find(|moment| {
            let shown = moment.to_zoned(self.zone.clone());
            shown.date() == date && has(self.hours, shown.hour()) && has(self.minutes, shown.minute())
        })
    }
}

fn has(set: u64, number: i8) -> bool {
    (set >> number) & 1 == 1
}

fn weekday_of(weekday: Weekday) -> i8 {
    weekday.to_sunday_zero_offset()
}

/// `*`, `7`, `1-5`, `*/15`, `8-18/2`, and several of these with commas; months and weekdays also by their first three letters.
fn field(name: &str, text: &str, least: u64, most: u64, names: &[&str]) -> Result<u64, String> {
    let wrong =
        |part: &str| format!("{part:?} is no {name}: numbers from {least} to {most}, ranges as 1-5, steps as */15, lists with commas");
    let number = |part: &str| {
        let named = names.iter().position(|known| known.eq_ignore_ascii_case(part)).and_then(|at| u64::try_from(at).ok());
        let given = named.map(|at| at + u64::from(name == "month")).or_else(|| part.parse().ok());
        given.filter(|number| (least..=most).contains(number))
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u64>().ok().filter(|step| (1..=most).contains(step)).ok_or_else(|| wrong(part))?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, if name == "weekday" { 6 } else { most }),
            Some((from, to)) => (number(from).ok_or_else(|| wrong(part))?, number(to).ok_or_else(|| wrong(part))?),
            None => {
                let only = number(range).ok_or_else(|| wrong(part))?;
                (only, if part.contains('/') { most } else { only })
            }
        };
        if from > to {
            return Err(wrong(part));
        }
        let step = usize::try_from(step).unwrap_or(1);
        (from..=to).step_by(step).for_each(|number| set |= 1_u64 << number);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timing(cron: &str, zone: &str) -> Timing {
        Timing::of(&ScheduleSpec { every_seconds: None, cron: Some(cron.to_owned()), time_zone: Some(zone.to_owned()) }).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The times that follow on `from`, as UTC.
    fn check(cron: &str, zone: &str, from: &str, wanted: &[&str]) {
        let timing = timing(cron, zone);
        let mut now = time(from);
        for wanted in wanted {
            now = timing.next_after(now);
            assert_eq!(now, time(wanted), "{cron} in {zone} after {from}");
        }
    }

    #[test]
    fn times_follow_each_other() {
        check("30 9 * * 1-5", "UTC", "2026-11-27T09:29:59.999Z", &["2026-11-27T09:30:00Z", "2026-11-30T09:30:00Z"]);
        check("30 9 * * mon-fri", "Europe/Berlin", "2026-11-27T08:30:00Z", &["2026-11-30T08:30:00Z"]);
        check("*/20 8-9 * * *", "UTC", "2026-11-27T08:25:00Z", &["2026-11-27T08:40:00Z", "2026-11-27T09:00:00Z", "2026-11-27T09:20:00Z"]);
        check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
        check("0 12 1 * 0", "UTC", "2026-11-27T12:00:00Z", &["2026-11-29T12:00:00Z", "2026-12-01T12:00:00Z", "2026-12-06T12:00:00Z"]);
        check("0 12 * jan,DEC 7", "UTC", "2026-11-27T12:00:00Z", &["2026-12-06T12:00:00Z"]);
        check("5/25 0 * * *", "UTC", "2026-11-27T00:00:00Z", &["2026-11-27T00:05:00Z", "2026-11-27T00:30:00Z", "2026-11-27T00:55:00Z"]);
    }

    /// Berlin: 29 March 2026 has no 02:00 to 03:00, 25 October has it twice.
    #[test]
    fn a_fixed_hour_comes_once_each_day_whatever_the_clocks_do() {
        let spring = ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", &spring);
        let autumn = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", &autumn);
        let each_hour = ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"];
        check("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", &each_hour);
        let no_second = ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"];
        check("0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", &no_second);
        // Midnight itself is skipped: 6 September 2026 in Santiago begins at 01:00.
        check("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", &["2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"]);
    }

    #[test]
    fn mistakes_are_named() {
        let spec = |every_seconds, cron: Option<&str>, zone: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Timing::of(&ScheduleSpec { every_seconds, cron: owned(cron), time_zone: owned(zone) }).map(|_| ()).unwrap_err()
        };
        for (wrong, word) in [
            ("* * * *", "five fields"),
            ("60 * * * *", "no minute"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "no day"),
            ("* * * fri *", "no month"),
            ("* * * * 8", "no weekday"),
            ("5-1 * * * *", "no minute"),
            ("*/0 * * * *", "no minute"),
            ("1, * * * *", "no minute"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let (field, detail) = spec(None, Some(wrong), None);
            assert!(field == "cron" && detail.contains(word), "{wrong}: {detail}");
        }
        assert_eq!(spec(None, Some("* * * * *"), Some("Europe/Bonn")).0, "time_zone");
        assert_eq!(spec(Some(3600), None, Some("UTC")).0, "time_zone");
        assert_eq!(spec(Some(59), None, None).0, "every_seconds");
        assert_eq!(spec(Some(60), Some("* * * * *"), None).0, "cron");
        assert_eq!(spec(None, None, None).0, "");
    }

    proptest! {
        /// Whatever is written: no panic, and time goes forward.
        #[test]
        fn the_next_time_is_later(text in "[0-9*/,\\- ]{1,20}", minute in "[0-9*/]{1,4}", now in 0i64..4_000_000_000) {
            let _ = Timing::of(&ScheduleSpec { every_seconds: None, cron: Some(text), time_zone: None });
            let spec = ScheduleSpec { every_seconds: None, cron: Some(format!("{minute} * * * *")), time_zone: Some("Europe/Berlin".to_owned()) };
            if let Ok(timing) = Timing::of(&spec) {
                let now = Timestamp::from_millis(now * 1000);
                let next = timing.next_after(now);
                prop_assert!(next > now && next.since(now) <= 3_600_000, "{next:?}");
            }
        }
    }
}
