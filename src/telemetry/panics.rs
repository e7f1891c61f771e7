//! Panics that are expected and handled, of which the log says nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs what may panic, such as rdkafka on hostile bytes; `None` if it did.
pub fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    outcome.ok()
}

/// Whether a panic of this thread is expected and handled: the panic hook keeps quiet about it
/// then.
pub fn is_expected() -> bool {
    QUIET.get()
}
