//! Points in time as RFC 3339 writes them, and nothing looser.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// The time that the text names. One beyond what [`Timestamp`] can hold (it ends some hours before
/// the year 10000) becomes the nearest that it can: `9999-12-31T23:59:59Z` is how people write
/// "never".
pub fn parse(text: &str) -> Option<Timestamp> {
    // jiff reads more than RFC 3339 does (a space for the `T`, no seconds, a zone's name), so the
    // shape is checked here.
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let fits = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                wanted => byte.eq_ignore_ascii_case(wanted),
            })
    };
    let (seconds, rest) = text.split_at_checked(SHAPE.len())?;
    if !fits(seconds.as_bytes(), SHAPE) {
        return None;
    }
    let zone_at = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (fraction, zone) = rest.split_at(zone_at);
    let digits = fraction.strip_prefix('.').unwrap_or(fraction);
    if fraction.is_empty() != digits.is_empty()
        || digits.contains('.')
        || (!digits.is_empty() && digits == fraction)
    {
        return None;
    }
    // Anything finer than a nanosecond is beyond telling apart.
    let date_time: DateTime = format!("{seconds}{}", fraction.get(..10).unwrap_or(fraction))
        .parse()
        .ok()?;
    let ahead = match zone.as_bytes() {
        b"Z" | b"z" => SignedDuration::ZERO,
        [sign @ (b'+' | b'-'), clock @ ..] if fits(clock, b"00:00") => {
            let (hours, minutes) = (
                zone.get(1..3)?.parse::<i64>().ok()?,
                zone.get(4..6)?.parse::<i64>().ok()?,
            );
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            SignedDuration::from_mins(if *sign == b'-' { -minutes } else { minutes })
        }
        _ => return None,
    };
    let beyond = if date_time.year() > 0 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    };
    let utc = Offset::UTC.to_timestamp(date_time).unwrap_or(beyond);
    Some(utc.checked_sub(ahead).unwrap_or(beyond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read() {
        for (text, wanted) in [
            ("2026-11-22T09:00:00Z", "2026-11-22T09:00:00Z"),
            ("2026-11-22t09:00:00z", "2026-11-22T09:00:00Z"),
            ("2026-11-22T09:00:00.5+01:30", "2026-11-22T07:30:00.5Z"),
            ("2026-11-22T09:00:00-00:00", "2026-11-22T09:00:00Z"),
            (
                "2026-11-22T09:00:00.1234567891234Z",
                "2026-11-22T09:00:00.123456789Z",
            ),
            ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59Z"),
            ("2028-02-29T00:00:00-23:59", "2028-02-29T23:59:00Z"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn a_time_beyond_the_range_is_the_nearest_one_in_it() {
        assert_eq!(parse("9999-12-31T23:59:59Z"), Some(Timestamp::MAX));
        assert_eq!(parse("9999-12-31T23:59:59-23:59"), Some(Timestamp::MAX));
        assert!(
            parse("0000-01-01T00:00:00+23:59").unwrap() < parse("0001-01-01T00:00:00Z").unwrap()
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "never",
            "2026-11-22",
            "2026-11-22T09:00:00",
            "2026-11-22 09:00:00Z",
            "2026-11-22T09:00Z",
            "2026-11-22T09:00:00.Z",
            "2026-11-22T09:00:001Z",
            "2026-11-22T09:00:00.1.2Z",
            "2026-11-22T09:00:00+0100",
            "2026-11-22T09:00:00+24:00",
            "2026-11-22T09:00:00+01:60",
            "2026-11-22T09:00:00+01",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T09:00:00Z[UTC]",
            "+2026-11-22T09:00:00Z",
            "2026-11-22T09:00:00,5Z",
            "1795338000",
            "２026-11-22T09:00:00Z",
            "2026-11-22T09:00:00Ž",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
