//! The ledger of one partition: which offsets are settled, and so what may be committed.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{self, Checkpoint, Commit, Spent};
use crate::guard::slots::Taken;
use crate::{Ticket, TopicId};

/// What an arriving offset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Settled before a restart or rebalance: nothing is left to do.
    Settled,
    /// To be worked on, with the attempts that were spent on it before.
    Open(Spent),
}

/// The offsets of one partition, from the lowest unsettled one on.
#[derive(Debug)]
pub struct Ledger {
    /// The next offset that may arrive. Gaps (compaction, transaction markers) are passed over.
    position: i64,
    /// Ours, in memory, unsettled.
    open: BTreeMap<i64, Ticket>,
    /// Of those, the ones on which attempts were spent that the next owner must know of.
    tried: BTreeSet<i64>,
    /// Read from the checkpoint and not yet arrived again.
    expected: BTreeMap<i64, Spent>,
    /// Arrived, and put out of memory again until there is room.
    deferred: BTreeMap<i64, Spent>,
    /// Below this the checkpoint knows what is settled.
    known: i64,
    /// Above everything of ours that was ever settled.
    horizon: i64,
    /// What was last committed.
    committed: Commit,
    /// The topic that the offsets speak of.
    topic: TopicId,
}

impl Ledger {
    /// Begins where the last owner's commit left off.
    pub fn new(committed: Commit, checkpoint: Checkpoint) -> Self {
        Ledger {
            position: committed.offset,
            open: BTreeMap::new(),
            tried: BTreeSet::new(),
            expected: checkpoint.open,
            deferred: BTreeMap::new(),
            known: checkpoint.horizon,
            horizon: checkpoint.horizon,
            committed,
            topic: checkpoint.topic,
        }
    }

    /// A record arrived at `offset`. `None`: it was here already (the consumer went back), and must
    /// not be worked on again.
    pub fn arrive(&mut self, offset: i64) -> Option<Arrival> {
        if offset < self.position {
            return None;
        }
        let spent = self.expected.remove(&offset);
        self.advance(offset + 1);
        match spent {
            Some(spent) => {
                if spent != Spent::default() {
                    self.tried.insert(offset);
                }
                Some(Arrival::Open(spent))
            }
            None if offset < self.known => Some(Arrival::Settled),
            None => Some(Arrival::Open(Spent::default())),
        }
    }

    /// Everything below `position` has arrived or will never come.
    pub fn advance(&mut self, position: i64) {
        if position > self.position {
            self.position = position;
            // Holes that were passed over without arriving were deleted from the topic.
            while let Some(first) = self.expected.first_entry()
                && *first.key() < position
            {
                first.remove();
            }
        }
    }

    /// The record at `offset` is worked on under this ticket.
    pub fn open(&mut self, offset: i64, ticket: Ticket) {
        self.open.insert(offset, ticket);
    }

    /// The record at `offset` is put out of memory, with the attempts spent on it.
    pub fn defer(&mut self, offset: i64, spent: Spent) {
        self.open.remove(&offset);
        self.tried.remove(&offset);
        self.deferred.insert(offset, spent);
    }

    /// The record at `offset` is in memory again, or was deleted from the topic. Returns the
    /// attempts spent on it.
    pub fn fetched(&mut self, offset: i64) -> Option<Spent> {
        let spent = self.deferred.remove(&offset)?;
        if spent != Spent::default() {
            self.tried.insert(offset);
        }
        Some(spent)
    }

    /// Attempts were spent on an offset that is not settled.
    pub fn tried(&mut self, offset: i64) {
        self.tried.insert(offset);
    }

