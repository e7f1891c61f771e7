//! Partition ends, polled every few seconds, once for all subscribers. A consumer learns them only
//! from its fetches, so not for paused partitions. The requests block, and one that times out
//! closes its connection: hence a separate thread and client.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;
use tracing::{debug, error};

use crate::config::Kafka;
use crate::kafka::client;

/// The pause between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one broker may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// The brokers' latest answers.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// One past the last record of each partition, as far as its leader has answered in the last
    /// round.
    pub ends: HashMap<i32, i64>,
    /// How many partitions the update topic has, once a broker has told.
    pub partitions: Option<u32>,
    /// When a broker answered last.
    pub answered: Option<Instant>,
}

/// Starts the thread, which ends when nobody listens any more.
///
/// # Errors
/// If the thread cannot be started.
pub fn ask_for_ends(kafka: &Kafka) -> anyhow::Result<watch::Receiver<Told>> {
    let (told, listener) = watch::channel(Told::default());
    let asking = Asking {
        kafka: kafka.clone(),
        client: None,
        leaders: HashMap::new(),
        told,
    };
    std::thread::Builder::new()
        .name("ends".to_owned())
        .spawn(move || asking.run())
        .context("no thread to ask where partitions end")?;
    Ok(listener)
}

struct Asking {
    kafka: Kafka,
    client: Option<BaseConsumer>,
    /// The partitions of each leader, as far as known.
    leaders: HashMap<i32, Vec<i32>>,
    told: watch::Sender<Told>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(
                "the thread that asks where partitions end has panicked: lag stands still while consumption is paused; please report this"
            );
        }
    }
}

impl Asking {
    fn run(mut self) {
        while !self.told.is_closed() {
            let answered = self.ask();
            if !answered {
                // A new client reads secrets and certificates again, in case they are the cause.
                self.client = None;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One round: who leads which partition, and one question to each leader for all its partitions
    /// together. A leader that does not answer spoils no other's answer. False: no broker has
    /// answered.
    fn ask(&mut self) -> bool {
        let client = match self.client.take().map_or_else(|| make(&self.kafka), Ok) {
            Ok(client) => client,
            Err(error) => {
                debug!(
                    error = format!("{error:#}"),
                    "no client to ask where partitions end"
                );
                return false;
            }
        };
        let topic = &self.kafka.topics.updates;
        let found = found(&client, topic);
        let mut answered = found.is_some();
        let partitions = found.as_ref().and_then(|found| found.partitions);
        // If nobody tells, the last that is known is asked.
        let leaders = found.map(|found| found.leaders);
        self.leaders = leaders.unwrap_or_else(|| std::mem::take(&mut self.leaders));
        let answers: Vec<_> = std::thread::scope(|scope| {
            let client = &client;
            let questions: Vec<_> = self
                .leaders
                .values()
                .map(|partitions| scope.spawn(move || ends(client, topic, partitions)))
                .collect();
            questions
                .into_iter()
                .filter_map(|question| question.join().ok())
                .collect()
        });
        let mut known = HashMap::new();
        for answer in answers {
            match answer {
                Ok(ends) => {
                    answered = true;
                    known.extend(ends);
                }
                Err(error) => {
                    debug!(%error, "a leader does not tell where its partitions end; it is asked again")
                }
            }
        }
        self.told.send_modify(|told| {
            told.ends = known;
            told.partitions = partitions.or(told.partitions);
            told.answered = if answered {
                Some(Instant::now())
            } else {
                told.answered
            };
        });
        self.client = Some(client);
        answered
    }
}

/// What the brokers tell of a topic.
struct FoundTopic {
    /// How many partitions it has; `None` if it does not exist.
    partitions: Option<u32>,
    /// The partitions of each leader. One without a leader has nobody to ask.
    leaders: HashMap<i32, Vec<i32>>,
}

fn found(client: &BaseConsumer, topic: &str) -> Option<FoundTopic> {
    let metadata = client
        .fetch_metadata(Some(topic), ANSWER)
        .inspect_err(|error| debug!(%error, "who leads the partitions is not told"))
        .ok()?;
    let mut leaders: HashMap<i32, Vec<i32>> = HashMap::new();
    for partition in metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .filter(|partition| partition.leader() >= 0)
    {
        leaders
            .entry(partition.leader())
            .or_default()
            .push(partition.id());
    }
    let all = metadata
        .topics()
        .iter()
        .map(|topic| topic.partitions().len());
    let partitions = all.sum::<usize>();
    Some(FoundTopic {
        partitions: u32::try_from(partitions).ok().filter(|count| *count > 0),
        leaders,
    })
}

fn make(kafka: &Kafka) -> anyhow::Result<BaseConsumer> {
    let mut config = client::inspector(kafka)?;
    // The end of the log, not of its readable part: records behind an open transaction wait as
    // well.
    config.set("isolation.level", "read_uncommitted");
    config
        .create()
        .map_err(|error| anyhow::anyhow!("{}", client::words(&error)))
}

fn ends(client: &BaseConsumer, topic: &str, partitions: &[i32]) -> KafkaResult<Vec<(i32, i64)>> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition_offset(topic, *partition, Offset::End)?;
    }
    let told = client.offsets_for_times(asked, ANSWER)?;
    let end = |offset| match offset {
        Offset::Offset(end) => Some(end),
        _ => None,
    };
    Ok(told
        .elements()
        .iter()
        .filter(|one| one.error().is_ok())
        .filter_map(|one| Some((one.partition(), end(one.offset())?)))
        .collect())
}
