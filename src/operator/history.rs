//! The history: what came after dead letters on the update topic, as far as it concerns their
//! users, and how that ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::message::Message;

use crate::kafka::headers;
use crate::kafka::reader::{Go, Sight, Span, Spot, Topic};
use crate::model::outcome;
use crate::model::outcome::{EventIdentity, Kind};
use crate::operator::ancestry::{Link, Replays, beginnings};
pub use crate::operator::chosen::Chosen;
use crate::operator::chosen::FROM_BEFORE;
use crate::operator::desk::{self, Desk};
use crate::operator::judge::{RecordReading, TargetUser};
use crate::operator::lanes::{EventHash, UserUpdates, event_hash};
use crate::operator::letter::replay_of;
use crate::operator::plan::{self, Case, First, LetterPlan, OtherUpdate};
use crate::operator::reach::{beyond, reach_back, read_on};
use crate::operator::spots::Spots;
use crate::operator::{ReadFailure, Watch};
use engine::verdict::Reason;

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// The outcomes that can be read now.
    Now,
    /// All outcomes that were written until now, waiting for the transactions that are open.
    AllWritten,
}

/// The updates and outcomes of chosen dead letters' users.
pub struct History<'a> {
    desk: &'a Desk,
    lanes: UserUpdates,
    settled: Spots,
    replays: Replays,
    /// How far each partition of the update topic was read.
    updates: BTreeMap<i32, i64>,
    /// The latest timestamp seen in each of them. What follows it was written no earlier, whatever
    /// its own says.
    latest_ms: HashMap<i32, i64>,
    /// How far the outcome topic was read.
    outcomes: Vec<Span>,
    /// Whether outcomes that are older than this may be gone.
    horizon: Option<Timestamp>,
}

