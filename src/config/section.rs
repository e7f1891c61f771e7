//! A table of the configuration that is being read, by the keys that it may have.

use std::time::Duration;

use crate::config::duration;
use crate::config::keys::{self, Fallback, sources};
use crate::config::kind::ValueKind;
use crate::config::mistake::{ConfigReading, Needed, Origin};
use crate::config::secret;
use crate::config::secret_file::Secret;
use crate::config::tree::{Entries, Node, Type, Value};
use crate::model::text::nearest;

static NOTHING: Entries = Vec::new();

/// A table, as it was set.
pub(super) struct Section<'a> {
    /// Its key, such as `targets.valt.retry`; empty for the root.
    pub(super) path: String,
    /// Its path in [`keys::KEYS`], such as `targets.NAME.retry`.
    table: String,
    /// The place at which it was first named; the file, if it was not.
    pub(super) origin: Origin,
    pub(super) entries: &'a Entries,
    /// It is something else than a table, which is mistake enough: nothing in it is missing.
    pub(super) broken: bool,
    pub(super) reading: &'a ConfigReading,
}

impl<'a> Section<'a> {
    /// Opens a node that should be this table.
    pub(super) fn open(
        table: &str,
        path: String,
        node: &'a Node,
        reading: &'a ConfigReading,
    ) -> Self {
        let (entries, broken) = match &node.value {
            Value::Table(entries) => (entries, false),
            other => {
                let message = format!("is {} and should be a table: [{path}]", other.kind());
                reading.mistake(&node.origin, &path, message);
                (&NOTHING, true)
            }
        };
        Section {
            path,
            table: table.to_owned(),
            origin: node.origin.clone(),
            entries,
            broken,
            reading,
        }
    }

