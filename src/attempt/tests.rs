//! Tests of an attempt against real sockets: what is sent, and how every way to answer or not to answer ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json as value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::api::by_name;
use crate::api::secret::Secret;
use crate::api::testing::{Reply, Server, answer, json, nowhere, read_request, tcp_server, tls_server};

const TIMEOUT: Duration = Duration::from_secs(10);
/// For tests that wait for it to pass.
const SHORT: Duration = Duration::from_millis(400);

const RETRY: Verdict = Verdict::Retry { unreachable: false };
const UNREACHABLE: Verdict = Verdict::Retry { unreachable: true };

fn update(changes: Value) -> Update {
    Update {
        user: UserId::new(52).unwrap(),
        changes: changes.as_object().unwrap().clone(),
        idempotency_key: Uuid::from_u128(7),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
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
        true => Credentials::Login { username: "john".into(), password: secret },
        false => Credentials::Token(secret),
    };
    let caller = Caller::new(by_name(api).unwrap(), url, credentials, tls, TIMEOUT, Box::new(|_| ()));
    (caller.unwrap(), folder)
}

async fn attempt_at(api: &str, url: Url, tls: &Tls, update: &Update, timeout: Duration) -> Attempt {
    let (caller, _folder) = caller(api, url, tls, false);
    let attempt = caller.attempt(update, timeout, || true).await;
    assert!(!format!("{attempt:?} {update:?}").contains("canary"), "{attempt:?}");
    attempt
}

/// One attempt at an aipix that does this.
async fn attempt(reply: impl Fn() -> Reply + Send + Sync + 'static, timeout: Duration) -> Attempt {
    let server = Server::start(move |_| reply()).await;
    attempt_at("aipix", server.url, &Tls::default(), &permissions(), timeout).await
}

fn statuses(attempt: &Attempt) -> Vec<String> {
    attempt.calls.iter().map(|call| format!("{} {}", call.verdict.as_str(), call.status)).collect()
}

