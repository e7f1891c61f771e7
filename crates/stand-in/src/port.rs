//! The port: accepts connections, and closes and opens again on command.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::header::CONNECTION;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shared::{Shared, lock};
use super::{connection, control, exchange};

/// Connections that the system may queue before they are accepted.
const BACKLOG: u32 = 1024;
/// The pause before the next try if a socket could not be had.
const PAUSE: Duration = Duration::from_millis(10);

/// A command for the port. Its sender may wait for `done`.
pub(super) enum PortCommand {
    /// Refuse connections and cut those that exist.
    Close {
        reopen_after: Option<Duration>,
        done: Option<oneshot::Sender<()>>,
    },
    /// Accept connections again.
    Open { done: oneshot::Sender<()> },
}

/// The port's one loop: owns the listener and all connections, which end with it.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) sender: mpsc::Sender<PortCommand>,
    pub(super) commands: mpsc::Receiver<PortCommand>,
}

impl Port {
    /// Serves until it is dropped.
    pub(super) async fn serve(mut self, mut listener: TcpListener) {
        loop {
            let PortCommand::Close { reopen_after, done } = self.accept(&listener).await else {
                continue;
            };
            drop(listener);
            // A socket that is bound and does not listen refuses connections, and keeps the port
            // from others.
            let reserved = self.reserve();
            drop(done);
            let opened = self.stay_closed(reopen_after).await;
            listener = self.listen(reserved.ok()).await;
            drop(opened);
        }
    }

    /// Accepts until a command to close comes, by which all connections have been cut.
    async fn accept(&mut self, listener: &TcpListener) -> PortCommand {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(command) = self.commands.recv() => {
                    if matches!(command, PortCommand::Close { .. }) {
                        connections.shutdown().await;
                        return command;
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let stats = &mut self.shared.lock().journal.stats;
                        let number = stats.connections;
                        stats.connections += 1;
                        connections.spawn(serve(stream, number, Arc::clone(&self.shared), self.sender.clone()));
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
                    PortCommand::Open { done } => return Some(done),
                    PortCommand::Close { reopen_after, .. } => {
                        end = reopen_after.and_then(|time| Instant::now().checked_add(time));
                    }
                },
            }
        }
    }

    fn reserve(&self) -> io::Result<TcpSocket> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        Ok(socket)
    }

    async fn listen(&self, mut reserved: Option<TcpSocket>) -> TcpListener {
        loop {
            let socket = reserved.take().map_or_else(|| self.reserve(), Ok);
            match socket.and_then(|socket| socket.listen(BACKLOG)) {
                Ok(listener) => return listener,
                // Another process may have taken the port meanwhile: it is wanted back all the
                // same.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Serves one connection until it ends, and closes the port afterwards if a control page says so.
async fn serve(
    stream: TcpStream,
    number: u64,
    shared: Arc<Shared>,
    port: mpsc::Sender<PortCommand>,
) {
    // Answers are small and waited for. If the system refuses, they come later, no more.
    stream.set_nodelay(true).ok();
    let closed_for = Mutex::new(None);
    connection::serve(stream, number, |request| {
        let (shared, closed_for) = (&shared, &closed_for);
        async move {
            let Some(path) = request.path().strip_prefix(control::PREFIX) else {
                return exchange::exchange(shared, &request).await;
            };
            let (answer, time) = control::answer(shared, &request, path);
            *lock(closed_for) = time;
            Ok(if time.is_some() {
                answer.with(CONNECTION, "close")
            } else {
                answer
            })
        }
    })
    .await;
    let time = lock(&closed_for).take();
    if let Some(time) = time {
        // The port outlives its connections; if not, there is nothing left to close.
        port.send(PortCommand::Close {
            reopen_after: Some(time),
            done: None,
        })
        .await
        .ok();
    }
}