    /// Opens the table of that name in this one, which is empty if it was not set, and checks its
    /// keys.
    pub(super) fn section(&self, name: &str) -> Section<'a> {
        let path = self.key(name);
        let table = if self.table.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.table)
        };
        let section = match self.node(name) {
            Some(node) => Section::open(&table, path, node, self.reading),
            None => Section {
                path,
                table,
                origin: self.origin.clone(),
                entries: &NOTHING,
                ..*self
            },
        };
        section.check_names(|_| None);
        section
    }

    /// Reports what is set and not known. `elsewhere` names the key that is in place of one that is
    /// not for here.
    pub(super) fn check_names(&self, elsewhere: impl Fn(&str) -> Option<String>) {
        let Some(mut known) = keys::names_in(&self.table) else {
            return;
        };
        known.retain(|name| elsewhere(name).is_none());
        for (name, _) in self
            .entries
            .iter()
            .filter(|(name, _)| !known.contains(name))
        {
            let message = if let Some(here) = elsewhere(name) {
                format!("unknown key; the nearest known one is `{here}`, as this API calls it")
            } else if keys::find(&self.table, name).is_some() {
                let [file, env] = sources(name);
                format!(
                    "a secret is never written in the configuration: name a file in `{file}` or an environment variable in `{env}`"
                )
            } else {
                let nearest = nearest(name, known.iter().map(String::as_str)).unwrap_or_default();
                format!(
                    "unknown key; the nearest known one is `{nearest}` (known here: {})",
                    known.join(", ")
                )
            };
            self.wrong(name, message);
        }
    }

    /// The full name of a key in here.
    pub(super) fn key(&self, name: &str) -> String {
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let shown = if !name.is_empty() && name.bytes().all(is_bare) {
            name.to_owned()
        } else {
            format!("{name:?}")
        };
        if self.path.is_empty() {
            shown
        } else {
            format!("{}.{shown}", self.path)
        }
    }

    /// The value that the key was set to.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|(set, _)| set == name)
            .map(|(_, node)| node)
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
        self.reading
            .mistake(self.origin_of(name), self.key(name), message);
    }

    /// That key is allowed as it is, but should be looked at.
    pub(super) fn warn(&self, name: &str, message: &str) {
        self.reading
            .warn(self.origin_of(name), &self.key(name), message);
    }

    /// Something should be there. In a file that is no TOML it may only seem to be missing.
    pub(super) fn missing(&self, name: &str, message: impl Into<String>) {
        if !self.broken {
            self.reading
                .missing(self.origin_of(name), self.key(name), message);
        }
    }

    /// The value of a key, or its default if it was not set. Reports one that is wrong or missing.
    fn get<T: PartialOrd>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let key = keys::find(&self.table, name);
        debug_assert!(key.is_some(), "{name} is no key of {}", self.table);
        let key = key?;
        match (self.node(name), key.default) {
            (Some(node), _) => match key.kind.read(&node.value, &parse) {
                Ok(value) => return Some(value),
                Err(message) => self.wrong(name, message),
            },
            (None, Fallback::Required) => {
                self.missing(name, format!("is required: {}", key.wanted()))
            }
            _ => {}
        }
        // Also in place of a wrong one, so that what depends on it is checked further.
        if let Fallback::Is(text) = key.default {
            parse(text)
        } else {
            None
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name, |text| Some(text.to_owned()))
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        self.get(name, |text| text.parse().ok()).unwrap_or_default()
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        self.get(name, duration::parse).unwrap_or_default()
    }

    pub(super) fn number<T: TryFrom<i128> + Default>(&self, name: &str) -> T {
        let number = self.get(name, |text| text.trim().parse::<i128>().ok());
        number
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or_default()
    }

    pub(super) fn ratio(&self, name: &str) -> f64 {
        let parse = |text: &str| {
            text.trim()
                .parse()
                .ok()
                .filter(|number| (0.0..=1.0).contains(number))
        };
        self.get(name, parse).unwrap_or_default()
    }

    /// Text that is read as something else.
    pub(super) fn parsed<T, E: Into<String>>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = parse(&self.text(name)?);
        parsed.map_err(|message| self.wrong(name, message)).ok()
    }

    /// A list of texts. From the environment and from flags, which know only text, it is separated
    /// by commas.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        match &self.node(name)?.value {
            Value::Scalar(Type::Untyped, text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            Value::Array(items) => Some(
                items
                    .iter()
                    .filter_map(|item| self.item(name, item))
                    .collect(),
            ),
            other => {
                self.wrong(
                    name,
                    format!(
                        "is {} and should be a list of strings: [\"…\", \"…\"]",
                        other.kind()
                    ),
                );
                None
            }
        }
    }

    fn item(&self, name: &str, item: &Node) -> Option<String> {
        if let Value::Scalar(Type::Text | Type::Untyped, text) = &item.value {
            return Some(text.clone());
        }
        let message = format!(
            "holds {} and should be a list of strings",
            item.value.kind()
        );
        self.reading.mistake(&item.origin, self.key(name), message);
        None
    }

    /// The key that says where the secret comes from, if one was set.
    pub(super) fn source(&self, secret: &str) -> Option<String> {
        sources(secret).into_iter().find(|name| self.is_set(name))
    }

    /// The source of a secret. It is read once, to see whether the secret is there, if it is
    /// needed.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        let [file, env] = sources(name);
        let from = |name: &str| {
            let text =
                ValueKind::Secret.read(&self.node(name)?.value, |text| Some(text.to_owned()));
            text.map_err(|message| self.wrong(name, message)).ok()
        };
        let (key, secret) = match (from(&file), from(&env)) {
            (None, None) => return None,
            (Some(path), None) => (&file, Secret::File(path.into())),
            (path, Some(variable)) => {
                if path.is_some() {
                    self.wrong(
                        &env,
                        format!(
                            "`{file}` was set too, at {}: keep one of the two",
                            self.origin_of(&file)
                        ),
                    );
                }
                (&env, Secret::Env(variable))
            }
        };
        if self.reading.needed == Needed::All
            && let Err(message) = secret::read(&secret, self.reading)
        {
            self.wrong(key, message);
        }
        Some(secret)
    }
}

/// Reads a section in which nothing is set.
pub(super) fn default_of<T>(table: &str, read: impl Fn(&Section<'_>) -> T) -> T {
    let origin = Origin::Flag(String::new());
    read(&Section {
        path: String::new(),
        table: table.to_owned(),
        origin,
        entries: &NOTHING,
        broken: true,
        reading: &ConfigReading::default(),
    })
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
