//! Deferral: updates of users who fail make room for others. They stay unsettled in the ledger, as
//! offsets without a record, and are read again once their lane has become short.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::engine::Engine;
use crate::{Action, Refetched, Ticket, UserKey};

/// Offsets deferred at the most, some 3 MiB; past it consumption pauses.
const MAX_DEFERRED: usize = 50_000;
/// This share of `max_waiting` is read again at once.
const SHARE: usize = 16;

/// The updates of one user in one partition.
type Key = (i32, UserKey);

/// Updates that wait as offsets.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    waiting: HashMap<Key, Rest>,
    count: usize,
    /// Those whose lanes have become short, the longest-waiting first. Some may be there no more.
    hungry: VecDeque<Key>,
    /// Those that are being read again.
    fetching: Option<Key>,
}

/// The part of a lane that is not in memory.
#[derive(Debug)]
struct Rest {
    /// The lowest first.
    offsets: VecDeque<i64>,
    /// The number of updates of the lane that were kept in memory.
    kept: usize,
    /// It stands among the hungry.
    hungry: bool,
}

impl Deferred {
    /// Whether updates of that user in that partition are deferred, so that later ones must be too.
    pub(super) fn has(&self, partition: i32, user: UserKey) -> bool {
        self.waiting.contains_key(&(partition, user))
    }

    /// Whether so many are deferred that consumption must pause.
    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_DEFERRED
    }

    /// Whether consumption may go on.
    pub(super) fn has_room(&self) -> bool {
        self.count <= MAX_DEFERRED / 2
    }

    /// Defers the update at that offset, which is the user's last one.
    pub(super) fn push(&mut self, partition: i32, user: UserKey, offset: i64) {
        self.count += 1;
        let rest = self
            .waiting
            .entry((partition, user))
            .or_insert_with(|| Rest {
                offsets: VecDeque::new(),
                kept: 1,
                hungry: false,
            });
        rest.offsets.push_back(offset);
    }

    /// Defers the update at that offset, which stood right before those that are deferred already.
    fn push_front(&mut self, key: Key, offset: i64, kept: usize) {
        self.count += 1;
        let rest = self.waiting.entry(key).or_insert_with(|| Rest {
            offsets: VecDeque::new(),
            kept,
            hungry: false,
        });
        rest.offsets.push_front(offset);
        rest.kept = kept;
    }

    /// The partition went: the offsets are its next owner's. Returns whose they are.
    fn forget(&mut self, partition: i32) -> Vec<UserKey> {
        let gone: Vec<(Key, Rest)> = self
            .waiting
            .extract_if(|(of, _), _| *of == partition)
            .collect();
        self.count -= gone
            .iter()
            .map(|(_, rest)| rest.offsets.len())
            .sum::<usize>();
        self.hungry.retain(|(of, _)| *of != partition);
        gone.into_iter().map(|((_, user), _)| user).collect()
    }

    /// The update at that offset is in memory again, or is gone from the topic.
    fn pop(&mut self, key: Key, offset: i64) -> bool {
        let Some(rest) = self
            .waiting
            .get_mut(&key)
            .filter(|rest| rest.offsets.front() == Some(&offset))
        else {
            return false;
        };
        rest.offsets.pop_front();
        self.count -= 1;
        if rest.offsets.is_empty() {
            self.waiting.remove(&key);
        }
        true
    }

    /// A lane has so many updates left in memory.
    fn shrank(&mut self, key: Key, left: usize) {
        if let Some(rest) = self
            .waiting
            .get_mut(&key)
            .filter(|rest| !rest.hungry && left <= rest.kept / 2)
        {
            rest.hungry = true;
            self.hungry.push_back(key);
        }
    }

    /// One of the hungry whose first offset is the lowest unsettled one of its partition, which
    /// `lowest` tells, with that offset alone.
    fn lowest(&mut self, lowest: impl Fn(i32) -> i64) -> Option<(Key, Vec<i64>)> {
        let first = |key: &Key| {
            self.waiting
                .get(key)
                .and_then(|rest| rest.offsets.front().copied())
        };
        let place = self
            .hungry
            .iter()
            .position(|key| first(key).is_some_and(|first| lowest(key.0) == first))?;
        let key = self.hungry.remove(place)?;
        let rest = self.waiting.get_mut(&key)?;
        rest.hungry = false;
        Some((key, rest.offsets.front().copied().into_iter().collect()))
    }

    /// The next ones to be read again, at most so many: by their partition and user the offsets.
    fn next(&mut self, most: usize) -> Option<(Key, Vec<i64>)> {
        while let Some(key) = self.hungry.pop_front() {
            if let Some(rest) = self.waiting.get_mut(&key) {
                rest.hungry = false;
                return Some((key, rest.offsets.iter().take(most).copied().collect()));
            }
        }
        None
    }
}

