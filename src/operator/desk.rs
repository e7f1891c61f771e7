//! The desk: the three topics open for reading, and the dead letters on them.

use std::collections::HashMap;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use rdkafka::message::{BorrowedMessage, Message};

use crate::config::{Config, Kafka};
use crate::kafka::reader::{Go, Sight, Span, Spot, Topic};
use crate::kafka::{Unreachable, client, create_them, headers, missing_topics};
use crate::model::dead_letter::DeadLetter;
use crate::model::outcome::{Kind, OutcomeData};
use crate::model::record::Place;
use crate::operator::judge::Judge;
use crate::operator::spots::Spots;
use crate::operator::{Filter, Letter, ReadFailure, Watch};
use engine::TopicId;

/// Clocks of instances differ, and letters are written a little after they are dated: so far apart
/// at most, as it is taken here.
pub const SLACK: SignedDuration = SignedDuration::from_mins(10);

/// Everything that is needed to look at dead letters.
pub struct Desk {
    /// The settings of Kafka.
    pub kafka: Kafka,
    /// Reads events as the service does.
    pub judge: Judge,
    /// The update topic, as the service sees it.
    pub updates: Topic,
    /// Its id.
    pub topic_id: TopicId,
    /// The end of each of its partitions and the time of its first record, once they were asked
    /// for.
    logs: OnceLock<HashMap<i32, (i64, Option<Timestamp>)>>,
    /// The outcome topic.
    pub outcomes: Topic,
    /// The dead-letter topic.
    pub letters: Topic,
}

/// Other records seen besides the dead letters asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Records of the dead-letter topic that are no dead letters of this service.
    pub strangers: u64,
}

impl Desk {
    /// Opens the topics.
    ///
    /// # Errors
    /// If the broker cannot be reached, or a topic is missing.
    pub fn open(config: &Config) -> Result<Self, ReadFailure> {
        let kafka = &config.kafka;
        let missing =
            missing_topics(kafka).map_err(|error| match error.downcast::<Unreachable>() {
                Ok(Unreachable(words)) => ReadFailure::Unreachable(format!(
                    "Kafka at {}: {words}",
                    kafka.bootstrap_servers
                )),
                Err(error) => ReadFailure::Other(error),
            })?;
        if !missing.is_empty() {
            return Err(ReadFailure::Unreachable(create_them(
                &config.kafka,
                &missing,
            )));
        }
        let open = |name: &str| Topic::open(kafka, name, Sight::Committed);
        let updates = open(&kafka.topics.updates)?;
        Ok(Desk {
            topic_id: updates.id()?,
            logs: OnceLock::new(),
            updates,
            outcomes: open(&kafka.topics.outcomes)?,
            letters: open(&kafka.topics.dead_letters)?,
            judge: Judge::new(config),
            kafka: kafka.clone(),
        })
    }

    /// A consumer group's name, for messages.
    pub fn group_id(&self, target: &str) -> String {
        client::group_id(&self.kafka, target)
    }

    /// Whether the letter's record stood on an update topic that was deleted, and another one has
    /// its name now.
    pub fn is_from_before(&self, letter: &Letter) -> bool {
        let DeadLetter {
            origin,
            topic_id,
            failed_at,
            ..
        } = &letter.facts;
        if *origin.topic != *self.updates.name {
            return false;
        }
        if topic_id.is_known() && self.topic_id.is_known() {
            return *topic_id != self.topic_id;
        }
        // An older version has not written the topic down, or the brokers tell no ids.
        let logs = self
            .logs
            .get_or_init(|| self.read_logs().unwrap_or_default());
        logs.get(&origin.partition).is_some_and(|(end, born)| {
            origin.offset >= *end || born.is_some_and(|born| earlier(born) > *failed_at)
        })
    }

    /// The end of each partition of the update topic, and the time of its very first record as long
    /// as that is there.
    fn read_logs(&self) -> Result<HashMap<i32, (i64, Option<Timestamp>)>, ReadFailure> {
        let spans = self.updates.spans()?;
        let mut logs: HashMap<_, _> = spans
            .iter()
            .map(|span| (span.partition, (span.to, None)))
            .collect();
        let whole: Vec<Span> = spans.into_iter().filter(|span| span.from == 0).collect();
        self.updates.scan(&whole, &mut (), |message| {
            let written = message
                .timestamp()
                .to_millis()
                .and_then(|millis| Timestamp::from_millisecond(millis).ok());
            logs.entry(message.partition())
                .and_modify(|(_, born)| *born = written);
            Ok(Go::NextPartition)
        })?;
        Ok(logs)
    }

