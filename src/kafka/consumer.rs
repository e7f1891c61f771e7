//! The polling thread: the only one that reads from the client. It never waits for anything but the
//! client, so callbacks are always served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use topic_facts::LogBounds;
use tracing::{debug, warn};

use crate::config::Kafka;
use crate::kafka::assignment::{Callbacks, Ownership};
use crate::kafka::gathered::{BATCH, Gathered};
use crate::kafka::headers;
use crate::kafka::lease::{Lease, Pulse};
use crate::kafka::log::Chatter;
use crate::kafka::membership::Membership;
use crate::kafka::offsets::{OffsetStep, Offsets};
use crate::kafka::statistics::Reach;
use crate::kafka::topic_watch::{News, TopicWatch};
use crate::kafka::{ClaimFilter, ClientFailure, Input, client};
use crate::model::record::Record;
use crate::telemetry::metrics::TargetMetrics;
use engine::Commit;

/// How long one poll waits for a record. Orders are looked at in between.
const POLL: Duration = Duration::from_millis(20);
/// Asked to pause, the thread first just reads nothing for so long, which callbacks can wait. A
/// client that is paused throws away what it has fetched ahead, and takes half a second to fetch
/// again: at the rates at which that would be felt, the memory has room before this time is over.
const HOLD: Duration = Duration::from_secs(1);
/// Batches that may be on their way.
pub const BATCHES: usize = 2;
/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the client may take to go to another offset.
const SEEK: Duration = Duration::from_secs(5);

/// An order from a subscriber to its polling thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read nothing for now.
    Pause,
    /// Read on.
    Resume,
    /// Read the partition again, as if it were assigned with this commit.
    Seek(i32, Commit),
    /// Let all partitions go, leave the group, and end.
    Leave,
}

/// A subscriber's consumer.
pub struct Consumer<C: Send + 'static> {
    client: Arc<BaseConsumer<Callbacks<C>>>,
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// State shared by a consumer and its subscriber.
pub struct ConsumerShared {
    /// Renewed by the polling thread.
    pub lease: Arc<Lease>,
    /// Checked by the publisher.
    pub ownership: Arc<Ownership>,
    /// The threads' findings about the group and the brokers.
    pub membership: Arc<Membership>,
    /// Handed on from client to client.
    pub offsets: Arc<Offsets>,
    /// Counts rebalances.
    pub metrics: TargetMetrics,
}

impl<C: Send + 'static> Consumer<C> {
    /// Joins the group of `target` and reads the update topic. `claims` decides which records are
    /// ours.
    ///
    /// # Errors
    /// If the client cannot be made, or a thread cannot be started.
    pub fn spawn(
        kafka: &Kafka,
        target: &str,
        drain_timeout: Duration,
        shared: ConsumerShared,
        inputs: tokio::sync::mpsc::Sender<Input<C>>,
        claims: impl ClaimFilter<C>,
    ) -> anyhow::Result<Self> {
        let born = Instant::now();
        shared.offsets.begin();
        let callbacks = Callbacks {
            topic: kafka.topics.updates.clone(),
            inputs,
            lease: shared.lease,
            ownership: shared.ownership,
            membership: shared.membership,
            offsets: shared.offsets,
            metrics: shared.metrics,
            drain_timeout,
            stopping: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            beats: std::sync::atomic::AtomicU64::new(0),
            born,
            unassigned: std::sync::Mutex::new(born),
            pulse: std::sync::Mutex::new(Pulse::new(kafka.session_timeout)),
            reach: std::sync::Mutex::new(Reach::new(born)),
            ends: std::sync::Mutex::default(),
            at_end: std::sync::Mutex::default(),
            chatter: Chatter::default(),
        };
        let client: BaseConsumer<_> = client::consumer(kafka, target)?
            .create_with_context(callbacks)
            .map_err(|error| {
                anyhow::anyhow!(
                    "the Kafka consumer cannot be made: {}",
                    client::words(&error)
                )
            })?;
        client
            .subscribe(&[&kafka.topics.updates])
            .context("the update topic cannot be subscribed to")?;
        let client = Arc::new(client);
        let (orders, receiver) = channel();
        let polling = Polling {
            client: client.clone(),
            topic: kafka.topics.updates.as_str().into(),
            orders: receiver,
            claims,
        };
        let watch = PanicReport(client.clone());
        let work = move || {
            let _watch = watch;
            polling.run();
        };
        let thread = std::thread::Builder::new()
            .name(format!("poll-{target}"))
            .spawn(work)
            .context("no thread for the consumer")?;
        Ok(Consumer {
            client,
            orders,
            thread,
        })
    }

    /// Gives an order. It is carried out within some tens of milliseconds.
    pub fn order(&self, order: Order) {
        if order == Order::Leave {
            self.client
                .context()
                .stopping
                .store(true, Ordering::Relaxed);
        }
        // The thread is gone only after it left.
        if let Err(error) = self.orders.send(order) {
            debug!(order = ?error.0, "the polling thread has ended");
        }
    }

    /// The client itself, for the publisher, which needs the group's metadata.
    pub fn client(&self) -> Arc<BaseConsumer<Callbacks<C>>> {
        self.client.clone()
    }

    /// Signs of life of the polling thread: if the number does not change, the thread hangs.
    pub fn beats(&self) -> u64 {
        self.client.context().beats.load(Ordering::Relaxed)
    }

    /// Whether the polling thread has ended, which it should after [`Order::Leave`] only.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether another instance has joined the group under our `instance_id`. The client knows that
    /// before the polling thread can tell.
    pub fn is_taken(&self) -> bool {
        is_taken(&self.client)
    }

    /// Waits for the thread's end, which comes after [`Order::Leave`].
    ///
    /// # Errors
    /// If it panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// Reports that the polling thread panics: the subscriber ends of it, which nobody would notice
