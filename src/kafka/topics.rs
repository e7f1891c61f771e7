//! Topics: what the three are set to, and what of that does not go well together.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Offset};

use crate::config::Kafka;
use crate::kafka::client;
use crate::kafka::inspector::Found;

/// How long the brokers may take to tell the settings.
const ANSWER: Duration = Duration::from_secs(5);
/// A dead letter is its record and its added headers: so many bytes of these, mostly.
const ADDED_BYTES: i64 = 4096;
/// An outcome without its key: more than nearly all of them have.
const OUTCOME_BYTES: i64 = 16 << 10;
/// Clocks may differ by so much without anybody noticing.
const CLOCKS_MS: i64 = 300_000;
const HOUR_MS: i64 = 3_600_000;
/// Records are near the end of their retention in the last tenth of it.
const NEAR_TENTHS: i64 = 9;

/// A topic's settings that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Its name.
    pub name: String,
    /// The fewest replicas that one of its partitions has.
    pub replicas: i64,
    /// `cleanup.policy` has `compact` in it.
    pub is_compacted: bool,
    /// `max.message.bytes`.
    pub max_message_bytes: i64,
    /// `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    pub timestamp_bounds_ms: [i64; 2],
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 is without a bound.
    pub retention_bytes: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i64,
}

/// Something about the topics that does not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it weakens the service's guarantees.
    pub harms: bool,
    /// The problem, and the fix.
    pub words: String,
}

/// The settings of the three topics.
///
/// # Errors
/// In words, if the brokers do not tell: that takes a right (`DescribeConfigs`) that the service
/// does without.
pub async fn topic_settings(kafka: &Kafka, found: &[Found]) -> Result<Vec<TopicSettings>, String> {
    let admin: AdminClient<DefaultClientContext> = client::inspector(kafka)
        .and_then(|config: ClientConfig| config.create().map_err(Into::into))
        .map_err(|error| format!("{error:#}"))?;
    let asked: Vec<_> = found
        .iter()
        .map(|found| ResourceSpecifier::Topic(&found.name))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let told = tokio::time::timeout(2 * ANSWER, admin.describe_configs(&asked, &options)).await;
    let told = told
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| client::words(&error))?;
    let settings = found.iter().zip(told).map(|(found, told)| {
        let resource = told.map_err(|code| {
            if code == Code::TopicAuthorizationFailed {
                "no right to DescribeConfigs".to_owned()
            } else {
                code.to_string()
            }
        })?;
        read(found, &resource)
            .ok_or_else(|| format!("the settings of {} are not as expected", found.name))
    });
    settings.collect()
}

fn read(found: &Found, told: &ConfigResource) -> Option<TopicSettings> {
    let text = |name: &str| told.get(name)?.value.as_deref();
    let number = |name: &str| text(name)?.parse().ok();
    Some(TopicSettings {
        name: found.name.clone(),
        replicas: i64::try_from(found.replicas).ok()?,
        is_compacted: text("cleanup.policy")?.contains("compact"),
        max_message_bytes: number("max.message.bytes")?,
        // Brokers before 3.6 have no such bounds.
        timestamp_bounds_ms: [
            "message.timestamp.before.max.ms",
            "message.timestamp.after.max.ms",
        ]
        .map(|name| number(name).unwrap_or(i64::MAX)),
        retention_ms: number("retention.ms")?,
        retention_bytes: number("retention.bytes")?,
        min_insync_replicas: number("min.insync.replicas")?,
    })
}

/// That the topics which are there have not equally many partitions, if so, and what to do.
pub fn unequal(kafka: &Kafka, topics: &[Found]) -> Option<String> {
    let most = topics.iter().map(|topic| topic.partitions).max()?;
    let commands: Vec<_> = topics
        .iter()
        .filter(|topic| (1..most).contains(&topic.partitions))
        .map(|topic| {
            format!(
                "\n  kafka-topics.sh --bootstrap-server {} --alter --topic {} --partitions {most}",
                kafka.bootstrap_servers, topic.name
            )
        })
        .collect();
    (!commands.is_empty()).then(|| {
        format!(
            "the topics should have equally many partitions. Raise those that have fewer, before there are updates:{}",
            commands.concat()
        )
    })
}

