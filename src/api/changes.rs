//! Changes: the check of `data.changes` against the names and types that an API takes.

use serde_json::{Map, Value};

use crate::event::InvalidChanges;
use crate::{json, text};

/// What a field may hold.
pub(super) enum Kind {
    /// A string.
    Text,
    /// An integer of 64 bits, written as one.
    Integer,
    /// An array of such integers.
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
        let path = format!("{path}.{}", text::name(name, 64));
        match fields.iter().find(|(known, _)| known == name) {
            Some((_, kind)) => check_value(&path, kind, value)?,
            None => {
                let nearest = text::nearest(name, fields.iter().map(|(known, _)| *known)).unwrap_or_default();
                return Err(format!("{path}: there is no such field; the nearest is `{nearest}`"));
            }
        }
    }
    Ok(())
}

fn check_value(path: &str, kind: &Kind, value: &Value) -> Result<(), String> {
    let wrong = |path: &str, wanted: &str, value: &Value| Err(format!("{path}: must be {wanted}, not {}", kind_of(value)));
    match (kind, value) {
        (Kind::Text, Value::String(_)) => Ok(()),
        (Kind::Text, _) => wrong(path, "a string", value),
        (Kind::Integer, Value::Number(number)) if number.is_i64() => Ok(()),
        (Kind::Integer, _) => wrong(path, "an integer of 64 bits", value),
        (Kind::Integers, Value::Array(items)) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_value(&format!("{path}[{index}]"), &Kind::Integer, item))
        }
        (Kind::Integers, _) => wrong(path, "an array of integers", value),
        (Kind::Object(fields), Value::Object(object)) => check_object(path, fields, object),
        (Kind::Object(_), _) => wrong(path, "an object", value),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => "a number beyond 2^63-1",
        other => json::kind(other),
    }
}
