//! The polling thread: the only one that reads from the client. It never waits for anything but the client, so callbacks are always served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use tracing::{debug, warn};

use super::assignment::{Callbacks, Ownership};
use super::headers;
use super::lease::{Lease, Pulse};
use super::log::Chatter;
use super::{Claim, Failure, Input, Read, client};
use crate::config::Kafka;
use crate::metrics::TargetMetrics;

/// How long one poll waits for a record. Orders are looked at in between.
const POLL: Duration = Duration::from_millis(20);
/// Asked to pause, the thread first just reads nothing for so long, which callbacks can wait. A client that is paused throws away what it has fetched
/// ahead, and takes half a second to fetch again: at the rates at which that would be felt, the memory has room before this time is over.
const HOLD: Duration = Duration::from_secs(1);
/// Records read and handed over at once, at the most: few, since what is on its way is held besides what the engine counts.
const BATCH: usize = 256;
/// Batches that may be on their way.
pub const BATCHES: usize = 2;
/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a subscriber tells its polling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read nothing for now.
    Pause,
    /// Read on.
    Resume,
    /// Let all partitions go, leave the group, and end.
    Leave,
}

/// A subscriber's consumer.
pub struct Consumer<C: Send + 'static> {
    client: Arc<BaseConsumer<Callbacks<C>>>,
    orders: Sender<Order>,
    thread: JoinHandle<()>,
    polled: Arc<AtomicU64>,
}

/// What a consumer shares with its subscriber.
pub struct Shared {
    /// Renewed by the polling thread.
    pub lease: Arc<Lease>,
    /// Looked at by the publisher.
    pub ownership: Arc<Ownership>,
    /// Where rebalances are counted.
    pub metrics: TargetMetrics,
}

impl<C: Send + 'static> Consumer<C> {
    /// Joins the group of `target` and reads the update topic. `claims` decides which records are ours.
    ///
    /// # Errors
    /// If the client cannot be made, or a thread cannot be started.
    pub fn spawn(
        kafka: &Kafka,
        target: &str,
        drain_timeout: Duration,
        shared: Shared,
        inputs: tokio::sync::mpsc::Sender<Input<C>>,
        claims: impl Claim<C>,
    ) -> anyhow::Result<Self> {
        let born = Instant::now();
        let callbacks = Callbacks {
            topic: kafka.topics.updates.clone(),
            inputs,
            lease: shared.lease,
            ownership: shared.ownership,
            metrics: shared.metrics,
            drain_timeout,
            stopping: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            joined: AtomicBool::new(false),
            poll_began: std::sync::Mutex::new(born),
            born,
            pulse: std::sync::Mutex::new(Pulse::default()),
            ends: std::sync::Mutex::default(),
            at_end: std::sync::Mutex::default(),
            chatter: Chatter::default(),
        };
        let client: BaseConsumer<_> = client::consumer(kafka, target)?
            .create_with_context(callbacks)
            .map_err(|error| anyhow::anyhow!("the Kafka consumer cannot be made: {}", client::words(&error)))?;
        client.subscribe(&[&kafka.topics.updates]).context("the update topic cannot be subscribed to")?;
        let client = Arc::new(client);
        let (orders, receiver) = channel();
        let polled = Arc::new(AtomicU64::new(0));
        let polling = Polling {
            client: client.clone(),
            topic: kafka.topics.updates.as_str().into(),
            orders: receiver,
            claims,
            polled: polled.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("poll-{target}"))
            .spawn(move || polling.run())
            .context("no thread for the consumer")?;
        Ok(Consumer { client, orders, thread, polled })
    }

    /// Gives an order. It is carried out within some tens of milliseconds.
    pub fn order(&self, order: Order) {
        if order == Order::Leave {
            self.client.context().stopping.store(true, Ordering::Relaxed);
        }
        // The thread is gone only after it left.
        if self.orders.send(order).is_err() {
            debug!(?order, "the polling thread has ended");
        }
    }

    /// The client itself, for the publisher, which needs the group's metadata.
    pub fn client(&self) -> Arc<BaseConsumer<Callbacks<C>>> {
        self.client.clone()
    }

    /// Whether the group was joined.
    pub fn joined(&self) -> bool {
        self.client.context().joined.load(Ordering::Relaxed)
    }

    /// How often the client was polled: a number that stands still is a thread that does.
    pub fn polls(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended, which it should after [`Order::Leave`] only.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether another instance has joined the group under our `instance_id`. The client knows that
    /// before the polling thread can tell.
    pub fn is_fenced(&self) -> bool {
        is_fenced(&self.client)
    }

    /// Waits for the thread's end, which comes after [`Order::Leave`].
    ///
    /// # Errors
    /// If it panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// Whether another instance has joined the client's group under its `instance_id`.
pub(super) fn is_fenced<C: Send + 'static>(client: &BaseConsumer<Callbacks<C>>) -> bool {
    matches!(client.client().fatal_error(), Some((RDKafkaErrorCode::FencedInstanceId, _)))
}

