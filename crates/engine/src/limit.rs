//! The concurrency limit of one target: how many calls may be in flight, adapted to how the API
//! bears them.

use std::time::Duration;

use crate::UserKey;

/// Where a fresh limit begins, so that a start does not rush in.
const START: usize = 16;
/// Fewer answers than this say nothing of how slow an API is.
const MIN_ANSWERS: usize = 16;
/// An API is slow when its answers take this many times the usual…
const SLOW_FACTOR: f64 = 2.0;
/// …and this much longer, in seconds: what takes a millisecond doubles by chance.
const SLOW_MARGIN: f64 = 0.005;
/// What is left of the limit after a round of slow answers.
const AFTER_SLOW: f64 = 0.8;

/// Grows while calls succeed (doubling first, then by one a round), halves when several users'
/// calls fail in one round, and shrinks by a fifth when answers take much longer than they use to.
///
/// A round is as many finished calls as the limit allows at once. One user's failures alone never
/// lower it: a poisonous update must not slow down the others.
#[derive(Debug)]
pub struct Limit {
    max: usize,
    current: usize,
    /// Below this the limit doubles a round; above, it grows by one.
    threshold: usize,
    finished: usize,
    failed_users: Vec<UserKey>,
    latency: Latency,
}

/// How long answers take, in seconds.
#[derive(Debug, Default)]
struct Latency {
    sum: f64,
    answers: usize,
    usual: Option<f64>,
}

impl Latency {
    /// Takes note of an answer. Once there are enough, returns whether they were slow, and begins
    /// anew.
    fn answered(&mut self, latency: Duration, enough: usize) -> bool {
        self.sum += latency.as_secs_f64();
        self.answers += 1;
        if self.answers < enough.max(MIN_ANSWERS) {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of calls in flight")]
        let mean = self.sum / self.answers as f64;
        (self.sum, self.answers) = (0.0, 0);
        let usual = self.usual.unwrap_or(mean);
        // Better is believed soon; worse slowly, so that what the calls themselves bring about does
        // not become usual while it lasts.
        let weight = if mean < usual { 0.3 } else { 0.05 };
        self.usual = Some(usual + (mean - usual) * weight);
        mean > usual * SLOW_FACTOR + SLOW_MARGIN
    }
}

impl Limit {
    /// A limit that never passes `max` calls.
    pub fn new(max: usize) -> Self {
        let latency = Latency::default();
        Limit {
            max,
            current: max.min(START),
            threshold: max,
            finished: 0,
            failed_users: Vec::new(),
            latency,
        }
    }

    /// From now on it never passes `max` calls. Calls above it that are in flight end by
    /// themselves.
    pub fn bound(&mut self, max: usize) {
        // A limit that was never cut doubles up to the new maximum as well.
        self.threshold = if self.threshold == self.max {
            max
        } else {
            self.threshold.min(max)
        };
        self.max = max;
        self.current = self.current.min(max);
    }

    /// How many calls may be in flight now.
    pub fn current(&self) -> usize {
        self.current
    }

    /// A call was answered well, after `latency` where that is the API's own. `busy`: the limit was
    /// (nearly) used up, so more might be borne.
    pub fn succeeded(&mut self, busy: bool, latency: Option<Duration>) {
        self.finished += 1;
        if latency.is_some_and(|latency| self.latency.answered(latency, self.current)) {
            self.shrink(AFTER_SLOW);
            return;
        }
        if busy && self.current < self.threshold {
            self.current = (self.current + 1).min(self.max);
        }
        self.end_round(busy);
    }

    /// A call of `user` failed in a way that may mean overload.
    pub fn failed(&mut self, user: UserKey) {
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
            self.shrink(0.5);
        } else if self.finished >= self.current {
            if busy && self.current >= self.threshold {
                self.current = (self.current + 1).min(self.max);
            }
            self.clear_round();
        }
    }

    fn shrink(&mut self, factor: f64) {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive count"
        )]
        let left = (self.current as f64 * factor) as usize;
        self.current = left.max(1);
        self.threshold = self.current;
        self.clear_round();
    }

    fn clear_round(&mut self) {
        self.finished = 0;
        self.failed_users.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u64) -> UserKey {
        UserKey(number)
    }

    #[test]
    fn a_new_maximum_holds_at_once_and_is_grown_into() {
        let mut limit = Limit::new(100);
        limit.bound(5);
        assert_eq!(limit.current(), 5);
        for _ in 0..10 {
            limit.succeeded(true, None);
        }
        assert_eq!(limit.current(), 5);
        limit.bound(40);
        for _ in 0..35 {
            limit.succeeded(true, None);
        }
        assert_eq!(limit.current(), 40);
    }

    #[test]
    fn it_doubles_to_the_maximum_and_not_beyond() {
        let mut limit = Limit::new(100);
        for _ in 0..16 {
            limit.succeeded(true, None);
        }
        assert_eq!(limit.current(), 32);
        for _ in 0..1000 {
            limit.succeeded(true, None);
        }
        assert_eq!(limit.current(), 100);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used() {
        let mut limit = Limit::new(100);
        for _ in 0..1000 {
            limit.succeeded(false, None);
        }
        assert_eq!(limit.current(), 16);
    }

    #[test]
    fn failures_of_several_users_halve_it_and_of_one_user_do_not() {
        let mut limit = Limit::new(64);
        for _ in 0..200 {
            limit.failed(user(1));
            limit.succeeded(true, None);
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
        limit.succeeded(true, None);
        assert_eq!(limit.current(), 2);
    }

    const fn millis(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn an_api_that_slows_down_tenfold_is_asked_less_and_more_again_when_it_recovers() {
        let mut limit = Limit::new(100);
        let answers = |limit: &mut Limit, count, latency| {
            (0..count).for_each(|_| limit.succeeded(true, millis(latency)))
        };
        answers(&mut limit, 2000, 20);
        assert_eq!(limit.current(), 100);
        answers(&mut limit, 500, 200);
        let slow = limit.current();
        assert!(slow <= 50, "{slow}");
        answers(&mut limit, 10_000, 20);
        assert_eq!(limit.current(), 100);
    }

    #[test]
    fn an_api_that_is_slow_for_good_is_taken_as_it_is() {
        let mut limit = Limit::new(100);
        for _ in 0..2000 {
            limit.succeeded(true, millis(20));
        }
        for _ in 0..20_000 {
            limit.succeeded(true, millis(200));
        }
        assert_eq!(limit.current(), 100);
    }

    #[test]
    fn a_slow_answer_now_and_then_changes_nothing() {
        let mut limit = Limit::new(100);
        for number in 0..10_000 {
            limit.succeeded(true, millis(if number % 20 == 0 { 200 } else { 20 }));
        }
        assert_eq!(limit.current(), 100);
    }
}
