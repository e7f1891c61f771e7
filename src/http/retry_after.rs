//! `Retry-After`: the pause that an HTTP answer asks for.

use std::time::{Duration, SystemTime};

/// No pause is read as longer than this (about 136 years), so that it can be added to any clock.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Reads the header's value, which is seconds or an HTTP date, into a pause from `now` on.
/// A date in the past is no pause at all; nonsense is `None`.
pub fn read(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    // `parse` alone would take a sign.
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: &str) -> SystemTime {
        httpdate::parse_http_date(date).unwrap()
    }

    #[test]
    fn seconds_are_read() {
        let now = SystemTime::now();
        for (value, seconds) in [("0", 0), ("7", 7), (" 120 ", 120), ("0005", 5)] {
            assert_eq!(
                read(value, now),
                Some(Duration::from_secs(seconds)),
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_date_is_read_in_all_three_forms_and_counts_from_now() {
        let now = at("Sun, 22 Nov 2026 09:00:00 GMT");
        for value in [
            "Sun, 22 Nov 2026 09:01:30 GMT",
            "Sunday, 22-Nov-26 09:01:30 GMT",
            "Sun Nov 22 09:01:30 2026",
        ] {
            assert_eq!(read(value, now), Some(Duration::from_secs(90)), "{value}");
        }
    }

    #[test]
    fn a_past_date_is_no_pause() {
        let now = at("Sun, 22 Nov 2026 09:00:00 GMT");
        assert_eq!(
            read("Sat, 21 Nov 2026 09:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(
            read("Thu, 01 Jan 1970 00:00:00 GMT", now),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_huge_pause_is_kept_addable() {
        let now = at("Sun, 22 Nov 2026 09:00:00 GMT");
        for value in [
            "99999999999",
            "18446744073709551616",
            &"9".repeat(400),
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            let pause = read(value, now).unwrap();
            assert_eq!(pause, LONGEST, "{value}");
            assert!(std::time::Instant::now().checked_add(pause).is_some());
        }
    }

    #[test]
    fn nonsense_is_none() {
        let now = SystemTime::now();
        for value in [
            "",
            " ",
            "-1",
            "+5",
            "1.5",
            "1e3",
            "5s",
            "5, 6",
            "soon",
            "2026-11-22T09:00:00Z",
            "٣",
            "\u{0}",
        ] {
            assert_eq!(read(value, now), None, "{value:?}");
        }
    }
}
