//! HTTP: one exchange with a target, and what may go wrong with it before any API has a say.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::outline::Outline;
use super::{Answer, Request, TokenPlace};
use crate::retry_after;
use crate::verdict::Verdict;

/// A body is kept up to this size, in bytes; of a longer one an outline.
const BODY_CAP: usize = 64 * 1024;
/// The proof of a success may stand late in a body: it is looked for, but not kept, up to here, in bytes.
const SEARCH_CAP: usize = 16 * 1024 * 1024;
/// The longest time for connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the idle timeouts that servers and what stands before them commonly have (60 s), so that a
/// connection is seldom closed just when it is used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A target's TLS files, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of authorities to trust besides those of the platform.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the server, followed by its chain.
    pub client_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub client_key_file: Option<PathBuf>,
}

/// How a call was answered: the label `status` in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// With this HTTP status.
    Http(u16),
    /// Not in time.
    Timeout,
    /// Not at all, since no connection came about.
    Connect,
    /// Not at all, since TLS failed.
    Tls,
    /// Not with HTTP, or not with all of it.
    Protocol,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::Http(status) => status.fmt(f),
            Status::Timeout => f.write_str("timeout"),
            Status::Connect => f.write_str("connect"),
            Status::Tls => f.write_str("tls"),
            Status::Protocol => f.write_str("protocol"),
        }
    }
}

/// An exchange that brought no whole answer.
#[derive(Clone, Debug)]
pub struct Lost {
    /// How that is judged.
    pub verdict: Verdict,
    /// What it is called in metrics.
    pub status: Status,
    /// Whether the request may have gone out and been followed nevertheless.
    pub ambiguous: bool,
    /// What happened, in our own words: an HTTP client's errors show the URL, which may hold the token.
    pub message: String,
}

/// The connections to one target. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base_url: Url,
}

impl Http {
    /// Makes ready for calls to paths below `base_url`. Opens no connection yet.
    ///
    /// # Errors
    /// Where a TLS file cannot be used, named by its path.
    pub fn new(base_url: Url, tls: &Tls, request_timeout: Duration) -> anyhow::Result<Self> {
        // Fails only where one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A little less than the whole, so that the time for connecting runs out first and is known as that.
        let connect_timeout = (request_timeout * 4 / 5).min(CONNECT_TIMEOUT);
        let mut client = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy();
        let authorities = tls.authorities()?;
        client = if base_url.scheme() == "https" {
            client.tls_certs_merge(authorities)
        } else {
            // The platform's certificates are not wanted, and may be missing.
            client.tls_certs_only(authorities)
        };
        if let Some(identity) = tls.identity()? {
            client = client.identity(identity);
        }
        let client = client.build().map_err(reqwest::Error::without_url);
        let client = client.context("cannot set up TLS: install the platform's certificates (ca-certificates), and check the target's tls files")?;
        Ok(Http { client, base_url })
    }

    /// Sends the request once and reads the answer, all within `timeout`.
    ///
    /// A body longer than 64 KiB is replaced by its outline. A 200 is then read on until `enough` is content
    /// with the outline, up to 16 MiB: so a success is known wherever its proof stands.
    ///
    /// # Errors
    /// Where there was no whole answer.
    pub async fn exchange(
        &self,
        request: Request,
        token: Option<&SecretString>,
        headers: HeaderMap,
        timeout: Duration,
        enough: impl Fn(&Answer) -> bool + Send,
    ) -> Result<Answer, Lost> {
        let request = self.request(request, token, headers);
        let exchange = async {
            let response = self.client.execute(request).await.map_err(|error| lost(&error))?;
            read(response, enough).await
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(too_late(timeout)))
    }

    fn request(&self, request: Request, token: Option<&SecretString>, mut headers: HeaderMap) -> reqwest::Request {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{}", self.base_url.path().trim_end_matches('/'), request.path));
        let token = token.map_or("", |token| token.expose_secret());
        match request.token {
            TokenPlace::None => {}
            TokenPlace::Bearer => {
                // A session hands out no token that a header cannot carry; sent without, the API would refuse it.
                if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
            TokenPlace::Query(name) => {
                url.query_pairs_mut().append_pair(name, token);
            }
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut built = reqwest::Request::new(request.method, url);
        *built.headers_mut() = headers;
        *built.body_mut() = Some(request.body.into());
        built
    }
}

impl Tls {
    fn authorities(&self) -> anyhow::Result<Vec<reqwest::Certificate>> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let pem = std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
        anyhow::ensure!(!certificates.is_empty(), "ca_file {} holds no certificate in PEM form", path.display());
        Ok(certificates)
    }

    fn identity(&self) -> anyhow::Result<Option<reqwest::Identity>> {
        let (certificate, key) = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Ok(None),
            _ => anyhow::bail!("client_cert_file and client_key_file go together: set both or none"),
        };
        let mut pem = std::fs::read(certificate).with_context(|| format!("cannot read client_cert_file {}", certificate.display()))?;
        pem.push(b'\n');
        pem.extend(std::fs::read(key).with_context(|| format!("cannot read client_key_file {}", key.display()))?);
        // The error's own text is left out, as it speaks of the key.
        let identity = reqwest::Identity::from_pem(&pem).ok();
        let identity = identity.with_context(|| {
            format!("{} and {} are not a certificate and its key in PEM form", certificate.display(), key.display())
        })?;
        Ok(Some(identity))
    }
}

