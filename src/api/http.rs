//! HTTP: one exchange with a target, and what may go wrong with it before any API has a say.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::connect::Connector;
use super::lost::Lost;
use super::outline::Outline;
use super::{Answer, Request, TokenPlace};
use crate::config::Tls;
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
    client: Client<Connector, Full<Bytes>>,
    base_url: Url,
    /// The same as text, without a slash at its end: paths are put behind it.
    base: String,
}

impl Http {
    /// Makes ready for calls to paths below `base_url`. Opens no connection yet.
    ///
    /// # Errors
    /// Where a TLS file cannot be used, named by its path.
    pub fn new(base_url: &Url, tls: &Tls, request_timeout: Duration) -> anyhow::Result<Self> {
        // A little less than the whole, so that the time for connecting runs out first and is known as that.
        let connect_timeout = (request_timeout * 4 / 5).min(CONNECT_TIMEOUT);
        let connector = Connector::new(tls, base_url.scheme() == "https", connect_timeout)?;
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector);
        Ok(Http { client, base_url: base_url.clone(), base: base_url.as_str().trim_end_matches('/').to_owned() })
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
        let request = self.request(request, token, headers)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| Lost::new(&error, error.is_connect()))?;
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

    fn request(&self, request: Request, token: Option<&SecretString>, mut headers: HeaderMap) -> Result<hyper::Request<Full<Bytes>>, Lost> {
        let mut address = format!("{}{}", self.base, request.path);
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
                address.extend(["?", name, "="]);
                address.extend(byte_serialize(token.as_bytes()));
            }
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("user-courier/", env!("CARGO_PKG_VERSION"))));
        let mut built = hyper::Request::new(Full::from(request.body));
        *built.method_mut() = request.method;
        // Fails for a token that makes the address longer than 64 KiB; the error would show it.
        *built.uri_mut() = Uri::from_maybe_shared(Bytes::from(address)).map_err(|_| Lost::unsendable())?;
        *built.headers_mut() = headers;
        Ok(built)
    }
}

/// The token without the word that stands before it in a header: vendors hand it out with it, as the sample of aipix shows, and so do people.
pub fn without_scheme(token: &str) -> &str {
    match token.trim().split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim_start(),
        _ => token.trim(),
    }
}

/// The next piece of a body, if there is one.
async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Lost> {
    while let Some(frame) = body.frame().await {
        // What is no data is a trailer.
        if let Ok(piece) = frame.map_err(|error| Lost::new(&error, false))?.into_data() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

async fn read(response: Response<Incoming>, enough: impl Fn(&Answer) -> bool) -> Result<Answer, Lost> {
    let pause = response.headers().get(RETRY_AFTER);
    let mut answer = Answer {
        status: response.status().as_u16(),
        asks_for_pause: pause.is_some(),
        retry_after: pause.and_then(|value| retry_after::read(value.to_str().ok()?, SystemTime::now())),
        body: Vec::new(),
    };
    let mut body = response.into_body();
    while let Some(piece) = piece(&mut body).await? {
        if answer.body.len() + piece.len() > BODY_CAP {
            return read_on(body, answer, &piece, enough).await;
        }
        answer.body.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// Reads a body that is too long to be kept. What is left of it when this returns is dropped with its connection.
async fn read_on(mut body: Incoming, mut answer: Answer, first: &[u8], enough: impl Fn(&Answer) -> bool) -> Result<Answer, Lost> {
    let mut length = answer.body.len() + first.len();
    let mut outline = Outline::default();
    outline.read(&answer.body);
    outline.read(first);
    loop {
        answer.body = outline.text().unwrap_or_default();
        if answer.status != 200 || !outline.is_open() || length > SEARCH_CAP || enough(&answer) {
            return Ok(answer);
        }
        let Some(piece) = piece(&mut body).await? else {
            return Ok(answer);
        };
        length += piece.len();
        outline.read(&piece);
    }
}
