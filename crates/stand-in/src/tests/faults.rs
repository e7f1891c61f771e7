//! Faults: each one as a client meets it, and whether the call took effect.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::{bare, call, client, rest, stand_in, update};
use crate::Fault;
use crate::Rule;

#[tokio::test]
async fn a_status_comes_in_the_api_s_own_shape() {
    for (api, status, shape) in [
        ("aipix", 401, r#"{"message":"Unauthenticated."}"#),
        (
            "aipix",
            404,
            r#"{"message":"No query results for model [App\\Models\\User] 52"}"#,
        ),
        ("aipix", 500, r#"{"message":"Server Error"}"#),
        ("aipix", 503, r#"{"message":"Service Unavailable"}"#),
        ("valt", 404, r#"{"error":{"code":404}}"#),
        (
            "valt",
            502,
            r#"{"error":{"code":502,"message":"Bad Gateway"}}"#,
        ),
    ] {
        let api = stand_in(api).await;
        api.fault(Rule::status(status).user(52).times(1));
        assert_eq!(update(&api, 7).await.unwrap().status, 200);
        let seen = update(&api, 52).await.unwrap();
        assert_eq!((seen.status, seen.text().as_str()), (status, shape));
        assert_eq!(seen.header("retry-after"), "");
        assert_eq!(update(&api, 52).await.unwrap().status, 200, "only once");
        let applied: Vec<_> = api
            .calls()
            .iter()
            .map(|call| (call.status, call.applied))
            .collect();
        assert_eq!(
            applied,
            [(Some(200), true), (Some(status), false), (Some(200), true)]
        );
    }
}

#[tokio::test]
async fn a_status_may_bring_a_body_and_a_pause_and_take_effect() {
    let valt = stand_in("valt").await;
    valt.fault(
        Rule::status(503)
            .retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
            .body("<p>later</p>")
            .applied(),
    );
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!((seen.status, seen.text().as_str()), (503, "<p>later</p>"));
    assert_eq!(
        (seen.header("retry-after"), seen.header("content-type")),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "text/html")
    );
    assert!(valt.fields(52).is_some() && valt.calls()[0].applied);
    valt.clear_faults();
    valt.fault(Rule::status(400).body(serde_json::json!({"error":{"code":400}})));
    assert_eq!(
        update(&valt, 52).await.unwrap().text(),
        r#"{"error":{"code":400}}"#
    );
}

#[tokio::test]
async fn answers_of_something_else_are_html_not_json_a_redirect_or_packed() {
    let valt = stand_in("valt").await;
    let number = valt.fault(Rule::fault(Fault::Html));
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!(
        (seen.status, seen.text().starts_with("<!DOCTYPE html>")),
        (200, true)
    );
    assert!(valt.remove_fault(number) && !valt.remove_fault(number));

    valt.fault(Rule::fault(Fault::NotJson).times(1));
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!(
        (seen.status, seen.header("content-type")),
        (200, "application/json")
    );
    assert!(serde_json::from_slice::<serde_json::Value>(&seen.body).is_err());

    valt.fault(Rule::fault(Fault::Redirect).times(1));
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!((seen.status, seen.header("location")), (302, "/elsewhere"));

    valt.fault(Rule::fault(Fault::Gzip).times(1));
    let seen = update(&valt, 52).await.unwrap();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&*seen.body)
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(
        (seen.header("content-encoding"), &*unpacked),
        ("gzip", r#"{"data":{"id":52}}"#)
    );

    valt.fault(Rule::fault(Fault::GzipBomb).times(1));
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!(
        (seen.status, seen.header("content-encoding")),
        (200, "gzip")
    );
    assert!(seen.body.len() < 500_000);
    assert_eq!(
        seen.body[seen.body.len() - 4..],
        crate::bomb::UNPACKED.to_le_bytes()
    );
    assert_eq!(valt.stats().applied, 1, "only what was packed was true");
}

#[tokio::test]
async fn an_oversized_answer_is_the_true_one_with_padding() {
    for api in ["aipix", "valt"] {
        let api = stand_in(api).await;
        api.fault(Rule::fault(Fault::Oversized));
        let seen = update(&api, 52).await.unwrap();
        assert!(seen.status == 200 && seen.body.len() > 1 << 20);
        let body = seen.json();
        assert!(body["id"] == 52 || body["data"]["id"] == 52);
        assert_eq!(api.stats().applied, 1);
    }
}

#[tokio::test]
async fn an_endless_answer_goes_on_until_the_client_has_enough() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::Endless));
    let mut stream = bare(&valt).await;
    let mut much = vec![0; 8 << 20];
    stream.read_exact(&mut much).await.unwrap();
    let text = String::from_utf8(much).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && !text.contains("content-length"));
    assert!(
        text.contains("\r\n\r\n{\"data\":{\"id\":52},\"padding\":\"xxx") && text.ends_with('x')
    );
}

