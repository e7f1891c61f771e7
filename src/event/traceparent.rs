//! The trace that a record belongs to, as W3C Trace Context writes it.

use crate::record::Record;

/// The record's `traceparent` header, if it is one: anything else would break the trace of whoever gets it next.
pub fn traceparent(record: &Record) -> Option<&str> {
    record.header_text("traceparent").filter(|text| is_valid(text))
}

/// The ids of the trace and of the span in a valid `traceparent`.
pub fn ids(traceparent: &str) -> (&str, &str) {
    let mut parts = traceparent.split('-').skip(1);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn is_valid(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.splitn(5, '-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    // Later versions may have more parts; the first four stay what they are. What goes on as an HTTP header stays short and printable.
    let more = text.len() > 55;
    let rest_fits = !more || (version != "00" && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic()));
    hex(version, 2) && version != "ff" && id(trace, 32) && id(parent, 16) && hex(flags, 2) && rest_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_w3c_allows_is_carried_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_valid(good));
        assert!(is_valid(&format!("cc{}-more", &good[2..])));
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good[..54],
            &format!("{good}-more"),
            &format!("{good}\n"),
            &format!("{good}-"),
            &format!("ff{}", &good[2..]),
            &format!("cc{}-m\u{e4}", &good[2..]),
            &format!("cc{}more", &good[2..]),
            &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &good.replace("b7ad6b7169203331", &"0".repeat(16)),
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
