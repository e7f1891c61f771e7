//! Explaining: what is known of one user at one target. What waits, what was delivered lately, what
//! is dead, which fields last changed when.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use rdkafka::message::Message;
use serde::Serialize;

use crate::kafka::headers;
use crate::kafka::reader::{Go, Span};
use crate::model::outcome::{self, Kind, OutcomeData, RecordPlace};
use crate::model::record::Place;
use crate::model::user::UserValue;
use crate::operator::desk::{self, Desk};
use crate::operator::judge::TargetUser;
use crate::operator::progress::PartitionProgress;
use crate::operator::{Filter, Letter, ReadFailure, Watch};
use engine::Spent;

/// Maximum number of waiting updates, and of outcomes, that are kept.
pub const SHOWN: usize = 10;

/// The known facts about a user.
pub struct Explanation {
    /// The user, and the target.
    pub lane: TargetUser,
    /// The user as the target's API has it in JSON.
    pub user: Option<UserValue>,
    /// The first of the updates that wait, in the order in which they are called.
    pub waiting: Vec<Waiting>,
    /// How many wait.
    pub waiting_count: usize,
    /// The last updates that were delivered, or merged into one that was.
    pub delivered: VecDeque<OutcomeData>,
    /// How many there were.
    pub delivered_count: usize,
    /// The open dead letters.
    pub dead: Vec<Letter>,
    /// When each field was last set, by which record.
    pub fields: BTreeMap<String, Changed>,
}

/// An update that waits.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Its position.
    pub record: RecordPlace,
    /// The fields that it sets.
    pub fields: Vec<String>,
    /// When it was written, in UTC.
    pub written_at: Option<String>,
    /// The calls made for it, as far as they are committed.
    pub attempts: u32,
}

/// The last change of a field.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// When the API confirmed it, in UTC.
    pub at: String,
    /// The update.
    pub record: RecordPlace,
}

impl Explanation {
    /// Collects it; outcomes since then.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn read(
        desk: &Desk,
        lane: TargetUser,
        since: Timestamp,
        watch: &mut dyn Watch,
    ) -> Result<Self, ReadFailure> {
        let mut found = Explanation {
            user: desk.judge.user_value(&lane.target, Some(&lane.user)),
            lane,
            waiting: Vec::new(),
            waiting_count: 0,
            delivered: VecDeque::new(),
            delivered_count: 0,
            dead: Vec::new(),
            fields: BTreeMap::new(),
        };
        found.read_waiting(desk, watch)?;
        found.read_outcomes(desk, since, watch)?;
        let filter = Filter {
            target: Some(found.lane.target.clone()),
            user: Some(found.lane.user.clone()),
            ..Filter::default()
        };
        let dead = &mut found.dead;
        desk.letters(&filter, watch, |letter, _| {
            dead.push(letter);
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads the updates that the group has not settled.
    fn read_waiting(&mut self, desk: &Desk, watch: &mut dyn Watch) -> Result<(), ReadFailure> {
        let all = PartitionProgress::of_group(desk, &self.lane.target)?;
        let mut spans = desk.updates.spans()?;
        for (span, progress) in spans.iter_mut().zip(&all) {
            *span = Span {
                from: span.from.max(progress.offset),
                ..*span
            };
        }
        watch.begin("reading updates", desk::steps(&spans));
        desk.updates.scan(&spans, watch, |message| {
            let offset = message.offset();
            let progress = usize::try_from(message.partition())
                .ok()
                .and_then(|partition| all.get(partition));
            if progress.is_some_and(|progress| !progress.is_open(offset)) {
                return Ok(Go::On);
            }
            let record = headers::record(&desk.updates.name, message);
            let reading = desk.judge.read(&record);
            if reading.lane.as_ref() == Some(&self.lane) {
                self.waiting_count += 1;
                if self.waiting.len() < SHOWN {
                    self.waiting.push(waiting(
                        &record.place,
                        reading.parts,
                        record.timestamp_ms,
                        progress.map_or_else(Spent::default, |progress| progress.spent(offset)),
                    ));
                }
            }
            Ok(Go::On)
        })?;
        watch.end();
        Ok(())
    }

    fn read_outcomes(
        &mut self,
        desk: &Desk,
        since: Timestamp,
        watch: &mut dyn Watch,
    ) -> Result<(), ReadFailure> {
        let subject = outcome::subject(&self.lane.target, &self.lane.user);
        let spans = desk.outcomes.since(since, desk.outcomes.spans()?)?;
        watch.begin("reading outcomes", desk::steps(&spans));
        desk.outcomes.scan(&spans, watch, |message| {
            if matches!(desk::kind(message), Some(Kind::Delivered | Kind::Merged))
                && headers::text(message, "ce_subject") == Some(&subject)
                && let Some(data) = desk::data(message)
            {
                self.take(data);
            }
            Ok(Go::On)
        })?;
        watch.end();
        Ok(())
    }

    fn take(&mut self, data: OutcomeData) {
        for field in data.fields.iter().flatten() {
            let changed = Changed {
                at: data.finished_at.clone(),
                record: data.record.clone(),
            };
            match self.fields.get_mut(field) {
                // If one call carries several updates, the last one that sets a field prevails.
                Some(known)
                    if (&known.at, known.record.offset) > (&changed.at, changed.record.offset) => {}
                Some(known) => *known = changed,
                None => drop(self.fields.insert(field.clone(), changed)),
            }
        }
        self.delivered_count += 1;
        self.delivered.push_back(data);
        if self.delivered.len() > SHOWN {
            self.delivered.pop_front();
        }
    }
}

fn waiting(place: &Place, fields: Vec<String>, timestamp_ms: Option<i64>, spent: Spent) -> Waiting {
    let written_at = timestamp_ms
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .map(outcome::timestamp);
    Waiting {
        record: place.into(),
        fields,
        written_at,
        attempts: spent.calls,
    }
}
