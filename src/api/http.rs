//! HTTP: one exchange with a target, and what may go wrong with it before any API has a say.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::lost::Lost;
use super::outline::Outline;
use super::{Answer, Request, TokenPlace};
use crate::config::{ClientCertificate, Tls};
use crate::retry_after;

/// A body is kept up to this size, in bytes; of a longer one an outline.
const BODY_CAP: usize = 64 * 1024;
/// The proof of a success may stand late in a body: it is looked for, but not kept, up to here, in bytes.
const SEARCH_CAP: usize = 16 * 1024 * 1024;
/// The longest time for connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the idle timeouts that servers and what stands before them commonly have (60 s), so that a
/// connection is seldom closed just when it is used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

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
            .user_agent(concat!("user-courier/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        client = match &tls.ca_file {
            Some(path) => client.tls_certs_only(authorities(path)?),
            None if base_url.scheme() == "https" => client,
            // The platform's certificates are not wanted, and may be missing.
            None => client.tls_certs_only([]),
        };
        if let Some(certificate) = &tls.client_certificate {
            client = client.identity(identity(certificate)?);
        }
        let client = client.build().map_err(reqwest::Error::without_url);
        let client =
            client.context("cannot set up TLS: install the platform's certificates (ca-certificates), and check the target's tls files")?;
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
            let response = self.client.execute(request).await.map_err(|error| Lost::from(&error))?;
            read(response, enough).await
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(Lost::too_late(timeout)))
    }

    /// The address of a path below the base URL.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{path}", self.base_url.path().trim_end_matches('/')));
        url
    }

    fn request(&self, request: Request, token: Option<&SecretString>, mut headers: HeaderMap) -> reqwest::Request {
        let mut url = self.url(&request.path);
        let token = token.map_or("", |token| token.expose_secret());
        match request.token {
            TokenPlace::None => {}
            TokenPlace::Bearer => {
                // A session hands out no token that a header cannot carry; sent without, the API would refuse it.
                if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", without_scheme(token))) {
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

/// The token without the word that stands before it in a header: vendors hand it out with it, as the sample of aipix shows, and so do people.
pub fn without_scheme(token: &str) -> &str {
    match token.trim().split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim_start(),
        _ => token.trim(),
    }
}

fn authorities(path: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    anyhow::ensure!(!certificates.is_empty(), "ca_file {} holds no certificate in PEM form", path.display());
    Ok(certificates)
}

fn identity(ClientCertificate { cert_file, key_file }: &ClientCertificate) -> anyhow::Result<reqwest::Identity> {
    let mut pem = std::fs::read(cert_file).with_context(|| format!("cannot read client_cert_file {}", cert_file.display()))?;
    pem.push(b'\n');
    pem.extend(std::fs::read(key_file).with_context(|| format!("cannot read client_key_file {}", key_file.display()))?);
    // The error's own text is left out, as it speaks of the key.
    let identity = reqwest::Identity::from_pem(&pem).ok();
    identity.with_context(|| format!("{} and {} are not a certificate and its key in PEM form", cert_file.display(), key_file.display()))
}

async fn read(mut response: reqwest::Response, enough: impl Fn(&Answer) -> bool) -> Result<Answer, Lost> {
    let pause = response.headers().get(RETRY_AFTER);
    let mut answer = Answer {
        status: response.status().as_u16(),
        asks_for_pause: pause.is_some(),
        retry_after: pause.and_then(|value| retry_after::read(value.to_str().ok()?, SystemTime::now())),
        body: Vec::new(),
    };
    while let Some(piece) = response.chunk().await.map_err(|error| Lost::from(&error))? {
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
        let Some(piece) = response.chunk().await.map_err(|error| Lost::from(&error))? else {
            return Ok(answer);
        };
        length += piece.len();
        outline.read(&piece);
    }
}
