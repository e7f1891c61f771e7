//! The publisher: outcomes, dead letters and offsets in one Kafka transaction, on a thread of its
//! own, since transaction calls block.
//!
//! A transaction that is aborted is settled again with the same endings; the calls behind them are
//! not made again. If a topic refuses a message, it is found out which one, and that one is changed
//! as little as may help. If that does not help, or there is no time for so much, the engine is
//! told, which settles the rest without it. If nobody can know whether a commit went through,
//! because the producer was lost over it, the group's committed offsets tell.

mod batches;
mod blocked;
mod commits;
mod session;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::{debug, warn};

use self::batches::Batches;
use self::blocked::Blocked;
use self::session::TransactionalIds;
use self::trouble::Next;
use crate::config::Kafka;
use crate::kafka::assignment::{Callbacks, Ownership};
use crate::kafka::client;
use crate::kafka::log::Chatter;
use crate::kafka::message::{Message, MessageRefusal};
use crate::kafka::standing::TopicsProgress;
use crate::kafka::transaction::{STUCK, Transactions, WaitNotice};
use crate::telemetry::metrics::TargetMetrics;
use engine::{PartitionCommit, Unsettled};

/// Within this time a consumer hears from its group whether it is still in it: a heartbeat comes
/// each second, or more often.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The pause before a transaction is tried again, doubling…
const PAUSE: Duration = Duration::from_millis(100);
/// …up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// An abort that takes longer had to wait for the broker.
const PROMPT: Duration = Duration::from_secs(1);
/// In a row, for one settlement.
const MOST_OUTAGES: u32 = 2;
/// A settlement that is aborted so often, whatever the reason, is taken apart: perhaps it is only a
/// part of it that does not go through.
const MOST_TRIES: u32 = 6;
/// Once smaller batches were needed, they stay so for this time.
const NARROW: Duration = Duration::from_secs(600);

/// One transaction to be made.
#[derive(Debug)]
pub struct Settlement {
    /// The engine's batch.
    pub batch: u64,
    /// Outcomes and dead letters.
    pub messages: Vec<Message>,
    /// Offsets.
    pub commits: Vec<PartitionCommit>,
}

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was committed, except for partitions that were revoked meanwhile.
    Done(u64),
    /// It was certainly not committed.
    Not(u64, Unsettled),
}

/// Writes a settlement, on the publisher's thread.
type Write = Box<dyn FnOnce() -> Settlement + Send>;

/// A subscriber's publisher.
pub struct Publisher {
    settlements: Option<Sender<Write>>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Starts the thread. It answers each settlement with one [`Settled`], in order, unless it is
    /// stopped.
    ///
    /// # Errors
    /// If the client's settings are wrong, or a thread cannot be started.
    pub fn spawn<C: Send + 'static>(
        kafka: &Kafka,
        target: &str,
        consumer: Arc<rdkafka::consumer::BaseConsumer<Callbacks<C>>>,
        ownership: Arc<Ownership>,
        metrics: TargetMetrics,
        settled: tokio::sync::mpsc::UnboundedSender<Settled>,
    ) -> anyhow::Result<Self> {
        let (settlements, receiver) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let settings = client::producer(kafka, target)?;
        let work = Work {
            batches: Batches::of(&settings),
            settings,
            topic: kafka.topics.updates.clone(),
            consumer,
            ownership,
            metrics,
            stopping: stopping.clone(),
            producer: None,
            names: TransactionalIds::default(),
            does_not_end: false,
            blocked: Blocked::default(),
            standing: TopicsProgress::default(),
            chatter: Chatter::default(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("publish-{target}"))
            .spawn(move || work.run(&receiver, &settled))
            .context("no thread for the publisher")?;
        Ok(Publisher {
            settlements: Some(settlements),
            stopping,
            thread,
        })
    }

    /// Hands a settlement over, yet to be written: its messages are none of the loop's business,
    /// which has calls to make.
    pub fn settle(&self, write: impl FnOnce() -> Settlement + Send + 'static) {
        if let Some(settlements) = &self.settlements
            && settlements.send(Box::new(write)).is_err()
        {
            debug!("the publisher has ended");
        }
    }

    /// Ends the thread; what is not committed by then is not.
    ///
    /// # Errors
    /// If it panicked.
    pub fn stop(mut self) -> std::thread::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.settlements = None;
        self.thread.join()
    }
}

