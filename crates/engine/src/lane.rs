//! Lanes: a queue for each user, first in, first out, with at most one call in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use crate::Ticket;
use crate::UserKey;

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its head may be called, at this place in line.
    Ready(u64),
    /// Its head is being called.
    InFlight,
    /// Its head waits for another attempt.
    Backoff(Instant),
}

/// What a user's calls have come to since the last one that was answered well.
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

#[derive(Debug)]
struct Lane {
    /// In the order of arrival, so the tickets go up.
    queue: VecDeque<Ticket>,
    phase: Phase,
}

/// Where lanes wait for their turn. A lane stands in one of the lines, or in none while its head is
/// being called.
#[derive(Debug, Default)]
struct Lines {
    /// Users whose head may be called, by their place in line, the longest-waiting first: those who
    /// have not failed,
    clean: BTreeMap<u64, UserKey>,
    /// and those who have.
    failed: BTreeMap<u64, UserKey>,
    next_place: u64,
    backoff: BTreeSet<(Instant, UserKey)>,
}

impl Lines {
    /// To the end of those that may be called.
    fn ready(&mut self, user: UserKey, standing: Standing) -> Phase {
        let place = self.next_place;
        self.next_place += 1;
        let line = if standing == Standing::Clean {
            &mut self.clean
        } else {
            &mut self.failed
        };
        line.insert(place, user);
        Phase::Ready(place)
    }

    fn backoff(&mut self, user: UserKey, at: Instant) -> Phase {
        self.backoff.insert((at, user));
        Phase::Backoff(at)
    }

    /// Nothing is left behind of a lane that goes: who comes and goes while nobody is called must
    /// not lengthen the line.
    fn leave(&mut self, user: UserKey, phase: Phase) {
        match phase {
            Phase::Ready(place) => drop(
                self.clean
                    .remove(&place)
                    .or_else(|| self.failed.remove(&place)),
            ),
            Phase::Backoff(at) => drop(self.backoff.remove(&(at, user))),
            Phase::InFlight => {}
        }
    }

    /// The user who has been ready for longest.
    fn longest_ready(&self) -> Option<UserKey> {
        let firsts = [self.clean.first_key_value(), self.failed.first_key_value()];
        firsts.into_iter().flatten().min().map(|(_, user)| *user)
    }

    /// The user to ask how the target is: one who has not failed tells most, and not the one who
    /// was asked `last` if anybody else waits, be it for another attempt.
    fn best_probe(&self, last: Option<UserKey>) -> Option<UserKey> {
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

/// All lanes of a target.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<UserKey, Lane>,
    lines: Lines,
    /// Users who have failed: they may have no lane while all that waits for them is out of memory.
    failed: BTreeMap<UserKey, Standing>,
}

impl Lanes {
    /// Puts a ticket behind whatever waits for that user.
    pub fn push(&mut self, user: UserKey, ticket: Ticket) {
        let lane = self.lanes.entry(user).or_insert_with(|| {
            let phase = self.lines.ready(user, standing(&self.failed, user));
            Lane {
                queue: VecDeque::with_capacity(1),
                phase,
            }
        });
        lane.queue.push_back(ticket);
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
        self.start(user)
    }

    /// Takes the lane that a probe tells most from. `last` is the user of the probe before.
    pub fn take_probe(&mut self, last: Option<UserKey>) -> Option<(UserKey, Ticket)> {
        let user = self.lines.best_probe(last)?;
        self.start(user)
    }

    fn start(&mut self, user: UserKey) -> Option<(UserKey, Ticket)> {
        let lane = self.lanes.get_mut(&user)?;
        self.lines.leave(user, lane.phase);
        lane.phase = Phase::InFlight;
        lane.queue.front().map(|head| (user, *head))
    }

    /// What is known of a user's calls.
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
        if let Some(standing) = self.failed.get_mut(&user) {
            *standing = Standing::Odd;
        }
    }

    /// Forgets what is known of a user for whom nothing waits.
    pub fn forget(&mut self, user: UserKey) {
        if self.is_free(user) {
            self.failed.remove(&user);
        }
    }

