mod accessors;
mod broken;
mod properties;

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::*;
use crate::model::record::{Header, Place, Record};

/// Stands wherever a value may be secret; no message may ever show it.
const CANARY: &str = "hunter2";

fn record(headers: &[(&str, &str)], value: impl Into<Vec<u8>>) -> Record {
    Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset: 4711,
        },
        key: Some(b"52".to_vec()),
        value: Some(value.into()),
        timestamp_ms: None,
        headers: headers
            .iter()
            .map(|(name, value)| Header::text(name.to_string(), *value))
            .collect(),
        verbatim_headers: None,
    }
}

fn structured(value: impl Into<Vec<u8>>) -> Record {
    record(&[("content-type", "application/cloudevents+json")], value)
}

const BINARY: [(&str, &str); 5] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "e-1"),
    ("ce_source", "/billing"),
    ("ce_type", "changed"),
    ("content-type", "application/json"),
];

const DATA: &str =
    r#"{"target":"valt","user":52,"changes":{"password":"hunter2","rooms":[37,39]}}"#;

fn envelope(with: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"e-1","source":"/billing","type":"changed"{with}}}"#)
}

fn expected() -> Event {
    Event {
        identity: Identity {
            id: Some("e-1".into()),
            source: Some("/billing".into()),
            event_type: Some("changed".into()),
        },
        expires_at: None,
        target: Some("valt".into()),
        user: raw(&json!(52)),
        changes: raw(&json!({ "password": CANARY, "rooms": [37, 39] })),
    }
}

fn raw(value: &Value) -> Option<Box<RawValue>> {
    Some(to_raw_value(value).unwrap())
}

/// All that an event holds.
fn told(event: Result<Event, Undecodable>) -> String {
    let event = event.unwrap();
    let text = |value: &Option<Box<RawValue>>| value.as_ref().map(|value| value.get().to_owned());
    format!(
        "{event:?} {:?} {:?}",
        text(&event.user),
        text(&event.changes)
    )
}

#[track_caller]
fn refused(record: &Record, wanted: &str) -> Undecodable {
    let undecodable = decode(record).expect_err(wanted);
    let message = &undecodable.message;
    assert!(
        message.contains(wanted),
        "`{message}` does not say `{wanted}`"
    );
    assert!(
        message.len() < 500 && !message.contains(CANARY) && !message.contains('\n'),
        "{message}"
    );
    undecodable
}

