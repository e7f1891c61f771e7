//! The ledger of one partition: which offsets are settled, and so what may be committed.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{self, Checkpoint, Commit, Spent};
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
    /// What waits above the horizon without an attempt is not looked at: there may be thousands of
    /// them.
    pub fn commit(&self, settling: &[i64], spent: impl Fn(Ticket) -> Spent) -> Option<Commit> {
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
        checkpoint::write(self.topic, lowest, horizon, &open)
    }

    /// What the next owner should begin with if the log was cut at `end` and goes on there with
    /// other records: what was settled below it stays so, and nothing from there on was read. It
    /// names no topic, so that it is news to be committed at once.
    pub fn cut(&self, end: i64, spent: impl Fn(Ticket) -> Spent) -> Commit {
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
        // It has fewer holes than what was committed, so it fits. Without it, some are called
        // again.
        Checkpoint {
            topic: TopicId::UNKNOWN,
            horizon,
            open,
        }
        .write(offset)
        .unwrap_or(Commit {
            offset,
            metadata: String::new(),
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
mod tests {
    use super::*;

    fn ledger(offset: i64) -> Ledger {
        let commit = Commit {
            offset,
            metadata: String::new(),
        };
        Ledger::new(commit, Checkpoint::at(offset))
    }

    fn no_attempts(_: Ticket) -> Spent {
        Spent::default()
    }

    #[test]
    fn the_lowest_unsettled_offset_is_committed_and_not_the_highest_settled() {
        let mut ledger = ledger(10);
        for offset in 10..15 {
            assert_eq!(ledger.arrive(offset), Some(Arrival::Open(Spent::default())));
            ledger.open(offset, Ticket(offset as u64));
        }
        let commit = ledger.commit(&[12, 13, 14], no_attempts).unwrap();
        assert_eq!(commit.offset, 10);
        ledger.committed(commit.clone(), 12..15);

        // The next owner works on 10 and 11 only.
        let mut next = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
        let arrivals: Vec<_> = (10..16)
            .map(|offset| next.arrive(offset).unwrap())
            .collect();
        let open = Arrival::Open(Spent::default());
        assert_eq!(
            arrivals,
            [
                open,
                open,
                Arrival::Settled,
                Arrival::Settled,
                Arrival::Settled,
                open
            ]
        );
    }

    #[test]
    fn gaps_do_not_stall_it() {
        let mut ledger = ledger(0);
        ledger.arrive(0);
        ledger.open(0, Ticket(0));
        ledger.arrive(100);
        ledger.advance(250);
        let commit = ledger.commit(&[0], no_attempts).unwrap();
        assert_eq!(commit.offset, 250);
    }

    #[test]
    fn a_hole_that_was_deleted_from_the_topic_does_not_hold_it_up() {
        let open = [(10, Spent::default()), (15, Spent::default())].into();
        let commit = Checkpoint {
            horizon: 20,
            open,
            ..Checkpoint::default()
        }
        .write(10)
        .unwrap();
        let mut ledger = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
        assert_eq!(ledger.arrive(18), Some(Arrival::Settled));
        assert_eq!(ledger.lowest_unsettled(), 19);
    }

    #[test]
    fn what_comes_twice_is_taken_once() {
        let mut ledger = ledger(0);
        assert!(ledger.arrive(3).is_some());
        assert_eq!(ledger.arrive(3), None);
        assert_eq!(ledger.arrive(1), None);
    }

    #[test]
    fn the_topic_that_it_is_of_is_committed_even_if_nothing_was_read() {
        let mut ledger = Ledger::new(
            Commit::none(),
            Checkpoint {
                topic: TopicId([7; 16]),
                ..Checkpoint::at(0)
            },
        );
        let commit = ledger.commit(&[], no_attempts).unwrap();
        assert!(ledger.is_news(&commit));
        assert_eq!(Checkpoint::read(&commit).unwrap().topic, TopicId([7; 16]));
        ledger.committed(commit.clone(), []);
        assert!(!ledger.is_news(&commit));
    }

    #[test]
    fn of_a_log_that_was_cut_what_is_settled_below_the_cut_stays_so_and_nothing_above_it_is_known()
    {
        let mut ledger = ledger(10);
        for offset in 10..20 {
            ledger.arrive(offset);
            ledger.open(offset, Ticket(offset as u64));
        }
        let commit = ledger.commit(&[11, 12, 14, 16, 18], no_attempts).unwrap();
        ledger.committed(commit, [11, 12, 14, 16, 18]);
        let cut = ledger.cut(15, |ticket| Spent {
            calls: (ticket.0 == 13).into(),
            failures: 0,
        });
        let mut next = Ledger::new(cut.clone(), Checkpoint::read(&cut).unwrap());
        let arrivals: Vec<_> = (cut.offset..20)
            .map(|offset| next.arrive(offset).unwrap())
            .collect();
        let [open, called] = [0, 1].map(|calls| Arrival::Open(Spent { calls, failures: 0 }));
        let settled = Arrival::Settled;
        assert_eq!(
            (cut.offset, arrivals),
            (
                10,
                vec![
                    open, settled, settled, called, settled, open, open, open, open, open
                ]
            )
        );
        assert_eq!(
            ledger.cut(10, no_attempts),
            Commit {
                offset: 10,
                metadata: String::new()
            }
        );
        assert_eq!(
            ledger.cut(3, no_attempts),
            Commit {
                offset: 3,
                metadata: String::new()
            }
        );
    }

    #[test]
    fn spent_attempts_come_back_with_the_record() {
        let mut ledger = ledger(0);
        ledger.arrive(0);
        ledger.open(0, Ticket(0));
        let spent = Spent {
            calls: 4,
            failures: 3,
        };
        ledger.tried(0);
        let commit = ledger.commit(&[], |_| spent).unwrap();
        let mut next = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
        assert_eq!(next.arrive(0), Some(Arrival::Open(spent)));
    }

    #[test]
    fn what_is_deferred_stays_unsettled_with_its_attempts_and_comes_back() {
        let mut ledger = ledger(0);
        for offset in 0..4 {
            ledger.arrive(offset);
            ledger.open(offset, Ticket(offset as u64));
        }
        let spent = Spent {
            calls: 2,
            failures: 1,
        };
        ledger.defer(1, spent);
        ledger.defer(2, Spent::default());
        let commit = ledger.commit(&[0, 3], no_attempts).unwrap();
        assert_eq!((commit.offset, ledger.lowest_unsettled()), (1, 0));
        let mut next = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
        let arrivals: Vec<_> = (1..4).map(|offset| next.arrive(offset).unwrap()).collect();
        assert_eq!(
            arrivals,
            [
                Arrival::Open(spent),
                Arrival::Open(Spent::default()),
                Arrival::Settled
            ]
        );

        ledger.committed(commit, [0, 3]);
        assert_eq!((ledger.fetched(1), ledger.fetched(1)), (Some(spent), None));
        assert_eq!(ledger.lowest_unsettled(), 2);
        assert_eq!(ledger.fetched(2), Some(Spent::default()));
        assert_eq!(ledger.commit(&[], no_attempts).unwrap().offset, 4);
    }
}
