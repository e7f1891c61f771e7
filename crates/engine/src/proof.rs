//! Proof: whether a failed call says something of its own update or of the target.
//!
//! It is the update's own if the target delivers another user's update by a call that began no
//! earlier, and the update fails again by a call that began no earlier than that one. An outage
//! that began before the failed call would fail the other user's as well; one that began later is
//! over, and the update would not fail again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::Ticket;

/// For so long after a delivery a target counts as delivering, while nothing speaks against it.
const DELIVERS: Duration = Duration::from_secs(60);

/// The failed call of an update, as long as that is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// When the call began.
    pub(super) started: Instant,
    /// Others were sent in the same call, and the fault may be theirs.
    pub(super) merged: bool,
    /// Others were delivered after it.
    pub(super) proven: bool,
    /// It counts against the update.
    pub(super) counted: bool,
}

/// What a target's deliveries prove of the failures between them.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Failures that nothing is known of yet, by when their calls began.
    pending: BTreeSet<(Instant, Ticket)>,
    /// Those whose updates are being called again: by when these calls began, when the failed ones
    /// did.
    retried: BTreeMap<(Instant, Ticket), Instant>,
    last_delivered: Option<Instant>,
    last_recovery: Option<Instant>,
}

impl Proof {
    /// A call that began at `started` failed.
    pub(super) fn failed(&mut self, started: Instant, ticket: Ticket) {
        self.pending.insert((started, ticket));
    }

    /// After a call that began at `failed` and failed, the update is called again, at `started`. A
    /// delivery whose call begins later proves nothing of that failure: the outage may have ended
    /// in between. The call `before`, if it is another one, told nothing of the target.
    pub(super) fn retried(
        &mut self,
        failed: Instant,
        before: Instant,
        started: Instant,
        ticket: Ticket,
    ) {
        let was_retried = self.retried.remove(&(before, ticket)).is_some();
        if self.pending.remove(&(failed, ticket)) || was_retried {
            self.retried.insert((started, ticket), failed);
        }
    }

    /// The update's last call, which began at `started`, has ended, or the update is done with.
    pub(super) fn forget(&mut self, failed: Instant, started: Instant, ticket: Ticket) {
        self.pending.remove(&(failed, ticket));
        self.retried.remove(&(started, ticket));
    }

    /// An update was delivered that had not failed before, by a call that began at `started`.
    /// Returns the updates whose failures this proves to be their own.
    pub(super) fn delivered(&mut self, started: Instant, now: Instant) -> Vec<Ticket> {
        self.last_delivered = Some(now);
        if self.pending.is_empty() && self.retried.is_empty() {
            return Vec::new();
        }
        let later = self.pending.split_off(&(started, Ticket(u64::MAX)));
        let proven = std::mem::replace(&mut self.pending, later);
        let mut proven: Vec<Ticket> = proven.into_iter().map(|(_, ticket)| ticket).collect();
        for ((retried, ticket), failed) in self.retried.split_off(&(started, Ticket(0))) {
            if failed <= started {
                proven.push(ticket);
            } else {
                self.retried.insert((retried, ticket), failed);
            }
        }
        proven
    }

    /// Whether there are failures of which a delivery would tell whose fault they are.
    pub(super) fn is_wanted(&self) -> bool {
        !self.pending.is_empty()
    }

    /// An update was delivered that had failed before: what failed with it may have failed as it
    /// did.
    pub(super) fn recovered(&mut self, now: Instant) {
        self.last_recovery = Some(now);
        self.outage();
    }

    /// The API fails for everybody: the failures so far say nothing of their updates.
    pub(super) fn outage(&mut self) {
        self.pending.clear();
        self.retried.clear();
    }

    /// Whether the target still counts as delivering others for an update first called at `since`:
    /// it did a while ago, and updates that failed are not delivered later all the same.
    pub(super) fn lasts(&self, since: Instant, now: Instant) -> bool {
        let recently = |at: &Instant| now.saturating_duration_since(*at) <= DELIVERS;
        self.last_delivered
            .is_some_and(|delivered| delivered > since && recently(&delivered))
            && !self.last_recovery.as_ref().is_some_and(recently)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_proves_what_failed_before_it_and_began_no_later() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut proof = Proof::default();
        proof.failed(at(1), Ticket(1));
        proof.failed(at(3), Ticket(3));
        assert_eq!(
            proof.delivered(at(0), at(4)),
            [],
            "its call began before theirs, perhaps before the outage"
        );
        assert_eq!(proof.delivered(at(2), at(5)), [Ticket(1)]);
        assert_eq!(proof.delivered(at(2), at(5)), []);
        assert_eq!(proof.delivered(at(3), at(6)), [Ticket(3)]);
    }

    #[test]
    fn a_delivery_called_after_the_retry_proves_nothing_of_the_failure_before_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut proof = Proof::default();
        for ticket in [1, 2, 3].map(Ticket) {
            proof.failed(at(1), ticket);
        }
        proof.retried(at(1), at(1), at(3), Ticket(1));
        proof.retried(at(1), at(1), at(5), Ticket(2));
        assert_eq!(
            proof.delivered(at(4), at(6)),
            [Ticket(3), Ticket(2)],
            "the first may have hung since the outage"
        );
        assert_eq!(proof.delivered(at(0), at(6)), []);
        assert_eq!(
            proof.delivered(at(2), at(7)),
            [Ticket(1)],
            "that call began before the retry"
        );
        proof.failed(at(8), Ticket(4));
        proof.retried(at(8), at(8), at(9), Ticket(4));
        proof.forget(at(8), at(9), Ticket(4));
        assert_eq!(proof.delivered(at(9), at(10)), []);
    }

    #[test]
    fn a_retry_that_was_not_made_leaves_nothing_behind() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut proof = Proof::default();
        proof.failed(at(1), Ticket(1));
        proof.retried(at(1), at(1), at(3), Ticket(1));
        proof.retried(at(1), at(3), at(5), Ticket(1));
        assert_eq!(proof.delivered(at(4), at(6)), [Ticket(1)]);
        assert_eq!(proof.delivered(at(2), at(7)), [], "it is proven once");
    }

    #[test]
    fn who_recovers_shows_that_there_was_an_outage() {
        let now = Instant::now();
        let mut proof = Proof::default();
        proof.failed(now, Ticket(1));
        proof.delivered(now - Duration::from_secs(1), now + Duration::from_secs(1));
        assert!(proof.lasts(now, now + Duration::from_secs(61)));
        assert!(
            !proof.lasts(now, now + Duration::from_secs(62)),
            "a minute after the last delivery"
        );
        proof.recovered(now + Duration::from_secs(2));
        assert!(!proof.lasts(now, now + Duration::from_secs(3)));
        assert_eq!(proof.delivered(now, now + Duration::from_secs(4)), []);
    }
}
