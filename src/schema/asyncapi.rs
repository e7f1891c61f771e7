//! The AsyncAPI document: the three topics, what is written to them by whom, and an example of each
//! message.

use serde_json::{Map, Value, json};

use crate::model::dead_letter::{DeadLetter, FailureHeaders};
use crate::model::event::Identity;
use crate::model::outcome::{Facts, Kind, OutcomeData, message, outcome_id};
use crate::model::record::{Header, Place};
use crate::model::user::{IdForm, UserId};
use crate::schema::{UpdateData, UpdateEvent, of};
use engine::TopicId;
use engine::verdict::Reason;

/// The document, of AsyncAPI 3.0.
pub(super) fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "user-courier",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
        },
        "defaultContentType": "application/json",
        "channels": {
            "updates": channel("user-updates", "Updates of users, in order per key.", &["updateStructured", "updateBinary"]),
            "outcomes": channel("user-update-outcomes", "One outcome for each record and target.", &["outcome"]),
            "deadLetters": channel("user-update-dead-letters", "Updates that could not be delivered, as they came.", &["deadLetter"]),
        },
        "operations": {
            "receiveUpdate": operation("receive", "updates", "Each target is a consumer group of its own.", &["updateStructured", "updateBinary"]),
            "sendOutcome": operation("send", "outcomes", "In one Kafka transaction with the consumer's offsets.", &["outcome"]),
            "sendDeadLetter": operation("send", "deadLetters", "In one Kafka transaction with its outcome.", &["deadLetter"]),
        },
        "components": { "messages": messages() },
    })
}

fn channel(topic: &str, description: &str, names: &[&str]) -> Value {
    let reference = |name: &&str| {
        (
            (*name).to_owned(),
            json!({ "$ref": format!("#/components/messages/{name}") }),
        )
    };
    json!({
        "address": topic,
        "description": description,
        "messages": names.iter().map(reference).collect::<Map<_, _>>(),
        "bindings": { "kafka": { "topic": topic, "bindingVersion": "0.5.0" } },
    })
}

fn operation(action: &str, channel: &str, summary: &str, names: &[&str]) -> Value {
    let reference =
        |name: &&str| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") });
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": summary,
        "messages": names.iter().map(reference).collect::<Vec<_>>(),
    })
}

fn messages() -> Value {
    let data = json!({ "target": "valt", "user": 52, "changes": { "display_name": "John Doe", "rooms": [37, 39] } });
    let event = json!({
        "specversion": "1.0",
        "id": "5f3c9a4e",
        "source": "/billing/eu",
        "type": "com.example.billing.user-changed",
        "datacontenttype": "application/json",
        "data": data,
    });
    let attributes = json!({
        "ce_specversion": "1.0",
        "ce_id": "5f3c9a4e",
        "ce_source": "/billing/eu",
        "ce_type": "com.example.billing.user-changed",
        "content-type": "application/json",
    });
    let structured_headers = headers(
        &[(
            "content-type",
            "`application/cloudevents+json`; parameters may follow.",
        )],
        &[("traceparent", TRACEPARENT), ("tracestate", TRACESTATE)],
    );
    let binary_headers = headers(
        &[
            ("ce_specversion", "`1.0`."),
            ("ce_id", "See `id`."),
            ("ce_source", "See `source`."),
            ("ce_type", "See `type`."),
        ],
        &[
            (
                "ce_expirytime",
                "Past this time of RFC 3339 the update is no longer delivered.",
            ),
            ("content-type", "`application/json` or another JSON type."),
            ("traceparent", TRACEPARENT),
            ("tracestate", TRACESTATE),
        ],
    );
    let (outcome_example, outcome_payload) = outcome_example();
    json!({
        "updateStructured": kafka_message("An update, CloudEvents structured mode", structured_headers, of::<UpdateEvent>(),
            json!({ "content-type": "application/cloudevents+json" }), event),
        "updateBinary": kafka_message("An update, CloudEvents binary mode", binary_headers, of::<UpdateData>(), attributes, data),
        "outcome": kafka_message("How a record ended", outcome_headers(), of::<OutcomeData>(), outcome_example, outcome_payload),
        "deadLetter": kafka_message("An undeliverable update: key, value and headers are the record's own, byte for byte",
            of::<FailureHeaders>(), json!({ "description": "The value of the record, whatever it is." }), dead_letter_example(), json!("{ \"id\": \"5f3c")),
    })
}

