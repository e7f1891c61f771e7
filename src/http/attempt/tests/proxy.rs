//! Tests of calls through a proxy, which is a small one of our own.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::ProxyAccount;
use crate::http::attempt::tests::tls::{authority, builder, certificate, config, trusting};

/// A proxy that asks for the account `courier` with the password `canary-pass`.
async fn leading_to(address: Option<SocketAddr>) -> stand_in::proxy::ProxyServer {
    let account = STANDARD.encode("courier:canary-pass");
    let asks_for = format!("Basic {account}");
    stand_in::proxy::ProxyServer::start(address, &asks_for)
        .await
        .unwrap()
}

/// A caller that goes through a proxy, with this password.
fn caller_through(proxy: &str, base_url: &str, tls: &Tls, password: &str) -> (Caller, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let [token, secret] = ["token", "secret"].map(|name| folder.path().join(name));
    std::fs::write(&token, "canary-token").unwrap();
    std::fs::write(&secret, password).unwrap();
    let proxy = Proxy {
        url: proxy.parse().unwrap(),
        account: Some(ProxyAccount {
            user: "courier".to_owned(),
            password: Secret::File(secret),
        }),
    };
    let caller = Caller::new(
        by_name("aipix").unwrap(),
        base_url.parse().unwrap(),
        Credentials::Token(Secret::File(token)),
        tls,
        Some(&proxy),
        TIMEOUT,
        Box::new(|_| ()),
    );
    (caller.unwrap(), folder)
}

fn address(server: &Server) -> Option<SocketAddr> {
    server.url.socket_addrs(|| None).unwrap().first().copied()
}

#[tokio::test]
async fn a_call_over_http_is_asked_of_the_proxy() {
    let server = Server::start(|_| Reply::Bytes(json(200, r#"{"id":52}"#))).await;
    let proxy = leading_to(address(&server)).await;
    // A name that only the proxy could look up.
    let base_url = "http://api.invalid/prefix";
    let (caller, _folder) =
        caller_through(&proxy.url(), base_url, &Tls::default(), "canary-pass\n");
    for _ in 0..2 {
        assert_eq!(statuses(&call(&caller).await), ["delivered 200"]);
    }
    let line = "PUT http://api.invalid/prefix/api/admin/v1/users/52 HTTP/1.1\r\n";
    let heads = proxy.heads();
    assert!(heads[0].starts_with(line), "{heads:?}");
    assert_eq!((heads.len(), server.seen().len()), (1, 2), "it was kept");
    assert_eq!(server.seen()[0].header("host"), Some("api.invalid"));
}

#[tokio::test]
async fn a_call_over_https_goes_through_a_tunnel_that_hides_it_from_the_proxy() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let tls = trusting(&authority, &folder);
    let certified = |host: &str| {
        config(
            builder().with_no_client_auth(),
            certificate(&authority, host, false),
        )
    };
    for (host, expected) in [
        ("api.invalid", "delivered 200"),
        ("other.invalid", "fault tls"),
    ] {
        let fine = |_: &_| Reply::Bytes(json(200, r#"{"id":52}"#));
        let server = Server::start_tls(certified(host), fine).await;
        let proxy = leading_to(address(&server)).await;
        let (caller, _folder) =
            caller_through(&proxy.url(), "https://api.invalid", &tls, "canary-pass");
        let attempt = call(&caller).await;
        assert_eq!(statuses(&attempt), [expected], "{:?}", attempt.error);
        let heads = proxy.heads();
        let line = "CONNECT api.invalid:443 HTTP/1.1\r\n";
        assert!(heads[0].starts_with(line), "{heads:?}");
        assert!(!heads[0].contains("canary"), "{heads:?}");
        for seen in server.seen() {
            assert_eq!(seen.line(), "PUT /api/admin/v1/users/52 HTTP/1.1");
            assert_eq!(seen.header("proxy-authorization"), None);
        }
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_named_and_its_password_is_not() {
    let (log, _guard) = Captured::of_this_thread();
    let proxy = leading_to(None).await;
    let (there, gone) = (proxy.url(), nowhere().await.to_string());
    let refused = "the proxy refused the account (407): check proxy_user and its password";
    let no_way = "at the proxy: it does not connect to the target: check base_url";
    let unreachable = "at the proxy: could not connect: connection refused";
    for (proxy, scheme, password, verdict, message) in [
        (&there, "http", "canary-other", Verdict::Fault, refused),
        (&there, "https", "canary-other", Verdict::Fault, refused),
        (&there, "https", "canary-pass", UNREACHABLE, no_way),
        (&gone, "http", "canary-pass", UNREACHABLE, unreachable),
        (&gone, "https", "canary-pass", UNREACHABLE, unreachable),
    ] {
        let base_url = format!("{scheme}://api.invalid");
        let (caller, _folder) = caller_through(proxy, &base_url, &Tls::default(), password);
        let attempt = call(&caller).await;
        assert_eq!((attempt.verdict, attempt.ambiguous), (verdict, false));
        assert!(!format!("{attempt:?}").contains("canary"), "{attempt:?}");
        assert_eq!(attempt.error.unwrap().message, message);
    }
    // Its own 502 is an answer like any other.
    let (caller, _folder) =
        caller_through(&there, "http://api.invalid", &Tls::default(), "canary-pass");
    assert_eq!(statuses(&call(&caller).await), ["retry 502"]);
    let shown = log.text();
    let encoded = STANDARD.encode("courier:canary-pass");
    assert!(
        !shown.contains("canary") && !shown.contains(&encoded),
        "{shown}"
    );
}

#[test]
fn a_proxys_password_that_cannot_be_read_is_told_by_its_place() {
    let proxy = Proxy {
        url: "http://proxy:3128".parse().unwrap(),
        account: Some(ProxyAccount {
            user: "courier".to_owned(),
            password: Secret::File("/nowhere/canary".into()),
        }),
    };
    let base_url = "http://localhost".parse().unwrap();
    let made = Http::new(&base_url, &Tls::default(), Some(&proxy), TIMEOUT);
    let error = format!("{:#}", made.err().unwrap());
    assert!(
        error.contains("the secret file /nowhere/canary cannot be read"),
        "{error}"
    );
}
