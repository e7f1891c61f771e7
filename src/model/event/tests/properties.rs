//! What holds for any event and any bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
            target, user: user.as_ref().and_then(raw), changes: changes.as_ref().and_then(raw),
        }
    }
}

/// The event in structured and in binary mode.
fn encode(event: &Event) -> [Record; 2] {
    let text = |text: &str| to_raw_value(text).unwrap();
    let mut data: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
    data.extend(event.target.as_ref().map(|target| ("target", text(target))));
    data.extend(event.user.clone().map(|user| ("user", user)));
    data.extend(event.changes.clone().map(|changes| ("changes", changes)));
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
    let mut whole: BTreeMap<&str, Box<RawValue>> = attributes()
        .map(|(name, value)| (name, text(&value)))
        .collect();
    let mut binary = record(&[], serde_json::to_vec(&data).unwrap());
    binary.headers = attributes()
        .map(|(name, value)| Header::text(format!("ce_{name}"), value))
        .collect();
    whole.insert("data", to_raw_value(&data).unwrap());
    [structured(serde_json::to_vec(&whole).unwrap()), binary]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(event in any_event()) {
        for record in encode(&event) {
            prop_assert_eq!(told(decode(&record)), told(Ok(event.clone())));
            let _ = (event.user_id(IdForm::Number), event.changes().is_ok(), event.fields());
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
        record.headers = headers.into_iter().map(|(name, value)| Header { name: name.into(), value }).collect();
        if let Err(undecodable) = decode(&record) {
            prop_assert!(undecodable.message.len() < 500);
        }
        let _ = TraceContext::of(&record);
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
