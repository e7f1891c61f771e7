//! The tail: reads the dead-letter topic and the outcomes into the index, and then whatever is
//! added to them, until the console ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::message::Message;
use serde_json::{Value, json};
use tracing::warn;

use crate::config::Config;
use crate::console::follow::Follows;
use crate::console::letters::{Draft, Letters};
use crate::console::progress::Progress;
use crate::kafka::headers;
use crate::kafka::reader::{Go, Span, Spot};
use crate::model::outcome::{Kind, OutcomeData, timestamp};
use crate::operator::{Desk, Letter, ReadFailure, desk};
use crate::subscriber::stop::Stop;

/// How long after one look the next comes.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a broker may be silent before it is reported, in milliseconds. The client itself goes
/// on asking for longer.
const SILENT: i64 = 5_000;
/// Letters are added in chunks of this many.
const CHUNK: usize = 1_000;

/// The reading of the topics, and how it goes.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) letters: Letters,
    pub(super) follows: Follows,
    progress: Progress,
    failure: Mutex<Option<Silence>>,
    /// When Kafka last answered, in milliseconds since 1970; 0 before the first time.
    answered: AtomicI64,
}

/// Why the topics cannot be read.
struct Silence {
    since: Timestamp,
    words: String,
    /// It was so more than once. A leader that moves is found again at the next look, and worries
    /// nobody.
    lasts: bool,
}

/// How far each partition was read.
#[derive(Default)]
struct Positions {
    letters: BTreeMap<i32, i64>,
    /// None until the letters were read once.
    outcomes: Option<BTreeMap<i32, i64>>,
    /// Endings whose replay was not seen yet: partitions are not read at the same time.
    endings: HashMap<Spot, OutcomeData>,
}

impl Tail {
    /// How the reading goes, for the page.
    pub(super) fn shown(&self) -> Value {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting = failure
            .as_ref()
            .filter(|one| one.lasts)
            .map(|one| (one.since, one.words.as_str()));
        let silent = || {
            self.last_answer()
                .filter(|last| Timestamp::now().as_millisecond() - last.as_millisecond() > SILENT)
        };
        let trouble = lasting.or_else(|| Some((silent()?, "it does not answer")));
        json!({
            "progress": self.progress.shown(),
            "failure": trouble.map(|(since, words)| json!({ "since": timestamp(since), "words": words })),
        })
    }

    fn last_answer(&self) -> Option<Timestamp> {
        Some(self.answered.load(Ordering::Relaxed))
            .filter(|last| *last > 0)
            .and_then(|last| Timestamp::from_millisecond(last).ok())
    }

    fn note_answer(&self) {
        self.answered
            .store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
    }

    /// Reads until it is told to stop. Blocks.
    pub(super) fn run(&self, config: &Config, stop: &Stop) {
        let mut positions = Positions::default();
        while !stop.is_asked() {
            let ended =
                Desk::open(config).and_then(|desk| self.keep_up(&desk, &mut positions, stop));
            let Err(failure) = ended else { return };
            let words = failure.to_string();
            let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if known.as_ref().is_some_and(|known| !known.lasts) {
                warn!(
                    error = words,
                    "the dead letters cannot be read; it is tried again"
                );
            }
            let since = known.as_ref().map_or_else(
                || self.last_answer().unwrap_or_else(Timestamp::now),
                |known| known.since,
            );
            *known = Some(Silence {
                since,
                words,
                lasts: known.is_some(),
            });
            drop(known);
            pause(AGAIN, stop);
        }
    }

    fn keep_up(
        &self,
        desk: &Desk,
        positions: &mut Positions,
        stop: &Stop,
    ) -> Result<(), ReadFailure> {
        while !stop.is_asked() {
            self.read_letters(desk, positions, stop)?;
            self.read_outcomes(desk, positions, stop)?;
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.note_answer();
            pause(PAUSE, stop);
        }
        Ok(())
    }

    fn read_letters(
        &self,
        desk: &Desk,
        positions: &mut Positions,
        stop: &Stop,
    ) -> Result<(), ReadFailure> {
        let mut spans = desk.letters.spans()?;
        for span in &mut spans {
            self.letters.forget_before(span.partition, span.from);
            advance(span, &mut positions.letters);
        }
        let (mut drafts, mut strangers) = (Vec::new(), 0);
        let first = positions.outcomes.is_none();
        let (mut watch, mut silent) = (&self.progress, ());
        if first {
            crate::operator::Watch::begin(&mut watch, "reading dead letters", desk::steps(&spans));
        }
        let positions = &mut positions.letters;
        let read = desk.letters.scan(
            &spans,
            if first { &mut watch } else { &mut silent },
            |message| {
                match Letter::read(headers::record(&desk.letters.name, message)) {
                    Some(letter) => drafts.push(Draft::of(&letter)),
                    None => strangers += 1,
                }
                if drafts.len() >= CHUNK {
                    self.letters
                        .add(drafts.drain(..), std::mem::take(&mut strangers));
                }
                positions.insert(message.partition(), message.offset() + 1);
                self.note_answer();
                going(stop)
            },
        );
        if !drafts.is_empty() || strangers > 0 {
            self.letters.add(drafts, strangers);
        }
        read?;
        positions.extend(
            spans
                .iter()
                .map(|span| (span.partition, span.to.max(span.from))),
        );
        Ok(())
    }

