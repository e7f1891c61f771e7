use std::path::Path;

use serde_json::json;

use super::*;
use crate::api::ALL;
use crate::model::event::decode;
use crate::model::record::{Header, Place, Record};

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap()
}

fn schema(name: &str) -> jsonschema::Validator {
    validator(&documents()[name])
}

#[test]
fn the_documents_in_docs_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (path, document) in documents() {
        let path = docs.join(path);
        let wanted = format!("{document:#}\n");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let advice = "is out of date: run `UPDATE_DOCS=1 cargo test --lib schema`";
        assert!(found == wanted, "{} {advice}", path.display());
    }
}

#[test]
fn every_schema_is_of_draft_2020_12() {
    for (path, document) in documents() {
        if path.starts_with("schemas/") {
            jsonschema::draft202012::meta::validate(&document).unwrap();
            assert_eq!(
                document["$schema"],
                "https://json-schema.org/draft/2020-12/schema"
            );
        }
    }
}

/// Whether the service would call an API for this event.
fn is_taken(event: &Value) -> bool {
    is_taken_as_written(&event.to_string())
}

fn is_taken_as_written(event: &str) -> bool {
    let record = Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 0,
            offset: 0,
        },
        key: None,
        value: Some(event.as_bytes().to_vec()),
        timestamp_ms: None,
        headers: vec![Header::text("content-type", "application/cloudevents+json")],
        verbatim_headers: None,
    };
    let Ok(event) = decode(&record) else {
        return false;
    };
    let Ok(changes) = event.changes() else {
        return false;
    };
    ALL.iter()
        .copied()
        .any(|api| event.user_id(api.id_form).is_ok() && api.validate(changes).is_ok())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: a line for each case")]
fn schema_and_decoder_agree() {
    let data = json!({ "target": "valt", "user": 52, "changes": { "rooms": [37, 39] } });
    let event = |path: &str, value: Value| {
        let mut event =
            json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": data });
        let (parent, name) = path.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[name] = value;
        event
    };
    let without = |parent: &str, name: &str| {
        let mut event = event("/id", json!("1"));
        event
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name);
        event
    };
    let good = [
        event("/id", json!("x")),
        event("/extension", json!("x")),
        event("/expirytime", json!("2026-11-22T09:00:00Z")),
        event("/expirytime", json!(null)),
        event("/datacontenttype", json!("application/json; charset=utf-8")),
        event("/datacontenttype", json!("application/vnd.x+json")),
        event("/data/comment", json!("x")),
        event("/data/target", json!(null)),
        without("/data", "target"),
        event("/data/user", json!(i64::MAX)),
        event("/data/user", json!("0052")),
        event("/data/user", json!(i64::MAX.to_string())),
        event("/data/user", json!(52.0)),
        event("/data/user", json!(5.2e1)),
        event("/data/changes", json!({ "permissions": [] })),
        event(
            "/data/changes",
            json!({ "permissions": [37.0, -0.0, 1e3, i64::MIN, i64::MAX] }),
        ),
        event(
            "/data/changes",
            json!({ "user_group": 4.0, "video_access": { "users": [4e0] } }),
        ),
        event(
            "/data/changes",
            json!({ "name": "n", "password": "p", "display_name": "d", "user_group": 1 }),
        ),
        event(
            "/data/changes",
            json!({ "card_number": "007", "video_access": { "users": [1], "user_groups": [] } }),
        ),
    ];
    let bad = [
        without("", "specversion"),
        without("", "id"),
        without("", "source"),
        without("", "type"),
        without("", "data"),
        without("/data", "user"),
        without("/data", "changes"),
        event("/specversion", json!("0.3")),
        event("/id", json!("")),
        event("/source", json!(7)),
        event("/type", json!(null)),
        event("/expirytime", json!("tomorrow")),
        event("/expirytime", json!(1_795_338_000)),
        event("/datacontenttype", json!("text/xml")),
        event("/data", json!(null)),
        event("/data", json!([])),
        event("/data_base64", json!("e30=")),
        event("/data/target", json!(1)),
        event("/data/user", json!(0)),
        event("/data/user", json!(-1)),
        event("/data/user", json!(1_u64 << 63)),
        event("/data/user", json!("0")),
        event("/data/user", json!((1_u64 << 63).to_string())),
        event("/data/user", json!("9999999999999999999")),
        event("/data/user", json!(0.5)),
        event("/data/user", json!(-0.0)),
        event("/data/user", json!(1e300)),
        event("/data/user", json!("x")),
        event("/data/user", json!("+1")),
        event("/data/user", json!(null)),
        event("/data/changes", json!({})),
        event("/data/changes", json!([])),
        event("/data/changes", json!({ "permissions": [1], "name": "n" })),
        event("/data/changes", json!({ "permissions": ["1"] })),
        event("/data/changes", json!({ "permissions": null })),
        event("/data/changes", json!({ "nickname": "n" })),
        event("/data/changes", json!({ "rooms": [1.5] })),
        event("/data/changes", json!({ "rooms": [1e300] })),
        event("/data/changes", json!({ "rooms": [1_u64 << 63] })),
        event("/data/changes", json!({ "rooms": vec![1; 1_000_001] })),
        event("/data/changes", json!({ "card_number": 7 })),
        event("/data/changes", json!({ "video_access": { "rooms": [1] } })),
        event("/data/changes", json!({ "video_access": [] })),
        event("/data/changes", json!({ "video_access": {} })),
        event("/data/changes", json!({ "video_access": null })),
        event("/data/changes", json!({ "rooms": [null] })),
    ];
    let schema = schema("schemas/update-event.json");
    for (events, wanted) in [(&good[..], true), (&bad[..], false)] {
        for event in events {
            assert_eq!(schema.is_valid(event), wanted, "schema: {event}");
            assert_eq!(is_taken(event), wanted, "decoder: {event}");
        }
    }
}

