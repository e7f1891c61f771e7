//! The publisher: outcomes, dead letters and offsets in one Kafka transaction, on a thread of its own, since transaction calls block.
//!
//! A transaction that is aborted is settled again with the same endings; the calls behind them are not made again. If a topic refuses
//! a message, it is found out which one, and that one is changed as little as may help. If that does not help, or there is no time for so much, the
//! engine is told, which settles the rest without it. If nobody can know whether a commit went through, because the producer
//! was lost over it, the group's committed offsets tell.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::assignment::{Callbacks, Ownership};
use super::findings::{Findings, Report};
use super::log::Chatter;
use super::message::{Kind, Message, Refusal};
use super::standing::Standing;
use super::transaction::{CALL, STUCK, Transactions, too_many_left_behind};
use super::{client, headers};
use crate::config::Kafka;
use crate::engine::{PartitionCommit, Unsettled};
use crate::metrics::TargetMetrics;

/// How often it is told that the broker is being waited for.
const TELL: Duration = Duration::from_secs(10);
/// The pause before a transaction is tried again, doubling…
const PAUSE: Duration = Duration::from_millis(100);
/// …up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// An abort that takes longer had to wait for the broker.
const PROMPT: Duration = Duration::from_secs(1);
/// In a row, for one settlement.
const MOST_OUTAGES: u32 = 2;
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

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was committed, but for partitions that went meanwhile.
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
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. It answers each settlement with one [`Settled`], in order, unless it is stopped.
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
            standing: Standing::default(),
            chatter: Chatter::default(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("publish-{target}"))
            .spawn(move || work.run(&receiver, &settled))
            .context("no thread for the publisher")?;
        Ok(Publisher { settlements: Some(settlements), stopping, thread: Some(thread) })
    }

    /// Hands a settlement over, yet to be written: its messages are none of the loop's business, which has calls to make.
    pub fn settle(&self, write: impl FnOnce() -> Settlement + Send + 'static) {
        if let Some(settlements) = &self.settlements
            && settlements.send(Box::new(write)).is_err()
        {
            debug!("the publisher has ended");
        }
    }

    /// Ends the thread; what is not committed by then is not.
    pub fn stop(mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.settlements = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the publisher's thread panicked");
        }
    }
}

/// Why a transaction did not go through.
enum Failure {
    /// It was, or must be, aborted: settle again.
    Abort(KafkaError),
    /// The producer is lost, and with it the knowledge whether the commit went through.
    Lost(KafkaError),
}

/// What follows from a transaction that was aborted.
enum Next {
    /// Something was changed that may help.
    AtOnce,
    /// It may go through the next time.
    Later,
    /// Not all of it can be settled now.
    Leave(Unsettled),
}

struct Work<C: Send + 'static> {
    settings: ClientConfig,
    topic: String,
    consumer: Arc<rdkafka::consumer::BaseConsumer<Callbacks<C>>>,
    ownership: Arc<Ownership>,
    metrics: TargetMetrics,
    stopping: Arc<AtomicBool>,
    producer: Option<Transactions>,
    batches: Batches,
    standing: Standing,
    chatter: Chatter,
}

/// How much the client puts into one batch of messages.
struct Batches {
    usual: usize,
    /// Less, and since when.
    narrow: Option<(usize, Instant)>,
    compressed: bool,
}

impl Batches {
    fn of(settings: &ClientConfig) -> Self {
        // librdkafka's own default.
        let usual = settings.get("batch.size").and_then(|size| size.parse().ok()).unwrap_or(1_000_000);
        let is_set = |name| settings.get(name).is_some_and(|codec| codec != "none");
        Batches { usual, narrow: None, compressed: is_set("compression.type") || is_set("compression.codec") }
    }

    fn bytes(&self) -> usize {
        self.narrow.map_or(self.usual, |(bytes, _)| bytes)
    }
}

