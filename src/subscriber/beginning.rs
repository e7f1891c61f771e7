//! Beginning: partitions are assigned, or must be read anew.

use std::time::Instant;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::kafka::{Order, Reset, ResetCause, settled_before};
use crate::subscriber::Subscriber;
use engine::{Commit, TopicId};

impl Subscriber {
    /// Partitions begin with what was committed for them.
    pub(super) fn assigned(&mut self, topic: TopicId, commits: Vec<(i32, Commit)>, now: Instant) {
        // A rebalance that brings nothing says nothing of the topic either.
        if commits.is_empty() {
            return;
        }
        self.engine.topic(topic);
        // A subscriber reads one topic as long as it lives, so the first time is the only one that
        // counts.
        let _ = self.settler.topic_id.set(topic);
        for (partition, commit) in commits {
            self.ends.forget(partition);
            let offset = commit.offset;
            let (epoch, unreadable) = self.engine.assigned(partition, commit, now);
            self.ownership.gained(partition, epoch);
            if let Some(unreadable) = unreadable {
                warn!(target = self.name, partition, offset, %unreadable, "the text beside the committed offset is ignored: updates settled above it may be called again");
            }
        }
    }

    /// Looks whether the group has settled records of these partitions though nothing is known of
    /// them. That is told, and changes nothing: there is nothing to go by, and a new group begins
    /// at the earliest record too.
    pub(super) fn look_back(&self, unknown: Vec<i32>) {
        if unknown.is_empty() {
            return;
        }
        // What is settled from now on is settled by this subscriber.
        let (kafka, metrics, now) = (self.kafka.clone(), self.metrics.clone(), Timestamp::now());
        tokio::task::spawn_blocking(move || match settled_before(&kafka, metrics.name(), now) {
            Ok(settled) => {
                for partition in unknown {
                    if let Some(to) = settled.get(&partition).copied() {
                        Reset {
                            partition,
                            from: 0,
                            to,
                            cause: ResetCause::Forgotten,
                        }
                        .tell(&metrics);
                    }
                }
            }
            Err(error) => {
                info!(
                    target = metrics.name(),
                    error = format!("{error:#}"),
                    "whether the group was here before cannot be told"
                );
            }
        });
    }

    /// The partition's log was cut: what was read from there on counts for nothing, and the rest is
    /// read again.
    pub(super) fn cut_back(&mut self, partition: i32, end: i64, now: Instant) {
        if let Some(commit) = self.engine.cut_back(partition, end, now) {
            self.ownership.gone(partition);
            self.ends.forget(partition);
            self.consumer.order(Order::Seek(partition, commit));
        }
    }

    /// The update topic is another one now. What is under way ends in order; then a new client
    /// begins with the new topic.
    pub(super) fn begin_anew(&mut self) {
        let waiting = self.engine.gauges().waiting;
        warn!(
            target = self.name,
            topic = self.topic,
            waiting,
            "the update topic was deleted and made anew: updates of the old one that wait are dropped with it, calls under way \
             end, and the new one is read from its start"
        );
        self.consumer.order(Order::Leave);
    }
}
