//! Tests of the session against a local server, with the clock moved by hand.

mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stand_in::scripted::{Reply, Server, json, nowhere};
use tempfile::TempDir;

use super::*;
use crate::api::by_name;
use crate::config::Tls;

const TIMEOUT: Duration = Duration::from_secs(5);

struct Fixture {
    session: Arc<Session>,
    logins: Arc<Mutex<Vec<&'static str>>>,
    folder: TempDir,
}

impl Fixture {
    fn new(api: &str, url: url::Url, by_login: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::File(folder.path().join("secret"));
        std::fs::write(folder.path().join("secret"), "canary-1\n").unwrap();
        let credentials = match by_login {
            true => Credentials::login(by_name(api).unwrap(), "john", secret).unwrap(),
            false => Credentials::Token(secret),
        };
        let logins = Arc::new(Mutex::new(Vec::new()));
        let log = logins.clone();
        let on_login = Box::new(move |result| log.lock().unwrap().push(result));
        let http = Http::new(&url, &Tls::default(), None, TIMEOUT).unwrap();
        Fixture {
            session: Session::new(&http, &Tls::default(), None, TIMEOUT, credentials, on_login)
                .unwrap()
                .into(),
            logins,
            folder,
        }
    }

    async fn token(&self) -> Result<String, Verdict> {
        let token = self.session.token(TIMEOUT).await;
        token
            .map(|token| token.secret.expose_secret().to_owned())
            .map_err(|why| why.verdict)
    }

    /// As an operator or an orchestrator does it: the new file takes the old one's place.
    fn rotate(&self, content: &str) {
        std::fs::write(self.folder.path().join("new"), content).unwrap();
        std::fs::rename(
            self.folder.path().join("new"),
            self.folder.path().join("secret"),
        )
        .unwrap();
    }

    fn logins(&self) -> Vec<&'static str> {
        self.logins.lock().unwrap().clone()
    }
}

/// A VALT that gives out `token-1`, `token-2`, … for every password that `accepts` does.
async fn valt(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |seen| {
        assert_eq!(seen.line(), "POST /api/v3/login HTTP/1.1");
        Reply::Bytes(match accepts(&seen.body) {
            true => json(
                200,
                &format!(
                    r#"{{"data":{{"access_token":"token-{}"}}}}"#,
                    count.fetch_add(1, Ordering::SeqCst) + 1
                ),
            ),
            false => json(401, r#"{"data":"Invalid username or password"}"#),
        })
    })
    .await
}

/// Moves the clock, which otherwise runs as usual: a stopped one would run into the timeouts while
/// a socket is waited for.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn one_login_is_made_for_all_who_wait() {
    let server = valt(|_| true).await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    let waiting = (0..200).map(|_| fixture.token());
    for token in futures::future::join_all(waiting).await {
        assert_eq!(token.unwrap(), "token-1");
    }
    assert_eq!(server.seen().len(), 1);
    assert_eq!(
        server.seen()[0].body,
        r#"{"username":"john","password":"canary-1"}"#
    );
    assert_eq!(fixture.logins(), ["ok"]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all() {
    let server = valt(|_| true).await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    let first = fixture.session.token(TIMEOUT).await.unwrap();
    let waiting = (0..200).map(|_| fixture.session.replace(&first, TIMEOUT));
    for token in futures::future::join_all(waiting).await {
        assert_eq!(token.unwrap().secret.expose_secret(), "token-2");
    }
    assert_eq!(server.seen().len(), 2);
    assert_eq!(fixture.token().await.unwrap(), "token-2");
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    let server = valt(|_| true).await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    assert_eq!(fixture.token().await.unwrap(), "token-1");
    pass(7 * 3600).await;
    assert_eq!(fixture.token().await.unwrap(), "token-1");
    pass(1800).await;
    assert_eq!(fixture.token().await.unwrap(), "token-2");
}

#[tokio::test]
async fn an_old_token_serves_on_while_it_cannot_be_renewed() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        Reply::Bytes(match count.fetch_add(1, Ordering::SeqCst) {
            0 => json(200, r#"{"data":{"access_token":"token-1"}}"#),
            _ => json(500, ""),
        })
    })
    .await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    let token = fixture.session.token(TIMEOUT).await.unwrap();
    pass(8 * 3600).await;
    for _ in 0..10 {
        assert_eq!(fixture.token().await.unwrap(), "token-1");
    }
    assert_eq!(
        fixture.logins(),
        ["ok", "failed"],
        "all callers wait for a renewal: it is not tried again at once"
    );
    // A 401 says that it is really over.
    let why = fixture
        .session
        .replace(&token, TIMEOUT)
        .await
        .err()
        .unwrap();
    assert_eq!(why.verdict, Verdict::Retry { unreachable: false });
    assert_eq!(
        fixture.token().await,
        Err(Verdict::Retry { unreachable: false })
    );
    assert_eq!(fixture.logins(), ["ok", "failed", "failed"]);
}

