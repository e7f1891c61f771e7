//! aipix: each documented answer.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::{Seen, call, client, stand_in, update};
use crate::StandIn;
use crate::Users;

const LOGIN: &str = "/api/admin/v1/auth/token";
const GOOD: &str = r#"{"login":"courier","password":"courier"}"#;

async fn put(stand_in: &StandIn, body: &str) -> Seen {
    call(stand_in, Method::PUT, "/api/admin/v1/users/5", body)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_login_gives_a_token_that_updates() {
    let aipix = stand_in("aipix").await;
    let login = call(&aipix, Method::POST, LOGIN, GOOD).await.unwrap();
    assert_eq!(login.status, 200);
    let login = login.json();
    let token = login["access_token"].as_str().unwrap();
    assert!(token.starts_with("Bearer ") && login["token_type"] == "Bearer");
    let expires =
        jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", login["expires_at"].as_str().unwrap());
    assert!(expires.unwrap().year() >= 2024);

    let url = format!("{}/api/admin/v1/users/5", aipix.base_url());
    let send = |token: String| {
        let request = client()
            .put(&url)
            .header("accept", "application/json")
            .header("authorization", token);
        request
            .header("content-type", "application/json")
            .body(r#"{"permissions":[]}"#)
            .send()
    };
    assert_eq!(send(token.to_owned()).await.unwrap().status(), 200);
    aipix.expire_tokens();
    let refused = send(token.to_owned()).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.text().await.unwrap(),
        r#"{"message":"Unauthenticated."}"#
    );
}

#[tokio::test]
async fn a_login_may_be_refused() {
    let aipix = stand_in("aipix").await;
    let wrong = call(
        &aipix,
        Method::POST,
        LOGIN,
        r#"{"login":"courier","password":"x"}"#,
    )
    .await
    .unwrap();
    assert_eq!(
        (wrong.status, wrong.json()["errors"]["login"].is_array()),
        (422, true)
    );
    let empty = call(&aipix, Method::POST, LOGIN, "{}").await.unwrap();
    assert_eq!(
        (empty.status, empty.json()["errors"]["password"].is_array()),
        (422, true)
    );
    aipix.set(|settings| settings.password = "other".into());
    assert_eq!(
        call(&aipix, Method::POST, LOGIN, GOOD)
            .await
            .unwrap()
            .status,
        422
    );
    aipix.set(|settings| {
        settings.password = "courier".into();
        settings.refuse_logins = true;
    });
    assert_eq!(
        call(&aipix, Method::POST, LOGIN, GOOD)
            .await
            .unwrap()
            .status,
        422
    );
    assert_eq!(aipix.stats().logins, 4);
    assert!(
        aipix.journal().iter().all(|call| call.body.is_null()),
        "a login's password is not kept"
    );
}

#[tokio::test]
async fn an_update_is_answered_with_a_large_object_full_of_secrets() {
    let aipix = stand_in("aipix").await;
    let seen = update(&aipix, 5).await.unwrap();
    assert_eq!(seen.status, 200);
    assert!(seen.body.len() > 3_500, "{}", seen.body.len());
    let user = seen.json();
    assert_eq!(
        (&user["id"], &user["name"]),
        (&json!(5), &json!("subscriber-5"))
    );
    assert_eq!(user["permissions"][1]["id"], 12);
    assert_eq!(user["cameras"][0]["pivot"]["user_id"], 5);
    assert_eq!(user["intercoms"][0]["password"], "canary-intercom-password");
    assert_eq!(aipix.fields(5).unwrap()["permissions"], json!([9, 12]));
    assert_eq!(aipix.fields(6), None);
    assert_eq!(put(&aipix, r#"{"permissions":[]}"#).await.status, 200);
    assert_eq!(aipix.fields(5).unwrap()["permissions"], json!([]));
}

#[tokio::test]
async fn a_wrong_body_is_refused_field_by_field() {
    let aipix = stand_in("aipix").await;
    aipix.set(|settings| settings.permissions = Some(BTreeSet::from([9, 12])));
    for (body, field) in [
        ("{}", "permissions"),
        ("not json", "permissions"),
        (r#"{"permissions":"9"}"#, "permissions"),
        (r#"{"permissions":[9,"x"]}"#, "permissions.1"),
        (r#"{"permissions":[9,7]}"#, "permissions.1"),
    ] {
        let seen = put(&aipix, body).await;
        assert_eq!(seen.status, 422, "{body}");
        assert!(
            seen.json()["errors"][field][0].is_string(),
            "{body}: {}",
            seen.text()
        );
        assert!(
            !seen.json()["message"].as_str().unwrap().is_ascii(),
            "the words are localised"
        );
    }
    assert_eq!((aipix.fields(5), aipix.stats().applied), (None, 0));
}

#[tokio::test]
async fn a_missing_user_and_a_missing_route_differ_in_words() {
    let aipix = stand_in("aipix").await;
    aipix.set(|settings| settings.users = Users::Range(1..=4));
    let user = update(&aipix, 5).await.unwrap();
    assert_eq!(
        (user.status, user.json()),
        (
            404,
            json!({"message":"No query results for model [App\\Models\\User] 5"})
        )
    );
    assert_eq!(update(&aipix, 4).await.unwrap().status, 200);
    let word = call(&aipix, Method::PUT, "/api/admin/v1/users/abc", "{}")
        .await
        .unwrap();
    assert_eq!(
        word.json()["message"],
        "No query results for model [App\\Models\\User] abc"
    );
    let route = call(&aipix, Method::PUT, "/api/admin/v2/users/4", "{}")
        .await
        .unwrap();
    assert_eq!(
        (route.status, route.json()),
        (
            404,
            json!({"message":"The route api/admin/v2/users/4 could not be found."})
        )
    );
    let method = call(&aipix, Method::POST, "/api/admin/v1/users/4", "{}")
        .await
        .unwrap();
    assert_eq!((method.status, method.header("allow")), (405, "PUT"));
    assert!(method.json()["message"].is_string());
}

#[tokio::test]
async fn who_does_not_ask_for_json_is_sent_to_the_login_form() {
    let aipix = stand_in("aipix").await;
    let url = format!("{}/api/admin/v1/users/5", aipix.base_url());
    let seen = client()
        .put(url)
        .bearer_auth(super::TOKEN)
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (seen.status().as_u16(), &seen.headers()["location"]),
        (302, &"/login".parse().unwrap())
    );
}

#[tokio::test]
async fn the_rate_limit_asks_for_a_pause() {
    let aipix = stand_in("aipix").await;
    aipix.set(|settings| settings.rate_limit = 1);
    // Two of three calls in a row share a second, unless this machine stalls: then the next ones
    // do.
    let limited = loop {
        let seen = update(&aipix, 5).await.unwrap();
        if seen.status == 429 {
            break seen;
        }
    };
    assert_eq!(
        (
            limited.header("retry-after"),
            limited.header("x-ratelimit-remaining")
        ),
        ("1", "0")
    );
    assert_eq!(limited.json()["message"], "Too Many Attempts.");
    assert!(aipix.stats().applied < aipix.stats().updates);
}
