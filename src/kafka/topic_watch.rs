//! Watches from the polling thread whether the update topic is still the one that is read, and
//! whether it is there.

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use topic_facts::Question;
use tracing::{error, info, warn};

use crate::kafka::offsets::Offsets;
use engine::TopicId;

/// Pause between two questions. Fetches of a topic that is gone fail at once; this finds out too if
/// nothing is fetched.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a topic must be missing before it is reported: one that is recreated is missing for a
/// moment.
const GRACE: Duration = Duration::from_secs(5);
/// A topic that stays missing is reported again after this time.
const TELL: Duration = Duration::from_secs(60);
/// How long the assignment of partitions waits for one answer.
const WAIT: Duration = Duration::from_secs(6);
/// The pause before it asks again.
const BREATH: Duration = Duration::from_millis(200);
/// After so many answers that are refusals it goes on without the id.
const REFUSALS: u32 = 5;

/// A change of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It does not exist.
    Missing,
    /// It exists again, and is the same.
    Back,
    /// Another topic has its name, or it was missing and nothing of it was read before.
    Remade,
}

/// Asks again and again, and waits for no answer.
pub(super) struct TopicWatch<'c, C: ClientContext> {
    client: &'c Client<C>,
    topic: &'c str,
    target: &'c str,
    offsets: &'c Offsets,
    question: Option<Question<'c>>,
    ask_at: Instant,
    missing: Option<Missing>,
}

struct Missing {
    since: Instant,
    told: Option<Instant>,
}

impl<'c, C: ClientContext> TopicWatch<'c, C> {
    pub(super) fn new(
        client: &'c Client<C>,
        topic: &'c str,
        target: &'c str,
        offsets: &'c Offsets,
    ) -> Self {
        TopicWatch {
            client,
            topic,
            target,
            offsets,
            question: None,
            ask_at: Instant::now(),
            missing: None,
        }
    }

    /// Takes an answer that has come, or asks if it is time to.
    pub(super) fn look(&mut self) -> Option<News> {
        let now = Instant::now();
        if let Some(question) = &self.question {
            let answer = question.answer(Duration::ZERO)?;
            self.question = None;
            self.ask_at = now + PAUSE;
            return match answer {
                Ok(described) => self.is_there(TopicId(described.id)),
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => self.is_missing(now),
                // Kafka does not answer, which is told elsewhere.
                Err(_) => None,
            };
        }
        if now >= self.ask_at {
            self.question = Question::ask(self.client, self.topic);
            self.ask_at = now + PAUSE;
        }
        None
    }

    fn is_there(&mut self, id: TopicId) -> Option<News> {
        let missed = self.missing.take();
        if self.offsets.is(id) || missed.is_some() && !self.offsets.has_begun() {
            return Some(News::Remade);
        }
        missed.map(|_| {
            info!(
                target = self.target,
                topic = self.topic,
                "the update topic exists again"
            );
            News::Back
        })
    }

    fn is_missing(&mut self, now: Instant) -> Option<News> {
        let missing = self.missing.get_or_insert(Missing {
            since: now,
            told: None,
        });
        let missed = now.saturating_duration_since(missing.since);
        let due = missing
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TELL);
        if missed < GRACE || !due {
            return None;
        }
        missing.told = Some(now);
        error!(
            target = self.target,
            topic = self.topic,
            missed_ms = u64::try_from(missed.as_millis()).unwrap_or(u64::MAX),
            "the update topic does not exist: nothing can be read. Create it again, or correct kafka.topics.updates and restart; \
             once it exists this goes on by itself"
        );
        Some(News::Missing)
    }
}

/// What is known of the topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct DescribedTopic {
    pub(super) id: TopicId,
    /// How many partitions it has.
    pub(super) partitions: Option<usize>,
}

/// How many partitions the topic has by what every client is told that reads it.
fn counted<C: ClientContext>(client: &Client<C>, topic: &str) -> Option<usize> {
    let metadata = client.fetch_metadata(Some(topic), WAIT).ok()?;
    let described = metadata.topics().iter().find(|one| one.name() == topic)?;
    let partitions = described.partitions().len();
    (described.error().is_none() && partitions > 0).then_some(partitions)
}

/// What the topic is now, waited for while `go_on` says so. `None`: there is no such topic, or the
/// wait was given up.
pub(super) fn described<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    target: &str,
    go_on: impl Fn() -> bool,
) -> Option<DescribedTopic> {
    let mut refusals = 0;
    while go_on() {
        let error = match Question::ask(client, topic)?.answer(WAIT) {
            Some(Ok(described)) => {
                return Some(DescribedTopic {
                    id: TopicId(described.id),
                    partitions: Some(described.partitions),
                });
            }
            Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) => return None,
            Some(Err(error)) => error,
            None => RDKafkaErrorCode::OperationTimedOut,
        };
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
        if !matches!(
            error,
            AllBrokersDown | BrokerTransportFailure | OperationTimedOut
        ) {
            refusals += 1;
        }
        if refusals == REFUSALS {
            warn!(target, topic, %error, "the id of the update topic cannot be read: if it is made anew, that may not be noticed");
            return Some(DescribedTopic {
                id: TopicId::UNKNOWN,
                partitions: counted(client, topic),
            });
        }
        warn!(target, topic, %error, "the id of the update topic cannot be read yet; trying again");
        std::thread::sleep(BREATH);
    }
    None
}
