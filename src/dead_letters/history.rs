//! The history: what came after dead letters on the update topic, as far as it concerns their users, and how that ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::message::Message;

use super::desk::{self, Desk};
use super::judge::Lane;
use super::letter::{Letter, replay_of};
use super::plan::{self, Case, Other, Step};
use super::spots::Spots;
use super::topic::{Go, Sight, Span, Spot, Topic};
use super::{Failure, Watch};
use crate::event::UserId;
use crate::kafka::headers;
use crate::outcome::{Kind, OutcomeData};
use crate::record::{Place, Record};
use crate::verdict::Reason;

/// A dead letter that somebody wants to act on, without its content.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Where it stands on the dead-letter topic.
    pub spot: Spot,
    /// Its target, or `unclaimed`.
    pub target: Arc<str>,
    /// Its user, where known.
    pub user: Option<UserId>,
    /// Why it is one.
    pub reason: Reason,
    /// Whose it would be now.
    pub lane: Option<Arc<Lane>>,
    /// What it sets.
    pub parts: Arc<[String]>,
    /// What a replay should be warned of, though it does not hinder it.
    pub remark: Option<Arc<str>>,
    /// Where its record stands on the update topic.
    pub origin: Spot,
    /// Where it first stood there, in the same partition.
    pub first: i64,
    /// When it failed for the first time.
    pub since: Timestamp,
    /// How often it was replayed.
    pub replays: u32,
    /// Why it cannot be known what came after it.
    pub blind: Option<String>,
    /// Why it should not be sent.
    pub objection: Option<String>,
    /// Why it cannot be sent.
    pub obstacle: Option<String>,
    /// It was replayed or superseded before it was chosen, and chosen all the same.
    pub settled_before: bool,
    /// The dead letter that its record was before.
    pub(super) replay_of: Link,
}

impl Chosen {
    /// What is needed of a letter. `content` is the record that would be sent.
    pub fn new(desk: &Desk, letter: &Letter, content: &Record) -> Self {
        let reading = desk.judge.read(content);
        let facts = &letter.facts;
        let place = letter.place();
        let remark = reading.problem.filter(|(reason, _)| *reason != Reason::Undecodable || facts.reason == Reason::Undecodable);
        Chosen {
            spot: (place.partition, place.offset),
            target: facts.target.as_str().into(),
            user: facts.user,
            reason: facts.reason,
            lane: reading.lane.map(Arc::new),
            parts: reading.parts.into(),
            remark: remark.map(|(reason, words)| format!("it will fail again as {}: {words}", reason.as_str()).into()),
            origin: (facts.origin.partition, facts.origin.offset),
            first: facts.origin.offset,
            since: facts.failed_at,
            replays: facts.replays,
            blind: (facts.origin.topic != desk.updates.name || facts.origin.partition >= desk.updates.partitions)
                .then(|| format!("it comes from {}, which is not on the update topic of this configuration", facts.origin)),
            objection: letter.record.verbatim_headers.is_some().then(|| {
                "the names of some of its headers are not UTF-8, and those cannot be sent again: --force leaves them out".to_owned()
            }),
            obstacle: None,
            settled_before: false,
            replay_of: replay_of(&letter.record),
        }
    }
}

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// What can be read now.
    Now,
    /// All outcomes that were written until now, waiting for the transactions that are open.
    AllWritten,
}

