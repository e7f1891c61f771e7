//! Tests of how both APIs judge answers: every row of the verdict table.

use secrecy::SecretString;
use serde_json::{Value, json};

use std::collections::BTreeMap;

use super::*;
use crate::model::text;

mod differing;
mod example;
mod login;
mod page;
mod registry;
mod requests;
mod scim;

const REJECTED: Verdict = Verdict::Rejected {
    user_not_found: false,
};
const NOT_FOUND: Verdict = Verdict::Rejected {
    user_not_found: true,
};
const RETRY: Verdict = Verdict::Retry { unreachable: false };
const NO_PAUSE: Verdict = Verdict::Throttled { retry_after: None };

fn user() -> UserId {
    UserId::number(52).unwrap()
}

fn account(api: &str) -> &'static Account {
    match by_name(api).unwrap().access.other {
        Other::Login(account) => account,
        Other::None | Other::Client => panic!("{api} has no login"),
    }
}

fn judged(api: &str, status: u16, body: &str) -> Judgement {
    let answer = Answer {
        status,
        body: body.into(),
        ..Answer::default()
    };
    by_name(api)
        .unwrap()
        .judge(&user(), &Changes::default(), &answer)
}

fn rows(api: &str, rows: &[(u16, &str, Verdict)]) {
    for (status, body, verdict) in rows {
        let judgement = judged(api, *status, body);
        assert_eq!(judgement.verdict, *verdict, "{api}: {status} {body}");
        assert_eq!(
            judgement.error.is_none(),
            *verdict == Verdict::Delivered,
            "{api}: {status} {body}"
        );
        assert_eq!(
            judgement.token_refused,
            *status == 401 || body.contains("401"),
            "{api}: {status} {body}"
        );
    }
}

