//! The inspector: a client that only looks whether the brokers let us in, and which topics they
//! have.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::config::Kafka;
use crate::kafka::client;
use crate::kafka::log::Chatter;

/// How long the answer about one topic may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long is waited before one looks whether the client has reported why there is none.
const LOOK: Duration = Duration::from_millis(500);

/// The brokers cannot be asked: why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Keeps what the client reports: a call itself fails with no more than that the broker cannot be
/// reached.
#[derive(Default)]
struct Reports {
    kept: Mutex<Option<(KafkaError, String)>>,
    chatter: Chatter,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Anything worse than a warning is reported as an error too.
        if level as i32 >= RDKafkaLogLevel::Warning as i32 {
            self.chatter.log(None, level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Ok(mut kept) = self.kept.lock() else {
            return;
        };
        // That all brokers are down follows from what was reported of each.
        if kept.is_none() || error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *kept = Some((error, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Reports {}

/// A topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// How many partitions it has; 0 if it does not exist.
    pub partitions: usize,
    /// The fewest replicas that one of them has.
    pub replicas: usize,
}

/// The three topics: updates, outcomes, dead letters.
///
/// # Errors
/// [`Unreachable`], if the broker cannot be asked; anything else if there is no client to ask with.
pub fn find_topics(kafka: &Kafka) -> anyhow::Result<Vec<Found>> {
    let inspector: BaseConsumer<Reports> = client::inspector(kafka)?
        .create_with_context(Reports::default())
        .map_err(|error| anyhow::anyhow!("no Kafka client: {}", client::words(&error)))?;
    let topics = &kafka.topics;
    let mut all = Vec::new();
    for topic in [&topics.updates, &topics.outcomes, &topics.dead_letters] {
        let metadata = ask(&inspector, topic).map_err(|error| no_answer(&inspector, error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = match found.map(|found| {
            (
                found.error().map(RDKafkaErrorCode::from),
                found.partitions(),
            )
        }) {
            None | Some((Some(RDKafkaErrorCode::UnknownTopicOrPartition), _)) => &[],
            Some((None, partitions)) => partitions,
            Some((Some(code), _)) => {
                let advice = client::advice(&KafkaError::MetadataFetch(code), "");
                anyhow::bail!(Unreachable(format!(
                    "the topic {topic} cannot be looked at ({code}): {advice}"
                )));
            }
        };
        let replicas = partitions
            .iter()
            .map(|partition| partition.replicas().len())
            .min()
            .unwrap_or_default();
        all.push(Found {
            name: topic.clone(),
            partitions: partitions.len(),
            replicas,
        });
    }
    Ok(all)
}

/// Those of the three topics that do not exist.
///
/// # Errors
/// As [`find_topics`].
pub fn missing_topics(kafka: &Kafka) -> anyhow::Result<Vec<String>> {
    Ok(missing(&find_topics(kafka)?))
}

/// The names of those that do not exist.
pub fn missing(topics: &[Found]) -> Vec<String> {
    topics
        .iter()
        .filter(|found| found.partitions == 0)
        .map(|found| found.name.clone())
        .collect()
}

/// Asks about a topic. A refused login or certificate is not waited out: the client would go on
/// trying.
fn ask(inspector: &BaseConsumer<Reports>, topic: &str) -> KafkaResult<Metadata> {
    let deadline = Instant::now() + ANSWER;
    loop {
        let error = match inspector.fetch_metadata(Some(topic), LOOK) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        // Reports are handed over by polling only; a poll of no time ends with the first of them.
        while inspector.poll(LOOK / 10).is_some() {}
        let is_refusal =
            |kept: &(KafkaError, String)| client::refusal_advice(&kept.0, &kept.1).is_some();
        let refused = inspector
            .context()
            .kept
            .lock()
            .is_ok_and(|kept| kept.as_ref().is_some_and(is_refusal));
        if refused || Instant::now() >= deadline {
            return Err(error);
        }
    }
}

fn no_answer(inspector: &BaseConsumer<Reports>, error: KafkaError) -> Unreachable {
    let kept = inspector
        .context()
        .kept
        .lock()
        .ok()
        .and_then(|mut kept| kept.take());
    let (error, reason) = kept.unwrap_or_else(|| {
        let words = client::words(&error);
        (error, words)
    });
    Unreachable(format!(
        "no answer ({reason}): {}",
        client::advice(&error, &reason)
    ))
}

/// Words for missing topics, with the command that makes each.
pub fn create_them(kafka: &Kafka, missing: &[String]) -> String {
    let servers = &kafka.bootstrap_servers;
    let mut words = format!(
        "missing in Kafka at {servers}: {}. Create what is missing, then start again:",
        missing.join(", ")
    );
    for topic in missing {
        let topics = &kafka.topics;
        let large = if *topic == topics.dead_letters {
            // A dead letter is a record and some headers more.
            " --config retention.ms=2592000000 --config max.message.bytes=2097152"
        } else if *topic == topics.outcomes {
            // They tell which dead letters are open.
            " --config retention.ms=2592000000"
        } else {
            ""
        };
        words += &format!(
            "\n  kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 8{large}"
        );
    }
    words += "\nAll three need equally many partitions: where one is there already, take its number in place of 8.";
    words
}