impl<U, F> Engine<U, F> {
    /// The records that count for `max_waiting`. A user who fails keeps one, which must not hold up
    /// all others: those heads do not count, as long as they are fewer than half as many.
    pub(super) fn counted(&self) -> usize {
        let exempt = (self.settings.max_waiting / 2).max(1);
        self.entries
            .len()
            .saturating_sub(self.lanes.failed_count().min(exempt))
    }

    /// Makes room in a memory that is full by deferring what stands at the end of lanes that fail,
    /// the longest first.
    pub(super) fn make_room(&mut self) {
        // If the API cannot be used at all, nobody else is called either.
        if self.deferred.is_full() || !self.health.may_be_of_users() {
            return;
        }
        let lengths: Vec<(UserKey, usize)> = self
            .lanes
            .failed()
            .map(|user| (user, self.lanes.waiting(user)))
            .collect();
        let need = self.counted().saturating_sub(self.settings.max_waiting / 2);
        let kept = match need {
            _ if self.entries.bytes() > self.settings.max_bytes / 2 => 1,
            0 => return,
            need => kept(lengths.iter().map(|(_, length)| *length), need),
        };
        for (user, length) in lengths.into_iter().filter(|(_, length)| *length > kept) {
            // The last first, so that each stands before those that are deferred already.
            let behind = self.lanes.behind_head(user).rev();
            let tail: Vec<Ticket> = behind.take(length - kept).collect();
            for ticket in tail {
                // Updates that are sent with the head stay.
                if !self.entries[ticket].is_in_lane() {
                    break;
                }
                self.defer(user, ticket, kept);
            }
        }
    }

    fn defer(&mut self, user: UserKey, ticket: Ticket, kept: usize) {
        let entry = &self.entries[ticket];
        let (partition, offset, spent) = (entry.partition, entry.offset, entry.spent);
        let left = self.entries.abandon(ticket);
        let next = self.leave_lane(ticket, &left);
        debug_assert!(next.is_none(), "the head of a lane is never deferred");
        self.entries.remove(ticket);
        self.partitions[partition].ledger.defer(offset, spent);
        self.deferred.push_front((partition, user), offset, kept);
    }

    /// A partition goes, and with it what is deferred of it.
    pub(super) fn forget_deferred(&mut self, partition: i32) {
        for user in self.deferred.forget(partition) {
            self.lanes.forget(user);
        }
    }

    /// A lane became shorter.
    pub(super) fn shrank(&mut self, partition: i32, user: UserKey) {
        if self.deferred.has(partition, user) {
            self.deferred
                .shrank((partition, user), self.lanes.waiting(user));
        }
    }

    /// Has updates read again whose lanes have become short, if there is room for them.
    pub(super) fn refill(&mut self) {
        if self.deferred.hungry.is_empty() || self.deferred.fetching.is_some() {
            return;
        }
        let room = self.settings.max_waiting.saturating_sub(self.counted());
        let next = if !self.paused && room > 0 {
            self.deferred
                .next((self.settings.max_waiting / SHARE).max(1).min(room))
        } else {
            // What has ended above it may have to wait for it, and then no room comes about without
            // it.
            let lowest = |partition: i32| self.partitions[partition].ledger.lowest_unsettled();
            self.deferred.lowest(lowest)
        };
        if let Some((key, offsets)) = next {
            self.deferred.fetching = Some(key);
            self.actions.push(Action::Fetch {
                partition: key.0,
                epoch: self.partitions[key.0].epoch,
                offsets,
            });
        }
    }

