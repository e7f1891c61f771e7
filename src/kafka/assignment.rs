//! Assignment: the client's rebalance callback, which runs on the polling thread, as inputs to the
//! subscriber.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::Sender;
use tracing::{debug, error, info, warn};

use crate::kafka::client::reaches_a_broker;
use crate::kafka::lease::{Lease, Pulse};
use crate::kafka::log::Chatter;
use crate::kafka::membership::Membership;
use crate::kafka::offsets::Offsets;
use crate::kafka::statistics::{COORDINATOR, Reach, Statistics};
use crate::kafka::topic_watch::{DescribedTopic, described};
use crate::kafka::{ClientFailure, Input, LogEnd};
use crate::telemetry::metrics::TargetMetrics;
use crate::telemetry::panics::quietly;
use engine::{Commit, TopicId};

/// How long the last transaction of a revoked partition may take after its calls are done.
const SETTLE_GRACE: Duration = Duration::from_secs(10);
/// After so many answers in a row that did not come, it is asked whether the client has any broker.
const UNANSWERED: u32 = 5;
/// A client that is connected to no broker and has tried none for so long has forgotten them all.
/// In an outage it tries one every second.
const IDLE: Duration = Duration::from_secs(10);
/// Why a subscriber starts over then.
const FORGOTTEN: &str = "its Kafka client tries to reach no broker any more, as happens after a moment in which the cluster has none";
/// How long the group's offsets are waited for before they are asked for again.
const COMMITTED: Duration = Duration::from_secs(2);

/// A topic that is another one than that of the last commit is asked for so often again, with this
/// pause.
const CONFIRMATIONS: u32 = 3;
const CONFIRM: Duration = Duration::from_millis(300);

/// Which partitions are ours, each with the engine's epoch of the assignment. The publisher looks
/// here before it commits.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<HashMap<i32, u64>>);

impl Ownership {
    /// The partition is ours in this epoch.
    pub fn gained(&self, partition: i32, epoch: u64) {
        if let Ok(mut owned) = self.0.lock() {
            owned.insert(partition, epoch);
        }
    }

    /// The partition is not ours any more.
    pub fn gone(&self, partition: i32) {
        if let Ok(mut owned) = self.0.lock() {
            owned.remove(&partition);
        }
    }

    /// Whether the partition is still ours in this epoch.
    pub fn holds(&self, partition: i32, epoch: u64) -> bool {
        self.0
            .lock()
            .is_ok_and(|owned| owned.get(&partition) == Some(&epoch))
    }
}

/// The callbacks of one subscriber's consumer. `C` is a claimed record.
pub struct Callbacks<C> {
    pub(super) topic: String,
    pub(super) inputs: Sender<Input<C>>,
    pub(super) lease: Arc<Lease>,
    pub(super) ownership: Arc<Ownership>,
    pub(super) membership: Arc<Membership>,
    pub(super) offsets: Arc<Offsets>,
    pub(super) metrics: TargetMetrics,
    pub(super) drain_timeout: Duration,
    /// Set when the subscriber ends: nothing is waited for any more.
    pub(super) stopping: AtomicBool,
    pub(super) paused: AtomicBool,
    /// Signs of life of the polling thread: polls, and tries within a callback.
    pub(super) beats: AtomicU64,
    pub(super) born: Instant,
    /// The last look at which no assignment was on its way: the group's answer to what comes next
    /// is younger.
    pub(super) unassigned: Mutex<Instant>,
    pub(super) pulse: Mutex<Pulse>,
    pub(super) reach: Mutex<Reach>,
    /// The partitions' ends, to be handed over after the records that were polled before they
    /// became known.
    pub(super) ends: Mutex<Option<Vec<LogEnd>>>,
    /// Log lines of the client, rate-limited.
    pub(super) chatter: Chatter,
    /// Partitions whose end was polled, with no record since. Unlike the statistics, that event
    /// arrives in order, behind all records.
    pub(super) at_end: Mutex<HashSet<i32>>,
}

impl<C: Send + 'static> ClientContext for Callbacks<C> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(level, RDKafkaLogLevel::Debug) {
            self.offsets.heard(&self.topic, message);
            return debug!(target: "librdkafka", target = self.metrics.name(), facility, "{message}");
        }
        self.chatter
            .log(Some(self.metrics.name()), level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(words) = self.chatter.complain(self.metrics.name(), &error, reason) {
            self.membership.reported(&words, Instant::now());
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice::<Statistics>(statistics) {
            Ok(statistics) => self.take(&statistics),
            Err(error) => {
                warn!(target = self.metrics.name(), %error, "the Kafka client's statistics cannot be read, so leases are not renewed")
            }
        }
    }
}