    /// The users who have failed.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = UserKey> {
        self.failed.keys().copied()
    }

    /// How many updates a lane has.
    pub fn waiting(&self, user: UserKey) -> usize {
        self.lanes.get(&user).map_or(0, |lane| lane.queue.len())
    }

    /// What waits in a lane behind the first so many, in order.
    pub fn tail(&self, user: UserKey, kept: usize) -> impl Iterator<Item = Ticket> {
        self.lanes
            .get(&user)
            .into_iter()
            .flat_map(move |lane| lane.queue.iter().skip(kept).copied())
    }

    /// What waits behind the head of that user's lane, in order.
    pub fn behind_head(&self, user: UserKey) -> impl Iterator<Item = Ticket> {
        self.lanes
            .get(&user)
            .into_iter()
            .flat_map(|lane| lane.queue.iter().skip(1).copied())
    }

    /// The head that was in flight must be called again, not before `at`.
    pub fn retry(&mut self, user: UserKey, at: Instant) {
        if let Some(lane) = self.lanes.get_mut(&user) {
            self.lines.leave(user, lane.phase);
            lane.phase = self.lines.backoff(user, at);
        }
    }

    /// The head that was in flight must be called again, behind all lanes that are ready.
    pub fn requeue(&mut self, user: UserKey) {
        if let Some(lane) = self.lanes.get_mut(&user) {
            self.lines.leave(user, lane.phase);
            lane.phase = self.lines.ready(user, standing(&self.failed, user));
        }
    }

    /// Whether nothing waits for that user.
    pub fn is_free(&self, user: UserKey) -> bool {
        !self.lanes.contains_key(&user)
    }

    /// A ticket is done with, wherever it stands in its lane. Returns the next one where it moved
    /// up to the head.
    pub fn remove(&mut self, user: UserKey, ticket: Ticket) -> Option<Ticket> {
        let lane = self.lanes.get_mut(&user)?;
        let was_head = lane.queue.front() == Some(&ticket);
        if was_head {
            lane.queue.pop_front();
        } else if let Ok(index) = lane.queue.binary_search(&ticket) {
            lane.queue.remove(index);
        }
        let Some(head) = lane.queue.front().copied() else {
            self.lines.leave(user, lane.phase);
            self.lanes.remove(&user);
            return None;
        };
        if !was_head {
            return None;
        }
        // One that is ready keeps its place.
        if !matches!(lane.phase, Phase::Ready(_)) {
            self.lines.leave(user, lane.phase);
            lane.phase = self.lines.ready(user, standing(&self.failed, user));
        }
        Some(head)
    }

    /// Makes those lanes ready whose wait is over.
    pub fn wake(&mut self, now: Instant) {
        while let Some((at, user)) = self.lines.backoff.first().copied()
            && at <= now
        {
            self.lines.backoff.pop_first();
            if let Some(lane) = self.lanes.get_mut(&user) {
                lane.phase = self.lines.ready(user, standing(&self.failed, user));
            }
        }
    }

    /// When the next wait is over.
    pub fn wake_at(&self) -> Option<Instant> {
        self.lines.backoff.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(number: u64) -> UserKey {
        UserKey(number)
    }

    #[test]
    fn one_user_is_called_in_order_and_one_at_a_time() {
        let mut lanes = Lanes::default();
        for ticket in 0..3 {
            lanes.push(user(1), Ticket(ticket));
        }
        lanes.push(user(2), Ticket(9));
        assert_eq!(lanes.take(true), Some((user(1), Ticket(0))));
        assert_eq!(lanes.take(true), Some((user(2), Ticket(9))));
        assert_eq!(lanes.take(true), None);
        lanes.remove(user(1), Ticket(0));
        assert_eq!(lanes.take(true), Some((user(1), Ticket(1))));
    }

    #[test]
    fn a_wait_holds_up_its_own_user_only() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        lanes.push(user(1), Ticket(1));
        lanes.take(true);
        lanes.retry(user(1), now + Duration::from_secs(1));
        lanes.push(user(2), Ticket(2));
        assert_eq!(lanes.take(true), Some((user(2), Ticket(2))));
        lanes.wake(now);
        assert_eq!(lanes.take(true), None);
        lanes.wake(now + Duration::from_secs(1));
        assert_eq!(lanes.take(true), Some((user(1), Ticket(0))));
    }

    #[test]
    fn what_is_removed_behind_the_head_leaves_the_head_in_flight() {
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        lanes.push(user(1), Ticket(1));
        lanes.take(true);
        lanes.remove(user(1), Ticket(1));
        assert_eq!(lanes.take(true), None);
        lanes.remove(user(1), Ticket(0));
        assert!(lanes.is_free(user(1)));
    }

    #[test]
    fn a_head_that_goes_while_it_waits_makes_way_at_once() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        lanes.push(user(1), Ticket(1));
        lanes.take(true);
        lanes.retry(user(1), now + Duration::from_secs(60));
        lanes.remove(user(1), Ticket(0));
        assert_eq!(lanes.take(true), Some((user(1), Ticket(1))));
        assert_eq!(lanes.wake_at(), None);
    }

    #[test]
    fn who_goes_before_the_call_leaves_nothing_behind() {
        // An outage of hours: somebody waits in front, while updates of others expire and new ones
        // of theirs arrive.
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        for ticket in 1..1000 {
            lanes.push(user(2), Ticket(ticket));
            lanes.remove(user(2), Ticket(ticket));
        }
        assert_eq!((lanes.lines.clean.len(), lanes.lanes.len()), (1, 1));
        lanes.remove(user(1), Ticket(0));
        assert!(!lanes.any_ready());
    }

    #[test]
    fn a_probe_is_a_user_who_has_not_failed_and_never_the_same_one_while_another_waits() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        for number in 1..=3 {
            lanes.push(user(number), Ticket(number));
        }
        let fail = |lanes: &mut Lanes, number, retry_at: Option<Instant>| {
            lanes.judged(user(number), false);
            match retry_at {
                Some(at) => lanes.retry(user(number), at),
                None => lanes.requeue(user(number)),
            }
        };
        assert_eq!(lanes.take(true), Some((user(1), Ticket(1))));
        fail(&mut lanes, 1, None);
        assert_eq!(lanes.take_probe(None), Some((user(2), Ticket(2))));
        fail(&mut lanes, 2, Some(now + Duration::from_secs(9)));
        assert_eq!(
            lanes.take_probe(Some(user(2))),
            Some((user(3), Ticket(3))),
            "it has not failed"
        );
        lanes.remove(user(3), Ticket(3));
        assert_eq!(
            lanes.take_probe(Some(user(1))),
            Some((user(2), Ticket(2))),
            "its own wait is over when it is asked"
        );
        fail(&mut lanes, 2, None);
        assert_eq!(lanes.take_probe(Some(user(2))), Some((user(1), Ticket(1))));
        assert_eq!(
            lanes.take_probe(Some(user(2))),
            Some((user(2), Ticket(2))),
            "nobody else waits"
        );
    }
}
