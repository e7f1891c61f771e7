//! A scripted server: for tests of a client that meets exact bytes, cut connections, TLS, or
//! answers that no API gives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use url::Url;

use super::connection;
use super::shared::lock;
use super::wire::Socket;

pub use super::message::Request;
pub use super::wire::Reply;

/// A server on a free port of the loopback address that remembers what it is asked. It serves until
/// the runtime ends.
///
/// ```
/// use stand_in::scripted::{Reply, Server, json};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = Server::start(|request| match request.path() {
///     "/login" => Reply::Bytes(json(200, r#"{"token":"t"}"#)),
///     _ => Reply::Reset,
/// })
/// .await;
/// // … call server.url …
/// assert_eq!(server.count("/login"), 0);
/// # });
/// ```
#[derive(Clone)]
pub struct Server {
    /// Its base URL.
    pub url: Url,
    seen: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicU64>,
}

impl Server {
    /// Does with each request what it is told to.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Server::on(listen().await.0, reply)
    }

    /// The same on this listener.
    ///
    /// # Panics
    /// If it has no address, or there is no runtime.
    pub fn on(
        listener: TcpListener,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let reply = Arc::new(reply);
        Server::spawn(listener, "http", move |stream, number, seen| {
            let reply = reply.clone();
            async move { follow(stream, number, seen, &*reply).await }
        })
    }

    /// The same over TLS, for the host `localhost`. Who fails to shake hands is not seen.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start_tls(
        config: ServerConfig,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Server::on_tls(listen().await.0, config, reply)
    }

    /// The same over TLS on this listener.
    ///
    /// # Panics
    /// If it has no address, or there is no runtime.
    pub fn on_tls(
        listener: TcpListener,
        config: ServerConfig,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (acceptor, reply) = (TlsAcceptor::from(Arc::new(config)), Arc::new(reply));
        Server::spawn(listener, "https", move |stream, number, seen| {
            let (acceptor, reply) = (acceptor.clone(), reply.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    follow(stream, number, seen, &*reply).await;
                }
            }
        })
    }

    /// Does this with each connection before anything is read, and is silent from then on.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn greeting(greeting: Reply) -> Self {
        Server::spawn(listen().await.0, "http", move |mut stream, _, _| {
            let greeting = greeting.clone();
            async move {
                if greeting.play(&mut stream).await.unwrap_or(false) {
                    Reply::Silence.play(&mut stream).await.ok();
                }
            }
        })
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        scheme: &str,
        serve: impl Fn(TcpStream, u64, Arc<Mutex<Vec<Request>>>) -> F + Send + 'static,
    ) -> Self {
        let server = Server {
            url: url(scheme, address(&listener)),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (server.seen.clone(), server.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, number, seen.clone()));
            }
        });
        server
    }

    /// The requests so far, in the order in which they had been read.
    pub fn seen(&self) -> Vec<Request> {
        lock(&self.seen).clone()
    }

    /// How many requests had this in their first line.
    pub fn count(&self, part: &str) -> usize {
        lock(&self.seen)
            .iter()
            .filter(|request| request.line().contains(part))
            .count()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Serves one connection by a script: for a listener of one's own, such as one that is closed
/// meanwhile.
pub async fn serve(stream: TcpStream, reply: impl Fn(&Request) -> Reply + Send + Sync) {
    follow(stream, 0, Arc::default(), &reply).await;
}

/// Serves HTTP on one connection by the script.
async fn follow(
    stream: impl Socket + 'static,
    number: u64,
    seen: Arc<Mutex<Vec<Request>>>,
    reply: &(impl Fn(&Request) -> Reply + Send + Sync),
) {
    connection::serve(stream, number, |request| {
        let reply = reply(&request);
        lock(&seen).push(request);
        std::future::ready(Err(reply))
    })
    .await;
}

/// An answer with a JSON body.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    answer(status, "content-type: application/json\r\n", body)
}

/// An answer with these header lines.
pub fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An address on which nothing listens.
///
/// # Panics
/// If no port is free.
pub async fn nowhere() -> Url {
    url("http", listen().await.1)
}

#[expect(clippy::expect_used, reason = "a test that has no server cannot go on")]
async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = address(&listener);
    (listener, address)
}

#[expect(clippy::expect_used, reason = "what listens has an address")]
fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("an address")
}

#[expect(clippy::expect_used, reason = "made of parts that are known")]
fn url(scheme: &str, address: SocketAddr) -> Url {
    // A certificate is made out to a name.
    let host = if scheme == "https" {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    format!("{scheme}://{host}").parse().expect("a URL")
}
