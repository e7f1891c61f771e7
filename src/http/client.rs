//! HTTP: one exchange with a target, and what may go wrong with it before any API has a say.
//!
//! hyper's client is known here, in `body.rs`, `connect.rs`, `connection.rs` and `lost.rs` only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::api::{Answer, Request, TokenPlace};
use crate::config::Tls;
use crate::http::body::Body;
use crate::http::connect::{Connector, Names};
use crate::http::connection::Past;
use crate::http::lost::Lost;
use crate::http::outline::Outline;
use crate::http::retry_after;
use crate::model::json::BYTE_ORDER_MARK;

/// A body is kept up to this size, in bytes; of a longer one an outline.
const BODY_CAP: usize = 64 * 1024;
/// The proof of a success may stand late in a body: it is looked for, but not kept, up to here, in
/// bytes.
const SEARCH_CAP: usize = 16 * 1024 * 1024;
/// Shorter than the idle timeouts that servers and what stands before them commonly have (60 s), so
/// that a connection is seldom closed just when it is used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// No connection is used for longer, so that a name that leads elsewhere is followed.
const LONGEST_USE: Duration = Duration::from_secs(5 * 60);

type Sent = hyper::Request<Full<Bytes>>;

/// The connections to one target. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    /// Keeps connections.
    keeping: Arc<Mutex<Client<Connector, Full<Bytes>>>>,
    /// Makes a connection for each request.
    fresh: Client<Connector, Full<Bytes>>,
    connector: Connector,
    /// No connection that is older than this is kept.
    oldest_kept: Duration,
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
        Self::with_names(base_url, tls, request_timeout, Names::System)
    }

    /// The same, with a way of its own to look names up.
    pub(crate) fn with_names(
        base_url: &Url,
        tls: &Tls,
        request_timeout: Duration,
        names: Names,
    ) -> anyhow::Result<Self> {
        let connector = Connector::new(base_url, tls, request_timeout, names)?;
        Ok(Http {
            keeping: Arc::new(Mutex::new(client(&connector, usize::MAX))),
            fresh: client(&connector, 0),
            connector,
            // It may be idle for a while, and then be used once more.
            oldest_kept: LONGEST_USE.saturating_sub(IDLE_TIMEOUT + request_timeout),
            base_url: base_url.clone(),
            base: base_url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Leaves all connections behind: the next request is made on a new one, to the next address of
    /// the name. What has been sent already may still be answered.
    pub fn start_anew(&self) {
        self.connector.next_address();
        *self.keeping() = client(&self.connector, usize::MAX);
    }

    /// Sends the request once and reads the answer, all within `timeout` after `began`: nothing is
    /// sent later, even if the process stood still in between.
    ///
    /// If it was sent on a kept connection that broke off before a word of the answer had come, it
    /// is sent once more, on a new connection: a connection is not the API.
    ///
    /// A body longer than 64 KiB is replaced by its outline. A 200 is then read on until `enough`
    /// is content with the outline, up to 16 MiB: so a success is known wherever its proof stands.
    ///
    /// # Errors
    /// Where there was no whole answer.
    pub async fn exchange(
        &self,
        request: Request,
        token: Option<&SecretString>,
        headers: HeaderMap,
        began: Instant,
        timeout: Duration,
        enough: impl Fn(&Answer) -> bool + Send,
    ) -> Result<Answer, Lost> {
        let request = self.request(request, token, headers)?;
        let mut course = Course::default();
        let exchange = self.send_and_read(request, enough, &mut course);
        match tokio::time::timeout_at(began + timeout, exchange).await {
            Ok(Err(lost)) => Err(Lost {
                ambiguous: lost.ambiguous || course.repeated,
                ..lost
            }),
            Ok(answer) => answer,
            Err(_) => Err(Lost::too_late(timeout, course.began())),
        }
    }

    async fn send_and_read(
        &self,
        request: Sent,
        enough: impl Fn(&Answer) -> bool,
        course: &mut Course,
    ) -> Result<Answer, Lost> {
        let keeping = self.keeping().clone();
        let mut sent = course
            .send(&keeping, request.clone(), self.oldest_kept)
            .await;
        if sent.is_err()
            && course
                .past()
                .is_some_and(|past| past.is_silent_since_an_answer())
        {
            tracing::debug!("a kept connection was dead: the request is repeated on a new one");
            course.repeated = true;
            sent = course.send(&self.fresh, request, self.oldest_kept).await;
        }
        let response = sent.map_err(|error| Lost::new(&error, error.is_connect()))?;
        let past = response.extensions().get::<Past>().cloned();
        let answer = read(response, enough).await?;
        if let Some(past) = past {
            past.answered();
        }
        Ok(answer)
    }

    fn keeping(&self) -> MutexGuard<'_, Client<Connector, Full<Bytes>>> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a path below the base URL.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!(
            "{}{path}",
            self.base_url.path().trim_end_matches('/')
        ));
        url
    }

    fn request(
        &self,
        request: Request,
        token: Option<&SecretString>,
        mut headers: HeaderMap,
    ) -> Result<Sent, Lost> {
        let mut address = format!("{}{}", self.base, request.path);
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
                address.extend(["?", name, "="]);
                address.extend(byte_serialize(token.as_bytes()));
            }
        }
        headers.insert(ACCEPT, HeaderValue::from_static(request.accept));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("user-courier/", env!("CARGO_PKG_VERSION"))),
        );
        let mut built = Sent::new(Full::new(request.body));
        *built.method_mut() = request.method;
        // Fails for a token that makes the address longer than 64 KiB; the error would show it.
        *built.uri_mut() =
            Uri::from_maybe_shared(Bytes::from(address)).map_err(|_| Lost::unsendable())?;
        *built.headers_mut() = headers;
        Ok(built)
    }
}

