//! Tests of what both APIs take and send.

use super::*;

#[test]
fn requests_are_as_documented() {
    let valt = by_name("valt").unwrap();
    let changes =
        json!({ "rooms": [39, 37, 37], "card_number": "007", "video_access": { "user_groups": [], "users": [1] }, "name": "é\"" });
    let request = valt.update(user(), changes.as_object().unwrap());
    assert_eq!((request.method.as_str(), &*request.path), ("POST", "/api/v3/admin/users/52/edit"));
    assert_eq!(request.token, TokenPlace::Query("access_token"));
    let body = r#"{"rooms":[39,37,37],"card_number":"007","video_access":{"user_groups":[],"users":[1]},"name":"é\""}"#;
    assert_eq!(String::from_utf8(request.body).unwrap(), body);
    let request = valt.login("john", &SecretString::from("pass\""));
    assert_eq!((request.method.as_str(), &*request.path, request.token), ("POST", "/api/v3/login", TokenPlace::None));
    assert_eq!(String::from_utf8(request.body).unwrap(), r#"{"username":"john","password":"pass\""}"#);

    let aipix = by_name("aipix").unwrap();
    let request = aipix.update(user(), json!({ "permissions": [12, 9] }).as_object().unwrap());
    assert_eq!((request.method.as_str(), &*request.path), ("PUT", "/api/admin/v1/users/52"));
    assert_eq!(request.token, TokenPlace::Bearer);
    assert_eq!(String::from_utf8(request.body).unwrap(), r#"{"permissions":[12,9]}"#);
    let request = aipix.update(user(), json!({ "permissions": [] }).as_object().unwrap());
    assert_eq!(String::from_utf8(request.body).unwrap(), r#"{"permissions":[]}"#);
    let request = aipix.login("john", &SecretString::from("pass"));
    assert_eq!((request.method.as_str(), &*request.path, request.token), ("POST", "/api/admin/v1/auth/token", TokenPlace::None));
    assert_eq!(String::from_utf8(request.body).unwrap(), r#"{"login":"john","password":"pass"}"#);
}

#[test]
fn valid_changes_are_taken() {
    for (api, changes) in [
        ("aipix", r#"{"permissions":[]}"#),
        ("aipix", r#"{"permissions":[9,12,9,-1,9223372036854775807]}"#),
        ("valt", r#"{"name":"","password":"x","display_name":"é","user_group":7,"card_number":"007","rooms":[1,1]}"#),
        ("valt", r#"{"video_access":{"users":[15]}}"#),
        ("valt", r#"{"video_access":{"users":[],"user_groups":[1]}}"#),
    ] {
        let changes: Map<String, Value> = serde_json::from_str(changes).unwrap();
        assert_eq!(by_name(api).unwrap().validate(&changes), Ok(()));
    }
}

#[test]
fn a_mistake_is_named_by_its_path_and_no_value_is_quoted() {
    const INTEGER: &str = "must be an integer of 64 bits, not";
    const FRACTION: &str = "a number with a fraction, an exponent or too many digits";
    for (api, changes, message) in [
        ("aipix", r#"{}"#, "data.changes: must hold at least one of `permissions`".to_owned()),
        ("aipix", r#"{"permissions":null}"#, "data.changes.permissions: must be an array of integers, not null".into()),
        ("aipix", r#"{"permissions":"canary"}"#, "data.changes.permissions: must be an array of integers, not a string".into()),
        ("aipix", r#"{"permissions":[1,"2"]}"#, format!("data.changes.permissions[1]: {INTEGER} a string")),
        ("aipix", r#"{"permissions":[1.0]}"#, format!("data.changes.permissions[0]: {INTEGER} {FRACTION}")),
        ("aipix", r#"{"permissions":[1e2]}"#, format!("data.changes.permissions[0]: {INTEGER} {FRACTION}")),
        ("aipix", r#"{"permissions":[1,2,99999999999999999999]}"#, format!("data.changes.permissions[2]: {INTEGER} {FRACTION}")),
        ("aipix", r#"{"permissions":[9223372036854775808]}"#, format!("data.changes.permissions[0]: {INTEGER} a number beyond 2^63-1")),
        ("aipix", r#"{"permissions":[true]}"#, format!("data.changes.permissions[0]: {INTEGER} a boolean")),
        ("aipix", r#"{"permissions":[[1]]}"#, format!("data.changes.permissions[0]: {INTEGER} an array")),
        (
            "aipix",
            r#"{"permissions":[1],"name":"canary"}"#,
            "data.changes.name: there is no such field; the nearest is `permissions`".into(),
        ),
        ("valt", r#"{"passwrd":"canary"}"#, "data.changes.passwrd: there is no such field; the nearest is `password`".into()),
        ("valt", r#"{"Rooms":[]}"#, "data.changes.Rooms: there is no such field; the nearest is `rooms`".into()),
        ("valt", r#"{"a\nb":1}"#, r"data.changes.a\nb: there is no such field; the nearest is `name`".into()),
        ("valt", r#"{"name":"ok","password":12345}"#, "data.changes.password: must be a string, not a number".into()),
        ("valt", r#"{"card_number":362504}"#, "data.changes.card_number: must be a string, not a number".into()),
        ("valt", r#"{"display_name":null}"#, "data.changes.display_name: must be a string, not null".into()),
        ("valt", r#"{"user_group":"7"}"#, format!("data.changes.user_group: {INTEGER} a string")),
        ("valt", r#"{"user_group":-0.0}"#, format!("data.changes.user_group: {INTEGER} {FRACTION}")),
        ("valt", r#"{"rooms":{}}"#, "data.changes.rooms: must be an array of integers, not an object".into()),
        ("valt", r#"{"video_access":[]}"#, "data.changes.video_access: must be an object, not an array".into()),
        ("valt", r#"{"video_access":{}}"#, "data.changes.video_access: must hold at least one of `users`, `user_groups`".into()),
        ("valt", r#"{"video_access":{"users":[1,2,null]}}"#, format!("data.changes.video_access.users[2]: {INTEGER} null")),
        (
            "valt",
            r#"{"video_access":{"user_group":[1]}}"#,
            "data.changes.video_access.user_group: there is no such field; the nearest is `user_groups`".into(),
        ),
    ] {
        let changes: Map<String, Value> = serde_json::from_str(changes).unwrap();
        let mistake = by_name(api).unwrap().validate(&changes).unwrap_err();
        assert_eq!(mistake.message, message);
    }
    let long = Map::from_iter([("x".repeat(1_000_000), Value::Null)]);
    assert!(by_name("valt").unwrap().validate(&long).unwrap_err().message.len() < 200);
}
