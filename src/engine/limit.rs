//! The concurrency limit of one target: how many calls may be in flight, adapted to how the API bears them.

use std::time::{Duration, Instant};

use crate::event::UserId;

/// Where a fresh limit begins, so that a start does not rush in.
const START: usize = 16;

/// Grows while calls succeed (doubling first, then by one a round), halves when several users' calls fail in one round.
///
/// A round is as many finished calls as the limit allows at once. One user's failures alone never lower it:
/// a poisonous update must not slow down the others.
#[derive(Debug)]
pub struct Limit {
    max: usize,
    current: usize,
    /// Below this the limit doubles a round; above, it grows by one.
    threshold: usize,
    finished: usize,
    failed_users: Vec<UserId>,
}

impl Limit {
    /// A limit that never passes `max` calls.
    pub fn new(max: usize) -> Self {
        Limit { max, current: max.min(START), threshold: max, finished: 0, failed_users: Vec::new() }
    }

    /// How many calls may be in flight now.
    pub fn current(&self) -> usize {
        self.current
    }

    /// A call was answered well. `busy`: the limit was (nearly) used up, so more might be borne.
    pub fn succeeded(&mut self, busy: bool) {
        self.finished += 1;
        if busy && self.current < self.threshold {
            self.current = (self.current + 1).min(self.max);
        }
        self.end_round(busy);
    }

    /// A call of `user` failed in a way that may mean overload.
    pub fn failed(&mut self, user: UserId) {
        self.finished += 1;
        if !self.failed_users.contains(&user) {
            self.failed_users.push(user);
        }
        self.end_round(false);
    }

    /// The target held and flows again: begin with one call and double.
    pub fn restart(&mut self) {
        self.threshold = (self.current / 2).max(1).max(self.threshold / 2);
        self.current = 1;
        self.clear_round();
    }

    fn end_round(&mut self, busy: bool) {
        let failed = self.failed_users.len();
        if failed > 1 && failed > self.current / 10 {
            self.threshold = (self.current / 2).max(1);
            self.current = self.threshold;
            self.clear_round();
        } else if self.finished >= self.current {
            if busy && self.current >= self.threshold {
                self.current = (self.current + 1).min(self.max);
            }
            self.clear_round();
        }
    }

    fn clear_round(&mut self) {
        self.finished = 0;
        self.failed_users.clear();
    }
}

/// Calls per second, evenly spaced.
#[derive(Debug)]
pub struct Rate {
    interval: Option<Duration>,
    next: Option<Instant>,
}

/// How far a late start may catch up, so that timers that fire a little late do not lower the rate.
const CATCH_UP: Duration = Duration::from_millis(10);

impl Rate {
    /// At most `per_second` calls a second; 0 is no limit.
    pub fn new(per_second: u32) -> Self {
        Rate { interval: (per_second > 0).then(|| Duration::from_secs(1) / per_second), next: None }
    }

    /// When the next call may start, if not now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now)
    }

    /// A call starts.
    pub fn started(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            self.next = Some(self.next.map_or(now, |next| next.max(earliest)) + interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u64) -> UserId {
        UserId::new(number).unwrap()
    }

    #[test]
    fn it_doubles_to_the_maximum_and_not_beyond() {
        let mut limit = Limit::new(100);
        for _ in 0..16 {
            limit.succeeded(true);
        }
        assert_eq!(limit.current(), 32);
        for _ in 0..1000 {
            limit.succeeded(true);
        }
        assert_eq!(limit.current(), 100);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used() {
        let mut limit = Limit::new(100);
        for _ in 0..1000 {
            limit.succeeded(false);
        }
        assert_eq!(limit.current(), 16);
    }

    #[test]
    fn failures_of_several_users_halve_it_and_of_one_user_do_not() {
        let mut limit = Limit::new(64);
        for _ in 0..200 {
            limit.failed(user(1));
            limit.succeeded(true);
        }
        assert_eq!(limit.current(), 64);
        for number in 1..=8 {
            limit.failed(user(number));
        }
        assert_eq!(limit.current(), 32);
    }

    #[test]
    fn after_holding_it_begins_with_one() {
        let mut limit = Limit::new(64);
        limit.restart();
        assert_eq!(limit.current(), 1);
        limit.succeeded(true);
        assert_eq!(limit.current(), 2);
    }

    #[test]
    fn a_rate_spaces_calls_and_catches_up_only_a_little() {
        let start = Instant::now();
        let mut rate = Rate::new(100);
        assert_eq!(rate.wait_until(start), None);
        rate.started(start);
        assert_eq!(rate.wait_until(start), Some(start + Duration::from_millis(10)));
        // A second of silence earns no burst: at most what 10 ms are worth.
        let later = start + Duration::from_secs(1);
        let mut at_once = 0;
        while rate.wait_until(later).is_none() {
            rate.started(later);
            at_once += 1;
        }
        assert!(at_once <= 2, "{at_once}");
        assert_eq!(Rate::new(0).wait_until(later), None);
    }
}
