//! Letters: an index of the dead-letter topic in memory, read once and then kept up to date.
//!
//! It is for looking only. What a replay would do is asked of the topics themselves, by the same
//! code as the command.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::{Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::console::texts::Texts;
use crate::kafka::reader::Spot;
use crate::model::dead_letter::DeadLetter;
use crate::model::event::{self, UserId};
use crate::model::outcome::timestamp;
use crate::operator::spots::Spots;
use crate::operator::{Filter, Letter};
use engine::verdict::Reason;

/// Maximum number of letters kept, the latest. A letter takes 56 bytes, and its user's id if that
/// is no number.
const MOST: usize = 1_000_000;
/// The rows of one answer.
pub(super) const ROWS: usize = 200;
/// The bars of the plot over time.
const BARS: usize = 60;
/// The bytes kept of an error, and of the names of fields.
const WORDS: usize = 160;

/// A letter's facts that are known without reading it again.
#[derive(Clone, Debug)]
struct LetterRow {
    failed_at: i64,
    offset: i64,
    user: Option<UserId>,
    target: u32,
    words: u32,
    fields: u32,
    attempts: u16,
    /// 0 if there was no answer.
    status: u16,
    reason: Reason,
    replays: u8,
    settled: bool,
}

/// The parts of a letter that the index takes.
pub(super) struct Draft {
    spot: Spot,
    facts: DeadLetter,
    fields: String,
}

impl Draft {
    /// The draft of this letter.
    pub(super) fn of(letter: &Letter) -> Self {
        let fields = event::decode(&letter.record)
            .map(|event| event.fields().join(", "))
            .unwrap_or_default();
        Draft {
            spot: (letter.place().partition, letter.place().offset),
            facts: letter.facts.clone(),
            fields,
        }
    }
}

/// A page boundary: the time in milliseconds, partition and offset.
pub(super) type Cursor = (i64, i32, i64);

/// The index.
#[derive(Default)]
pub(super) struct Letters(RwLock<Index>, Mutex<Counted>);

/// How many are open, by target, and at which version of the index.
type Counted = Option<(u64, BTreeMap<String, usize>)>;

#[derive(Default)]
struct Index {
    partitions: BTreeMap<i32, Vec<LetterRow>>,
    count: usize,
    texts: Texts,
    settled: Spots,
    /// Whether it is known which are open.
    outcomes_read: bool,
    forgotten: usize,
    strangers: u64,
    /// Grows with each change.
    version: u64,
}

impl Letters {
    /// Adds letters, those of one partition in their order, and the number of records that are
    /// none.
    pub(super) fn add(&self, letters: impl IntoIterator<Item = Draft>, strangers: u64) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for letter in letters {
            index.add(&letter);
        }
        index.strangers += strangers;
        index.version += 1;
        index.bound();
    }

    /// These letters were replayed or superseded.
    pub(super) fn settle(&self, spots: impl IntoIterator<Item = Spot>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for spot in spots {
            index.settled.insert(spot);
            if let Some(rows) = index.partitions.get_mut(&spot.0)
                && let Ok(at) = rows.binary_search_by_key(&spot.1, |row| row.offset)
            {
                rows[at].settled = true;
            }
            index.version += 1;
        }
    }

    /// From now on it is known which are open.
    pub(super) fn outcomes_read(&self) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.outcomes_read = true;
        index.version += 1;
    }

    /// Forgets the letters before that offset, which are gone from the topic.
    pub(super) fn forget_before(&self, partition: i32, offset: i64) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(rows) = index.partitions.get_mut(&partition) else {
            return;
        };
        let gone = rows.partition_point(|row| row.offset < offset);
        if gone > 0 {
            rows.drain(..gone);
            index.count -= gone;
            index.version += 1;
        }
    }

    /// When the first of them was given up.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = index
            .partitions
            .values()
            .flatten()
            .map(|row| row.failed_at)
            .min()?;
        Timestamp::from_millisecond(oldest).ok()
    }

    /// How many are open, by target. `None` until it is known which are.
    pub(super) fn open(&self) -> Option<BTreeMap<String, usize>> {
        let mut counted = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if !index.outcomes_read {
            return None;
        }
        if let Some((version, open)) = &*counted
            && *version == index.version
        {
            return Some(open.clone());
        }
        let mut by_text: HashMap<u32, usize> = HashMap::new();
        for row in index
            .partitions
            .values()
            .flatten()
            .filter(|row| !row.settled)
        {
            *by_text.entry(row.target).or_default() += 1;
        }
        let open: BTreeMap<_, _> = by_text
            .into_iter()
            .map(|(target, count)| (index.texts.get(target).to_owned(), count))
            .collect();
        *counted = Some((index.version, open.clone()));
        Some(open)
    }

    /// The letters that match the filter: counts by target and reason, their distribution over
    /// time, and the latest before `cursor`. `None` if nothing has changed since `seen`.
    pub(super) fn page(
        &self,
        topic: &str,
        filter: &Filter,
        cursor: Option<Cursor>,
        seen: Option<u64>,
    ) -> Option<Value> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (seen != Some(index.version)).then(|| index.page(topic, filter, cursor))
    }
}

