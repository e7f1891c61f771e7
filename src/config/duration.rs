//! A duration as it is written in the configuration: `250ms`, `30s`, `2m`, `1h`.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a whole number and its unit. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.checked_mul(*milliseconds)?))
}

/// Writes it in the largest unit that leaves a whole number.
pub(crate) fn written(duration: Duration) -> String {
    let total = duration.as_millis();
    let fits = |(_, milliseconds): &&(&str, u64)| {
        total > 0 && total.is_multiple_of(u128::from(*milliseconds))
    };
    match UNITS.iter().rev().find(fits) {
        Some((unit, milliseconds)) => format!("{}{unit}", total / u128::from(*milliseconds)),
        None => format!("{total}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for wrong in [
            "",
            "30",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "30 s",
            "1d",
            "1m30s",
            "30S",
            "٣s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_written_in_its_largest_unit() {
        for text in ["0ms", "250ms", "1500ms", "30s", "90s", "2m", "1h"] {
            assert_eq!(parse(text).map(written).as_deref(), Some(text));
        }
    }
}
