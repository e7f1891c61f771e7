//! `[kafka.properties]` and its kin: what is handed to librdkafka as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::librdkafka;
use super::mistake::{Origin, Reading};
use super::secret;
use super::section::Section;
use super::tree::{Node, Type, Value};
use crate::secret::{Secret, SecretError};

/// What takes the checking of certificates away.
const UNCHECKED: [(&str, &str); 2] = [("enable.ssl.certificate.verification", "false"), ("ssl.endpoint.identification.algorithm", "none")];

/// Makes librdkafka look for the authorities in the usual places, in place of a file's name.
const PROBE: &str = "probe";

/// librdkafka properties by name. `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, PropertyValue>);

/// The value of a property, or where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum PropertyValue {
    /// As written. May be a secret all the same.
    Plain(String),
    /// From the key with `_file` or `_env` at its end.
    Secret(Secret),
}

impl Properties {
    /// Names and values as they are now, secrets included: for a client's settings, not for anybody's eyes.
    ///
    /// # Errors
    /// [`SecretError`], where a value's file or variable is gone by now.
    pub fn resolve(&self) -> Result<Vec<(String, String)>, SecretError> {
        self.resolve_in(Secret::read)
    }

    /// The same, with the secrets as this reads them.
    pub(super) fn resolve_in<E>(&self, read: impl Fn(&Secret) -> Result<SecretString, E>) -> Result<Vec<(String, String)>, E> {
        let resolve = |(name, value): (&String, &PropertyValue)| match value {
            PropertyValue::Plain(text) => Ok((name.clone(), text.clone())),
            PropertyValue::Secret(secret) => Ok((name.clone(), read(secret)?.expose_secret().to_owned())),
        };
        self.0.iter().map(resolve).collect()
    }

    /// The files that a client with these properties reads when it is made: of secrets, and of certificates and keys.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|(name, value)| match value {
            PropertyValue::Secret(Secret::File(path)) => Some(path.as_path()),
            PropertyValue::Plain(path) if librdkafka::FILES.contains(&name.as_str()) && path != PROBE => Some(Path::new(path)),
            PropertyValue::Secret(Secret::Env(_)) | PropertyValue::Plain(_) => None,
        })
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Properties that still know where they were set.
#[derive(Clone, Default)]
pub(super) struct Settings(BTreeMap<String, Setting>);

/// One property, where it was set, and the key that it was set by.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) key: String,
    pub(super) value: PropertyValue,
}

impl Settings {
    /// Reads one table of properties.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let mut settings = Settings::default();
        for (name, node) in section.entries {
            let key = format!("{}.{name}", section.path);
            let mistake = |message| section.reading.mistake(&node.origin, &key, message);
            match read_one(name, node, &key, section.reading) {
                Ok((name, value)) => {
                    let setting = Setting { origin: node.origin.clone(), key: key.clone(), value };
                    if let Some(first) = settings.0.insert(name.to_owned(), setting) {
                        mistake(format!("{} was set too, at {}: keep one of the two", first.key, first.origin));
                    }
                }
                Err(message) => mistake(message),
            }
        }
        settings
    }

    /// These, and over them the others.
    pub(super) fn with(mut self, others: Settings) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The property of that name, if it was set.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    pub(super) fn into_properties(self) -> Properties {
        Properties(self.0.into_iter().map(|(name, setting)| (name, setting.value)).collect())
    }
}

/// The property's name, and what the key has at its end to say where the value comes from.
fn split(key: &str) -> (&str, &'static str) {
    // A name that librdkafka knows as it is, is meant as it is.
    let found = ["_file", "_env"].into_iter().find_map(|end| Some((key.strip_suffix(end)?, end)));
    found.filter(|_| !librdkafka::is_known(key)).unwrap_or((key, ""))
}

/// Reads one property: its name without `_file` or `_env`, and its value.
fn read_one<'a>(written: &'a str, node: &Node, key: &str, reading: &Reading) -> Result<(&'a str, PropertyValue), String> {
    let text = match &node.value {
        // librdkafka would cut a longer number off at 32 bits.
        Value::Scalar(Type::Integer, number) if number.parse::<i32>().is_err() => {
            return Err("is too large a number for librdkafka".to_owned());
        }
        Value::Scalar(kind, text) if *kind != Type::Datetime => text,
        other => return Err(format!("is {} and should be a string, a number or a boolean", other.kind())),
    };
    let (name, end) = split(written);
    if let Some(why) = librdkafka::refused(name) {
        return Err(format!("is decided by the service: {why}; remove it"));
    }
    if !librdkafka::is_known(name) {
        let nearest = librdkafka::nearest(name).unwrap_or_default();
        return Err(format!("unknown librdkafka property; the nearest known one is `{nearest}`"));
    }
    let secret = match end {
        "_file" => Secret::File(text.into()),
        "_env" => Secret::Env(text.clone()),
        _ => {
            check_plain(name, text, &node.origin, key, reading)?;
            return Ok((name, PropertyValue::Plain(text.clone())));
        }
    };
    let value = secret::read(&secret, reading)?;
    if librdkafka::check(name, value.expose_secret()).is_err() {
        return Err("librdkafka does not take what was read from there".to_owned());
    }
    Ok((name, PropertyValue::Secret(secret)))
}

fn check_plain(name: &str, text: &str, origin: &Origin, key: &str, reading: &Reading) -> Result<(), String> {
    let is_secret = librdkafka::is_secret(name);
    librdkafka::check(name, text).map_err(|description| match is_secret {
        true => "librdkafka does not take this value".to_owned(),
        false => format!("librdkafka does not take this value: {description}"),
    })?;
    if is_secret && !matches!(origin, Origin::Environment(_)) {
        reading.warn(origin, key, &format!("is a secret written in plain sight: use `{name}_file` or `{name}_env`"));
    }
    if UNCHECKED.contains(&(name, text.trim())) {
        let message = "leaves the brokers' certificates unchecked, so that anybody in between can read all passwords: remove it";
        reading.warn(origin, key, message);
    }
    if librdkafka::FILES.contains(&name) && text != PROBE {
        std::fs::metadata(text).map_err(|error| super::tls::file_error(Path::new(text), &error))?;
    }
    Ok(())
}