    /// Offsets were read again, as an [`Action::Fetch`] asked: the first of them, in their order,
    /// each with its update unless that is gone from the topic. Returns those that are to be worked
    /// on.
    pub fn fetched(
        &mut self,
        partition: i32,
        epoch: u64,
        found: Vec<(i64, Option<Refetched<U>>)>,
    ) -> Vec<Arc<U>> {
        let mut taken = Vec::new();
        let key = self.deferred.fetching.take();
        debug_assert!(
            key.is_some_and(|key| key.0 == partition),
            "it was not asked"
        );
        let Some(key) = key else { return taken };
        // The partition may have gone meanwhile, and its updates are not ours any more.
        let assigned = self.partitions.staying(partition);
        if assigned.is_none_or(|assigned| assigned.epoch != epoch) {
            return taken;
        }
        for (offset, refetched) in found {
            // Others may have been deferred meanwhile that stand before it: it is asked for again.
            if !self.deferred.pop(key, offset) {
                continue;
            }
            let spent = self.partitions[partition].ledger.fetched(offset);
            debug_assert!(
                spent.is_some(),
                "{offset} is deferred, but its ledger does not know"
            );
            if let (Some(spent), Some(Refetched { size, update, work })) = (spent, refetched) {
                taken.push(update.clone());
                self.open((partition, offset), size, update, work, spent);
            }
        }
        // The rest, not read yet, is asked for again.
        self.shrank(partition, key.1);
        taken
    }
}

/// How many updates each lane may keep, so that `need` of them are cut in all, or as many as can
/// be.
fn kept(lengths: impl Iterator<Item = usize> + Clone, need: usize) -> usize {
    let cut = |kept: usize| {
        lengths
            .clone()
            .map(|length| length.saturating_sub(kept))
            .sum::<usize>()
    };
    let (mut enough, mut too_many) = (1, lengths.clone().max().unwrap_or(1).max(2));
    while enough + 1 < too_many {
        let middle = enough.midpoint(too_many);
        if cut(middle) >= need {
            enough = middle
        } else {
            too_many = middle
        }
    }
    enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lanes_are_cut_first_and_one_update_is_kept() {
        for (lengths, need, expected) in [
            (&[10, 3, 2][..], 6, 4),
            (&[10, 3, 2], 7, 3),
            (&[10, 10], 4, 8),
            (&[10, 3, 2], 100, 1),
            (&[1, 1, 1], 5, 1),
            (&[], 5, 1),
        ] {
            assert_eq!(
                kept(lengths.iter().copied(), need),
                expected,
                "{lengths:?} {need}"
            );
        }
    }

    #[test]
    fn what_is_deferred_comes_back_in_its_order_and_with_its_partition_it_goes() {
        let user = UserKey(7);
        let mut deferred = Deferred::default();
        deferred.push_front((0, user), 20, 4);
        deferred.push_front((0, user), 10, 4);
        deferred.push(0, user, 30);
        deferred.push(1, user, 5);
        assert!(!deferred.pop((0, user), 20));
        assert!(deferred.pop((0, user), 10) && deferred.pop((0, user), 20));
        deferred.shrank((0, user), 3);
        assert!(deferred.hungry.is_empty());
        deferred.shrank((0, user), 2);
        deferred.shrank((0, user), 1);
        deferred.shrank((1, user), 0);
        assert_eq!(deferred.next(1), Some(((0, user), vec![30])));
        assert_eq!(deferred.next(1), Some(((1, user), vec![5])));
        assert_eq!(deferred.next(1), None);
        assert!(deferred.pop((0, user), 30) && !deferred.has(0, user));
        deferred.forget(1);
        assert_eq!(
            (deferred.count, deferred.waiting.len(), deferred.next(9)),
            (0, 0, None)
        );
    }
}