fn outcome_headers() -> Value {
    headers(
        &[
            ("ce_specversion", "`1.0`."),
            (
                "ce_id",
                "UUIDv5 in the URL namespace of `user-courier:<group_id>.<target>/<topic>/<partition>/<offset>`: the same if ever computed twice.",
            ),
            ("ce_source", "`/user-courier/<group_id>/<target>`."),
            ("ce_type", "`user-courier.update.<outcome>`."),
            ("ce_time", "When the record's ending was known."),
            ("content-type", "`application/json`."),
        ],
        &[
            (
                "ce_subject",
                "`<target>/users/<user>`, where the user is known.",
            ),
            ("traceparent", TRACEPARENT),
            ("tracestate", TRACESTATE),
        ],
    )
}

const TRACEPARENT: &str = "The trace, as W3C Trace Context writes it.";
const TRACESTATE: &str = "What tracing systems add to it, as W3C Trace Context writes it.";

/// A schema for headers, which are all text.
fn headers(required: &[(&str, &str)], optional: &[(&str, &str)]) -> Value {
    let property = |(name, description): &(&str, &str)| {
        (
            (*name).to_owned(),
            json!({ "type": "string", "description": description }),
        )
    };
    json!({
        "type": "object",
        "properties": required.iter().chain(optional).map(property).collect::<Map<_, _>>(),
        "required": required.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
    })
}

fn kafka_message(
    title: &str,
    headers: Value,
    payload: Value,
    example_headers: Value,
    example: Value,
) -> Value {
    let key = json!({ "type": "string", "description": "The user, in the sender's words: all updates of one user have the same key." });
    json!({
        "title": title,
        "headers": embedded(headers),
        "payload": embedded(payload),
        "bindings": { "kafka": { "key": key, "bindingVersion": "0.5.0" } },
        "examples": [{ "headers": example_headers, "payload": example }],
    })
}

/// A schema inside this document speaks the document's dialect, so it names none.
fn embedded(mut schema: Value) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.shift_remove("$schema");
    }
    schema
}

fn as_object(headers: Vec<Header>) -> Value {
    let text =
        |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
    headers
        .into_iter()
        .map(|header| (header.name, Value::from(text(header.value))))
        .collect()
}

fn example_place() -> Place {
    Place {
        topic: "user-updates".into(),
        partition: 3,
        offset: 4711,
    }
}

fn outcome_example() -> (Value, Value) {
    let identity = Identity {
        id: Some("5f3c9a4e".to_owned()),
        source: Some("/billing/eu".to_owned()),
        event_type: Some("com.example.billing.user-changed".to_owned()),
    };
    let place = example_place();
    let (headers, payload) = message(Facts {
        id: outcome_id("user-courier", "valt", &place),
        group_id: "user-courier",
        target: "valt",
        place: &place,
        kind: Kind::Delivered,
        reason: None,
        user: UserId::number(52).as_ref(),
        id_form: Some(IdForm::Number),
        fields: Some(vec!["display_name".to_owned(), "rooms".to_owned()]),
        identity: &identity,
        attempts: 2,
        http_status: Some(200),
        into: None,
        error: None,
        received_at: jiff::Timestamp::constant(1_795_338_000, 123_000_000),
        finished_at: jiff::Timestamp::constant(1_795_338_001, 456_000_000),
        trace: None,
    });
    (
        as_object(headers),
        serde_json::from_slice(&payload).unwrap_or_default(),
    )
}

fn dead_letter_example() -> Value {
    let headers = DeadLetter {
        origin: example_place(),
        reason: Reason::Undecodable,
        message: "the value is cut off: it ends inside the JSON, at line 1, byte 13".to_owned(),
        target: "unclaimed".to_owned(),
        user: None,
        attempts: 0,
        http_status: None,
        first_attempt_at: None,
        failed_at: jiff::Timestamp::constant(1_795_338_001, 456_000_000),
        replays: 0,
        topic_id: TopicId(*b"an example of it"),
        timestamp_ms: Some(1_795_337_999_870),
    };
    as_object(headers.headers())
}
