//! The trace that a record belongs to, as W3C Trace Context writes it in the headers `traceparent`
//! and `tracestate`.

use crate::model::record::Record;

/// The name of the header with the ids of trace and span.
pub const TRACEPARENT: &str = "traceparent";
/// The name of the header with what tracing systems add to them.
pub const TRACESTATE: &str = "tracestate";

/// A place in a trace. Both texts are valid, so they can go on in any header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub traceparent: String,
    /// `tracestate`, if there is one.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The record's, if it has one: anything else would break the trace of whoever gets it next. A
    /// `tracestate` that is none is left out.
    pub fn of(record: &Record) -> Option<Self> {
        let traceparent = record
            .header_text(TRACEPARENT)
            .filter(|text| is_traceparent(text))?
            .to_owned();
        let tracestate = record
            .header_text(TRACESTATE)
            .filter(|text| is_tracestate(text))
            .map(str::to_owned);
        Some(TraceContext {
            traceparent,
            tracestate,
        })
    }

    /// The ids of trace and span, as hexadecimal digits.
    pub fn ids(&self) -> (&str, &str) {
        let mut parts = self.traceparent.split('-').skip(1);
        (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        )
    }

    /// The headers that carry it on, by name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(TRACEPARENT, self.traceparent.as_str())]
            .into_iter()
            .chain(self.tracestate.as_deref().map(|state| (TRACESTATE, state)))
    }
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.splitn(5, '-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    // Later versions may have more parts; the first four stay what they are. What goes on as an
    // HTTP header stays short and printable.
    let more = text.len() > 55;
    let rest_fits = !more
        || (version != "00"
            && text.len() <= 512
            && text.bytes().all(|byte| byte.is_ascii_graphic()));
    hex(version, 2)
        && version != "ff"
        && id(trace, 32)
        && id(parent, 16)
        && hex(flags, 2)
        && rest_fits
}

/// At most 32 members, each `key=value` and its key only once.
fn is_tracestate(text: &str) -> bool {
    let members: Vec<_> = text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect();
    let pairs: Option<Vec<_>> = members
        .iter()
        .map(|member| member.split_once('='))
        .collect();
    let Some(pairs) = pairs.filter(|pairs| (1..=32).contains(&pairs.len())) else {
        return false;
    };
    let is_once = |(number, (key, _)): (usize, &(&str, &str))| {
        !pairs[..number].iter().any(|(earlier, _)| earlier == key)
    };
    text.len() <= 512
        && pairs
            .iter()
            .all(|(key, value)| is_key(key) && is_value(value))
        && pairs.iter().enumerate().all(is_once)
}

fn is_key(key: &str) -> bool {
    let is_part = |part: &str, longest: usize, may_begin_with_digit: bool| {
        let begins = part.bytes().next().is_some_and(|byte| {
            byte.is_ascii_lowercase() || may_begin_with_digit && byte.is_ascii_digit()
        });
        let is_allowed = |byte: u8| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'_' | b'-' | b'*' | b'/')
        };
        begins && part.len() <= longest && part.bytes().all(is_allowed)
    };
    match key.split_once('@') {
        Some((tenant, system)) => is_part(tenant, 241, true) && is_part(system, 14, false),
        None => is_part(key, 256, true),
    }
}

fn is_value(value: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_w3c_allows_is_carried_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        assert!(is_traceparent(&format!("cc{}-more", &good[2..])));
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
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    #[test]
    fn a_tracestate_is_a_list_of_keys_and_values() {
        for good in [
            "rojo=00f067aa0ba902b7",
            "congo=t61rcWkgMzE, rojo=1 ,",
            "1a-2f@foo=1 2",
            "a=!~",
        ] {
            assert!(is_tracestate(good), "{good}");
        }
        let many = (0..33)
            .map(|number| format!("k{number}=v"))
            .collect::<Vec<_>>()
            .join(",");
        let long = format!("a={}", "v".repeat(257));
        for bad in [
            "",
            ",",
            "rojo",
            "=1",
            "a=",
            "A=1",
            "a=1,a=2",
            "a=b=c",
            "a=\u{e4}",
            "a=1\n",
            "a@=1",
            "a@1b=1",
            many.as_str(),
            long.as_str(),
        ] {
            assert!(!is_tracestate(bad), "{bad}");
        }
    }
}