impl<'a> History<'a> {
    /// Reads the history of these letters, and completes what they say of themselves.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn read(
        desk: &'a Desk,
        chosen: &mut [Chosen],
        watch: &mut dyn Watch,
    ) -> Result<Self, ReadFailure> {
        let mut history = History {
            desk,
            lanes: UserUpdates::default(),
            settled: Spots::default(),
            replays: Replays::default(),
            updates: BTreeMap::new(),
            latest_ms: HashMap::new(),
            outcomes: Vec::new(),
            horizon: None,
        };
        history.trace_back(chosen)?;
        history.begin_updates(chosen)?;
        if let Some(since) = chosen.iter().map(|one| one.since).min() {
            history.begin_outcomes(desk::earlier(since))?;
        }
        history.catch_up(UpTo::Now, watch)?;
        for one in chosen.iter_mut() {
            one.objection = one
                .objection
                .take()
                .or_else(|| beyond(history.horizon, one.since));
        }
        Ok(history)
    }

    /// Completes each letter's first position.
    fn trace_back(&mut self, chosen: &mut [Chosen]) -> Result<(), ReadFailure> {
        let links = chosen
            .iter()
            .map(|one| (one.first, one.replay_of.clone()))
            .collect();
        for (one, beginning) in
            chosen
                .iter_mut()
                .zip(beginnings(self.desk, links, &mut self.replays)?)
        {
            one.first = beginning.first;
            one.since = beginning
                .failed_at
                .map_or(one.since, |failed_at| failed_at.min(one.since));
            if one.first == First::BEFORE_THE_TOPIC {
                one.from_before = true;
                one.objection.get_or_insert_with(|| FROM_BEFORE.to_owned());
            }
            if !beginning.sure {
                one.blind.get_or_insert_with(|| {
                    "it was replayed before, and the dead letter that it was then is gone: where it first stood cannot be told".to_owned()
                });
            }
        }
        Ok(())
    }

    /// Chooses the start of reading these users' updates: in each partition, the first position of
    /// its first letter. The other partitions may hold updates of the same users if partitions were
    /// added, and are read from the time at which the oldest letter was written.
    fn begin_updates(&mut self, chosen: &mut [Chosen]) -> Result<(), ReadFailure> {
        let with_lane = || chosen.iter().filter(|one| one.lane.is_some());
        if with_lane().next().is_none() {
            return Ok(());
        }
        let written = with_lane().map(|one| one.first.written_ms).min().flatten();
        let oldest = written.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let all = self.desk.updates.spans()?;
        let since = match oldest {
            Some(oldest) => self
                .desk
                .updates
                .since(desk::earlier(oldest), all.clone())?,
            None => all.clone(),
        };
        self.updates = since
            .iter()
            .map(|span| (span.partition, span.from))
            .collect();
        let lows: HashMap<i32, i64> = all.iter().map(|span| (span.partition, span.from)).collect();
        for one in chosen.iter_mut() {
            let Some(lane) = &one.lane else { continue };
            self.lanes.watch(lane);
            let partition = one.first.partition;
            if let (Some(low), Some(from)) =
                (lows.get(&partition), self.updates.get_mut(&partition))
            {
                let blind = reach_back(one.first, *low, from);
                one.blind = one.blind.take().or(blind);
            }
        }
        Ok(())
    }

    fn begin_outcomes(&mut self, since: Timestamp) -> Result<(), ReadFailure> {
        let all = self.desk.outcomes.spans()?;
        self.outcomes = self.desk.outcomes.since(since, all.clone())?;
        self.replays.since = Some(self.replays.since.map_or(since, |known| known.min(since)));
        // If every outcome left in a partition is younger, and some are gone, those may have been
        // younger too.
        let cut: Vec<Span> = all
            .into_iter()
            .filter(|span| span.from > 0 && self.outcomes.contains(span))
            .collect();
        let mut firsts: HashMap<i32, Timestamp> = HashMap::new();
        self.desk.outcomes.scan(&cut, &mut (), |message| {
            let time = message
                .timestamp()
                .to_millis()
                .and_then(|millis| Timestamp::from_millisecond(millis).ok());
            firsts.insert(message.partition(), time.unwrap_or_else(Timestamp::now));
            Ok(Go::NextPartition)
        })?;
        self.horizon = cut
            .iter()
            .map(|span| {
                firsts
                    .get(&span.partition)
                    .copied()
                    .unwrap_or_else(Timestamp::now)
            })
            .max();
        for span in &mut self.outcomes {
            span.to = span.from;
        }
        Ok(())
    }

    /// Reads on: updates first, then outcomes, so that an update which has ended is never taken for
    /// one on its way.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn catch_up(&mut self, up_to: UpTo, watch: &mut dyn Watch) -> Result<(), ReadFailure> {
        let found = self.read_updates(watch)?;
        let ends = match up_to {
            UpTo::Now => self.desk.outcomes.spans()?,
            UpTo::AllWritten => {
                let written =
                    Topic::open(&self.desk.kafka, &self.desk.outcomes.name, Sight::Written)?
                        .spans()?;
                self.desk.outcomes.await_committed(&written)?;
                written
            }
        };
        self.read_outcomes(&ends, watch)?;
        // Now the outcomes are known that say which of them were replays.
        let links = found
            .iter()
            .map(|found| (found.stands, found.link.clone()))
            .collect();
        let beginnings = beginnings(self.desk, links, &mut self.replays)?;
        for (found, beginning) in found.into_iter().zip(beginnings) {
            let first = beginning.sure.then_some(beginning.first);
            let other = OtherUpdate {
                first,
                ..found.other
            };
            self.lanes.add(found.lane, other, found.event);
        }
        Ok(())
    }

    fn read_updates(&mut self, watch: &mut dyn Watch) -> Result<Vec<FoundUpdate>, ReadFailure> {
        let ends = self.desk.updates.ends()?;
        let mut spans = Vec::with_capacity(self.updates.len());
        for (partition, from) in &mut self.updates {
            let to = ends.get(partition).copied().unwrap_or(*from);
            spans.push(Span {
                partition: *partition,
                from: *from,
                to,
            });
            *from = to.max(*from);
        }
        let mut found = Vec::new();
        watch.begin("reading updates", desk::steps(&spans));
        let (desk, lanes, latest_ms) = (self.desk, &self.lanes, &mut self.latest_ms);
        desk.updates.scan(&spans, watch, |message| {
            if let Some(own) = message.timestamp().to_millis() {
                let latest = latest_ms.entry(message.partition()).or_insert(own);
                *latest = own.max(*latest);
            }
            found.extend(of_interest(
                desk,
                lanes,
                latest_ms.get(&message.partition()).copied(),
                message,
            ));
            Ok(Go::On)
        })?;
        watch.end();
        Ok(found)
    }

    fn read_outcomes(&mut self, ends: &[Span], watch: &mut dyn Watch) -> Result<(), ReadFailure> {
        read_on(&mut self.outcomes, ends);
        watch.begin("reading outcomes", desk::steps(&self.outcomes));
        let (desk, lanes) = (self.desk, &mut self.lanes);
        let (settled, replays) = (&mut self.settled, &mut self.replays);
        desk.outcomes.scan(&self.outcomes, watch, |message| {
            match desk::kind(message) {
                Some(Kind::Replayed | Kind::Superseded) => {
                    if let Some(data) = desk::data(message) {
                        settled.extend(desk::settled_by(&data, &desk.letters.name));
                        replays.note(desk, data);
                    }
                }
                Some(kind)
                    if headers::text(message, "ce_subject")
                        .and_then(lane_of)
                        .is_some_and(|lane| lanes.get(&lane).is_some()) =>
                {
                    if let Some(data) =
                        desk::data(message).filter(|data| data.record.topic == *desk.updates.name)
                    {
                        let spot = (data.record.partition, data.record.offset);
                        lanes.ended(spot, kind, &data.event);
                    }
                }
                Some(_) | None => {}
            }
            Ok(Go::On)
        })?;
        watch.end();
        Ok(())
    }

    /// Whether the dead letter was replayed or superseded.
    pub fn is_settled(&self, spot: Spot) -> bool {
        self.settled.contains(spot)
    }

    /// The other updates of the letter's user, as far as they were read.
    pub fn others(&self, one: &Chosen) -> Vec<OtherUpdate> {
        self.lanes.others(one)
    }

    /// The partition to which the letter goes back: that of the latest update of its user, or else
    /// its own. Whatever the senders make of a key, the user's next update will stand there too.
    pub fn home(&self, one: &Chosen) -> i32 {
        self.lanes.home(one)
    }

    /// Plans the action for the letter.
    pub fn step(&self, one: &Chosen, force: bool) -> LetterPlan {
        let settled = self
            .is_settled(one.spot)
            .then_some("it was replayed or superseded already");
        let case = Case {
            first: one.first,
            parts: &one.parts,
            replays: one.replays,
            blind: one.blind.as_deref().filter(|_| one.lane.is_some()),
            objection: settled.or(one.objection.as_deref()),
            fails_again: one.fails_again.as_deref(),
            obstacle: one.obstacle.as_deref(),
        };
        plan::step(&case, &self.others(one), force)
    }

    /// How far each partition of the update topic was read.
    pub fn read_to(&self) -> impl Iterator<Item = (i32, i64)> {
        self.updates.iter().map(|(partition, to)| (*partition, *to))
    }
}