impl<C: Send + 'static> Work<C> {
    fn run(mut self, settlements: &Receiver<Write>, settled: &tokio::sync::mpsc::UnboundedSender<Settled>) {
        // Ready before the first settlement: the open transaction of a killed predecessor of this name is aborted by it.
        self.ready();
        while let Ok(write) = settlements.recv() {
            let Some(answer) = self.settle(write()) else { return };
            if settled.send(answer).is_err() {
                return;
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Makes the producer and opens its session with the transaction coordinator; waits for the broker. False when stopped.
    fn ready(&mut self) -> bool {
        let mut pause = PAUSE;
        while self.producer.is_none() {
            if self.stopping() {
                return false;
            }
            if too_many_left_behind() {
                error!(target = self.metrics.name(), "too many calls of the Kafka client never came back: restart this process");
                return false;
            }
            match self.make() {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => {
                    if let Some(left_out) = self.tell("ready") {
                        let (error, advice) = (client::words(&error), client::refusal_advice(&error, ""));
                        let target = self.metrics.name();
                        warn!(target, error, advice, left_out, "the transactional producer is not ready yet; trying again");
                    }
                    self.wait(&mut pause);
                }
            }
        }
        true
    }

    fn make(&mut self) -> KafkaResult<Transactions> {
        if self.batches.narrow.is_some_and(|(_, since)| since.elapsed() >= NARROW) {
            self.batches.narrow = None;
        }
        let mut settings = self.settings.clone();
        if let Some((bytes, _)) = self.batches.narrow {
            settings.set("batch.size", bytes.to_string());
        }
        let waiting = Waiting::new();
        Transactions::open(&settings, self.metrics.name(), &|error| self.goes_on(&waiting, error))
    }

    /// Whether a call is made again that the broker has not answered yet.
    fn goes_on(&self, waiting: &Waiting, error: &RDKafkaError) -> bool {
        waiting.tell(error);
        !self.stopping()
    }

    /// Whether a line of this kind is logged, and then how many were left out before it.
    fn tell(&self, kind: &str) -> Option<Option<u32>> {
        self.chatter.let_through(kind, 1, Instant::now()).map(|left_out| (left_out > 0).then_some(left_out))
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
        let suspended = self.standing.suspended(&settlement.messages, Instant::now());
        if !suspended.is_empty() {
            return Some(Settled::Not(settlement.batch, Unsettled { refused: suspended.into_iter().collect(), late: false }));
        }
        let (mut lost_after, mut pause, mut outages) = (None, PAUSE, 0);
        loop {
            if !self.ready() || self.stopping() && lost_after.is_some() {
                return None;
            }
            // The metadata first, then the look at what we own: so the metadata is never younger than the ownership it is used with,
            // and a partition that went to another instance is refused by the broker.
            let metadata = self.consumer.group_metadata()?;
            let held = |commit: &&PartitionCommit| self.ownership.holds(commit.partition, commit.epoch);
            let commits: Vec<_> = settlement.commits.iter().filter(held).cloned().collect();
            if commits.is_empty() || lost_after.is_some() && self.was_committed(&commits)? {
                self.told(&settlement, &commits);
                return Some(Settled::Done(settlement.batch));
            }
            // A producer that is lost over one transaction again and again is one for which there is no time.
            if lost_after.take().is_some_and(|took| took >= STUCK) {
                return Some(Settled::Not(settlement.batch, Unsettled { refused: Vec::new(), late: true }));
            }
            let began = Instant::now();
            match self.transaction(&mut settlement, &commits, metadata) {
                Ok(()) => {
                    self.metrics.committed("ok");
                    debug!(messages = settlement.messages.len(), took = ?began.elapsed(), "settled");
                    self.told(&settlement, &commits);
                    return Some(Settled::Done(settlement.batch));
                }
                Err(Failure::Abort(error)) => {
                    self.metrics.committed("aborted");
                    let aborting = Instant::now();
                    let reports = self.abort();
                    // Nothing gets through while the broker is away, and that says nothing of what was sent. But not again and again.
                    let is_outage = aborting.elapsed() > PROMPT && outages < MOST_OUTAGES;
                    outages += u32::from(is_outage);
                    match self.next(&mut settlement, &reports, &error, is_outage) {
                        Next::AtOnce => {}
                        Next::Later => {
                            self.tell_aborted(&error);
                            self.wait(&mut pause);
                        }
                        Next::Leave(why) => return Some(Settled::Not(settlement.batch, why)),
                    }
                }
                Err(Failure::Lost(error)) => {
                    self.metrics.committed("failed");
                    if let Some(left_out) = self.tell("lost") {
                        warn!(target = self.metrics.name(), %error, left_out, "the transactional producer is lost; a new one takes over");
                    }
                    self.producer = None;
                    lost_after = Some(began.elapsed());
                }
            }
            if self.stopping() {
                return None;
            }
        }
    }

    fn tell_aborted(&self, error: &KafkaError) {
        let Some(left_out) = self.tell("aborted") else { return debug!(%error, "a transaction was aborted; it is made again") };
        let target = self.metrics.name();
        match client::refusal_advice(error, "") {
            Some(advice) => warn!(target, %error, advice, left_out, "a transaction was refused; it is made again"),
            None => info!(target, %error, left_out, "a transaction was aborted; it is made again"),
        }
    }

    fn transaction(
        &mut self,
        settlement: &mut Settlement,
        commits: &[PartitionCommit],
        metadata: ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        let Some(producer) = &self.producer else { return Ok(()) };
        producer.begin().map_err(judge)?;
        let now = Instant::now();
        for (number, message) in settlement.messages.iter_mut().enumerate() {
            if commits.iter().any(|commit| commit.partition == message.origin.partition) {
                self.standing.prepare(message, now);
                send(producer, number, message)?;
            }
        }
        let patience = self.standing.patience(&settlement.messages, now);
        producer.deliver(patience).map_err(judge)?;
        let offsets = self.offsets(commits).map_err(Failure::Abort)?;
        let (offsets, metadata, waiting) = (Arc::new(offsets), Arc::new(metadata), Waiting::new());
        let go_on = |error: &RDKafkaError| self.goes_on(&waiting, error);
        producer.send_offsets(&offsets, &metadata, &go_on).map_err(judge)?;
        producer.commit(&go_on).map_err(judge)
    }

    /// What is to be done about a transaction that was aborted.
    fn next(&mut self, settlement: &mut Settlement, reports: &[Report], error: &KafkaError, is_outage: bool) -> Next {
        let late = error.rdkafka_error_code() == Some(Code::MessageTimedOut);
        let findings = Findings::of(&settlement.messages, reports, self.batches.bytes(), late);
        debug!(?findings, taken = reports.iter().filter(|report| report.result.is_ok()).count(), of = reports.len(), "a transaction was aborted");
        let mut refused = BTreeSet::new();
        for (number, refusal) in &findings.guilty {
            let message = &mut settlement.messages[*number];
            self.standing.refused(message, *refusal, self.batches.compressed, Instant::now());
            if !message.alter(*refusal) {
                refused.insert(message.ending);
                self.tell_refused(&settlement.messages[*number], *refusal);
            }
        }
        if let Some(bytes) = findings.narrow {
            debug!(bytes, "a batch of messages was refused: smaller ones tell which of them it was");
            self.batches.narrow = Some((bytes, Instant::now()));
            self.producer = None;
        }
        let mut topics = findings.topics.clone();
        if let (true, Some(Code::TopicAuthorizationFailed)) = (topics.is_empty(), error.rdkafka_error_code()) {
            topics.extend(suspect(&settlement.messages).map(|topic| (topic, Code::TopicAuthorizationFailed)));
        }
        for (topic, code) in &topics {
            self.suspend(topic, *code);
            refused.extend(settlement.messages.iter().filter(|message| message.topic == *topic).map(|message| message.ending));
        }
        if !is_outage {
            for number in &findings.stuck {
                let message = &settlement.messages[*number];
                self.standing.doubt(message, Instant::now());
                refused.insert(message.ending);
            }
            self.tell_stuck(settlement, reports, &findings.stuck);
        }
        if !refused.is_empty() {
            Next::Leave(Unsettled { refused: refused.into_iter().collect(), late: false })
        } else if !findings.guilty.is_empty() || findings.narrow.is_some() {
            Next::AtOnce
        } else if findings.late && !is_outage {
            self.tell_aborted(error);
            Next::Leave(Unsettled { refused: Vec::new(), late: true })
        } else {
            Next::Later
        }
    }

    /// A topic takes nothing: what needs it waits, and nothing else does.
    fn suspend(&mut self, topic: &str, code: Code) {
        let pause = self.standing.suspend(topic, Instant::now());
        if let Some(left_out) = self.tell(topic) {
            let error = KafkaError::MessageProduction(code);
            let advice = match code {
                Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => "create the topic again: this service creates none",
                Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => "compare its replicas in sync with min.insync.replicas",
                _ => client::advice(&error, ""),
            };
            let target = self.metrics.name();
            error!(target, topic, %error, advice, retry_in_ms = pause.as_millis() as u64, left_out, "a topic takes no messages: what ends with one for it waits to be settled");
        }
    }

    fn tell_stuck(&self, settlement: &Settlement, reports: &[Report], stuck: &[usize]) {
        let Some(report) = reports.iter().find(|report| stuck.first() == Some(&report.number)) else { return };
        let Some(left_out) = self.tell("stuck") else { return };
        let (target, topic) = (self.metrics.name(), &settlement.messages[report.number].topic);
        error!(
            target, topic, partition = report.partition, messages = stuck.len(), left_out,
            "a partition took nothing in time, while others did: what ends with a message for it waits to be settled. Look at its leader, and at \
             min.insync.replicas of its topic"
        );
    }

    fn tell_refused(&self, message: &Message, refusal: Refusal) {
        if let Some(left_out) = self.tell("refused") {
            let (target, record, topic, advice) = (self.metrics.name(), &message.origin, &message.topic, refusal.advice());
            error!(target, %record, topic, advice, left_out, "a topic refuses a message however it is changed: its record waits to be settled");
        }
    }

    /// What was settled with a change is logged and counted.
    fn told(&mut self, settlement: &Settlement, commits: &[PartitionCommit]) {
        let is_settled = |message: &&Message| commits.iter().any(|commit| commit.partition == message.origin.partition);
        let settled = || settlement.messages.iter().filter(is_settled);
        self.standing.went_through(settled());
        for message in settled().filter(|message| !message.altered.is_empty()) {
            let (target, record, topic, altered) = (self.metrics.name(), &message.origin, &message.topic, message.altered);
            let advice = message.refusal.map(Refusal::advice);
            error!(target, %record, topic, %altered, advice, "a topic refused a message as it was: it was sent with these parts changed");
            self.metrics.altered(message.kind == Kind::DeadLetter, altered);
        }
    }

    fn offsets(&self, commits: &[PartitionCommit]) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(commits.len());
        for PartitionCommit { partition, commit, .. } in commits {
            let mut element = offsets.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(commit.offset))?;
            element.set_metadata(&commit.metadata);
        }
        Ok(offsets)
    }

    /// Aborts the transaction, and returns what became of its messages.
    fn abort(&mut self) -> Vec<Report> {
        let Some(producer) = &self.producer else { return Vec::new() };
        let waiting = Waiting::new();
        let aborted = producer.abort(&|error| self.goes_on(&waiting, error));
        let reports = producer.reports();
        if let Err(error) = aborted {
            if let Some(left_out) = self.tell("abort") {
                warn!(target = self.metrics.name(), %error, left_out, "a transaction cannot be aborted; a new producer takes over");
            }
            self.producer = None;
        }
        reports
    }

    /// Whether the group's committed offsets are those of this settlement. `None` when stopped before there was an answer.
    fn was_committed(&self, commits: &[PartitionCommit]) -> Option<bool> {
        let mut asked = TopicPartitionList::with_capacity(commits.len());
        for commit in commits {
            asked.add_partition(&self.topic, commit.partition);
        }
        while !self.stopping() {
            match self.consumer.committed_offsets(asked.clone(), CALL) {
                Ok(committed) => {
                    // Each commit says something new, and all are in one transaction: one that stands there tells of all.
                    return Some(commits.iter().any(|wanted| {
                        committed.find_partition(&self.topic, wanted.partition).is_some_and(|found| {
                            let text = headers::quietly(|| found.metadata() == wanted.commit.metadata).unwrap_or(false);
                            text && found.offset() == Offset::Offset(wanted.commit.offset)
                        })
                    }));
                }
                Err(error) => {
                    warn!(target = self.metrics.name(), %error, "whether a transaction went through cannot be told yet; asking again")
                }
            }
        }
        None
    }
}

