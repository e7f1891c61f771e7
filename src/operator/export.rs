//! The export: a dead letter as one JSON object, to be mended by hand.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::model::event;
use crate::model::record::Record;
use crate::operator::mask::{MASK, mask};
use crate::operator::{Desk, Letter};

/// The letter in one JSON object. `content` is its whole record; `None` if that is gone. Secret
/// values are masked unless they are to be shown.
pub fn object(desk: &Desk, letter: &Letter, content: Option<&Record>, reveal: bool) -> Value {
    let facts = &letter.facts;
    let mut object = json!({
        "dead_letter": letter.place().to_string(),
        "reason": facts.reason.as_str(),
        "target": facts.target,
        "user": desk.judge.user_value(&facts.target, facts.user.as_ref()),
        "error": facts.message,
    });
    let (name, value) = match content.and_then(event) {
        Some(event) => {
            let mut event = Value::Object(event);
            if !reveal {
                mask(desk.judge.api(&facts.target), &mut event);
            }
            ("event", event)
        }
        // In what cannot be read no secret can be found, so all of it is masked.
        None if !reveal => ("value_base64", MASK.into()),
        None => (
            "value_base64",
            content
                .and_then(|record| record.value.as_ref())
                .map(|value| BASE64_STANDARD.encode(value))
                .into(),
        ),
    };
    object[name] = value;
    object
}

/// The record's event in CloudEvents' JSON form with its data as JSON, whichever mode it is in.
/// `None` if it cannot be decoded.
pub fn event(record: &Record) -> Option<Map<String, Value>> {
    event::decode(record).ok()?;
    let value = record.value.as_deref()?;
    if event::is_structured(record) {
        let mut event: Map<String, Value> = serde_json::from_slice(value).ok()?;
        if let Some(encoded) = event.shift_remove("data_base64") {
            let data = BASE64_STANDARD.decode(encoded.as_str()?).ok()?;
            event.insert("data".to_owned(), serde_json::from_slice(&data).ok()?);
        }
        return Some(event);
    }
    let mut event = Map::new();
    for header in &record.headers {
        if let Some(name) = header.name.strip_prefix("ce_") {
            let value = std::str::from_utf8(header.value.as_deref().unwrap_or_default()).ok()?;
            event.insert(name.to_owned(), value.into());
        }
    }
    event.insert("data".to_owned(), serde_json::from_slice(value).ok()?);
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Header, Place};

    fn record(headers: &[(&str, &str)], value: &str) -> Record {
        Record {
            place: Place {
                topic: "letters".into(),
                partition: 0,
                offset: 7,
            },
            key: None,
            value: Some(value.as_bytes().to_vec()),
            timestamp_ms: None,
            headers: headers
                .iter()
                .map(|(name, value)| Header::text(name.to_string(), *value))
                .collect(),
            verbatim_headers: None,
        }
    }

    #[test]
    fn both_modes_have_one_form() {
        let data = r#"{"target":"valt","user":52,"changes":{"rooms":[1]}}"#;
        let wanted: Value = serde_json::from_str(&format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}"#
        ))
        .unwrap();
        let attributes = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
        let encoded = BASE64_STANDARD.encode(data);
        let structured = [("content-type", "application/cloudevents+json")];
        for record in [
            record(&structured, &format!(r#"{{{attributes},"data":{data}}}"#)),
            record(
                &structured,
                &format!(r#"{{{attributes},"data_base64":"{encoded}"}}"#),
            ),
            record(
                &[
                    ("ce_specversion", "1.0"),
                    ("ce_id", "1"),
                    ("ce_source", "/s"),
                    ("ce_type", "t"),
                ],
                data,
            ),
        ] {
            assert_eq!(Value::Object(event(&record).unwrap()), wanted);
        }
        assert_eq!(event(&record(&structured, "{")), None);
    }
}
