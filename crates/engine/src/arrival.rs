//! Arrival: a record comes into memory and stands in its user's lane, until it ends or is left to
//! its partition's next owner.

use std::sync::Arc;

use crate::checkpoint::Spent;
use crate::engine::Engine;
use crate::entries::Left;
use crate::ledger::Arrival;
use crate::{End, Ticket, Work};

impl<U, F> Engine<U, F> {
    /// A record that is not ours, or a gap: everything of the partition below `position` has
    /// arrived.
    pub fn passed(&mut self, partition: i32, position: i64) {
        // A record that arrives while its partition goes is not taken: nor may it be passed over.
        if let Some(assigned) = self.partitions.staying(partition) {
            assigned.ledger.advance(position);
        }
    }

    /// A record of ours. Returns whether it is to be worked on now (and not settled already, or of
    /// a partition that went, or behind others that are deferred).
    pub fn arrived(
        &mut self,
        partition: i32,
        offset: i64,
        size: usize,
        update: Arc<U>,
        work: Work,
    ) -> bool {
        let Some(assigned) = self.partitions.staying(partition) else {
            return false;
        };
        let Some(Arrival::Open(spent)) = assigned.ledger.arrive(offset) else {
            return false;
        };
        if let Work::Call { user, .. }
        | Work::Dead {
            user: Some(user), ..
        } = work
            && self.deferred.has(partition, user)
        {
            assigned.ledger.defer(offset, spent);
            self.deferred.push(partition, user, offset);
            return false;
        }
        self.open((partition, offset), size, update, work, spent);
        true
    }

    /// Takes a record into memory, at the end of its lane.
    pub(super) fn open(
        &mut self,
        (partition, offset): (i32, i64),
        size: usize,
        update: Arc<U>,
        work: Work,
        spent: Spent,
    ) {
        let work = self.unless_barred(&update, work);
        let ticket = self
            .entries
            .add((partition, offset), size, update, work, spent);
        self.partitions[partition].ledger.open(offset, ticket);
        match work {
            Work::Call { user, .. } => self.lanes.push(user, ticket),
            Work::Dead {
                user: Some(user), ..
            } if !self.lanes.is_free(user) => self.lanes.push(user, ticket),
            // Nothing is before it, and it needs no call.
            Work::Dead { reason, .. } => drop(self.ended(ticket, End::Dead(reason))),
        }
    }

    /// The update has its ending and leaves its lane; what is dead behind it ends as well.
    pub(super) fn end(&mut self, ticket: Ticket, end: End) {
        let mut next = Some((ticket, end));
        while let Some((ticket, end)) = next {
            let left = self.ended(ticket, end);
            next = self.leave_lane(ticket, &left);
        }
    }

    fn ended(&mut self, ticket: Ticket, end: End) -> Left {
        self.ended.push_back(ticket);
        self.entries.end(ticket, end)
    }

    /// The update is left to the next owner of its partition.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        let left = self.entries.abandon(ticket);
        if let Some((next, end)) = self.leave_lane(ticket, &left) {
            self.end(next, end);
        }
    }

    /// Takes a ticket out of its lane. Returns the new head if it needs no call to end: a lane's
    /// head always needs one.
    pub(super) fn leave_lane(&mut self, ticket: Ticket, left: &Left) -> Option<(Ticket, End)> {
        if let Some(attempts) = left.attempts
            && let Some(failure) = attempts.failure
        {
            self.proof.forget(failure.started, attempts.started, ticket);
        }
        // Nothing waits behind a record without a user.
        let user = left.user?;
        let head = self.lanes.remove(user, ticket);
        if self.deferred.has(left.partition, user) {
            self.shrank(left.partition, user);
        } else {
            self.lanes.forget(user);
        }
        match self.entries[head?].work {
            Work::Dead { reason, .. } => Some((head?, End::Dead(reason))),
            Work::Call { .. } => None,
        }
    }
}
