//! The guard as its target shows it: what would be lost if it let everything through.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config;
use crate::subscriber::Subscriber;
use crate::subscriber::update::Update;
use engine::Guarded;

/// So many fields and sources are named.
const MOST_NAMED: usize = 20;
/// What waits is looked through no more often.
const PAUSE: Duration = Duration::from_secs(2);

/// What a target shows that holds over its guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardStatus {
    /// The users who would lose something by what waits in this instance's memory.
    pub users: usize,
    /// So many have lost something within the window, by calls of this instance's partitions,
    pub counted: u32,
    /// and so many may: this instance's share of `max_users`.
    pub share: u32,
    /// What they would lose: the names of the fields, at most 20.
    pub fields: Vec<String>,
    /// The `source`s of the events that say so, those of most users first, at most 20.
    pub sources: Vec<String>,
    /// The first of those records, as it was written,
    pub first: Option<GuardRecord>,
    /// and the last.
    pub last: Option<GuardRecord>,
}

impl GuardStatus {
    /// All of it in a sentence.
    pub fn words(&self) -> String {
        let record = |record: &Option<GuardRecord>| match record {
            Some(one) => format!("{} of {}", one.place(), one.written_at),
            None => "unknown".to_owned(),
        };
        format!(
            "{} users who wait here would lose {}, as {} says; first record {}, last {}; \
             {} of {} have lost something",
            self.users,
            self.fields.join(", "),
            self.sources.join(", "),
            record(&self.first),
            record(&self.last),
            self.counted,
            self.share
        )
    }
}

/// A record that would take something away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardRecord {
    /// The update topic.
    pub topic: String,
    /// Its partition there,
    pub partition: i32,
    /// and its offset.
    pub offset: i64,
    /// When it was written.
    pub written_at: Timestamp,
}

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct GuardNotice {
    looked: Option<(Instant, GuardStatus)>,
    /// When it began or ceased to hold.
    since: Option<Instant>,
    held: bool,
}

impl GuardNotice {
    /// What to show now; `None` unless the target holds over its guard.
    pub(super) fn look<'a>(
        &mut self,
        guarded: Option<Guarded>,
        guard: Option<&config::Guard>,
        waiting: impl Iterator<Item = &'a Arc<Update>>,
        now: Instant,
    ) -> Option<GuardStatus> {
        let (Some(guarded), Some(guard)) = (guarded, guard) else {
            self.looked = None;
            return None;
        };
        let is_fresh = |(at, _): &&(Instant, GuardStatus)| now.duration_since(*at) < PAUSE;
        if let Some((_, status)) = self.looked.as_ref().filter(is_fresh) {
            return Some(status.clone());
        }
        let status = status(guarded, &guard.also, waiting);
        self.looked = Some((now, status.clone()));
        Some(status)
    }

    /// Since when the target does what it does, as far as its guard goes.
    pub(super) fn since(&mut self, guarded: Option<Guarded>, now: Instant) -> Option<Instant> {
        if self.held != guarded.is_some() {
            self.held = guarded.is_some();
            self.since = Some(guarded.map_or(now, |guarded| guarded.since));
        }
        self.since
    }
}

impl GuardRecord {
    fn place(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl Subscriber {
    /// Says once that it holds.
    pub(super) fn tell_guarded(&mut self) {
        let Some(guard) = self.guard_status() else {
            return;
        };
        let place = |record: Option<GuardRecord>| record.map(|one| one.place());
        warn!(
            target = self.name,
            users = guard.users,
            counted = guard.counted,
            share = guard.share,
            fields = guard.fields.join(", "),
            sources = guard.sources.join(", "),
            first = place(guard.first),
            last = place(guard.last),
            "the target's guard holds it: more users would lose something than `max_users`. \
             Look at the sources, then set `guard.allow_until` or `guard.refuse_until`"
        );
    }

    /// What it shows; `None` unless it holds.
    pub(super) fn guard_status(&mut self) -> Option<GuardStatus> {
        let (guarded, waiting) = (self.engine.guarded(), self.engine.waiting());
        self.guarded
            .look(guarded, self.guard.as_ref(), waiting, Instant::now())
    }
}

fn status<'a>(
    guarded: Guarded,
    also: &[String],
    waiting: impl Iterator<Item = &'a Arc<Update>>,
) -> GuardStatus {
    let (mut users, mut fields) = (BTreeSet::new(), BTreeSet::new());
    let mut sources: HashMap<&str, BTreeSet<_>> = HashMap::new();
    let (mut first, mut last): (Option<&Update>, Option<&Update>) = (None, None);
    let when = |update: &Update| (update.written_ms(), update.record.place.offset);
    for update in waiting {
        let Some(call) = &update.call else { continue };
        let taken = call.changes.taken_away(also);
        if taken.is_empty() {
            continue;
        }
        users.insert(&call.user);
        fields.extend(taken);
        let source = update.identity.source.as_deref().unwrap_or_default();
        sources.entry(source).or_default().insert(&call.user);
        first = first
            .filter(|first| when(first) <= when(update))
            .or(Some(update));
        last = last
            .filter(|last| when(last) > when(update))
            .or(Some(update));
    }
    let mut sources: Vec<_> = sources.into_iter().collect();
    sources.sort_by_key(|(source, users)| (std::cmp::Reverse(users.len()), *source));
    GuardStatus {
        users: users.len(),
        counted: guarded.taken,
        share: guarded.slots,
        fields: fields.into_iter().take(MOST_NAMED).collect(),
        sources: sources
            .into_iter()
            .take(MOST_NAMED)
            .map(|(source, _)| source.to_owned())
            .collect(),
        first: first.map(record),
        last: last.map(record),
    }
}

fn record(update: &Update) -> GuardRecord {
    let written_at = Timestamp::from_millisecond(update.written_ms());
    GuardRecord {
        topic: update.record.place.topic.to_string(),
        partition: update.record.place.partition,
        offset: update.record.place.offset,
        written_at: written_at.unwrap_or(update.received_at),
    }
}
