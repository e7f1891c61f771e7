//! Lines: where lanes wait for their turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Standing;
use crate::UserKey;

/// The state of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its head may be called, at this place in line.
    Ready(u64),
    /// Its head is being called.
    InFlight,
    /// Its head waits for another attempt.
    Backoff(Instant),
    /// Its head waits for a slot of the guard, at this place in line.
    Parked(u64),
}

/// A lane stands in one of the lines, or in none while its head is
/// being called.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Users whose head may be called, by their place in line, the longest-waiting first: those who
    /// have not failed,
    pub(super) clean: BTreeMap<u64, UserKey>,
    /// and those who have.
    pub(super) failed: BTreeMap<u64, UserKey>,
    next_place: u64,
    pub(super) backoff: BTreeSet<(Instant, UserKey)>,
    /// Users who wait for a slot.
    pub(super) parked: BTreeMap<u64, UserKey>,
    /// Something came to one of those lanes, or left it.
    pub(super) parked_has_changed: bool,
}

/// Places count up from here. Whoever has waited for a slot, and has got it, stands before all
/// others.
const USUAL: u64 = 1 << 62;

impl Lines {
    /// To the end of those that may be called.
    pub(super) fn ready(&mut self, user: UserKey, standing: Standing) -> Phase {
        let place = USUAL + self.next_place;
        self.next_place += 1;
        self.ready_at(place, user, standing)
    }

    /// Before all those who have no slot.
    pub(super) fn ready_first(&mut self, user: UserKey, standing: Standing) -> Phase {
        let place = self.next_place;
        self.next_place += 1;
        self.ready_at(place, user, standing)
    }

    fn ready_at(&mut self, place: u64, user: UserKey, standing: Standing) -> Phase {
        let line = if standing == Standing::Clean {
            &mut self.clean
        } else {
            &mut self.failed
        };
        line.insert(place, user);
        Phase::Ready(place)
    }

    pub(super) fn park(&mut self, user: UserKey) -> Phase {
        let place = self.next_place;
        self.next_place += 1;
        self.parked.insert(place, user);
        Phase::Parked(place)
    }

    pub(super) fn backoff(&mut self, user: UserKey, at: Instant) -> Phase {
        self.backoff.insert((at, user));
        Phase::Backoff(at)
    }

    /// Nothing is left behind of a lane that goes: who comes and goes while nobody is called must
    /// not lengthen the line.
    pub(super) fn leave(&mut self, user: UserKey, phase: Phase) {
        match phase {
            Phase::Ready(place) => drop(
                self.clean
                    .remove(&place)
                    .or_else(|| self.failed.remove(&place)),
            ),
            Phase::Backoff(at) => drop(self.backoff.remove(&(at, user))),
            Phase::Parked(place) => drop(self.parked.remove(&place)),
            Phase::InFlight => {}
        }
    }

    /// The user who has been ready for longest.
    pub(super) fn longest_ready(&self) -> Option<UserKey> {
        let firsts = [self.clean.first_key_value(), self.failed.first_key_value()];
        firsts.into_iter().flatten().min().map(|(_, user)| *user)
    }

    /// The first user who has waited for a slot and has got it.
    pub(super) fn first_granted(&self, failed_too: bool) -> Option<UserKey> {
        let failed = self.failed.first_key_value().filter(|_| failed_too);
        let firsts = [self.clean.first_key_value(), failed];
        let first = firsts.into_iter().flatten().min();
        first
            .filter(|(place, _)| **place < USUAL)
            .map(|(_, user)| *user)
    }

    /// The user to ask how the target is: one who has not failed tells most, and not the one who
    /// was asked `last` if anybody else waits, be it for another attempt.
    pub(super) fn best_probe(&self, last: Option<UserKey>) -> Option<UserKey> {
        let ready = || self.clean.values().chain(self.failed.values());
        let waiting = || self.backoff.iter().map(|(_, user)| user);
        let other = |user: &&UserKey| Some(**user) != last;
        let others = ready().find(other).or_else(|| waiting().find(other));
        others
            .or_else(|| ready().next())
            .or_else(|| waiting().next())
            .copied()
    }
}
