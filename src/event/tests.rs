use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::record::{Header, Place, Record};

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
            .map(|(name, value)| Header::text(*name, *value))
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
        user: Some(json!(52)),
        changes: Some(json!({ "password": CANARY, "rooms": [37, 39] })),
    }
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
        decode(&structured(envelope(&format!(r#","data":{DATA}"#)))),
        Ok(expected())
    );
    assert_eq!(decode(&record(&BINARY, DATA)), Ok(expected()));
    assert_eq!(
        decode(&record(&BINARY[..4], DATA)),
        Ok(expected()),
        "without a content type"
    );
    let with_base64 = envelope(
        r#","data_base64":"eyJ0YXJnZXQiOiJ2YWx0IiwidXNlciI6NTIsImNoYW5nZXMiOnsicGFzc3dvcmQiOiJodW50ZXIyIiwicm9vbXMiOlszNywzOV19fQ==""#,
    );
    assert_eq!(decode(&structured(with_base64)), Ok(expected()));
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
    assert_eq!(decode(&record(&both, value)), Ok(expected()));
}

#[test]
fn what_is_unknown_is_tolerated() {
    let data = r#"{"comment":{"a":[1]},"target":null,"user":"0052","changes":[],"x":null}"#;
    let members = format!(
        r#","time":"whenever","subject":null,"datacontenttype":null,"expirytime":null,"ext":{{}},"data":{data}"#
    );
    let event = decode(&structured(envelope(&members))).unwrap();
    assert_eq!(
        (event.target, event.user, event.changes),
        (None, Some(json!("0052")), Some(json!([])))
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
    assert_eq!(decode(&record).unwrap().changes, None);
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
        twice.headers.push(Header::text(*name, *value));
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
fn data_must_be_an_object() {
    for (with, wanted) in [
        ("", "`data` is missing"),
        (r#","data":null"#, "`data` must be an object, and is null"),
        (
            r#","data":"hunter2""#,
            "`data` must be an object, and is a string",
        ),
        (
            r#","data":{"target":["hunter2"]}"#,
            "`data.target` must be a string, and is an array",
        ),
        (r#","data_base64":5"#, "`data_base64` must be a string"),
        (
            r#","data_base64":"hunter2!""#,
            "`data_base64` is not Base64",
        ),
        (
            r#","data_base64":"WzFd""#,
            "`data_base64`, once decoded, is an array, not an object",
        ),
        (
            r#","data_base64":"""#,
            "`data_base64`, once decoded, is empty",
        ),
    ] {
        let undecodable = refused(&structured(envelope(with)), wanted);
        assert_eq!(undecodable.identity, expected().identity);
    }
    for (value, wanted) in [
        (
            &b"[\"hunter2\"]"[..],
            "the value is an array, not an object",
        ),
        (b"\"hunter2\"", "the value is a string, not an object"),
        (b" -12", "the value is a number, not an object"),
        (b"null", "the value is null, not an object"),
        (b"true", "the value is a boolean, not an object"),
        (b"", "the value is empty"),
        (b" \n", "the value is empty"),
    ] {
        assert_eq!(
            refused(&record(&BINARY, value), wanted).identity,
            expected().identity
        );
        assert_eq!(
            refused(&structured(value), wanted).identity,
            Identity::default()
        );
    }
    for mut record in [record(&BINARY, DATA), structured(DATA), record(&[], DATA)] {
        record.value = None;
        refused(&record, "the record has no value");
    }
}

#[test]
fn a_member_twice_is_refused_with_its_path() {
    for (text, wanted) in [
        (r#","id":"hunter2","data":{}"#, "has `id` twice"),
        (r#","x":1,"x":2,"data":{}"#, "has `x` twice"),
        (r#","data":{},"data":{}"#, "has `data` twice"),
        (r#","data":{"user":1,"user":1}"#, "has `data.user` twice"),
        (r#","data":{"x":1,"x":1}"#, "has `data.x` twice"),
        (
            r#","data":{"x":[[0],{"y":1,"\u0079":1}]}"#,
            "has `data.x[1].y` twice",
        ),
        (
            r#","data":{"changes":{"video_access":{"users":[],"users":[]}}}"#,
            "has `data.changes.video_access.users` twice",
        ),
    ] {
        assert_eq!(
            refused(&structured(envelope(text)), wanted).identity,
            expected().identity
        );
    }
    for (text, wanted) in [
        (r#"{"user":1,"user":2}"#.to_owned(), "has `data.user` twice"),
        (
            r#"{"x":{"a\n":1,"a\n":2}}"#.to_owned(),
            r"has `data.x.a\n` twice",
        ),
        (
            format!(r#"{{"{0}":{{"{0}":1,"{0}":1}}}}"#, "n".repeat(100_000)),
            "…",
        ),
    ] {
        refused(&record(&BINARY, text), wanted);
    }
}

#[test]
fn broken_json_says_where_and_shows_nothing() {
    let whole = envelope(&format!(r#","data":{DATA}"#));
    for end in 1..whole.len() {
        let undecodable = refused(
            &structured(&whole.as_bytes()[..end]),
            &format!("is cut off: it ends inside the JSON, at line 1, byte {end}"),
        );
        let told = ["e-1\"", "/billing\"", "changed\""].map(|part| whole[..end].contains(part));
        let identity = undecodable.identity;
        assert_eq!(
            told,
            [
                identity.id.is_some(),
                identity.source.is_some(),
                identity.event_type.is_some()
            ],
            "{end}"
        );
    }
    let deep = |open: &str, close: &str| {
        format!(
            r#"{{"a":{}1{}}}"#,
            open.repeat(10_000),
            close.repeat(10_000)
        )
    };
    for (value, wanted) in [
        (
            b"{\"user\":1,}".to_vec(),
            "is not readable JSON: trailing comma at line 1, byte 11",
        ),
        (
            b"{\"user\":\"hunter2\" 1}".to_vec(),
            "is not readable JSON: expected `,` or `}` at line 1, byte 19",
        ),
        (
            b"{}hunter2".to_vec(),
            "is not readable JSON: trailing characters",
        ),
        (
            b"{hunter2:1}".to_vec(),
            "is not readable JSON: key must be a string",
        ),
        (
            b"{\"a\":\"\xc3\x28\"}".to_vec(),
            "is not UTF-8 from byte 7 on",
        ),
        (b"{}\xff".to_vec(), "is not UTF-8 from byte 3 on"),
        (b"\xef\xbb\xbf{}".to_vec(), "begins with a byte order mark"),
        (
            b"{\"a\":\"hunter2\\ud800\"}".to_vec(),
            "is not readable JSON",
        ),
        (
            b"{\"a\":\"hunter2\\udc00\"}".to_vec(),
            "is not readable JSON",
        ),
        (
            b"{\"a\":1e999}".to_vec(),
            "is not readable JSON: number out of range",
        ),
        (b"\x00".to_vec(), "is not readable JSON: expected value"),
        (b"{\"a\":\"hunter2\x00\"}".to_vec(), "control character"),
        (
            b"{\"a\":NaN}".to_vec(),
            "is not readable JSON: expected value",
        ),
        (deep("[", "]").into_bytes(), "recursion limit exceeded"),
        (
            deep(r#"{"a":"#, "}").into_bytes(),
            "recursion limit exceeded",
        ),
        (vec![b'['; 900_000], "is an array, not an object"),
        (
            [&b"{\"a\":\""[..], &vec![b'x'; 900_000]].concat(),
            "is cut off",
        ),
    ] {
        refused(&record(&BINARY, value.clone()), wanted);
        refused(&structured(value), wanted);
    }
}

#[test]
fn large_values_are_read() {
    let rooms = vec!["37"; 300_000].join(",");
    let value = format!(r#"{{"user":1,"changes":{{"rooms":[{rooms}]}}}}"#);
    assert!(value.len() > 900_000);
    let event = decode(&record(&BINARY, value)).unwrap();
    assert_eq!(
        event.changes_map().unwrap()["rooms"]
            .as_array()
            .unwrap()
            .len(),
        300_000
    );
}

fn with(user: Value, changes: Value) -> Event {
    Event {
        user: Some(user),
        changes: Some(changes),
        ..expected()
    }
}

#[test]
fn users_are_whole_numbers_or_their_digits() {
    let max = i64::MAX as u64;
    for (user, wanted) in [
        (json!(1), 1),
        (json!(max), max),
        (json!("52"), 52),
        (json!(max.to_string()), max),
        (json!(format!("{}52", "0".repeat(900_000))), 52),
    ] {
        assert_eq!(with(user, json!({})).user_id().unwrap().get(), wanted);
    }
    let huge: Value = serde_json::from_str("99999999999999999999999").unwrap();
    for user in [
        json!(0),
        json!(-1),
        json!(max + 1),
        json!(u64::MAX),
        json!(52.0),
        json!(5.2e1),
        huge,
        json!("0"),
        json!(""),
        json!("+5"),
        json!("-5"),
        json!(" 5"),
        json!("5 "),
        json!("5.0"),
        json!("٥"),
        json!("hunter2"),
        json!("9223372036854775808"),
        json!("9".repeat(900_000)),
        json!(null),
        json!(true),
        json!([52]),
        json!({ "id": 52 }),
    ] {
        let message = with(user, json!({})).user_id().unwrap_err().message;
        assert!(
            message.starts_with("data.user: must be a whole number"),
            "{message}"
        );
        assert!(
            message.len() < 200 && !message.contains(CANARY),
            "{message}"
        );
    }
    let nobody = Event {
        user: None,
        ..expected()
    };
    assert!(
        nobody
            .user_id()
            .unwrap_err()
            .message
            .ends_with("it is missing")
    );
}

#[test]
fn changes_are_an_object_with_an_entry() {
    assert_eq!(expected().changes_map().unwrap().len(), 2);
    assert_eq!(expected().fields(), ["password", "rooms"]);
    for changes in [
        json!({}),
        json!([CANARY]),
        json!(CANARY),
        json!(null),
        json!(7),
    ] {
        let event = with(json!(1), changes);
        let message = event.changes_map().unwrap_err().message;
        assert!(
            message.starts_with("data.changes: must be an object") && !message.contains(CANARY),
            "{message}"
        );
        assert!(event.fields().is_empty());
    }
    let names = (0..100).map(|number| (format!("{}{number:03}", "ä".repeat(70)), json!(1)));
    let fields = with(json!(1), Value::Object(names.collect())).fields();
    assert_eq!(fields.len(), 64);
    assert!(fields.iter().all(|name| name.chars().count() == 64));
}

#[test]
fn a_debug_of_an_event_shows_no_change() {
    let shown = format!(
        "{:?}",
        with(
            json!({ "x": CANARY }),
            json!({ "password": CANARY, "a": [CANARY] })
        )
    );
    assert!(
        !shown.contains(CANARY) && shown.contains("password"),
        "{shown}"
    );
}

#[test]
fn a_trace_is_taken_from_the_record_header_alone() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(
        traceparent(&record(&[("traceparent", trace)], "")),
        Some(trace)
    );
    assert_eq!(
        traceparent(&record(&[("traceparent", "nonsense")], "")),
        None
    );
    assert_eq!(traceparent(&record(&[("ce_traceparent", trace)], "")), None);
}

/// Any JSON, with names that collide with the ones that matter.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![
            Just("user".to_owned()),
            Just("$serde_json::private::RawValue".to_owned()),
            any::<String>()
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_event()(
        id in ".{1,9}", source in ".{1,9}", event_type in ".{1,9}",
        expiry in prop::option::of(0..4_000_000_000_i64),
        target in prop::option::of(any::<String>()),
        user in prop::option::of(any_json()), changes in prop::option::of(any_json()),
    ) -> Event {
        Event {
            identity: Identity { id: Some(id), source: Some(source), event_type: Some(event_type) },
            expires_at: expiry.map(|second| Timestamp::from_second(second).unwrap()),
            target, user, changes,
        }
    }
}

/// The event in structured and in binary mode.
fn encode(event: &Event) -> [Record; 2] {
    let mut data = Map::new();
    data.extend(
        event
            .target
            .clone()
            .map(|target| ("target".to_owned(), Value::from(target))),
    );
    data.extend(event.user.clone().map(|user| ("user".to_owned(), user)));
    data.extend(
        event
            .changes
            .clone()
            .map(|changes| ("changes".to_owned(), changes)),
    );
    let identity = event.identity.clone();
    let attributes = [
        ("specversion", Some("1.0".to_owned())),
        ("id", identity.id),
        ("source", identity.source),
        ("type", identity.event_type),
        ("expirytime", event.expires_at.map(|time| time.to_string())),
    ];
    let attributes = || {
        attributes
            .iter()
            .filter_map(|(name, value)| Some((*name, value.clone()?)))
    };
    let mut whole: Map<String, Value> = attributes()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let mut binary = record(&[], serde_json::to_vec(&data).unwrap());
    binary.headers = attributes()
        .map(|(name, value)| Header::text(format!("ce_{name}"), value))
        .collect();
    whole.insert("data".into(), data.into());
    [structured(serde_json::to_vec(&whole).unwrap()), binary]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(event in any_event()) {
        for record in encode(&event) {
            let decoded = decode(&record);
            prop_assert_eq!(decoded.as_ref(), Ok(&event));
            let _ = (event.user_id(), event.changes_map(), event.fields());
        }
    }

    #[test]
    fn nothing_makes_it_panic_or_talk(
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        headers in prop::collection::vec((
            prop_oneof![Just("content-type".to_owned()), "ce_(id|source|type|specversion|expirytime|x)", any::<String>()],
            prop::option::of(prop_oneof![
                Just(b"application/cloudevents+json".to_vec()), Just(b"application/json".to_vec()), Just(b"1.0".to_vec()),
                prop::collection::vec(any::<u8>(), 0..20),
            ]),
        ), 0..8),
    ) {
        let mut record = record(&[], "");
        record.value = value;
        record.headers = headers.into_iter().map(|(name, value)| Header { name, value }).collect();
        if let Err(undecodable) = decode(&record) {
            prop_assert!(undecodable.message.len() < 500);
        }
        let _ = traceparent(&record);
    }

    #[test]
    fn a_damaged_event_never_shows_its_secrets(
        at in 0..200_usize, byte in any::<u8>(), insert in any::<bool>(), binary in any::<bool>(),
    ) {
        let mut bytes = if binary { DATA.to_owned() } else { envelope(&format!(r#","data":{DATA}"#)) }.into_bytes();
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        let record = if binary { record(&BINARY, bytes) } else { structured(bytes) };
        if let Err(undecodable) = decode(&record) {
            prop_assert!(!undecodable.message.contains(CANARY) && undecodable.message.len() < 500);
        }
    }
}
