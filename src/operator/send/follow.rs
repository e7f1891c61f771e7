//! Following: the outcome of one record, as soon as it can be read.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kafka::headers;
use crate::kafka::reader::{Go, Span};
use crate::model::outcome::{self, OutcomeData};
use crate::model::record::Place;
use crate::operator::judge::TargetUser;
use crate::operator::send::queued::QueuedRecord;
use crate::operator::{Desk, ReadFailure, desk};

/// How long after one look at the outcomes the next comes.
const LOOK: Duration = Duration::from_millis(150);
/// How long after one look at why it waits the next comes. Most have ended before the first.
const ASK: Duration = Duration::from_secs(2);

/// The outcomes that come from now on.
pub struct OutcomeWatch {
    positions: HashMap<i32, i64>,
}

/// How a record is waited for.
pub struct WaitFor<'a> {
    /// Until when.
    pub until: Instant,
    /// Asks whether to stop before.
    pub is_over: &'a dyn Fn() -> bool,
    /// Asks an instance for the target's state; none if no instance answers.
    pub status: &'a dyn Fn() -> Option<Value>,
    /// Told why it waits, whenever that changes.
    pub tell: &'a mut dyn FnMut(&str),
}

impl OutcomeWatch {
    /// Remembers where the outcome topic ends.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn begin(desk: &Desk) -> Result<Self, ReadFailure> {
        let positions = desk.outcomes.ends()?;
        Ok(OutcomeWatch { positions })
    }

    /// Waits for the outcome of the record of that user at that target; `None` if it has not ended
    /// in time.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn outcome(
        mut self,
        desk: &Desk,
        lane: &TargetUser,
        place: &Place,
        waiting: &mut WaitFor<'_>,
    ) -> Result<Option<OutcomeData>, ReadFailure> {
        let (mut asked, mut queued, mut told) = (Instant::now(), None, String::new());
        loop {
            // A leader that moves is found again at the next look.
            let looked = self.look(desk, lane, place);
            if let Ok(Some(found)) = looked {
                return Ok(Some(found));
            }
            let left = waiting.until.saturating_duration_since(Instant::now());
            if left.is_zero() || (waiting.is_over)() {
                return looked;
            }
            if asked.elapsed() >= ASK {
                let why = why(&mut queued, desk, lane, place, waiting);
                let words = why.unwrap_or_else(|failure| format!("why is not known: {failure}"));
                if words != told {
                    (waiting.tell)(&words);
                    told = words;
                }
                asked = Instant::now();
            }
            std::thread::sleep(LOOK.min(left));
        }
    }

    /// Reads what was added to the outcomes.
    fn look(
        &mut self,
        desk: &Desk,
        lane: &TargetUser,
        place: &Place,
    ) -> Result<Option<OutcomeData>, ReadFailure> {
        let ends = desk.outcomes.ends()?;
        let span = |(partition, to): (&i32, &i64)| {
            let from = self.positions.get(partition).copied().unwrap_or(0);
            Some(Span {
                partition: *partition,
                from,
                to: *to,
            })
            .filter(|span| span.from < span.to)
        };
        let spans: Vec<Span> = ends.iter().filter_map(span).collect();
        let source = outcome::source(&desk.kafka.group_id, &lane.target);
        let mut found = None;
        desk.outcomes.scan(&spans, &mut (), |message| {
            if headers::text(message, "ce_source") == Some(&source)
                && let Some(data) = desk::data(message)
                && data.record.topic == *place.topic
                && (data.record.partition, data.record.offset) == (place.partition, place.offset)
            {
                found = Some(data);
            }
            Ok(match found {
                Some(_) => Go::NextPartition,
                None => Go::On,
            })
        })?;
        self.positions = ends;
        Ok(found)
    }
}

/// Why the record waits now. What stood before it is read once.
fn why<'a>(
    queued: &mut Option<QueuedRecord<'a>>,
    desk: &Desk,
    lane: &'a TargetUser,
    place: &'a Place,
    waiting: &WaitFor<'_>,
) -> Result<String, ReadFailure> {
    let known = match queued {
        Some(known) => known,
        None => queued.insert(QueuedRecord::read(desk, lane, place, waiting.until)?),
    };
    known.words(desk, (waiting.status)())
}
