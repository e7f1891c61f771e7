//! What the configuration says of a target, as its loop takes it up: at the start, and while it
//! runs.

use std::sync::Arc;

use crate::api;
use crate::config::Target;
use crate::subscriber::MAX_BYTES;
use crate::subscriber::update::Update;
use engine::{Barred, Guard, Settings};

/// Whose updates are never called.
pub(super) fn barred(target: Option<&Target>) -> Option<Barred<Update>> {
    let protected = target?.protected.clone();
    if protected.is_empty() {
        return None;
    }
    Some(Arc::new(move |update: &Update| {
        update
            .user
            .as_ref()
            .is_some_and(|user| protected.contains(user))
    }))
}

/// Whether an operator has paused it.
pub(super) fn is_paused(target: Option<&Target>) -> bool {
    target.is_some_and(|target| target.paused)
}

/// What its engine is set to.
pub(super) fn settings(target: Option<&Target>) -> Settings {
    let (delivery, retry) = target
        .map(|target| (target.delivery.clone(), target.retry.clone()))
        .unwrap_or_default();
    Settings {
        max_concurrency: delivery.max_concurrency,
        rate_limit: delivery.rate_limit.map_or(0, std::num::NonZeroU32::get),
        max_waiting: delivery.max_waiting,
        max_bytes: MAX_BYTES,
        request_timeout: delivery.request_timeout,
        initial_backoff: retry.initial_backoff,
        max_backoff: retry.max_backoff,
        max_attempts: retry.max_attempts,
        merge: delivery.merge,
    }
}

/// What its engine's guard is told.
pub(super) fn guard(target: Option<&Target>) -> Option<Guard<Update>> {
    let guard = target?.guard.as_ref()?;
    let also = guard.also.clone();
    let taking = move |run: &[&Update]| {
        let calls = run.iter().filter_map(|update| update.call.as_ref());
        let changes: Vec<_> = calls.map(|call| &call.changes).collect();
        api::taking(&changes, &also)
    };
    Some(Guard {
        max_users: guard.max_users,
        window: guard.window,
        allow_until: guard.allow_until.map(|until| until.as_millisecond()),
        refuse_until: guard.refuse_until.map(|until| until.as_millisecond()),
        taking: Arc::new(taking),
    })
}