#[test]
fn the_registry_finds_by_name() {
    let keys = |name| {
        (
            by_name(name).unwrap().access.token_key,
            account(name).username_key,
        )
    };
    assert_eq!(keys("aipix"), ("token", "login"));
    assert_eq!(keys("valt"), ("access_token", "username"));
    assert!(by_name("ldap").is_none());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: a line for each case")]
fn an_aipix_answer_is_judged_by_the_table() {
    let error = |code: Value| json!({ "error": { "code": code, "message": "m" } }).to_string();
    rows(
        "aipix",
        &[
            (200, r#"{"id":52,"name":"x"}"#, Verdict::Delivered),
            (
                200,
                r#"{"name":"x","id":"52","error":null}"#,
                Verdict::Delivered,
            ),
            (200, r#"{"id":52.0,"error":false}"#, Verdict::Delivered),
            (200, r#"{"id":5.2e1,"error":""}"#, Verdict::Delivered),
            (200, r#"{"id":52,"error":[]}"#, Verdict::Delivered),
            (200, r#"{"id":52,"error":{}}"#, Verdict::Delivered),
            (200, r#"{"id":52,"error":true}"#, Verdict::Fault),
            (200, r#"{"id":52,"error":0}"#, Verdict::Fault),
            (200, r#"{"id":5.5}"#, Verdict::Fault),
            (204, "", Verdict::Delivered),
            (200, "", Verdict::Fault),
            (200, "<html></html>", Verdict::Fault),
            (200, "5", Verdict::Fault),
            (200, r#"[{"id":5}]"#, Verdict::Fault),
            (200, r#"{"id":52"#, Verdict::Fault),
            (200, r#"{"data":{"id":52}}"#, Verdict::Fault),
            (200, r#"{"id":null}"#, Verdict::Fault),
            (200, r#"{"id":""}"#, Verdict::Fault),
            (200, r#"{"message":"ok"}"#, Verdict::Fault),
            (200, &error(json!(422)), REJECTED),
            (200, &error(json!("422")), REJECTED),
            (200, &error(json!(401)), Verdict::Unauthorized),
            (200, &error(json!(403)), Verdict::Unauthorized),
            (200, &error(json!(404)), Verdict::Fault),
            (200, &error(json!(500)), RETRY),
            (200, &error(json!("429")), NO_PAUSE),
            (200, &error(json!(200)), Verdict::Fault),
            (200, &error(json!("soon")), Verdict::Fault),
            (200, &error(json!(99_999_999)), Verdict::Fault),
            (200, r#"{"id":52,"error":"x"}"#, Verdict::Fault),
            (200, r#"{"error":{"code":422}}"#, Verdict::Fault),
            (201, r#"{"id":52}"#, Verdict::Fault),
            (202, r#"{"id":52}"#, Verdict::Fault),
            (
                422,
                r#"{"message":"m","errors":{"permissions.0":["x"]}}"#,
                REJECTED,
            ),
            (422, r#"{"errors":{}}"#, REJECTED),
            (400, r#"{"message":"m"}"#, REJECTED),
            (409, r#"{"message":"m"}"#, REJECTED),
            (410, r#"{"message":"m"}"#, REJECTED),
            (412, r#"{"message":"m"}"#, REJECTED),
            (413, "<html>", REJECTED),
            (413, "", REJECTED),
            (400, "<html>", Verdict::Fault),
            (409, "", Verdict::Fault),
            (410, r#"{"data":"m"}"#, Verdict::Fault),
            (412, r#"["message"]"#, Verdict::Fault),
            (422, r#""message""#, Verdict::Fault),
            (422, r#"{"error":{"code":422}}"#, Verdict::Fault),
            (
                401,
                r#"{"message":"Unauthenticated."}"#,
                Verdict::Unauthorized,
            ),
            (403, "<html>", Verdict::Unauthorized),
            (
                404,
                r#"{"message":"No query results for model [App\\Models\\User] 52"}"#,
                NOT_FOUND,
            ),
            (
                404,
                r#"{"message":"No query results for model [App\\User]."}"#,
                NOT_FOUND,
            ),
            (
                404,
                r#"{"message":"No query results for model [Modules\\Billing\\BillingUser] 52"}"#,
                NOT_FOUND,
            ),
            (
                404,
                r#"{"message":"No query results for model [App\\Models\\Permission] 9"}"#,
                Verdict::Fault,
            ),
            (
                404,
                r#"{"message":"No query results for model [App\\Models\\UserGroup] 52"}"#,
                Verdict::Fault,
            ),
            (
                404,
                r#"{"message":"No query results for model App\\Models\\User"}"#,
                Verdict::Fault,
            ),
            (
                404,
                r#"{"message":"The route api/admin/v1/users/52 could not be found."}"#,
                Verdict::Fault,
            ),
            (
                404,
                r#"{"message":"not: No query results for model [App\\Models\\User] 52"}"#,
                Verdict::Fault,
            ),
            (404, r#"{"error":{"code":404}}"#, Verdict::Fault),
            (404, "", Verdict::Fault),
            (503, "", RETRY),
            (500, r#"{"message":"Server Error"}"#, RETRY),
        ],
    );
    other_statuses("aipix");
}

#[test]
fn a_valt_answer_is_judged_by_the_table() {
    let error = |code: Value| json!({ "error": { "code": code } }).to_string();
    rows(
        "valt",
        &[
            (200, r#"{"data":{"id":52}}"#, Verdict::Delivered),
            (
                200,
                r#"{"data":{"id":"52"},"error":null}"#,
                Verdict::Delivered,
            ),
            (
                200,
                r#"{"error":false,"data":{"id":52.0}}"#,
                Verdict::Delivered,
            ),
            (200, r#"{"error":{},"data":{"id":52}}"#, Verdict::Delivered),
            (204, "", Verdict::Fault),
            (200, "", Verdict::Fault),
            (200, "<html></html>", Verdict::Fault),
            (200, r#"{"id":52}"#, Verdict::Fault),
            (200, r#"{"data":52}"#, Verdict::Fault),
            (200, r#"{"data":{"id":null}}"#, Verdict::Fault),
            (200, r#"{"data":"Invalid"}"#, Verdict::Fault),
            (200, r#"{"data":{"id":52}"#, Verdict::Fault),
            (200, &error(json!(400)), REJECTED),
            (200, &error(json!("409")), REJECTED),
            (200, &error(json!(401)), Verdict::Unauthorized),
            (200, &error(json!(403)), Verdict::Unauthorized),
            (200, &error(json!(404)), NOT_FOUND),
            (200, &error(json!("404")), NOT_FOUND),
            (200, &error(json!(500)), RETRY),
            (200, &error(json!(503)), RETRY),
            (200, &error(json!(429)), NO_PAUSE),
            (200, &error(json!(405)), Verdict::Fault),
            (200, &error(json!(0)), Verdict::Fault),
            (200, &error(json!(-404)), Verdict::Fault),
            (200, &error(json!(404.5)), Verdict::Fault),
            (200, &error(json!(null)), Verdict::Fault),
            (200, r#"{"error":{"code":404},"data":{"id":52}}"#, NOT_FOUND),
            (400, r#"{"error":{"code":400,"message":"m"}}"#, REJECTED),
            (409, r#"{"data":"m"}"#, REJECTED),
            (410, r#"{"error":"m"}"#, REJECTED),
            (412, r#"{"error":{}}"#, REJECTED),
            (422, r#"{"error":{"code":404}}"#, REJECTED),
            (413, "", REJECTED),
            (400, r#"{"message":"m"}"#, Verdict::Fault),
            (409, "<html>", Verdict::Fault),
            (410, "", Verdict::Fault),
            (412, "null", Verdict::Fault),
            (422, r#"["error"]"#, Verdict::Fault),
            (
                401,
                r#"{"error":{"code":401,"message":"m"}}"#,
                Verdict::Unauthorized,
            ),
            (403, "", Verdict::Unauthorized),
            (404, r#"{"error":{"code":404}}"#, NOT_FOUND),
            (404, r#"{"error":{"code":"404","message":"m"}}"#, NOT_FOUND),
            (404, r#"{"error":{"code":400}}"#, Verdict::Fault),
            (404, r#"{"error":"404"}"#, Verdict::Fault),
            (404, r#"{"data":"no such user"}"#, Verdict::Fault),
            (404, "<html>", Verdict::Fault),
            (503, r#"{"error":{"code":503}}"#, RETRY),
        ],
    );
    other_statuses("valt");
}

fn other_statuses(api: &str) {
    for (statuses, verdict) in [
        (&[201, 202, 203, 205, 206, 226, 101][..], Verdict::Fault),
        (&[300, 301, 302, 303, 304, 307, 308], Verdict::Fault),
        (
            &[
                405, 406, 415, 419, 402, 411, 414, 418, 421, 423, 426, 428, 431, 451, 499, 600, 999,
            ],
            Verdict::Fault,
        ),
        (
            &[408, 425, 500, 502, 504, 501, 505, 507, 511, 520, 599],
            RETRY,
        ),
        (&[429], NO_PAUSE),
        (&[401, 403], Verdict::Unauthorized),
    ] {
        for &status in statuses {
            for body in [
                "",
                "<html>",
                r#"{"message":"m","error":{"message":"m"},"data":{"id":52},"id":52}"#,
            ] {
                assert_eq!(
                    judged(api, status, body).verdict,
                    verdict,
                    "{api}: {status} {body}"
                );
            }
        }
    }
}

#[test]
fn a_pause_is_read_from_429_and_503_only() {
    for api in ["aipix", "valt"] {
        let judged = |status, retry_after| {
            let answer = Answer {
                status,
                asks_for_pause: true,
                retry_after,
                ..Answer::default()
            };
            by_name(api)
                .unwrap()
                .judge(&user(), &Changes::default(), &answer)
                .verdict
        };
        let minute = Some(Duration::from_secs(60));
        assert_eq!(
            judged(429, minute),
            Verdict::Throttled {
                retry_after: minute
            }
        );
        assert_eq!(
            judged(503, minute),
            Verdict::Throttled {
                retry_after: minute
            }
        );
        assert_eq!(
            judged(503, None),
            NO_PAUSE,
            "a Retry-After that cannot be read is one"
        );
        assert_eq!(judged(500, minute), RETRY);
        assert_eq!(judged(301, minute), Verdict::Fault);
    }
}

#[test]
fn another_user_in_the_answer_is_noted() {
    assert!(judged("valt", 200, r#"{"data":{"id":48}}"#).other_user);
    assert!(!judged("valt", 200, r#"{"data":{"id":52}}"#).other_user);
    assert!(!judged("valt", 200, r#"{"data":{"id":52.0}}"#).other_user);
    assert!(judged("aipix", 200, r#"{"id":48}"#).other_user);
    assert!(!judged("aipix", 200, r#"{"id":52}"#).other_user);
}

#[test]
fn an_api_is_quoted_from_its_validation_messages_only() {
    let words = |api, status, body: &str| {
        let judgement = judged(api, status, body);
        let error = judgement.error.unwrap();
        judgement
            .quotes_api
            .then_some((error.message, error.fields))
    };
    let fields = BTreeMap::from([
        ("a".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
        ("b".to_owned(), vec!["z".to_owned()]),
    ]);
    let body = r#"{"message":"m","errors":{"a":["x",7,"y"],"b":"z"}}"#;
    assert_eq!(words("aipix", 422, body), Some(("m".to_owned(), fields)));
    assert_eq!(
        words("valt", 400, r#"{"error":{"message":"m"}}"#),
        Some(("m".to_owned(), BTreeMap::new()))
    );
    assert_eq!(
        words("valt", 400, r#"{"data":"d"}"#),
        Some(("d".to_owned(), BTreeMap::new()))
    );
    for (api, status, body) in [
        (
            "aipix",
            500,
            r#"{"message":"canary","errors":{"canary":["canary"]}}"#,
        ),
        (
            "aipix",
            404,
            r#"{"message":"No query results for model [canary] 52"}"#,
        ),
        ("aipix", 413, r#"{"message":"canary"}"#),
        ("aipix", 200, r#"{"message":"canary"}"#),
        ("aipix", 401, r#"{"message":"canary"}"#),
        ("valt", 404, r#"{"error":{"code":404,"message":"canary"}}"#),
        ("valt", 500, r#"{"error":{"code":500,"message":"canary"}}"#),
        (
            "valt",
            200,
            r#"{"error":{"code":"canary","message":"canary"}}"#,
        ),
        ("valt", 422, r#"{"canary":"canary"}"#),
    ] {
        assert_eq!(words(api, status, body), None);
        assert!(
            !format!("{:?}", judged(api, status, body).error).contains("canary"),
            "{api} {status}"
        );
    }
}

#[test]
fn no_secret_is_shown_by_debug() {
    let answer = Answer {
        status: 200,
        body: b"canary".to_vec(),
        ..Answer::default()
    };
    let judgement = judged("valt", 422, r#"{"error":{"message":"canary"}}"#);
    let login = (account("valt").judge)(&Answer {
        status: 200,
        body: br#"{"data":{"access_token":"canary"}}"#.to_vec(),
        ..answer.clone()
    });
    assert!(
        judgement.error.as_ref().unwrap().message == "canary"
            && matches!(login, Login::Token { .. })
    );
    let shown = format!("{answer:?} {judgement:?} {login:?}");
    assert!(!shown.contains("canary"), "{shown}");
}
