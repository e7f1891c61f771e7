//! Numbers as JSON Schema has them: 52, 52.0 and 5.2e1 are one integer. None is rounded, however it
//! is written.

use serde_json::value::RawValue;

/// The value of a JSON number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// An integer of 64 bits.
    Integer(i64),
    /// An integer, and larger or smaller than 64 bits can hold.
    Beyond,
    /// Not an integer.
    Fraction,
}

/// The value as a number, if it is one.
pub fn number(value: &RawValue) -> Option<Number> {
    number_in(value.get())
}

/// The JSON value in the text as a number, if it is one.
pub fn number_in(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    // The usual form, and `-0`, which is 0.
    if let Ok(integer) = text.parse() {
        return Some(Number::Integer(integer));
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    let leading = digits.len() - significant.len();
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() {
        return Some(Number::Integer(0));
    }
    // The digits before the point, once the exponent has moved it. One that no i64 holds is as good
    // as infinite.
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    });
    let length = |digits: usize| i64::try_from(digits).unwrap_or(i64::MAX);
    let before = exponent
        .saturating_add(length(whole.len()))
        .saturating_sub(length(leading));
    let Some(zeros) = before
        .checked_sub(length(significant.len()))
        .filter(|zeros| *zeros >= 0)
    else {
        return Some(Number::Fraction);
    };
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros < 20);
    let integer = zeros.and_then(|zeros| {
        format!("{sign}{significant}{}", "0".repeat(zeros))
            .parse()
            .ok()
    });
    Some(integer.map_or(Number::Beyond, Number::Integer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_one_however_it_is_written() {
        let long = "0".repeat(100_000);
        for (text, wanted) in [
            ("52", 52),
            ("-52", -52),
            ("52.0", 52),
            ("5.2e1", 52),
            ("5.2E+1", 52),
            ("0.52e2", 52),
            ("520e-1", 52),
            ("5200.00e-02", 52),
            ("-0", 0),
            ("-0.0", 0),
            ("0e999999999999999999999", 0),
            ("0.000e-99999999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775807.0", i64::MAX),
            ("922337203685477580.7e1", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-9.223372036854775808e18", i64::MIN),
            // No f64 holds it.
            ("9007199254740993.0", 9_007_199_254_740_993),
            (&format!("0.{long}52e100002"), 52),
            (&format!("52{long}e-100000"), 52),
        ] {
            assert_eq!(
                number_in(text),
                Some(Number::Integer(wanted)),
                "{:.40}",
                text
            );
        }
        for (text, wanted) in [
            ("0.5", Number::Fraction),
            ("52.01", Number::Fraction),
            ("-1e-1", Number::Fraction),
            ("1e-400", Number::Fraction),
            ("1e-99999999999999999999999", Number::Fraction),
            ("9223372036854775808", Number::Beyond),
            ("9223372036854775808.0", Number::Beyond),
            ("-9223372036854775809", Number::Beyond),
            ("1e19", Number::Beyond),
            ("1e400", Number::Beyond),
            ("1e99999999999999999999999", Number::Beyond),
            (&format!("1{long}"), Number::Beyond),
        ] {
            assert_eq!(number_in(text), Some(wanted), "{:.40}", text);
        }
        for text in ["", "null", "true", "\"52\"", "[52]", "{}"] {
            assert_eq!(number_in(text), None, "{text}");
        }
    }
}
