//! Tests of the strict reader.

use super::*;

#[test]
fn a_number_that_nothing_can_hold_spoils_its_own_field_only() {
    let digits = "9".repeat(1000);
    let text = format!(
        r#"{{"a":"\\\"1e999","user":{digits},"b":[-1e400000,7,"\\"],"c":18446744073709551616}}"#
    );
    let read = object(text.as_bytes(), "", &["a", "user", "b", "c"]);
    assert_eq!(read.problem, None);
    let [a, user, b, c] = read.members.map(|member| member.unwrap().get());
    assert_eq!(
        (a, user, b, c),
        (
            r#""\\\"1e999""#,
            &*digits,
            r#"[-1e400000,7,"\\"]"#,
            "18446744073709551616"
        )
    );
    let cut = format!(r#"{{"user":{digits},"#);
    assert!(
        object(cut.as_bytes(), "", &["user"])
            .problem
            .unwrap()
            .contains("byte 1009")
    );
}

#[test]
fn a_mistake_inside_a_value_is_told_with_its_place_in_the_whole() {
    for text in [
        "{\"a\":1,\n \"b\":{\n  \"c\":\"\\ud800\"}}",
        r#"{"a":"\udc00"}"#,
        r#"{"b":[1,{"c":1e999,"d":"\ud800"}]}"#,
    ] {
        let problem = object(text.as_bytes(), "", &["a"]).problem.unwrap();
        let whole =
            serde_json::from_str::<serde_json::Value>(&text.replace("1e999", "1e300")).unwrap_err();
        let wanted = format!("at line {}, byte {}", whole.line(), whole.column());
        assert!(
            problem.starts_with("is not readable JSON: ") && problem.ends_with(&wanted),
            "{problem}, {wanted}"
        );
    }
}

#[test]
fn no_name_inside_a_secret_is_told() {
    for (text, wanted) in [
        (
            r#"{"data":{"changes":{"password":{"hunter2":1,"hunter2":2}}}}"#,
            "has `data.changes.password` twice",
        ),
        (
            r#"{"changes":{"passwd":[{"a":{"hunter2":1,"hunter2":2}}]}}"#,
            "has `changes.passwd` twice",
        ),
        (
            r#"{"changes":{"card_number":1,"card_number":2}}"#,
            "has `changes.card_number` twice",
        ),
        (
            r#"{"changes":{"rooms":[{"a":1,"a":2}]}}"#,
            "has `changes.rooms[0].a` twice",
        ),
    ] {
        assert_eq!(
            object(text.as_bytes(), "", &["changes"]).problem.as_deref(),
            Some(wanted)
        );
    }
}