/// Problems in these settings, which are those of updates, outcomes and dead letters.
pub fn remarks(kafka: &Kafka, topics: &[TopicSettings]) -> Vec<Remark> {
    let [updates, outcomes, letters] = topics else {
        return Vec::new();
    };
    let mut remarks: Vec<_> = topics.iter().flat_map(of_one).collect();
    remarks.extend(compaction(updates, outcomes, letters));
    remarks.extend(sizes(kafka, updates, outcomes, letters));
    let is_shorter = |one: &TopicSettings, other: &TopicSettings| {
        one.retention_ms >= 0 && (other.retention_ms < 0 || one.retention_ms < other.retention_ms)
    };
    if is_shorter(outcomes, letters) {
        remarks.push(doubt(format!(
            "retention.ms of {} is shorter than that of {}: a dead letter that is older than the outcomes is replayed with --force only",
            outcomes.name, letters.name
        )));
    }
    remarks
}

fn of_one(topic: &TopicSettings) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let TopicSettings {
        name,
        replicas,
        min_insync_replicas,
        retention_ms,
        retention_bytes,
        ..
    } = topic;
    if *replicas > 1 && min_insync_replicas >= replicas {
        remarks.push(doubt(format!(
            "min.insync.replicas of {name} is {min_insync_replicas}, and it has {replicas} replicas: while one broker is away, nothing can be settled. \
             Lower the one, or raise the other"
        )));
    }
    for (bound, which) in topic
        .timestamp_bounds_ms
        .into_iter()
        .zip(["before", "after"])
        .filter(|(bound, _)| *bound < CLOCKS_MS)
    {
        remarks.push(doubt(format!(
            "message.timestamp.{which}.max.ms of {name} is {bound}: what is written is refused if clocks differ by more, or a transaction is that late"
        )));
    }
    if (0..HOUR_MS).contains(retention_ms) {
        remarks.push(harm(format!(
            "retention.ms of {name} is {retention_ms}: what is not read within that time is gone. Make it longer than any outage"
        )));
    }
    if *retention_bytes >= 0 {
        remarks.push(doubt(format!(
            "retention.bytes of {name} is {retention_bytes}: what is beyond it is gone, however new, and nobody is warned before. Set it to -1, or watch its size"
        )));
    }
    remarks
}

fn compaction(
    updates: &TopicSettings,
    outcomes: &TopicSettings,
    letters: &TopicSettings,
) -> Vec<Remark> {
    let consequences = [
        (
            updates,
            "an update that a later one of its key replaces before it is read has no outcome",
        ),
        (
            outcomes,
            "only the latest outcome of each key stays, so that a dead letter may be replayed twice",
        ),
        (letters, "only the latest dead letter of each key stays"),
    ];
    let compacted = consequences
        .into_iter()
        .filter(|(topic, _)| topic.is_compacted);
    compacted
        .map(|(topic, consequence)| {
            harm(format!(
                "cleanup.policy of {} is compact: {consequence}. Set it to delete",
                topic.name
            ))
        })
        .collect()
}

fn sizes(
    kafka: &Kafka,
    updates: &TopicSettings,
    outcomes: &TopicSettings,
    letters: &TopicSettings,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let (largest, wanted) = (
        updates.max_message_bytes,
        updates.max_message_bytes.saturating_add(ADDED_BYTES),
    );
    let takes = letters.max_message_bytes;
    if takes < wanted {
        let words = format!(
            "max.message.bytes of {} is {takes}, and that of {} is {largest}: a dead letter is its record with headers added, and the largest lose \
             their values. Set it to {wanted} or more",
            letters.name, updates.name
        );
        remarks.push(Remark {
            harms: takes < largest,
            words,
        });
    }
    if outcomes.max_message_bytes < OUTCOME_BYTES {
        remarks.push(harm(format!(
            "max.message.bytes of {} is {}: an outcome may be larger, and loses what it says of its error. Set it to {OUTCOME_BYTES} or more",
            outcomes.name, outcomes.max_message_bytes
        )));
    }
    let ours = client::producer(kafka, "check")
        .ok()
        .and_then(|config| config.get("message.max.bytes")?.parse::<i64>().ok());
    if let Some(ours) = ours.filter(|ours| *ours < wanted) {
        remarks.push(harm(format!(
            "message.max.bytes of this service's producers is {ours}, and max.message.bytes of {} is {largest}: larger dead letters lose their \
             values. Leave it out of the configuration, or set it to {wanted} or more",
            updates.name
        )));
    }
    remarks
}

fn harm(words: String) -> Remark {
    Remark { harms: true, words }
}

fn doubt(words: String) -> Remark {
    Remark {
        harms: false,
        words,
    }
}

