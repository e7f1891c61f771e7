//! The meaning of the update topic's offsets: their topic, how far each partition was read, and
//! whether its log still is the one that was read.

use std::collections::HashMap;
use std::sync::Mutex;

use topic_facts::LogBounds;
use tracing::{error, warn};

use crate::telemetry::metrics::TargetMetrics;
use engine::checkpoint::Checkpoint;
use engine::{Commit, TopicId};

/// Why a partition is not read on from where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The topic was deleted and recreated.
    Remade,
    /// Its first records were deleted before they were read.
    Deleted,
    /// Its last records are gone, and others have taken their offsets.
    Truncated,
    /// The group has no offset, and outcomes of the partition's records exist.
    Forgotten,
}

/// A partition whose offsets do not mean what they meant, or lead to nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The partition.
    pub partition: i32,
    /// The first offset concerned.
    pub from: i64,
    /// One past the last one.
    pub to: i64,
    /// Why.
    pub cause: ResetCause,
}

impl Reset {
    /// Counts it, and logs it once.
    pub fn tell(self, metrics: &TargetMetrics) {
        metrics.offsets_reset();
        let (
            target,
            Reset {
                partition,
                from,
                to,
                cause,
            },
        ) = (metrics.name(), self);
        match cause {
            ResetCause::Remade => warn!(
                target,
                partition,
                from,
                to,
                "the update topic was deleted and made anew: these offsets are other records now, and the partition is read from its start"
            ),
            ResetCause::Deleted => error!(
                target,
                partition,
                from,
                to,
                "records between these offsets were deleted from the update topic before they were read: they are lost; \
                 send them again, and give the topic a longer retention"
            ),
            ResetCause::Truncated => warn!(
                target,
                partition,
                from,
                to,
                "the log of the update topic was cut, or the group's offset was set beyond its end: \
                 these offsets are other records now, and they are read again; \
                 what stood there is lost if it was not delivered"
            ),
            ResetCause::Forgotten => warn!(
                target,
                partition,
                from,
                to,
                "no offset is committed, though there are outcomes of these offsets: the group's offsets have expired or were reset, or the \
                 update topic was made anew; everything from the earliest record on is called again"
            ),
        }
    }
}

/// The next step for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetStep {
    /// Read it.
    Read,
    /// Read it. The records before it are gone.
    ReadAfter(Reset),
    /// Leave it: the log was cut at this offset, and the partition is read again.
    Cut(Reset),
    /// Leave it: it may be one of another topic, or its partition is about to be read again.
    Leave,
}

/// How far one partition was read.
#[derive(Clone, Copy, Debug)]
struct ReadPosition {
    topic: TopicId,
    /// `None`: from wherever the log begins.
    next: Option<i64>,
    /// The log was cut, and the place to read on from is not known yet.
    cut: bool,
}

/// Shared by a subscriber's polling threads, one after the other: it outlives the clients.
#[derive(Debug, Default)]
pub struct Offsets(Mutex<KnownOffset>);

#[derive(Debug, Default)]
struct KnownOffset {
    /// The topic that the client reads, once a partition was assigned.
    topic: Option<TopicId>,
    /// That topic is gone, and another one has its name.
    remade: bool,
    read: HashMap<i32, ReadPosition>,
}

impl Offsets {
    /// A new client begins.
    pub(super) fn begin(&self) {
        self.with(|known| (known.topic, known.remade) = (None, false));
    }

    /// The topic has this id now. Returns whether it is another one than the client reads.
    pub(super) fn is(&self, topic: TopicId) -> bool {
        self.with(|known| {
            known.remade |= known.topic.is_some_and(|read| read.differs(topic));
            known.remade
        })
    }

    /// Whether the client has been assigned a partition.
    pub(super) fn has_begun(&self) -> bool {
        self.with(|known| known.topic.is_some())
    }

    /// The topic that the client reads.
    pub(super) fn topic(&self) -> TopicId {
        self.with(|known| known.topic).unwrap_or_default()
    }

    /// Whether nothing may be read any more, since it could be of another topic.
    pub(super) fn remade(&self) -> bool {
        self.with(|known| known.remade)
    }