async fn read(mut response: reqwest::Response, enough: impl Fn(&Answer) -> bool) -> Result<Answer, Lost> {
    let pause = response.headers().get(RETRY_AFTER);
    let mut answer = Answer {
        status: response.status().as_u16(),
        asks_for_pause: pause.is_some(),
        retry_after: pause.and_then(|value| retry_after::read(value.to_str().ok()?, SystemTime::now())),
        body: Vec::new(),
    };
    while let Some(piece) = response.chunk().await.map_err(|error| lost(&error))? {
        if answer.body.len() + piece.len() > BODY_CAP {
            return read_on(response, answer, &piece, enough).await;
        }
        answer.body.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// Reads a body that is too long to be kept. What is left of it when this returns is dropped with its connection.
async fn read_on(
    mut response: reqwest::Response,
    mut answer: Answer,
    piece: &[u8],
    enough: impl Fn(&Answer) -> bool,
) -> Result<Answer, Lost> {
    let mut length = answer.body.len() + piece.len();
    let mut outline = Outline::default();
    outline.read(&answer.body);
    outline.read(piece);
    loop {
        answer.body = outline.text().unwrap_or_default();
        if answer.status != 200 || !outline.is_open() || length > SEARCH_CAP || enough(&answer) {
            return Ok(answer);
        }
        let Some(piece) = response.chunk().await.map_err(|error| lost(&error))? else { return Ok(answer) };
        length += piece.len();
        outline.read(&piece);
    }
}

fn too_late(timeout: Duration) -> Lost {
    Lost {
        verdict: Verdict::Retry { unreachable: false },
        status: Status::Timeout,
        ambiguous: true,
        message: format!("no answer within {timeout:?}"),
    }
}

/// What the HTTP client's error means. Only the kinds of its causes are used, never its texts.
fn lost(error: &reqwest::Error) -> Lost {
    let causes = causes(error);
    let nothing_sent = error.is_connect();
    let unreachable = Verdict::Retry { unreachable: nothing_sent };
    let (verdict, status, message) = if let Some(error) = find::<rustls::Error>(&causes) {
        tls_failure(error, unreachable)
    } else if nothing_sent && error.is_timeout() {
        (unreachable, Status::Connect, "no connection came about in time".to_owned())
    } else if nothing_sent && error.is_dns() {
        (unreachable, Status::Connect, "the host's name was not found: check base_url and the name service".to_owned())
    } else if nothing_sent && is_within_tls(&causes) {
        (unreachable, Status::Tls, "the connection was cut off while TLS was being set up".to_owned())
    } else if nothing_sent {
        (unreachable, Status::Connect, format!("could not connect: {}", io_kind(&causes)))
    } else if find::<hyper::Error>(&causes).is_some_and(hyper::Error::is_parse) {
        // Whatever speaks something else than HTTP is not the API, and would say the same to every update.
        (Verdict::Fault, Status::Protocol, "the answer was not HTTP: check base_url, its port, and http or https".to_owned())
    } else if error.is_timeout() {
        (unreachable, Status::Timeout, "the connection timed out".to_owned())
    } else {
        (unreachable, Status::Protocol, format!("the connection was lost before the answer was complete: {}", io_kind(&causes)))
    };
    Lost { verdict, status, ambiguous: !nothing_sent && verdict != Verdict::Fault, message }
}

/// A certificate that is not accepted, on either side, and anything that is no TLS stay as they are until somebody
/// acts; a peer's own trouble does not.
fn tls_failure(error: &rustls::Error, unreachable: Verdict) -> (Verdict, Status, String) {
    use rustls::{AlertDescription as Alert, Error as Tls};
    match error {
        Tls::AlertReceived(Alert::InternalError | Alert::UserCanceled | Alert::CloseNotify) => {
            (unreachable, Status::Tls, format!("TLS was broken off: {error}"))
        }
        Tls::InvalidCertificate(_) => {
            let message = format!("the server's certificate is not accepted ({error}): check base_url, or set tls.ca_file to its authority");
            (Verdict::Fault, Status::Tls, message)
        }
        _ => (Verdict::Fault, Status::Tls, format!("TLS failed ({error}): check base_url, its port and the target's tls files")),
    }
}

/// The error and all that caused it. An `io::Error` hides what it wraps from `source`.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes: Vec<&(dyn Error + 'static)> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|cause| cause as &(dyn Error + 'static)).or_else(|| cause.source());
    }
    causes
}

fn find<'a, E: Error + 'static>(causes: &[&'a (dyn Error + 'static)]) -> Option<&'a E> {
    causes.iter().find_map(|cause| cause.downcast_ref())
}

/// An error of the socket below TLS comes wrapped into another `io::Error`.
fn is_within_tls(causes: &[&(dyn Error + 'static)]) -> bool {
    causes.iter().filter(|cause| cause.is::<std::io::Error>()).count() > 1
}

fn io_kind(causes: &[&(dyn Error + 'static)]) -> String {
    let last = causes.iter().rev().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    last.map_or_else(|| "closed by the other side".to_owned(), |error| error.kind().to_string())
}
