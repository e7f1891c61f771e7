//! Lanes: a queue for each user, first in, first out, with at most one call in flight.

mod lines;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::Ticket;
use crate::UserKey;
use crate::numbers::{NumberMap, Spread};
use lines::{Lines, Phase};

/// How a user's calls have ended since the last one that was answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None has failed.
    Clean,
    /// The last one failed, perhaps over the user.
    Failed,
    /// They fail while the target delivers others.
    Odd,
}

fn standing(failed: &BTreeMap<UserKey, Standing>, user: UserKey) -> Standing {
    failed.get(&user).copied().unwrap_or(Standing::Clean)
}

/// The updates that wait for a user: one at least, or there is no lane.
#[derive(Debug)]
struct Lane {
    head: Ticket,
    /// In the order of arrival, so the tickets go up.
    behind: VecDeque<Ticket>,
    phase: Phase,
}

impl Lane {
    fn is_parked(&self) -> bool {
        matches!(self.phase, Phase::Parked(_))
    }
}

/// The lane of a user for whom something waits.
fn lane(lanes: &mut NumberMap<UserKey, Lane>, user: UserKey) -> &mut Lane {
    lanes.get_mut(&user).unwrap_or_else(|| no_lane(user))
}

#[cold]
fn no_lane(user: UserKey) -> ! {
    unreachable!("{user:?} has no lane")
}

/// All lanes of a target.
#[derive(Debug)]
pub struct Lanes {
    lanes: NumberMap<UserKey, Lane>,
    lines: Lines,
    /// Users who have failed: they may have no lane while all that waits for them is out of memory.
    failed: BTreeMap<UserKey, Standing>,
}

impl Lanes {
    /// Nobody waits.
    pub(super) fn new(spread: Spread) -> Self {
        Lanes {
            lanes: NumberMap::with_hasher(spread),
            lines: Lines::default(),
            failed: BTreeMap::new(),
        }
    }

    /// Puts a ticket behind whatever waits for that user.
    pub fn push(&mut self, user: UserKey, ticket: Ticket) {
        match self.lanes.entry(user) {
            Entry::Occupied(lane) => {
                let lane = lane.into_mut();
                lane.behind.push_back(ticket);
                self.lines.parked_has_changed |= lane.is_parked();
            }
            Entry::Vacant(place) => {
                place.insert(Lane {
                    head: ticket,
                    behind: VecDeque::new(),
                    phase: self.lines.ready(user, standing(&self.failed, user)),
                });
            }
        }
    }

    /// Whether some lane is ready.
    pub fn any_ready(&self) -> bool {
        !self.lines.clean.is_empty() || !self.lines.failed.is_empty()
    }

    /// Whether some lane is ready whose user has not failed, other than that user's.
    pub fn any_clean_ready(&self, but: Option<UserKey>) -> bool {
        self.lines.clean.values().any(|user| Some(*user) != but)
    }

    /// Whether some lane waits, be it for another attempt.
    pub fn any_waiting(&self) -> bool {
        self.any_ready() || !self.lines.backoff.is_empty()
    }

    /// Takes the longest-ready lane: its head's call is now in flight. `failed_too`: it may be that
    /// of a user who has failed.
    pub fn take(&mut self, failed_too: bool) -> Option<(UserKey, Ticket)> {
        let user = if failed_too {
            self.lines.longest_ready()?
        } else {
            *self.lines.clean.first_key_value()?.1
        };
        Some(self.start(user))
    }

    /// The same of users who have got a slot.
    pub fn take_granted(&mut self, failed_too: bool) -> Option<(UserKey, Ticket)> {
        let user = self.lines.first_granted(failed_too)?;
        Some(self.start(user))
    }

    /// Takes the lane that a probe tells most from. `last` is the user of the probe before.
    pub fn take_probe(&mut self, last: Option<UserKey>) -> Option<(UserKey, Ticket)> {
        let user = self.lines.best_probe(last)?;
        Some(self.start(user))
    }

    fn start(&mut self, user: UserKey) -> (UserKey, Ticket) {
        let lane = lane(&mut self.lanes, user);
        self.lines.leave(user, lane.phase);
        lane.phase = Phase::InFlight;
        (user, lane.head)
    }

    /// How a user's calls have ended lately.
    pub fn standing(&self, user: UserKey) -> Standing {
        standing(&self.failed, user)
    }

    /// The head that was in flight was answered well, or failed.
    pub fn judged(&mut self, user: UserKey, well: bool) {
        if well {
            self.failed.remove(&user);
        } else {
            self.failed.entry(user).or_insert(Standing::Failed);
        }
    }

    /// A user who failed did so while the target delivers others.
    pub fn is_odd(&mut self, user: UserKey) {
        // One whose later update was answered well is none of them any more.
        if let Some(standing) = self.failed.get_mut(&user) {
            *standing = Standing::Odd;
        }
    }

