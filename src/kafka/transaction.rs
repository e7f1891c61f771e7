//! Transactions: the one place that begins them, sends messages in them, commits and aborts them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, TopicPartitionList};

use tracing::{debug, warn};

use crate::config::TRANSACTION_TIMEOUT_MS;
use crate::kafka::client;
use crate::kafka::findings::Report;
use crate::kafka::headers;
use crate::kafka::log::Chatter;
use crate::kafka::message::Message;

/// One transaction call waits this long before it is made again.
pub(crate) const CALL: Duration = Duration::from_secs(2);
/// After this time without an answer, though asked for one within [`CALL`], a transaction call is
/// given up with its producer. The broker gives the transaction up after as long.
pub(crate) const STUCK: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS as u64);
/// How often it is told that the broker is being waited for.
const TELL: Duration = Duration::from_secs(10);
/// How long the producer's queue is left alone while messages are under way.
const DELIVERY_PAUSE: Duration = Duration::from_micros(200);
/// How often it is asked whether the transaction has failed meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// The first wait for an abort: until the reports of what was purged are taken, it cannot end.
const FIRST_ABORT: Duration = Duration::from_millis(5);
/// Calls that may be left behind without an answer, in the whole process: each keeps a thread and a
/// client.
const MOST_LEFT_BEHIND: usize = 8;

static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// The producer's callbacks.
struct Deliveries {
    target: String,
    reports: Mutex<Vec<Report>>,
    /// The error of the first message that was refused.
    failed: Mutex<Option<Code>>,
    chatter: Chatter,
}

impl Deliveries {
    fn note(&self, report: Report) {
        if let (Err(code), Ok(mut failed)) = (report.result, self.failed.lock()) {
            failed.get_or_insert(code);
        }
        if let Ok(mut reports) = self.reports.lock() {
            reports.push(report);
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.chatter
            .log(Some(&self.target), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.chatter.complain(&self.target, &error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let (message, result) = match result {
            Ok(message) => (message, Ok(message.offset())),
            Err((error, message)) => (
                message,
                Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
            ),
        };
        self.note(Report {
            number,
            partition: message.partition(),
            result,
        });
    }
}

/// The replicas of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub(crate) all: usize,
    pub(crate) in_sync: usize,
}

/// Asked whenever a call has got no answer yet: whether it is made again.
pub(crate) type Wait<'a> = &'a dyn Fn(&RDKafkaError) -> bool;

/// A transactional producer, which has the right to its name until another one takes it.
pub(crate) struct Transactions(Arc<BaseProducer<Deliveries>>);

impl Transactions {
    /// Makes the producer and takes the right to its name: whoever had it can commit nothing more,
    /// and what was open of it is aborted.
    pub(crate) fn open(settings: &ClientConfig, target: &str, wait: Wait<'_>) -> KafkaResult<Self> {
        let deliveries = Deliveries {
            target: target.to_owned(),
            reports: Mutex::default(),
            failed: Mutex::default(),
            chatter: Chatter::default(),
        };
        let producer: BaseProducer<Deliveries> = settings.create_with_context(deliveries)?;
        again(wait, || producer.init_transactions(CALL))?;
        Ok(Transactions(Arc::new(producer)))
    }

    /// Whether another producer has taken the name.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(
            self.0.client().fatal_error(),
            Some((Code::Fenced | Code::ProducerFenced, _))
        )
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> KafkaResult<()> {
        self.reports();
        self.0.begin_transaction()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// Why the client itself refuses it.
    pub(crate) fn send(&self, number: usize, message: &Message) -> Result<(), Code> {
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&message.topic, number).headers(
                headers::to_send(&message.headers, message.verbatim_headers.as_ref()),
            );
        record.partition = message.partition;
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        record.timestamp = message.timestamp_ms;
        loop {
            match self.0.send(record) {
                Ok(()) => return Ok(()),
                // It is full for a while only, but for a message that is larger than the whole
                // queue.
                Err((KafkaError::MessageProduction(Code::QueueFull), back))
                    if self.0.in_flight_count() > 0 =>
                {
                    if self.failed().is_some() {
                        return Err(Code::State);
                    }
                    self.0.poll(Duration::from_millis(5));
                    record = back;
                }
                Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
            }
        }
    }

    /// Notes that the client refused a message: a report comes only of what a broker refuses.
    pub(crate) fn refused(&self, number: usize, code: Code) -> KafkaError {
        self.0.context().note(Report {
            number,
            partition: -1,
            result: Err(code),
        });
        self.failure()
            .unwrap_or(KafkaError::MessageProduction(code))
    }

    /// Waits until all that was queued is there, or the transaction has failed, or patience ends.
    /// rdkafka's own flush waits in slices of 100 ms, and its `poll` spins through what is left of
    /// a millisecond: this serves what is there, and sleeps.
    pub(crate) fn deliver(&self, patience: Duration) -> KafkaResult<()> {
        let began = Instant::now();
        let mut look_at = began + LOOK;
        loop {
            self.0.poll(Duration::ZERO);
            if let Some(code) = self.failed() {
                return Err(self
                    .failure()
                    .unwrap_or(KafkaError::MessageProduction(code)));
            }
            if self.0.in_flight_count() == 0 {
                return Ok(());
            }
            let now = Instant::now();
            if now >= look_at {
                look_at = now + LOOK;
                if let Some(failure) = self.failure() {
                    return Err(failure);
                }
            }
            if now >= began + patience {
                return Err(KafkaError::MessageProduction(Code::MessageTimedOut));
            }
            std::thread::sleep(DELIVERY_PAUSE);
        }
    }

    fn failed(&self) -> Option<Code> {
        self.0
            .context()
            .failed
            .lock()
            .ok()
            .and_then(|failed| *failed)
    }

    /// Why the open transaction has failed, if it has. To begin another one changes nothing while
    /// one is open, and tells.
    fn failure(&self) -> Option<KafkaError> {
        match self.0.begin_transaction() {
            Err(KafkaError::Transaction(error))
                if error.txn_requires_abort() || error.is_fatal() =>
            {
                Some(KafkaError::Transaction(error))
            }
            _ => None,
        }
    }

    /// Takes the reports of what was sent.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let deliveries = self.0.context();
        if let Ok(mut failed) = deliveries.failed.lock() {
            *failed = None;
        }
        deliveries
            .reports
            .lock()
            .map(|mut reports| std::mem::take(&mut *reports))
            .unwrap_or_default()
    }

