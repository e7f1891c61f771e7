//! The API of docs/extend.md compiles as it stands there, and does what the page says.

use super::example::DOORS;
use super::*;

#[test]
fn the_page_shows_what_is_compiled_here() {
    let page = include_str!("../../../docs/extend.md");
    assert!(page.contains(include_str!("example.rs")));
}

#[test]
fn its_answers_are_judged_as_the_page_says() {
    for (status, body, verdict) in [
        (200, r#"{"id":52}"#, Verdict::Delivered),
        (200, "<html>", Verdict::Fault),
        (422, r#"{"code":"bad_zone","detail":"d"}"#, REJECTED),
        (404, r#"{"code":"no_such_person"}"#, NOT_FOUND),
        (404, r#"{"code":"no_such_route"}"#, Verdict::Fault),
        (404, "<html>", Verdict::Fault),
        (503, "", RETRY),
    ] {
        let answer = Answer {
            status,
            body: body.into(),
            ..Answer::default()
        };
        let judgement = DOORS.judge(&user(), &Changes::default(), &answer);
        assert_eq!(judgement.verdict, verdict, "{status} {body}");
    }
}
