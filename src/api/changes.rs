//! Changes: `data.changes`, checked against the names and types that an API takes, as the JSON that
//! is sent.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::api::table::{Field, Kind, Replaced};
use crate::model::event::InvalidChanges;
use crate::model::json::{self, Number};
use crate::model::text;

/// Changes that an API takes, as JSON: a list of numbers takes a fraction of what it would take
/// once parsed.
#[derive(Clone, Default)]
pub struct Changes {
    /// A JSON object without spaces. Its integers are written as such.
    text: Bytes,
    /// Its members, and the places of their values.
    members: Vec<(&'static Field, Range<usize>)>,
}

impl Changes {
    /// The JSON object. Cheap: it is shared.
    pub fn body(&self) -> Bytes {
        self.text.clone()
    }

    /// The fields' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.members.iter().map(|(field, _)| field.name)
    }

    /// The fields, each with the JSON of its value.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, &str)> {
        self.members.iter().map(|(field, place)| {
            let value = std::str::from_utf8(&self.text[place.clone()]);
            (*field, value.unwrap_or_default())
        })
    }

    /// The JSON of a field's value, if the field is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields();
        fields.find_map(|(field, value)| (field.name == name).then_some(value))
    }

    /// Whether these and later ones, in one call, come to the same as one after the other.
    pub(super) fn may_be_merged_into(&self, later: &Changes) -> bool {
        let names = |object| json::members(object).into_iter().map(|(name, _)| name);
        self.fields().all(|(field, before)| {
            let Some(after) = later.get(field.name) else {
                return true;
            };
            match field.replaced {
                Replaced::Whole => true,
                Replaced::Remembered => false,
                // Removing it and then setting a part has no equivalent in a single value.
                Replaced::Members => before.starts_with('{') || !after.starts_with('{'),
                Replaced::Unknown => {
                    names(before).all(|name| names(after).any(|other| other == name))
                }
            }
        })
    }

    /// These changes in one: of a field that several set, the last value, or the last of each
    /// member if they are replaced one by one.
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Changes>) -> Changes {
        let mut fields: Vec<(&'static Field, Cow<'a, str>)> = Vec::new();
        for (field, value) in all.into_iter().flat_map(Changes::fields) {
            match fields
                .iter_mut()
                .find(|(other, _)| other.name == field.name)
            {
                Some((_, earlier)) => *earlier = replaced(field, earlier, value),
                None => fields.push((field, Cow::Borrowed(value))),
            }
        }
        Changes::of(fields)
    }

    /// Changes of these fields, each with the JSON of its value.
    pub(super) fn of<'a>(
        fields: impl IntoIterator<Item = (&'static Field, Cow<'a, str>)>,
    ) -> Changes {
        let mut text = String::from("{");
        let mut members = Vec::new();
        for (field, value) in fields {
            let start = begin(field.name, members.is_empty(), &mut text);
            text.push_str(&value);
            members.push((field, start..text.len()));
        }
        text.push('}');
        members.shrink_to_fit();
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

/// A mistake: its path below the object that is checked, and the fault there. The path is put
/// together on the way out, so that it costs nothing if there is no mistake.
struct ChangeMistake {
    path: String,
    what: String,
}

impl ChangeMistake {
    fn new(what: impl Into<String>) -> Self {
        ChangeMistake {
            path: String::new(),
            what: what.into(),
        }
    }

    fn below(self, step: &str) -> Self {
        ChangeMistake {
            path: format!("{step}{}", self.path),
            what: self.what,
        }
    }
}

/// The value of a field after both were set.
fn replaced<'a>(field: &Field, earlier: &str, later: &'a str) -> Cow<'a, str> {
    let objects = earlier.starts_with('{') && later.starts_with('{');
    if field.replaced != Replaced::Members || !objects {
        return Cow::Borrowed(later);
    }
    let mut members = json::members(earlier);
    for (name, value) in json::members(later) {
        match members.iter_mut().find(|(other, _)| *other == name) {
            Some((_, earlier)) => *earlier = value,
            None => members.push((name, value)),
        }
    }
    let mut text = String::from("{");
    for (index, (name, value)) in members.iter().enumerate() {
        begin(name, index == 0, &mut text);
        text.push_str(value.get());
    }
    text.push('}');
    Cow::Owned(text)
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
    let members = members.map_err(|ChangeMistake { path, what }| InvalidChanges {
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
) -> Result<Vec<(&'static Field, Range<usize>)>, ChangeMistake> {
    let members = json::members(object.get());
    if members.is_empty() {
        let names = fields.iter().map(|field| format!("`{}`", field.name));
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(ChangeMistake::new(format!(
            "must hold at least one of {names}"
        )));
    }
    text.push('{');
    let mut places = Vec::with_capacity(members.len().min(fields.len()));
    for (name, value) in members {
        let written = match Field::find(fields, &name) {
            Some(known) => {
                let start = begin(known.name, places.is_empty(), text);
                member(known, value, text).map(|()| places.push((known, start..text.len())))
            }
            None => {
                let nearest = text::nearest(&name, fields.iter().map(|known| known.name));
                Err(ChangeMistake::new(format!(
                    "there is no such field; the nearest is `{}`",
                    nearest.unwrap_or_default()
                )))
            }
        };
        written.map_err(|mistake| mistake.below(&format!(".{}", text::name(&name, 64))))?;
    }
    text.push('}');
    Ok(places)
}

/// Writes the name of the next member, and returns the start of its value. The names of fields need
/// no escapes.
pub(super) fn begin(name: &str, first: bool, text: &mut String) -> usize {
    text.extend([if first { "\"" } else { ",\"" }, name, "\":"]);
    text.len()
}

fn member(field: &'static Field, value: &RawValue, text: &mut String) -> Result<(), ChangeMistake> {
    if field.removable && value.get() == "null" {
        text.push_str("null");
        return Ok(());
    }
    self::value(&field.kind, value, text)
}

fn value(kind: &'static Kind, value: &RawValue, text: &mut String) -> Result<(), ChangeMistake> {
    match (kind, value.get()) {
        (Kind::Text, string) if string.starts_with('"') => text.push_str(string),
        (Kind::Boolean, word @ ("true" | "false")) => text.push_str(word),
        (Kind::Integer, number) => return integer(number, text),
        (Kind::List { of, max }, list) if list.starts_with('[') => {
            return match of {
                Kind::Integer => integers(list, *max, text),
                _ => items(of, *max, value, text),
            };
        }
        (Kind::Object(fields), inner) if inner.starts_with('{') => {
            return object(fields, value, text).map(drop);
        }
        _ => {
            let (wanted, found) = (kind.words(), json::kind(value));
            return Err(ChangeMistake::new(format!("must be {wanted}, not {found}")));
        }
    }
    Ok(())
}

fn too_many(max: usize) -> ChangeMistake {
    ChangeMistake::new(format!("must have at most {max} items"))
}

/// Writes a list of anything.
fn items(
    of: &'static Kind,
    max: usize,
    list: &RawValue,
    text: &mut String,
) -> Result<(), ChangeMistake> {
    let items = json::items(list.get());
    if items.len() > max {
        return Err(too_many(max));
    }
    text.push('[');
    for (index, item) in items.into_iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        value(of, item, text).map_err(|mistake| mistake.below(&format!("[{index}]")))?;
    }
    text.push(']');
    Ok(())
}

/// Writes a list of integers. Its syntax is known to be right, so a comma ends an item, unless that
/// item is no number: there the mistake is reported.
fn integers(list: &str, max: usize, text: &mut String) -> Result<(), ChangeMistake> {
    text.push('[');
    let items = list[1..list.len() - 1].trim_ascii();
    for (index, item) in items.split(',').enumerate().filter(|_| !items.is_empty()) {
        if index == max {
            return Err(too_many(max));
        }
        text.push_str(if index == 0 { "" } else { "," });
        integer(item.trim_ascii(), text).map_err(|mistake| mistake.below(&format!("[{index}]")))?;
    }
    text.push(']');
    Ok(())
}

fn integer(number: &str, text: &mut String) -> Result<(), ChangeMistake> {
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
    Err(ChangeMistake::new(format!(
        "must be an integer of 64 bits, not {found}"
    )))
}
