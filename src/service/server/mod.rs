//! The HTTP server of the admin endpoint and of the console: HTTP/1.1 with bounds on everything
//! that a client can occupy.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::subscriber::stop::Stop;

/// The pause after a connection could not be accepted. If the process has too many files open,
/// trying again at once would only burn time.
const PAUSE: Duration = Duration::from_millis(100);

/// The most that those who reach the port can occupy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait until one ends.
    pub connections: usize,
    /// A connection serves requests for so long. `last` later it is closed, whatever it does.
    pub lifetime: Duration,
    /// The time that a request under way has left when its connection ends, or the server does.
    pub last: Duration,
    /// The time that a client has for the head of a request, and that a connection lives between
    /// two requests.
    pub idle: Duration,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// The head of a request, in bytes; at least 8 KiB.
    pub head: usize,
    /// The body of a request, in bytes.
    pub body: usize,
}

/// The address that a request comes from, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves until it is told to stop, and then until the requests under way have ended. `name` is the
/// server's in the log.
pub async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: Stop,
) {
    let router = router.layer(DefaultBodyLimit::max(limits.body));
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut failed = false;
    loop {
        let accepted = tokio::select! {
            () = stop.asked() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                failed = false;
                let router = router.clone().layer(Extension(Peer(peer)));
                let stop = stop.clone();
                tokio::spawn(async move {
                    talk(name, stream, router, limits, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    warn!(server = name, %error, "no connections can be accepted; it goes on trying");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Every place is free once every connection has ended.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = timeout(limits.last, room.acquire_many(all)).await;
}

/// A connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await;
    let (stream, peer) = listener.accept().await?;
    let _ = stream.set_nodelay(true);
    // Nobody closes the semaphore.
    Ok((stream, peer, place.map_err(std::io::Error::other)?))
}

/// Serves one connection within its limits.
async fn talk(
    name: &'static str,
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stop: Stop,
) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .keep_alive(limits.keep_alive)
            .max_buf_size(limits.head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = async {
            // Both end it alike.
            let _ = timeout(limits.lifetime, stop.asked()).await;
        } => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.last, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(server = name, %error, "a request was not served"),
        Err(_) => debug!(
            server = name,
            "a connection was closed: a request took too long"
        ),
    }
}

#[cfg(test)]
mod tests;
