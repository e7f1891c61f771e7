//! Kafka: a polling thread that turns callbacks into one stream of inputs, and a publisher that
//! settles in transactions.
//!
//! Both are threads, since the client's calls block. A subscriber has one of each; one more thread,
//! shared by all, polls the partition ends.

mod assignment;
pub mod client;
mod committed;
mod consumer;
mod ends;
mod fetch;
mod findings;
mod gathered;
pub mod headers;
mod inspector;
mod lease;
mod log;
mod membership;
mod message;
mod offsets;
mod publisher;
pub mod reader;
mod settled_before;
pub mod single;
mod spans;
mod standing;
mod statistics;
mod topic_watch;
pub mod topics;
mod transaction;

use std::sync::mpsc::SyncSender;
use std::time::Instant;

pub use self::assignment::Ownership;
pub use self::committed::committed;
pub use self::consumer::{BATCHES, Consumer, ConsumerShared, Order};
pub use self::ends::{Told, ask_for_ends};
pub use self::fetch::{FetchRequest, Fetched, Fetcher};
pub(crate) use self::findings::Findings;
pub use self::inspector::{Found, Unreachable, create_them, find_topics, missing, missing_topics};
pub use self::lease::Lease;
pub use self::membership::{Membership, MembershipView};
pub use self::message::{Message, MessageKind, MessageRefusal};
pub use self::offsets::{Offsets, Reset, ResetCause};
pub use self::publisher::{Publisher, Settled, Settlement};
pub use self::settled_before::settled_before;
pub(crate) use self::transaction::Transactions;
use crate::model::record::Record;
use engine::{Commit, TopicId};

/// Decides on the polling thread which records are its subscriber's.
pub trait ClaimFilter<C>: Send + 'static {
    /// Whether a record with that value may be: a look, before the record is copied and read.
    fn may_claim(&self, value: Option<&[u8]>) -> bool;

    /// Converts such a record; `None` if it is not the subscriber's after all.
    fn claim(&self, record: Record) -> Option<Box<C>>;
}

/// An event from a consumer to its subscriber, in the order of occurrence.
#[derive(Debug)]
pub enum Input<C> {
    /// Records, in the order of their partitions.
    Read(Vec<Read<C>>),
    /// Partitions were assigned.
    Assigned {
        /// The topic that they are of.
        topic: TopicId,
        /// How many partitions it has, if that is news.
        count: Option<usize>,
        /// Each with what was committed for it.
        commits: Vec<(i32, Commit)>,
        /// Those of which nothing is known.
        unknown: Vec<i32>,
    },
    /// The log of this partition was cut at this offset, and goes on there with other records.
    /// Nothing of it comes until [`Order::Seek`].
    Cut(i32, i64),
    /// The update topic does not exist, or it does again.
    Missing(bool),
    /// The update topic is another one now: nothing more comes, and the subscriber must start over.
    Remade,
    /// Partitions must be let go; the polling thread waits for `released`, so that nobody else has
    /// them before.
    Revoked {
        /// The partitions.
        partitions: Vec<i32>,
        /// They are gone already: nothing of them may be called or settled.
        lost: bool,
        /// When calls in flight must be given up.
        give_up_at: Instant,
        /// Receives each partition that is drained.
        released: SyncSender<i32>,
    },
    /// Partition ends, which records alone do not show.
    Ends(Vec<LogEnd>),
    /// The client cannot go on.
    Failed(ClientFailure),
    /// The group was left: nothing more comes.
    Left,
}

/// Why a client cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFailure {
    /// Another instance has joined the group under our `instance_id`.
    InstanceTaken,
    /// A request of our own to join the group, answered late, put us out of it again.
    Outrun,
    /// Anything else: the subscriber must start over.
    Other(String),
}

/// One step in a partition.
#[derive(Debug)]
pub enum Read<C> {
    /// Everything below `position` was read, and was none of ours since the last step.
    Passed {
        /// The partition.
        partition: i32,
        /// One past the last offset read.
        position: i64,
        /// How many records were read.
        records: u64,
    },
    /// A record of ours.
    Claimed(Box<C>),
}

/// The end of a partition as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The partition.
    pub partition: i32,
    /// One past the last record that can be read.
    pub end: i64,
    /// One past the last record: those of a transaction that is open can be read only when it has
    /// ended.
    pub written: i64,
    /// The end was reached: everything below was read, transaction markers and compacted records
    /// included.
    pub reached: bool,
}
