//! The kinds of values that keys take.

use crate::config::section::quoted;
use crate::config::tree::{Type, Value};

/// The values that a key takes.
#[derive(Clone, Copy)]
pub(super) enum ValueKind {
    Text,
    /// One of several words.
    Word(fn() -> Vec<&'static str>),
    Boolean,
    /// A whole number in a range, such as `1 to 8`.
    Number(&'static str),
    /// A number from 0 to 1.
    Ratio,
    /// A duration in a range, such as `1ms to 1h`.
    Duration(&'static str),
    /// A list of texts.
    List,
    /// A point in time, as in RFC 3339.
    Time,
    /// The path of a file.
    File,
    /// The key is followed by `_file` or `_env`, which say where the secret comes from.
    Secret,
}

const TIME: &str = "a time with its offset, such as 2026-12-01T12:00:00Z";

impl ValueKind {
    pub(super) fn is_secret(self) -> bool {
        matches!(self, ValueKind::Secret)
    }

    /// The range, in words; empty if there is none.
    pub(super) fn range(self) -> String {
        match self {
            ValueKind::Word(words) => words().join(", "),
            ValueKind::Number(range) | ValueKind::Duration(range) => range.to_owned(),
            ValueKind::Ratio => "0 to 1".to_owned(),
            ValueKind::Text
            | ValueKind::Boolean
            | ValueKind::List
            | ValueKind::Time
            | ValueKind::File
            | ValueKind::Secret => String::new(),
        }
    }

    /// Reads a scalar of this kind, or says what is wrong with it.
    pub(super) fn read<T: PartialOrd>(
        self,
        value: &Value,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, String> {
        let (types, wanted): (&[Type], _) = match self {
            ValueKind::Boolean => (&[Type::Boolean], "true or false"),
            ValueKind::Number(_) => (&[Type::Integer], "a whole number"),
            ValueKind::Ratio => (
                &[Type::Integer, Type::Float],
                "a number from 0 to 1, such as 0.1",
            ),
            ValueKind::Duration(_) => (&[Type::Text], "a duration such as \"250ms\" or \"30s\""),
            ValueKind::Time => (&[Type::Datetime, Type::Text], TIME),
            ValueKind::Text
            | ValueKind::Word(_)
            | ValueKind::List
            | ValueKind::File
            | ValueKind::Secret => (&[Type::Text], "a string in quotes"),
        };
        let mismatch = || format!("is {} and should be {wanted}", value.kind());
        let text = match value {
            Value::Scalar(_, text) if text.trim().is_empty() => {
                return Err("must not be empty".to_owned());
            }
            Value::Scalar(kind, text) if *kind == Type::Untyped || types.contains(kind) => text,
            _ => return Err(mismatch()),
        };
        let is_within = |range: &str, found: &T| {
            let (least, most) = range.split_once(" to ").unwrap_or_default();
            parse(least).is_some_and(|least| least <= *found)
                && parse(most).is_some_and(|most| *found <= most)
        };
        match (self, parse(text)) {
            (ValueKind::Number(range) | ValueKind::Duration(range), Some(found))
                if !is_within(range, &found) =>
            {
                Err(format!("must be from {range}, not {text}"))
            }
            (ValueKind::Word(words), _) if !words().contains(&text.as_str()) => {
                Err(format!("{} is not one of {}", quoted(text), self.range()))
            }
            (_, Some(found)) => Ok(found),
            (ValueKind::Duration(_), None) => Err(format!(
                "{} is not a duration: write a whole number and its unit (ms, s, m, h), such as \"250ms\" or \"30s\"",
                quoted(text)
            )),
            (ValueKind::Time, None) => Err(format!("{} is not {TIME}", quoted(text))),
            (ValueKind::Ratio, None) => Err(format!("must be {wanted}")),
            _ => Err(mismatch()),
        }
    }
}