    /// Forgets what is known of a user for whom nothing waits.
    pub fn forget(&mut self, user: UserKey) {
        if self.standing(user) != Standing::Clean && self.is_free(user) {
            self.failed.remove(&user);
        }
    }

    /// The users who have failed.
    pub fn failed(&self) -> impl Iterator<Item = UserKey> {
        self.failed.keys().copied()
    }

    /// How many those are.
    pub fn failed_count(&self) -> usize {
        self.failed.len()
    }

    /// The first update of that user.
    pub fn head(&self, user: UserKey) -> Option<Ticket> {
        self.lanes.get(&user).map(|lane| lane.head)
    }

    /// How many updates a lane has.
    pub fn waiting(&self, user: UserKey) -> usize {
        self.lanes
            .get(&user)
            .map_or(0, |lane| 1 + lane.behind.len())
    }

    /// The tickets behind the head of that user's lane, in order.
    pub fn behind_head(&self, user: UserKey) -> impl DoubleEndedIterator<Item = Ticket> {
        let lane = self.lanes.get(&user);
        lane.into_iter().flat_map(|lane| &lane.behind).copied()
    }

    /// The head that was in flight must be called again, not before `at`.
    pub fn retry(&mut self, user: UserKey, at: Instant) {
        let lane = lane(&mut self.lanes, user);
        self.lines.leave(user, lane.phase);
        lane.phase = self.lines.backoff(user, at);
    }

    /// The head that was in flight must be called again, behind all lanes that are ready.
    pub fn requeue(&mut self, user: UserKey) {
        let lane = lane(&mut self.lanes, user);
        self.lines.leave(user, lane.phase);
        lane.phase = self.lines.ready(user, standing(&self.failed, user));
    }

    /// The head that was taken must not be called before its user has a slot.
    pub fn park(&mut self, user: UserKey) {
        let lane = lane(&mut self.lanes, user);
        self.lines.leave(user, lane.phase);
        lane.phase = self.lines.park(user);
    }

    /// A user who waits for a slot need not do so any more, or has got it: `granted`.
    pub fn unpark(&mut self, user: UserKey, granted: bool) {
        if let Some(lane) = self.lanes.get_mut(&user).filter(|lane| lane.is_parked()) {
            self.lines.leave(user, lane.phase);
            let standing = standing(&self.failed, user);
            lane.phase = match granted {
                true => self.lines.ready_first(user, standing),
                false => self.lines.ready(user, standing),
            };
        }
    }

    /// Nobody need wait for a slot any more.
    pub fn unpark_all(&mut self) {
        for user in self.parked() {
            self.unpark(user, false);
        }
    }

    /// Users who wait for a slot, the longest-waiting first.
    pub fn parked(&self) -> Vec<UserKey> {
        self.lines.parked.values().copied().collect()
    }

    /// How many those are.
    pub fn parked_count(&self) -> usize {
        self.lines.parked.len()
    }

    /// Whether something came to one of those lanes, or left it, since this was asked last.
    pub fn parked_has_changed(&mut self) -> bool {
        std::mem::take(&mut self.lines.parked_has_changed)
    }

    /// Whether nothing waits for that user.
    pub fn is_free(&self, user: UserKey) -> bool {
        !self.lanes.contains_key(&user)
    }

    /// A ticket is done with, wherever it stands in its lane. Returns the next one if that is the
    /// head now.
    pub fn remove(&mut self, user: UserKey, ticket: Ticket) -> Option<Ticket> {
        let Entry::Occupied(mut entry) = self.lanes.entry(user) else {
            no_lane(user)
        };
        let lane = entry.get_mut();
        if lane.head != ticket {
            let place = lane.behind.binary_search(&ticket);
            debug_assert!(place.is_ok(), "{ticket:?} is not in {user:?}'s lane");
            lane.behind.remove(place.ok()?);
            self.lines.parked_has_changed |= lane.is_parked();
            return None;
        }
        let Some(next) = lane.behind.pop_front() else {
            self.lines.leave(user, lane.phase);
            entry.remove();
            return None;
        };
        lane.head = next;
        // One that is ready keeps its place.
        if !matches!(lane.phase, Phase::Ready(_)) {
            self.lines.leave(user, lane.phase);
            lane.phase = self.lines.ready(user, standing(&self.failed, user));
        }
        Some(next)
    }

    /// Makes those lanes ready whose wait is over.
    pub fn wake(&mut self, now: Instant) {
        while let Some((at, user)) = self.lines.backoff.first().copied()
            && at <= now
        {
            self.lines.backoff.pop_first();
            let lane = lane(&mut self.lanes, user);
            debug_assert_eq!(lane.phase, Phase::Backoff(at));
            lane.phase = self.lines.ready(user, standing(&self.failed, user));
        }
    }

    /// When the next wait is over.
    pub fn wake_at(&self) -> Option<Instant> {
        self.lines.backoff.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests;
