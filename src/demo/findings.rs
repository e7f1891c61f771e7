//! Findings: what the topics and the APIs hold in the end, and whether it is what the service
//! promises.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use serde_json::{Map, Value};

use crate::config::UNCLAIMED;
use crate::demo::broker::Spot;
use crate::demo::samples::{SUBSCRIBERS, Sample};
use crate::model::outcome::{self, Kind, OutcomeData};
use crate::model::record::Record;
use engine::verdict::Reason;

/// A promise that was kept, or how it was broken.
pub(super) type Verdict = Result<String, String>;

/// One event, and its outcomes in the order of their topic.
#[derive(Clone, Debug)]
pub(super) struct SentEvent {
    pub(super) sample: Sample,
    pub(super) outcomes: Vec<Outcome>,
}

/// An outcome as a consumer sees it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) data: OutcomeData,
    /// Its offset. All outcomes of a user are on one partition.
    offset: i64,
    /// Milliseconds from the event's append to the outcome's.
    pub(super) took_ms: i64,
}

impl SentEvent {
    /// How it ended, if it did.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.outcomes.first().map(|outcome| outcome.data.outcome)
    }
}

/// The calls that an API received, as it recorded them.
#[derive(Clone, Debug)]
pub(super) struct ApiState {
    pub(super) target: &'static str,
    /// Calls that arrived while another one of the same user was in progress.
    pub(super) overlaps: u64,
    /// The fields of each user.
    pub(super) users: HashMap<String, Map<String, Value>>,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub(super) struct DemoFindings {
    /// By partition and offset.
    pub(super) events: BTreeMap<Spot, SentEvent>,
    /// Outcomes that belong to no event.
    pub(super) strays: usize,
    /// Records in the dead-letter topic.
    pub(super) dead_letters: usize,
    pub(super) apis: Vec<ApiState>,
}

impl DemoFindings {
    /// Assigns each outcome to its event.
    ///
    /// # Errors
    /// If the update topic does not hold just the samples.
    pub(super) fn new(
        group_id: &str,
        mut samples: BTreeMap<Spot, Sample>,
        updates: &[Record],
        outcomes: &[Record],
        dead_letters: usize,
        apis: Vec<ApiState>,
    ) -> anyhow::Result<Self> {
        let mut findings = DemoFindings {
            events: BTreeMap::new(),
            strays: 0,
            dead_letters,
            apis,
        };
        let mut ids = HashMap::new();
        for record in updates {
            let spot = (record.place.partition, record.place.offset);
            let sample = samples
                .remove(&spot)
                .with_context(|| format!("nobody sent the record at {}", record.place))?;
            let id = outcome::outcome_id(group_id, sample.subscriber, &record.place).to_string();
            ids.insert(id, (spot, record.timestamp_ms));
            findings.events.insert(
                spot,
                SentEvent {
                    sample,
                    outcomes: Vec::new(),
                },
            );
        }
        anyhow::ensure!(
            samples.is_empty(),
            "the update topic has lost {} events",
            samples.len()
        );
        for record in outcomes {
            let data = record
                .value
                .as_deref()
                .and_then(|value| serde_json::from_slice::<OutcomeData>(value).ok());
            let of = record.header_text("ce_id").and_then(|id| ids.get(id));
            match (data, of) {
                (Some(data), Some((spot, written_ms)))
                    if (data.record.partition, data.record.offset) == *spot =>
                {
                    let took_ms = record
                        .timestamp_ms
                        .zip(*written_ms)
                        .map_or(0, |(ended, written)| ended - written);
                    let outcome = Outcome {
                        data,
                        offset: record.place.offset,
                        took_ms,
                    };
                    findings
                        .events
                        .entry(*spot)
                        .and_modify(|event| event.outcomes.push(outcome));
                }
                _ => findings.strays += 1,
            }
        }
        Ok(findings)
    }

    /// Every promise.
    pub(super) fn verdicts(&self) -> [Verdict; 3] {
        [self.one_outcome_each(), self.in_order(), self.states()]
    }

    fn one_outcome_each(&self) -> Verdict {
        let with = |count: fn(usize) -> bool| {
            self.events
                .values()
                .filter(|event| count(event.outcomes.len()))
                .count()
        };
        let (none, several) = (with(|count| count == 0), with(|count| count > 1));
        let dead = self
            .events
            .values()
            .filter(|event| event.kind() == Some(Kind::DeadLettered))
            .count();
        let (strays, letters, events) = (self.strays, self.dead_letters, self.events.len());
        if none + several + strays > 0 {
            return Err(format!(
                "outcomes: {none} events have none, {several} have several, {strays} belong to no event"
            ));
        }
        if dead != letters {
            return Err(format!(
                "outcomes: {dead} say dead_lettered, and the dead-letter topic has {letters} records"
            ));
        }
        Ok(format!(
            "exactly one outcome for each of {events} events (read_committed)"
        ))
    }

    /// The outcomes of a user come in the order of the events, and no two calls were made at once.
    /// An event whose time was over ends before its turn.
    fn in_order(&self) -> Verdict {
        let mut latest: HashMap<(&str, &str), i64> = HashMap::new();
        for (spot, event) in &self.events {
            let target = event.sample.subscriber;
            for outcome in event
                .outcomes
                .iter()
                .filter(|outcome| outcome.data.reason != Some(Reason::Expired))
            {
                let before = latest.insert((target, &event.sample.user), outcome.offset);
                if target != UNCLAIMED && before.is_some_and(|before| before > outcome.offset) {
                    return Err(format!(
                        "order: the event of user {} of {target} at offset {} ended before an earlier one",
                        event.sample.user, spot.1
                    ));
                }
            }
        }
        if let Some(api) = self.apis.iter().find(|api| api.overlaps > 0) {
            return Err(format!(
                "order: {} was called {} times for a user with a call in progress",
                api.target, api.overlaps
            ));
        }
        Ok("each user's outcomes in the order of the events, never two calls at once".to_owned())
    }

    /// The delivered changes of each user, one over the other, are what the API has.
    fn states(&self) -> Verdict {
        let mut folded: HashMap<(&str, &str), Map<String, Value>> = HashMap::new();
        for event in self
            .events
            .values()
            .filter(|event| matches!(event.kind(), Some(Kind::Delivered | Kind::Merged)))
        {
            let user = (event.sample.subscriber, event.sample.user.as_str());
            let fields = folded.entry(user).or_default();
            fields.extend(event.sample.changes.clone());
            // Null removes an attribute of SCIM, and is no value of any other field.
            fields.retain(|_, value| !value.is_null());
        }
        let users = folded.len();
        for ApiState { target, users, .. } in &self.apis {
            for (user, fields) in users {
                if folded.remove(&(*target, user.as_str())).as_ref() != Some(fields) {
                    return Err(format!(
                        "final state: user {user} of {target} is not the sum of the delivered updates"
                    ));
                }
            }
        }
        match folded.keys().next() {
            Some((target, user)) => Err(format!(
                "final state: {target} does not know user {user}, who was updated"
            )),
            None => Ok(format!(
                "{users} users at three APIs are the sum of their delivered updates"
            )),
        }
    }
}

/// The events of one subscriber.
pub(super) fn of<'a>(
    findings: &'a DemoFindings,
    subscriber: &'a str,
) -> impl Iterator<Item = &'a SentEvent> {
    debug_assert!(SUBSCRIBERS.contains(&subscriber));
    findings
        .events
        .values()
        .filter(move |event| event.sample.subscriber == subscriber)
}
