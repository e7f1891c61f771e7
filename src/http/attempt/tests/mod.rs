//! Tests of an attempt against real sockets: what is sent, and how every way to answer or not to
//! answer ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::value::to_raw_value;
use serde_json::{Value, json as value};
use stand_in::scripted::{Reply, Server, answer, json, nowhere};
use tempfile::TempDir;

use super::*;
use crate::api::{ALL, by_name};
use crate::config::secret_file::Secret;
use crate::telemetry::logging::Captured;

mod connections;
mod kindly;
mod proxy;
mod tls;
mod token;
mod transport;

const TIMEOUT: Duration = Duration::from_secs(10);
/// For tests that wait for it to pass.
const SHORT: Duration = Duration::from_millis(400);

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const RETRY: Verdict = Verdict::Retry { unreachable: false };
const UNREACHABLE: Verdict = Verdict::Retry { unreachable: true };

fn update(changes: Value) -> Update {
    let changes = to_raw_value(&changes).unwrap();
    let changes = ALL
        .iter()
        .find_map(|api| api.validate(&changes).ok())
        .unwrap();
    Update {
        user: UserId::number(52).unwrap(),
        changes,
        idempotency_key: Uuid::from_u128(7),
    }
}

fn permissions() -> Update {
    update(value!({ "permissions": [9, 12] }))
}

fn caller(api: &str, url: Url, tls: &Tls, by_login: bool) -> (Caller, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let secret = Secret::File(folder.path().join("secret"));
    std::fs::write(folder.path().join("secret"), "canary-token").unwrap();
    let credentials = match by_login {
        true => Credentials::login(by_name(api).unwrap(), "john", secret).unwrap(),
        false => Credentials::Token(secret),
    };
    let caller = Caller::new(
        by_name(api).unwrap(),
        url,
        credentials,
        tls,
        None,
        TIMEOUT,
        Box::new(|_| ()),
    );
    (caller.unwrap(), folder)
}

/// A call to aipix in an attempt that has all the time.
async fn call(caller: &Caller) -> Attempt {
    caller
        .attempt(&permissions(), Trace::Passed(None), TIMEOUT, || {
            Some(TIMEOUT)
        })
        .await
}

async fn attempt_at(api: &str, url: Url, tls: &Tls, update: &Update, timeout: Duration) -> Attempt {
    let (caller, _folder) = caller(api, url, tls, false);
    let trace = TraceContext {
        traceparent: TRACEPARENT.into(),
        tracestate: Some("rojo=1".into()),
    };
    let attempt = caller
        .attempt(update, Trace::Passed(Some(&trace)), timeout, || {
            Some(TIMEOUT)
        })
        .await;
    assert!(
        !format!("{attempt:?} {update:?}").contains("canary"),
        "{attempt:?}"
    );
    attempt
}

/// One attempt at an aipix that does this.
async fn attempt(reply: impl Fn() -> Reply + Send + Sync + 'static, timeout: Duration) -> Attempt {
    let server = Server::start(move |_| reply()).await;
    attempt_at(
        "aipix",
        server.url,
        &Tls::default(),
        &permissions(),
        timeout,
    )
    .await
}

fn statuses(attempt: &Attempt) -> Vec<String> {
    attempt
        .calls
        .iter()
        .map(|call| format!("{} {}", call.verdict.as_str(), call.status))
        .collect()
}