/// otherwise.
struct PanicReport<C: Send + 'static>(Arc<BaseConsumer<Callbacks<C>>>);

impl<C: Send + 'static> Drop for PanicReport<C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "its polling thread has panicked: please report this, it is a fault of this service";
            self.0
                .context()
                .send(Input::Failed(ClientFailure::Other(why.to_owned())));
        }
    }
}

/// Whether somebody else has joined the client's group under its `instance_id`.
pub(super) fn is_fenced<C: Send + 'static>(client: &BaseConsumer<Callbacks<C>>) -> bool {
    matches!(
        client.client().fatal_error(),
        Some((RDKafkaErrorCode::FencedInstanceId, _))
    )
}

/// Whether that was another instance. A broker that was suspended for longer than our session, or a
/// coordinator that moved, may find two of our own requests to join, and fences one of them,
/// perhaps after the other has made us a member; an instance that takes our name finds us as one.
fn is_taken<C: Send + 'static>(client: &BaseConsumer<Callbacks<C>>) -> bool {
    let (context, now) = (client.context(), Instant::now());
    let late_answers = context.membership.expects_late_answers(now);
    is_fenced(client) && was_another(context.lease.until(), late_answers, now)
}

/// Whether another instance has fenced a client whose lease is over at `leased_until`.
fn was_another(leased_until: Option<Instant>, late_answers: bool, now: Instant) -> bool {
    leased_until.is_some_and(|until| until > now) && !late_answers
}

/// Why the client cannot go on. `is_taken`: another instance has our name.
fn failure(code: RDKafkaErrorCode, is_taken: bool) -> ClientFailure {
    match code {
        RDKafkaErrorCode::FencedInstanceId if is_taken => ClientFailure::InstanceTaken,
        RDKafkaErrorCode::FencedInstanceId => ClientFailure::Outrun,
        code => ClientFailure::Other(code.to_string()),
    }
}

struct Polling<C: Send + 'static, F> {
    client: Arc<BaseConsumer<Callbacks<C>>>,
    topic: Arc<str>,
    orders: Receiver<Order>,
    claims: F,
}