    /// Shows every dead letter that the filter takes, and whether it is open, in the order of their
    /// partitions.
    ///
    /// # Errors
    /// If the broker does not answer, or `take` fails.
    pub fn letters(
        &self,
        filter: &Filter,
        watch: &mut dyn Watch,
        mut take: impl FnMut(Letter, bool) -> Result<(), ReadFailure>,
    ) -> Result<Remarks, ReadFailure> {
        let spans = self.letter_spans(filter)?;
        let mut aside = Remarks::default();
        let Some(oldest) = self.oldest(filter, &spans)? else {
            return Ok(aside);
        };
        let settled = self.settled(oldest, watch)?;
        watch.begin("reading dead letters", steps(&spans));
        self.letters.scan(&spans, watch, |message| {
            let Some(letter) = Letter::read(headers::record(&self.letters.name, message)) else {
                aside.strangers += 1;
                return Ok(Go::On);
            };
            // Nothing that comes so much later was given up in time.
            if filter
                .until
                .is_some_and(|until| letter.facts.failed_at > later(until))
            {
                return Ok(Go::NextPartition);
            }
            let open = !settled.contains((message.partition(), message.offset()));
            if filter.takes(&letter.facts) && (open || filter.all) {
                take(letter, open)?;
            }
            Ok(Go::On)
        })?;
        watch.end();
        Ok(aside)
    }

    /// The dead letter at this place, if there is one.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn letter(&self, place: &Place) -> Result<Option<Letter>, ReadFailure> {
        if place.topic != self.letters.name {
            return Ok(None);
        }
        let spot = (place.partition, place.offset);
        Ok(self
            .letters
            .fetch([spot])?
            .remove(&spot)
            .and_then(Letter::read))
    }

    /// The stretches of the dead-letter topic in which letters given up since then stand. A
    /// letter's own time is when it was given up, or later.
    fn letter_spans(&self, filter: &Filter) -> Result<Vec<Span>, ReadFailure> {
        let spans = self.letters.spans()?;
        // A topic may say when it was appended to instead, by the broker's clock.
        match filter.since.map(earlier) {
            Some(since) => self.letters.since(since, spans),
            None => Ok(spans),
        }
    }

    /// When the first of them was given up, about.
    fn oldest(&self, filter: &Filter, spans: &[Span]) -> Result<Option<Timestamp>, ReadFailure> {
        let mut oldest: Option<Timestamp> = None;
        self.letters.scan(spans, &mut (), |message| {
            let Some(letter) = Letter::read(headers::record(&self.letters.name, message)) else {
                return Ok(Go::On);
            };
            let failed_at = filter.since.unwrap_or(letter.facts.failed_at);
            oldest = Some(oldest.map_or(failed_at, |oldest| oldest.min(failed_at)));
            Ok(Go::NextPartition)
        })?;
        Ok(oldest)
    }

    /// The dead letters that were replayed or superseded since then.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn settled(&self, since: Timestamp, watch: &mut dyn Watch) -> Result<Spots, ReadFailure> {
        let spans = self
            .outcomes
            .since(earlier(since), self.outcomes.spans()?)?;
        watch.begin("reading outcomes", steps(&spans));
        let mut settled = Spots::default();
        self.outcomes.scan(&spans, watch, |message| {
            settled
                .extend(settling(message).and_then(|data| settled_by(&data, &self.letters.name)));
            Ok(Go::On)
        })?;
        watch.end();
        Ok(settled)
    }
}

impl Extend<Spot> for Spots {
    fn extend<T: IntoIterator<Item = Spot>>(&mut self, spots: T) {
        spots.into_iter().for_each(|spot| self.insert(spot));
    }
}

/// A time that is earlier by what clocks may differ.
pub fn earlier(time: Timestamp) -> Timestamp {
    time.checked_sub(SLACK).unwrap_or(Timestamp::MIN)
}

fn later(time: Timestamp) -> Timestamp {
    time.checked_add(SLACK).unwrap_or(Timestamp::MAX)
}

/// How many offsets the spans have.
pub fn steps(spans: &[Span]) -> u64 {
    spans
        .iter()
        .map(|span| u64::try_from(span.to - span.from).unwrap_or(0))
        .sum()
}

/// The kind of an outcome, from its headers alone: most are of no interest, and to read JSON takes
/// time.
pub fn kind(message: &BorrowedMessage<'_>) -> Option<Kind> {
    let name = headers::text(message, "ce_type")?.strip_prefix("user-courier.update.")?;
    Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

/// The data of an outcome.
pub fn data(message: &BorrowedMessage<'_>) -> Option<OutcomeData> {
    serde_json::from_slice(message.payload()?).ok()
}

/// The data of an outcome that settles a dead letter.
pub fn settling(message: &BorrowedMessage<'_>) -> Option<OutcomeData> {
    kind(message)
        .filter(|kind| matches!(kind, Kind::Replayed | Kind::Superseded))
        .and_then(|_| data(message))
}

/// The dead letter of that topic that such an outcome settles.
pub fn settled_by(data: &OutcomeData, letters: &str) -> Option<Spot> {
    let record = &data.record;
    (record.topic == letters).then_some((record.partition, record.offset))
}
