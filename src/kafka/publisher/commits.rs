//! Commits: offsets in the form a transaction takes, and a check that they were stored.

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use crate::kafka::client;
use crate::kafka::publisher::{PAUSE, Work};
use crate::kafka::transaction::CALL;
use crate::telemetry::panics::quietly;
use engine::PartitionCommit;

impl<C: Send + 'static> Work<C> {
    pub(super) fn offsets(&self, commits: &[PartitionCommit]) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(commits.len());
        for PartitionCommit {
            partition, commit, ..
        } in commits
        {
            let mut element = offsets.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(commit.offset))?;
            element.set_metadata(&commit.metadata);
        }
        Ok(offsets)
    }

    /// Whether the group's committed offsets are those of this settlement. `None` when stopped
    /// before there was an answer.
    pub(super) fn was_committed(&self, commits: &[PartitionCommit]) -> Option<bool> {
        let mut asked = TopicPartitionList::with_capacity(commits.len());
        for commit in commits {
            asked.add_partition(&self.topic, commit.partition);
        }
        let mut pause = PAUSE;
        while !self.stopping() {
            match self.consumer.committed_offsets(asked.clone(), CALL) {
                Ok(committed) => {
                    // Each commit is new, and all are in one transaction: if one was stored, all
                    // were.
                    return Some(commits.iter().any(|wanted| {
                        committed
                            .find_partition(&self.topic, wanted.partition)
                            .is_some_and(|found| {
                                let text = quietly(|| found.metadata() == wanted.commit.metadata)
                                    .unwrap_or(false);
                                text && found.offset() == Offset::Offset(wanted.commit.offset)
                            })
                    }));
                }
                Err(error) => {
                    if let Some(left_out) = self.tell("doubt") {
                        let advice = client::refusal_advice(&error, "");
                        warn!(target = self.metrics.name(), %error, advice, left_out, "whether a transaction went through cannot be told yet; asking again");
                    }
                    self.wait(&mut pause);
                }
            }
        }
        None
    }
}