#[tokio::test]
async fn a_call_to_aipix_is_as_documented() {
    let server = Server::start(|_| Reply::Bytes(json(200, r#"{"id":52}"#))).await;
    let attempt = attempt_at("aipix", server.url.join("/prefix/").unwrap(), &Tls::default(), &permissions(), TIMEOUT).await;
    assert_eq!((attempt.verdict, attempt.http_status(), attempt.error.clone()), (Verdict::Delivered, Some(200), None));
    assert_eq!(statuses(&attempt), ["delivered 200"]);
    assert!(!attempt.ambiguous && !attempt.other_user);
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "PUT /prefix/api/admin/v1/users/52 HTTP/1.1");
    assert_eq!(seen.body, r#"{"permissions":[9,12]}"#);
    for (name, expected) in [
        ("authorization", Some("Bearer canary-token")),
        ("accept", Some("application/json")),
        ("content-type", Some("application/json")),
        ("idempotency-key", Some("00000000-0000-0000-0000-000000000007")),
        ("traceparent", Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("accept-encoding", None),
        ("cookie", None),
    ] {
        assert_eq!(seen.header(name), expected, "{name}");
    }
}

#[tokio::test]
async fn a_call_to_valt_carries_its_token_in_the_url_only() {
    let server = Server::start(|_| Reply::Bytes(answer(200, "set-cookie: a=b\r\n", r#"{"data":{"id":48}}"#))).await;
    let (caller, folder) = caller("valt", server.url.clone(), &Tls::default(), false);
    std::fs::write(folder.path().join("secret"), "canary&token= +").unwrap();
    let mut update = update(value!({ "rooms": [1] }));
    update.traceparent = Some("no\nheader".into());
    for _ in 0..2 {
        let attempt = caller.attempt(&update, TIMEOUT, || true).await;
        assert_eq!((attempt.verdict, attempt.other_user), (Verdict::Delivered, true));
    }
    for seen in server.seen() {
        assert_eq!(seen.line(), "POST /api/v3/admin/users/52/edit?access_token=canary%26token%3D+%2B HTTP/1.1");
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
    assert_eq!((attempt.verdict, attempt.http_status()), (Verdict::Fault, Some(307)));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_pause_is_read_from_the_header() {
    let pause = |retry_after: Option<u64>| Verdict::Throttled { retry_after: retry_after.map(Duration::from_secs) };
    for (status, header, verdict) in [
        (429, "retry-after: 7\r\n", pause(Some(7))),
        (429, "retry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n", pause(Some(0))),
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
async fn silence_and_drips_end_with_the_timeout() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{\"id\":52,".to_vec();
    for number in 0..2 {
        let head = head.clone();
        let reply = move || if number == 0 { Reply::Silence } else { Reply::Drip(head.clone()) };
        let attempt = attempt(reply, SHORT).await;
        assert_eq!((attempt.verdict, attempt.ambiguous, attempt.http_status()), (RETRY, true, None));
        assert_eq!(statuses(&attempt), ["retry timeout"]);
        assert!(attempt.calls[0].duration >= SHORT && attempt.calls[0].duration < TIMEOUT);
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_request_is_ambiguous() {
    let replies: [fn() -> Reply; 5] = [
        || Reply::Reset,
        || Reply::Last(Vec::new()),
        || Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()),
        || Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":52}".to_vec()),
        || Reply::Last(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n".to_vec()),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let attempt = attempt(reply, TIMEOUT).await;
        assert_eq!((attempt.verdict, attempt.ambiguous), (RETRY, true), "{number}");
        assert_eq!(statuses(&attempt), ["retry protocol"], "{number}");
    }
}

#[tokio::test]
async fn what_speaks_no_http_is_a_fault() {
    for bytes in ["SSH-2.0-OpenSSH_9.6\r\n", "\u{16}\u{3}\u{1}garbage\r\n\r\n", "220 mail ready\r\n"] {
        let attempt = attempt(|| Reply::Last(bytes.as_bytes().to_vec()), TIMEOUT).await;
        assert_eq!(statuses(&attempt), ["fault protocol"], "{bytes}");
    }
}

#[tokio::test]
async fn where_nothing_listens_is_unreachable() {
    let attempt = attempt_at("aipix", nowhere().await, &Tls::default(), &permissions(), TIMEOUT).await;
    assert_eq!((attempt.verdict, attempt.ambiguous), (UNREACHABLE, false));
    assert_eq!(statuses(&attempt), ["retry connect"]);
    assert_eq!(attempt.error.unwrap().message, "could not connect: connection refused");
    let attempt = attempt_at("aipix", "http://no-such-host.invalid".parse().unwrap(), &Tls::default(), &permissions(), TIMEOUT).await;
    assert_eq!((attempt.verdict, statuses(&attempt)[0].as_str()), (UNREACHABLE, "retry connect"));
}

#[tokio::test]
async fn an_idle_connection_that_dies_costs_at_most_a_retry() {
    // The first request of each connection is answered, the second finds it closed without a word.
    let port = tcp_server(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(&json(200, r#"{"id":52}"#)).await.unwrap();
        read_request(&mut stream).await;
    })
    .await;
    let (caller, _folder) = caller("aipix", format!("http://127.0.0.1:{port}").parse().unwrap(), &Tls::default(), false);
    assert_eq!(caller.attempt(&permissions(), TIMEOUT, || true).await.verdict, Verdict::Delivered);
    let attempt = caller.attempt(&permissions(), TIMEOUT, || true).await;
    assert_eq!((attempt.verdict, attempt.ambiguous), (RETRY, true));
    assert_eq!(statuses(&attempt), ["retry protocol"]);
    assert_eq!(caller.attempt(&permissions(), TIMEOUT, || true).await.verdict, Verdict::Delivered);
}

#[tokio::test]
async fn connections_are_used_again() {
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = connections.clone();
    let port = tcp_server(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(&json(200, &format!(r#"{{"id":52,"x":"{}"}}"#, "x".repeat(60_000)))).await.unwrap();
            }
        }
    })
    .await;
    let (caller, _folder) = caller("aipix", format!("http://127.0.0.1:{port}").parse().unwrap(), &Tls::default(), false);
    for _ in 0..10 {
        assert_eq!(caller.attempt(&permissions(), TIMEOUT, || true).await.verdict, Verdict::Delivered);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_success_is_proven_wherever_its_proof_stands() {
    let filler = "canary ".repeat(750_000);
    for body in [
        format!(r#"{{"id":52,"cameras":[{{"id":9,"x":"{filler}"}}]}}"#),
        format!(r#"{{"cameras":[{{"id":9,"x":"{filler}"}}],"id":52}}"#),
    ] {
        assert!(body.len() > 5_000_000);
        let attempt = attempt(move || Reply::Bytes(json(200, &body)), TIMEOUT).await;
        assert_eq!((attempt.verdict, attempt.other_user), (Verdict::Delivered, false));
    }
    let without = format!(r#"{{"cameras":[{{"id":52,"x":"{filler}"}}]}}"#);
    assert_eq!(attempt(move || Reply::Bytes(json(200, &without)), TIMEOUT).await.verdict, Verdict::Fault);
    let error = format!(r#"{{"x":"{filler}","error":{{"code":503}}}}"#);
    assert_eq!(attempt(move || Reply::Bytes(json(200, &error)), TIMEOUT).await.verdict, RETRY);
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let cases = [
        (200, r#"{"id":52,"x":""#, Verdict::Delivered),
        (200, "<html>", Verdict::Fault),
        (200, r#"{"x":""#, Verdict::Fault),
        (422, r#"{"message":"m","errors":{"a":["b"],"x":[""#, Verdict::Rejected { user_not_found: false }),
        (422, "<html>", Verdict::Fault),
        (500, "", RETRY),
    ];
    for (status, first, verdict) in cases {
        let head = format!("HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n", first.len().max(1));
        let head = if first.is_empty() { head.replace("1\r\n\r\n", "1\r\n{\r\n") } else { head };
        let again = format!("{:x}\r\n{}\r\n", 10_000, "canary ".repeat(2000).get(..10_000).unwrap());
        let reply = move || Reply::Endless(head.clone().into_bytes(), again.clone().into_bytes());
        let attempt = attempt(reply, TIMEOUT).await;
        assert_eq!((attempt.verdict, attempt.http_status()), (verdict, Some(status)), "{status} {first}");
    }
}

/// A VALT whose tokens can be revoked: only the last one given out is valid.
async fn valt() -> (Server, Arc<std::sync::atomic::AtomicUsize>) {
    let valid = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let current = valid.clone();
    let server = Server::start(move |seen| {
        Reply::Bytes(if seen.line().contains("/login") {
            let token = current.fetch_add(1, Ordering::SeqCst) + 1;
            json(200, &format!(r#"{{"data":{{"access_token":"canary-{token}"}}}}"#))
        } else if seen.line().contains(&format!("access_token=canary-{} ", current.load(Ordering::SeqCst))) {
            json(200, r#"{"data":{"id":52}}"#)
        } else {
            json(401, r#"{"error":{"code":401,"message":"canary"}}"#)
        })
    })
    .await;
    (server, valid)
}

#[tokio::test]
async fn a_401_leads_to_one_login_and_a_repeated_call() {
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "rooms": [1] }));
    assert_eq!(statuses(&caller.attempt(&update, TIMEOUT, || true).await), ["delivered 200"]);
    valid.fetch_add(1, Ordering::SeqCst);
    let attempt = caller.attempt(&update, TIMEOUT, || true).await;
    assert_eq!(statuses(&attempt), ["unauthorized 401", "delivered 200"]);
    assert_eq!((attempt.verdict, attempt.error.clone(), attempt.http_status()), (Verdict::Delivered, None, Some(200)));
    assert_eq!(server.count("/login"), 2);
}

#[tokio::test]
async fn two_hundred_401_at_once_lead_to_one_login() {
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "rooms": [1] }));
    caller.attempt(&update, TIMEOUT, || true).await;
    valid.fetch_add(1, Ordering::SeqCst);
    let attempts = futures::future::join_all((0..200).map(|_| caller.attempt(&update, TIMEOUT, || true))).await;
    assert!(attempts.iter().all(|attempt| attempt.verdict == Verdict::Delivered));
    assert!(attempts.iter().any(|attempt| attempt.calls.len() == 2));
    assert_eq!(server.count("/login"), 2);
}

#[tokio::test]
async fn a_401_after_a_fresh_login_holds() {
    for body in [r#"{"error":{"code":401}}"#, r#"{"error":{"code":"401"},"data":{"id":52}}"#] {
        let status = if body.contains("id") { 200 } else { 401 };
        let server = Server::start(move |seen| {
            Reply::Bytes(match seen.line().contains("/login") {
                true => json(200, r#"{"data":{"access_token":"canary"}}"#),
                false => json(status, body),
            })
        })
        .await;
        let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
        let attempt = caller.attempt(&update(value!({ "rooms": [1] })), TIMEOUT, || true).await;
        assert_eq!((attempt.verdict, attempt.calls.len()), (Verdict::Unauthorized, 2));
        assert_eq!(server.count("/login"), 2);
        assert!(!format!("{attempt:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_403_leads_to_no_login() {
    let server = Server::start(|seen| {
        Reply::Bytes(match seen.line().contains("/login") {
            true => json(200, r#"{"data":{"access_token":"canary"}}"#),
            false => json(403, ""),
        })
    })
    .await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let attempt = caller.attempt(&update(value!({ "rooms": [1] })), TIMEOUT, || true).await;
    assert_eq!((attempt.verdict, statuses(&attempt)[0].as_str()), (Verdict::Unauthorized, "unauthorized 403"));
    assert_eq!((attempt.calls.len(), server.count("/login")), (1, 1));
}

#[tokio::test]
async fn a_refused_fixed_token_is_called_with_once_until_its_file_changes() {
    let server = Server::start(|seen| {
        let is_new = seen.header("authorization") == Some("Bearer canary-new");
        Reply::Bytes(if is_new { json(200, r#"{"id":52}"#) } else { json(401, r#"{"message":"Unauthenticated."}"#) })
    })
    .await;
    let (caller, folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    let attempt = caller.attempt(&permissions(), TIMEOUT, || true).await;
    assert_eq!((attempt.verdict, statuses(&attempt)), (Verdict::Unauthorized, vec!["unauthorized 401".to_owned()]));
    assert_eq!(attempt.http_status(), Some(401));
    assert!(!caller.credentials_changed());
    std::fs::write(folder.path().join("secret"), "canary-new\n").unwrap();
    assert!(caller.credentials_changed());
    assert_eq!(statuses(&caller.attempt(&permissions(), TIMEOUT, || true).await), ["delivered 200"]);
}

#[tokio::test]
async fn without_a_token_no_call_is_made() {
    let server = Server::start(|_| Reply::Bytes(json(401, r#"{"data":"Invalid username or password"}"#))).await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let attempt = caller.attempt(&update(value!({ "rooms": [1] })), TIMEOUT, || true).await;
    assert_eq!((attempt.verdict, attempt.calls.len(), attempt.http_status()), (Verdict::Unauthorized, 0, None));
    assert_eq!(server.seen().len(), 1);
    assert!(attempt.error.unwrap().message.contains("refused the login of `john` (401)"));
}

#[tokio::test]
async fn no_call_is_made_once_it_may_not() {
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "rooms": [1] }));
    let attempt = caller.attempt(&update, TIMEOUT, || false).await;
    assert_eq!((attempt.verdict, attempt.calls.len(), server.count("/edit")), (RETRY, 0, 0));
    // The lease ends between the 401 and the repeated call.
    valid.fetch_add(1, Ordering::SeqCst);
    let may_call = AtomicBool::new(true);
    let attempt = caller.attempt(&update, TIMEOUT, || may_call.swap(false, Ordering::SeqCst)).await;
    assert_eq!((attempt.verdict, attempt.calls.len(), server.count("/edit")), (RETRY, 1, 1));
}

#[tokio::test]
async fn secrets_are_masked_in_what_the_api_says() {
    let message = r#"{"error":{"code":422,"message":"password CANARY-pass is not new, token canary-token, card canary-card"}}"#;
    let server = Server::start(move |_| Reply::Bytes(json(422, message))).await;
    let changes = value!({ "password": "canary-pass", "card_number": "canary-card", "name": "x" });
    let attempt = attempt_at("valt", server.url.clone(), &Tls::default(), &update(changes), TIMEOUT).await;
    assert_eq!(attempt.verdict, Verdict::Rejected { user_not_found: false });
    assert_eq!(attempt.error.unwrap().message, "password *** is not new, token ***, card ***");
    let changes = value!({ "card_number": "123" });
    let attempt = attempt_at("valt", server.url.clone(), &Tls::default(), &update(changes), TIMEOUT).await;
    assert!(attempt.error.unwrap().message.contains("its words are left out"));
}

#[tokio::test]
async fn no_secret_reaches_the_log() {
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the log works");
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "password": "canary-pass" }));
    for _ in 0..3 {
        valid.fetch_add(1, Ordering::SeqCst);
        caller.attempt(&update, TIMEOUT, || true).await;
    }
    let shown = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(shown.contains("the log works"));
    assert!(!shown.contains("canary"), "{shown}");
}

mod tls {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate for this host, and its key.
    fn certificate(authority: &Authority, host: &str, is_expired: bool) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if is_expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        (params.signed_by(&key, authority).unwrap(), key)
    }

    fn builder() -> rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        rustls::ServerConfig::builder()
    }

    fn config(
        builder: rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>,
        (certificate, key): (rcgen::Certificate, KeyPair),
    ) -> rustls::ServerConfig {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }

    async fn call(port: u16, tls: &Tls) -> Attempt {
        attempt_at("aipix", format!("https://localhost:{port}").parse().unwrap(), tls, &permissions(), TIMEOUT).await
    }

    fn trusting(authority: &Authority, folder: &TempDir) -> Tls {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, authority.pem()).unwrap();
        Tls { ca_file: Some(path), ..Tls::default() }
    }

    #[tokio::test]
    async fn a_private_authority_is_trusted_where_it_is_set_and_a_wrong_certificate_is_a_fault() {
        let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
        let trusting = trusting(&authority, &folder);
        for (host, is_expired, tls, expected) in [
            ("localhost", false, &trusting, "delivered 200"),
            ("localhost", false, &Tls::default(), "fault tls"),
            ("elsewhere.example", false, &trusting, "fault tls"),
            ("localhost", true, &trusting, "fault tls"),
        ] {
            let config = config(builder().with_no_client_auth(), certificate(&authority, host, is_expired));
            let port = tls_server(config, json(200, r#"{"id":52}"#)).await;
            let attempt = call(port, tls).await;
            assert_eq!(statuses(&attempt), [expected], "{host} {is_expired} {:?}", attempt.error);
            assert!(!attempt.ambiguous);
        }
    }

    #[tokio::test]
    async fn tls_that_is_cut_off_is_unreachable_and_what_is_no_tls_a_fault() {
        let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
        let tls = trusting(&authority, &folder);
        let closing = tcp_server(|stream| async move { drop(stream) }).await;
        let attempt = call(closing, &tls).await;
        assert_eq!((attempt.verdict, statuses(&attempt)[0].as_str()), (UNREACHABLE, "retry tls"));
        let resetting = tcp_server(|stream| async move { stream.set_zero_linger().unwrap() }).await;
        assert_eq!(call(resetting, &tls).await.verdict, UNREACHABLE);
        let plain = Server::start(|_| Reply::Silence).await;
        let talking = tcp_server(|mut stream| async move {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            read_request(&mut stream).await;
        })
        .await;
        assert_eq!(statuses(&call(talking, &tls).await), ["fault tls"]);
        // A server that never says anything costs the time for connecting only, and nothing was sent.
        let url = format!("https://localhost:{}", plain.url.port().unwrap()).parse().unwrap();
        let credentials = Credentials::Token(Secret::File(folder.path().join("ca.pem")));
        std::fs::write(folder.path().join("ca.pem"), "canary").unwrap();
        let api = by_name("aipix").unwrap();
        let caller = Caller::new(api, url, credentials, &Tls::default(), SHORT, Box::new(|_| ())).unwrap();
        let attempt = caller.attempt(&permissions(), SHORT, || true).await;
        assert_eq!((attempt.verdict, statuses(&attempt)[0].as_str()), (UNREACHABLE, "retry connect"));
    }

    #[tokio::test]
    async fn a_client_certificate_is_shown_and_its_lack_is_a_fault() {
        let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let config = config(builder().with_client_cert_verifier(verifier), certificate(&authority, "localhost", false));
        let port = tls_server(config, json(200, r#"{"id":52}"#)).await;
        let without = trusting(&authority, &folder);
        assert_eq!(statuses(&call(port, &without).await), ["fault tls"]);
        let (certificate, key) = certificate(&authority, "client", false);
        let (certificate_file, key_file) = (folder.path().join("client.pem"), folder.path().join("client.key"));
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let with = Tls { client_cert_file: Some(certificate_file), client_key_file: Some(key_file), ..without };
        assert_eq!(statuses(&call(port, &with).await), ["delivered 200"]);
    }

    #[test]
    fn a_tls_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, nonsense) = (folder.path().join("missing"), folder.path().join("nonsense"));
        std::fs::write(&nonsense, "canary").unwrap();
        let file = |path: &std::path::Path| Some(path.to_owned());
        for (tls, part) in [
            (Tls { ca_file: file(&missing), ..Tls::default() }, "cannot read ca_file"),
            (Tls { ca_file: file(&nonsense), ..Tls::default() }, "holds no certificate"),
            (Tls { client_cert_file: file(&nonsense), ..Tls::default() }, "set both or none"),
            (Tls { client_cert_file: file(&missing), client_key_file: file(&nonsense), ..Tls::default() }, "cannot read client_cert_file"),
            (Tls { client_cert_file: file(&nonsense), client_key_file: file(&nonsense), ..Tls::default() }, "not a certificate and its key"),
        ] {
            let made = Http::new("https://localhost".parse().unwrap(), &tls, TIMEOUT);
            let error = format!("{:#}", made.err().unwrap());
            assert!(error.contains(part) && error.contains("client_key_file") | error.contains("missing") | error.contains("nonsense"), "{error}");
            assert!(!error.contains("canary"));
        }
    }
}
