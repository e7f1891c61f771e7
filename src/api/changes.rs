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

/// A mistake: where below the object that is checked, and what is wrong there. The path is put together on the way out, so that it costs nothing
/// where there is none.
struct Mistake {
    path: String,
    what: String,
}

impl Mistake {
    fn new(what: impl Into<String>) -> Self {
        Mistake { path: String::new(), what: what.into() }
    }

    fn below(self, step: &str) -> Self {
        Mistake { path: format!("{step}{}", self.path), what: self.what }
    }
}

/// Checks all of `changes`.
///
/// # Errors
/// The first mistake, with its path in the data; it quotes no value.
pub(super) fn check(fields: &[Field], changes: &Map<String, Value>) -> Result<(), InvalidChanges> {
    check_object(fields, changes).map_err(|Mistake { path, what }| InvalidChanges { message: format!("data.changes{path}: {what}") })
}

/// An empty object is refused: for `changes` it would be a call that changes nothing, for an object inside it
/// nobody knows whether an API takes it as "leave all" or as "clear all".
fn check_object(fields: &[Field], object: &Map<String, Value>) -> Result<(), Mistake> {
    if object.is_empty() {
        let names: Vec<_> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(Mistake::new(format!("must hold at least one of {}", names.join(", "))));
    }
    for (name, value) in object {
        let checked = match fields.iter().find(|(known, _)| known == name) {
            Some((_, kind)) => check_value(kind, value),
            None => {
                let nearest = text::nearest(name, fields.iter().map(|(known, _)| *known)).unwrap_or_default();
                Err(Mistake::new(format!("there is no such field; the nearest is `{nearest}`")))
            }
        };
        checked.map_err(|mistake| mistake.below(&format!(".{}", text::name(name, 64))))?;
    }
    Ok(())
}

fn check_value(kind: &Kind, value: &Value) -> Result<(), Mistake> {
    let wanted = match (kind, value) {
        (Kind::Text, Value::String(_)) => return Ok(()),
        (Kind::Integer, Value::Number(number)) if number.is_i64() => return Ok(()),
        (Kind::Integers, Value::Array(items)) => {
            let check = |(index, item)| check_value(&Kind::Integer, item).map_err(|mistake| mistake.below(&format!("[{index}]")));
            return items.iter().enumerate().try_for_each(check);
        }
        (Kind::Object(fields), Value::Object(object)) => return check_object(fields, object),
        (Kind::Text, _) => "a string",
        (Kind::Integer, _) => "an integer of 64 bits",
        (Kind::Integers, _) => "an array of integers",
        (Kind::Object(_), _) => "an object",
    };
    Err(Mistake::new(format!("must be {wanted}, not {}", kind_of(value))))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => "a number beyond 2^63-1",
        other => json::kind(other),
    }
}