impl<C: Send + 'static> ConsumerContext for Callbacks<C> {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assign(consumer, partitions)
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.revoke(consumer, partitions)
            }
            other => error!(
                target = self.metrics.name(),
                ?other,
                "a rebalance failed; the client joins the group again"
            ),
        }
    }
}

/// The topic, how many partitions it has, where each that was assigned begins, and those of which
/// nothing is known.
type Start = (TopicId, Option<usize>, Vec<(i32, Commit)>, Vec<i32>);

impl<C: Send + 'static> Callbacks<C> {
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) {
        let heard = self
            .unassigned
            .lock()
            .map_or(self.born, |unassigned| *unassigned);
        self.lease.renew(heard);
        self.membership.rebalances(true, Instant::now());
        self.forget_ends();
        let (topic, count, commits, unknown) = if partitions.count() == 0 {
            Default::default()
        } else {
            self.start(consumer, partitions)
        };
        info!(target = self.metrics.name(), partitions = ?commits.iter().map(|(number, _)| number).collect::<Vec<_>>(), "partitions assigned");
        self.metrics.rebalanced("assigned");
        for (number, commit) in &commits {
            let offset = if commit.offset == 0 {
                Offset::Beginning
            } else {
                Offset::Offset(commit.offset)
            };
            let mut partition = partitions.find_partition(&self.topic, *number);
            if let Some(Err(error)) = partition
                .as_mut()
                .map(|partition| partition.set_offset(offset))
            {
                error!(target = self.metrics.name(), %error, "a start offset cannot be set");
            }
        }
        self.send(Input::Assigned {
            topic,
            count,
            commits,
            unknown,
        });
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
        };
        if let Err(error) = done {
            self.send(Input::Failed(ClientFailure::Other(format!(
                "partitions cannot be taken: {error}"
            ))));
        }
        if self.paused.load(Ordering::Relaxed)
            && let Err(error) = consumer.pause(partitions)
        {
            warn!(target = self.metrics.name(), %error, "new partitions cannot be paused");
        }
        let now = Instant::now();
        self.membership.heard(now);
        self.membership.rebalances(false, now);
    }

    /// The topic's id and number of partitions, each partition's start, and the partitions of which
    /// nothing is known. If the topic cannot be determined, nothing is read and this client ends.
    fn start(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Start {
        while !self.stopping.load(Ordering::Relaxed) {
            let Some(DescribedTopic {
                id: topic,
                partitions: count,
            }) = self.described(consumer)
            else {
                self.send(Input::Failed(ClientFailure::Other(
                    "the update topic does not exist".to_owned(),
                )));
                break;
            };
            // Another one than this client has read so far: a new client begins with it.
            if self.offsets.is(topic) {
                break;
            }
            let mut commits = self.committed(consumer, partitions);
            if self.offsets.differs(topic, &commits) && !self.is_sure(consumer, topic) {
                continue;
            }
            let (resets, unknown) = self.offsets.assigned(topic, &mut commits);
            for reset in resets {
                reset.tell(&self.metrics);
            }
            return (topic, count, commits, unknown);
        }
        Default::default()
    }

    fn described(&self, consumer: &BaseConsumer<Self>) -> Option<DescribedTopic> {
        let tries = Cell::new(0);
        described(consumer.client(), &self.topic, self.metrics.name(), || {
            self.goes_on(consumer, tries.replace(tries.get() + 1))
        })
    }

    /// Whether a question is asked again that was asked `tries` times in vain. This thread serves
    /// no statistics meanwhile, so it looks itself whether the client has any broker.
    fn goes_on(&self, consumer: &BaseConsumer<Self>, tries: u32) -> bool {
        if self.stopping.load(Ordering::Relaxed) {
            return false;
        }
        let is_due = tries > 0 && tries.is_multiple_of(UNANSWERED);
        let is_forgotten = is_due && !reaches_a_broker(consumer.client(), &self.topic, COMMITTED);
        if is_forgotten {
            self.send(Input::Failed(ClientFailure::Other(FORGOTTEN.to_owned())));
        }
        !is_forgotten
    }

    /// Asks again: just after a topic was recreated, one broker knows the new one and another still
    /// reports the old one. Mistaking the old one for new would repeat every call.
    fn is_sure(&self, consumer: &BaseConsumer<Self>, topic: TopicId) -> bool {
        (0..CONFIRMATIONS).all(|_| {
            std::thread::sleep(CONFIRM);
            self.described(consumer).map(|known| known.id) == Some(topic)
        })
    }

    /// The group's commits for the partitions. Asks until there is an answer: nothing can begin
    /// without it.
    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Vec<(i32, Commit)> {
        let mut tries = 0;
        while self.goes_on(consumer, tries) {
            tries += 1;
            // A broker that does not know them yet keeps this thread here, and is no reason to end
            // the process.
            self.beats.fetch_add(1, Ordering::Relaxed);
            let committed = consumer.committed_offsets(partitions.clone(), COMMITTED);
            let refused = match &committed {
                Ok(committed) => committed
                    .elements()
                    .iter()
                    .find_map(|partition| partition.error().err()),
                Err(error) => Some(error.clone()),
            };
            match (committed, refused) {
                (Ok(committed), None) => {
                    return committed
                        .elements()
                        .iter()
                        .map(|partition| (partition.partition(), commit_of(partition)))
                        .collect();
                }
                (_, error) => {
                    let error = error.map(|error| error.to_string()).unwrap_or_default();
                    warn!(
                        target = self.metrics.name(),
                        error, "the group's offsets cannot be read yet; trying again"
                    );
                    self.membership.reported(
                        &format!("the group's offsets cannot be read: {error}"),
                        Instant::now(),
                    );
                }
            }
        }
        Vec::new()
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let numbers: Vec<i32> = partitions
            .elements()
            .iter()
            .map(TopicPartitionListElem::partition)
            .collect();
        let lost = consumer.assignment_lost();
        info!(target = self.metrics.name(), partitions = ?numbers, lost, "partitions revoked");
        self.metrics
            .rebalanced(if lost { "lost" } else { "revoked" });
        if lost {
            self.membership.lost(Instant::now());
        } else {
            self.membership.rebalances(true, Instant::now());
        }
        let give_up_at = Instant::now() + self.drain_timeout;
        let (released, ack) = sync_channel(numbers.len());
        self.send(Input::Revoked {
            partitions: numbers.clone(),
            lost,
            give_up_at,
            released,
        });
        for _ in &numbers {
            let patience = (give_up_at + SETTLE_GRACE).saturating_duration_since(Instant::now());
            match ack.recv_timeout(patience) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    warn!(
                        target = self.metrics.name(),
                        "partitions go before their last updates were settled; their next owner calls those again"
                    );
                    break;
                }
            }
        }
        for number in numbers {
            self.ownership.gone(number);
        }
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(error) = done {
            self.send(Input::Failed(ClientFailure::Other(format!(
                "partitions cannot be let go: {error}"
            ))));
        }
    }

    /// Forgets the ends seen so far: fetched records may be dropped and fetched again.
    pub(super) fn forget_ends(&self) {
        if let (Ok(mut at_end), Ok(mut ends)) = (self.at_end.lock(), self.ends.lock()) {
            at_end.clear();
            *ends = None;
        }
    }

    pub(super) fn send(&self, input: Input<C>) {
        // The subscriber is gone only when the process ends.
        if self.inputs.blocking_send(input).is_err() {
            debug!("nobody listens to this consumer any more");
        }
    }

    fn take(&self, statistics: &Statistics) {
        let at = self.born + Duration::from_micros(statistics.age);
        let group = &statistics.cgrp;
        let is_member = group.state == "up" && group.join_state == "steady";
        self.membership
            .rebalances(group.state == "up" && !is_member, at);
        if group.join_state != "wait-assign-call"
            && let Ok(mut unassigned) = self.unassigned.lock()
        {
            *unassigned = at;
        }
        if let (Some(coordinator), Ok(mut pulse)) =
            (statistics.brokers.get(COORDINATOR), self.pulse.lock())
        {
            if let Some(heard) = pulse.look(at, coordinator, is_member) {
                self.lease.renew(heard);
                self.membership.heard(heard);
            }
            if let Some(mean) = coordinator.round_trip() {
                self.metrics.kafka_round_trip(mean);
            }
        }
        if let Ok(mut reach) = self.reach.lock()
            && reach.look(statistics, at) >= IDLE
        {
            self.send(Input::Failed(ClientFailure::Other(FORGOTTEN.to_owned())));
        }
        let Some(topic) = statistics.topics.get(&self.topic) else {
            return;
        };
        self.metrics.kafka_fetched(
            topic
                .partitions
                .values()
                .map(|partition| partition.fetchq_cnt)
                .sum(),
        );
        let ends = topic
            .partitions
            .iter()
            .filter_map(|(number, partition)| partition.end(number.parse().ok()?))
            .collect();
        if let Ok(mut latest) = self.ends.lock() {
            *latest = Some(ends);
        }
    }
}

pub(super) fn commit_of(partition: &TopicPartitionListElem<'_>) -> Commit {
    let offset = match partition.offset() {
        Offset::Offset(offset) => offset,
        _ => 0,
    };
    // rdkafka panics on a text that is not UTF-8. Such a text is not ours.
    let metadata =
        quietly(|| partition.metadata().to_owned()).unwrap_or_else(|| "not UTF-8".to_owned());
    Commit { offset, metadata }
}
