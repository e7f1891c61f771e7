//! A table of the configuration that is being read, by the keys that it may have.

use std::path::PathBuf;
use std::time::Duration;

use super::duration;
use super::keys::{self, Fallback, Key, Kind, sources};
use super::mistake::{Origin, Reading};
use super::secret;
use super::tree::{Entries, Node, Type, Value};
use crate::secret::Secret;
use crate::text::nearest;

static NOTHING: Entries = Vec::new();

/// A table, as it was set.
pub(super) struct Section<'a> {
    /// Its key, such as `targets.valt.retry`; empty for the root.
    pub(super) path: String,
    /// Its path in [`keys::TABLES`], such as `targets.NAME.retry`.
    table: String,
    /// The place at which it was first named; the file, if it was not.
    origin: Origin,
    pub(super) entries: &'a Entries,
    /// It is something else than a table, which is mistake enough: nothing in it is missing.
    broken: bool,
    pub(super) reading: &'a Reading,
}

impl<'a> Section<'a> {
    /// Opens a node that should be this table.
    pub(super) fn open(table: &str, path: String, node: &'a Node, reading: &'a Reading) -> Self {
        let (entries, broken) = match &node.value {
            Value::Table(entries) => (entries, false),
            other => {
                let message = format!("is {} and should be a table: [{path}]", other.kind());
                reading.mistake(&node.origin, &path, message);
                (&NOTHING, true)
            }
        };
        Section { path, table: table.to_owned(), origin: node.origin.clone(), entries, broken, reading }
    }

