//! Control over HTTP.

use reqwest::Method;
use serde_json::json;

use super::{TOKEN, call, client, control, stand_in, update};

#[tokio::test]
async fn faults_are_set_listed_and_taken_back() {
    let valt = stand_in("valt").await;
    let first = control(
        &valt,
        Method::POST,
        "/faults",
        r#"{"user":52,"status":503,"times":3,"retry_after":7}"#,
    )
    .await;
    assert_eq!((first.status, first.json()), (200, json!({"number": 1})));
    control(
        &valt,
        Method::POST,
        "/faults",
        r#"{"fault":"html","delay":"1ms"}"#,
    )
    .await;
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!((seen.status, seen.header("retry-after")), (503, "7"));
    let faults = control(&valt, Method::GET, "/faults", "").await.json();
    assert_eq!(faults["faults"][0]["rule"]["times"], 2);
    assert_eq!(faults["faults"][1]["rule"]["delay"], "1ms");
    assert_eq!(
        control(&valt, Method::DELETE, "/faults/1", "").await.status,
        200
    );
    assert_eq!(
        control(&valt, Method::DELETE, "/faults/1", "").await.status,
        404
    );
    assert_eq!(
        update(&valt, 52).await.unwrap().header("content-type"),
        "text/html; charset=utf-8"
    );
    control(&valt, Method::DELETE, "/faults", "").await;
    assert_eq!(
        update(&valt, 52).await.unwrap().header("content-type"),
        "application/json"
    );
}

#[tokio::test]
async fn a_mistake_is_told_and_changes_nothing() {
    let valt = stand_in("valt").await;
    for (method, path, body) in [
        (Method::POST, "/faults", "{}"),
        (Method::POST, "/faults", "nonsense"),
        (Method::POST, "/faults", r#"{"stauts":503}"#),
        (Method::POST, "/faults", r#"{"status":503,"fault":"hang"}"#),
        (Method::POST, "/faults", r#"{"status":503,"user":"x"}"#),
        (Method::POST, "/port", r#"{"closed_for":5}"#),
        (Method::POST, "/token/accept", "{}"),
        (
            Method::PATCH,
            "/settings",
            r#"{"latency":"20ms","latencies":1}"#,
        ),
        (Method::DELETE, "/faults/x", ""),
        (Method::GET, "/journal?user=x", ""),
    ] {
        let seen = control(&valt, method, path, body).await;
        assert_eq!(
            (seen.status, seen.json()["error"].is_string()),
            (400, true),
            "{path} {body}"
        );
    }
    let unknown = control(&valt, Method::GET, "/nothing", "").await;
    assert_eq!(
        (unknown.status, unknown.json()["pages"].is_array()),
        (404, true)
    );
    let overview = control(&valt, Method::GET, "", "").await.json();
    assert_eq!(
        (&overview["faults"], &overview["settings"]["latency"]),
        (&json!([]), &json!("0s"))
    );
    assert_eq!(
        overview["stats"]["updates"], 0,
        "the control pages are no calls"
    );
}

#[tokio::test]
async fn the_settings_are_changed_one_by_one() {
    let valt = stand_in("valt").await;
    let login = r#"{"username":"courier","password":"secret"}"#;
    control(
        &valt,
        Method::PATCH,
        "/settings",
        r#"{"password":"secret"}"#,
    )
    .await;
    let body = r#"{"latency":"5ms","users":{"only":[1]},"permissions":[9]}"#;
    let seen = control(&valt, Method::PATCH, "/settings", body).await;
    assert_eq!((seen.status, &seen.json()["latency"]), (200, &json!("5ms")));
    assert!(!seen.text().contains("secret"));
    assert_eq!(
        call(&valt, Method::POST, "/api/v3/login", login)
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(update(&valt, 52).await.unwrap().status, 404);
    control(
        &valt,
        Method::PATCH,
        "/settings",
        r#"{"users":"all","permissions":null}"#,
    )
    .await;
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
    assert_eq!(
        control(&valt, Method::GET, "/settings", "").await.json()["username"],
        "courier"
    );
}

#[tokio::test]
async fn tokens_are_expired_and_accepted() {
    let valt = stand_in("valt").await;
    assert_eq!(
        control(&valt, Method::POST, "/token/expire", "")
            .await
            .status,
        200
    );
    assert_eq!(update(&valt, 52).await.unwrap().status, 401);
    control(
        &valt,
        Method::POST,
        "/token/accept",
        &json!({ "token": TOKEN }).to_string(),
    )
    .await;
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_journal_and_the_state_show_what_was_sent() {
    let aipix = stand_in("aipix").await;
    let url = format!("{}/api/admin/v1/users/5", aipix.base_url());
    let request = client()
        .put(url)
        .bearer_auth(TOKEN)
        .header("accept", "application/json");
    let request = request
        .header("content-type", "application/json")
        .header("idempotency-key", "k-1");
    let request = request
        .header("traceparent", "00-a-b-01")
        .body(r#"{"permissions":[3]}"#);
    assert_eq!(request.send().await.unwrap().status(), 200);
    update(&aipix, 6).await.unwrap();

    let journal = control(&aipix, Method::GET, "/journal?user=5", "")
        .await
        .json();
    let calls = journal["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    let mut call = calls[0].clone();
    call["at"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    call["at"].take();
    assert_eq!(
        call,
        json!({
            "number": 0, "at": null, "user": 5, "method": "PUT", "path": "/api/admin/v1/users/5",
            "body": {"permissions": [3]}, "idempotency_key": "k-1", "traceparent": "00-a-b-01",
            "status": 200, "applied": true, "concurrent": 1,
        })
    );
    assert_eq!(journal["stats"]["updates"], 2);
    let state = control(&aipix, Method::GET, "/state", "").await.json();
    assert_eq!(
        state,
        json!({"users": {"5": {"permissions": [3]}, "6": {"permissions": [9, 12]}}})
    );
    assert_eq!(
        control(&aipix, Method::GET, "/state?user=5", "")
            .await
            .json()["users"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    assert!(
        !format!("{:?}", aipix.calls()).contains("permissions"),
        "bodies stay out of Debug"
    );
    control(&aipix, Method::DELETE, "/journal", "").await;
    assert_eq!((aipix.calls().len(), aipix.stats().updates), (0, 2));
}

#[tokio::test]
async fn the_journal_is_bounded_and_can_be_off() {
    let valt = stand_in("valt").await;
    valt.set(|settings| settings.journal_size = 2);
    for user in 1..=5 {
        update(&valt, user).await.unwrap();
    }
    let users: Vec<_> = valt
        .calls()
        .iter()
        .map(|call| (call.number, call.user.clone(), call.status))
        .collect();
    assert_eq!(
        users,
        [
            (3, Some(4.into()), Some(200)),
            (4, Some(5.into()), Some(200))
        ]
    );
    valt.set(|settings| settings.journal_size = 0);
    update(&valt, 6).await.unwrap();
    assert!(valt.calls().is_empty());
    assert_eq!((valt.stats().updates, valt.stats().applied), (6, 6));
}
