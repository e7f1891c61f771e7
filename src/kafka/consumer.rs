//! The polling thread: the only one that reads from the client. It never waits for anything but the client, so callbacks are always served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use super::membership::Membership;
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
}

/// What a consumer shares with its subscriber.
pub struct Shared {
    /// Renewed by the polling thread.
    pub lease: Arc<Lease>,
    /// Looked at by the publisher.
    pub ownership: Arc<Ownership>,
    /// What the threads find out about the group and the brokers.
    pub membership: Arc<Membership>,
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
            membership: shared.membership,
            metrics: shared.metrics,
            drain_timeout,
            stopping: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            beats: std::sync::atomic::AtomicU64::new(0),
            born,
            unassigned: std::sync::Mutex::new(born),
            pulse: std::sync::Mutex::new(Pulse::new(kafka.session_timeout)),
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
        let polling = Polling { client: client.clone(), topic: kafka.topics.updates.as_str().into(), orders: receiver, claims };
        let watch = Watch(client.clone());
        let work = move || {
            let _watch = watch;
            polling.run();
        };
        let thread = std::thread::Builder::new().name(format!("poll-{target}")).spawn(work).context("no thread for the consumer")?;
        Ok(Consumer { client, orders, thread })
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

    /// Signs of life of the polling thread: a number that stands still is a thread that does.
    pub fn beats(&self) -> u64 {
        self.client.context().beats.load(Ordering::Relaxed)
    }

    /// Waits for the thread's end, which comes after [`Order::Leave`].
    pub fn join(self) {
        if self.thread.join().is_err() {
            warn!("the polling thread panicked");
        }
    }
}

/// Reports that the polling thread panics: the subscriber ends of it, which nobody would notice
/// otherwise.
struct Watch<C: Send + 'static>(Arc<BaseConsumer<Callbacks<C>>>);

impl<C: Send + 'static> Drop for Watch<C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "its polling thread has panicked: please report this, it is a fault of this service";
            self.0.context().send(Input::Failed(Failure::Other(why.to_owned())));
        }
    }
}

struct Polling<C: Send + 'static, F> {
    client: Arc<BaseConsumer<Callbacks<C>>>,
    topic: Arc<str>,
    orders: Receiver<Order>,
    claims: F,
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
        self.client.context().beats.fetch_add(1, Ordering::Relaxed);
        self.client.poll(wait)
    }

    /// Waits for a record, takes what has come with it, and hands it over.
    fn read(&self) {
        let mut batch = Vec::new();
        let mut wait = POLL;
        for _ in 0..BATCH {
            match self.poll(wait) {
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
                    RDKafkaErrorCode::FencedInstanceId if self.is_taken() => Failure::InstanceTaken,
                    RDKafkaErrorCode::FencedInstanceId => Failure::Other(
                        "it was fenced out of its group under its own name after it had not been heard for its session: likely by a request of its \
                         own that was answered late"
                            .to_owned(),
                    ),
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

    /// Whether another instance has joined under our name. A broker that stood still for longer
    /// than our session may find two of our own requests to join when it goes on, and fences one of
    /// them; an instance that takes our name finds us as a member.
    fn is_taken(&self) -> bool {
        self.client.context().lease.until().is_some_and(|until| until > Instant::now())
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
