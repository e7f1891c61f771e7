//! What the calls of one stand-in share, behind one lock that is never held while waiting.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::api::{Books, Kind};
use super::faults::Faults;
use super::journal::Journal;
use super::state::Window;

/// Shared by the handle, the port and every connection.
pub(super) struct Shared {
    pub(super) kind: Kind,
    core: Mutex<Core>,
    /// Told after every change of the journal.
    pub(super) changed: Notify,
}

/// All that changes.
#[derive(Default)]
pub(super) struct Core {
    pub(super) books: Books,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
    pub(super) window: Window,
}

impl Shared {
    /// For an API that nobody has called yet.
    pub(super) fn new(kind: Kind) -> Self {
        Shared { kind, core: Mutex::default(), changed: Notify::new() }
    }

    /// The core, for as short as possible.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

/// Locks. What a panicking thread left behind is still good enough for a stand-in.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