#[tokio::test]
async fn a_call_to_aipix_is_as_documented() {
    let server = Server::start(|_| Reply::Bytes(json(200, r#"{"id":52}"#))).await;
    let attempt = attempt_at(
        "aipix",
        server.url.join("/prefix/").unwrap(),
        &Tls::default(),
        &permissions(),
        TIMEOUT,
    )
    .await;
    assert_eq!(
        (
            attempt.verdict,
            attempt.http_status(),
            attempt.error.clone()
        ),
        (Verdict::Delivered, Some(200), None)
    );
    assert_eq!(statuses(&attempt), ["delivered 200"]);
    assert!(!attempt.ambiguous && !attempt.other_user);
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "PUT /prefix/api/admin/v1/users/52 HTTP/1.1");
    assert_eq!(seen.body, r#"{"permissions":[9,12]}"#);
    for (name, expected) in [
        ("authorization", Some("Bearer canary-token")),
        ("accept", Some("application/json")),
        ("content-type", Some("application/json")),
        (
            "idempotency-key",
            Some("00000000-0000-0000-0000-000000000007"),
        ),
        ("traceparent", Some(TRACEPARENT)),
        ("tracestate", Some("rojo=1")),
        ("accept-encoding", None),
        ("cookie", None),
    ] {
        assert_eq!(seen.header(name), expected, "{name}");
    }
}

#[tokio::test]
async fn a_fixed_token_may_be_written_with_the_word_before_it() {
    let server = Server::start(|_| Reply::Bytes(json(200, r#"{"id":52}"#))).await;
    let (caller, folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    std::fs::write(folder.path().join("secret"), "Bearer abc.def\n").unwrap();
    let attempt = caller
        .attempt(&permissions(), Trace::Passed(None), TIMEOUT, || {
            Some(TIMEOUT)
        })
        .await;
    assert_eq!(attempt.verdict, Verdict::Delivered);
    assert_eq!(
        server.seen()[0].header("authorization"),
        Some("Bearer abc.def")
    );
}

#[tokio::test]
async fn spaces_around_a_fixed_token_are_not_sent_and_do_not_keep_it_from_being_masked() {
    let server = Server::start(|_| {
        Reply::Bytes(json(
            422,
            r#"{"error":{"code":422,"message":"canary-token is no name"}}"#,
        ))
    })
    .await;
    for written in ["  canary-token \t", "Bearer canary-token "] {
        let (caller, folder) = caller("valt", server.url.clone(), &Tls::default(), false);
        std::fs::write(folder.path().join("secret"), written).unwrap();
        let attempt = caller
            .attempt(
                &update(value!({ "name": "x" })),
                Trace::Passed(None),
                TIMEOUT,
                || Some(TIMEOUT),
            )
            .await;
        assert_eq!(attempt.error.unwrap().message, "*** is no name");
        assert!(
            server
                .seen()
                .last()
                .unwrap()
                .line()
                .ends_with("?access_token=canary-token HTTP/1.1")
        );
    }
    let (caller, folder) = caller("valt", server.url.clone(), &Tls::default(), false);
    std::fs::write(folder.path().join("secret"), " \t").unwrap();
    let attempt = caller
        .attempt(
            &update(value!({ "name": "x" })),
            Trace::Passed(None),
            TIMEOUT,
            || Some(TIMEOUT),
        )
        .await;
    assert_eq!(
        (attempt.verdict, attempt.calls.len()),
        (Verdict::Unauthorized, 0)
    );
}

#[tokio::test]
async fn a_call_to_valt_carries_its_token_in_the_url_only() {
    let server = Server::start(|_| {
        Reply::Bytes(answer(200, "set-cookie: a=b\r\n", r#"{"data":{"id":48}}"#))
    })
    .await;
    let (caller, folder) = caller("valt", server.url.clone(), &Tls::default(), false);
    std::fs::write(folder.path().join("secret"), "canary&token= +").unwrap();
    let update = update(value!({ "rooms": [1] }));
    let trace = TraceContext {
        traceparent: "no\nheader".into(),
        tracestate: None,
    };
    for _ in 0..2 {
        let attempt = caller
            .attempt(&update, Trace::Passed(Some(&trace)), TIMEOUT, || {
                Some(TIMEOUT)
            })
            .await;
        assert_eq!(
            (attempt.verdict, attempt.other_user),
            (Verdict::Delivered, true)
        );
    }
    for seen in server.seen() {
        assert_eq!(
            seen.line(),
            "POST /api/v3/admin/users/52/edit?access_token=canary%26token%3D+%2B HTTP/1.1"
        );
        for name in ["authorization", "traceparent", "cookie"] {
            assert_eq!(seen.header(name), None);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_| Reply::Bytes(json(200, r#"{"id":52}"#))).await;
    let location = format!("location: {}\r\n", elsewhere.url);
    let attempt = attempt(move || Reply::Bytes(answer(307, &location, "")), TIMEOUT).await;
    assert_eq!(
        (attempt.verdict, attempt.http_status()),
        (Verdict::Fault, Some(307))
    );
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_pause_is_read_from_the_header() {
    let pause = |retry_after: Option<u64>| Verdict::Throttled {
        retry_after: retry_after.map(Duration::from_secs),
    };
    for (status, header, verdict) in [
        (429, "retry-after: 7\r\n", pause(Some(7))),
        (
            429,
            "retry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            pause(Some(0)),
        ),
        (429, "retry-after: soon\r\n", pause(None)),
        (429, "retry-after: \u{e9}\r\n", pause(None)),
        (429, "", pause(None)),
        (503, "Retry-After: 120\r\n", pause(Some(120))),
        (503, "Retry-After: soon\r\n", pause(None)),
        (503, "", RETRY),
    ] {
        let attempt = attempt(move || Reply::Bytes(answer(status, header, "{}")), TIMEOUT).await;
        assert_eq!(attempt.verdict, verdict, "{status} {header}");
    }
}

#[tokio::test]
async fn what_speaks_of_every_update_is_told_from_an_odd_answer_to_one() {
    let page = "<html>Fatal error: Uncaught TypeError</html>";
    let odd = [
        (403, page),
        (422, "Unprocessable"),
        (400, page),
        (404, page),
        (200, page),
        (200, "{}"),
        (302, ""),
        (201, "{}"),
        (500, ""),
    ];
    for (status, body) in odd {
        let finding = attempt(move || Reply::Bytes(json(status, body)), TIMEOUT)
            .await
            .finding();
        assert!(!finding.of_all && finding.calls == 1, "{status} {body}");
    }
    for reply in ["HTP/1.1 200 OK\r\n\r\n", "220 mail.example.com ESMTP\r\n"] {
        let attempt = attempt(|| Reply::Bytes(reply.as_bytes().to_vec()), TIMEOUT).await;
        assert_eq!(
            (attempt.verdict, attempt.of_all),
            (Verdict::Fault, true),
            "{reply}"
        );
    }
    let refused = attempt(|| Reply::Bytes(json(401, "{}")), TIMEOUT).await;
    assert_eq!(
        (refused.verdict, refused.of_all),
        (Verdict::Unauthorized, true)
    );
}

/// A VALT whose tokens can be revoked: only the last one given out is valid.
async fn valt() -> (Server, Arc<std::sync::atomic::AtomicUsize>) {
    let valid = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let current = valid.clone();
    let server = Server::start(move |seen| {
        Reply::Bytes(if seen.line().contains("/login") {
            let token = current.fetch_add(1, Ordering::SeqCst) + 1;
            json(
                200,
                &format!(r#"{{"data":{{"access_token":"canary-{token}"}}}}"#),
            )
        } else if seen.line().contains(&format!(
            "access_token=canary-{} ",
            current.load(Ordering::SeqCst)
        )) {
            json(200, r#"{"data":{"id":52}}"#)
        } else {
            json(401, r#"{"error":{"code":401,"message":"canary"}}"#)
        })
    })
    .await;
    (server, valid)
}

#[tokio::test]
async fn without_a_token_no_call_is_made() {
    let server =
        Server::start(|_| Reply::Bytes(json(401, r#"{"data":"Invalid username or password"}"#)))
            .await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let attempt = caller
        .attempt(
            &update(value!({ "rooms": [1] })),
            Trace::Passed(None),
            TIMEOUT,
            || Some(TIMEOUT),
        )
        .await;
    assert_eq!(
        (attempt.verdict, attempt.calls.len(), attempt.http_status()),
        (Verdict::Unauthorized, 0, None)
    );
    assert_eq!(server.seen().len(), 1);
    assert!(
        attempt
            .error
            .unwrap()
            .message
            .contains("refused the login of `john` (401)")
    );
}

#[tokio::test]
async fn no_call_is_made_once_it_may_not() {
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "rooms": [1] }));
    let attempt = caller
        .attempt(&update, Trace::Passed(None), TIMEOUT, || None)
        .await;
    assert_eq!(
        (attempt.verdict, attempt.calls.len(), server.count("/edit")),
        (Verdict::NotCalled, 0, 0)
    );
    // The lease ends between the 401 and the repeated call.
    valid.fetch_add(1, Ordering::SeqCst);
    let leased = AtomicBool::new(true);
    let attempt = caller
        .attempt(&update, Trace::Passed(None), TIMEOUT, || {
            leased.swap(false, Ordering::SeqCst).then_some(TIMEOUT)
        })
        .await;
    assert_eq!(
        (attempt.verdict, attempt.calls.len(), server.count("/edit")),
        (Verdict::NotCalled, 1, 1)
    );
}

#[tokio::test]
async fn secrets_are_masked_in_what_the_api_says() {
    let message = r#"{"error":{"code":422,"message":"password CANARY-pass is not new, token canary-token, card canary-card"}}"#;
    let server = Server::start(move |_| Reply::Bytes(json(422, message))).await;
    let changes = value!({ "password": "canary-pass", "card_number": "canary-card", "name": "x" });
    let attempt = attempt_at(
        "valt",
        server.url.clone(),
        &Tls::default(),
        &update(changes),
        TIMEOUT,
    )
    .await;
    assert_eq!(
        attempt.verdict,
        Verdict::Rejected {
            user_not_found: false
        }
    );
    assert_eq!(
        attempt.error.unwrap().message,
        "password *** is not new, token ***, card ***"
    );
    let changes = value!({ "card_number": "123" });
    let attempt = attempt_at(
        "valt",
        server.url.clone(),
        &Tls::default(),
        &update(changes),
        TIMEOUT,
    )
    .await;
    assert!(
        attempt
            .error
            .unwrap()
            .message
            .contains("its words are left out")
    );
}

#[tokio::test]
async fn no_secret_reaches_the_log() {
    let (log, _guard) = Captured::of_this_thread();
    tracing::trace!("the log works");
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "password": "canary-pass" }));
    for _ in 0..3 {
        valid.fetch_add(1, Ordering::SeqCst);
        caller
            .attempt(&update, Trace::Passed(None), TIMEOUT, || Some(TIMEOUT))
            .await;
    }
    let shown = log.text();
    assert!(shown.contains("the log works"));
    assert!(!shown.contains("canary"), "{shown}");
}
