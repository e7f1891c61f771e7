//! A topic to be looked through: from place to place, without a group and without leaving a trace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use topic_facts::Question;

use crate::config::Kafka;
use crate::kafka::spans::runs;
pub use crate::kafka::spans::{Span, Spot};
use crate::kafka::{client, headers};
use crate::model::record::Record;
use engine::TopicId;

/// How long the broker may take for one answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Why something cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// Something outside cannot be reached, or is not there.
    #[error("{0}")]
    Unreachable(String),
    /// Another replay has taken over.
    #[error("{0}")]
    Fenced(String),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Watches how far a long task is.
pub trait Watch {
    /// A task begins: what it is, and how many steps it has.
    fn begin(&mut self, what: &str, steps: u64);
    /// Reports progress: `done` steps of all so far.
    fn advance(&mut self, done: u64);
    /// It is done.
    fn end(&mut self);
}

/// Watches nothing.
impl Watch for () {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
}

/// Visibility of a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Committed records, up to the first open transaction.
    Committed,
    /// Everything that was written, whether it is ever committed or not.
    Written,
}

/// Whether to read on after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Read on.
    On,
    /// Nothing more of this partition is wanted.
    NextPartition,
}

/// A topic that is open for reading.
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: i32,
    consumer: BaseConsumer,
}

