//! The progress of a target's group on the update topic, as its commits tell.

use crate::kafka::committed;
use crate::operator::{Desk, ReadFailure};
use engine::checkpoint::Checkpoint;
use engine::{Commit, Spent, TopicId};

/// What the group has settled of one partition.
#[derive(Default)]
pub(super) struct PartitionProgress {
    /// The lowest offset that may not be settled.
    pub(super) offset: i64,
    checkpoint: Checkpoint,
}

impl PartitionProgress {
    /// Of each partition.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub(super) fn of_group(desk: &Desk, target: &str) -> Result<Vec<Self>, ReadFailure> {
        let commits = committed(&desk.kafka, target, desk.updates.partitions)?;
        let of_topic = |commit| PartitionProgress::new(commit, desk.topic_id);
        Ok(commits.iter().map(of_topic).collect())
    }

    /// A text that cannot be read says nothing, to the service as well; nor does a commit of another
    /// topic.
    fn new(commit: &Commit, topic: TopicId) -> Self {
        let checkpoint = Checkpoint::read(commit).unwrap_or_else(|_| Checkpoint::at(commit.offset));
        match checkpoint.topic.differs(topic) {
            true => PartitionProgress::default(),
            false => PartitionProgress {
                offset: commit.offset,
                checkpoint,
            },
        }
    }

    /// Whether the record at that offset is not settled.
    pub(super) fn is_open(&self, offset: i64) -> bool {
        offset >= self.offset
            && (offset >= self.checkpoint.horizon || self.checkpoint.open.contains_key(&offset))
    }

    /// What was spent on it, as far as that was committed.
    pub(super) fn spent(&self, offset: i64) -> Spent {
        self.checkpoint
            .open
            .get(&offset)
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_has_ended_is_told_from_what_waits() {
        let progress = PartitionProgress {
            offset: 5,
            checkpoint: Checkpoint {
                slots: Some(Default::default()),
                topic: TopicId::UNKNOWN,
                horizon: 9,
                open: BTreeMap::from([
                    (5, Spent::default()),
                    (
                        7,
                        Spent {
                            calls: 2,
                            failures: 2,
                        },
                    ),
                ]),
            },
        };
        let open: Vec<i64> = (3..11).filter(|offset| progress.is_open(*offset)).collect();
        assert_eq!(open, [5, 7, 9, 10]);
        assert_eq!(
            [5, 7, 9].map(|offset| progress.spent(offset).calls),
            [0, 2, 0]
        );
    }
}
