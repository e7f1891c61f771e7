//! Tests of an attempt over TLS, with an authority of our own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use tokio::net::TcpListener;

use super::*;
use crate::config::ClientCertificate;
use crate::http::attempt::tests::connections::{caller_of, port_of};

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this host, and its key.
pub(super) fn certificate(
    authority: &Authority,
    host: &str,
    is_expired: bool,
) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    if is_expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    (params.signed_by(&key, authority).unwrap(), key)
}

pub(super) fn builder() -> rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    rustls::ServerConfig::builder()
}

pub(super) fn config(
    builder: rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>,
    (certificate, key): (rcgen::Certificate, KeyPair),
) -> rustls::ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    builder
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

async fn call_tls(server: &Server, tls: &Tls) -> Attempt {
    attempt_at("aipix", at_localhost(server), tls, &permissions(), TIMEOUT).await
}

/// The server's address as one that takes TLS, whatever it takes.
fn at_localhost(server: &Server) -> Url {
    format!("https://localhost:{}", server.url.port().unwrap())
        .parse()
        .unwrap()
}

/// A server that confirms every update.
async fn confirming(config: rustls::ServerConfig) -> Server {
    Server::start_tls(config, |_| Reply::Bytes(json(200, r#"{"id":52}"#))).await
}

pub(super) fn trusting(authority: &Authority, folder: &TempDir) -> Tls {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    Tls {
        ca_file: Some(path),
        ..Tls::default()
    }
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
        let config = config(
            builder().with_no_client_auth(),
            certificate(&authority, host, is_expired),
        );
        let attempt = call_tls(&confirming(config).await, tls).await;
        assert_eq!(
            statuses(&attempt),
            [expected],
            "{host} {is_expired} {:?}",
            attempt.error
        );
        assert!(!attempt.ambiguous);
    }
}

#[tokio::test]
async fn tls_that_is_cut_off_is_unreachable_and_what_is_no_tls_a_fault() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let tls = trusting(&authority, &folder);
    let closing = Server::greeting(Reply::Last(Vec::new())).await;
    let attempt = call_tls(&closing, &tls).await;
    assert_eq!(
        (attempt.verdict, statuses(&attempt)[0].as_str()),
        (UNREACHABLE, "retry tls")
    );
    let resetting = Server::greeting(Reply::Reset).await;
    assert_eq!(call_tls(&resetting, &tls).await.verdict, UNREACHABLE);
    let talking = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let talking = Server::greeting(Reply::Bytes(talking)).await;
    assert_eq!(statuses(&call_tls(&talking, &tls).await), ["fault tls"]);
    // A server that never says anything costs the time for connecting only, and nothing was sent.
    let silent = Server::greeting(Reply::Silence).await;
    let credentials = Credentials::Token(Secret::File(folder.path().join("ca.pem")));
    std::fs::write(folder.path().join("ca.pem"), "canary").unwrap();
    let api = by_name("aipix").unwrap();
    let caller = Caller::new(
        api,
        at_localhost(&silent),
        credentials,
        &Tls::default(),
        None,
        SHORT,
        Box::new(|_| ()),
    )
    .unwrap();
    let attempt = caller
        .attempt(&permissions(), Trace::Passed(None), SHORT, || Some(TIMEOUT))
        .await;
    assert_eq!(
        (attempt.verdict, statuses(&attempt)[0].as_str()),
        (UNREACHABLE, "retry connect")
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_one_that_is_missing_or_not_accepted_is_a_fault() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let config = config(
        builder().with_client_cert_verifier(verifier),
        certificate(&authority, "localhost", false),
    );
    let server = confirming(config).await;
    let without = trusting(&authority, &folder);
    assert_eq!(statuses(&call_tls(&server, &without).await), ["fault tls"]);
    let other_authority = self::authority();
    for (issuer, is_expired, expected) in [
        (&authority, false, "delivered 200"),
        (&authority, true, "fault tls"),
        (&other_authority, false, "fault tls"),
    ] {
        let (certificate, key) = certificate(issuer, "client", is_expired);
        let (cert_file, key_file) = (
            folder.path().join("client.pem"),
            folder.path().join("client.key"),
        );
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let with = Tls {
            client_certificate: Some(ClientCertificate {
                cert_file,
                key_file,
            }),
            ..without.clone()
        };
        let attempt = call_tls(&server, &with).await;
        assert_eq!(
            statuses(&attempt),
            [expected],
            "{is_expired} {:?}",
            attempt.error
        );
    }
}

#[tokio::test]
async fn an_address_that_takes_connections_and_says_nothing_is_stepped_over_and_the_certificate_is_the_names()
 {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let tls = trusting(&authority, &folder);
    let addresses = port_of(&["127.0.0.2", "127.0.0.3"]).await;
    let _says_nothing = TcpListener::bind(addresses[0]).await.unwrap();
    let listener = TcpListener::bind(addresses[1]).await.unwrap();
    let config = config(
        builder().with_no_client_auth(),
        certificate(&authority, "api.example", false),
    );
    // The second request finds the connection cut, without TLS's own end: as if the process was
    // killed.
    let _server = Server::on_tls(listener, config, |request| match request.number {
        0 => Reply::Bytes(json(200, r#"{"id":52}"#)),
        _ => Reply::Last(Vec::new()),
    });
    let (caller, _, _folder) = caller_of(Some(&tls), &addresses, TIMEOUT);
    for _ in 0..2 {
        let attempt = crate::http::attempt::tests::call(&caller).await;
        assert_eq!(statuses(&attempt), ["delivered 200"], "{:?}", attempt.error);
        assert!(attempt.calls[0].duration < TIMEOUT / 2);
    }
}

#[test]
fn a_tls_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, nonsense) = (
        folder.path().join("missing"),
        folder.path().join("nonsense"),
    );
    std::fs::write(&nonsense, "canary").unwrap();
    let trusting = |path: &Path| Tls {
        ca_file: Some(path.to_owned()),
        client_certificate: None,
    };
    let showing = |cert: &Path, key: &Path| Tls {
        ca_file: None,
        client_certificate: Some(ClientCertificate {
            cert_file: cert.to_owned(),
            key_file: key.to_owned(),
        }),
    };
    for (tls, part) in [
        (trusting(&missing), "cannot read ca_file"),
        (trusting(&nonsense), "holds no certificate"),
        (showing(&missing, &nonsense), "cannot read client_cert_file"),
        (showing(&nonsense, &missing), "cannot read client_key_file"),
        (
            showing(&nonsense, &nonsense),
            "not a certificate and its key",
        ),
    ] {
        let made = Http::new(&"https://localhost".parse().unwrap(), &tls, None, TIMEOUT);
        let error = format!("{:#}", made.err().unwrap());
        assert!(
            error.contains(part) && (error.contains("/missing") || error.contains("/nonsense")),
            "{error}"
        );
        assert!(!error.contains("canary"));
    }
}
