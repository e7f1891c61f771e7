//! The publisher: outcomes, dead letters and offsets in one Kafka transaction, on a thread of its own, since transaction calls block.
//!
//! A transaction that is aborted is settled again with the same endings; the calls behind them are not made again. Where nobody can know
//! whether a commit went through, because the producer was lost over it, the group's committed offsets tell.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::assignment::{Callbacks, Ownership};
use super::consumer::is_fenced;
use super::log::Chatter;
use super::{client, headers};
use crate::config::{Kafka, TRANSACTION_TIMEOUT_MS};
use crate::dead_letter::OMITTED;
use crate::engine::PartitionCommit;
use crate::metrics::TargetMetrics;
use crate::record::Header;

/// One transaction call waits this long before it is made again.
const CALL: Duration = Duration::from_secs(2);
/// What is longer is left out of a message that its topic does not take.
const LONG: usize = 1024;
/// After this time without an answer, though asked for one within [`CALL`], a transaction call is given up with its producer. The broker
/// gives the transaction up after as long.
const STUCK: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS as u64);
/// Within this time a consumer hears from its group whether it is still in it: a heartbeat comes
/// each second, or more often.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often it is told that the broker is being waited for.
const TELL: Duration = Duration::from_secs(10);
/// The pause before a transaction is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// A message to be sent within a transaction.
#[derive(Clone, Debug)]
pub struct Message {
    /// The partition of the update topic that it settles a record of.
    pub settles: i32,
    /// The topic it goes to.
    pub topic: String,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<Header>,
    /// Headers to stand before those, of a record with a name that is not UTF-8.
    pub verbatim_headers: Option<OwnedHeaders>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp_ms: Option<i64>,
}

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

/// A batch that was committed, but for partitions that went meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(pub u64);

/// Writes a settlement, on the publisher's thread.
type Write = Box<dyn FnOnce() -> Settlement + Send>;

/// A subscriber's publisher.
pub struct Publisher {
    settlements: Option<Sender<Write>>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
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
            settings,
            topic: kafka.topics.updates.clone(),
            consumer,
            ownership,
            metrics,
            stopping: stopping.clone(),
            producer: None,
        };
        let thread = std::thread::Builder::new()
            .name(format!("publish-{target}"))
            .spawn(move || work.run(&receiver, &settled))
            .context("no thread for the publisher")?;
        Ok(Publisher { settlements: Some(settlements), stopping, thread })
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
    ///
    /// # Errors
    /// If it panicked.
    pub fn stop(mut self) -> std::thread::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.settlements = None;
        self.thread.join()
    }
}

