//! The engine: everything that decides, without Kafka, HTTP, clock or lock.
//!
//! It is told what happened and what time it is, and says what to do:
//!
//! ```text
//! the shell tells                          the engine
//!
//! assigned, revoked, lost ───────────────▶ partitions: a ledger each
//! arrived, passed, fetched ──────────────▶ ledger, then the user's lane
//! finished (verdict) ────────────────────▶ health, limit, proof: retry, hold or end
//! settled, not_settled ──────────────────▶ ledger: what is committed
//! lease, settings, credentials_changed
//! step ──────────────────────────────────▶ Start, Cancel, Settle, Fetch, Pause, Resume, Released
//! ```
//!
//! One engine serves one target. Each user is a *lane* with at most one call in flight; each
//! partition has a *ledger* of what is settled; the target has a *health* (flowing, holding,
//! probing) and a *limit*. The shell around it moves bytes (the room `subscriber` of the service),
//! and the simulation (`tests/sim`) plays broker, APIs and clock to it.
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test's virtual time begins somewhere"
    )
)]

mod arrival;
mod aside;
mod assignment;
pub mod backoff;
mod bar;
mod base64;
mod calls;
pub mod checkpoint;
mod defer;
mod dispatch;
mod engine;
mod entries;
mod finish;
pub mod guard;
pub mod health;
pub mod lanes;
pub mod ledger;
pub mod limit;
mod memory;
mod merge;
mod numbers;
mod partitions;
mod portion;
mod proof;
pub mod rate;
mod settlement;
pub mod topic_id;
pub mod verdict;
mod views;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::bar::Barred;
pub use self::checkpoint::{Commit, Spent};
pub use self::engine::Engine;
pub use self::guard::{Guard, Guarded, Taking};
pub use self::health::{Cause, State};
pub use self::merge::Merge;
pub use self::settlement::Unsettled;
pub use self::topic_id::TopicId;
pub use self::views::Gauges;
use crate::verdict::Reason;

/// One record in one engine, never used again: a completion that comes late, after its partition
/// was taken away and perhaps given back, finds its ticket gone and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Whose updates a lane holds. The shell maps its users to keys: the same user is the same key for
/// as long as the engine lives. Two users that share one wait for each other; whether their updates
/// may be merged is the updates' to say. The engine reads nothing out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey(pub u64);

/// What an engine is told at its start, and again by [`Engine::settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most calls in flight.
    pub max_concurrency: usize,
    /// Calls a second; 0 is no limit.
    pub rate_limit: u32,
    /// Records held in memory; past it consumption pauses.
    pub max_waiting: usize,
    /// Their bytes; past it consumption pauses.
    pub max_bytes: usize,
    /// The bound of one attempt.
    pub request_timeout: Duration,
    /// The first wait before another attempt.
    pub initial_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Failures, while the target delivers others, that make an update undeliverable.
    pub max_attempts: u32,
    /// Whether updates of one user that wait are sent in one call.
    pub merge: bool,
}

/// What is to be done with a record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Call the API.
    Call {
        /// The lane.
        user: UserKey,
        /// When the update stops being worth delivering.
        expires_at: Option<Instant>,
    },
    /// Nothing to call: dead-letter it, behind what waits for the same user where the user is
    /// known.
    Dead {
        /// The lane, where there is one.
        user: Option<UserKey>,
        /// Why.
        reason: Reason,
    },
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The API confirmed it.
    Delivered,
    /// It was delivered inside the call of a later update of its user, which stands at that offset
    /// of the same partition.
    Merged {
        /// The offset.
        into: i64,
    },
    /// It is undeliverable.
    Dead(Reason),
}

/// An update that ended and waits to be settled.
#[derive(Clone, Debug)]
pub struct Ending<U, F> {
    /// The update.
    pub update: Arc<U>,
    /// How it ended.
    pub end: End,
    /// The attempts spent on it.
    pub spent: Spent,
    /// What the last attempt left for people to read, if there was an attempt in this process.
    pub facts: Option<Arc<F>>,
}

/// One transaction: endings and offsets together.
#[derive(Clone, Debug)]
pub struct Batch<U, F> {
    /// To be handed back when it is committed.
    pub id: u64,
    /// In the order in which they ended.
    pub endings: Vec<Ending<U, F>>,
    /// What to commit for which partition.
    pub commits: Vec<PartitionCommit>,
}

/// A partition's part in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCommit {
    /// The partition.
    pub partition: i32,
    /// The assignment in which this was computed: it must not be committed in another.
    pub epoch: u64,
    /// What to commit.
    pub commit: Commit,
}

/// A record of ours that was read again.
#[derive(Debug)]
pub struct Refetched<U> {
    /// Its bytes in memory.
    pub size: usize,
    /// The update.
    pub update: Arc<U>,
    /// What is to be done with it.
    pub work: Work,
}

/// What the shell must do.
#[derive(Debug)]
pub enum Action<U, F> {
    /// Call the API.
    Start {
        /// To be handed back with the verdict.
        ticket: Ticket,
        /// What to send.
        update: Arc<U>,
        /// Earlier updates of the same user to be sent in the same call, the first first: a later
        /// one's value of a field wins.
        merged: Vec<Arc<U>>,
        /// The bound of this attempt: never longer than the lease on the partition certainly lasts.
        timeout: Duration,
    },
    /// Give this call up: its partition goes, and nobody waits for the answer any more.
    Cancel(Ticket),
    /// Commit this.
    Settle(Batch<U, F>),
    /// Stop consuming, all partitions.
    Pause,
    /// Consume again.
    Resume,
    /// Read these offsets again, the lowest first, and tell [`Engine::fetched`] of them, or of the
    /// first of them.
    Fetch {
        /// The partition.
        partition: i32,
        /// The assignment in which this was asked for.
        epoch: u64,
        /// The offsets.
        offsets: Vec<i64>,
    },
    /// The engine is done with this partition: it may go.
    Released(i32),
    /// Two calls of one user would have been in flight, or out of order: the sentinel. The call is
    /// made all the same.
    OrderViolation,
}