fn client(connector: &Connector, kept: usize) -> Client<Connector, Full<Bytes>> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(kept);
    builder.build(connector.clone())
}

/// How far an exchange has come.
#[derive(Default)]
struct Course {
    connection: Option<CaptureConnection>,
    /// It was sent a second time.
    repeated: bool,
}

impl Course {
    async fn send(
        &mut self,
        client: &Client<Connector, Full<Bytes>>,
        mut request: Sent,
        oldest_kept: Duration,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        self.connection = Some(capture_connection(&mut request));
        let response = client.request(request).await?;
        // Before it goes back to the kept ones.
        let is_old = response
            .extensions()
            .get::<Past>()
            .is_some_and(|past| past.born().elapsed() > oldest_kept);
        if let Some(connection) = self.connection.as_ref().filter(|_| is_old)
            && let Some(connected) = &*connection.connection_metadata()
        {
            connected.poison();
        }
        Ok(response)
    }

    /// Whether there is, or was, a connection on which the request may have gone out.
    fn began(&self) -> bool {
        self.repeated
            || self
                .connection
                .as_ref()
                .is_some_and(|connection| connection.connection_metadata().is_some())
    }

    /// That of the connection that was used last.
    fn past(&self) -> Option<Past> {
        let mut extras = hyper::http::Extensions::new();
        self.connection
            .as_ref()?
            .connection_metadata()
            .as_ref()?
            .get_extras(&mut extras);
        extras.remove()
    }
}

async fn read(
    response: Response<Incoming>,
    enough: impl Fn(&Answer) -> bool,
) -> Result<Answer, Lost> {
    let pause = response.headers().get(RETRY_AFTER);
    let mut answer = Answer {
        status: response.status().as_u16(),
        asks_for_pause: pause.is_some(),
        retry_after: pause
            .and_then(|value| retry_after::read(value.to_str().ok()?, SystemTime::now())),
        ..Answer::default()
    };
    let mut body = Body::of(response);
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
    mut body: Body,
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
