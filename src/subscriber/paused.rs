//! The pause of a target: `paused` in the configuration, taken up while the service runs.
//!
//! To the engine it is the lack of a lease: no call starts, waiting costs no attempts, memory stays
//! bounded, and all else goes on. What is in flight ends as usual.

use std::time::Instant;

/// Whether an operator has paused the target.
#[derive(Debug)]
pub(super) struct Paused {
    paused: bool,
    /// Since when it is paused, or is not.
    since: Instant,
}

impl Paused {
    /// As the configuration says at the start.
    pub(super) fn new(paused: bool, now: Instant) -> Self {
        Paused { paused, since: now }
    }

    /// Takes up what the configuration says now.
    pub(super) fn set(&mut self, paused: bool, now: Instant) {
        if self.paused != paused {
            *self = Paused::new(paused, now);
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Calls may start and last until then. `lease`: that of the partitions, if there is one.
    pub(super) fn call_until(&self, lease: Option<Instant>, now: Instant) -> Instant {
        lease.filter(|_| !self.paused).unwrap_or(now)
    }

    /// Since when the target does what it does; `state` is since when its API lets it.
    pub(super) fn since(&self, state: Instant) -> Instant {
        if self.paused {
            self.since
        } else {
            self.since.max(state)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_call_may_start_while_the_target_is_paused_and_the_lease_decides_again_afterwards() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pause = Paused::new(false, start);
        assert_eq!(pause.call_until(Some(at(15)), at(1)), at(15));
        assert_eq!(pause.call_until(None, at(1)), at(1));
        pause.set(true, at(2));
        assert!(pause.is_paused());
        assert_eq!(pause.call_until(Some(at(15)), at(3)), at(3));
        pause.set(false, at(4));
        assert!(!pause.is_paused());
        assert_eq!(pause.call_until(Some(at(15)), at(5)), at(15));
    }

    #[test]
    fn the_time_of_the_last_change_is_told_and_reading_the_same_again_is_none() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pause = Paused::new(true, start);
        pause.set(true, at(10));
        assert_eq!(pause.since(at(5)), start, "whatever its API does meanwhile");
        pause.set(false, at(20));
        assert_eq!(pause.since(at(5)), at(20));
        assert_eq!(pause.since(at(30)), at(30), "its API went away since");
    }
}
