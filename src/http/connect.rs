//! Connecting to a target: to whichever of its addresses answers, TCP, and TLS if its URL says so,
//! within a bounded time.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::config::{ClientCertificate, Tls};
use crate::http::connection::Watched;
use crate::http::lost::is_of_tls;

/// The longest time for connecting, all addresses and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an address is waited for, at the most, before the next one of the same name is tried
/// beside it.
const NEXT_ADDRESS: Duration = Duration::from_millis(500);
/// How long an idle connection is silent before it is asked whether it still stands: many firewalls
/// forget one that is silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    tcp_and_tls: HttpsConnector<HttpConnector>,
    names: Names,
    timeout: Duration,
    /// Which of a name's addresses is tried first.
    turn: Arc<AtomicUsize>,
}

/// Looks names up, anew for each connection.
#[derive(Clone)]
pub(crate) enum Names {
    /// As the system does.
    System,
    /// Every name has these addresses.
    #[cfg(test)]
    Given(Arc<std::sync::Mutex<Vec<SocketAddr>>>),
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

/// The name has no address.
#[derive(Debug)]
pub(super) struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address")
    }
}

impl Error for NoAddress {}

type Stream = TokioIo<Watched<MaybeHttpsStream<TokioIo<TcpStream>>>>;
type AnyError = Box<dyn Error + Send + Sync>;

impl Connector {
    /// A connector for `base_url`, for calls that take `request_timeout` at most.
    ///
    /// # Errors
    /// Where a TLS file cannot be used, named by its path; and where the platform has no
    /// certificates and they are wanted.
    pub(super) fn new(
        base_url: &Url,
        tls: &Tls,
        request_timeout: Duration,
        names: Names,
    ) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        // Data that is not acknowledged ends the connection long before the call's time is over, so
        // that there is time for a new one.
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some((request_timeout / 2).min(CONNECT_TIMEOUT)));
        let config = config(tls, base_url.scheme() == "https")?;
        // Connections are made to addresses, and certificates name the host.
        let host = base_url.host().map(|host| match host {
            Host::Ipv6(address) => address.to_string(),
            host => host.to_string(),
        });
        let host = host.unwrap_or_default();
        let name = move |_: &Uri| ServerName::try_from(host.clone());
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .with_server_name_resolver(name);
        let tcp_and_tls = builder.enable_http1().wrap_connector(tcp);
        // A little less than the whole, so that the time for connecting runs out first and is known
        // as that.
        let timeout = (request_timeout * 4 / 5).min(CONNECT_TIMEOUT);
        Ok(Connector {
            tcp_and_tls,
            names,
            timeout,
            turn: Arc::default(),
        })
    }

    /// The next connection begins with another address of the name: this one connects, and what
    /// answers there may be the trouble.
    pub(super) fn next_address(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// Tries one address after the other, without giving up those that are slow, until one answers.
    async fn connect(mut self, target: Uri) -> Result<Stream, AnyError> {
        let targets = self.addresses(target).await?;
        let pause =
            NEXT_ADDRESS.min(self.timeout / 2 / u32::try_from(targets.len()).unwrap_or(u32::MAX));
        let mut targets = targets.into_iter();
        let (mut trials, mut why) = (FuturesUnordered::new(), None);
        loop {
            let begun = targets.next().map(|target| {
                trials.push(tower_service::Service::call(&mut self.tcp_and_tls, target))
            });
            if begun.is_none() && trials.is_empty() {
                return Err(why.unwrap_or_else(|| NoAddress.into()));
            }
            tokio::select! {
                Some(tried) = trials.next() => match tried {
                    Ok(stream) => return Ok(Watched::new(stream)),
                    // The first tells most, unless another one came further.
                    Err(error) if why.as_ref().is_none_or(|why: &AnyError| !is_of_tls(&**why) && is_of_tls(&*error)) => why = Some(error),
                    Err(_) => {}
                },
                () = tokio::time::sleep(pause), if begun.is_some() => {}
            }
        }
    }

    /// The same target by the addresses of its name.
    async fn addresses(&self, target: Uri) -> Result<Vec<Uri>, AnyError> {
        let host = target.host().unwrap_or_default().to_owned();
        if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
            return Ok(vec![target]);
        }
        let is_https = target.scheme_str() == Some("https");
        let port = target.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut addresses: Vec<SocketAddr> = match &self.names {
            Names::System => tokio::net::lookup_host((host, port))
                .await
                .map_err(|_| NoAddress)?
                .collect(),
            #[cfg(test)]
            Names::Given(addresses) => addresses.lock().map_err(|_| NoAddress)?.clone(),
        };
        if addresses.is_empty() {
            return Err(NoAddress.into());
        }
        let turn = self.turn.load(Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(turn);
        let by_address = |address: SocketAddr| {
            let scheme = if is_https { "https" } else { "http" };
            Uri::builder()
                .scheme(scheme)
                .authority(address.to_string())
                .path_and_query("/")
                .build()
        };
        Ok(addresses
            .into_iter()
            .map(by_address)
            .collect::<Result<_, _>>()?)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = AnyError;
    type Future = BoxFuture<'static, Result<Stream, AnyError>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), AnyError>> {
        self.tcp_and_tls.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.clone().connect(target));
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
    let Some(ClientCertificate {
        cert_file,
        key_file,
    }) = &tls.client_certificate
    else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates = std::fs::read(cert_file)
        .with_context(|| format!("cannot read client_cert_file {}", cert_file.display()))?;
    let key = std::fs::read(key_file)
        .with_context(|| format!("cannot read client_key_file {}", key_file.display()))?;
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .ok();
    let pair = certificates
        .filter(|certificates| !certificates.is_empty())
        .zip(PrivateKeyDer::from_pem_slice(&key).ok());
    // The errors' own texts are left out, as they speak of the key.
    let config =
        pair.and_then(|(certificates, key)| builder.with_client_auth_cert(certificates, key).ok());
    config.with_context(|| {
        format!(
            "{} and {} are not a certificate and its key in PEM form",
            cert_file.display(),
            key_file.display()
        )
    })
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let pem =
        std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))?;
    let mut authorities = RootCertStore::empty();
    let (added, _) =
        authorities.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    anyhow::ensure!(
        added > 0,
        "ca_file {} holds no certificate in PEM form",
        path.display()
    );
    Ok(authorities)
}
