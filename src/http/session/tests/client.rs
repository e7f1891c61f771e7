//! Tests of the session of a client with OAuth 2.0 credentials.

use super::*;
use crate::config::Client;

/// An authorization server that gives out `token-1`, `token-2`, … for ten minutes each, while
/// `gives` says so.
async fn authorization_server(gives: impl Fn(usize) -> bool + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |seen| {
        assert_eq!(seen.line(), "POST /oauth/token/ HTTP/1.1");
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::Bytes(match gives(number) {
            true => json(
                200,
                &format!(
                    r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":600}}"#
                ),
            ),
            false => json(
                400,
                r#"{"error":"invalid_client","error_description":"canary-1"}"#,
            ),
        })
    })
    .await
}

/// The API is elsewhere, and asked for nothing.
fn fixture(server: &Server) -> Fixture {
    let mut fixture = Fixture::new("scim", "http://127.0.0.1:9/scim/v2".parse().unwrap(), false);
    let credentials = Credentials::Client(Client {
        token_url: server.url.join("/oauth/token/").unwrap(),
        client_id: "courier".to_owned(),
        secret: Secret::File(fixture.folder.path().join("secret")),
        scope: Some("users.write".to_owned()),
    });
    let http = Http::new(&server.url, &Tls::default(), None, TIMEOUT).unwrap();
    let log = fixture.logins.clone();
    let on_login = Box::new(move |result| log.lock().unwrap().push(result));
    let session = Session::new(&http, &Tls::default(), None, TIMEOUT, credentials, on_login);
    fixture.session = session.unwrap().into();
    fixture
}

#[tokio::test]
async fn one_token_is_asked_for_and_renewed_at_nine_tenths_of_its_life() {
    let server = authorization_server(|_| true).await;
    let fixture = fixture(&server);
    let waiting = (0..200).map(|_| fixture.token());
    for token in futures::future::join_all(waiting).await {
        assert_eq!(token.unwrap(), "token-1");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let asked =
        "grant_type=client_credentials&client_id=courier&client_secret=canary-1&scope=users.write";
    assert_eq!(seen[0].body, asked);
    let content_type = seen[0].header("content-type");
    assert_eq!(content_type, Some("application/x-www-form-urlencoded"));
    assert_eq!(seen[0].header("authorization"), None);
    pass(530).await;
    assert_eq!(fixture.token().await.unwrap(), "token-1");
    pass(11).await;
    assert_eq!(fixture.token().await.unwrap(), "token-2");
    assert_eq!(fixture.logins(), ["ok", "ok"]);
}

#[tokio::test]
async fn a_refused_client_asks_again_after_5_s_then_10_s_and_at_once_with_a_new_secret() {
    let server = authorization_server(|number| number == 4).await;
    let fixture = fixture(&server);
    let why = fixture.session.token(TIMEOUT).await.err().unwrap();
    assert_eq!(why.verdict, Verdict::Unauthorized);
    let message = why.error.message;
    assert!(
        message.contains("refused the client `courier` (400)"),
        "{message}"
    );
    assert!(!message.contains("canary"), "{message}");
    assert!(fixture.token().await.is_err());
    assert_eq!(server.seen().len(), 1);
    pass(5).await;
    assert!(fixture.token().await.is_err());
    pass(9).await;
    assert!(fixture.token().await.is_err());
    assert_eq!(server.seen().len(), 2);
    pass(1).await;
    assert!(fixture.token().await.is_err());
    assert_eq!(server.seen().len(), 3);
    fixture.rotate("canary-2");
    assert!(fixture.session.credentials_changed());
    assert_eq!(fixture.token().await.unwrap(), "token-4");
    assert!(server.seen()[3].body.contains("client_secret=canary-2"));
}
