//! The tally of previews: how many of each kind, and the first of each. Bounded, however many
//! events there are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::model::event::Identity;
use crate::model::text;
use crate::operator::preview::{At, Fate, Preview, ToCall};
use engine::verdict::Reason;

/// Messages that are kept for each target and reason.
const MESSAGES: usize = 8;
/// Pairs of source and type that are kept.
const ORIGINS: usize = 1_000;
/// Bytes of a source or a type that are kept.
const NAME: usize = 120;

/// Users who would lose something that are counted for each target, 16 bytes each.
const LOSERS: usize = 1_000_000;

/// How many events there are of each kind.
#[derive(Default)]
pub struct PreviewTally {
    /// All of them.
    pub events: u64,
    /// Those that would be dead letters.
    pub dead: u64,
    /// To each target, and the first of them.
    pub(super) calls: BTreeMap<String, (u64, Preview)>,
    /// Dead letters by target and reason.
    pub(super) letters: BTreeMap<(Option<String>, Reason), Kinds<String>>,
    /// Events that no target takes, by source and type.
    pub(super) unroutable: Kinds<(String, String)>,
    /// What would be taken away, by guarded target.
    pub(super) losses: BTreeMap<String, Losses>,
}

/// What the updates of a guarded target would take away.
pub(super) struct Losses {
    /// So many users may lose something within this time.
    pub(super) guard: (u32, Duration),
    /// The fields that they would lose something of.
    pub(super) fields: BTreeSet<String>,
    /// Hashes of the users, since an id may be long.
    users: HashSet<u64>,
}

impl Losses {
    /// How many users would lose something.
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }
}

/// Events that differ in something.
pub(super) struct Kinds<K> {
    pub(super) count: u64,
    pub(super) kept: BTreeMap<K, KindCount>,
}

/// How many, and the first.
pub(super) struct KindCount {
    pub(super) count: u64,
    pub(super) first: At,
    rank: (i64, i32, i64),
}

impl<K> Default for Kinds<K> {
    fn default() -> Self {
        Kinds {
            count: 0,
            kept: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Kinds<K> {
    fn add(&mut self, kind: K, preview: &Preview, most: usize) {
        self.count += 1;
        if let Some(known) = self.kept.get_mut(&kind) {
            known.count += 1;
            if preview.rank < known.rank {
                (known.rank, known.first) = (preview.rank, preview.at.clone());
            }
        } else if self.kept.len() < most {
            let one = KindCount {
                count: 1,
                first: preview.at.clone(),
                rank: preview.rank,
            };
            self.kept.insert(kind, one);
        }
    }

    /// The kinds, the most frequent first.
    pub(super) fn by_count(&self) -> Vec<(&K, &KindCount)> {
        let mut kinds: Vec<_> = self.kept.iter().collect();
        kinds.sort_by_key(|(_, one)| (std::cmp::Reverse(one.count), one.rank));
        kinds
    }

    /// The first of those that were kept.
    pub(super) fn first(&self) -> Option<&At> {
        let first = self.kept.values().min_by_key(|one| one.rank);
        first.map(|one| &one.first)
    }
}

impl PreviewTally {
    /// Counts one more.
    pub fn add(&mut self, preview: &Preview) {
        self.events += 1;
        let (reason, message) = match &preview.fate {
            Fate::Call(call) => {
                self.add_losses(preview, call);
                return self.add_call(preview);
            }
            Fate::Dead(reason, message) => (*reason, message),
        };
        self.dead += 1;
        // When each of them expired is of no interest.
        let message = match reason {
            Reason::Expired => "its expirytime has passed",
            _ => message,
        };
        let letters = self.letters.entry((preview.target.clone(), reason));
        letters
            .or_default()
            .add(message.to_owned(), preview, MESSAGES);
        if reason == Reason::Unroutable {
            self.unroutable
                .add(origin(&preview.identity), preview, ORIGINS);
        }
    }

    fn add_losses(&mut self, preview: &Preview, call: &ToCall) {
        let (Some(target), Some(guard)) = (&preview.target, preview.guard) else {
            return;
        };
        if preview.takes_away.is_empty() {
            return;
        }
        let losses = self.losses.entry(target.clone()).or_insert_with(|| Losses {
            guard,
            fields: BTreeSet::new(),
            users: HashSet::new(),
        });
        losses.fields.extend(preview.takes_away.iter().cloned());
        if losses.users.len() < LOSERS {
            let mut hasher = DefaultHasher::new();
            call.user.hash(&mut hasher);
            losses.users.insert(hasher.finish());
        }
    }

    fn add_call(&mut self, preview: &Preview) {
        let target = preview.target.as_deref().unwrap_or_default();
        match self.calls.get_mut(target) {
            Some((count, first)) => {
                *count += 1;
                if preview.rank < first.rank {
                    *first = preview.clone();
                }
            }
            None => drop(self.calls.insert(target.to_owned(), (1, preview.clone()))),
        }
    }
}

fn origin(identity: &Identity) -> (String, String) {
    let part = |part: &Option<String>| text::cut(part.as_deref().unwrap_or(""), NAME).into_owned();
    (part(&identity.source), part(&identity.event_type))
}