/// Why a transaction did not go through.
enum TransactionFailure {
    /// It was, or must be, aborted: settle again.
    Abort(KafkaError),
    /// The producer is lost, and with it the knowledge whether the commit went through.
    Lost(KafkaError),
}

/// How often a settlement was tried in vain.
struct Tried {
    times: u32,
    outages: u32,
    /// Before the next time.
    pause: Duration,
}

impl Default for Tried {
    fn default() -> Self {
        Tried {
            times: 0,
            outages: 0,
            pause: PAUSE,
        }
    }
}

struct Work<C: Send + 'static> {
    settings: ClientConfig,
    topic: String,
    consumer: Arc<rdkafka::consumer::BaseConsumer<Callbacks<C>>>,
    ownership: Arc<Ownership>,
    metrics: TargetMetrics,
    stopping: Arc<AtomicBool>,
    producer: Option<Transactions>,
    names: TransactionalIds,
    /// A transaction did not end, and it is not known yet for which partition.
    does_not_end: bool,
    blocked: Blocked,
    batches: Batches,
    standing: TopicsProgress,
    chatter: Chatter,
}

impl<C: Send + 'static> Work<C> {
    fn run(
        mut self,
        settlements: &Receiver<Write>,
        settled: &tokio::sync::mpsc::UnboundedSender<Settled>,
    ) {
        // Ready before the first settlement: the open transaction of a killed predecessor of this
        // name is aborted by it.
        self.ready();
        while let Ok(write) = settlements.recv() {
            let Some(answer) = self.settle(write()) else {
                return;
            };
            if settled.send(answer).is_err() {
                return;
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether a line of this kind is logged, and then how many were left out before it.
    fn tell(&self, kind: &str) -> Option<Option<u32>> {
        self.chatter
            .let_through(kind, 1, Instant::now())
            .map(|left_out| (left_out > 0).then_some(left_out))
    }

    fn wait(&self, pause: &mut Duration) {
        let until = Instant::now() + *pause;
        while !self.stopping() && Instant::now() < until {
            std::thread::sleep(PAUSE.min(until.saturating_duration_since(Instant::now())));
        }
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    /// Settles until it is done, or cannot be. `None`: stopped before, or it can never go on.
    fn settle(&mut self, mut settlement: Settlement) -> Option<Settled> {
        let (mut lost_after, mut tried) = (None, Tried::default());
        loop {
            if !self.ready() || self.stopping() && lost_after.is_some() {
                return None;
            }
            // The metadata first, then the look at what we own: so the metadata is never younger
            // than the ownership it is used with, and a partition that went to another instance is
            // refused by the broker.
            let metadata = self.consumer.group_metadata()?;
            let held =
                |commit: &&PartitionCommit| self.ownership.holds(commit.partition, commit.epoch);
            let commits: Vec<_> = settlement.commits.iter().filter(held).cloned().collect();
            if commits.is_empty() || lost_after.is_some() && self.was_committed(&commits)? {
                self.told(&settlement, &commits);
                return Some(Settled::Done(settlement.batch));
            }
            // A producer that is lost over one transaction again and again is one for which there
            // is no time.
            if lost_after.take().is_some_and(|took| took >= STUCK) {
                return Some(late(&settlement));
            }
            let suspended = self.suspended(&settlement.messages);
            if !suspended.is_empty() {
                return Some(Settled::Not(
                    settlement.batch,
                    Unsettled {
                        refused: suspended.into_iter().collect(),
                        late: false,
                    },
                ));
            }
            let began = Instant::now();
            match self.transaction(&mut settlement, &commits, metadata) {
                Ok(()) => {
                    self.blocked.acquit();
                    self.metrics.committed("ok");
                    debug!(messages = settlement.messages.len(), took = ?began.elapsed(), "settled");
                    self.told(&settlement, &commits);
                    return Some(Settled::Done(settlement.batch));
                }
                Err(TransactionFailure::Abort(error)) => {
                    if let Some(settled) = self.aborted(&mut settlement, &error, &mut tried) {
                        return Some(settled);
                    }
                }
                Err(TransactionFailure::Lost(error)) => {
                    self.metrics.committed("failed");
                    if let Some(left_out) = self.tell("lost") {
                        warn!(target = self.metrics.name(), %error, left_out, "the transactional producer is lost; a new one takes over");
                    }
                    self.await_fencing();
                    if error.rdkafka_error_code() == Some(Code::ConcurrentTransactions) {
                        self.take_another_name();
                    }
                    self.producer = None;
                    lost_after = Some(began.elapsed());
                    self.wait(&mut tried.pause);
                }
            }
            if self.stopping() {
                return None;
            }
        }
    }

    /// Undoes a transaction that did not go through, and finds out why. Returns what became of the
    /// settlement, unless it is tried again.
    fn aborted(
        &mut self,
        settlement: &mut Settlement,
        error: &KafkaError,
        tried: &mut Tried,
    ) -> Option<Settled> {
        self.metrics.committed("aborted");
        let aborting = Instant::now();
        let reports = self.abort();
        self.blocked.suspect(&settlement.messages, &reports);
        // Nothing gets through while the broker is away, and that says nothing of what was sent.
        // But not again and again.
        let is_outage = aborting.elapsed() > PROMPT && tried.outages < MOST_OUTAGES;
        tried.outages += u32::from(is_outage);
        match self.next(settlement, &reports, error, is_outage) {
            Next::AtOnce => {}
            Next::Leave(why) => return Some(Settled::Not(settlement.batch, why)),
            Next::Later => {
                tried.times += 1;
                self.tell_aborted(error, tried.times);
                if tried.times >= MOST_TRIES {
                    return Some(late(settlement));
                }
                self.wait(&mut tried.pause);
            }
        }
        None
    }

    fn transaction(
        &mut self,
        settlement: &mut Settlement,
        commits: &[PartitionCommit],
        metadata: ConsumerGroupMetadata,
    ) -> Result<(), TransactionFailure> {
        let Some(producer) = &self.producer else {
            return Ok(());
        };
        producer.begin().map_err(judge)?;
        let now = Instant::now();
        for (number, message) in settlement.messages.iter_mut().enumerate() {
            if commits
                .iter()
                .any(|commit| commit.partition == message.origin.partition)
            {
                self.standing.prepare(message, now);
                send(producer, number, message)?;
            }
        }
        let patience = self.batches.linger + self.standing.patience(&settlement.messages, now);
        producer.deliver(patience).map_err(judge)?;
        let offsets = self.offsets(commits).map_err(TransactionFailure::Abort)?;
        let (offsets, metadata, waiting) =
            (Arc::new(offsets), Arc::new(metadata), WaitNotice::new());
        producer
            .send_offsets(&offsets, &metadata, &|error| {
                self.goes_on(&waiting, error) && !waiting.is_vain()
            })
            .map_err(judge)?;
        producer
            .commit(&|error| {
                self.goes_on(&waiting, error)
                    && (!waiting.is_vain() || producer.reaches_a_broker(&self.topic))
            })
            .map_err(judge)
    }
}

fn late(settlement: &Settlement) -> Settled {
    Settled::Not(
        settlement.batch,
        Unsettled {
            refused: Vec::new(),
            late: true,
        },
    )
}

/// Queues a message. What the client itself does not send for its size is changed until it does.
fn send(
    producer: &Transactions,
    number: usize,
    message: &mut Message,
) -> Result<(), TransactionFailure> {
    loop {
        match producer.send(number, message) {
            Ok(()) => return Ok(()),
            Err(Code::MessageSizeTooLarge | Code::QueueFull)
                if message.alter(MessageRefusal::Size) => {}
            Err(code) => return Err(judge(producer.refused(number, code))),
        }
    }
}

fn judge(error: KafkaError) -> TransactionFailure {
    match &error {
        KafkaError::Transaction(inner) if inner.is_fatal() || !inner.txn_requires_abort() => {
            TransactionFailure::Lost(error)
        }
        // Cancelled: the producer is stuck in a call.
        KafkaError::MessageProduction(Code::Fatal) | KafkaError::Canceled => {
            TransactionFailure::Lost(error)
        }
        _ => TransactionFailure::Abort(error),
    }
}
