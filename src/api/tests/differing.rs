//! Tests of what an answer shows of other values than were sent.

use super::*;

#[test]
fn permissions_that_do_not_hold_are_told() {
    let aipix = by_name("aipix").unwrap();
    let differing = |sent: &str, status: u16, body: &str| {
        let sent: Box<RawValue> =
            serde_json::from_str(&format!(r#"{{"permissions":{sent}}}"#)).unwrap();
        let answer = Answer {
            status,
            body: body.into(),
            ..Answer::default()
        };
        let judgement = aipix.judge(&user(), &aipix.validate(&sent).unwrap(), &answer);
        judgement.differing
    };
    let held = |ids: &str| format!(r#"{{"id":52,"permissions":[{ids}]}}"#);
    let nine = r#"{"id":9,"name":"canary"}"#;
    for (sent, body, told) in [
        ("[9,12,9]", held(&format!(r#"{{"id":12}},{nine}"#)), None),
        ("[]", held(""), None),
        (
            "[9,12]",
            held(nine),
            Some("of the permissions sent these do not hold: 12"),
        ),
        ("[]", held(nine), Some("so many hold that were not sent: 1")),
        ("[12,-1]", held(nine), None),
        (
            "[13,12]",
            held("9"),
            Some(
                "of the permissions sent these do not hold: 12, 13; so many hold that were not sent: 1",
            ),
        ),
        // Nothing is told that the answer does not show.
        ("[9]", r#"{"id":52}"#.to_owned(), None),
        ("[9]", r#"{"id":52,"permissions":null}"#.to_owned(), None),
        ("[9]", r#"{"id":52,"permissions":["x"]}"#.to_owned(), None),
        (
            "[9]",
            r#"{"id":52,"permissions":[{"x":9}]}"#.to_owned(),
            None,
        ),
    ] {
        assert_eq!(
            differing(sent, 200, &body).as_deref(),
            told,
            "{sent} {body}"
        );
    }
    assert_eq!(differing("[9]", 204, ""), None);
    assert_eq!(
        differing("[9]", 422, r#"{"message":"m","permissions":[]}"#),
        None
    );
    let many = (1..=500)
        .map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(",");
    assert!(
        differing(&format!("[{many}]"), 200, &held(""))
            .unwrap()
            .len()
            < 200
    );
}