    /// Opens the table of that name in this one, which is empty if it was not set, and checks its keys.
    pub(super) fn section(&self, name: &str) -> Section<'a> {
        let path = self.key(name);
        let table = if self.table.is_empty() { name.to_owned() } else { format!("{}.{name}", self.table) };
        let section = match self.node(name) {
            Some(node) => Section::open(&table, path, node, self.reading),
            None => Section { path, table, origin: self.origin.clone(), entries: &NOTHING, ..*self },
        };
        section.check_names(|_| None);
        section
    }

    /// Reports what is set and not known. `elsewhere` says that a key of the table is not for here, and what is in its place.
    pub(super) fn check_names(&self, elsewhere: impl Fn(&str) -> Option<String>) {
        let keys = keys::of(&self.table);
        let mut known: Vec<String> = keys.iter().filter(|key| elsewhere(key.name).is_none()).flat_map(Key::names).collect();
        known.extend(keys::tables_in(&self.table).into_iter().map(str::to_owned));
        if known.is_empty() || known == [keys::ANY] {
            return;
        }
        for (name, _) in self.entries.iter().filter(|(name, _)| !known.contains(name)) {
            let here = keys.iter().find(|key| key.name == name).map(|_| elsewhere(name));
            let message = match here {
                Some(Some(here)) => format!("unknown key; the nearest known one is `{here}`, as this API calls it"),
                Some(None) => {
                    let [file, env] = sources(name);
                    format!("a secret is never written in the configuration: name a file in `{file}` or an environment variable in `{env}`")
                }
                None => {
                    let nearest = nearest(name, known.iter().map(String::as_str)).unwrap_or_default();
                    format!("unknown key; the nearest known one is `{nearest}` (known here: {})", known.join(", "))
                }
            };
            self.wrong(name, message);
        }
    }

    /// The full name of a key in here.
    pub(super) fn key(&self, name: &str) -> String {
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let shown = if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { format!("{name:?}") };
        if self.path.is_empty() { shown } else { format!("{}.{shown}", self.path) }
    }

    /// What the key was set to, if it was.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(set, _)| set == name).map(|(_, node)| node)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// The place at which the key was set, or could be.
    pub(super) fn origin_of(&self, name: &str) -> &Origin {
        self.node(name).map_or(&self.origin, |node| &node.origin)
    }

    /// Something is wrong with that key.
    pub(super) fn wrong(&self, name: &str, message: impl Into<String>) {
        self.reading.mistake(self.origin_of(name), self.key(name), message);
    }

    /// That key is allowed as it is, but should be looked at.
    pub(super) fn warn(&self, name: &str, message: &str) {
        self.reading.warn(self.origin_of(name), &self.key(name), message);
    }

    /// That key should be there; an empty name is the section as a whole.
    pub(super) fn missing(&self, name: &str, message: impl Into<String>) {
        if !self.broken {
            let key = if name.is_empty() { self.path.clone() } else { self.key(name) };
            self.reading.missing(&self.origin, key, message);
        }
    }

    /// The value of a key, or its default if it is not set or wrong. Reports it if it is wrong or missing.
    fn get<T>(&self, name: &str, read: impl Fn(&Value, Kind) -> Result<T, String>) -> Option<T> {
        let key = keys::of(&self.table).iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "{name} is no key of {}", self.table);
        let key = key?;
        match (self.node(name), key.default) {
            (Some(node), _) => match read(&node.value, key.kind) {
                Ok(value) => return Some(value),
                Err(message) => self.wrong(name, message),
            },
            (None, Fallback::Required) => self.missing(name, format!("is required: {}", key.wanted())),
            _ => {}
        }
        let Fallback::Is(text) = key.default else { return None };
        read(&Value::Scalar(Type::Untyped, text.to_owned()), key.kind).ok()
    }

    /// Text that is not empty; one of the words, if the key has some.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name, |value, kind| {
            let text = read_text(value)?;
            match kind {
                Kind::Word(words) if !words().contains(&text) => Err(format!("{} is not one of {}", quoted(text), words().join(", "))),
                _ => Ok(text.to_owned()),
            }
        })
    }

    /// Text that is read as something else.
    pub(super) fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.get(name, |value, _| parse(read_text(value)?))
    }

    /// A whole number.
    pub(super) fn number<T: TryFrom<i128> + Default>(&self, name: &str) -> T {
        let number = self.get(name, |value, kind| {
            let number: i128 = scalar(value, &[Type::Integer], "a whole number", |text| text.trim().parse().ok())?;
            kind.within(number, &number.to_string())
        });
        number.and_then(|number| T::try_from(number).ok()).unwrap_or_default()
    }

    pub(super) fn ratio(&self, name: &str) -> f64 {
        let parse = |text: &str| text.trim().parse().ok().filter(|number| (0.0..=1.0).contains(number));
        let ratio = self.get(name, |value, _| {
            scalar(value, &[Type::Integer, Type::Float], "", parse).map_err(|_| "must be a number from 0 to 1, such as 0.1".to_owned())
        });
        ratio.unwrap_or_default()
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        self.get(name, |value, _| scalar(value, &[Type::Boolean], "true or false", |text| text.parse().ok())).unwrap_or_default()
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        const EXAMPLES: &str = "such as \"250ms\" or \"30s\"";
        let duration = self.get(name, |value, kind| {
            let text = scalar(value, &[Type::Text], &format!("a duration {EXAMPLES}"), Some)?;
            let wrong = || format!("{} is not a duration: write a whole number and its unit (ms, s, m, h), {EXAMPLES}", quoted(text));
            let found = duration::parse(text).ok_or_else(wrong)?;
            kind.within(found.as_millis().try_into().unwrap_or(i128::MAX), text)?;
            Ok(found)
        });
        duration.unwrap_or_default()
    }

    /// A list of texts. From the environment and from flags, which know only text, it is separated by commas.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.get(name, |value, _| match value {
            Value::Scalar(Type::Untyped, text) => {
                Ok(text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect())
            }
            Value::Array(items) => Ok(items.iter().filter_map(|item| self.item(name, item)).collect()),
            other => Err(format!("is {} and should be a list of strings: [\"…\", \"…\"]", other.kind())),
        })
    }

    fn item(&self, name: &str, item: &Node) -> Option<String> {
        if let Value::Scalar(Type::Text | Type::Untyped, text) = &item.value {
            return Some(text.clone());
        }
        let message = format!("holds {} and should be a list of strings", item.value.kind());
        self.reading.mistake(&item.origin, self.key(name), message);
        None
    }

    /// The path of a file, whether there is one or not.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// The key that says where the secret comes from, if one was set.
    pub(super) fn source(&self, secret: &str) -> Option<String> {
        sources(secret).into_iter().find(|name| self.is_set(name))
    }

    /// Where the secret comes from. It is read once to see whether it is there.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        let [file, env] = sources(name);
        let from = |name: &str| {
            let text = read_text(&self.node(name)?.value).map(str::to_owned);
            text.map_err(|message| self.wrong(name, message)).ok()
        };
        let (key, secret) = match (from(&file), from(&env)) {
            (None, None) => return None,
            (Some(path), None) => (&file, Secret::File(path.into())),
            (path, Some(variable)) => {
                if path.is_some() {
                    self.wrong(&env, format!("`{file}` was set too, at {}: keep one of the two", self.origin_of(&file)));
                }
                (&env, Secret::Env(variable))
            }
        };
        if let Err(message) = secret::read(&secret, self.reading) {
            self.wrong(key, message);
        }
        Some(secret)
    }
}

/// What a function reads from a section in which nothing is set.
pub(super) fn default_of<T>(table: &str, read: impl Fn(&Section<'_>) -> T) -> T {
    let origin = Origin::Flag(String::new());
    read(&Section { path: String::new(), table: table.to_owned(), origin, entries: &NOTHING, broken: true, reading: &Reading::default() })
}

fn read_text(value: &Value) -> Result<&str, String> {
    match scalar(value, &[Type::Text], "a string in quotes", Some)? {
        text if text.trim().is_empty() => Err("must not be empty".to_owned()),
        text => Ok(text),
    }
}

/// A scalar of one of these types. One that came from the environment or a flag may be any.
fn scalar<'v, T>(value: &'v Value, types: &[Type], wanted: &str, parse: impl Fn(&'v str) -> Option<T>) -> Result<T, String> {
    let parsed = match value {
        Value::Scalar(kind, text) if *kind == Type::Untyped || types.contains(kind) => parse(text),
        _ => None,
    };
    parsed.ok_or_else(|| format!("is {} and should be {wanted}", value.kind()))
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
