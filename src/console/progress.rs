//! Progress: how far a long task is, for whoever asks from another thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::operator::Watch;

/// A task's present step.
#[derive(Default)]
pub(super) struct Progress {
    what: Mutex<String>,
    steps: AtomicU64,
    done: AtomicU64,
}

impl Progress {
    /// For the page; null while nothing is under way.
    pub(super) fn shown(&self) -> Value {
        let what = self.what.lock().unwrap_or_else(PoisonError::into_inner);
        if what.is_empty() {
            return Value::Null;
        }
        let steps = self.steps.load(Relaxed);
        json!({ "what": *what, "done": self.done.load(Relaxed).min(steps), "steps": steps })
    }
}

impl Watch for &Progress {
    fn begin(&mut self, what: &str, steps: u64) {
        what.clone_into(&mut self.what.lock().unwrap_or_else(PoisonError::into_inner));
        self.done.store(0, Relaxed);
        self.steps.store(steps, Relaxed);
    }

    fn advance(&mut self, done: u64) {
        self.done.store(done, Relaxed);
    }

    fn end(&mut self) {
        self.what
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