/// The letters that a filter takes, while all are gone through.
#[derive(Default)]
struct Fitting {
    targets: HashMap<u32, usize>,
    reasons: HashMap<&'static str, usize>,
    times: Vec<i64>,
    /// By time and place, and by number within the partition: at most [`ROWS`] of them.
    latest: BinaryHeap<Reverse<(Cursor, usize)>>,
}

impl Fitting {
    fn count(&mut self, row: &LetterRow, of_target: bool, of_reason: bool) {
        if of_reason {
            *self.targets.entry(row.target).or_default() += 1;
        }
        if of_target {
            *self.reasons.entry(row.reason.as_str()).or_default() += 1;
        }
        if of_target && of_reason {
            self.times.push(row.failed_at);
        }
    }

    fn keep(&mut self, at: Cursor, number: usize) {
        let oldest = self.latest.peek().map(|Reverse((oldest, _))| *oldest);
        if self.latest.len() >= ROWS && oldest.is_some_and(|oldest| at < oldest) {
            return;
        }
        self.latest.push(Reverse((at, number)));
        if self.latest.len() > ROWS {
            self.latest.pop();
        }
    }
}

impl Index {
    fn add(
        &mut self,
        Draft {
            spot: (partition, offset),
            facts,
            fields,
        }: &Draft,
    ) {
        let (partition, offset) = (*partition, *offset);
        let row = LetterRow {
            failed_at: facts.failed_at.as_millisecond(),
            offset,
            user: facts.user.clone(),
            target: self.texts.number(&facts.target, WORDS),
            words: self.texts.number(&facts.message, WORDS),
            fields: self.texts.number(fields, WORDS),
            attempts: u16::try_from(facts.attempts).unwrap_or(u16::MAX),
            status: facts.http_status.unwrap_or(0),
            reason: facts.reason,
            replays: u8::try_from(facts.replays).unwrap_or(u8::MAX),
            settled: self.settled.contains((partition, offset)),
        };
        let rows = self.partitions.entry(partition).or_default();
        // A letter that is read again, since the client restarted, is known.
        if rows.last().is_none_or(|last| last.offset < offset) {
            rows.push(row);
            self.count += 1;
        }
    }

    /// Forgets the oldest if there are too many.
    fn bound(&mut self) {
        if self.count <= MOST {
            return;
        }
        let mut times: Vec<i64> = self
            .partitions
            .values()
            .flatten()
            .map(|row| row.failed_at)
            .collect();
        let excess = self.count - MOST + MOST / 16;
        let (_, limit, _) = times.select_nth_unstable(excess);
        let limit = *limit;
        self.partitions
            .values_mut()
            .for_each(|rows| rows.retain(|row| row.failed_at >= limit));
        let left = self.partitions.values().map(Vec::len).sum();
        self.forgotten += self.count - left;
        self.count = left;
    }

