//! VALT: each documented answer.

use reqwest::Method;
use serde_json::json;

use super::{Seen, TOKEN, call, client, stand_in, update};
use crate::StandIn;
use crate::Users;

const LOGIN: &str = "/api/v3/login";
const GOOD: &str = r#"{"username":"courier","password":"courier"}"#;
const WRONG: &str = r#"{"username":"courier","password":"x"}"#;

async fn edit(stand_in: &StandIn, user: u64, body: &str) -> Seen {
    let path = format!("/api/v3/admin/users/{user}/edit?access_token={TOKEN}");
    call(stand_in, Method::POST, &path, body).await.unwrap()
}

#[tokio::test]
async fn a_login_gives_a_token_that_updates() {
    let valt = stand_in("valt").await;
    let login = call(&valt, Method::POST, LOGIN, GOOD).await.unwrap().json();
    let token = login["data"]["access_token"].as_str().unwrap();
    assert!(token.len() == 32 && token.chars().all(|digit| digit.is_ascii_hexdigit()));
    let path = format!("/api/v3/admin/users/52/edit?access_token={token}");
    let body = r#"{"name":"jdoe","password":"p1","display_name":"John","user_group":1,"card_number":"007",
        "rooms":[37],"video_access":{"users":[15],"user_groups":[]},"unknown":1}"#;
    let seen = call(&valt, Method::POST, &path, body).await.unwrap();
    assert_eq!((seen.status, seen.json()), (200, json!({"data":{"id":52}})));
    let fields = valt.fields(52).unwrap();
    assert_eq!((fields.len(), &fields["card_number"]), (7, &json!("007")));
    let escaped = call(
        &valt,
        Method::POST,
        &path.replace("/52/", "/%35%32/"),
        r#"{"name":"jane"}"#,
    )
    .await
    .unwrap();
    assert_eq!(
        (escaped.json(), &valt.fields(52).unwrap()["name"]),
        (json!({"data":{"id":52}}), &json!("jane"))
    );
    valt.expire_tokens();
    let seen = call(&valt, Method::POST, &path, body).await.unwrap();
    assert_eq!(
        (seen.status, &seen.json()["error"]["code"]),
        (401, &json!(401))
    );
    let seen = call(&valt, Method::POST, "/api/v3/admin/users/52/edit", body)
        .await
        .unwrap();
    assert_eq!(seen.status, 401);
    assert!(
        valt.journal().iter().all(|call| !call.path.contains(token)),
        "the path is kept without the token"
    );
}

#[tokio::test]
async fn ten_failures_lock_the_account() {
    let valt = stand_in("valt").await;
    for _ in 0..10 {
        let seen = call(&valt, Method::POST, LOGIN, WRONG).await.unwrap();
        assert_eq!(
            (seen.status, seen.json()),
            (401, json!({"data":"Invalid username or password"}))
        );
    }
    let seen = call(&valt, Method::POST, LOGIN, GOOD).await.unwrap();
    assert_eq!(seen.status, 401);
    assert!(seen.json()["data"].as_str().unwrap().contains("locked"));
    assert_eq!(
        update(&valt, 52).await.unwrap().status,
        200,
        "a token from before stays valid"
    );
}

#[tokio::test]
async fn refused_logins_do_not_lock_the_account() {
    let valt = stand_in("valt").await;
    valt.set(|settings| settings.refuse_logins = true);
    for _ in 0..11 {
        assert_eq!(
            call(&valt, Method::POST, LOGIN, GOOD).await.unwrap().status,
            401
        );
    }
    valt.set(|settings| settings.refuse_logins = false);
    assert_eq!(
        call(&valt, Method::POST, LOGIN, GOOD).await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn a_missing_user_is_told_in_json_and_a_missing_route_in_a_page() {
    let valt = stand_in("valt").await;
    valt.set(|settings| settings.users = Users::only([1, 2]));
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!(
        (seen.status, seen.json()),
        (404, json!({"error":{"code":404}}))
    );
    let route = call(&valt, Method::POST, "/api/v2/admin/users/1/edit", "{}")
        .await
        .unwrap();
    assert_eq!(
        (route.status, route.text().starts_with("<!DOCTYPE html>")),
        (404, true)
    );
    assert_eq!(
        call(&valt, Method::PUT, "/api/v3/admin/users/1/edit", "{}")
            .await
            .unwrap()
            .status,
        405
    );
}

#[tokio::test]
async fn a_wrong_body_is_refused() {
    let valt = stand_in("valt").await;
    for body in [
        "{",
        "[]",
        r#"{"rooms":["1"]}"#,
        r#"{"rooms":1}"#,
        r#"{"user_group":"7"}"#,
        r#"{"card_number":1}"#,
    ] {
        let seen = edit(&valt, 52, body).await;
        assert_eq!(
            (seen.status, &seen.json()["error"]["code"]),
            (400, &json!(400)),
            "{body}"
        );
    }
    assert_eq!(
        edit(&valt, 52, r#"{"video_access":{"users":1}}"#)
            .await
            .status,
        400
    );
    assert_eq!(valt.fields(52), None);
}

#[tokio::test]
async fn the_password_history_bars_the_last_three() {
    let valt = stand_in("valt").await;
    let set = async |password: &str| {
        edit(&valt, 52, &json!({ "password": password }).to_string())
            .await
            .status
    };
    assert_eq!(
        [set("a").await, set("a").await],
        [200, 200],
        "off by default"
    );
    valt.set(|settings| settings.password_history = true);
    assert_eq!(
        [
            set("a").await,
            set("b").await,
            set("c").await,
            set("d").await
        ],
        [400, 200, 200, 200]
    );
    assert_eq!([set("b").await, set("a").await], [400, 200]);
}

#[tokio::test]
async fn a_taken_name_is_a_server_error_where_that_is_switched_on() {
    let valt = stand_in("valt").await;
    let name = r#"{"name":"jdoe"}"#;
    assert_eq!(
        [
            edit(&valt, 1, name).await.status,
            edit(&valt, 2, name).await.status
        ],
        [200, 200]
    );
    valt.set(|settings| settings.unique_names = true);
    assert_eq!(edit(&valt, 3, name).await.status, 500);
    assert_eq!(edit(&valt, 3, r#"{"name":"other"}"#).await.status, 200);
    assert_eq!(
        edit(&valt, 3, r#"{"name":"other"}"#).await.status,
        200,
        "its own name is not taken"
    );
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_if_keys_are_heeded() {
    let valt = stand_in("valt").await;
    let with_key = async |key: &'static str, body: &'static str| {
        let url = format!(
            "{}/api/v3/admin/users/52/edit?access_token={TOKEN}",
            valt.base_url()
        );
        client()
            .post(url)
            .header("idempotency-key", key)
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(
        [
            with_key("a", r#"{"rooms":[1]}"#).await,
            with_key("a", r#"{"rooms":[2]}"#).await
        ],
        [200, 200]
    );
    valt.set(|settings| settings.idempotency_keys = true);
    let calls = [
        with_key("a", r#"{"rooms":"wrong"}"#).await,
        with_key("a", r#"{"rooms":[1]}"#).await,
        with_key("a", r#"{"rooms":"wrong"}"#).await,
        with_key("b", r#"{"rooms":[1]}"#).await,
    ];
    assert_eq!(calls, [400, 422, 400, 200]);
}