impl Topic {
    /// Opens a topic that exists.
    ///
    /// # Errors
    /// If the broker cannot be reached.
    pub fn open(kafka: &Kafka, name: &str, sight: Sight) -> Result<Self, ReadFailure> {
        let mut settings = client::reader(kafka)?;
        settings.set(
            "isolation.level",
            if sight == Sight::Committed {
                "read_committed"
            } else {
                "read_uncommitted"
            },
        );
        let consumer: BaseConsumer = settings
            .create()
            .map_err(|error| ReadFailure::Other(anyhow::anyhow!(client::words(&error))))?;
        let metadata = consumer
            .fetch_metadata(Some(name), ANSWER)
            .map_err(|error| unreachable(kafka, &error))?;
        let partitions = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == name)
            .map_or(0, |topic| topic.partitions().len());
        Ok(Topic {
            name: name.into(),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            consumer,
        })
    }

    /// Everything that can be seen now.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn spans(&self) -> Result<Vec<Span>, ReadFailure> {
        (0..self.partitions)
            .map(|partition| self.span(partition))
            .collect()
    }

    /// The records of one partition that can be seen now.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn span(&self, partition: i32) -> Result<Span, ReadFailure> {
        let began = Instant::now();
        loop {
            match self
                .consumer
                .fetch_watermarks(&self.name, partition, ANSWER)
            {
                Ok((from, to)) => {
                    return Ok(Span {
                        partition,
                        from,
                        to,
                    });
                }
                Err(error) if has_moved(&error) && began.elapsed() < ANSWER => {
                    std::thread::sleep(Duration::from_millis(100))
                }
                Err(error) => return Err(self.silent(&error)),
            }
        }
    }

    /// One past the last record that can be seen now, of each partition. One question for all of
    /// them.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn ends(&self) -> Result<HashMap<i32, i64>, ReadFailure> {
        let mut asked =
            TopicPartitionList::with_capacity(usize::try_from(self.partitions).unwrap_or_default());
        for partition in 0..self.partitions {
            // Kafka takes -1 for the time of the end.
            asked
                .add_partition_offset(&self.name, partition, Offset::End)
                .map_err(|error| self.silent(&error))?;
        }
        let found = self
            .consumer
            .offsets_for_times(asked, ANSWER)
            .map_err(|error| self.silent(&error))?;
        let mut ends = HashMap::with_capacity(found.count());
        for element in found.elements() {
            let end = match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(end)) => end,
                // Its leader has moved, say: asked once more by itself.
                _ => self.span(element.partition())?.to,
            };
            ends.insert(element.partition(), end);
        }
        Ok(ends)
    }

    /// The topic's id; unknown if the broker reports none.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn id(&self) -> Result<TopicId, ReadFailure> {
        let question = Question::ask(self.consumer.client(), &self.name);
        match question.and_then(|question| question.answer(ANSWER)) {
            Some(Ok(described)) => Ok(TopicId(described.id)),
            Some(Err(error)) => Err(self.silent(&KafkaError::MetadataFetch(error))),
            None => Err(self.silent(&KafkaError::MetadataFetch(
                RDKafkaErrorCode::OperationTimedOut,
            ))),
        }
    }

    /// The spans without what is older than `time` by the records' own timestamps.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn since(&self, time: Timestamp, mut spans: Vec<Span>) -> Result<Vec<Span>, ReadFailure> {
        let mut asked = TopicPartitionList::with_capacity(spans.len());
        for span in &spans {
            let mut element = asked.add_partition(&self.name, span.partition);
            element
                .set_offset(Offset::Offset(time.as_millisecond().max(0)))
                .map_err(|error| self.silent(&error))?;
        }
        let found = self
            .consumer
            .offsets_for_times(asked, ANSWER)
            .map_err(|error| self.silent(&error))?;
        for span in &mut spans {
            match found
                .find_partition(&self.name, span.partition)
                .map(|element| element.offset())
            {
                Some(Offset::Offset(offset)) => span.from = span.from.max(offset),
                // Nothing is that young.
                Some(Offset::End) => span.from = span.to,
                _ => {}
            }
        }
        Ok(spans)
    }

    /// Shows every record of the spans to `take`, those of one partition in their order.
    ///
    /// # Errors
    /// If the broker does not answer, or `take` fails.
    pub fn scan(
        &self,
        spans: &[Span],
        watch: &mut dyn Watch,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<Go, ReadFailure>,
    ) -> Result<(), ReadFailure> {
        let mut open: HashMap<i32, Span> = spans
            .iter()
            .filter(|span| span.from < span.to)
            .map(|span| (span.partition, *span))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        self.assign(open.values())?;
        let mut heard = Instant::now();
        let mut done: u64 = 0;
        let length = |from: i64, to: i64| u64::try_from(to - from).unwrap_or(0);
        while !open.is_empty() {
            let ended = match self.consumer.poll(Duration::from_millis(100)) {
                None if heard.elapsed() > 2 * ANSWER => {
                    return Err(
                        self.silent(&KafkaError::Global(RDKafkaErrorCode::OperationTimedOut))
                    );
                }
                None => continue,
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(span) = open.get_mut(&partition) else {
                        continue;
                    };
                    let wanted = offset < span.to;
                    let go = if wanted {
                        take(&message)?
                    } else {
                        Go::NextPartition
                    };
                    let next = if wanted { offset + 1 } else { span.to };
                    done += length(span.from, next);
                    span.from = next;
                    (go == Go::NextPartition || next >= span.to).then_some(partition)
                }
                // The offsets between the last record and the end hold no records: they are
                // transaction markers or were compacted.
                Some(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
                Some(Err(error)) if is_passing(&error) && heard.elapsed() < 2 * ANSWER => continue,
                Some(Err(error)) => return Err(self.silent(&error)),
            };
            heard = Instant::now();
            if let Some(span) = ended.and_then(|partition| open.remove(&partition)) {
                done += length(span.from, span.to);
            }
            watch.advance(done);
        }
        // Or the client would go on fetching.
        self.consumer
            .unassign()
            .map_err(|error| self.silent(&error))
    }

    /// The records at these spots; those that are gone are left out.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn fetch(
        &self,
        spots: impl IntoIterator<Item = Spot>,
    ) -> Result<HashMap<Spot, Record>, ReadFailure> {
        let wanted: HashSet<Spot> = spots.into_iter().collect();
        let mut runs = runs(&wanted, self.partitions);
        let mut found = HashMap::with_capacity(wanted.len());
        while !runs.is_empty() {
            // One run of each partition at a time.
            let spans: Vec<_> = runs.values_mut().filter_map(Vec::pop).collect();
            runs.retain(|_, runs| !runs.is_empty());
            self.scan(&spans, &mut (), |message| {
                let spot = (message.partition(), message.offset());
                if wanted.contains(&spot) {
                    found.insert(spot, headers::record(&self.name, message));
                }
                Ok(Go::On)
            })?;
        }
        Ok(found)
    }

    /// Waits until all that was written before `to` can be seen: until the transactions that were
    /// open there have ended.
    ///
    /// # Errors
    /// If the broker does not answer, or a transaction stays open for longer than any of this
    /// service's.
    pub fn await_committed(&self, to: &[Span]) -> Result<(), ReadFailure> {
        const LONGEST: Duration = Duration::from_secs(60);
        let began = Instant::now();
        for span in to {
            while self.span(span.partition)?.to < span.to {
                if began.elapsed() > LONGEST {
                    let words = format!(
                        "a transaction on the topic {} stays open, so its end cannot be read: try again later",
                        self.name
                    );
                    return Err(ReadFailure::Unreachable(words));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn assign<'a>(&self, spans: impl Iterator<Item = &'a Span>) -> Result<(), ReadFailure> {
        let mut assignment = TopicPartitionList::new();
        for span in spans {
            let added = assignment.add_partition_offset(
                &self.name,
                span.partition,
                Offset::Offset(span.from),
            );
            added.map_err(|error| self.silent(&error))?;
        }
        self.consumer
            .assign(&assignment)
            .map_err(|error| self.silent(&error))
    }

    fn silent(&self, error: &KafkaError) -> ReadFailure {
        ReadFailure::Unreachable(format!(
            "the topic {} cannot be read: {}",
            self.name,
            client::words(error)
        ))
    }
}

/// Whether the client goes on trying by itself.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(
        error,
        KafkaError::MessageConsumption(BrokerTransportFailure | AllBrokersDown | OperationTimedOut)
    )
}

/// Whether the partition's leader is another one than the client believes, which it will learn.
fn has_moved(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownPartition};
    matches!(
        error,
        KafkaError::MetadataFetch(LeaderNotAvailable | NotLeaderForPartition | UnknownPartition)
    )
}

/// The failure of a broker that does not answer.
pub(crate) fn unreachable(kafka: &Kafka, error: &KafkaError) -> ReadFailure {
    let servers = &kafka.bootstrap_servers;
    let words = client::words(error);
    ReadFailure::Unreachable(format!(
        "no answer from Kafka at {servers} ({words}): check kafka.bootstrap_servers and [kafka.properties], and that the broker runs"
    ))
}