/// The producer's callbacks. A message that fails fails the transaction, so only those are noted that would fail again.
struct Deliveries {
    target: String,
    /// The places, within the settlement, of messages that the broker found too large.
    too_large: Mutex<BTreeSet<usize>>,
    chatter: Chatter,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.chatter.log(Some(&self.target), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.chatter.complain(&self.target, &error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        if let Err((error, _)) = result {
            debug!(%error, "a message was not taken");
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
                && let Ok(mut too_large) = self.too_large.lock()
            {
                too_large.insert(place);
            }
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

struct Work<C: Send + 'static> {
    settings: ClientConfig,
    topic: String,
    consumer: Arc<rdkafka::consumer::BaseConsumer<Callbacks<C>>>,
    ownership: Arc<Ownership>,
    metrics: TargetMetrics,
    stopping: Arc<AtomicBool>,
    producer: Option<Arc<BaseProducer<Deliveries>>>,
}

impl<C: Send + 'static> Work<C> {
    fn run(mut self, settlements: &Receiver<Write>, settled: &tokio::sync::mpsc::UnboundedSender<Settled>) {
        // Ready before the first settlement: the open transaction of a killed predecessor of this name is aborted by it.
        self.ready();
        while let Ok(write) = settlements.recv() {
            let Some(answer) = self.settle(&write()) else { return };
            if settled.send(answer).is_err() {
                return;
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Makes the producer and opens its session with the transaction coordinator; waits for the
    /// broker. False when stopped, or when another instance has our name: a new producer would take
    /// it back.
    fn ready(&mut self) -> bool {
        while self.producer.is_none() {
            if self.stopping() || is_fenced(&self.consumer) {
                return false;
            }
            match self.make() {
                Ok(producer) => self.producer = Some(Arc::new(producer)),
                Err(error) => {
                    let advice = client::refusal_advice(&error, "");
                    warn!(
                        target = self.metrics.name(),
                        error = client::words(&error),
                        advice,
                        "the transactional producer is not ready yet; trying again"
                    );
                    std::thread::sleep(PAUSE);
                }
            }
        }
        true
    }

    /// Another producer has our name if ours was fenced. If it is another instance's, our consumer
    /// is told so with its next heartbeat.
    fn await_fencing(&self) {
        let fenced = |producer: &Arc<BaseProducer<Deliveries>>| {
            matches!(producer.client().fatal_error(), Some((RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced, _)))
        };
        if !self.producer.as_ref().is_some_and(fenced) {
            return;
        }
        let until = Instant::now() + HEARTBEAT;
        while !self.stopping() && !is_fenced(&self.consumer) && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
    }

    fn make(&self) -> KafkaResult<BaseProducer<Deliveries>> {
        let deliveries = Deliveries { target: self.metrics.name().to_owned(), too_large: Mutex::default(), chatter: Chatter::default() };
        let producer: BaseProducer<Deliveries> = self.settings.create_with_context(deliveries)?;
        let mut waiting = Waiting::new();
        loop {
            match producer.init_transactions(CALL) {
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !self.stopping() => {
                    waiting.tell(&error);
                }
                done => return done.map(|()| producer),
            }
        }
    }

    /// Settles until it is done. `None`: stopped before.
    fn settle(&mut self, settlement: &Settlement) -> Option<Settled> {
        let mut doubtful = false;
        let mut too_large = BTreeSet::new();
        loop {
            if !self.ready() || self.stopping() && doubtful {
                return None;
            }
            // The metadata first, then the look at what we own: so the metadata is never younger than the ownership it is used with,
            // and a partition that went to another instance is refused by the broker.
            let metadata = self.consumer.group_metadata()?;
            let commits: Vec<_> = settlement.commits.iter().filter(|commit| self.ownership.holds(commit.partition, commit.epoch)).collect();
            if commits.is_empty() || doubtful && self.was_committed(&commits)? {
                return Some(Settled(settlement.batch));
            }
            doubtful = false;
            let began = Instant::now();
            match self.transaction(settlement, &too_large, &commits, metadata) {
                Ok(()) => {
                    self.metrics.committed("ok");
                    debug!(messages = settlement.messages.len(), took = ?began.elapsed(), "settled");
                    return Some(Settled(settlement.batch));
                }
                Err(Failure::Abort(error)) => {
                    self.metrics.committed("aborted");
                    if let Some(advice) = client::refusal_advice(&error, "") {
                        warn!(target = self.metrics.name(), %error, advice, "a transaction was refused; it is made again");
                    } else {
                        info!(target = self.metrics.name(), %error, "a transaction was aborted; it is made again");
                    }
                    too_large.append(&mut self.found_too_large());
                    self.abort();
                    std::thread::sleep(PAUSE);
                }
                Err(Failure::Lost(error)) => {
                    self.metrics.committed("failed");
                    warn!(target = self.metrics.name(), %error, "the transactional producer is lost; a new one takes over");
                    self.await_fencing();
                    self.producer = None;
                    doubtful = true;
                }
            }
            if self.stopping() {
                return None;
            }
        }
    }

    fn transaction(
        &self,
        settlement: &Settlement,
        too_large: &BTreeSet<usize>,
        commits: &[&PartitionCommit],
        metadata: ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        let Some(producer) = &self.producer else { return Ok(()) };
        producer.begin_transaction().map_err(judge)?;
        for (place, message) in settlement.messages.iter().enumerate() {
            if !commits.iter().any(|commit| commit.partition == message.settles) {
                continue;
            }
            if too_large.contains(&place) {
                send(producer, place, &shortened(message))?;
            } else {
                send(producer, place, message)?;
            }
        }
        client::deliver(producer);
        let offsets = self.offsets(commits).map_err(Failure::Abort)?;
        let (offsets, metadata) = (Arc::new(offsets), Arc::new(metadata));
        self.again(|| send_offsets(producer, &offsets, &metadata))?;
        self.again(|| producer.commit_transaction(CALL))
    }

    fn found_too_large(&self) -> BTreeSet<usize> {
        let found = self.producer.as_ref().map(|producer| producer.context().too_large.lock());
        found.and_then(Result::ok).map(|mut found| std::mem::take(&mut *found)).unwrap_or_default()
    }

    fn offsets(&self, commits: &[&PartitionCommit]) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(commits.len());
        for PartitionCommit { partition, commit, .. } in commits {
            let mut element = offsets.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(commit.offset))?;
            element.set_metadata(&commit.metadata);
        }
        Ok(offsets)
    }

    /// Makes a transaction call again while the client says that it may be, and until stopped: a broker may be away for long.
    fn again(&self, call: impl Fn() -> KafkaResult<()>) -> Result<(), Failure> {
        let mut waiting = Waiting::new();
        loop {
            match call() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !error.txn_requires_abort() && !error.is_fatal() && !self.stopping() =>
                {
                    waiting.tell(&error);
                }
                Err(error) => return Err(judge(error)),
            }
        }
    }

    fn abort(&mut self) {
        let Some(producer) = &self.producer else { return };
        if let Err(Failure::Abort(error) | Failure::Lost(error)) = self.again(|| producer.abort_transaction(CALL)) {
            warn!(target = self.metrics.name(), %error, "a transaction cannot be aborted; a new producer takes over");
            self.producer = None;
        }
    }

    /// Whether the group's committed offsets are those of this settlement. `None` when stopped before there was an answer.
    fn was_committed(&self, commits: &[&PartitionCommit]) -> Option<bool> {
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

/// The one call that librdkafka (2.12) may never return from, whatever timeout it is given: where the broker that it had asked leaves the
/// cluster, the answer is lost with it. So it is made on a thread of its own; where that is stuck, it stays behind with its producer,
/// which nobody uses any more.
fn send_offsets(
    producer: &Arc<BaseProducer<Deliveries>>,
    offsets: &Arc<TopicPartitionList>,
    metadata: &Arc<ConsumerGroupMetadata>,
) -> KafkaResult<()> {
    let (sender, answer) = channel();
    let (producer, offsets, metadata) = (producer.clone(), offsets.clone(), metadata.clone());
    let call = move || {
        // Nobody waits for the answer any more if it took too long.
        let _ = sender.send(producer.send_offsets_to_transaction(&offsets, &metadata, CALL));
    };
    std::thread::Builder::new().name("send-offsets".to_owned()).spawn(call).map_err(|_| KafkaError::Canceled)?;
    answer.recv_timeout(STUCK).unwrap_or(Err(KafkaError::Canceled))
}

/// Tells of a broker that is waited for, now and then.
struct Waiting {
    since: Instant,
    told: Instant,
}

impl Waiting {
    fn new() -> Self {
        let now = Instant::now();
        Waiting { since: now, told: now }
    }

    fn tell(&mut self, error: &RDKafkaError) {
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            warn!(%error, waited = ?self.since.elapsed(), "the broker does not finish a transaction; it is waited for");
        } else {
            debug!(%error, "a transaction call is made again");
        }
    }
}

/// The message without what makes it larger than its topic takes: such a topic must not stop the service. The record itself still stands
/// in the update topic, at the place that the headers name.
fn shortened(message: &Message) -> Message {
    let omitted = message.key.as_ref().map_or(0, Vec::len) + message.value.as_ref().map_or(0, Vec::len);
    warn!(
        topic = message.topic,
        omitted, "a message is larger than its topic takes: it is sent without its value; raise max.message.bytes there"
    );
    let mut headers: Vec<Header> =
        message.headers.iter().filter(|header| header.value.as_ref().is_none_or(|value| value.len() <= LONG)).cloned().collect();
    headers.push(Header::text(OMITTED, omitted.to_string()));
    let key = message.key.clone().filter(|key| key.len() <= LONG);
    Message { key, value: None, verbatim_headers: None, headers, ..message.clone() }
}

fn send(producer: &BaseProducer<Deliveries>, place: usize, message: &Message) -> Result<(), Failure> {
    let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&message.topic, place)
        .headers(headers::to_send(&message.headers, message.verbatim_headers.as_ref()));
    record.key = message.key.as_deref();
    record.payload = message.value.as_deref();
    record.timestamp = message.timestamp_ms;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
            Err((error, _)) => {
                error!(%error, topic = message.topic, "a message cannot be sent");
                return Err(judge(error));
            }
        }
    }
}

fn judge(error: KafkaError) -> Failure {
    match &error {
        KafkaError::Transaction(inner) if inner.is_fatal() || !inner.txn_requires_abort() => Failure::Lost(error),
        // Cancelled: the producer is stuck in a call.
        KafkaError::MessageProduction(RDKafkaErrorCode::Fatal) | KafkaError::Canceled => Failure::Lost(error),
        _ => Failure::Abort(error),
    }
}