#[test]
fn both_modes_carry_the_same_event() {
    assert_eq!(
        told(decode(&structured(envelope(&format!(r#","data":{DATA}"#))))),
        told(Ok(expected()))
    );
    assert_eq!(told(decode(&record(&BINARY, DATA))), told(Ok(expected())));
    assert_eq!(
        told(decode(&record(&BINARY[..4], DATA))),
        told(Ok(expected())),
        "without a content type"
    );
    let with_base64 = envelope(
        r#","data_base64":"eyJ0YXJnZXQiOiJ2YWx0IiwidXNlciI6NTIsImNoYW5nZXMiOnsicGFzc3dvcmQiOiJodW50ZXIyIiwicm9vbXMiOlszNywzOV19fQ==""#,
    );
    assert_eq!(told(decode(&structured(with_base64))), told(Ok(expected())));
}

#[test]
fn content_types_decide_the_mode() {
    let value = envelope(&format!(r#","data":{DATA}"#));
    for (name, content_type) in [
        (
            "content-type",
            "application/cloudevents+json; charset=UTF-8",
        ),
        ("Content-Type", "Application/CloudEvents+JSON ;x=y"),
        ("CONTENT-TYPE", "application/cloudevents+json"),
    ] {
        assert!(
            decode(&record(&[(name, content_type)], value.as_str())).is_ok(),
            "{content_type}"
        );
    }
    for content_type in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/vnd.x+json",
        "text/json",
    ] {
        let mut headers = BINARY;
        headers[4].1 = content_type;
        assert!(decode(&record(&headers, DATA)).is_ok(), "{content_type}");
    }
    for (content_type, wanted) in [
        (
            "application/cloudevents-batch+json",
            "a batch: send each event as a record of its own",
        ),
        (
            "application/cloudevents+avro",
            "other than `application/cloudevents+json`",
        ),
        (
            "application/cloudevents",
            "other than `application/cloudevents+json`",
        ),
        ("text/plain", "`content-type` is neither"),
        ("", "`content-type` is neither"),
    ] {
        let mut headers = BINARY;
        headers[4].1 = content_type;
        let undecodable = refused(&record(&headers, DATA), wanted);
        assert_eq!(
            undecodable.identity,
            expected().identity,
            "the headers say which event it is"
        );
    }
    refused(
        &record(
            &[&BINARY[..], &[("Content-Type", "application/json")]].concat(),
            DATA,
        ),
        "`content-type` is there twice",
    );
    // In structured mode the `ce_` headers are copies that nobody needs.
    let both = [
        ("content-type", "application/cloudevents+json"),
        ("ce_id", "x"),
        ("ce_id", "y"),
    ];
    assert_eq!(told(decode(&record(&both, value))), told(Ok(expected())));
}

#[test]
fn what_is_unknown_is_tolerated() {
    let data = r#"{"comment":{"a":[1]},"target":null,"user":"0052","changes":[],"x":null}"#;
    let members = format!(
        r#","time":"whenever","subject":null,"datacontenttype":null,"expirytime":null,"ext":{{}},"data":{data}"#
    );
    let event = decode(&structured(envelope(&members))).unwrap();
    let text = |value: Option<Box<RawValue>>| value.map(|value| value.get().to_owned());
    assert_eq!(
        (event.target.clone(), text(event.user), text(event.changes)),
        (None, Some(r#""0052""#.into()), Some("[]".into()))
    );
    let headers = [
        &BINARY[..],
        &[("ce_time", "whenever"), ("other", "x"), ("other", "y")],
    ]
    .concat();
    let mut record = record(&headers, "{}");
    record.headers.push(Header {
        name: "ce_ext".into(),
        value: Some(vec![0xff]),
    });
    record.headers.push(Header {
        name: "ce_ext2".into(),
        value: None,
    });
    assert!(decode(&record).unwrap().changes.is_none());
}

#[test]
fn a_bad_envelope_is_named() {
    for (member, with, wanted) in [
        ("id", "", "`id` is missing"),
        ("id", r#""id":"","#, "`id` is empty"),
        ("source", r#""source":null,"#, "`source` is missing"),
        (
            "type",
            r#""type":7,"#,
            "`type` must be a string, and is a number",
        ),
        (
            "specversion",
            r#""specversion":1.0,"#,
            "`specversion` must be a string, and is a number",
        ),
        (
            "specversion",
            r#""specversion":"hunter2","#,
            "`specversion` must be `1.0`",
        ),
        (
            "specversion",
            r#""specversion":"1.00","#,
            "`specversion` must be `1.0`",
        ),
        (
            "-",
            r#""expirytime":"hunter2","#,
            "`expirytime` must be a time of RFC 3339",
        ),
        ("-", r#""expirytime":5,"#, "`expirytime` must be a string"),
        (
            "-",
            r#""datacontenttype":"text/xml","#,
            "`datacontenttype` is not a JSON type",
        ),
        (
            "-",
            r#""data_base64":"e30=","#,
            "`data` and `data_base64` are both there",
        ),
    ] {
        let mut value: Map<String, Value> =
            serde_json::from_str(&envelope(&format!(r#","data":{DATA}"#))).unwrap();
        value.shift_remove(member);
        let text = serde_json::to_string(&value)
            .unwrap()
            .replacen('{', &format!("{{{with}"), 1);
        let identity = refused(&structured(text), wanted).identity;
        let read = [
            ("id", identity.id),
            ("source", identity.source),
            ("type", identity.event_type),
        ];
        for (name, part) in read {
            assert_eq!(
                part.is_some(),
                name != member,
                "{wanted}: the rest of the identity is still told"
            );
        }
    }
}

#[test]
fn bad_headers_are_named() {
    for (index, (name, value)) in BINARY.iter().enumerate() {
        let mut twice = record(&BINARY, DATA);
        twice.headers.push(Header::text(name.to_string(), *value));
        refused(&twice, &format!("the header `{name}` is there twice"));
        for (value, wanted) in [
            (None, "has no value"),
            (Some(vec![b'1', 0xff]), "is not UTF-8"),
        ] {
            let mut bad = record(&BINARY, DATA);
            bad.headers[index].value = value;
            refused(&bad, &format!("the header `{name}` {wanted}"));
        }
        if *name != "content-type" {
            let mut missing = record(&BINARY, DATA);
            missing.headers.remove(index);
            refused(&missing, &format!("the header `{name}` is missing"));
            missing.headers.push(Header::text(*name, ""));
            refused(&missing, &format!("the header `{name}` is empty"));
        }
    }
    refused(
        &record(
            &[&BINARY[..], &[("ce_expirytime", "hunter2")]].concat(),
            DATA,
        ),
        "`ce_expirytime` must be a time",
    );
    refused(
        &record(
            &[&BINARY[..], &[("ce_x", "1"), ("ce_x", "2")]].concat(),
            DATA,
        ),
        "the header `ce_x` is there twice",
    );
    refused(
        &record(&[("Ce_id", "1")], DATA),
        "the record is no CloudEvent",
    );
    refused(&record(&[], envelope("")), "the record is no CloudEvent");
}

#[test]
fn an_expiry_is_read_in_both_modes() {
    let wanted: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    let value = envelope(&format!(
        r#","expirytime":"2026-11-22T10:00:00+01:00","data":{DATA}"#
    ));
    assert_eq!(decode(&structured(value)).unwrap().expires_at, Some(wanted));
    let headers = [&BINARY[..], &[("ce_expirytime", "2026-11-22T09:00:00Z")]].concat();
    assert_eq!(
        decode(&record(&headers, DATA)).unwrap().expires_at,
        Some(wanted)
    );
}

#[test]
fn a_trace_is_taken_from_the_record_header_alone() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let read = |headers: &[(&str, &str)]| TraceContext::of(&record(headers, ""));
    let context = |tracestate: Option<&str>| {
        Some(TraceContext {
            traceparent: trace.to_owned(),
            tracestate: tracestate.map(str::to_owned),
        })
    };
    assert_eq!(read(&[("traceparent", trace)]), context(None));
    assert_eq!(
        read(&[("traceparent", trace), ("tracestate", "rojo=1")]),
        context(Some("rojo=1"))
    );
    assert_eq!(
        read(&[("traceparent", trace), ("tracestate", "nonsense")]),
        context(None)
    );
    assert_eq!(
        read(&[("traceparent", "nonsense"), ("tracestate", "rojo=1")]),
        None
    );
    assert_eq!(read(&[("ce_traceparent", trace)]), None);
}
