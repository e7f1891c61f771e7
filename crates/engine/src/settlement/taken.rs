//! Choosing what one transaction takes of all that has ended, and what of it goes back.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use crate::aside::{Apart, Who};
use crate::engine::Engine;
use crate::entries::Phase;
use crate::{PartitionCommit, Ticket};

/// Endings and commits for one transaction, and endings that go back.
pub(super) struct Taken {
    pub(super) apart: Option<Apart>,
    pub(super) tickets: Vec<Ticket>,
    /// They do not fit into the text of their partition.
    pub(super) left: Vec<Ticket>,
    /// Their partitions' text is full.
    pub(super) skipped: Vec<Ticket>,
    pub(super) commits: Vec<PartitionCommit>,
    pub(super) bytes: usize,
}

impl<U, F> Engine<U, F> {
    /// Takes a portion of what has ended. If nothing of it fits into the text of its partitions,
    /// the next ones are looked at: a portion may be smaller than what does not fit.
    pub(super) fn portion(&mut self, now: Instant, periodic: bool) -> Taken {
        let (mut sorted, mut full, mut skipped) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        loop {
            let mut bytes = 0;
            let (apart, taken) = match self.was_apart {
                true => self.take_apart_from(now, &mut bytes),
                false => (None, self.take_usual(&mut bytes, &full, &mut skipped)),
            };
            // Some may just have been put behind what is settled apart.
            self.hurry(now);
            let (commits, unfit) = self.commits(self.by_partition(&taken), periodic);
            let partition = |ticket: &Ticket| self.entries[*ticket].partition;
            let unfit_in: BTreeSet<i32> = unfit.iter().map(partition).collect();
            self.leave_to_next_owner(&unfit);
            // Those that did not fit into their partition's text stay for a later transaction.
            let stays = |ticket: &Ticket| commits.is_empty() || unfit.contains(ticket);
            let (left, tickets): (Vec<Ticket>, Vec<Ticket>) = taken.into_iter().partition(stays);
            if !commits.is_empty() || unfit.is_empty() || apart.is_some() {
                return Taken {
                    apart,
                    tickets,
                    left,
                    skipped,
                    commits,
                    bytes,
                };
            }
            self.put_back(left, None, now);
            // Each time one more partition is sorted or full, or updates were left to the next
            // owner: so this ends.
            for partition in unfit_in {
                if self.partitions.is_going(partition) {
                    continue;
                }
                if sorted.insert(partition) {
                    self.lowest_first(partition);
                } else {
                    full.insert(partition);
                }
            }
        }
    }

    /// Sorts what has ended of a partition by its offsets, among the places in line that it has.
    fn lowest_first(&mut self, partition: i32) {
        let offset = |ticket: &Ticket| {
            let entry = &self.entries[*ticket];
            (entry.partition == partition).then_some(entry.offset)
        };
        let mut offsets: Vec<(i64, Ticket)> = self
            .ended
            .iter()
            .filter_map(|ticket| Some((offset(ticket)?, *ticket)))
            .collect();
        let places: Vec<usize> = (0..self.ended.len())
            .filter(|place| offset(&self.ended[*place]).is_some())
            .collect();
        offsets.sort_unstable();
        for (place, (_, ticket)) in places.into_iter().zip(offsets) {
            self.ended[place] = ticket;
        }
    }

    /// Endings that are settled apart are tried once more before their partition is let go.
    pub(super) fn hurry(&mut self, now: Instant) {
        let (entries, partitions) = (&self.entries, &self.partitions);
        if partitions.any_going() {
            self.aside.hurry(now, |ticket| {
                let entry = &entries[*ticket];
                let in_vain = matches!(entry.phase(), Phase::Ended { in_vain: true, .. });
                partitions.is_going(entry.partition) && !in_vain
            });
        }
    }

    pub(super) fn who(&self, ticket: Ticket) -> Who {
        let user = self.entries[ticket].user();
        user.map_or(Who::Record(ticket), Who::User)
    }

    /// The first that ended, as many as a portion takes. Those of a user of whom something is
    /// settled apart wait behind that; those of a partition whose text is full are skipped.
    fn take_usual(
        &mut self,
        bytes: &mut usize,
        full: &BTreeSet<i32>,
        skipped: &mut Vec<Ticket>,
    ) -> Vec<Ticket> {
        let portion = *self.portions.of(None);
        let mut taken = Vec::new();
        while let Some(ticket) = self.ended.front().copied() {
            let entry = &self.entries[ticket];
            let who = self.who(ticket);
            if self.aside.holds(who) {
                self.aside.push_back(who, ticket);
            } else if full.contains(&entry.partition) {
                skipped.push(ticket);
            } else if portion.takes(taken.len(), bytes, entry.size) {
                taken.push(ticket);
            } else {
                break;
            }
            self.ended.pop_front();
        }
        taken
    }

    /// Those that are settled apart and whose time has come, as many as a portion takes.
    fn take_apart_from(&mut self, now: Instant, bytes: &mut usize) -> (Option<Apart>, Vec<Ticket>) {
        let (entries, portions, mut count) = (&self.entries, &mut self.portions, 0);
        let taken = self.aside.take(now, |apart, ticket| {
            let size = entries[ticket].size;
            let fits = portions.of(Some(apart)).takes(count, bytes, size);
            count += usize::from(fits);
            fits
        });
        taken.map_or((None, Vec::new()), |(apart, taken)| (Some(apart), taken))
    }

    /// Endings that were taken and not settled go back to where they were, unless they were left to
    /// the next owner.
    pub(super) fn put_back(&mut self, left: Vec<Ticket>, apart: Option<Apart>, at: Instant) {
        for ticket in left.into_iter().rev() {
            if matches!(self.entries[ticket].phase(), Phase::Ended { .. }) {
                match apart {
                    None => self.ended.push_front(ticket),
                    Some(apart) => self.aside.put_front(self.who(ticket), ticket, apart, at),
                }
            }
        }
    }

    /// Endings of a partition that goes, for which its last commit has no room: the next owner
    /// calls those again.
    fn leave_to_next_owner(&mut self, unfit: &HashSet<Ticket>) {
        for ticket in unfit {
            let entry = &mut self.entries[*ticket];
            if self.partitions.is_going(entry.partition) {
                let partition = &mut self.partitions[entry.partition];
                partition.leave_from(entry.offset);
                entry.leave_to_next_owner();
            }
        }
    }
}
