//! Changes: `data.changes`, checked against the names and types that an API takes, as the JSON that
//! is sent.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::event::InvalidChanges;
use crate::model::json::{self, Number};
use crate::model::text;

/// The items of a list, at most. No vendor's list of ids comes near it.
pub(crate) const MAX_ITEMS: usize = 1_000_000;

/// What a field may hold.
pub(super) enum Kind {
    /// A string.
    Text,
    /// An integer of 64 bits.
    Integer,
    /// An array of such integers.
    Integers,
    /// An object with at least one of these fields, and no other.
    Object(&'static [Field]),
}

/// A field's name and what it may hold.
pub(super) type Field = (&'static str, Kind);

/// Changes that an API takes, as JSON: a list of numbers takes a fraction of what it would take
/// once parsed.
#[derive(Clone, Default)]
pub struct Changes {
    /// A JSON object without spaces. Its integers are written as such.
    text: Bytes,
    /// Its members' names, and the places of their values.
    members: Vec<(&'static str, Range<usize>)>,
}

impl Changes {
    /// The JSON object. Cheap: it is shared.
    pub fn body(&self) -> Bytes {
        self.text.clone()
    }

    /// The fields' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.members.iter().map(|(name, _)| *name)
    }

    /// The JSON of a field's value, if the field is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, place) = self.members.iter().find(|(other, _)| *other == name)?;
        std::str::from_utf8(&self.text[place.clone()]).ok()
    }

    /// These changes in one: of a field that several set, the last value.
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Changes>) -> Changes {
        let mut fields: Vec<(&'static str, &str)> = Vec::new();
        for changes in all {
            for name in changes.names() {
                let value = changes.get(name).unwrap_or_default();
                match fields.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, earlier)) => *earlier = value,
                    None => fields.push((name, value)),
                }
            }
        }
        let mut text = String::from("{");
        let mut members = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let start = begin(name, members.is_empty(), &mut text);
            text.push_str(value);
            members.push((name, start..text.len()));
        }
        text.push('}');
        Changes {
            text: text.into(),
            members,
        }
    }

    /// Memory that they take, in bytes.
    pub fn size(&self) -> usize {
        self.text.len() + size_of_val(&*self.members)
    }
}

impl fmt::Debug for Changes {
    /// Leaves out the values, as some of them are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A mistake: where below the object that is checked, and what is wrong there. The path is put
/// together on the way out, so that it costs nothing where there is none.
struct Mistake {
    path: String,
    what: String,
}

impl Mistake {
    fn new(what: impl Into<String>) -> Self {
        Mistake {
            path: String::new(),
            what: what.into(),
        }
    }

    fn below(self, step: &str) -> Self {
        Mistake {
            path: format!("{step}{}", self.path),
            what: self.what,
        }
    }
}

/// Checks all of `changes`, which were read strictly before.
///
/// # Errors
/// The first mistake, with its path in the data; it quotes no value.
pub(super) fn check(
    fields: &'static [Field],
    changes: &RawValue,
) -> Result<Changes, InvalidChanges> {
    let mut text = String::with_capacity(changes.get().len());
    let members = object(fields, changes, &mut text);
    let members = members.map_err(|Mistake { path, what }| InvalidChanges {
        message: format!("data.changes{path}: {what}"),
    })?;
    text.shrink_to_fit();
    Ok(Changes {
        text: text.into(),
        members,
    })
}

/// An empty object is refused: for `changes` it would be a call that changes nothing, for an object
/// inside it nobody knows whether an API takes it as "leave all" or as "clear all".
fn object(
    fields: &'static [Field],
    object: &RawValue,
    text: &mut String,
) -> Result<Vec<(&'static str, Range<usize>)>, Mistake> {
    let members = json::members(object.get());
    if members.is_empty() {
        let names: Vec<_> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(Mistake::new(format!(
            "must hold at least one of {}",
            names.join(", ")
        )));
    }
    text.push('{');
    let mut places = Vec::with_capacity(members.len().min(fields.len()));
    for (name, value) in members {
        let written = match fields.iter().find(|(known, _)| *known == name) {
            Some((known, kind)) => {
                let start = begin(known, places.is_empty(), text);
                self::value(kind, value, text).map(|()| places.push((*known, start..text.len())))
            }
            None => {
                let nearest = text::nearest(&name, fields.iter().map(|(known, _)| *known))
                    .unwrap_or_default();
                Err(Mistake::new(format!(
                    "there is no such field; the nearest is `{nearest}`"
                )))
            }
        };
        written.map_err(|mistake| mistake.below(&format!(".{}", text::name(&name, 64))))?;
    }
    text.push('}');
    Ok(places)
}

/// Writes the name of the next member, and says where its value begins. The names of fields need no
/// escapes.
fn begin(name: &str, first: bool, text: &mut String) -> usize {
    text.extend([if first { "\"" } else { ",\"" }, name, "\":"]);
    text.len()
}

fn value(kind: &Kind, value: &RawValue, text: &mut String) -> Result<(), Mistake> {
    let wanted = match (kind, value.get()) {
        (Kind::Text, string) if string.starts_with('"') => {
            text.push_str(string);
            return Ok(());
        }
        (Kind::Integers, list) if list.starts_with('[') => return integers(list, text),
        (Kind::Object(fields), inner) if inner.starts_with('{') => {
            return object(fields, value, text).map(drop);
        }
        (Kind::Integer, number) => return integer(number, text),
        (Kind::Text, _) => "a string",
        (Kind::Integers, _) => "an array of integers",
        (Kind::Object(_), _) => "an object",
    };
    Err(Mistake::new(format!(
        "must be {wanted}, not {}",
        json::kind(value)
    )))
}

/// Writes a list. Its syntax is known to be right, so a comma ends an item, unless that item is no
/// number: and there it ends.
fn integers(list: &str, text: &mut String) -> Result<(), Mistake> {
    text.push('[');
    let items = list[1..list.len() - 1].trim_ascii();
    for (index, item) in items.split(',').enumerate().filter(|_| !items.is_empty()) {
        if index == MAX_ITEMS {
            return Err(Mistake::new(format!("must have at most {MAX_ITEMS} items")));
        }
        text.push_str(if index == 0 { "" } else { "," });
        integer(item.trim_ascii(), text).map_err(|mistake| mistake.below(&format!("[{index}]")))?;
    }
    text.push(']');
    Ok(())
}

fn integer(number: &str, text: &mut String) -> Result<(), Mistake> {
    let found = match json::number_in(number) {
        Some(Number::Integer(_)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.push_str(number);
            return Ok(());
        }
        Some(Number::Integer(integer)) => {
            text.push_str(&integer.to_string());
            return Ok(());
        }
        Some(Number::Beyond) => "a number beyond that",
        Some(Number::Fraction) => "a number with a fraction",
        None => json::kind_by(number.as_bytes().first()).unwrap_or("an object"),
    };
    Err(Mistake::new(format!(
        "must be an integer of 64 bits, not {found}"
    )))
}
