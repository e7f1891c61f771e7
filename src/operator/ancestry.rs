//! The ancestry of updates: the first position of each, before it was dead-lettered and replayed,
//! perhaps more than once.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::kafka::reader::{Go, Spot};
use crate::model::outcome::{Kind, OutcomeData};
use crate::model::record::Place;
use crate::operator::ReadFailure;
use crate::operator::desk::{self, Desk};
use crate::operator::letter::{Letter, replay_of};
use crate::operator::plan::First;

/// More replays of one update than this are not followed back.
const GENERATIONS: usize = 100;

/// The dead letter that a record replays, if the record names one ([`replay_of`]).
pub(super) type Link = Option<Option<Place>>;

/// The records of the update topic that replay dead letters, and which ones, according to the
/// outcomes. A header alone proves nothing, since senders may copy it.
#[derive(Default)]
pub(super) struct Replays {
    /// By dead letter, the records that it became.
    into: HashMap<Spot, HashSet<Spot>>,
    /// Outcomes since then are known.
    pub(super) since: Option<Timestamp>,
}

impl Replays {
    /// An outcome that settles a dead letter: one that was superseded became nothing.
    pub(super) fn note(&mut self, desk: &Desk, data: OutcomeData) {
        let letter = desk::settled_by(&data, &desk.letters.name);
        let into = data
            .into
            .filter(|into| data.outcome == Kind::Replayed && into.topic == *desk.updates.name);
        if let Some((letter, into)) = letter.zip(into) {
            self.into
                .entry(letter)
                .or_default()
                .insert((into.partition, into.offset));
        }
    }

    /// Reads the outcomes since then, unless they are known.
    fn learn(&mut self, desk: &Desk, since: Timestamp) -> Result<(), ReadFailure> {
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
        self.into
            .get(&letter)
            .is_some_and(|into| into.contains(&record))
    }
}

/// An update's first position, as far back as it could be followed.
pub(super) struct Beginning {
    pub(super) first: First,
    /// When it failed there, if it was replayed since.
    pub(super) failed_at: Option<Timestamp>,
    /// The way back was found to its end.
    pub(super) sure: bool,
}

/// Follows each update from its position back to its first one: from the dead letter that it was,
/// to that letter's original record, and so on. If no outcome confirms a record's claim that it was
/// a dead letter, its own position is its first.
pub(super) fn beginnings(
    desk: &Desk,
    updates: Vec<(First, Link)>,
    replays: &mut Replays,
) -> Result<Vec<Beginning>, ReadFailure> {
    let spot = |place: Place| {
        (place.topic == desk.letters.name).then_some((place.partition, place.offset))
    };
    let letter_of = |link: Link| {
        link.flatten()
            .and_then(spot)
            .filter(|(partition, _)| (0..desk.letters.partitions).contains(partition))
    };
    let (mut found, mut open) = (Vec::with_capacity(updates.len()), Vec::new());
    for (number, (first, link)) in updates.into_iter().enumerate() {
        found.push(Beginning {
            first,
            failed_at: None,
            sure: true,
        });
        open.extend(letter_of(link).map(|letter| (number, letter)));
    }
    for _ in 0..GENERATIONS {
        if open.is_empty() {
            return Ok(found);
        }
        let letters: HashMap<Spot, Letter> = desk
            .letters
            .fetch(open.iter().map(|(_, letter)| *letter))?
            .into_iter()
            .filter_map(|(spot, record)| Some((spot, Letter::read(record)?)))
            .collect();
        if let Some(oldest) = letters.values().map(|letter| letter.facts.failed_at).min() {
            replays.learn(desk, desk::earlier(oldest))?;
        }
        let mut next = Vec::new();
        for (number, spot) in open {
            let beginning = &mut found[number];
            let Some(letter) = letters.get(&spot) else {
                // One that is gone by age was there; one that should be there never was.
                beginning.sure &= spot.1 >= desk.letters.span(spot.0)?.from;
                continue;
            };
            let origin = &letter.facts.origin;
            let stands = (beginning.first.partition, beginning.first.offset);
            if !replays.confirm(spot, stands) || origin.topic != desk.updates.name {
                continue;
            }
            beginning.failed_at = Some(letter.facts.failed_at);
            // Its first place means nothing on this topic.
            if desk.is_from_before(letter) {
                beginning.first = First::BEFORE_THE_TOPIC;
                continue;
            }
            beginning.first = First {
                partition: origin.partition,
                offset: origin.offset,
                written_ms: letter.written_ms(),
            };
            next.extend(letter_of(replay_of(&letter.record)).map(|letter| (number, letter)));
        }
        open = next;
    }
    for (number, _) in open {
        found[number].sure = false;
    }
    Ok(found)
}
