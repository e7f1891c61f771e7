//! `[kafka.properties]` and its kin: what is handed to librdkafka as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::config::librdkafka;
use crate::config::mistake::{ConfigReading, Needed, Origin};
use crate::config::secret;
use crate::config::secret_file::{Secret, SecretError};
use crate::config::section::Section;
use crate::config::tls::file_error;
use crate::config::tree::{Node, Type, Value};

/// Values that switch the checking of certificates off.
const UNCHECKED: [(&str, &str); 2] = [
    ("enable.ssl.certificate.verification", "false"),
    ("ssl.endpoint.identification.algorithm", "none"),
];

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
    /// Names and values as they are now, secrets included: for a client's settings, not for
    /// anybody's eyes.
    ///
    /// # Errors
    /// [`SecretError`], if a value's file or variable is gone by now.
    pub fn resolve(&self) -> Result<Vec<(String, String)>, SecretError> {
        self.resolve_in(Secret::read)
    }

    /// The same, with the secrets as this reads them.
    pub(super) fn resolve_in<E>(
        &self,
        read: impl Fn(&Secret) -> Result<SecretString, E>,
    ) -> Result<Vec<(String, String)>, E> {
        let resolve = |(name, value): (&String, &PropertyValue)| match value {
            PropertyValue::Plain(text) => Ok((name.clone(), text.clone())),
            PropertyValue::Secret(secret) => {
                Ok((name.clone(), read(secret)?.expose_secret().to_owned()))
            }
        };
        self.0.iter().map(resolve).collect()
    }

    /// The files that a client with these properties reads when it is made: of secrets, and of
    /// certificates and keys.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|(name, value)| match value {
            PropertyValue::Secret(Secret::File(path)) => Some(path.as_path()),
            PropertyValue::Plain(path)
                if librdkafka::FILES.contains(&name.as_str()) && path != PROBE =>
            {
                Some(Path::new(path))
            }
            PropertyValue::Secret(Secret::Env(_)) | PropertyValue::Plain(_) => None,
        })
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Properties {
    /// Reads one table of properties.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let mut properties = Properties::default();
        for (written, Node { origin, value }) in section.entries {
            let ((name, end), key) = (split(written), format!("{}.{written}", section.path));
            let mistake = |message| section.reading.mistake(origin, &key, message);
            match read_one(name, end, value, section.reading) {
                Err(message) => mistake(message),
                Ok(value) => {
                    warnings(name, &value, origin)
                        .for_each(|message| section.reading.warn(origin, &key, &message));
                    if let (Some(_), Some((at, first))) = (
                        properties.0.insert(name.to_owned(), value),
                        place_of(name, section),
                    ) {
                        mistake(format!("{first} was set too, at {at}: keep one of the two"));
                    }
                }
            }
        }
        properties
    }

    /// These, and over them the others.
    pub(super) fn with(&self, others: Properties) -> Self {
        Properties(self.0.clone().into_iter().chain(others.0).collect())
    }
}

/// The place at which a property was set in a table, and its key.
pub(super) fn place_of<'a>(name: &str, section: &Section<'a>) -> Option<(&'a Origin, String)> {
    let (written, node) = section
        .entries
        .iter()
        .find(|(written, _)| split(written).0 == name)?;
    Some((&node.origin, format!("{}.{written}", section.path)))
}

/// The property's name, and what the key has at its end to say where the value comes from.
fn split(key: &str) -> (&str, &'static str) {
    // A name that librdkafka knows as it is, is meant as it is.
    let found = ["_file", "_env"]
        .into_iter()
        .find_map(|end| Some((key.strip_suffix(end)?, end)));
    found
        .filter(|_| !librdkafka::is_known(key))
        .unwrap_or((key, ""))
}

fn read_one(
    name: &str,
    end: &str,
    value: &Value,
    reading: &ConfigReading,
) -> Result<PropertyValue, String> {
    let text = match value {
        // librdkafka would cut a longer number off at 32 bits.
        Value::Scalar(Type::Integer, number) if number.parse::<i32>().is_err() => {
            return Err("is too large a number for librdkafka".to_owned());
        }
        Value::Scalar(kind, text) if *kind != Type::Datetime => text,
        other => {
            return Err(format!(
                "is {} and should be a string, a number or a boolean",
                other.kind()
            ));
        }
    };
    if let Some(why) = librdkafka::refused(name) {
        return Err(format!("is decided by the service: {why}; remove it"));
    }
    if !librdkafka::is_known(name) {
        let nearest = librdkafka::nearest(name).unwrap_or_default();
        return Err(format!(
            "unknown librdkafka property; the nearest known one is `{nearest}`"
        ));
    }
    let is_needed = reading.needed != Needed::Nothing;
    let secret = match end {
        "_file" => Secret::File(text.into()),
        "_env" => Secret::Env(text.clone()),
        _ => {
            librdkafka::check(name, text).map_err(|description| {
                match librdkafka::is_secret(name) {
                    true => "librdkafka does not take this value".to_owned(),
                    false => format!("librdkafka does not take this value: {description}"),
                }
            })?;
            if is_needed && librdkafka::FILES.contains(&name) && text != PROBE {
                fs::metadata(text).map_err(|error| file_error(Path::new(text), &error))?;
            }
            return Ok(PropertyValue::Plain(text.clone()));
        }
    };
    if !is_needed {
        return Ok(PropertyValue::Secret(secret));
    }
    let value = secret::read(&secret, reading)?;
    librdkafka::check(name, value.expose_secret())
        .map_err(|_| "librdkafka does not take what was read from there")?;
    Ok(PropertyValue::Secret(secret))
}

/// Warnings about a value that was written as it is.
fn warnings(name: &str, value: &PropertyValue, origin: &Origin) -> impl Iterator<Item = String> {
    let text = if let PropertyValue::Plain(text) = value {
        Some(text.trim())
    } else {
        None
    };
    let is_in_sight =
        text.is_some() && librdkafka::is_secret(name) && !matches!(origin, Origin::Environment(_));
    let is_unchecked = text.is_some_and(|text| UNCHECKED.contains(&(name, text)));
    let in_sight = is_in_sight
        .then(|| format!("is a secret written in plain sight: use `{name}_file` or `{name}_env`"));
    let advice = "leaves the brokers' certificates unchecked, so that anybody in between can read all passwords: remove it";
    in_sight
        .into_iter()
        .chain(is_unchecked.then(|| advice.to_owned()))
}
