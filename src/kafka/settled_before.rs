//! A group's earlier progress, as its outcomes show it: Kafka forgets committed offsets a week
//! after the group's last member left, and at once if their topic is deleted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use crate::config::Kafka;
use crate::kafka::{client, headers};
use crate::model::outcome::{RecordPlace, source};

/// The number of outcomes read in each partition of their topic: the last ones.
const LOOK: i64 = 500;
/// How long the broker may take for one answer, and for all outcomes together.
const ANSWER: Duration = Duration::from_secs(15);

/// The part of an outcome's data that is used here.
#[derive(Deserialize)]
struct SettledOutcome {
    record: RecordPlace,
}

/// The partitions of the update topic in which this target's last outcomes from before `time`
/// settle a record, each with the offset up to which they do.
///
/// # Errors
/// If the broker does not answer.
pub fn settled_before(
    kafka: &Kafka,
    target: &str,
    time: Timestamp,
) -> anyhow::Result<HashMap<i32, i64>> {
    let mut settings = client::reader(kafka)?;
    settings.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = settings
        .create()
        .map_err(|error| anyhow::anyhow!(client::words(&error)))?;
    let topic = &kafka.topics.outcomes;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let mut unread: HashSet<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    let mut assignment = TopicPartitionList::new();
    for &partition in &unread {
        let (start, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        assignment.add_partition_offset(topic, partition, Offset::Offset(start.max(end - LOOK)))?;
    }
    consumer.assign(&assignment)?;
    let source = source(&kafka.group_id, target);
    let is_wanted = |message: &BorrowedMessage<'_>| {
        let written = message.timestamp().to_millis();
        written.is_some_and(|written| written < time.as_millisecond())
            && headers::text(message, "ce_source") == Some(&source)
    };
    let mut found: HashMap<i32, i64> = HashMap::new();
    let deadline = Instant::now() + ANSWER;
    while !unread.is_empty() {
        let left = deadline
            .checked_duration_since(Instant::now())
            .context("the outcomes cannot be read in time")?;
        match consumer.poll(left) {
            Some(Ok(message)) if is_wanted(&message) => {
                let settled = message
                    .payload()
                    .and_then(|data| serde_json::from_slice::<SettledOutcome>(data).ok());
                if let Some(SettledOutcome { record }) =
                    settled.filter(|settled| settled.record.topic == kafka.topics.updates)
                {
                    let to = found.entry(record.partition).or_default();
                    *to = (*to).max(record.offset + 1);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(unread.remove(&partition)),
            // The service needs no right to read its outcomes for anything else.
            Some(Err(error)) if client::refusal_advice(&error, "").is_some() => {
                return Err(error.into());
            }
            // The client goes on by itself after another error.
            Some(_) | None => {}
        }
    }
    Ok(found)
}
