//! The port: accepts connections, and closes and opens again on command.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::exchange::{self, Reply};
use super::shared::{Shared, lock};

/// Connections that the system may queue before they are accepted.
const BACKLOG: u32 = 1024;
/// The pause before the next try where a socket could not be had.
const PAUSE: Duration = Duration::from_millis(10);

/// What to do with the port. Whoever sent it may wait until it is `done`.
pub(super) enum Command {
    /// Refuse connections and cut those that exist.
    Close { reopen_after: Option<Duration>, done: Option<oneshot::Sender<()>> },
    /// Accept connections again.
    Open { done: oneshot::Sender<()> },
}

/// The port's one loop: owns the listener and all connections, which end with it.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) sender: mpsc::Sender<Command>,
    pub(super) commands: mpsc::Receiver<Command>,
}

impl Port {
    /// Serves until it is dropped.
    pub(super) async fn serve(mut self, mut listener: TcpListener) {
        loop {
            let Command::Close { reopen_after, done } = self.accept(&listener).await else {
                continue;
            };
            drop(listener);
            // A socket that is bound and does not listen refuses connections, and keeps the port from others.
            let reserved = self.reserve();
            drop(done);
            let opened = self.stay_closed(reopen_after).await;
            listener = self.listen(reserved.ok()).await;
            drop(opened);
        }
    }

    /// Accepts until a command to close comes, by which all connections have been cut.
    async fn accept(&mut self, listener: &TcpListener) -> Command {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(command) = self.commands.recv() => {
                    if matches!(command, Command::Close { .. }) {
                        connections.shutdown().await;
                        return command;
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.shared.lock().journal.stats.connections += 1;
                        connections.spawn(connection(stream, Arc::clone(&self.shared), self.sender.clone()));
                    }
                    // Out of file descriptors, most likely: some connection has to end first.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Waits for the time or the command to open, and returns who waits for that.
    async fn stay_closed(&mut self, time: Option<Duration>) -> Option<oneshot::Sender<()>> {
        let mut end = time.and_then(|time| Instant::now().checked_add(time));
        loop {
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return None,
                Some(command) = self.commands.recv() => match command {
                    Command::Open { done } => return Some(done),
                    Command::Close { reopen_after, .. } => {
                        end = reopen_after.and_then(|time| Instant::now().checked_add(time));
                    }
                },
            }
        }
    }

    fn reserve(&self) -> io::Result<TcpSocket> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        Ok(socket)
    }

    async fn listen(&self, mut reserved: Option<TcpSocket>) -> TcpListener {
        loop {
            let socket = reserved.take().map_or_else(|| self.reserve(), Ok);
            match socket.and_then(|socket| socket.listen(BACKLOG)) {
                Ok(listener) => return listener,
                // Another process may have taken the port meanwhile: it is wanted back all the same.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Serves HTTP on one connection until it ends, well or on purpose badly.
async fn connection(stream: TcpStream, shared: Arc<Shared>, port: mpsc::Sender<Command>) {
    // Answers are small and waited for. If the system refuses, they come later, no more.
    stream.set_nodelay(true).ok();
    let ending = Arc::new(std::sync::Mutex::new(None));
    let kept = AtomicBool::new(false);
    let service = service_fn(|request| {
        let (shared, ending) = (Arc::clone(&shared), Arc::clone(&ending));
        let kept = kept.swap(true, Ordering::Relaxed);
        Box::pin(async move {
            match exchange::exchange(&shared, request, kept).await? {
                Reply::Answer(answer) => Ok(answer),
                Reply::AnswerThen(answer, then) => {
                    *lock(&ending) = Some(then);
                    Ok(answer)
                }
                Reply::Ending(instead) => {
                    *lock(&ending) = Some(instead);
                    // An error makes HTTP let go of the connection without another byte.
                    Err(exchange::Broken)
                }
            }
        })
    });
    let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Its errors are the endings above, or a client that went away.
    std::future::poll_fn(|context| http.poll_without_shutdown(context)).await.ok();
    let mut stream = http.into_parts().io.into_inner();
    let ending = lock(&ending).take();
    match ending {
        Some(ending) => ending.play(stream, &port).await.ok(),
        None => stream.shutdown().await.ok(),
    };
}
