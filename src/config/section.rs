//! A section of the configuration: its keys are asked for one by one, and what nobody asked for is unknown.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::duration;
use super::mistake::{Origin, Reading};
use super::tree::{Node, Value};
use crate::text::nearest;

/// A table that is being read. Whoever opens it calls [`Section::finish`] at the end.
pub(super) struct Section<'a> {
    /// The key of the table, such as `targets.valt`; empty for the root.
    pub(super) path: String,
    /// Where the table was first named; the file, where it was not.
    pub(super) origin: Origin,
    entries: &'a [(String, Node)],
    known: Vec<String>,
    /// It is something else than a table, which is mistake enough: nothing in it is missing.
    broken: bool,
}

impl<'a> Section<'a> {
    /// Opens a node that should be a table.
    pub(super) fn open(path: String, node: &'a Node, reading: &mut Reading) -> Self {
        let (entries, broken) = match &node.value {
            Value::Table(entries) => (entries.as_slice(), false),
            other => {
                let kind = other.kind();
                reading.mistake(&node.origin, &path, format!("is {kind} and should be a table: [{path}]"));
                (Default::default(), true)
            }
        };
        Section { path, origin: node.origin.clone(), entries, known: Vec::new(), broken }
    }

    /// Opens the table of that key; an empty one where there is none.
    pub(super) fn section(&mut self, key: &str, reading: &mut Reading) -> Section<'a> {
        let path = self.key(key);
        match self.node(key) {
            Some(node) => Section::open(path, node, reading),
            None => Section { path, origin: self.origin.clone(), entries: Default::default(), known: Vec::new(), broken: self.broken },
        }
    }

    /// The full name of a key in here.
    pub(super) fn key(&self, key: &str) -> String {
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let shown = if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { shown } else { format!("{}.{shown}", self.path) }
    }

    /// A secret that was set under the key without `_file` or `_env`. It counts as known only where it was set, so that no
    /// message names it as the key to use.
    pub(super) fn plain_secret(&mut self, key: &str) -> Option<&'a Node> {
        self.is_set(key).then(|| self.node(key))?
    }

    /// What the key was set to, if it was. The key is known from now on.
    pub(super) fn node(&mut self, key: &str) -> Option<&'a Node> {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
        self.set(key)
    }

    /// All keys and what they were set to.
    pub(super) fn entries(&self) -> &'a [(String, Node)] {
        self.entries
    }

    fn set(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(known, _)| known == key).map(|(_, node)| node)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.set(key).is_some()
    }

    /// Where the key was set, or where it could be.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.set(key).map_or(&self.origin, |node| &node.origin).clone()
    }

    /// Something is wrong with that key.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>, reading: &mut Reading) {
        reading.mistake(&self.origin_of(key), self.key(key), message);
    }

    /// That key should be there.
    pub(super) fn missing(&self, key: &str, message: impl Into<String>, reading: &mut Reading) {
        if !self.broken {
            reading.missing(&self.origin, self.key(key), message);
        }
    }

    /// Something is missing in the section as a whole.
    pub(super) fn missing_here(&self, message: &str, reading: &mut Reading) {
        if !self.broken {
            reading.missing(&self.origin, &self.path, message);
        }
    }

    /// Text that is not empty.
    pub(super) fn text(&mut self, key: &str, reading: &mut Reading) -> Option<String> {
        match &self.node(key)?.value {
            Value::Text(text) | Value::Untyped(text) if text.trim().is_empty() => {
                self.wrong(key, "must not be empty", reading);
                None
            }
            Value::Text(text) | Value::Untyped(text) => Some(text.clone()),
            other => {
                self.wrong(key, format!("is {} and should be a string in quotes", other.kind()), reading);
                None
            }
        }
    }

    /// The path of a file, whether there is one or not.
    pub(super) fn path(&mut self, key: &str, reading: &mut Reading) -> Option<PathBuf> {
        self.text(key, reading).map(PathBuf::from)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str, reading: &mut Reading) -> Option<Vec<String>> {
        let node = self.node(key)?;
        let items = match &node.value {
            // From the environment and from flags, which know only text.
            Value::Untyped(text) => {
                return Some(text.split(',').map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect());
            }
            Value::Array(items) => items,
            other => {
                self.wrong(key, format!("is {} and should be a list of strings: [\"…\", \"…\"]", other.kind()), reading);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Text(text) | Value::Untyped(text) => texts.push(text.clone()),
                other => reading.mistake(&item.origin, self.key(key), format!("holds {} and should be a list of strings", other.kind())),
            }
        }
        Some(texts)
    }

    /// One of several words, each with what it means.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], reading: &mut Reading) -> Option<T> {
        let text = self.text(key, reading)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(key, format!("{} is not one of {}", quoted(&text), words.join(", ")), reading);
        }
        found
    }

    /// A whole number within the range, or the default.
    pub(super) fn number<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>, reading: &mut Reading) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let Some(node) = self.node(key) else {
            return default;
        };
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Untyped(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            let kind = node.value.kind();
            self.wrong(key, format!("is {kind} and should be a whole number"), reading);
            return default;
        };
        match T::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let message = format!("must be from {} to {}, not {number}", range.start(), range.end());
                self.wrong(key, message, reading);
                default
            }
        }
    }

    /// A number from 0 to 1, or the default.
    pub(super) fn ratio(&mut self, key: &str, default: f64, reading: &mut Reading) -> f64 {
        let number = match self.node(key).map(|node| &node.value) {
            None => return default,
            Some(Value::Integer(number)) => number.to_string().parse().ok(),
            Some(Value::Float(text) | Value::Untyped(text)) => text.trim().parse::<f64>().ok(),
            Some(_) => None,
        };
        match number.filter(|number| (0.0..=1.0).contains(number)) {
            Some(number) => number,
            None => {
                self.wrong(key, "must be a number from 0 to 1, such as 0.1", reading);
                default
            }
        }
    }

    /// A boolean, or the default.
    pub(super) fn boolean(&mut self, key: &str, default: bool, reading: &mut Reading) -> bool {
        let Some(node) = self.node(key) else {
            return default;
        };
        match &node.value {
            Value::Boolean(boolean) => return *boolean,
            Value::Untyped(text) if text == "true" => return true,
            Value::Untyped(text) if text == "false" => return false,
            other => self.wrong(key, format!("is {} and should be true or false", other.kind()), reading),
        }
        default
    }

    /// A duration within the range, or the default.
    pub(super) fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>, reading: &mut Reading) -> Duration {
        let Some(node) = self.node(key) else {
            return default;
        };
        let (Value::Text(text) | Value::Untyped(text)) = &node.value else {
            let message = format!("is {} and should be a duration such as \"250ms\" or \"30s\"", node.value.kind());
            self.wrong(key, message, reading);
            return default;
        };
        let Some(found) = duration::parse(text) else {
            let message = format!(
                "{} is not a duration: write a whole number and its unit (ms, s, m, h), such as \"250ms\" or \"30s\"",
                quoted(text)
            );
            self.wrong(key, message, reading);
            return default;
        };
        if !range.contains(&found) {
            let (least, most) = (duration::written(*range.start()), duration::written(*range.end()));
            self.wrong(key, format!("must be from {least} to {most}, not {text}"), reading);
            return default;
        }
        found
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, reading: &mut Reading) {
        for (key, node) in self.entries.iter().filter(|(key, _)| !self.known.contains(key)) {
            let known = self.known.iter().map(String::as_str);
            let nearest = nearest(key, known).unwrap_or_default();
            let message = format!("unknown key; the nearest known one is `{nearest}` (known here: {})", self.known.join(", "));
            reading.mistake(&node.origin, self.key(key), message);
        }
    }
}

/// A value in a message, on one line whatever it holds. Never one that may be a secret.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

/// Whether the name can stand in a Kafka group id, a URI and a metric's label as it is.
pub(super) fn is_plain_name(name: &str, longest: usize) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=longest).contains(&name.len()) && name.bytes().all(is_plain)
}
