//! Addresses of a name, looked up for each connection, and the one of them to begin with.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up. Cheap to clone.
#[derive(Clone)]
pub(super) struct Resolver(Arc<KnownAddresses>);

struct KnownAddresses {
    source: AddressSource,
    /// The address to begin with, counted up.
    turn: AtomicUsize,
    /// The number of addresses at the last look; 0 before the first, and for a host that is an
    /// address itself.
    count: AtomicUsize,
}

/// The source of addresses.
#[derive(Clone)]
pub(crate) enum AddressSource {
    /// The system's resolver.
    System,
    /// Every name has these addresses.
    #[cfg(test)]
    Given(Arc<std::sync::Mutex<Vec<SocketAddr>>>),
}

/// The name has no address.
#[derive(Debug)]
pub(super) struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address")
    }
}

impl Error for NoAddress {}

impl Resolver {
    pub(super) fn new(source: AddressSource) -> Self {
        Resolver(Arc::new(KnownAddresses {
            source,
            turn: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
        }))
    }

    /// The number of addresses that the name had when it was last looked up.
    pub(super) fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// The turn of now, for [`Resolver::pass_over`].
    pub(super) fn turn(&self) -> usize {
        self.0.turn.load(Ordering::Relaxed)
    }

    /// The next connection begins with another address than those made at `turn`. Of many calls
    /// that ask for it at once, one is heard.
    pub(super) fn pass_over(&self, turn: usize) {
        let next = turn.wrapping_add(1);
        let turns = &self.0.turn;
        let _ = turns.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn look_up(self, name: Name) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
        let mut addresses: Vec<SocketAddr> = match &self.0.source {
            // The port is reqwest's to set.
            AddressSource::System => tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|_| NoAddress)?
                .collect(),
            #[cfg(test)]
            AddressSource::Given(addresses) => addresses.lock().map_err(|_| NoAddress)?.clone(),
        };
        if addresses.is_empty() {
            return Err(NoAddress.into());
        }
        self.0.count.store(addresses.len(), Ordering::Relaxed);
        let first = self.turn() % addresses.len();
        addresses.rotate_left(first);
        Ok(Box::new(addresses.into_iter()))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().look_up(name))
    }
}