#[tokio::test]
async fn refused_logins_are_spaced_out() {
    let server = valt(|_| false).await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    let mut tried = Vec::new();
    for second in 0..200 {
        assert_eq!(fixture.token().await, Err(Verdict::Unauthorized));
        if server.seen().len() > tried.len() {
            tried.push(second);
        }
        pass(1).await;
    }
    assert_eq!(tried, [0, 5, 15, 35, 75, 135, 195]);
    assert!(fixture.logins().iter().all(|result| *result == "refused"));
}

#[tokio::test]
async fn a_changed_password_is_tried_at_once() {
    let server = valt(|body| body.contains("canary-2")).await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    assert!(!fixture.session.credentials_changed());
    assert_eq!(fixture.token().await, Err(Verdict::Unauthorized));
    assert_eq!(fixture.token().await, Err(Verdict::Unauthorized));
    assert!(!fixture.session.credentials_changed());
    fixture.rotate("canary-2");
    assert!(fixture.session.credentials_changed());
    assert_eq!(fixture.token().await.unwrap(), "token-1");
    assert!(!fixture.session.credentials_changed());
    assert_eq!(fixture.logins(), ["refused", "ok"]);
}

#[tokio::test]
async fn a_missing_password_is_said_and_found_when_it_comes() {
    let server = valt(|_| true).await;
    let fixture = Fixture::new("valt", server.url.clone(), true);
    std::fs::remove_file(fixture.folder.path().join("secret")).unwrap();
    let why = fixture.session.token(TIMEOUT).await.err().unwrap();
    assert_eq!(why.verdict, Verdict::Unauthorized);
    assert!(
        why.error.message.contains("secret cannot be read"),
        "{}",
        why.error.message
    );
    fixture.rotate("canary-1");
    assert!(fixture.session.credentials_changed());
    assert_eq!(fixture.token().await.unwrap(), "token-1");
}

#[tokio::test]
async fn a_failed_login_is_judged_like_a_call_and_not_repeated_for_each_who_waits() {
    for (reply, verdict) in [
        (json(500, ""), Verdict::Retry { unreachable: false }),
        (json(429, ""), Verdict::Throttled { retry_after: None }),
        (json(404, ""), Verdict::Fault),
        (json(200, "<html>"), Verdict::Fault),
        (
            json(200, r#"{"data":{"access_token":"a\nb"}}"#),
            Verdict::Fault,
        ),
    ] {
        let server = Server::start(move |_| Reply::Bytes(reply.clone())).await;
        let fixture = Fixture::new("valt", server.url.clone(), true);
        for token in futures::future::join_all((0..50).map(|_| fixture.token())).await {
            assert_eq!(token, Err(verdict));
        }
        assert_eq!(fixture.logins(), ["failed"]);
        pass(1).await;
        assert_eq!(fixture.token().await, Err(verdict));
        assert_eq!(fixture.logins(), ["failed", "failed"]);
    }
    let fixture = Fixture::new("valt", nowhere().await, true);
    assert_eq!(
        fixture.token().await,
        Err(Verdict::Retry { unreachable: true })
    );
}

#[tokio::test]
async fn a_token_late_in_a_long_answer_is_found() {
    let user = format!(r#"{{"x":["{}"]}}"#, "canary ".repeat(700_000));
    let body = format!(
        r#"{{"user":{user},"expires_at":"2000-01-01 00:00:00","access_token":"Bearer token-1"}}"#
    );
    let server = Server::start(move |seen| {
        assert_eq!(seen.line(), "POST /api/admin/v1/auth/token HTTP/1.1");
        Reply::Bytes(json(200, &body))
    })
    .await;
    let fixture = Fixture::new("aipix", server.url.clone(), true);
    assert_eq!(fixture.token().await.unwrap(), "token-1");
}

#[tokio::test]
async fn a_fixed_token_is_read_again_when_its_file_changes() {
    let fixture = Fixture::new("aipix", nowhere().await, false);
    let first = fixture.session.token(TIMEOUT).await.unwrap();
    assert_eq!(first.secret.expose_secret(), "canary-1");
    let why = fixture
        .session
        .replace(&first, TIMEOUT)
        .await
        .err()
        .unwrap();
    assert_eq!(why.verdict, Verdict::Unauthorized);
    assert!(!fixture.session.credentials_changed());
    fixture.rotate("canary-2");
    assert!(fixture.session.credentials_changed());
    let second = fixture.session.replace(&first, TIMEOUT).await.unwrap();
    assert_eq!(second.secret.expose_secret(), "canary-2");
    fixture.rotate("canary-3");
    // Each call does not look at the file.
    pass(1).await;
    assert_eq!(fixture.token().await.unwrap(), "canary-3");
    std::fs::remove_file(fixture.folder.path().join("secret")).unwrap();
    assert_eq!(
        fixture.token().await.unwrap(),
        "canary-3",
        "while a file is being replaced, the old token serves on"
    );
    assert!(fixture.logins().is_empty());
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_refused_without_showing_it() {
    let fixture = Fixture::new("aipix", nowhere().await, false);
    fixture.rotate("canary\ncanary");
    let why = fixture.session.token(TIMEOUT).await.err().unwrap();
    assert_eq!(why.verdict, Verdict::Unauthorized);
    assert!(why.error.message.contains("no HTTP header can carry"));
    assert!(!format!("{why:?}").contains("canary"));
}
