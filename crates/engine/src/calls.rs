//! Calls: what is in flight, and which of it takes a slot of the concurrency limit.
//!
//! The limit answers how many calls the API bears at once. A call that hangs while many that began
//! later are delivered says nothing of that, and holds up nobody: it is *overtaken*, and gives its
//! slot back. Calls of users whose last call failed take half of the slots at the most. So a few
//! users whose calls hang leave room for all others.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use crate::Ticket;
use crate::UserKey;
use crate::numbers::{NumberMap, Spread};

/// At least so many deliveries overtake a call. Those in flight with it are among them, so it is at
/// least twice the limit.
const OVERTAKEN: usize = 16;

/// Updates of one user that are sent in one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// In the order of arrival.
    pub(super) earlier: Vec<Ticket>,
    /// The call goes by its ticket.
    pub(super) last: Ticket,
}

impl Run {
    /// The head of the lane.
    pub(super) fn head(&self) -> Ticket {
        self.earlier.first().copied().unwrap_or(self.last)
    }

    pub(super) fn is_merged(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// In the order of arrival.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.earlier.iter().copied().chain([self.last])
    }
}

/// A call in flight.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) run: Run,
    pub(super) overtaken: bool,
    /// Counts up: a ticket is called again after a failure.
    number: u64,
    /// The user's last call had failed.
    of_failed: bool,
}

/// All calls in flight, at most one for each user.
#[derive(Debug)]
pub(super) struct Calls {
    by_user: NumberMap<UserKey, Call>,
    /// Deliveries so far.
    delivered: u64,
    /// Calls that are not overtaken, and some that have ended, by how many deliveries there were
    /// when they began.
    began: VecDeque<(u64, UserKey, u64)>,
    next_number: u64,
    /// Calls that take a slot, and those of them whose user's last call had failed.
    slots: usize,
    slots_of_failed: usize,
}

impl Calls {
    /// None are in flight.
    pub(super) fn new(spread: Spread) -> Self {
        Calls {
            by_user: NumberMap::with_hasher(spread),
            delivered: 0,
            began: VecDeque::new(),
            next_number: 0,
            slots: 0,
            slots_of_failed: 0,
        }
    }

    /// How many are in flight.
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    /// Whether none is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }

    /// How many take a slot.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Whether a user whose last call failed may take a slot of so many.
    pub(super) fn has_slot_for_failed(&self, limit: usize) -> bool {
        self.slots_of_failed < (limit / 2).max(1)
    }

    /// A call begins. Returns whether one of that user was in flight already.
    pub(super) fn start(&mut self, user: UserKey, run: Run, of_failed: bool) -> bool {
        let number = self.next_number;
        self.next_number += 1;
        let call = Call {
            run,
            overtaken: false,
            number,
            of_failed,
        };
        let before = self.by_user.insert(user, call);
        self.began.push_back((self.delivered, user, number));
        self.slots += 1;
        self.slots_of_failed += usize::from(of_failed);
        before.map(|before| self.ended(&before)).is_some()
    }

    /// The user's call has ended that goes by this ticket. `None`: there is none, it was given up.
    pub(super) fn end(&mut self, user: UserKey, ticket: Ticket) -> Option<Call> {
        let Entry::Occupied(call) = self.by_user.entry(user) else {
            return None;
        };
        if call.get().run.last != ticket {
            return None;
        }
        let call = call.remove();
        self.ended(&call);
        Some(call)
    }

    fn ended(&mut self, call: &Call) {
        if !call.overtaken {
            self.give_back(call.of_failed);
        }
    }

    /// A call was delivered, below that limit.
    pub(super) fn delivered(&mut self, limit: usize) {
        self.delivered += 1;
        let enough = (2 * limit).max(OVERTAKEN) as u64;
        while let Some((began, user, number)) = self.began.front().copied() {
            let in_flight = self
                .by_user
                .get_mut(&user)
                .filter(|call| call.number == number);
            match in_flight {
                Some(_) if self.delivered - began < enough => return,
                Some(call) => {
                    call.overtaken = true;
                    let of_failed = call.of_failed;
                    self.give_back(of_failed);
                }
                None => {}
            }
            self.began.pop_front();
        }
    }

    fn give_back(&mut self, of_failed: bool) {
        self.slots -= 1;
        self.slots_of_failed -= usize::from(of_failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u64) -> UserKey {
        UserKey(number)
    }

    fn run(ticket: u64) -> Run {
        Run {
            earlier: Vec::new(),
            last: Ticket(ticket),
        }
    }

    #[test]
    fn a_call_that_many_later_ones_overtake_gives_its_slot_back() {
        let mut calls = Calls::new(Spread::of(7));
        assert!(!calls.start(user(1), run(1), false));
        for number in 2..100 {
            calls.start(user(number), run(number), false);
            assert_eq!(calls.slots(), if number < 42 { 2 } else { 1 }, "{number}");
            assert!(!calls.end(user(number), Ticket(number)).unwrap().overtaken);
            calls.delivered(20);
        }
        assert_eq!((calls.len(), calls.slots()), (1, 0));
        assert!(calls.end(user(1), Ticket(1)).unwrap().overtaken);
        assert!(calls.end(user(1), Ticket(1)).is_none());
        assert!(calls.is_empty() && calls.began.is_empty());
    }

    #[test]
    fn an_update_that_is_called_again_is_overtaken_anew() {
        let mut calls = Calls::new(Spread::of(7));
        calls.start(user(1), run(1), false);
        (0..15).for_each(|_| calls.delivered(1));
        calls.end(user(1), Ticket(1));
        calls.start(user(1), run(1), true);
        (0..15).for_each(|_| calls.delivered(1));
        assert_eq!((calls.slots(), calls.slots_of_failed), (1, 1));
        calls.delivered(1);
        assert_eq!((calls.slots(), calls.slots_of_failed), (0, 0));
    }

    #[test]
    fn users_who_failed_take_half_of_the_slots_and_one_at_least() {
        let mut calls = Calls::new(Spread::of(7));
        for number in 1..=4 {
            assert!(calls.has_slot_for_failed(8));
            calls.start(user(number), run(number), true);
        }
        assert!(!calls.has_slot_for_failed(8) && calls.has_slot_for_failed(10));
        calls.end(user(1), Ticket(1));
        assert!(calls.has_slot_for_failed(8));
        assert!(Calls::new(Spread::of(7)).has_slot_for_failed(1));
    }

    #[test]
    fn a_second_call_of_a_user_is_told_of() {
        let mut calls = Calls::new(Spread::of(7));
        calls.start(user(1), run(1), true);
        assert!(calls.start(user(1), run(2), false));
        assert_eq!(calls.slots(), 1);
        assert!(calls.end(user(1), Ticket(1)).is_none());
        assert_eq!(calls.end(user(1), Ticket(2)).unwrap().run, run(2));
    }
}
