//! Evidence: what the topics and the APIs hold when all is over, each event with everything that was made of it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};
use stand_in::Call;

use super::broker::Spot;
use super::samples::Sample;
use crate::outcome::{self, Kind, OutcomeData};
use crate::record::Record;

/// An outcome as a consumer sees it.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) data: OutcomeData,
    /// Milliseconds from the event's append to the outcome's.
    pub(super) took_ms: i64,
}

/// One event, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) sample: Sample,
    pub(super) record: Record,
    /// The id of its outcome, which its calls carry too.
    pub(super) outcome_id: String,
    pub(super) endings: Vec<Ending>,
}

impl Event {
    /// Its outcome, where it has one.
    pub(super) fn ending(&self) -> Option<&Ending> {
        self.endings.first()
    }

    /// How it ended, where it did.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.ending().map(|ending| ending.data.outcome)
    }
}

/// What an API has seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) target: &'static str,
    pub(super) calls: Vec<Call>,
    pub(super) overlaps: u64,
    pub(super) fields: HashMap<u64, Map<String, Value>>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// By partition and offset.
    pub(super) events: BTreeMap<Spot, Event>,
    /// Outcomes that belong to no event.
    pub(super) strays: usize,
    pub(super) dead_letters: Vec<Record>,
    pub(super) seen: Vec<Seen>,
}

impl Evidence {
    /// Brings together what belongs together: the samples by their spots, and the records of the three topics.
    ///
    /// # Errors
    /// If the update topic does not hold just the samples.
    pub(super) fn new(
        group_id: &str,
        mut samples: BTreeMap<Spot, Sample>,
        updates: Vec<Record>,
        outcomes: &[Record],
        dead_letters: Vec<Record>,
        seen: Vec<Seen>,
    ) -> anyhow::Result<Self> {
        let mut events = BTreeMap::new();
        for record in updates {
            let spot = (record.place.partition, record.place.offset);
            let sample = samples.remove(&spot);
            let sample = sample.ok_or_else(|| anyhow::anyhow!("the update topic holds what nobody sent: {}", record.place))?;
            let outcome_id = outcome::outcome_id(group_id, sample.subscriber, &record.place).to_string();
            events.insert(spot, Event { sample, record, outcome_id, endings: Vec::new() });
        }
        anyhow::ensure!(samples.is_empty(), "the update topic has lost {} events", samples.len());
        let mut evidence = Evidence { events, strays: 0, dead_letters, seen };
        for outcome in outcomes {
            if !evidence.take(outcome) {
                evidence.strays += 1;
            }
        }
        Ok(evidence)
    }

    /// Adds an outcome to its event. False: it has none.
    fn take(&mut self, outcome: &Record) -> bool {
        let Some(Ok(data)) = outcome.value.as_deref().map(serde_json::from_slice::<OutcomeData>) else { return false };
        let Some(event) = self.events.get_mut(&(data.record.partition, data.record.offset)) else { return false };
        if data.target != event.sample.subscriber || outcome.header_text("ce_id") != Some(&event.outcome_id) {
            return false;
        }
        let took_ms = outcome.timestamp_ms.zip(event.record.timestamp_ms).map_or(0, |(ended, began)| ended - began);
        event.endings.push(Ending { data, took_ms });
        true
    }
}
