//! Connections to one target: those that are kept, until they are left behind together, and new
//! ones for single requests.
//!
//! reqwest offers no way to give up one kept connection, or to ask how old it is. A pool is
//! therefore a client of reqwest's, and another one takes its place: when it is 5 minutes old, when
//! the target is in trouble, and when a connection of it turned out to lead nowhere.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::header::HeaderValue;
use reqwest::{Client, redirect, retry};
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::Url;

use crate::config::{Proxy, ProxyAccount, Tls};
use crate::http::lost::find_cause;
use crate::http::names::{AddressSource, Resolver};
use crate::http::tls;

/// Longest time for one connection to come about, TLS included. Two of them fit into a call: an
/// address that takes connections and says nothing leaves time for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time for which data may stay unacknowledged.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// Silence after which an idle connection is probed: many firewalls forget one that is silent for
/// minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Shorter than the common idle timeouts of servers and of proxies before them (60 s), so that a
/// connection is seldom closed just when it is used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// No connection is used for longer, so that a name that leads elsewhere is followed.
const LONGEST_USE: Duration = Duration::from_secs(5 * 60);

/// Connections to one target.
pub(super) struct Pools {
    kept: Mutex<Arc<Pool>>,
    /// Makes a connection for each request.
    fresh: Client,
    maker: Maker,
    /// A pool that is older than this takes no request.
    oldest: Duration,
}

/// Connections that are kept together.
pub(super) struct Pool {
    /// Sends on them.
    pub(super) client: Client,
    born: Instant,
    /// Local ports of those that have answered before. A port that has come to another connection
    /// in the meantime only means that a request is repeated once more than need be.
    answered: Mutex<HashSet<u16>>,
}

/// Makes clients.
struct Maker {
    tls: ClientConfig,
    proxy: Option<reqwest::Proxy>,
    names: Resolver,
    request_timeout: Duration,
}

impl Pools {
    pub(super) fn new(
        base_url: &Url,
        tls: &Tls,
        proxy: Option<&Proxy>,
        request_timeout: Duration,
        source: AddressSource,
    ) -> anyhow::Result<Self> {
        let maker = Maker {
            tls: tls::config(tls, base_url.scheme() == "https")?,
            proxy: proxy.map(proxied).transpose()?,
            names: Resolver::new(source),
            request_timeout,
        };
        Ok(Pools {
            kept: Mutex::new(Arc::new(Pool::new(maker.client(usize::MAX)?))),
            fresh: maker.client(0)?,
            oldest: LONGEST_USE.saturating_sub(request_timeout),
            maker,
        })
    }

    /// The pool of now.
    pub(super) fn kept(&self) -> Arc<Pool> {
        let mut kept = self.lock();
        if kept.born.elapsed() > self.oldest {
            self.replace(&mut kept);
        }
        kept.clone()
    }

    /// A client that makes a connection for each request.
    pub(super) fn fresh(&self) -> &Client {
        &self.fresh
    }

    /// Addresses of the target's name.
    pub(super) fn names(&self) -> &Resolver {
        &self.maker.names
    }

    /// Leaves this pool behind. What was sent on it may still be answered.
    pub(super) fn leave(&self, pool: &Arc<Pool>) {
        let mut kept = self.lock();
        if Arc::ptr_eq(&kept, pool) {
            self.replace(&mut kept);
        }
    }

    fn replace(&self, kept: &mut Arc<Pool>) {
        // It could be made before, of the very same.
        if let Ok(client) = self.maker.client(usize::MAX) {
            *kept = Arc::new(Pool::new(client));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Pool>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(client: Client) -> Self {
        Pool {
            client,
            born: Instant::now(),
            answered: Mutex::default(),
        }
    }

    /// An answer came on this connection, and was whole.
    pub(super) fn has_answered(&self, port: u16) {
        self.answered().insert(port);
    }

    /// Whether the error is that of a connection that has answered before and broke off before the
    /// head of another answer was there.
    pub(super) fn was_dead(&self, error: &reqwest::Error) -> bool {
        let cause = find_cause::<hyper::Error>(error);
        let broke_off = cause.is_some_and(|cause| {
            !cause.is_parse() && !cause.is_parse_too_large() && !cause.is_user()
        });
        let port = find_cause::<legacy::Error>(error)
            .and_then(legacy::Error::connect_info)
            .and_then(|connected| {
                let mut extensions = Extensions::new();
                connected.get_extras(&mut extensions);
                port(&extensions)
            });
        broke_off && port.is_some_and(|port| self.answered().remove(&port))
    }

    fn answered(&self) -> MutexGuard<'_, HashSet<u16>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The local port of a connection.
pub(super) fn port(extensions: &Extensions) -> Option<u16> {
    Some(extensions.get::<HttpInfo>()?.local_addr().port())
}

/// Whether the connection ended because nothing was acknowledged on it.
pub(super) fn led_nowhere(error: &reqwest::Error) -> bool {
    let cause = find_cause::<std::io::Error>(error);
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut)
}

impl Maker {
    fn client(&self, kept: usize) -> reqwest::Result<Client> {
        let builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .dns_resolver(self.names.clone())
            .connect_timeout((self.request_timeout * 2 / 5).min(CONNECT_TIMEOUT))
            .tcp_keepalive(KEEPALIVE)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(kept);
        // Data that is not acknowledged ends the connection long before the call's time is over, so
        // that there is time for a new one.
        #[cfg(target_os = "linux")]
        let builder = builder.tcp_user_timeout((self.request_timeout / 2).min(ACKNOWLEDGED_WITHIN));
        let builder = match &self.proxy {
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder,
        };
        builder.build()
    }
}

/// The proxy as reqwest takes it. Its password is a header's value that no debug output shows, and
/// no part of a URL.
fn proxied(proxy: &Proxy) -> anyhow::Result<reqwest::Proxy> {
    let made = reqwest::Proxy::all(proxy.url.clone())?;
    let Some(ProxyAccount { user, password }) = &proxy.account else {
        return Ok(made);
    };
    let password = password.read()?;
    let account = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    let mut header = HeaderValue::from_str(&format!("Basic {account}"))?;
    header.set_sensitive(true);
    Ok(made.custom_http_auth(header))
}
