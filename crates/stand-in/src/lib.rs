//! Stand-ins: user-management APIs as local servers with the documented behaviour and faults on
//! command.
//!
//! A call goes `port → connection → exchange → faults → api → journal → wire`. An API is one file
//! in `api/` and one line there. For answers that no API gives there is [`scripted::Server`], which
//! answers each request as a test tells it to, and [`proxy::ProxyServer`] to come by.

mod api;
mod bomb;
mod connection;
mod control;
mod exchange;
mod faults;
mod journal;
mod message;
mod port;
pub mod proxy;
pub mod scripted;
mod settings;
mod shared;
mod state;
#[cfg(test)]
mod tests;
mod user;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use self::api::names;
pub use self::faults::{Fault, On, Rule};
pub use self::journal::{Call, Stats};
pub use self::settings::{Settings, Users};
pub use self::user::User;

use self::port::{Port, PortCommand};
use self::shared::Shared;

/// A stand-in that runs in this process. Its port and its connections close when it is dropped.
pub struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    port: mpsc::Sender<PortCommand>,
    task: JoinHandle<()>,
}

impl StandIn {
    /// Starts one of the API of that name on a listener. Fails if there is no such API, or the
    /// listener has no local address.
    pub fn spawn(listener: TcpListener, api: &str) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let unknown = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no stand-in for an API called `{api}`"),
            )
        };
        let api = api::by_name(api).ok_or_else(unknown)?;
        let shared = Arc::new(Shared::new(api));
        let (sender, commands) = mpsc::channel(8);
        let port = Port {
            address,
            shared: Arc::clone(&shared),
            sender: sender.clone(),
            commands,
        };
        let task = tokio::spawn(port.serve(listener));
        Ok(StandIn {
            address,
            shared,
            port: sender,
            task,
        })
    }

    /// Starts one on a free port of the loopback address. Fails if there is none, or no API of that
    /// name.
    pub async fn on_loopback(api: &str) -> io::Result<Self> {
        StandIn::spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, api)
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The same as a base URL, such as `http://127.0.0.1:8081`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the settings.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.lock().state.settings);
    }

    /// Adds a fault and returns its number.
    pub fn fault(&self, rule: Rule) -> u64 {
        self.shared.lock().faults.add(rule)
    }

    /// Takes one fault back; whether it was still in force.
    pub fn remove_fault(&self, number: u64) -> bool {
        self.shared.lock().faults.remove(number)
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Makes every token invalid.
    pub fn expire_tokens(&self) {
        self.shared.lock().state.tokens.expire();
    }

    /// Makes a token valid without a login, until all are expired: as one that comes from a file.
    pub fn accept_token(&self, token: impl Into<String>) {
        self.shared.lock().state.tokens.accept(token.into());
    }

    /// Refuses connections and cuts those that exist, until [`StandIn::open_port`]. Returns once
    /// that is so.
    pub async fn close_port(&self) {
        let (done, closed) = oneshot::channel();
        self.port
            .send(PortCommand::Close {
                reopen_after: None,
                done: Some(done),
            })
            .await
            .ok();
        closed.await.ok();
    }

    /// Accepts connections again, on the same port. Returns once that is so.
    pub async fn open_port(&self) {
        let (done, opened) = oneshot::channel();
        self.port.send(PortCommand::Open { done }).await.ok();
        opened.await.ok();
    }

    /// Refuses connections and cuts those that exist, for that long. Returns once it has begun.
    pub async fn close_port_for(&self, time: Duration) {
        let (done, closed) = oneshot::channel();
        self.port
            .send(PortCommand::Close {
                reopen_after: Some(time),
                done: Some(done),
            })
            .await
            .ok();
        closed.await.ok();
    }

    /// The updates remembered, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.journal()
            .into_iter()
            .filter(|call| call.user.is_some())
            .collect()
    }

    /// All calls remembered, logins and unknown routes too, in the order of their arrival.
    pub fn journal(&self) -> Vec<Call> {
        self.shared.lock().journal.calls().cloned().collect()
    }

    /// Forgets the calls remembered so far. The counts stay.
    pub fn clear_journal(&self) {
        self.shared.lock().journal.clear();
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        self.shared.lock().journal.stats
    }

    /// The last value of each field that was set for a user; none if nothing was.
    pub fn fields(&self, user: impl Into<User>) -> Option<Map<String, Value>> {
        self.shared.lock().state.users.fields(&user.into()).cloned()
    }

    /// Waits until the counts are as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&Stats) -> bool) -> Stats {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let stats = self.stats();
            if wanted(&stats) {
                return stats;
            }
            changed.await;
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}
