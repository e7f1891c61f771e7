//! Assignment: partitions come, are drained, and go.

use std::time::Instant;

use crate::checkpoint::{Checkpoint, Commit, Spent, Unreadable};
use crate::engine::Engine;
use crate::entries::{Entry, Phase};
use crate::ledger::Ledger;
use crate::partitions::Partition;
use crate::{Action, Ticket, TopicId};

impl<U, F> Engine<U, F> {
    /// Partitions that are assigned from now on are this topic's.
    pub fn topic(&mut self, topic: TopicId) {
        self.topic = topic;
    }

    /// The topic has so many partitions: of what the whole group may do, this instance takes the
    /// share that it owns of them. While that is unknown, it makes one call a second at the most if
    /// there is a configured rate.
    pub fn topic_has(&mut self, partitions: usize, now: Instant) {
        if self.topic_partitions.replace(partitions) != Some(partitions) {
            self.take_share(now);
        }
    }

    fn take_share(&mut self, now: Instant) {
        let topic = self.topic_partitions;
        if let Some(share) = topic.and_then(|topic| self.partitions.share_of(topic)) {
            self.rate.owns(share, now);
            self.limit.owns(share);
        }
    }

    /// The log of a partition was cut at `end` and goes on there with other records. The partition
    /// is lost; returned is with what it must be assigned again, and read again.
    pub fn cut_back(&mut self, partition: i32, end: i64, now: Instant) -> Option<Commit> {
        let assigned = self.partitions.staying(partition)?;
        let spent = |ticket: Ticket| {
            let entry = &self.entries[ticket];
            let given_up = u32::from(matches!(entry.phase(), Phase::InFlight(_)));
            Spent {
                calls: entry.spent.calls.saturating_add(given_up),
                ..entry.spent
            }
        };
        let slots = assigned.slots.taken().clone();
        let commit = assigned.ledger.cut(end, spent, slots);
        self.lost(partition, now);
        Some(commit)
    }

    /// A partition was assigned, with what its last owner committed. Returns the assignment's
    /// epoch, and what was wrong with the committed text, if anything: then only the offset counts.
    pub fn assigned(
        &mut self,
        partition: i32,
        committed: Commit,
        now: Instant,
    ) -> (u64, Option<Unreadable>) {
        self.lost(partition, now);
        self.next_epoch += 1;
        let epoch = self.next_epoch;
        let (checkpoint, unreadable) = match Checkpoint::read(&committed) {
            Ok(checkpoint) => (checkpoint, None),
            Err(unreadable) => {
                let unknown = Checkpoint {
                    slots: None,
                    ..Checkpoint::at(committed.offset)
                };
                (unknown, Some(unreadable))
            }
        };
        let slots = self.guarding.begin(checkpoint.slots.clone(), now);
        let ledger = Ledger::new(
            committed,
            Checkpoint {
                topic: self.topic,
                ..checkpoint
            },
        );
        self.partitions
            .add(partition, Partition::new(ledger, epoch, slots));
        self.take_share(now);
        (epoch, unreadable)
    }

    /// A partition must be let go. Its waiting updates are left to the next owner; calls in flight
    /// may finish until `give_up_at`; what finished is settled; then comes [`Action::Released`].
    pub fn revoked(&mut self, partition: i32, give_up_at: Instant) {
        let Some(assigned) = self.partitions.get(partition) else {
            self.actions.push(Action::Released(partition));
            return;
        };
        if !assigned.is_going() {
            let tickets = assigned.ledger.tickets().collect();
            self.partitions.let_go(partition, give_up_at);
            self.forget_deferred(partition);
            self.abandon_waiting(tickets);
        }
    }

    /// A partition is gone already: another instance may own it. Nothing of it is called or settled
    /// any more.
    pub fn lost(&mut self, partition: i32, now: Instant) {
        // It may never have been assigned, or be lost already.
        let Some(gone) = self.partitions.remove(partition) else {
            return;
        };
        self.take_share(now);
        self.forget_deferred(partition);
        let tickets: Vec<Ticket> = gone.ledger.tickets().collect();
        for ticket in &tickets {
            self.abandon_call(*ticket, now);
        }
        let mut some_ended = false;
        for ticket in tickets {
            let gone = self.entries.remove(ticket);
            some_ended |= gone.is_some_and(|gone| matches!(gone.phase(), Phase::Ended { .. }));
        }
        if some_ended {
            let stays = |ticket: &Ticket| self.entries.get(*ticket).is_some();
            self.ended.retain(stays);
            self.aside.retain(stays);
        }
        debug_assert!(
            !self.partitions.is_empty() || self.entries.len() == 0 && self.calls.is_empty()
        );
    }

    fn abandon_waiting(&mut self, tickets: Vec<Ticket>) {
        // From the back, so that nothing dead moves up to a head and ends while its predecessors
        // are left to the next owner.
        for ticket in tickets.into_iter().rev() {
            if self.entries[ticket].is_in_lane() {
                self.abandon(ticket);
            }
        }
    }

    /// Gives up the calls in flight of partitions whose time is over.
    pub(super) fn give_up(&mut self, now: Instant) {
        for number in self.partitions.overdue(now) {
            let tickets: Vec<Ticket> = self.partitions[number].ledger.tickets().collect();
            for ticket in tickets {
                self.abandon_call(ticket, now);
            }
        }
    }

    /// Leaves an unfinished update to the next owner. A call in flight was made, so it counts.
    fn abandon_call(&mut self, ticket: Ticket, now: Instant) {
        let entry = &mut self.entries[ticket];
        match entry.phase() {
            Phase::Waiting | Phase::WaitingRetry(_) => {}
            Phase::InFlight(_) => {
                entry.spent.calls = entry.spent.calls.saturating_add(1);
                // A partition that is lost is gone, and its ledger with it.
                if let Some(partition) = self.partitions.get_mut(entry.partition) {
                    partition.ledger.tried(entry.offset);
                }
                // A merged call goes by its last update.
                if let Some(user) = entry.user()
                    && self.calls.end(user, ticket).is_some()
                {
                    self.health.probe_abandoned(ticket, now);
                    self.actions.push(Action::Cancel(ticket));
                }
            }
            Phase::Ended { .. } | Phase::Settling(_) | Phase::Abandoned => return,
        }
        self.abandon(ticket);
    }

    /// Lets those partitions go that are drained and have nothing left to commit.
    pub(super) fn release(&mut self, now: Instant) {
        let done = |partition: &Partition| self.is_drained(partition) && !self.has_news(partition);
        let done: Vec<i32> = self
            .partitions
            .going()
            .filter(|(_, partition)| done(partition))
            .map(|(number, _)| number)
            .collect();
        for partition in done {
            self.lost(partition, now);
            self.actions.push(Action::Released(partition));
        }
    }

    /// Nothing is waited for but what its topics refuse.
    fn is_drained(&self, partition: &Partition) -> bool {
        let is_left = |entry: &Entry<U, F>| {
            matches!(
                entry.phase(),
                Phase::Abandoned | Phase::Ended { in_vain: true, .. }
            )
        };
        let mut tickets = partition.ledger.tickets();
        tickets.all(|ticket| is_left(&self.entries[ticket]))
    }
}
