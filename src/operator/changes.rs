//! Changes in parts: what an update sets, piece by piece, and the same update with some of the
//! pieces left out.
//!
//! A part is a field, or a member of a field that holds an object (`video_access.users`): an API
//! sets the members apart from each other.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use crate::model::event::{self, Event};
use crate::model::json;
use crate::model::record::Record;
use crate::model::text::is_secret;

/// The parts that the changes set, in their order.
pub fn parts(changes: &RawValue) -> Vec<String> {
    let mut parts = Vec::new();
    for (name, value) in json::members(changes.get()) {
        // A secret is no object, and what stands in its place may be one: names in it are no names.
        let inner = if is_secret(&name) {
            Vec::new()
        } else {
            json::members(value.get())
        };
        if inner.is_empty() {
            parts.push(name.into_owned());
        } else {
            parts.extend(inner.iter().map(|(member, _)| format!("{name}.{member}")));
        }
    }
    parts
}

/// Names for some of the parts, as outcomes have them: a field by its name where all its parts are
/// among them. Bounded as [`Event::fields`].
pub fn names(all: &[String], some: &[String]) -> Vec<String> {
    let field = |part: &str| {
        part.split_once('.')
            .map_or(part, |(field, _)| field)
            .to_owned()
    };
    let mut names: Vec<String> = Vec::new();
    for part in some {
        let whole = all
            .iter()
            .filter(|other| field(other) == field(part))
            .all(|other| some.contains(other));
        let name = if whole { field(part) } else { part.clone() };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.truncate(Event::MAX_FIELDS);
    names
        .into_iter()
        .map(|name| name.chars().take(Event::MAX_FIELD_CHARS).collect())
        .collect()
}

/// The record's value with these parts left out of `data.changes`, and every other byte as it was.
/// `None` where it cannot be read.
pub fn without(record: &Record, left_out: &[String]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(record.value.as_deref()?).ok()?;
    let edited = if event::is_structured(record) {
        match (member_of(text, "data"), member_of(text, "data_base64")) {
            (Some(data), _) => splice(text, data, &without_in_data(data.get(), left_out)?),
            (None, Some(encoded)) => {
                let data = BASE64_STANDARD
                    .decode(serde_json::from_str::<String>(encoded.get()).ok()?)
                    .ok()?;
                let data = without_in_data(std::str::from_utf8(&data).ok()?, left_out)?;
                splice(
                    text,
                    encoded,
                    &format!("\"{}\"", BASE64_STANDARD.encode(data)),
                )
            }
            (None, None) => return None,
        }
    } else {
        without_in_data(text, left_out)?
    };
    Some(edited.into_bytes())
}

fn without_in_data(data: &str, left_out: &[String]) -> Option<String> {
    let changes = member_of(data, "changes")?;
    Some(splice(
        data,
        changes,
        &without_in_changes(changes.get(), left_out)?,
    ))
}

fn without_in_changes(changes: &str, left_out: &[String]) -> Option<String> {
    let is_left_out = |part: &str| left_out.iter().any(|left_out| left_out == part);
    let mut kept = Vec::new();
    for (name, value) in json::members(changes) {
        if is_left_out(&name) {
            continue;
        }
        let members = json::members(value.get());
        let stay: Vec<_> = members
            .iter()
            .filter(|(member, _)| !is_left_out(&format!("{name}.{member}")))
            .collect();
        if stay.len() == members.len() {
            kept.push(member(&name, value.get())?);
        } else if !stay.is_empty() {
            let stay: Option<Vec<_>> = stay
                .into_iter()
                .map(|(name, value)| member(name, value.get()))
                .collect();
            kept.push(member(&name, &object(&stay?))?);
        }
    }
    Some(object(&kept))
}

fn member_of<'a>(object: &'a str, name: &str) -> Option<&'a RawValue> {
    json::members(object)
        .into_iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value)
}

fn member(name: &str, value: &str) -> Option<String> {
    Some(format!("{}:{value}", serde_json::to_string(name).ok()?))
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

/// The text with a part of it, which was read from it, replaced.
fn splice(text: &str, part: &RawValue, new: &str) -> String {
    let from = part.get().as_ptr() as usize - text.as_ptr() as usize;
    format!("{}{new}{}", &text[..from], &text[from + part.get().len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Header, Place};

    fn record(content_type: &str, value: &str) -> Record {
        Record {
            place: Place {
                topic: "t".into(),
                partition: 0,
                offset: 0,
            },
            key: None,
            value: Some(value.as_bytes().to_vec()),
            timestamp_ms: None,
            headers: vec![Header::text("content-type", content_type)],
            verbatim_headers: None,
        }
    }

    fn left(record: &Record, left_out: &[&str]) -> String {
        let left_out: Vec<_> = left_out.iter().map(|part| (*part).to_owned()).collect();
        String::from_utf8(without(record, &left_out).unwrap()).unwrap()
    }

    #[test]
    fn nothing_inside_a_secret_is_named() {
        let changes: &RawValue = serde_json::from_str(
            r#"{"card_number":{"a-Canary-card":1},"video_access":{"users":[1],"user_groups":[]}}"#,
        )
        .unwrap();
        assert_eq!(
            parts(changes),
            [
                "card_number",
                "video_access.users",
                "video_access.user_groups"
            ]
        );
    }

    #[test]
    fn only_the_changes_are_written_anew() {
        let binary = record(
            "application/json",
            r#"{ "z": 1.0e0,  "changes" : {"a" : "ä\u00e4", "b":[1, 2], "c":null } , "user":5}"#,
        );
        assert_eq!(
            left(&binary, &["b"]),
            r#"{ "z": 1.0e0,  "changes" : {"a":"ä\u00e4","c":null} , "user":5}"#
        );
        let structured = record(
            "application/cloudevents+json; charset=utf-8",
            r#"{"changes":{"b":1}, "data" : {"changes":{"b":1, "v":{"x":[ 1 ],"y":2}},"user":5 }}"#,
        );
        assert_eq!(
            left(&structured, &["b", "v.y"]),
            r#"{"changes":{"b":1}, "data" : {"changes":{"v":{"x":[ 1 ]}},"user":5 }}"#
        );
        assert_eq!(
            left(&structured, &["v.x", "v.y"]),
            r#"{"changes":{"b":1}, "data" : {"changes":{"b":1},"user":5 }}"#
        );
    }

    #[test]
    fn data_in_base64_is_opened_for_it() {
        let data = BASE64_STANDARD.encode(r#"{"user":5,"changes":{"a":1,"b":2}}"#);
        let wanted = BASE64_STANDARD.encode(r#"{"user":5,"changes":{"b":2}}"#);
        let structured = record(
            "application/cloudevents+json",
            &format!(r#"{{"data_base64": "{data}" }}"#),
        );
        assert_eq!(
            left(&structured, &["a"]),
            format!(r#"{{"data_base64": "{wanted}" }}"#)
        );
    }

    #[test]
    fn a_field_is_named_as_a_whole_where_all_of_it_is_meant() {
        let all = parts(serde_json::from_str(r#"{"a":1,"v":{"x":1,"y":{}},"e":{}}"#).unwrap());
        assert_eq!(all, ["a", "v.x", "v.y", "e"]);
        assert_eq!(names(&all, &all), ["a", "v", "e"]);
        assert_eq!(names(&all, &all[..2]), ["a", "v.x"]);
    }
}
