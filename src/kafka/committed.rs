//! Committed offsets of a consumer group, read without joining it.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::config::Kafka;
use crate::kafka::{assignment, client};
use engine::Commit;

/// How long the broker may take.
const ANSWER: Duration = Duration::from_secs(15);

/// The offset and text that a target's group has committed for each partition of the update topic,
/// from partition 0 on.
///
/// # Errors
/// If the broker does not answer.
pub fn committed(kafka: &Kafka, target: &str, partitions: i32) -> anyhow::Result<Vec<Commit>> {
    let mut settings = client::reader(kafka)?;
    settings.set("group.id", client::group_id(kafka, target));
    let consumer: BaseConsumer = settings
        .create()
        .map_err(|error| anyhow::anyhow!(client::words(&error)))?;
    let mut asked = TopicPartitionList::new();
    for partition in 0..partitions {
        asked.add_partition(&kafka.topics.updates, partition);
    }
    let found = consumer.committed_offsets(asked, ANSWER)?;
    let mut commits: Vec<_> = found
        .elements()
        .iter()
        .map(|element| (element.partition(), assignment::commit_of(element)))
        .collect();
    commits.sort_by_key(|(partition, _)| *partition);
    Ok(commits.into_iter().map(|(_, commit)| commit).collect())
}