/// The topic that is likely meant if the coordinator refuses one of them and does not say which: if it is the other one, then the next transaction
/// tells, which has no message for this one.
fn suspect(messages: &[Message]) -> Option<String> {
    let of_letter = messages.iter().find(|message| message.kind == Kind::DeadLetter);
    of_letter.or(messages.first()).map(|message| message.topic.clone())
}

/// Tells of a broker that is waited for, now and then.
struct Waiting {
    since: Instant,
    chatter: Chatter,
}

impl Waiting {
    fn new() -> Self {
        Waiting { since: Instant::now(), chatter: Chatter::default() }
    }

    fn tell(&self, error: &RDKafkaError) {
        if self.since.elapsed() >= TELL && self.chatter.let_through("waiting", 1, Instant::now()).is_some() {
            warn!(%error, waited = ?self.since.elapsed(), "the broker does not finish a transaction; it is waited for");
        } else {
            debug!(%error, "a transaction call is made again");
        }
    }
}

/// Queues a message. What the client itself does not send for its size is changed until it does.
fn send(producer: &Transactions, number: usize, message: &mut Message) -> Result<(), Failure> {
    loop {
        match producer.send(number, message) {
            Ok(()) => return Ok(()),
            Err(Code::MessageSizeTooLarge | Code::QueueFull) if message.alter(Refusal::Size) => {}
            Err(code) => return Err(judge(producer.refused(number, code))),
        }
    }
}

fn judge(error: KafkaError) -> Failure {
    match &error {
        KafkaError::Transaction(inner) if inner.is_fatal() || !inner.txn_requires_abort() => Failure::Lost(error),
        // Cancelled: the producer is stuck in a call.
        KafkaError::MessageProduction(Code::Fatal) | KafkaError::Canceled => Failure::Lost(error),
        _ => Failure::Abort(error),
    }
}
