//! Tests of how both APIs judge the answer to a login.

use secrecy::ExposeSecret;

use super::*;

#[test]
fn a_login_is_judged() {
    let login = |api, status, body: &str| {
        let answer = Answer {
            status,
            body: body.into(),
            ..Answer::default()
        };
        match (account(api).judge)(&answer) {
            Login::Token { token, renew_after } => format!(
                "{} {:?}",
                token.expose_secret(),
                renew_after.map(|time| time.as_secs())
            ),
            Login::Refused => "refused".to_owned(),
            Login::Failed(judgement) => judgement.verdict.as_str().to_owned(),
        }
    };
    for (api, status, body, expected) in [
        (
            "valt",
            200,
            r#"{"data":{"access_token":"abc"}}"#,
            "abc Some(27000)",
        ),
        ("valt", 200, r#"{"data":{"access_token":""}}"#, "fault"),
        (
            "valt",
            200,
            r#"{"data":"Invalid username or password"}"#,
            "fault",
        ),
        ("valt", 200, r#"{"error":{"code":401}}"#, "refused"),
        ("valt", 200, r#"{"error":{"code":"422"}}"#, "refused"),
        ("valt", 200, r#"{"error":{"code":503}}"#, "retry"),
        ("valt", 200, r#"{"error":{"code":404}}"#, "fault"),
        (
            "valt",
            401,
            r#"{"data":"Invalid username or password"}"#,
            "refused",
        ),
        ("valt", 404, r#"{"error":{"code":404}}"#, "fault"),
        ("valt", 409, r#"{"error":{"code":409}}"#, "fault"),
        (
            "aipix",
            200,
            r#"{"access_token":"Bearer abc","token_type":"Bearer"}"#,
            "abc None",
        ),
        (
            "aipix",
            200,
            r#"{"access_token":"abc","expires_at":"2000-01-01 00:00:00"}"#,
            "abc Some(300)",
        ),
        ("aipix", 200, r#"{"user":{}}"#, "fault"),
        ("aipix", 200, "<html>", "fault"),
        ("aipix", 204, "", "fault"),
        ("aipix", 400, "", "refused"),
        ("aipix", 401, "<html>", "refused"),
        ("aipix", 403, "", "refused"),
        ("aipix", 422, r#"{"message":"m"}"#, "refused"),
        (
            "aipix",
            404,
            r#"{"message":"No query results for model [User] 1"}"#,
            "fault",
        ),
        ("aipix", 413, "", "fault"),
        ("aipix", 302, "", "fault"),
        ("aipix", 429, "", "throttled"),
        ("aipix", 500, "", "retry"),
    ] {
        assert_eq!(login(api, status, body), expected, "{api}: {status} {body}");
    }
}