    /// A line of the client's log. It says that the topic has another id before it reads anything
    /// under that id.
    pub(super) fn heard(&self, topic: &str, line: &str) {
        if let Some(id) = new_id(topic, line) {
            self.is(id);
        }
    }

    /// Whether one of these commits, or what was read before, is of another topic.
    pub(super) fn differs(&self, topic: TopicId, commits: &[(i32, Commit)]) -> bool {
        let committed = |commit| Checkpoint::read(commit).unwrap_or_default().topic;
        self.with(|known| {
            let read = |partition| {
                known
                    .read
                    .get(partition)
                    .map_or(TopicId::UNKNOWN, |read| read.topic)
            };
            commits.iter().any(|(partition, commit)| {
                committed(commit).differs(topic) || read(partition).differs(topic)
            })
        })
    }

    /// Partitions of this topic were assigned, with their commits. A commit of another topic is
    /// replaced by an empty one. Returns the resets to report, and the partitions of which nothing
    /// at all is known.
    pub(super) fn assigned(
        &self,
        topic: TopicId,
        commits: &mut [(i32, Commit)],
    ) -> (Vec<Reset>, Vec<i32>) {
        self.with(|known| {
            known.topic = Some(topic);
            let (mut resets, mut unknown) = (Vec::new(), Vec::new());
            for (partition, commit) in commits {
                let read = known
                    .read
                    .get(partition)
                    .filter(|read| read.topic.differs(topic))
                    .and_then(|read| read.next);
                let checkpoint = Checkpoint::read(commit).unwrap_or_default();
                let of_other = checkpoint
                    .topic
                    .differs(topic)
                    .then_some(checkpoint.horizon.max(commit.offset));
                // Kafka forgets a group's offsets of a topic that is deleted.
                let read = read.filter(|_| of_other.is_some() || *commit == Commit::none());
                if let Some(to) = of_other.max(read) {
                    // If nothing was read, no offset means anything else than before.
                    if to > 0 {
                        resets.push(Reset {
                            partition: *partition,
                            from: 0,
                            to,
                            cause: ResetCause::Remade,
                        });
                    }
                    *commit = Commit::none();
                } else if *commit == Commit::none() && !known.read.contains_key(partition) {
                    unknown.push(*partition);
                }
                let next = (*commit != Commit::none()).then_some(commit.offset);
                known.read.insert(
                    *partition,
                    ReadPosition {
                        topic,
                        next,
                        cut: false,
                    },
                );
            }
            (resets, unknown)
        })
    }

    /// The partition is read from this offset on, by our own will.
    pub(super) fn sought(&self, partition: i32, offset: i64) {
        self.with(|known| {
            if let Some(read) = known.read.get_mut(&partition) {
                (read.next, read.cut) = (Some(offset), false);
            }
        });
    }

    /// A record came. `log` tells what was last seen of its partition's log.
    pub(super) fn arrived(
        &self,
        partition: i32,
        offset: i64,
        log: impl FnOnce() -> Option<LogBounds>,
    ) -> OffsetStep {
        self.with(|known| {
            let Some(read) = known
                .read
                .get_mut(&partition)
                .filter(|read| !known.remade && !read.cut)
            else {
                return OffsetStep::Leave;
            };
            let before = read.next.replace(offset + 1).unwrap_or(offset);
            if offset < before {
                read.cut = true;
                return OffsetStep::Cut(Reset {
                    partition,
                    from: offset,
                    to: before,
                    cause: ResetCause::Truncated,
                });
            }
            // Between two records there may be none: markers of transactions, or what was
            // compacted.
            let start = if offset > before {
                log().map_or(before, |log| log.start.min(offset))
            } else {
                before
            };
            if start > before {
                return OffsetStep::ReadAfter(Reset {
                    partition,
                    from: before,
                    to: start,
                    cause: ResetCause::Deleted,
                });
            }
            OffsetStep::Read
        })
    }

