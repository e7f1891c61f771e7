//! HTTP: one exchange with a target, and what may go wrong with it before any API has a say.
//!
//! reqwest is known here, in `body.rs`, `lost.rs`, `names.rs`, `pool.rs` and `sent.rs` only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::api::{Answer, Request, TokenPlace};
use crate::config::{Proxy, Tls};
use crate::http::body::IncomingBody;
use crate::http::lost::{Lost, is_of_tls};
use crate::http::names::AddressSource;
use crate::http::outline::Outline;
use crate::http::pool::{Pools, led_nowhere, port};
use crate::http::retry_after;
use crate::http::sent::Sent;
use crate::model::json::BYTE_ORDER_MARK;

/// A body is kept up to this size, in bytes; of a longer one an outline.
const BODY_CAP: usize = 64 * 1024;
/// The proof of a success may stand late in a body: it is looked for, but not kept, up to here, in
/// bytes.
const SEARCH_CAP: usize = 16 * 1024 * 1024;

/// Attempts to connect, even to a single address, if no connection was made in time.
const TRIES: usize = 2;

/// The connections to one target. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    pools: Arc<Pools>,
    base_url: Url,
    has_proxy: bool,
}

/// A request in parts, so that it can be put together a second time.
struct Parts {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Http {
    /// Makes ready for calls to paths below `base_url`. Opens no connection yet.
    ///
    /// # Errors
    /// If a TLS file or the proxy's password cannot be used, named by its path.
    pub fn new(
        base_url: &Url,
        tls: &Tls,
        proxy: Option<&Proxy>,
        request_timeout: Duration,
    ) -> anyhow::Result<Self> {
        Self::with_names(base_url, tls, proxy, request_timeout, AddressSource::System)
    }

    /// The same, with a way of its own to look names up.
    pub(crate) fn with_names(
        base_url: &Url,
        tls: &Tls,
        proxy: Option<&Proxy>,
        request_timeout: Duration,
        names: AddressSource,
    ) -> anyhow::Result<Self> {
        Ok(Http {
            pools: Arc::new(Pools::new(base_url, tls, proxy, request_timeout, names)?),
            has_proxy: proxy.is_some(),
            base_url: base_url.clone(),
        })
    }

    /// Leaves all connections behind: the next request is made on a new one, to the next address of
    /// the name. What has been sent already may still be answered.
    pub fn start_anew(&self) {
        let names = self.pools.names();
        names.pass_over(names.turn());
        self.pools.leave(&self.pools.kept());
    }

    /// Sends the request once and reads the answer, all within `timeout` after `began`: nothing is
    /// sent later, even if the process was suspended in between.
    ///
    /// If a kept connection broke before an answer came, the request is sent once more on a new
    /// one: the fault is the connection's, not the API's.
    ///
    /// A body longer than 64 KiB is replaced by its outline. A 200 is then read on, up to 16 MiB,
    /// until `enough` accepts the outline: a success is recognised wherever its proof is in the
    /// body.
    ///
    /// # Errors
    /// If there was no complete answer.
    pub async fn exchange(
        &self,
        request: Request,
        token: Option<&SecretString>,
        headers: HeaderMap,
        began: Instant,
        timeout: Duration,
        enough: impl Fn(&Answer) -> bool + Send,
    ) -> Result<Answer, Lost> {
        let parts = self.parts(request, token, headers)?;
        let (sent, mut repeated) = (Sent::default(), false);
        let exchange = self.send_and_read(&parts, enough, &sent, &mut repeated);
        match tokio::time::timeout_at(began + timeout, exchange).await {
            Ok(Err(lost)) => Err(Lost {
                ambiguous: lost.ambiguous || repeated,
                ..lost
            }),
            Ok(answer) => answer,
            Err(_) => Err(Lost::too_late(timeout, sent.is_set())),
        }
    }

    async fn send_and_read(
        &self,
        parts: &Parts,
        enough: impl Fn(&Answer) -> bool,
        sent: &Sent,
        repeated: &mut bool,
    ) -> Result<Answer, Lost> {
        let pool = self.pools.kept();
        let mut response = self.send(&pool.client, parts, sent).await;
        if let Err(error) = &response
            && pool.was_dead(error)
        {
            tracing::debug!("a kept connection was dead: the request is repeated on a new one");
            if led_nowhere(error) {
                // The pool's other connections may be dead too, and each would cost a call seconds.
                self.pools.leave(&pool);
            }
            *repeated = true;
            response = self.send(self.pools.fresh(), parts, sent).await;
        }
        let response = response.map_err(|error| match self.has_proxy {
            true => Lost::through_proxy(&error),
            false => Lost::new(&error),
        })?;
        if self.has_proxy && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(Lost::refused_by_proxy());
        }
        let port = port(response.extensions());
        let answer = read(response, enough).await?;
        if let Some(port) = port.filter(|_| !*repeated) {
            pool.has_answered(port);
        }
        Ok(answer)
    }