    /// Adds offsets to the transaction.
    pub(crate) fn send_offsets(
        &self,
        offsets: &Arc<TopicPartitionList>,
        metadata: &Arc<ConsumerGroupMetadata>,
        wait: Wait<'_>,
    ) -> KafkaResult<()> {
        again(wait, || self.try_send_offsets(offsets, metadata))
    }

    /// It is the one call that librdkafka (2.12) may never return from, whatever timeout it is
    /// given: if the broker that it had asked leaves the cluster, the answer is lost with it. It is
    /// made on a thread of its own, which stays behind with its producer if it is stuck.
    fn try_send_offsets(
        &self,
        offsets: &Arc<TopicPartitionList>,
        metadata: &Arc<ConsumerGroupMetadata>,
    ) -> KafkaResult<()> {
        let (sender, answer) = channel();
        let (producer, offsets, metadata) = (self.0.clone(), offsets.clone(), metadata.clone());
        let call = move || {
            // Nobody waits for the answer any more if it took too long.
            if sender
                .send(producer.send_offsets_to_transaction(&offsets, &metadata, CALL))
                .is_err()
            {
                LEFT_BEHIND.fetch_sub(1, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new()
            .name("send-offsets".to_owned())
            .spawn(call)
            .map_err(|_| KafkaError::Canceled)?;
        answer.recv_timeout(STUCK).unwrap_or_else(|_| {
            LEFT_BEHIND.fetch_add(1, Ordering::Relaxed);
            Err(KafkaError::Canceled)
        })
    }

    /// Commits the transaction.
    pub(crate) fn commit(&self, wait: Wait<'_>) -> KafkaResult<()> {
        again(wait, || self.0.commit_transaction(CALL))
    }

    /// Undoes the transaction. What was queued is purged, and reported.
    pub(crate) fn abort(&self, wait: Wait<'_>) -> KafkaResult<()> {
        let mut patience = FIRST_ABORT;
        loop {
            let done = self.0.abort_transaction(patience);
            self.serve();
            match done {
                Err(KafkaError::Transaction(error))
                    if is_passing(&error) && (patience < CALL || wait(&error)) =>
                {
                    patience = (patience * 4).min(CALL);
                }
                done => return done,
            }
        }
    }

    /// Takes all reports that are there.
    fn serve(&self) {
        let mut before = self.0.in_flight_count();
        loop {
            self.0.poll(Duration::ZERO);
            let now = self.0.in_flight_count();
            if now >= before {
                return;
            }
            before = now;
        }
    }

    /// The replicas of a topic's partitions, in their order. `None` if the brokers do not tell.
    pub(crate) fn replicas(&self, topic: &str) -> Option<Vec<Replicas>> {
        let metadata = self.0.client().fetch_metadata(Some(topic), CALL).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let of = |partition: &MetadataPartition| Replicas {
            all: partition.replicas().len(),
            in_sync: partition.isr().len(),
        };
        Some(partitions.iter().map(of).collect())
    }

    /// Whether the client has a connection to any broker.
    pub(crate) fn reaches_a_broker(&self, topic: &str) -> bool {
        client::reaches_a_broker(self.0.client(), topic, CALL)
    }

    /// Why the producer is lost, if it is.
    pub(crate) fn fatal_error(&self) -> Option<(Code, String)> {
        self.0.client().fatal_error()
    }
}

/// Whether so many calls are left behind that no more may be made: only a new process gets rid of
/// them.
pub(crate) fn too_many_left_behind() -> bool {
    LEFT_BEHIND.load(Ordering::Relaxed) >= MOST_LEFT_BEHIND
}

/// Tells of a broker that is waited for, now and then.
pub(crate) struct WaitNotice {
    since: Instant,
    chatter: Chatter,
}

impl WaitNotice {
    pub(crate) fn new() -> Self {
        WaitNotice {
            since: Instant::now(),
            chatter: Chatter::default(),
        }
    }

    /// Whether an answer will not come: a transaction that the broker cannot end lets no other one
    /// begin.
    pub(crate) fn is_vain(&self) -> bool {
        self.since.elapsed() >= STUCK
    }

    pub(crate) fn tell(&self, error: &RDKafkaError) {
        if self.since.elapsed() >= TELL
            && self
                .chatter
                .let_through("waiting", 1, Instant::now())
                .is_some()
        {
            warn!(%error, waited = ?self.since.elapsed(), "the broker does not finish a transaction; it is waited for");
        } else {
            debug!(%error, "a transaction call is made again");
        }
    }
}

fn again(wait: Wait<'_>, call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if is_passing(&error) && wait(&error) => {}
            done => return done,
        }
    }
}

fn is_passing(error: &RDKafkaError) -> bool {
    error.is_retriable() && !error.txn_requires_abort() && !error.is_fatal()
}
