//! Lanes: a queue for each user, first in, first out, with at most one call in flight.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use super::Ticket;
use crate::event::UserId;

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its head may be called.
    Ready,
    /// Its head is being called.
    InFlight,
    /// Its head waits for another attempt.
    Backoff(Instant),
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Ticket>,
    phase: Phase,
}

/// All lanes of a target.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<UserId, Lane>,
    /// Users whose head may be called, the longest-waiting first. May name a user twice or one that is not ready any more: `next` looks.
    ready: VecDeque<UserId>,
    backoff: BTreeSet<(Instant, UserId)>,
}

impl Lanes {
    /// Puts a ticket behind whatever waits for that user.
    pub fn push(&mut self, user: UserId, ticket: Ticket) {
        let lane = self.lanes.entry(user).or_insert_with(|| {
            self.ready.push_back(user);
            Lane { queue: VecDeque::with_capacity(1), phase: Phase::Ready }
        });
        lane.queue.push_back(ticket);
    }

    /// Whether some lane is ready.
    pub fn any_ready(&mut self) -> bool {
        while let Some(user) = self.ready.front() {
            if self.lanes.get(user).is_some_and(|lane| lane.phase == Phase::Ready) {
                return true;
            }
            self.ready.pop_front();
        }
        false
    }

    /// Takes the longest-ready lane: its head's call is now in flight.
    pub fn take(&mut self) -> Option<(UserId, Ticket)> {
        while let Some(user) = self.ready.pop_front() {
            if let Some(lane) = self.lanes.get_mut(&user)
                && lane.phase == Phase::Ready
                && let Some(head) = lane.queue.front()
            {
                lane.phase = Phase::InFlight;
                return Some((user, *head));
            }
        }
        None
    }

    /// What waits behind the head of that user's lane, in order.
    pub fn behind_head(&self, user: UserId) -> impl Iterator<Item = Ticket> {
        self.lanes.get(&user).into_iter().flat_map(|lane| lane.queue.iter().skip(1).copied())
    }

    /// The head that was in flight must be called again, not before `at`.
    pub fn retry(&mut self, user: UserId, at: Instant) {
        if let Some(lane) = self.lanes.get_mut(&user) {
            lane.phase = Phase::Backoff(at);
            self.backoff.insert((at, user));
        }
    }

    /// The head that was in flight must be called again, behind all lanes that are ready.
    pub fn requeue(&mut self, user: UserId) {
        if let Some(lane) = self.lanes.get_mut(&user) {
            lane.phase = Phase::Ready;
            self.ready.push_back(user);
        }
    }

    /// How many users have a lane.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether nothing waits for that user.
    pub fn is_free(&self, user: UserId) -> bool {
        !self.lanes.contains_key(&user)
    }

    /// A ticket is done with, wherever it stands in its lane. Returns the next one where it moved up to the head.
    pub fn remove(&mut self, user: UserId, ticket: Ticket) -> Option<Ticket> {
        let lane = self.lanes.get_mut(&user)?;
        let was_head = lane.queue.front() == Some(&ticket);
        if was_head {
            lane.queue.pop_front();
        } else {
            lane.queue.retain(|other| *other != ticket);
        }
        if lane.queue.is_empty() {
            if let Phase::Backoff(at) = lane.phase {
                self.backoff.remove(&(at, user));
            }
            self.lanes.remove(&user);
            return None;
        }
        if !was_head {
            return None;
        }
        if lane.phase != Phase::Ready {
            if let Phase::Backoff(at) = lane.phase {
                self.backoff.remove(&(at, user));
            }
            lane.phase = Phase::Ready;
            self.ready.push_back(user);
        }
        lane.queue.front().copied()
    }

    /// Makes those lanes ready whose wait is over.
    pub fn wake(&mut self, now: Instant) {
        while let Some((at, user)) = self.backoff.first().copied()
            && at <= now
        {
            self.backoff.pop_first();
            if let Some(lane) = self.lanes.get_mut(&user) {
                lane.phase = Phase::Ready;
                self.ready.push_back(user);
            }
        }
    }

    /// When the next wait is over.
    pub fn wake_at(&self) -> Option<Instant> {
        self.backoff.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(number: u64) -> UserId {
        UserId::new(number).unwrap()
    }

    #[test]
    fn one_user_is_called_in_order_and_one_at_a_time() {
        let mut lanes = Lanes::default();
        for ticket in 0..3 {
            lanes.push(user(1), Ticket(ticket));
        }
        lanes.push(user(2), Ticket(9));
        assert_eq!(lanes.take(), Some((user(1), Ticket(0))));
        assert_eq!(lanes.take(), Some((user(2), Ticket(9))));
        assert_eq!(lanes.take(), None);
        lanes.remove(user(1), Ticket(0));
        assert_eq!(lanes.take(), Some((user(1), Ticket(1))));
    }

    #[test]
    fn a_wait_holds_up_its_own_user_only() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        lanes.push(user(1), Ticket(1));
        lanes.take();
        lanes.retry(user(1), now + Duration::from_secs(1));
        lanes.push(user(2), Ticket(2));
        assert_eq!(lanes.take(), Some((user(2), Ticket(2))));
        lanes.wake(now);
        assert_eq!(lanes.take(), None);
        lanes.wake(now + Duration::from_secs(1));
        assert_eq!(lanes.take(), Some((user(1), Ticket(0))));
    }

    #[test]
    fn what_is_removed_behind_the_head_leaves_the_head_in_flight() {
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        lanes.push(user(1), Ticket(1));
        lanes.take();
        lanes.remove(user(1), Ticket(1));
        assert_eq!(lanes.take(), None);
        lanes.remove(user(1), Ticket(0));
        assert!(lanes.is_free(user(1)));
    }

    #[test]
    fn a_head_that_goes_while_it_waits_makes_way_at_once() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.push(user(1), Ticket(0));
        lanes.push(user(1), Ticket(1));
        lanes.take();
        lanes.retry(user(1), now + Duration::from_secs(60));
        lanes.remove(user(1), Ticket(0));
        assert_eq!(lanes.take(), Some((user(1), Ticket(1))));
        assert_eq!(lanes.wake_at(), None);
    }
}