    /// The end of a partition was reached.
    pub(super) fn at_end(
        &self,
        partition: i32,
        log: impl FnOnce() -> Option<LogBounds>,
    ) -> OffsetStep {
        self.with(|known| {
            let Some(read) = known
                .read
                .get_mut(&partition)
                .filter(|read| !known.remade && !read.cut)
            else {
                return OffsetStep::Leave;
            };
            let (Some(before), Some(log)) = (read.next, log()) else {
                return OffsetStep::Read;
            };
            if log.end < before {
                read.cut = true;
                return OffsetStep::Cut(Reset {
                    partition,
                    from: log.end,
                    to: before,
                    cause: ResetCause::Truncated,
                });
            }
            if log.start > before {
                read.next = Some(log.start);
                return OffsetStep::ReadAfter(Reset {
                    partition,
                    from: before,
                    to: log.start,
                    cause: ResetCause::Deleted,
                });
            }
            OffsetStep::Read
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut KnownOffset) -> T) -> T {
        look(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// The id that the topic has from now on, if the line says so. It is logged by librdkafka 2.12
/// (`debug=metadata`) in `rd_kafka_topic_metadata_update`, when the client's metadata changes and
/// before it is used.
fn new_id(topic: &str, line: &str) -> Option<TopicId> {
    let (_, rest) = line.split_once("Topic ")?;
    let ids = rest
        .strip_prefix(topic)?
        .strip_prefix(" changed id from ")?;
    // In the other alphabet of Base64 than Kafka's tools.
    let id = ids
        .split_once(" to ")?
        .1
        .trim()
        .replace('+', "-")
        .replace('/', "_");
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: TopicId = TopicId([1; 16]);
    const NEW: TopicId = TopicId([2; 16]);

    fn commit(topic: TopicId, offset: i64) -> Commit {
        Checkpoint {
            topic,
            ..Checkpoint::at(offset)
        }
        .write(offset)
        .unwrap()
    }

    /// Partition 3 is assigned with this commit: what is told, and with what it begins.
    fn assign(offsets: &Offsets, topic: TopicId, commit: Commit) -> (Vec<Reset>, Commit) {
        let mut commits = [(3, commit)];
        let (resets, _) = offsets.assigned(topic, &mut commits);
        let [(_, commit)] = commits;
        (resets, commit)
    }

    fn log(start: i64, end: i64) -> impl FnOnce() -> Option<LogBounds> {
        move || Some(LogBounds { start, end })
    }

    fn reset(from: i64, to: i64, cause: ResetCause) -> Reset {
        Reset {
            partition: 3,
            from,
            to,
            cause,
        }
    }

    #[test]
    fn a_commit_of_another_topic_counts_for_nothing_and_one_that_names_none_is_believed() {
        let told = vec![reset(0, 20, ResetCause::Remade)];
        assert!(Offsets::default().differs(NEW, &[(3, commit(OLD, 20))]));
        assert_eq!(
            assign(&Offsets::default(), NEW, commit(OLD, 20)),
            (told, Commit::none())
        );
        for topic in [NEW, TopicId::UNKNOWN] {
            assert!(!Offsets::default().differs(topic, &[(3, commit(NEW, 20))]));
            assert_eq!(
                assign(&Offsets::default(), topic, commit(NEW, 20)),
                (vec![], commit(NEW, 20))
            );
        }
        assert_eq!(
            assign(&Offsets::default(), NEW, commit(TopicId::UNKNOWN, 20)),
            (vec![], commit(TopicId::UNKNOWN, 20))
        );
    }

    #[test]
    fn what_a_client_before_has_read_of_another_topic_is_told_once_though_the_group_forgot_it() {
        let offsets = Offsets::default();
        assign(&offsets, OLD, commit(OLD, 5));
        assert_eq!(offsets.arrived(3, 7, log(0, 9)), OffsetStep::Read);
        assert!(offsets.is(NEW) && offsets.remade());
        assert_eq!(
            offsets.arrived(3, 8, log(0, 9)),
            OffsetStep::Leave,
            "it may be the new topic's"
        );
        offsets.begin();
        assert!(
            offsets.differs(NEW, &[(3, Commit::none())])
                && !offsets.differs(NEW, &[(4, Commit::none())])
        );
        assert_eq!(
            assign(&offsets, NEW, Commit::none()),
            (vec![reset(0, 8, ResetCause::Remade)], Commit::none())
        );
        assert_eq!(offsets.arrived(3, 0, log(0, 9)), OffsetStep::Read);
        assert_eq!(assign(&offsets, NEW, Commit::none()).0, []);
        // Another instance has settled something of the new topic meanwhile.
        assign(&offsets, OLD, commit(OLD, 5));
        assert_eq!(
            assign(&offsets, NEW, commit(NEW, 2)),
            (vec![], commit(NEW, 2))
        );
    }

    #[test]
    fn a_partition_without_a_commit_is_unknown_the_first_time_only() {
        let offsets = Offsets::default();
        let unknown = |commit| offsets.assigned(NEW, &mut [(3, commit)]).1;
        assert_eq!(
            [unknown(Commit::none()), unknown(Commit::none())],
            [vec![3], vec![]]
        );
        for known in [commit(NEW, 0), commit(OLD, 9)] {
            assert!(
                Offsets::default()
                    .assigned(NEW, &mut [(3, known)])
                    .1
                    .is_empty(),
                "its commit tells"
            );
        }
    }

    #[test]
    fn records_that_were_deleted_before_they_were_read_are_told_and_gaps_without_records_are_not() {
        let offsets = Offsets::default();
        assign(&offsets, NEW, commit(NEW, 10));
        assert_eq!(offsets.arrived(3, 10, log(0, 99)), OffsetStep::Read);
        assert_eq!(
            offsets.arrived(3, 13, log(0, 99)),
            OffsetStep::Read,
            "a gap"
        );
        assert_eq!(
            offsets.arrived(3, 30, log(28, 99)),
            OffsetStep::ReadAfter(reset(14, 28, ResetCause::Deleted))
        );
        assert_eq!(
            offsets.at_end(3, log(60, 60)),
            OffsetStep::ReadAfter(reset(31, 60, ResetCause::Deleted))
        );
        assert_eq!(offsets.at_end(3, log(60, 60)), OffsetStep::Read, "once");
        // A group that is new begins wherever the log begins.
        assign(&offsets, NEW, Commit::none());
        assert_eq!(offsets.arrived(3, 60, log(60, 99)), OffsetStep::Read);
    }

    #[test]
    fn a_log_that_was_cut_is_left_alone_until_it_is_known_where_to_read_on() {
        for from_end in [false, true] {
            let offsets = Offsets::default();
            assign(&offsets, NEW, commit(NEW, 10));
            assert_eq!(offsets.arrived(3, 50, log(0, 51)), OffsetStep::Read);
            let cut = if from_end {
                offsets.at_end(3, log(0, 40))
            } else {
                offsets.arrived(3, 40, log(0, 41))
            };
            assert_eq!(cut, OffsetStep::Cut(reset(40, 51, ResetCause::Truncated)));
            assert_eq!(offsets.arrived(3, 41, log(0, 42)), OffsetStep::Leave);
            offsets.sought(3, 12);
            assert_eq!(offsets.arrived(3, 12, log(0, 42)), OffsetStep::Read);
        }
    }

    #[test]
    fn the_clients_log_tells_a_new_id() {
        let line = "[thrd:main]: Topic updates changed id from G1hdFbGhSJCsPnAR1Kc_8Q to AgICAgICAgICAgICAgICAg";
        assert_eq!(new_id("updates", line), Some(NEW));
        let other = "[thrd:main]: Topic updates changed id from AgICAgICAgICAgICAgICAg to eh/zAKb+QBC8ZGs6VOGtJQ";
        assert_eq!(
            new_id("updates", other).map(|id| id.to_string()).as_deref(),
            Some("eh_zAKb-QBC8ZGs6VOGtJQ")
        );
        for (topic, line) in [
            ("update", line),
            ("updates", "[thrd:main]: Topic updates [3] changed"),
            ("updates", "Topic updates"),
        ] {
            assert_eq!(new_id(topic, line), None);
        }
        let offsets = Offsets::default();
        offsets.heard("updates", line);
        assert!(!offsets.remade(), "nothing was read yet");
        assign(&offsets, OLD, commit(OLD, 0));
        offsets.heard("updates", line);
        assert!(offsets.remade());
    }
}