struct Polling<C: Send + 'static, F> {
    client: Arc<BaseConsumer<Callbacks<C>>>,
    topic: Arc<str>,
    orders: Receiver<Order>,
    claims: F,
    polled: Arc<AtomicU64>,
}

impl<C: Send + 'static, F: Claim<C>> Polling<C, F> {
    fn run(self) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Pause) => match self.orders.recv_timeout(HOLD) {
                    Ok(Order::Resume) => {}
                    Ok(Order::Pause) | Err(RecvTimeoutError::Timeout) => self.pause(true),
                    Ok(Order::Leave) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
                },
                Ok(Order::Resume) => self.pause(false),
                Ok(Order::Leave) | Err(TryRecvError::Disconnected) => return self.leave(),
                Err(TryRecvError::Empty) => self.read(),
            }
        }
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.begin();
        self.client.poll(wait)
    }

    fn begin(&self) {
        if let Ok(mut began) = self.client.context().poll_began.lock() {
            *began = Instant::now();
        }
        self.polled.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a record, takes what has come with it, and hands it over.
    fn read(&self) {
        let mut batch = Vec::new();
        let mut wait = POLL;
        self.begin();
        for _ in 0..BATCH {
            match self.client.poll(wait) {
                None => break,
                Some(Ok(message)) => self.take(&message, &mut batch),
                Some(Err(error)) => self.fault(&error),
            }
            wait = Duration::ZERO;
        }
        let context = self.client.context();
        if !batch.is_empty() {
            context.send(Input::Read(batch));
        }
        // Only now: an end that is reached passes over what lies before it.
        if let Some(mut ends) = context.ends.lock().ok().and_then(|mut ends| ends.take()) {
            if let Ok(at_end) = context.at_end.lock() {
                ends.iter_mut().for_each(|end| end.reached &= at_end.contains(&end.partition));
            }
            context.send(Input::Ends(ends));
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, batch: &mut Vec<Read<C>>) {
        let (number, next) = (message.partition(), message.offset() + 1);
        self.at_end(number, false);
        let record = self.claims.may_claim(message.payload()).then(|| headers::record(&self.topic, message));
        if let Some(claimed) = record.and_then(|record| self.claims.claim(record)) {
            batch.push(Read::Claimed(claimed));
            return;
        }
        // One step for a run of records that are not ours.
        match batch.last_mut() {
            Some(Read::Passed { partition, position, records }) if *partition == number => {
                *position = next;
                *records += 1;
            }
            _ => batch.push(Read::Passed { partition: number, position: next, records: 1 }),
        }
    }

    fn fault(&self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(code) => {
                let failure = match code {
                    RDKafkaErrorCode::FencedInstanceId => Failure::InstanceTaken,
                    code => Failure::Other(code.to_string()),
                };
                self.client.context().send(Input::Failed(failure));
                std::thread::sleep(POLL);
            }
            KafkaError::PartitionEOF(partition) => self.at_end(*partition, true),
            other => {
                let context = self.client.context();
                context.chatter.complain(context.metrics.name(), other, "reading is disturbed");
            }
        }
    }

    fn at_end(&self, partition: i32, at_end: bool) {
        if let Ok(mut partitions) = self.client.context().at_end.lock() {
            if at_end {
                partitions.insert(partition);
            } else if !partitions.is_empty() {
                partitions.remove(&partition);
            }
        }
    }

    fn pause(&self, pause: bool) {
        self.client.context().forget_ends();
        self.client.context().paused.store(pause, Ordering::Relaxed);
        let done = self.client.assignment().and_then(|all| if pause { self.client.pause(&all) } else { self.client.resume(&all) });
        if let Err(error) = done {
            warn!(%error, pause, "consumption cannot be switched");
        }
    }

    /// Unsubscribing lets the partitions go and leaves the group at once, also as a static member; closing alone would not tell the group.
    fn leave(self) {
        self.client.unsubscribe();
        let deadline = Instant::now() + self.client.context().drain_timeout + LEAVE_TIMEOUT;
        let holds = || self.client.assignment().is_ok_and(|all: TopicPartitionList| all.count() > 0);
        // The callback that lets the partitions go runs inside the poll.
        while holds() && Instant::now() < deadline {
            drop(self.poll(POLL));
        }
        for _ in 0..5 {
            drop(self.poll(POLL));
        }
        self.client.context().send(Input::Left);
    }
}