#[tokio::test]
async fn a_slow_answer_is_whole_at_last() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::SlowDrip));
    let start = Instant::now();
    let seen = update(&valt, 52).await.unwrap();
    assert_eq!(seen.text(), r#"{"data":{"id":52}}"#);
    assert!(start.elapsed() >= Duration::from_millis(50) * seen.body.len() as u32);
}

#[tokio::test]
async fn a_wrong_length_promises_more_than_comes() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::WrongLength));
    let text = rest(&mut bare(&valt).await).await.unwrap();
    assert!(
        text.contains("content-length: 1018\r\n")
            && text.ends_with("\r\n\r\n{\"data\":{\"id\":52}}"),
        "{text}"
    );
    assert!(update(&valt, 52).await.is_err(), "a client notices");
    assert_eq!(valt.stats().applied, 2);
}

#[tokio::test]
async fn a_half_closed_connection_brings_half_of_the_answer() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::HalfClose).times(1));
    let mut stream = bare(&valt).await;
    let text = rest(&mut stream).await.unwrap();
    assert!(
        text.contains("content-length: 18\r\n") && text.ends_with("\r\n\r\n{\"data\":{"),
        "{text}"
    );
    // The other half of the connection still works: writing is no error.
    for _ in 0..10 {
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"more")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_before_or_after_taking_effect() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::Reset).times(1));
    valt.fault(Rule::fault(Fault::Reset).times(1).applied());
    for applied in [false, true] {
        let error = rest(&mut bare(&valt).await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(valt.fields(52).is_some(), applied);
        let last = valt.calls().pop().unwrap();
        assert_eq!((last.status, last.applied), (None, applied));
    }
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_kept_connection_is_reset_and_a_new_one_is_not() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::ResetKept));
    let mut stream = bare(&valt).await;
    let mut answer = vec![0; 1000];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"));
    let again =
        b"POST /api/v3/admin/users/52/edit HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, again)
        .await
        .unwrap();
    assert_eq!(
        rest(&mut stream).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
    assert_eq!(
        valt.calls()
            .iter()
            .map(|call| call.status)
            .collect::<Vec<_>>(),
        [Some(200), None, Some(200)]
    );
}

#[tokio::test]
async fn a_hanging_call_ends_with_its_client() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::fault(Fault::Hang).times(1));
    valt.fault(Rule::fault(Fault::Hang).times(1).applied());
    let first = bare(&valt).await;
    valt.wait_for(|stats| stats.in_flight == 1).await;
    let second = bare(&valt).await;
    let stats = valt
        .wait_for(|stats| stats.in_flight == 2 && stats.applied == 1)
        .await;
    assert_eq!((stats.overlaps, stats.peak_in_flight), (1, 2));
    assert_eq!(valt.calls()[1].concurrent, 2);
    drop((first, second));
    valt.wait_for(|stats| stats.in_flight == 0).await;
    assert!(valt.calls().iter().all(|call| call.status.is_none()));
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
    assert_eq!((valt.calls()[2].concurrent, valt.stats().overlaps), (1, 1));
}

#[tokio::test]
async fn a_delay_and_the_latency_come_before_the_answer() {
    let valt = stand_in("valt").await;
    valt.set(|settings| settings.latency = Duration::from_millis(100));
    valt.fault(Rule::delay(Duration::from_millis(150)).user(52));
    let start = Instant::now();
    assert_eq!(update(&valt, 7).await.unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(250));
    // Who gives up while it waits has changed nothing.
    valt.fault(Rule::delay(Duration::from_secs(600)).user(8));
    let path = format!(
        "{}/api/v3/admin/users/8/edit?access_token={}",
        valt.base_url(),
        super::TOKEN
    );
    let error = client()
        .post(path)
        .timeout(Duration::from_millis(50))
        .body("{}")
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    valt.wait_for(|stats| stats.in_flight == 0).await;
    assert_eq!(valt.fields(8), None);
}

#[tokio::test]
async fn logins_have_faults_of_their_own() {
    let valt = stand_in("valt").await;
    valt.fault(Rule::status(500).logins());
    let login = r#"{"username":"courier","password":"courier"}"#;
    assert_eq!(
        call(&valt, reqwest::Method::POST, "/api/v3/login", login)
            .await
            .unwrap()
            .status,
        500
    );
    assert_eq!(update(&valt, 52).await.unwrap().status, 200);
}