/// An update of a user that matters.
struct FoundUpdate {
    lane: Arc<TargetUser>,
    other: OtherUpdate,
    /// Its position.
    stands: First,
    /// The dead letter that it claims to replay.
    link: Link,
    event: EventHash,
}

fn of_interest(
    desk: &Desk,
    lanes: &UserUpdates,
    written_ms: Option<i64>,
    message: &rdkafka::message::BorrowedMessage<'_>,
) -> Option<FoundUpdate> {
    let record = headers::record(&desk.updates.name, message);
    let RecordReading {
        event,
        lane,
        parts,
        problem,
        call: _,
    } = desk.judge.read(&record);
    let lane = lanes.get(&lane?)?;
    // A user may have been protected, or an event have expired, after it was delivered.
    let hopeless =
        problem.is_some_and(|(reason, _)| !matches!(reason, Reason::Expired | Reason::Protected));
    let (partition, offset) = (message.partition(), message.offset());
    // An undeliverable update overwrites nothing. The first positions are asked for later, for all
    // updates together.
    let other = OtherUpdate {
        at: (partition, offset),
        first: None,
        parts,
        dead: hopeless,
    };
    Some(FoundUpdate {
        lane: lane.clone(),
        other,
        stands: First {
            partition,
            offset,
            written_ms,
        },
        link: replay_of(&record),
        event: event_hash(&EventIdentity::from(&event.ok()?.identity)),
    })
}

/// `valt/users/52`.
fn lane_of(subject: &str) -> Option<TargetUser> {
    let (target, user) = outcome::of_subject(subject)?;
    Some(TargetUser {
        target: target.to_owned(),
        user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_a_lane() {
        let user =
            |text: &str| lane_of(text).map(|lane| (lane.target.clone(), lane.user.to_string()));
        let of = |target: &str, id: &str| Some((target.to_owned(), id.to_owned()));
        assert_eq!(user("valt/users/52"), of("valt", "52"));
        assert_eq!(user("a/users/b/users/7"), of("a/users/b", "7"));
        assert_eq!(user("scim/users/a%2Fb"), of("scim", "a/b"));
        for other in ["valt", "valt/users/", "valt/users/%FF"] {
            assert_eq!(user(other), None, "{other}");
        }
    }
}
