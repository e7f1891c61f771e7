#![expect(clippy::cast_precision_loss, reason = "small counts")]

use super::*;

/// An API and a clock, which take the limit's calls round by round.
struct Played {
    limit: Limit,
    now: Instant,
}

impl Played {
    fn new(max: usize) -> Self {
        let now = Instant::now();
        let limit = Limit::new(max, now);
        Played { limit, now }
    }

    /// So many rounds, each of as many calls as may be in flight: what they take in milliseconds,
    /// and whether the one of that number in the round is answered well.
    fn rounds(
        &mut self,
        rounds: usize,
        takes: impl Fn(usize) -> f64,
        good: impl Fn(usize, usize) -> bool,
    ) {
        for _ in 0..rounds {
            let (started, calls) = (self.now, self.limit.current());
            self.now += Duration::from_secs_f64(takes(calls) / 1000.0);
            for call in 0..calls {
                self.now += Duration::from_nanos(1);
                self.limit.heard(&Heard {
                    started,
                    good: good(call, calls),
                    timed: true,
                    slots: self.limit.current(),
                    now: self.now,
                });
            }
            self.now += Duration::from_nanos(1);
        }
    }

    fn well(&mut self, rounds: usize) -> usize {
        self.rounds(rounds, |_| 20.0, |_, _| true);
        self.limit.current()
    }
}

/// An API of so many servers behind a queue.
fn queue(servers: usize, takes: f64) -> impl Fn(usize) -> f64 {
    move |calls| takes * (calls as f64 / servers as f64).max(1.0)
}

#[test]
fn it_grows_fourfold_a_round_to_the_maximum_and_not_beyond() {
    let mut played = Played::new(1024);
    assert_eq!(played.well(1), 128);
    assert_eq!(played.well(1), 512);
    assert_eq!(played.well(1), 1024);
    assert_eq!(played.well(20), 1024);
}

#[test]
fn a_new_maximum_holds_at_once_and_is_grown_into() {
    let mut played = Played::new(100);
    played.limit.bound(5);
    assert_eq!(played.limit.current(), 5);
    assert_eq!(played.well(3), 5);
    played.limit.bound(40);
    assert_eq!(played.well(40), 40);
}

#[test]
fn it_does_not_grow_while_it_is_not_used() {
    let mut limit = Limit::new(100, Instant::now());
    let started = Instant::now();
    for _ in 0..1000 {
        limit.heard(&Heard {
            started,
            good: true,
            timed: true,
            slots: 3,
            now: started + Duration::from_millis(20),
        });
    }
    assert_eq!(limit.current(), 32);
}

#[test]
fn instances_of_a_group_begin_with_their_shares() {
    let mut limit = Limit::new(256, Instant::now());
    limit.owns(0.25);
    assert_eq!(limit.current(), 16);
    limit.owns(1.0);
    assert_eq!(limit.current(), 64);
}

#[test]
fn a_queue_is_found_and_kept_short() {
    let mut played = Played::new(256);
    played.rounds(60, queue(20, 50.0), |_, _| true);
    for _ in 0..200 {
        played.rounds(1, queue(20, 50.0), |_, _| true);
        assert!(
            (14..=36).contains(&played.limit.current()),
            "{:?}",
            played.limit
        );
    }
}

#[test]
fn an_api_that_slows_down_whatever_it_is_asked_is_taken_as_it_is() {
    let mut played = Played::new(100);
    assert_eq!(played.well(20), 100);
    played.rounds(30, |_| 200.0, |_, _| true);
    assert_eq!(played.limit.current(), 100);
}

#[test]
fn an_api_that_slows_down_under_load_is_asked_less_and_more_again_when_it_recovers() {
    let mut played = Played::new(100);
    assert_eq!(played.well(20), 100);
    played.rounds(30, queue(10, 20.0), |_, _| true);
    assert!(played.limit.current() <= 15, "{:?}", played.limit);
    assert!(played.well(60) >= 85);
}

#[test]
fn failures_that_a_lower_limit_does_not_better_leave_it_where_it_is() {
    let mut played = Played::new(64);
    played.well(5);
    let mut least = 64;
    for round in 0..200 {
        let one_in_ten = move |call, _| (call + round) % 10 != 0;
        played.rounds(1, |_| 20.0, one_in_ten);
        least = least.min(played.limit.current());
    }
    assert!(least >= 40, "{least}");
    assert!(played.limit.current() >= 54, "{:?}", played.limit);
}

#[test]
fn a_limit_above_which_calls_fail_is_kept_below_and_tried_again_later() {
    let mut played = Played::new(256);
    let refuses = |call, _| call < 40;
    played.rounds(200, |_| 20.0, refuses);
    let mut above = 0;
    for _ in 0..500 {
        played.rounds(1, |_| 20.0, refuses);
        above += usize::from(played.limit.current() > 42);
    }
    assert!(above <= 10, "{above}");
    assert!(played.limit.current() >= 25, "{:?}", played.limit);
    assert!(played.well(1000) >= 217);
}

#[test]
fn after_an_outage_it_begins_with_one_and_after_failures_of_chance_it_does_not() {
    let mut played = Played::new(64);
    played.well(5);
    let now = played.now;
    played.limit.restart(None, now);
    assert_eq!(played.limit.current(), 1);
    assert!(played.well(1) > 1);
    assert_eq!(played.well(40), 64);
    played.limit.failing = 0.1;
    let now = played.now;
    played.limit.restart(Some(2), now);
    assert_eq!(played.limit.current(), 64);
    played.limit.restart(Some(5), now);
    assert_eq!(played.limit.current(), 1);
}
