//! Changes: the check of `data.changes` against the names and types that an API takes.

use serde_json::{Map, Value};

use crate::event::InvalidChanges;

/// What a field may hold.
pub(super) enum Kind {
    /// A string.
    Text,
    /// An integer of 64 bits, written as one.
    Integer,
    /// A list of such integers.
    Integers,
    /// An object with at least one of these fields, and no other.
    Object(&'static [Field]),
}

/// A field's name and what it may hold.
pub(super) type Field = (&'static str, Kind);

/// Checks all of `changes`.
///
/// # Errors
/// The first mistake, with its path in the data; it quotes no value.
pub(super) fn check(fields: &[Field], changes: &Map<String, Value>) -> Result<(), InvalidChanges> {
    check_object("data.changes", fields, changes).map_err(|message| InvalidChanges { message })
}

/// An empty object is refused: for `changes` it would be a call that changes nothing, for an object inside it
/// nobody knows whether an API takes it as "leave all" or as "clear all".
fn check_object(path: &str, fields: &[Field], object: &Map<String, Value>) -> Result<(), String> {
    if object.is_empty() {
        let names: Vec<_> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(format!("{path}: must hold at least one of {}", names.join(", ")));
    }
    for (name, value) in object {
        let path = format!("{path}.{}", printable(name));
        match fields.iter().find(|(known, _)| known == name) {
            Some((_, kind)) => check_value(&path, kind, value)?,
            None => {
                return Err(format!("{path}: there is no such field; the nearest is `{}`", nearest(name, fields)));
            }
        }
    }
    Ok(())
}

fn check_value(path: &str, kind: &Kind, value: &Value) -> Result<(), String> {
    let wrong = |path: &str, wanted: &str, value: &Value| Err(format!("{path}: must be {wanted}, not {}", type_of(value)));
    match (kind, value) {
        (Kind::Text, Value::String(_)) => Ok(()),
        (Kind::Text, _) => wrong(path, "a string", value),
        (Kind::Integer, Value::Number(number)) if number.is_i64() => Ok(()),
        (Kind::Integer, _) => wrong(path, "an integer of 64 bits", value),
        (Kind::Integers, Value::Array(items)) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_value(&format!("{path}[{index}]"), &Kind::Integer, item))
        }
        (Kind::Integers, _) => wrong(path, "a list of integers", value),
        (Kind::Object(fields), Value::Object(object)) => check_object(path, fields, object),
        (Kind::Object(_), _) => wrong(path, "an object", value),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction, an exponent or too many digits",
        Value::Number(number) if number.is_u64() && !number.is_i64() => "a number beyond 2^63-1",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn nearest(name: &str, fields: &[Field]) -> &'static str {
    // A name of a megabyte would cost a long comparison and is near to nothing.
    let name: String = name.chars().take(64).collect();
    let distance = |known: &&Field| strsim::damerau_levenshtein(&name, known.0);
    fields.iter().min_by_key(distance).map_or("", |(known, _)| known)
}

/// A name out of an event, fit for a message: short and on one line.
fn printable(name: &str) -> String {
    let short: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.chars().nth(64).is_some() { format!("{short}…") } else { short }
}
