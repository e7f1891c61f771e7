//! State shared by the calls of one stand-in, behind one lock that is never held while waiting.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::api::ApiServer;
use super::faults::Faults;
use super::journal::Journal;
use super::state::ServerState;

/// Shared by the handle, the port and every connection.
pub(super) struct Shared {
    core: Mutex<Core>,
    /// Told after every change of the journal.
    pub(super) changed: Notify,
}

/// All that changes.
pub(super) struct Core {
    pub(super) api: Box<dyn ApiServer>,
    pub(super) state: ServerState,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
}

impl Shared {
    /// For an API that nobody has called yet.
    pub(super) fn new(api: Box<dyn ApiServer>) -> Self {
        let core = Core {
            api,
            state: ServerState::default(),
            faults: Faults::default(),
            journal: Journal::default(),
        };
        Shared {
            core: Mutex::new(core),
            changed: Notify::new(),
        }
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