    fn page(&self, topic: &str, filter: &Filter, cursor: Option<Cursor>) -> Value {
        let mut fitting = Fitting::default();
        let apart = Filter {
            target: None,
            reason: None,
            ..filter.clone()
        };
        let all = self.partitions.iter().flat_map(|(partition, rows)| {
            rows.iter()
                .enumerate()
                .map(move |(number, row)| (*partition, number, row))
        });
        for (partition, number, row) in all {
            if row.settled && !filter.all {
                continue;
            }
            let Ok(failed_at) = Timestamp::from_millisecond(row.failed_at) else {
                continue;
            };
            let target = self.texts.get(row.target);
            if !apart.fits(target, row.reason, row.user.as_ref(), failed_at) {
                continue;
            }
            // Each count shows what choosing it would bring, so its own part of the filter is left
            // out.
            let (of_target, of_reason) = (
                filter
                    .target
                    .as_deref()
                    .is_none_or(|wanted| wanted == target),
                filter.reason.is_none_or(|wanted| wanted == row.reason),
            );
            fitting.count(row, of_target, of_reason);
            let at = (row.failed_at, partition, row.offset);
            if of_target && of_reason && cursor.is_none_or(|cursor| at < cursor) {
                fitting.keep(at, number);
            }
        }
        let row = |Reverse((at, number)): Reverse<(Cursor, usize)>| {
            Some((at, self.partitions.get(&at.1)?.get(number)?))
        };
        let rows: Vec<(Cursor, &LetterRow)> = fitting
            .latest
            .into_sorted_vec()
            .into_iter()
            .filter_map(row)
            .collect();
        let more = rows.len() == ROWS;
        let next = rows.last().filter(|_| more).map(|(at, _)| *at);
        json!({
            "version": self.version,
            "known": self.count,
            "forgotten": self.forgotten,
            "strangers": self.strangers,
            "outcomes_read": self.outcomes_read,
            "total": fitting.times.len(),
            "targets": fitting.targets.into_iter().map(|(target, count)| (self.texts.get(target).to_owned(), count)).collect::<BTreeMap<_, _>>(),
            "reasons": fitting.reasons.into_iter().collect::<BTreeMap<_, _>>(),
            "times": bars(&fitting.times),
            "rows": rows.iter().map(|(at, row)| self.row(topic, *at, row)).collect::<Vec<_>>(),
            "next": next.map(|(at, partition, offset)| format!("{at}.{partition}.{offset}")),
        })
    }

    fn row(&self, topic: &str, (failed_at, partition, offset): Cursor, row: &LetterRow) -> Value {
        json!({
            "place": format!("{topic}/{partition}/{offset}"),
            "failed_at": Timestamp::from_millisecond(failed_at).map(timestamp).ok(),
            "target": self.texts.get(row.target),
            "user": row.user.as_ref().map(UserId::to_string),
            "reason": row.reason.as_str(),
            "status": (row.status > 0).then_some(row.status),
            "attempts": row.attempts,
            "fields": self.texts.get(row.fields),
            "words": self.texts.get(row.words),
            "replays": row.replays,
            "settled": self.outcomes_read.then_some(row.settled),
        })
    }
}

/// How many lie in each of equal stretches of time; from when to when.
fn bars(times: &[i64]) -> Option<Value> {
    let (from, to) = (*times.iter().min()?, *times.iter().max()?);
    let width = (to - from) / i64::try_from(BARS).unwrap_or(1) + 1;
    let mut counts = [0_usize; BARS];
    for time in times {
        counts[usize::try_from((time - from) / width)
            .unwrap_or(0)
            .min(BARS - 1)] += 1;
    }
    let written = |millis| Timestamp::from_millisecond(millis).map(timestamp).ok();
    Some(json!({ "from": written(from), "to": written(to), "counts": counts.to_vec() }))
}
