//! Merging: updates of one user that wait in line are sent in one call, where that comes to the
//! same as sending them one by one.

use std::time::Instant;

use crate::Ticket;
use crate::UserKey;
use crate::engine::{Engine, Phase};
use crate::verdict::Verdict;

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
    pub(super) fn run(&self, user: UserKey, head: Ticket, now: Instant) -> Vec<Ticket> {
        let mut run = vec![head];
        let Some(first) = self
            .entries
            .get(&head)
            .filter(|first| self.settings.merge && !first.alone)
        else {
            return run;
        };
        let mut bytes = first.size;
        for ticket in self.lanes.behind_head(user).take(MAX_UPDATES - 1) {
            let Some(entry) = self.entries.get(&ticket) else {
                break;
            };
            bytes += entry.size;
            let expired = entry.expires_at.is_some_and(|expires_at| expires_at <= now);
            let free =
                entry.phase == Phase::Waiting && entry.dead.is_none() && !entry.alone && !expired;
            // They must be settled in one transaction, which is certain only within a partition.
            let settles_with_it = entry.partition == first.partition && bytes <= MAX_BYTES;
            let joins = |earlier: &Ticket| {
                self.entries
                    .get(earlier)
                    .is_some_and(|earlier| entry.update.may_join(&earlier.update))
            };
            if !(free && settles_with_it && run.iter().all(joins)) {
                break;
            }
            run.push(ticket);
        }
        run
    }
}

impl<U, F> Engine<U, F> {
    /// A merged call failed while others are delivered. It may have taken effect all the same: sent
    /// one by one, its earlier values would come once more after the later ones, so it is given as
    /// many attempts as a single call before that. An odd answer is believed: it did not.
    pub(super) fn merged_failed(&mut self, run: &[Ticket], charged: u32, verdict: Verdict) {
        let Some(head) = run.first().and_then(|head| self.entries.get_mut(head)) else {
            return;
        };
        head.merged_failures = head.merged_failures.saturating_add(charged);
        let odd = matches!(verdict, Verdict::Unauthorized | Verdict::Fault);
        if charged > 0 && (odd || head.merged_failures >= self.settings.max_attempts) {
            self.take_apart(run);
        }
    }

    /// A merged call was rejected, or failed again and again while others are delivered: each of
    /// its updates is sent by itself from now on, so that only the guilty one has to bear it.
    pub(super) fn take_apart(&mut self, run: &[Ticket]) {
        for ticket in run {
            if let Some(entry) = self.entries.get_mut(ticket) {
                entry.alone = true;
            }
        }
    }
}