    /// Sends the request once. An address that took no connection, or took it and failed at TLS,
    /// was sent nothing, and gives way to the next one of its name.
    async fn send(
        &self,
        client: &Client,
        parts: &Parts,
        sent: &Sent,
    ) -> Result<Response, reqwest::Error> {
        let (names, mut first, mut tries) = (self.pools.names(), None, 0);
        loop {
            let turn = names.turn();
            let error = match client.execute(parts.request(sent)).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !error.is_connect() {
                return Err(error);
            }
            tries += 1;
            let timed_out = error.is_timeout();
            // Addresses that refuse are passed over by reqwest.
            if !timed_out && !is_of_tls(&error) {
                return Err(first.unwrap_or(error));
            }
            names.pass_over(turn);
            // The first tells most, unless another one came further.
            let error = match first.take() {
                Some(first) if is_of_tls(&first) || !is_of_tls(&error) => first,
                _ => error,
            };
            if tries >= names.count().max(if timed_out { TRIES } else { 1 }) {
                return Err(error);
            }
            first = Some(error);
        }
    }

    /// The address of a path below the base URL.
    pub fn url(&self, path: &str) -> Url {
        below(&self.base_url, path)
    }

    fn parts(
        &self,
        request: Request,
        token: Option<&SecretString>,
        mut headers: HeaderMap,
    ) -> Result<Parts, Lost> {
        let mut url = self.url(&request.path);
        // A segment such as `..` would lead elsewhere.
        if !url.path().ends_with(&request.path) {
            return Err(Lost::without_address());
        }
        let token = token.map_or("", |token| token.expose_secret());
        match request.token {
            TokenPlace::None => {}
            TokenPlace::Bearer => {
                // A session hands out no token that a header cannot carry; sent without, the API
                // would refuse it.
                if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
            TokenPlace::Query(name) => {
                let query: String = [name, "="]
                    .into_iter()
                    .chain(byte_serialize(token.as_bytes()))
                    .collect();
                url.set_query(Some(&query));
            }
        }
        headers.insert(ACCEPT, HeaderValue::from_static(request.accept));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("user-courier/", env!("CARGO_PKG_VERSION"))),
        );
        Ok(Parts {
            method: request.method,
            url,
            headers,
            body: request.body,
        })
    }
}

/// The address of a path below a base URL.
pub fn below(base_url: &Url, path: &str) -> Url {
    let mut url = base_url.clone();
    url.set_path(&format!("{}{path}", base_url.path().trim_end_matches('/')));
    url
}

impl Parts {
    fn request(&self, sent: &Sent) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = Some(sent.body(self.body.clone()));
        request
    }
}

async fn read(response: Response, enough: impl Fn(&Answer) -> bool) -> Result<Answer, Lost> {
    let pause = response.headers().get(RETRY_AFTER);
    let mut answer = Answer {
        status: response.status().as_u16(),
        asks_for_pause: pause.is_some(),
        retry_after: pause
            .and_then(|value| retry_after::read(value.to_str().ok()?, SystemTime::now())),
        ..Answer::default()
    };
    let mut body = IncomingBody::of(response);
    while let Some(piece) = body.piece().await? {
        if answer.body.len() + piece.len() > BODY_CAP {
            return read_on(body, answer, &piece, enough).await;
        }
        answer.body.extend_from_slice(&piece);
    }
    answer.unreadable = body.unreadable();
    if answer.body.starts_with(BYTE_ORDER_MARK) {
        answer.body.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(answer)
}

/// Reads a body that is too long to be kept. What is left of it when this returns is dropped with
/// its connection.
async fn read_on(
    mut body: IncomingBody,
    mut answer: Answer,
    first: &[u8],
    enough: impl Fn(&Answer) -> bool,
) -> Result<Answer, Lost> {
    let mut length = answer.body.len() + first.len();
    let mut outline = Outline::default();
    outline.read(&answer.body);
    outline.read(first);
    loop {
        answer.body = outline.text().unwrap_or_default();
        if answer.status != 200 || !outline.is_open() || length > SEARCH_CAP || enough(&answer) {
            return Ok(answer);
        }
        let Some(piece) = body.piece().await? else {
            answer.unreadable = body.unreadable();
            return Ok(answer);
        };
        length += piece.len();
        outline.read(&piece);
    }
}
