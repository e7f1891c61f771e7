//! Connecting to a target: TCP, and TLS where its address says so, within a bounded time.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;

use crate::config::{ClientCertificate, Tls};

/// How long an idle connection is silent before it is asked whether it still stands: many firewalls forget one that is silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

/// No connection came about in time.
#[derive(Debug)]
pub(super) struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no connection came about in time")
    }
}

impl Error for TooLate {}

impl Connector {
    /// A connector that gives up after `timeout`, TLS included. `secure`: the target's address is https.
    ///
    /// # Errors
    /// Where a TLS file cannot be used, named by its path; and where the platform has no certificates and they are wanted.
    pub(super) fn new(tls: &Tls, secure: bool, timeout: Duration) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        let inner = HttpsConnectorBuilder::new().with_tls_config(config(tls, secure)?).https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Connector { inner, timeout })
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(address));
        Box::pin(async move { connecting.await.unwrap_or_else(|_| Err(Box::new(TooLate))) })
    }
}

fn config(tls: &Tls, secure: bool) -> anyhow::Result<ClientConfig> {
    // Fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match &tls.ca_file {
        Some(path) => ClientConfig::builder().with_root_certificates(authorities(path)?),
        None if secure => ClientConfig::builder()
            .with_platform_verifier()
            .context("cannot set up TLS: install the platform's certificates (ca-certificates), or set the target's tls.ca_file")?,
        // The platform's certificates are not wanted, and may be missing.
        None => ClientConfig::builder().with_root_certificates(RootCertStore::empty()),
    };
    let Some(ClientCertificate { cert_file, key_file }) = &tls.client_certificate else { return Ok(builder.with_no_client_auth()) };
    let certificates = std::fs::read(cert_file).with_context(|| format!("cannot read client_cert_file {}", cert_file.display()))?;
    let key = std::fs::read(key_file).with_context(|| format!("cannot read client_key_file {}", key_file.display()))?;
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(&certificates).collect::<Result<_, _>>().ok();
    let pair = certificates.filter(|certificates| !certificates.is_empty()).zip(PrivateKeyDer::from_pem_slice(&key).ok());
    // The errors' own texts are left out, as they speak of the key.
    let config = pair.and_then(|(certificates, key)| builder.with_client_auth_cert(certificates, key).ok());
    config.with_context(|| format!("{} and {} are not a certificate and its key in PEM form", cert_file.display(), key_file.display()))
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))?;
    let mut authorities = RootCertStore::empty();
    let (added, _) = authorities.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    anyhow::ensure!(added > 0, "ca_file {} holds no certificate in PEM form", path.display());
    Ok(authorities)
}