/// An integer as JSON may write it: with its point moved, and zeros on either side.
fn written(integer: i64, moved: usize, zeros: usize) -> String {
    let digits = integer.unsigned_abs().to_string();
    let sign = if integer < 0 { "-" } else { "" };
    let padded = format!("{digits:0>width$}{}", "0".repeat(zeros), width = moved + 1);
    let (whole, fraction) = padded.split_at(padded.len() - moved - zeros);
    let fraction = if fraction.is_empty() {
        String::new()
    } else {
        format!(".{fraction}")
    };
    format!("{sign}{whole}{fraction}e{moved}")
}

proptest::proptest! {
    #[test]
    fn schema_and_decoder_agree_on_numbers(
        integer in proptest::prop_oneof![proptest::arbitrary::any::<i64>(), -1000..1000_i64, i64::MAX - 9..=i64::MAX],
        moved in 0..25_usize, zeros in 0..3_usize, fraction in 0..2_u8,
    ) {
        // An integer is one in every form; with half of one more it is none. `jsonschema` reads
        // what is written with a point as an f64, so what no f64 holds is left to the decoder
        // alone.
        let half = fraction == 1 && integer.unsigned_abs() < 1 << 50;
        let text = if half { format!("{integer}.50") } else { written(integer, moved, zeros) };
        let exact = half || integer.unsigned_abs() < 1 << 43;
        let event = |user: &str, id: &str| format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{{"user":{user},"changes":{{"rooms":[{id}]}}}}}}"#
        );
        let schema = SCHEMA.get_or_init(|| schema("schemas/update-event.json"));
        for (event, wanted) in [(event(&text, "1"), !half && integer > 0), (event("1", &text), !half)] {
            proptest::prop_assert_eq!(is_taken_as_written(&event), wanted, "decoder: {}", event);
            let parsed: Value = serde_json::from_str(&event).unwrap();
            proptest::prop_assert!(!exact || schema.is_valid(&parsed) == wanted, "schema: {event}");
        }
    }
}

static SCHEMA: std::sync::OnceLock<jsonschema::Validator> = std::sync::OnceLock::new();

#[test]
fn outcomes_and_dead_letters_of_another_form_are_refused() {
    let document = &documents()["asyncapi.json"];
    for (name, message, part, wrong) in [
        (
            "schemas/outcome.json",
            "outcome",
            "payload",
            vec![
                ("outcome", json!("lost")),
                ("reason", json!("bad luck")),
                ("user", json!(0)),
                ("attempts", json!(-1)),
                ("error", json!({ "message": 1 })),
                ("event", json!(null)),
                ("record", json!({ "topic": "t", "partition": 0 })),
                ("finished_at", json!("today")),
            ],
        ),
        (
            "schemas/dead-letter-headers.json",
            "deadLetter",
            "headers",
            vec![
                ("dlq.reason", json!("bad luck")),
                ("dlq.replays", json!(0)),
                ("dlq.user", json!("")),
                ("dlq.topic_id", json!("7")),
                ("dlq.failed_at", json!("today")),
                ("dlq.timestamp", json!("today")),
                ("dlq.altered", json!("time")),
                ("__connect.errors.stage", json!("NOWHERE")),
            ],
        ),
    ] {
        let schema = schema(name);
        let good = &document["components"]["messages"][message]["examples"][0][part];
        assert!(schema.is_valid(good), "{good}");
        for (member, value) in wrong {
            let mut bad = good.clone();
            bad[member] = value;
            assert!(!schema.is_valid(&bad), "{bad}");
        }
        let optional = [
            "dlq.user",
            "dlq.http_status",
            "dlq.first_attempt_at",
            "dlq.topic_id",
            "dlq.timestamp",
        ];
        for member in good
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| !optional.contains(&name.as_str()))
        {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(member);
            assert!(!schema.is_valid(&bad), "without {member}");
        }
    }
}

#[test]
fn the_asyncapi_examples_fit_their_schemas() {
    let document = &documents()["asyncapi.json"];
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        for part in ["headers", "payload"] {
            let example = &message["examples"][0][part];
            assert!(
                validator(&message[part]).is_valid(example),
                "{name} {part}: {example}"
            );
        }
    }
    let update = &document["components"]["messages"]["updateStructured"]["examples"][0]["payload"];
    assert!(is_taken(update));
}

#[test]
fn every_reference_in_the_asyncapi_document_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        if let Some(reference) = value.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let members = value.as_object().into_iter().flat_map(Map::values);
        members
            .chain(value.as_array().into_iter().flatten())
            .for_each(|child| check(child, document));
    }
    let document = &documents()["asyncapi.json"];
    check(document, document);
}
