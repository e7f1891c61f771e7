//! Proof: whether a failed call says something of its own update or of the target.
//!
//! It is the update's own if, after it, the target delivers another user's update whose call began no
//! earlier. No outage lets that happen: one that began before the failed call would fail the later call
//! too, and one that began in between would be over, which the user who failed in it shows as well.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Ticket;

/// For so long after a delivery a target counts as delivering, while nothing speaks against it.
const DELIVERS: Duration = Duration::from_secs(60);

/// The failed call of an update, as long as that is not delivered.
#[derive(Clone, Copy, Debug)]
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
    last_delivered: Option<Instant>,
    last_recovery: Option<Instant>,
}

impl Proof {
    /// A call that began at `started` failed.
    pub(super) fn failed(&mut self, started: Instant, ticket: Ticket) {
        self.pending.insert((started, ticket));
    }

    /// The update is called again, or is done with.
    pub(super) fn forget(&mut self, started: Instant, ticket: Ticket) {
        self.pending.remove(&(started, ticket));
    }

    /// An update was delivered that had not failed before, by a call that began at `started`. Returns
    /// the updates whose failures this proves to be their own.
    pub(super) fn delivered(&mut self, started: Instant, now: Instant) -> Vec<Ticket> {
        self.last_delivered = Some(now);
        let later = self.pending.split_off(&(started, Ticket(u64::MAX)));
        let proven = std::mem::replace(&mut self.pending, later);
        proven.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// An update was delivered that had failed before: what failed with it may have failed as it did.
    pub(super) fn recovered(&mut self, now: Instant) {
        self.last_recovery = Some(now);
        self.pending.clear();
    }

    /// The API fails for everybody: the failures so far say nothing of their updates.
    pub(super) fn outage(&mut self) {
        self.pending.clear();
    }

    /// Whether the target still counts as delivering others for an update first called at `since`:
    /// it did a while ago, and updates that failed are not delivered later all the same.
    pub(super) fn lasts(&self, since: Instant, now: Instant) -> bool {
        let recently = |at: &Instant| now.saturating_duration_since(*at) <= DELIVERS;
        self.last_delivered.is_some_and(|delivered| delivered > since && recently(&delivered))
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
        assert_eq!(proof.delivered(at(0), at(4)), [], "its call began before theirs, perhaps before the outage");
        assert_eq!(proof.delivered(at(2), at(5)), [Ticket(1)]);
        assert_eq!(proof.delivered(at(2), at(5)), []);
        assert_eq!(proof.delivered(at(3), at(6)), [Ticket(3)]);
    }

    #[test]
    fn who_recovers_shows_that_there_was_an_outage() {
        let now = Instant::now();
        let mut proof = Proof::default();
        proof.failed(now, Ticket(1));
        proof.delivered(now - Duration::from_secs(1), now + Duration::from_secs(1));
        assert!(proof.lasts(now, now + Duration::from_secs(61)));
        assert!(!proof.lasts(now, now + Duration::from_secs(62)), "a minute after the last delivery");
        proof.recovered(now + Duration::from_secs(2));
        assert!(!proof.lasts(now, now + Duration::from_secs(3)));
        assert_eq!(proof.delivered(now, now + Duration::from_secs(4)), []);
    }
}