/// When a record was written that is near the end of its topic's retention now, in milliseconds
/// since 1970. None if retention is for ever.
pub fn near_retention(topic: &TopicSettings, now_ms: i64) -> Option<i64> {
    let deletes = topic.retention_ms > 0 && !topic.is_compacted;
    deletes.then(|| now_ms.saturating_sub(topic.retention_ms / 10 * NEAR_TENTHS))
}

/// How many offsets of a topic are older than that, counting the markers of transactions.
///
/// # Errors
/// If the broker does not answer.
pub fn older_than(kafka: &Kafka, topic: &Found, time_ms: i64) -> anyhow::Result<i64> {
    let inspector: BaseConsumer = client::inspector(kafka)?.create()?;
    let mut asked = TopicPartitionList::new();
    for partition in 0..i32::try_from(topic.partitions)? {
        asked.add_partition_offset(&topic.name, partition, Offset::Offset(time_ms.max(0)))?;
    }
    let found = inspector.offsets_for_times(asked, ANSWER)?;
    let mut older = 0;
    for element in found.elements() {
        let (low, high) = inspector.fetch_watermarks(&topic.name, element.partition(), ANSWER)?;
        let first = match element.offset() {
            Offset::Offset(first) => first,
            Offset::End => high,
            _ => return Err(KafkaError::OffsetFetch(Code::Fail).into()),
        };
        older += (first - low).max(0);
    }
    Ok(older)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicSettings {
        TopicSettings {
            name: name.to_owned(),
            replicas: 3,
            is_compacted: false,
            max_message_bytes: 1_048_588,
            timestamp_bounds_ms: [i64::MAX, HOUR_MS],
            retention_ms: 168 * HOUR_MS,
            retention_bytes: -1,
            min_insync_replicas: 2,
        }
    }

    fn said(change: impl FnOnce(&mut [TopicSettings; 3])) -> Vec<(bool, String)> {
        let text = "[kafka]\nbootstrap_servers = \"x:1\"\n[targets.valt]\napi = \"valt\"\nbase_url = \"http://127.0.0.1:1\"\naccess_token_env = \"PATH\"\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let kafka = crate::config::Config::load(
            &file,
            std::iter::once(("PATH".to_owned(), "x".to_owned())),
            &[],
        )
        .unwrap()
        .kafka;
        let mut topics = ["updates", "outcomes", "letters"].map(topic);
        topics[2].max_message_bytes = 2_097_152;
        change(&mut topics);
        remarks(&kafka, &topics)
            .into_iter()
            .map(|remark| (remark.harms, remark.words))
            .collect()
    }

    #[test]
    fn what_goes_well_is_not_remarked_on() {
        assert_eq!(said(|_| {}), []);
        // The defaults of Kafka: only the very largest dead letters suffer.
        let defaults = said(|topics| topics[2].max_message_bytes = topics[0].max_message_bytes);
        assert!(defaults.len() == 1 && !defaults[0].0, "{defaults:?}");
    }

    #[test]
    fn each_setting_that_does_not_go_well_is_named_with_its_topic() {
        type Change = fn(&mut [TopicSettings; 3]);
        let cases: [(Change, bool, &str); 10] = [
            (
                |topics| topics[0].is_compacted = true,
                true,
                "cleanup.policy of updates is compact",
            ),
            (
                |topics| topics[1].is_compacted = true,
                true,
                "cleanup.policy of outcomes is compact",
            ),
            (
                |topics| topics[2].is_compacted = true,
                true,
                "cleanup.policy of letters is compact",
            ),
            (
                |topics| topics[2].max_message_bytes = 5000,
                true,
                "max.message.bytes of letters is 5000",
            ),
            (
                |topics| topics[1].max_message_bytes = 5000,
                true,
                "max.message.bytes of outcomes is 5000",
            ),
            (
                |topics| topics[0].timestamp_bounds_ms[0] = 1000,
                false,
                "message.timestamp.before.max.ms of updates is 1000",
            ),
            (
                |topics| topics[2].retention_ms = -1,
                false,
                "retention.ms of outcomes is shorter than that of letters",
            ),
            (
                |topics| topics[2].retention_ms = 60_000,
                true,
                "retention.ms of letters is 60000",
            ),
            (
                |topics| topics[2].retention_bytes = 1_000_000,
                false,
                "retention.bytes of letters is 1000000",
            ),
            (
                |topics| topics[1].min_insync_replicas = 3,
                false,
                "min.insync.replicas of outcomes is 3, and it has 3",
            ),
        ];
        for (change, harms, words) in cases {
            let said = said(change);
            assert!(
                said.len() == 1 && said[0].0 == harms && said[0].1.starts_with(words),
                "{words}: {said:?}"
            );
        }
    }
}
