//! Tests of what both APIs take and send.

use serde_json::value::to_raw_value;

use super::*;

pub(super) fn validated(api: &str, changes: &str) -> Result<Changes, String> {
    let changes: Box<RawValue> = serde_json::from_str(changes).unwrap();
    by_name(api)
        .unwrap()
        .validate(&changes)
        .map_err(|invalid| invalid.message)
}

/// The body of the call that sets these changes.
pub(super) fn sent(api: &str, changes: &str) -> String {
    let request = by_name(api)
        .unwrap()
        .update(&user(), &validated(api, changes).unwrap());
    String::from_utf8(request.body.into()).unwrap()
}

#[test]
fn requests_are_as_documented() {
    let valt = by_name("valt").unwrap();
    let changes = r#"{ "rooms": [39, 37 ,37], "card_number": "007", "video_access": {"user_groups":[ ],"users":[1]}, "name": "é\"\u00e9" }"#;
    let request = valt.update(&user(), &validated("valt", changes).unwrap());
    assert_eq!(
        (request.method.as_str(), &*request.path),
        ("POST", "/api/v3/admin/users/52/edit")
    );
    assert_eq!(request.token, TokenPlace::Query("access_token"));
    let body = r#"{"rooms":[39,37,37],"card_number":"007","video_access":{"user_groups":[],"users":[1]},"name":"é\"\u00e9"}"#;
    assert_eq!(request.body, body);
    let request = (account("valt").request)("john", &SecretString::from("pass\""));
    assert_eq!(
        (request.method.as_str(), &*request.path, request.token),
        ("POST", "/api/v3/login", TokenPlace::None)
    );
    assert_eq!(request.body, r#"{"username":"john","password":"pass\""}"#);

    let aipix = by_name("aipix").unwrap();
    let request = aipix.update(
        &user(),
        &validated("aipix", r#"{"permissions":[12,9]}"#).unwrap(),
    );
    assert_eq!(
        (request.method.as_str(), &*request.path),
        ("PUT", "/api/admin/v1/users/52")
    );
    assert_eq!(request.token, TokenPlace::Bearer);
    assert_eq!(request.body, r#"{"permissions":[12,9]}"#);
    assert_eq!(
        sent("aipix", r#"{"permissions":[]}"#),
        r#"{"permissions":[]}"#
    );
    let request = (account("aipix").request)("john", &SecretString::from("pass"));
    assert_eq!(
        (request.method.as_str(), &*request.path, request.token),
        ("POST", "/api/admin/v1/auth/token", TokenPlace::None)
    );
    assert_eq!(request.body, r#"{"login":"john","password":"pass"}"#);
}

#[test]
fn valid_changes_are_taken() {
    for (api, changes) in [
        ("aipix", r#"{"permissions":[]}"#),
        (
            "aipix",
            r#"{"permissions":[9,12,9,-1,9223372036854775807]}"#,
        ),
        (
            "valt",
            r#"{"name":"","password":"x","display_name":"é","user_group":7,"card_number":"007","rooms":[1,1]}"#,
        ),
        ("valt", r#"{"video_access":{"users":[15]}}"#),
        ("valt", r#"{"video_access":{"users":[],"user_groups":[1]}}"#),
    ] {
        assert_eq!(sent(api, changes), changes);
    }
}

#[test]
fn integers_are_sent_as_such_however_they_were_written() {
    for (api, changes, body) in [
        (
            "aipix",
            r#"{"permissions":[52.0, 5.2e1,-0,-1.0 ,1e2]}"#,
            r#"{"permissions":[52,52,0,-1,100]}"#,
        ),
        (
            "aipix",
            r#"{"permissions":[9007199254740993.0]}"#,
            r#"{"permissions":[9007199254740993]}"#,
        ),
        (
            "valt",
            r#"{"user_group":4e0,"rooms":[37.0],"name":"37.0"}"#,
            r#"{"user_group":4,"rooms":[37],"name":"37.0"}"#,
        ),
        (
            "valt",
            r#"{"video_access":{"users":[1.5e1]}}"#,
            r#"{"video_access":{"users":[15]}}"#,
        ),
    ] {
        assert_eq!(sent(api, changes), body);
    }
}

#[test]
fn a_list_is_bounded() {
    let list = |items: usize| format!(r#"{{"rooms":[{}1]}}"#, "1,".repeat(items - 1));
    assert_eq!(
        validated("valt", &list(1_000_000))
            .unwrap()
            .get("rooms")
            .unwrap()
            .len(),
        2_000_001
    );
    assert_eq!(
        validated("valt", &list(1_000_001)).unwrap_err(),
        "data.changes.rooms: must have at most 1000000 items"
    );
}

#[test]
fn changes_are_merged_field_by_field_and_shown_without_values() {
    let changes = |text| validated("valt", text).unwrap();
    let all = [
        changes(r#"{"name":"canary-1","rooms":[1]}"#),
        changes(r#"{"user_group":2}"#),
        changes(r#"{"name":"canary-2","card_number":"canary"}"#),
    ];
    let merged = Changes::merged(&all);
    assert_eq!(
        merged.body(),
        r#"{"name":"canary-2","rooms":[1],"user_group":2,"card_number":"canary"}"#
    );
    assert_eq!(
        merged.names().collect::<Vec<_>>(),
        ["name", "rooms", "user_group", "card_number"]
    );
    assert_eq!(
        (merged.get("user_group"), merged.get("password")),
        (Some("2"), None)
    );
    assert_eq!(
        format!("{merged:?}"),
        r#"["name", "rooms", "user_group", "card_number"]"#
    );
}

#[test]
fn a_mistake_is_named_by_its_path_and_no_value_is_quoted() {
    const INTEGER: &str = "must be an integer of 64 bits, not";
    const FRACTION: &str = "a number with a fraction";
    const BEYOND: &str = "a number beyond that";
    for (api, changes, message) in [
        ("aipix", r#"{}"#, "data.changes: must hold at least one of `permissions`".to_owned()),
        ("aipix", r#"{"permissions":null}"#, "data.changes.permissions: must be an array of integers, not null".into()),
        ("aipix", r#"{"permissions":"canary"}"#, "data.changes.permissions: must be an array of integers, not a string".into()),
        ("aipix", r#"{"permissions":[1,"2"]}"#, format!("data.changes.permissions[1]: {INTEGER} a string")),
        ("aipix", r#"{"permissions":[1.5]}"#, format!("data.changes.permissions[0]: {INTEGER} {FRACTION}")),
        ("aipix", r#"{"permissions":[1,1e-2]}"#, format!("data.changes.permissions[1]: {INTEGER} {FRACTION}")),
        ("aipix", r#"{"permissions":[1,2,99999999999999999999]}"#, format!("data.changes.permissions[2]: {INTEGER} {BEYOND}")),
        ("aipix", r#"{"permissions":[9223372036854775808]}"#, format!("data.changes.permissions[0]: {INTEGER} {BEYOND}")),
        ("aipix", r#"{"permissions":[true]}"#, format!("data.changes.permissions[0]: {INTEGER} a boolean")),
        ("aipix", r#"{"permissions":[1e400]}"#, format!("data.changes.permissions[0]: {INTEGER} {BEYOND}")),
        ("aipix", r#"{"permissions":[7,{"a":[1,2]},8]}"#, format!("data.changes.permissions[1]: {INTEGER} an object")),
        ("aipix", r#"{"permissions":[1,"1,2"]}"#, format!("data.changes.permissions[1]: {INTEGER} a string")),
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
        ("valt", r#"{"user_group":-0.1}"#, format!("data.changes.user_group: {INTEGER} {FRACTION}")),
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
        assert_eq!(validated(api, changes).unwrap_err(), message);
    }
    let long = to_raw_value(&BTreeMap::from([("x".repeat(1_000_000), Value::Null)])).unwrap();
    assert!(validated("valt", long.get()).unwrap_err().len() < 200);
}
