//! What an event tells of its user and changes.

use serde_json::json;

use super::*;

fn with(user: Value, changes: Value) -> Event {
    Event { user: Some(user), changes: Some(changes), ..expected() }
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
        assert!(message.starts_with("data.user: must be a whole number"), "{message}");
        assert!(message.len() < 200 && !message.contains(CANARY), "{message}");
    }
    let nobody = Event { user: None, ..expected() };
    assert!(nobody.user_id().unwrap_err().message.ends_with("it is missing"));
}

#[test]
fn changes_are_an_object_with_an_entry() {
    assert_eq!(expected().changes_map().unwrap().len(), 2);
    assert_eq!(expected().fields(), ["password", "rooms"]);
    for changes in [json!({}), json!([CANARY]), json!(CANARY), json!(null), json!(7)] {
        let event = with(json!(1), changes);
        let message = event.changes_map().unwrap_err().message;
        assert!(message.starts_with("data.changes: must be an object") && !message.contains(CANARY), "{message}");
        assert!(event.fields().is_empty());
    }
    let names = (0..100).map(|number| (format!("{}{number:03}", "ä".repeat(70)), json!(1)));
    let fields = with(json!(1), Value::Object(names.collect())).fields();
    assert_eq!(fields.len(), 64);
    assert!(fields.iter().all(|name| name.chars().count() == 64));
}

#[test]
fn a_debug_of_an_event_shows_no_change() {
    let shown = format!("{:?}", with(json!({ "x": CANARY }), json!({ "password": CANARY, "a": [CANARY] })));
    assert!(!shown.contains(CANARY) && shown.contains("password"), "{shown}");
}
