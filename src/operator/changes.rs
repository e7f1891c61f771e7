//! Changes in parts: an update with some of what it sets left out, and names for what is left.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use crate::api::{Api, field_of};
use crate::model::event::{self, Event};
use crate::model::json;
use crate::model::record::Record;

/// Names for some of the parts, as outcomes have them: a field by its name if all its parts are
/// among them. Bounded as [`Event::fields`].
pub fn names(all: &[String], some: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in some {
        let whole = all
            .iter()
            .filter(|other| field_of(other) == field_of(part))
            .all(|other| some.contains(other));
        let name = if whole { field_of(part) } else { part };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names.truncate(Event::MAX_FIELDS);
    names
        .into_iter()
        .map(|name| name.chars().take(Event::MAX_FIELD_CHARS).collect())
        .collect()
}

/// The record's value without these parts of `data.changes`, and every other byte as it was. `None`
/// if it cannot be read.
pub fn without(api: &Api, record: &Record, left_out: &[String]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(record.value.as_deref()?).ok()?;
    let edited = if event::is_structured(record) {
        match (member_of(text, "data"), member_of(text, "data_base64")) {
            (Some(data), _) => splice(text, data, &without_in_data(api, data.get(), left_out)?),
            (None, Some(encoded)) => {
                let data = BASE64_STANDARD
                    .decode(serde_json::from_str::<String>(encoded.get()).ok()?)
                    .ok()?;
                let data = without_in_data(api, std::str::from_utf8(&data).ok()?, left_out)?;
                splice(
                    text,
                    encoded,
                    &format!("\"{}\"", BASE64_STANDARD.encode(data)),
                )
            }
            (None, None) => return None,
        }
    } else {
        without_in_data(api, text, left_out)?
    };
    Some(edited.into_bytes())
}

fn without_in_data(api: &Api, data: &str, left_out: &[String]) -> Option<String> {
    let changes = member_of(data, "changes")?;
    Some(splice(data, changes, &api.without(changes.get(), left_out)))
}

fn member_of<'a>(object: &'a str, name: &str) -> Option<&'a RawValue> {
    json::members(object)
        .into_iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value)
}

/// The text with a part of it, which was read from it, replaced.
fn splice(text: &str, part: &RawValue, new: &str) -> String {
    let from = part.get().as_ptr() as usize - text.as_ptr() as usize;
    format!("{}{new}{}", &text[..from], &text[from + part.get().len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::by_name;
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
        let valt = by_name("valt").unwrap();
        String::from_utf8(without(valt, record, &left_out).unwrap()).unwrap()
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
            left(&structured, &["b"]),
            r#"{"changes":{"b":1}, "data" : {"changes":{"v":{"x":[ 1 ],"y":2}},"user":5 }}"#
        );
        assert_eq!(
            left(&structured, &["v"]),
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
        let all = ["a", "v.x", "v.y", "urn:x:2.0:User.y", "urn:x:2.0:User.z"].map(str::to_owned);
        assert_eq!(names(&all, &all), ["a", "v", "urn:x:2.0:User"]);
        assert_eq!(names(&all, &all[..2]), ["a", "v.x"]);
        assert_eq!(names(&all, &all[3..4]), ["urn:x:2.0:User.y"]);
        let whole = ["urn:x:2.0:User".to_owned()];
        assert_eq!(names(&whole, &whole), whole);
    }
}