    fn read_outcomes(
        &self,
        desk: &Desk,
        positions: &mut Positions,
        stop: &Stop,
    ) -> Result<(), ReadFailure> {
        let mut spans = desk.outcomes.spans()?;
        let first = positions.outcomes.is_none();
        let mut known = match positions.outcomes.take() {
            Some(known) => known,
            None => {
                let since = desk::earlier(self.letters.oldest().unwrap_or_else(Timestamp::now));
                desk.outcomes
                    .since(since, spans.clone())?
                    .iter()
                    .map(|span| (span.partition, span.from))
                    .collect()
            }
        };
        spans.iter_mut().for_each(|span| advance(span, &mut known));
        let (mut watch, mut silent) = (&self.progress, ());
        if first {
            crate::operator::Watch::begin(&mut watch, "reading outcomes", desk::steps(&spans));
        }
        let followed = self.follows.any();
        let (mut settled, mut seen) = (Vec::new(), HashMap::new());
        let read = desk.outcomes.scan(
            &spans,
            if first { &mut watch } else { &mut silent },
            |message| {
                match desk::kind(message) {
                    Some(Kind::Replayed | Kind::Superseded) => settled.extend(desk::data(message)),
                    Some(_) if followed => {
                        if let Some(data) = desk::data(message)
                            .filter(|data| data.record.topic == *desk.updates.name)
                        {
                            seen.insert((data.record.partition, data.record.offset), data);
                        }
                    }
                    _ => {}
                }
                known.insert(message.partition(), message.offset() + 1);
                self.note_answer();
                going(stop)
            },
        );
        self.settle(desk, &settled);
        let whole = read.is_ok();
        if whole {
            known.extend(
                spans
                    .iter()
                    .map(|span| (span.partition, span.to.max(span.from))),
            );
        }
        // Outcomes that were read need not be read again; but the first reading is all or nothing,
        // since only then it is known which letters are open.
        positions.outcomes = (whole || !first).then_some(known);
        positions
            .endings
            .extend(seen.iter().map(|(spot, data)| (*spot, data.clone())));
        self.follows.ended(&mut positions.endings);
        positions.endings = seen;
        read?;
        if first {
            self.letters.outcomes_read();
            crate::operator::Watch::end(&mut watch);
        }
        Ok(())
    }

    fn settle(&self, desk: &Desk, settled: &[OutcomeData]) {
        let letters = settled
            .iter()
            .filter_map(|data| Some((desk::settled_by(data, &desk.letters.name)?, data)));
        for (letter, data) in letters.clone() {
            let into = data
                .into
                .as_ref()
                .filter(|into| into.topic == *desk.updates.name);
            self.follows
                .settled(letter, into.map(|into| (into.partition, into.offset)));
        }
        if !settled.is_empty() {
            self.letters.settle(letters.map(|(letter, _)| letter));
        }
    }
}

/// Continues from the known position, unless that is gone from the topic.
fn advance(span: &mut Span, positions: &mut BTreeMap<i32, i64>) {
    let known = positions.entry(span.partition).or_insert(span.from);
    span.from = span.from.max(*known);
}

fn going(stop: &Stop) -> Result<Go, ReadFailure> {
    if stop.is_asked() {
        Err(ReadFailure::Other(anyhow::anyhow!("the console ends")))
    } else {
        Ok(Go::On)
    }
}

fn pause(time: Duration, stop: &Stop) {
    const STEP: Duration = Duration::from_millis(100);
    let mut left = time;
    while !left.is_zero() && !stop.is_asked() {
        std::thread::sleep(STEP.min(left));
        left = left.saturating_sub(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_silent_is_told_of_before_the_client_gives_up() {
        let tail = Tail::default();
        let told = |last: i64| {
            tail.answered.store(last, Ordering::Relaxed);
            tail.shown()["failure"].clone()
        };
        let now = Timestamp::now().as_millisecond();
        assert!(told(0).is_null() && told(now - SILENT / 2).is_null());
        assert_eq!(told(now - 2 * SILENT)["words"], "it does not answer");
        assert_eq!(
            told(now - 2 * SILENT)["since"],
            timestamp(Timestamp::from_millisecond(now - 2 * SILENT).unwrap())
        );
    }
}
