//! What an event tells of its user and changes.

use super::*;

fn with(user: Value, changes: Value) -> Event {
    Event {
        user: raw(&user),
        changes: raw(&changes),
        ..expected()
    }
}

/// An event whose user is written so.
fn of(user: &str) -> Event {
    Event {
        user: Some(RawValue::from_string(user.to_owned()).unwrap()),
        ..expected()
    }
}

fn number(event: &Event) -> u64 {
    let user = event.user_id(IdForm::Number).unwrap();
    user.as_number().unwrap()
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
        assert_eq!(number(&with(user, json!({}))), wanted);
    }
    for user in [
        "52.0",
        "5.2e1",
        "0.52E+2",
        "520e-1",
        "52000000000000000000000e-21",
    ] {
        assert_eq!(number(&of(user)), 52, "{user}");
    }
    assert_eq!(
        number(&of("9007199254740993.0")),
        9_007_199_254_740_993,
        "a number that no f64 holds"
    );
    for user in [
        "-0",
        "0.0",
        "0e5",
        "0.5",
        "52.5",
        "1e400",
        "-1e400",
        "1e-400",
        "9223372036854775808.0",
        "99999999999999999999999",
    ] {
        let message = of(user).user_id(IdForm::Number).unwrap_err().message;
        assert!(
            message.ends_with("out of that range") || message.ends_with("a number with a fraction"),
            "{user}: {message}"
        );
    }
    for user in [
        json!(0),
        json!(-1),
        json!(max + 1),
        json!(u64::MAX),
        json!(52.5),
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
        let message = with(user, json!({}))
            .user_id(IdForm::Number)
            .unwrap_err()
            .message;
        assert!(
            message.starts_with("data.user: must be an integer"),
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
            .user_id(IdForm::Number)
            .unwrap_err()
            .message
            .ends_with("it is missing")
    );
}

#[test]
fn changes_are_an_object_with_an_entry() {
    assert_eq!(
        expected().changes().unwrap().get(),
        r#"{"password":"hunter2","rooms":[37,39]}"#
    );
    assert_eq!(expected().fields(), ["password", "rooms"]);
    for changes in [
        json!({}),
        json!([CANARY]),
        json!(CANARY),
        json!(null),
        json!(7),
    ] {
        let event = with(json!(1), changes);
        let message = event.changes().unwrap_err().message;
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