impl<C: Send + 'static, F: ClaimFilter<C>> Polling<C, F> {
    fn run(self) {
        let context = self.client.context();
        let mut watch = TopicWatch::new(
            self.client.client(),
            &self.topic,
            context.metrics.name(),
            &context.offsets,
        );
        let mut over = false;
        loop {
            match self.orders.try_recv() {
                Ok(Order::Pause) => match self.orders.recv_timeout(HOLD) {
                    Ok(Order::Resume) => {}
                    Ok(Order::Pause) | Err(RecvTimeoutError::Timeout) => self.pause(true),
                    Ok(Order::Seek(partition, commit)) => {
                        self.pause(true);
                        self.seek(partition, commit);
                    }
                    Ok(Order::Leave) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
                },
                Ok(Order::Resume) => self.pause(false),
                Ok(Order::Seek(partition, commit)) => self.seek(partition, commit),
                Ok(Order::Leave) | Err(TryRecvError::Disconnected) => return self.leave(),
                Err(TryRecvError::Empty) => {
                    self.read();
                    let news = if context.offsets.remade() {
                        Some(News::Remade)
                    } else {
                        watch.look()
                    };
                    match news {
                        Some(News::Remade) if !over => {
                            over = true;
                            context.send(Input::Remade);
                        }
                        Some(News::Remade) | None => {}
                        Some(news) => context.send(Input::Missing(news == News::Missing)),
                    }
                }
            }
        }
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.client.context().beats.fetch_add(1, Ordering::Relaxed);
        self.client.poll(wait)
    }

    /// Waits for a record, takes what has come with it, and hands it over.
    fn read(&self) {
        let context = self.client.context();
        let mut gathered = Gathered::default();
        let mut wait = POLL;
        for _ in 0..BATCH {
            let step = match self.poll(wait) {
                None => break,
                Some(Ok(message)) => self.take(&message, &mut gathered),
                Some(Err(error)) => self.fault(&error),
            };
            if let Some(reset) = gathered.step(step) {
                reset.tell(&context.metrics);
            }
            if gathered.is_full() {
                break;
            }
            wait = Duration::ZERO;
        }
        if !gathered.steps.is_empty() {
            context.send(Input::Read(gathered.steps));
        }
        for reset in gathered.cuts {
            reset.tell(&context.metrics);
            context.send(Input::Cut(reset.partition, reset.from));
        }
        // Only now: an end that is reached passes over what lies before it.
        if let Some(mut ends) = context.ends.lock().ok().and_then(|mut ends| ends.take()) {
            if let Ok(at_end) = context.at_end.lock() {
                ends.iter_mut()
                    .for_each(|end| end.reached &= at_end.contains(&end.partition));
            }
            context.send(Input::Ends(ends));
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, gathered: &mut Gathered<C>) -> OffsetStep {
        let (number, next) = (message.partition(), message.offset() + 1);
        self.at_end(number, false);
        let step = self
            .client
            .context()
            .offsets
            .arrived(number, message.offset(), || self.log(number));
        if matches!(step, OffsetStep::Cut(_) | OffsetStep::Leave) {
            return step;
        }
        let record = self
            .claims
            .may_claim(message.payload())
            .then(|| headers::record(&self.topic, message));
        let size = record.as_ref().map_or(0, Record::size);
        match record.and_then(|record| self.claims.claim(record)) {
            Some(claimed) => gathered.claimed(claimed, size),
            None => gathered.passed(number, next),
        }
        step
    }

    /// The last known bounds of the partition's log.
    fn log(&self, partition: i32) -> Option<LogBounds> {
        LogBounds::last_seen(self.client.client(), &self.topic, partition)
    }

    fn fault(&self, error: &KafkaError) -> OffsetStep {
        match error {
            KafkaError::MessageConsumptionFatal(code) => {
                let failure = failure(*code, is_taken(&self.client));
                self.client.context().send(Input::Failed(failure));
                std::thread::sleep(POLL);
            }
            KafkaError::PartitionEOF(partition) => {
                self.at_end(*partition, true);
                return self
                    .client
                    .context()
                    .offsets
                    .at_end(*partition, || self.log(*partition));
            }
            other => {
                let context = self.client.context();
                context
                    .chatter
                    .complain(context.metrics.name(), other, "reading is disturbed");
            }
        }
        OffsetStep::Read
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
        let done = self.client.assignment().and_then(|all| {
            if pause {
                self.client.pause(&all)
            } else {
                self.client.resume(&all)
            }
        });
        if let Err(error) = done {
            warn!(%error, pause, "consumption cannot be switched");
        }
    }

    /// Continues the partition from the commit's offset.
    fn seek(&self, partition: i32, commit: Commit) {
        let context = self.client.context();
        // It may have been let go meanwhile.
        if !self
            .client
            .assignment()
            .is_ok_and(|all| all.find_partition(&self.topic, partition).is_some())
        {
            return;
        }
        let offset = sought(commit.offset);
        if let Err(error) = self.client.seek(&self.topic, partition, offset, SEEK) {
            let why = format!(
                "partition {partition} cannot be read anew from offset {}: {error}",
                commit.offset
            );
            return context.send(Input::Failed(ClientFailure::Other(why)));
        }
        context.forget_ends();
        context.offsets.sought(partition, commit.offset);
        context.send(Input::Assigned {
            topic: context.offsets.topic(),
            count: None,
            commits: vec![(partition, commit)],
            unknown: Vec::new(),
        });
    }

    /// Unsubscribing lets the partitions go and leaves the group at once, also as a static member;
    /// closing alone would not tell the group.
    fn leave(&self) {
        self.client.unsubscribe();
        let deadline = Instant::now() + self.client.context().drain_timeout + LEAVE_TIMEOUT;
        let holds = || {
            self.client
                .assignment()
                .is_ok_and(|all: TopicPartitionList| all.count() > 0)
        };
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

/// The position to request from the client: offset 0 means the log's first offset, whatever that is
/// by now.
fn sought(offset: i64) -> Offset {
    if offset == 0 {
        Offset::Beginning
    } else {
        Offset::Offset(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_fenced_has_lost_its_name_only_if_the_group_has_heard_of_it_lately() {
        let fenced = RDKafkaErrorCode::FencedInstanceId;
        assert_eq!(failure(fenced, true), ClientFailure::InstanceTaken);
        assert_eq!(failure(fenced, false), ClientFailure::Outrun);
        let other = failure(RDKafkaErrorCode::Fatal, true);
        assert!(matches!(other, ClientFailure::Other(_)), "{other:?}");
    }

    #[test]
    fn another_has_the_name_if_the_lease_is_on_and_no_answer_of_our_own_may_be_late() {
        let now = Instant::now();
        let lease = now + Duration::from_secs(1);
        assert!(was_another(Some(lease), false, now));
        assert!(!was_another(Some(lease), true, now));
        assert!(!was_another(Some(now), false, now));
        assert!(!was_another(None, false, now));
    }

    #[test]
    fn a_log_is_read_anew_from_its_beginning_and_a_cut_one_from_the_cut() {
        assert_eq!(sought(0), Offset::Beginning);
        assert_eq!(sought(7), Offset::Offset(7));
    }
}
