//! The configuration as a tree of values that know where they came from, before anyone asks what
//! they mean.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::mistake::{ConfigReading, Origin};

/// The tables under `kafka` whose keys are librdkafka's, dots and all.
pub(super) const PROPERTY_TABLES: [&str; 3] =
    ["properties", "consumer_properties", "producer_properties"];

/// The entries of a table, in their order.
pub(super) type Entries = Vec<(String, Node)>;

/// A value and where its key stands.
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A value as it was written.
pub(super) enum Value {
    Scalar(Type, String),
    Array(Vec<Node>),
    Table(Entries),
}

/// The type of a scalar as it was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Integer,
    Float,
    Boolean,
    Datetime,
    /// From the environment, a flag, or a default: text that may be meant as a number or a boolean.
    Untyped,
}

impl Value {
    /// The kind of value, as part of a sentence.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Scalar(Type::Text | Type::Untyped, _) => "a string",
            Value::Scalar(Type::Integer, _) => "a whole number",
            Value::Scalar(Type::Float, _) => "a number with a fraction",
            Value::Scalar(Type::Boolean, _) => "a boolean",
            Value::Scalar(Type::Datetime, _) => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads the file. `None` if it cannot be read at all; if parts of it are no TOML, the rest.
pub(super) fn read(file: &Path, reading: &ConfigReading) -> Option<Node> {
    let name: Arc<str> = file.display().to_string().into();
    let whole = Origin::File {
        name: name.clone(),
        line: 0,
        column: 0,
    };
    let bytes = fs::read(file).map_err(|error| format!("the file cannot be read: {error}"));
    let text = bytes.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())
    });
    let text = text
        .map_err(|message| reading.mistake(&whole, "", message))
        .ok()?;
    let source = Source { name, text: &text };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let origin = error
            .span()
            .map_or_else(|| whole.clone(), |span| source.origin(&span));
        reading.syntax_error(origin, format!("this is not TOML: {}", error.message()));
    }
    let mut entries = source.entries(table.get_ref());
    for (key, node) in &mut entries {
        if let ("kafka", Value::Table(kafka)) = (key.as_str(), &mut node.value) {
            flatten_properties(kafka, reading);
        }
    }
    Some(Node {
        origin: whole,
        value: Value::Table(entries),
    })
}

struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            name: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before
                .get(line_start..)
                .map_or(0, |line| line.chars().count())
                + 1,
        }
    }

    fn entries(&self, table: &DeTable<'_>) -> Entries {
        table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), self.node(&key.span(), value)))
            .collect()
    }

    fn node(&self, place: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Node {
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Scalar(Type::Text, text.to_string()),
            DeValue::Integer(number) => {
                // Beyond i128 is beyond every range alike.
                let number =
                    i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX);
                Value::Scalar(Type::Integer, number.to_string())
            }
            DeValue::Float(number) => Value::Scalar(Type::Float, number.as_str().to_owned()),
            DeValue::Boolean(boolean) => Value::Scalar(Type::Boolean, boolean.to_string()),
            DeValue::Datetime(moment) => Value::Scalar(Type::Datetime, moment.to_string()),
            DeValue::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.node(&item.span(), item))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.entries(table)),
        };
        Node {
            origin: self.origin(place),
            value,
        }
    }
}

/// An unquoted `sasl.password = …` is a table `sasl` to TOML, and a property's name to everybody
/// else.
fn flatten_properties(kafka: &mut Entries, reading: &ConfigReading) {
    for (key, node) in kafka {
        if let (true, Value::Table(entries)) =
            (PROPERTY_TABLES.contains(&key.as_str()), &mut node.value)
        {
            let mut flat = Entries::new();
            for (name, node) in leaves("", std::mem::take(entries)) {
                if let Some((_, first)) = flat.iter().find(|(known, _)| *known == name) {
                    let message =
                        format!("was already set at {}: remove one of the two", first.origin);
                    reading.mistake(&node.origin, format!("kafka.{key}.{name}"), message);
                } else {
                    flat.push((name, node));
                }
            }
            *entries = flat;
        }
    }
}

fn leaves(prefix: &str, entries: Entries) -> Entries {
    let leaves_of = |(key, node): (String, Node)| {
        let name = format!("{prefix}{key}");
        match node.value {
            Value::Table(inner) => leaves(&format!("{name}."), inner),
            _ => vec![(name, node)],
        }
    };
    entries.into_iter().flat_map(leaves_of).collect()
}