    /// The tickets of what is unsettled in memory, lowest offset first.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.open.values().copied()
    }

    /// The ticket of an unsettled offset.
    pub fn ticket(&self, offset: i64) -> Option<Ticket> {
        self.open.get(&offset).copied()
    }

    /// The lowest unsettled offset: what is committed once everything finished is settled.
    pub fn lowest_unsettled(&self) -> i64 {
        let open = self.open.keys().next().copied().unwrap_or(i64::MAX);
        let expected = self.expected.keys().next().copied().unwrap_or(i64::MAX);
        let deferred = self.deferred.keys().next().copied().unwrap_or(i64::MAX);
        self.position.min(open).min(expected).min(deferred)
    }

    /// What would be committed if the offsets `settling`, lowest first, were settled; `None` if the
    /// text would not fit. `spent` tells the attempts spent on a ticket.
    ///
    /// `room` bytes of the text are left for what else it has to tell.
    ///
    /// What waits above the horizon without an attempt is not looked at: there may be thousands of
    /// them.
    pub fn commit(
        &self,
        settling: &[i64],
        spent: impl Fn(Ticket) -> Spent,
        room: usize,
    ) -> Option<Commit> {
        let horizon = settling
            .last()
            .map_or(self.horizon, |last| self.horizon.max(last + 1));
        let stays = |offset: &i64| settling.binary_search(offset).is_err();
        let mut open: Vec<(i64, Spent)> = self
            .expected
            .iter()
            .map(|(offset, spent)| (*offset, *spent))
            .collect();
        let below = self.open.range(..horizon);
        let above = self
            .tried
            .range(horizon..)
            .filter_map(|offset| self.open.get_key_value(offset));
        for (offset, ticket) in below.chain(above).filter(|(offset, _)| stays(offset)) {
            let spent = if self.tried.contains(offset) {
                spent(*ticket)
            } else {
                Spent::default()
            };
            open.push((*offset, spent));
        }
        let is_news =
            |(offset, spent): &(&i64, &Spent)| **offset < horizon || **spent != Spent::default();
        open.extend(
            self.deferred
                .iter()
                .filter(is_news)
                .map(|(offset, spent)| (*offset, *spent)),
        );
        // Runs that are in order each, or one.
        open.sort_by_key(|(offset, _)| *offset);
        let waits = self.open.range(horizon..).next().map(|(offset, _)| *offset);
        let deferred = self.deferred.keys().next().copied();
        let lowest = open
            .first()
            .map(|(offset, _)| *offset)
            .into_iter()
            .chain(waits)
            .chain(deferred)
            .fold(self.position, i64::min);
        checkpoint::write(self.topic, lowest, horizon, &open, room)
    }

    /// What the next owner should begin with if the log was cut at `end` and goes on there with
    /// other records: what was settled below it stays so, and nothing from there on was read. It
    /// names no topic, so that it is news to be committed at once.
    pub fn cut(&self, end: i64, spent: impl Fn(Ticket) -> Spent, slots: Taken) -> Commit {
        let horizon = self.horizon.min(end);
        let mut open: BTreeMap<i64, Spent> = self
            .expected
            .range(..end)
            .map(|(offset, spent)| (*offset, *spent))
            .collect();
        open.extend(
            self.deferred
                .range(..end)
                .map(|(offset, spent)| (*offset, *spent)),
        );
        open.extend(
            self.open
                .range(..end)
                .map(|(offset, ticket)| (*offset, spent(*ticket))),
        );
        let offset = open
            .keys()
            .next()
            .copied()
            .unwrap_or(end)
            .min(self.position);
        let text = slots.text();
        // It has fewer holes than what was committed, so it fits. Without it, some are called
        // again.
        Checkpoint {
            topic: TopicId::UNKNOWN,
            horizon,
            open,
            slots: Some(slots),
        }
        .write(offset)
        .unwrap_or(Commit {
            offset,
            metadata: text,
        })
    }

    /// Whether this commit says anything new.
    pub fn is_news(&self, commit: &Commit) -> bool {
        *commit != self.committed
    }

    /// The commit went through; `settled` are the offsets that it settled.
    pub fn committed(&mut self, commit: Commit, settled: impl IntoIterator<Item = i64>) {
        for offset in settled {
            self.open.remove(&offset);
            self.tried.remove(&offset);
            self.horizon = self.horizon.max(offset + 1);
        }
        self.committed = commit;
    }
}

#[cfg(test)]
mod tests;