/// What is known of the users of chosen dead letters.
pub struct History<'a> {
    desk: &'a Desk,
    lanes: HashMap<Arc<Lane>, Vec<(i32, Other)>>,
    dead: HashSet<Spot>,
    settled: Spots,
    replays: Replays,
    /// How far each partition of the update topic was read.
    updates: BTreeMap<i32, i64>,
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
    pub fn read(desk: &'a Desk, chosen: &mut [Chosen], watch: &mut dyn Watch) -> Result<Self, Failure> {
        let links: Vec<_> = chosen.iter().map(|one| (one.origin, one.replay_of.clone())).collect();
        let mut replays = Replays::default();
        for (one, first) in chosen.iter_mut().zip(firsts(desk, links, &mut replays)?) {
            one.first = first.offset;
            one.since = first.failed_at.map_or(one.since, |failed_at| failed_at.min(one.since));
            if !first.sure {
                one.blind.get_or_insert_with(|| {
                    "it was replayed before, and the dead letter that it was then is gone: where it first stood cannot be told".to_owned()
                });
            }
        }
        let mut history = History {
            desk,
            lanes: HashMap::new(),
            dead: HashSet::new(),
            settled: Spots::default(),
            replays,
            updates: BTreeMap::new(),
            outcomes: Vec::new(),
            horizon: None,
        };
        let mut reach: BTreeMap<i32, i64> = BTreeMap::new();
        for one in chosen.iter_mut() {
            let Some(lane) = &one.lane else { continue };
            history.lanes.entry(lane.clone()).or_default();
            let partition = one.origin.0;
            if partition >= desk.updates.partitions {
                continue;
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = reach.entry(partition) {
                entry.insert(desk.updates.span(partition)?.from);
            }
            let low = reach.get(&partition).copied().unwrap_or_default();
            if low > one.first + 1 {
                one.blind.get_or_insert_with(|| {
                    format!(
                        "the update topic no longer reaches back to {partition}/{}: newer updates of this user may be gone from it",
                        one.first
                    )
                });
            }
            let from = history.updates.entry(partition).or_insert(i64::MAX);
            *from = (*from).min(one.first + 1).max(low);
        }
        if let Some(since) = chosen.iter().map(|one| one.since).min() {
            history.begin_outcomes(desk::earlier(since))?;
        }
        history.catch_up(UpTo::Now, watch)?;
        for one in chosen.iter_mut() {
            if let Some(horizon) = history.horizon.filter(|horizon| one.since < *horizon) {
                let words = format!("whether it was replayed already cannot be told: the outcome topic only reaches back to {horizon:.0}");
                one.objection.get_or_insert(words);
            }
        }
        Ok(history)
    }

    fn begin_outcomes(&mut self, since: Timestamp) -> Result<(), Failure> {
        let all = self.desk.outcomes.spans()?;
        self.outcomes = self.desk.outcomes.since(since, all.clone())?;
        self.replays.since = Some(self.replays.since.map_or(since, |known| known.min(since)));
        // Where everything that is left is younger, and something is gone, what is gone may have been younger too.
        let cut: Vec<Span> = all.into_iter().filter(|span| span.from > 0 && self.outcomes.contains(span)).collect();
        let mut firsts: HashMap<i32, Timestamp> = HashMap::new();
        self.desk.outcomes.scan(&cut, &mut (), |message| {
            let time = message.timestamp().to_millis().and_then(|millis| Timestamp::from_millisecond(millis).ok());
            firsts.insert(message.partition(), time.unwrap_or_else(Timestamp::now));
            Ok(Go::NextPartition)
        })?;
        self.horizon = cut.iter().map(|span| firsts.get(&span.partition).copied().unwrap_or_else(Timestamp::now)).max();
        for span in &mut self.outcomes {
            span.to = span.from;
        }
        Ok(())
    }

    /// Reads on: updates first, then outcomes, so that an update which has ended is never taken for one on its way.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn catch_up(&mut self, up_to: UpTo, watch: &mut dyn Watch) -> Result<(), Failure> {
        let found = self.read_updates(watch)?;
        let ends = match up_to {
            UpTo::Now => self.desk.outcomes.spans()?,
            UpTo::AllWritten => {
                let written = Topic::open(&self.desk.kafka, &self.desk.outcomes.name, Sight::Written)?.spans()?;
                self.desk.outcomes.await_committed(&written)?;
                written
            }
        };
        self.read_outcomes(&ends, watch)?;
        // Now the outcomes are known that say which of them were replays.
        let links = found.iter().map(|(_, partition, other, link)| ((*partition, other.at), link.clone())).collect();
        let firsts = firsts(self.desk, links, &mut self.replays)?;
        for ((lane, partition, other, _), first) in found.into_iter().zip(firsts) {
            let first = first.sure.then_some(first.offset);
            self.lanes.entry(lane).or_default().push((partition, Other { first, ..other }));
        }
        Ok(())
    }

    fn read_updates(&mut self, watch: &mut dyn Watch) -> Result<Vec<Found>, Failure> {
        let mut spans = Vec::with_capacity(self.updates.len());
        for (partition, from) in &mut self.updates {
            let span = self.desk.updates.span(*partition)?;
            spans.push(Span { from: *from, ..span });
            *from = span.to.max(*from);
        }
        let mut found = Vec::new();
        watch.begin("reading updates", desk::steps(&spans));
        let (desk, lanes) = (self.desk, &self.lanes);
        desk.updates.scan(&spans, watch, |message| {
            found.extend(of_interest(desk, lanes, message));
            Ok(Go::On)
        })?;
        watch.end();
        Ok(found)
    }

    fn read_outcomes(&mut self, ends: &[Span], watch: &mut dyn Watch) -> Result<(), Failure> {
        for span in &mut self.outcomes {
            span.from = span.to;
            span.to = ends.iter().find(|end| end.partition == span.partition).map_or(span.to, |end| end.to.max(span.to));
        }
        watch.begin("reading outcomes", desk::steps(&self.outcomes));
        let (desk, lanes) = (self.desk, &self.lanes);
        let (dead, settled, replays) = (&mut self.dead, &mut self.settled, &mut self.replays);
        desk.outcomes.scan(&self.outcomes, watch, |message| {
            match desk::kind(message) {
                Some(Kind::Replayed | Kind::Superseded) => {
                    if let Some(data) = desk::data(message) {
                        settled.extend(desk::settled_by(&data, &desk.letters.name));
                        replays.note(desk, data);
                    }
                }
                Some(Kind::DeadLettered)
                    if headers::text(message, "ce_subject").and_then(lane_of).is_some_and(|lane| lanes.contains_key(&lane)) =>
                {
                    let record = desk::data(message).map(|data| data.record).filter(|record| record.topic == *desk.updates.name);
                    dead.extend(record.map(|record| (record.partition, record.offset)));
                }
                _ => {}
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

    /// The other updates of the letter's user in its partition, as far as they were read.
    pub fn others(&self, one: &Chosen) -> Vec<Other> {
        let others = one.lane.as_ref().and_then(|lane| self.lanes.get(lane));
        let in_partition = others.into_iter().flatten().filter(|(partition, _)| *partition == one.origin.0);
        let own = |other: &Other| other.at == one.origin.1;
        in_partition
            .filter(|(_, other)| !own(other))
            .map(|(partition, other)| Other { dead: other.dead || self.dead.contains(&(*partition, other.at)), ..other.clone() })
            .collect()
    }

    /// What is to be done with the letter.
    pub fn step(&self, one: &Chosen, force: bool) -> Step {
        let settled = self.is_settled(one.spot).then_some("it was replayed or superseded already");
        let case = Case {
            first: one.first,
            parts: &one.parts,
            replays: one.replays,
            blind: one.blind.as_deref().filter(|_| one.lane.is_some()),
            objection: settled.or(one.objection.as_deref()),
            obstacle: one.obstacle.as_deref(),
        };
        plan::step(&case, &self.others(one), force)
    }

    /// How far the partition of the update topic was read, where it was.
    pub fn read_to(&self, partition: i32) -> Option<i64> {
        self.updates.get(&partition).copied()
    }
}

/// The dead letter that a record was, where it says that it was one ([`replay_of`]).
type Link = Option<Option<Place>>;

/// An update of a user that matters: whose, in which partition, what it sets, and the dead letter that it says it was.
type Found = (Arc<Lane>, i32, Other, Link);

/// Which records of the update topic are replays, and of which dead letters: as the outcomes say. A header alone proves nothing, since senders
/// may copy it.
#[derive(Default)]
struct Replays {
    /// By dead letter, the records that it became.
    into: HashMap<Spot, HashSet<Spot>>,
    /// Outcomes since then are known.
    since: Option<Timestamp>,
}

impl Replays {
    /// An outcome that settles a dead letter: one that was superseded became nothing.
    fn note(&mut self, desk: &Desk, data: OutcomeData) {
        let letter = desk::settled_by(&data, &desk.letters.name);
        let into = data.into.filter(|into| data.outcome == Kind::Replayed && into.topic == *desk.updates.name);
        if let Some((letter, into)) = letter.zip(into) {
            self.into.entry(letter).or_default().insert((into.partition, into.offset));
        }
    }

    /// Reads the outcomes since then, unless they are known.
    fn learn(&mut self, desk: &Desk, since: Timestamp) -> Result<(), Failure> {
        if self.since.is_some_and(|known| known <= since) {
            return Ok(());
        }
        let spans = desk.outcomes.since(since, desk.outcomes.spans()?)?;
        desk.outcomes.scan(&spans, &mut (), |message| {
            if let Some(data) = desk::settling(message) {
                self.note(desk, data);
            }
            Ok(Go::On)
        })?;
        self.since = Some(since);
        Ok(())
    }

    fn confirm(&self, letter: Spot, record: Spot) -> bool {
        self.into.get(&letter).is_some_and(|into| into.contains(&record))
    }
}

/// An update of a user that matters: whose, in which partition, what it sets, and the dead letter that it was.
fn of_interest(
    desk: &Desk,
    lanes: &HashMap<Arc<Lane>, Vec<(i32, Other)>>,
    message: &rdkafka::message::BorrowedMessage<'_>,
) -> Option<Found> {
    let record = headers::record(&desk.updates.name, message);
    let reading = desk.judge.read(&record);
    let (lane, _) = lanes.get_key_value(&reading.lane?)?;
    let hopeless = reading.problem.is_some_and(|(reason, _)| reason != Reason::Expired);
    // What cannot be delivered anyway overwrites nothing. Where it first stood is asked for all of them together.
    let other = Other { at: message.offset(), first: None, parts: reading.parts, dead: hopeless };
    Some((lane.clone(), message.partition(), other, replay_of(&record)))
}

/// `valt/users/52`.
fn lane_of(subject: &str) -> Option<Lane> {
    let (target, user) = subject.rsplit_once("/users/")?;
    Some(Lane { target: target.to_owned(), user: UserId::new(user.parse().ok()?)? })
}

/// Where an update first stood.
struct First {
    offset: i64,
    /// When it failed there, if it was replayed since.
    failed_at: Option<Timestamp>,
    /// The way back was found to its end.
    sure: bool,
}

/// Follows each update from where it stands back to where it first stood: from the dead letter that it was, to the record that this one was of.
/// Where a record says that it was a dead letter, and no outcome confirms that, it stands where it stands.
fn firsts(desk: &Desk, links: Vec<(Spot, Link)>, replays: &mut Replays) -> Result<Vec<First>, Failure> {
    let mut firsts: Vec<First> = links.iter().map(|((_, offset), _)| First { offset: *offset, failed_at: None, sure: true }).collect();
    let spot = |place: Place| (place.topic == desk.letters.name).then_some((place.partition, place.offset));
    let letter_of = |link: Link| link.flatten().and_then(spot).filter(|(partition, _)| (0..desk.letters.partitions).contains(partition));
    let mut open: Vec<(usize, i32, Spot)> =
        links.into_iter().enumerate().filter_map(|(number, ((partition, _), link))| Some((number, partition, letter_of(link)?))).collect();
    while !open.is_empty() {
        let letters: HashMap<Spot, Letter> = desk
            .letters
            .fetch(open.iter().map(|(.., letter)| *letter))?
            .into_iter()
            .filter_map(|(spot, record)| Some((spot, Letter::read(record)?)))
            .collect();
        if let Some(oldest) = letters.values().map(|letter| letter.facts.failed_at).min() {
            replays.learn(desk, desk::earlier(oldest))?;
        }
        let mut next = Vec::new();
        for (number, partition, spot) in open {
            let first = &mut firsts[number];
            let Some(letter) = letters.get(&spot) else {
                // One that is gone by age was there; one that should be there never was.
                first.sure &= spot.1 >= desk.letters.span(spot.0)?.from;
                continue;
            };
            let origin = &letter.facts.origin;
            if replays.confirm(spot, (partition, first.offset))
                && origin.topic == desk.updates.name
                && origin.partition == partition
                && origin.offset < first.offset
            {
                first.offset = origin.offset;
                first.failed_at = Some(letter.facts.failed_at);
                next.extend(letter_of(replay_of(&letter.record)).map(|link| (number, partition, link)));
            }
        }
        open = next;
    }
    Ok(firsts)
}
