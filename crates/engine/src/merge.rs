//! Merging: updates of one user that wait in line are sent in one call, where that comes to the
//! same as sending them one by one.

use std::time::Instant;

use crate::calls::Run;
use crate::engine::Engine;
use crate::verdict::Verdict;
use crate::{Ticket, UserKey, Work};

/// Updates in one call at the most…
const MAX_UPDATES: usize = 100;
/// …and bytes of their records.
const MAX_BYTES: usize = 256 << 10;

/// What the engine asks an update before it is sent together with others of its user.
pub trait Merge {
    /// Whether this update and that earlier one, sent in one call in which the later value of a
    /// field wins, come to the same as sent one after the other.
    fn may_join(&self, earlier: &Self) -> bool;
}

impl<U: Merge, F> Engine<U, F> {
    /// The updates to be sent in one call: the head of the user's lane, and of those right behind
    /// it as many as may be sent with it. Never across one that may not.
    pub(super) fn run(&self, user: UserKey, head: Ticket, now: Instant) -> Run {
        let mut run = Run {
            earlier: Vec::new(),
            last: head,
        };
        let first = &self.entries[head];
        if !self.settings.merge || first.alone {
            return run;
        }
        let mut bytes = first.size;
        for ticket in self.lanes.behind_head(user).take(MAX_UPDATES - 1) {
            let entry = &self.entries[ticket];
            bytes += entry.size;
            let is_call = matches!(entry.work, Work::Call { .. });
            let free = entry.is_in_lane() && is_call && !entry.alone && !entry.is_expired(now);
            // They must be settled in one transaction, which is certain only within a partition.
            let settles_with_it = entry.partition == first.partition && bytes <= MAX_BYTES;
            let joins = |earlier: Ticket| entry.update.may_join(&self.entries[earlier].update);
            if !(free && settles_with_it && run.tickets().all(joins)) {
                break;
            }
            run.earlier.push(std::mem::replace(&mut run.last, ticket));
        }
        run
    }
}

impl<U, F> Engine<U, F> {
    /// A merged call failed while others are delivered. It may have taken effect all the same: sent
    /// one by one, its earlier values would come once more after the later ones, so it is given as
    /// many attempts as a single call before that. An odd answer is believed: it did not.
    pub(super) fn merged_failed(&mut self, run: &Run, charged: u32, verdict: Verdict) {
        let attempts = self.entries.in_flight(run.head());
        attempts.merged_failures = attempts.merged_failures.saturating_add(charged);
        let odd = matches!(verdict, Verdict::Unauthorized | Verdict::Fault);
        if charged > 0 && (odd || attempts.merged_failures >= self.settings.max_attempts) {
            self.take_apart(run);
        }
    }

    /// A merged call was rejected, or failed again and again while others are delivered: each of
    /// its updates is sent by itself from now on, so that only the guilty one has to bear it.
    pub(super) fn take_apart(&mut self, run: &Run) {
        for ticket in run.tickets() {
            self.entries[ticket].alone = true;
        }
    }
}
