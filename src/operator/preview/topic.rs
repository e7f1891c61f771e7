//! Previews of what stands on the update topic: read without a group, up to where it ends now.

use jiff::Timestamp;

use crate::config::Kafka;
use crate::kafka::headers;
use crate::kafka::reader::{Go, Sight, Topic};
use crate::operator::preview::{Preview, Previewer};
use crate::operator::{ReadFailure, Watch, desk};

/// The part of the topic that is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicPart {
    /// Nothing that is older by the records' own timestamps.
    pub since: Option<Timestamp>,
    /// No more records than that.
    pub limit: Option<u64>,
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRead {
    /// Records.
    pub records: u64,
    /// Whether `limit` left any out.
    pub is_cut: bool,
}

/// Looks at the records of the update topic, those of one partition in their order. Joins no group
/// and leaves no trace.
///
/// # Errors
/// If the broker does not answer, the topic is not there, or `take` fails.
pub fn of_topic(
    kafka: &Kafka,
    previewer: &Previewer,
    part: TopicPart,
    watch: &mut dyn Watch,
    mut take: impl FnMut(Preview) -> Result<(), ReadFailure>,
) -> Result<TopicRead, ReadFailure> {
    let topic = Topic::open(kafka, &kafka.topics.updates, Sight::Committed)?;
    if topic.partitions == 0 {
        return Err(ReadFailure::Unreachable(format!(
            "there is no topic {} at {}: set kafka.topics.updates, or name a file with events",
            topic.name, kafka.bootstrap_servers
        )));
    }
    let mut spans = topic.spans()?;
    if let Some(since) = part.since {
        spans = topic.since(since, spans)?;
    }
    let mut seen = TopicRead::default();
    watch.begin("reading updates", desk::steps(&spans));
    topic.scan(&spans, watch, |message| {
        if part.limit.is_some_and(|limit| seen.records >= limit) {
            seen.is_cut = true;
            return Ok(Go::NextPartition);
        }
        seen.records += 1;
        take(previewer.record(&headers::record(&topic.name, message)))?;
        Ok(Go::On)
    })?;
    watch.end();
    Ok(seen)
}
