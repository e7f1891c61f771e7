//! One engine, one API and a clock: what a few users' odd answers come to.

mod bar;
mod memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::UserKey;
use crate::verdict::{Finding, Verdict};
use crate::{Action, Commit, End, Engine, Merge, Settings, State, Ticket, Work};

#[derive(Debug)]
struct Update(u64);

impl Merge for Update {
    fn may_join(&self, _: &Self) -> bool {
        false
    }
}

const ODD: Verdict = Verdict::Fault;
const FAILED: Verdict = Verdict::Retry { unreachable: false };

struct Played {
    engine: Engine<Update, ()>,
    now: Instant,
    offset: i64,
    in_flight: Vec<(u64, Ticket)>,
    fetches: Vec<(u64, Vec<i64>)>,
    paused: bool,
    /// Of the updates that were settled, in their order.
    settled: Vec<u64>,
    /// How they ended.
    endings: Vec<(u64, End)>,
    released: bool,
}

impl Played {
    fn new(max_waiting: usize) -> Self {
        let now = Instant::now();
        let settings = Settings {
            max_concurrency: 64,
            rate_limit: 0,
            max_waiting,
            max_bytes: usize::MAX,
            request_timeout: Duration::from_secs(10),
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            max_attempts: 8,
            merge: true,
        };
        let mut engine = Engine::new(settings, 1, now);
        engine.assigned(
            0,
            Commit {
                offset: 0,
                metadata: String::new(),
            },
            now,
        );
        Played {
            engine,
            now,
            offset: 0,
            in_flight: Vec::new(),
            fetches: Vec::new(),
            paused: false,
            settled: Vec::new(),
            endings: Vec::new(),
            released: false,
        }
    }

    fn step(&mut self) {
        self.engine.lease(self.now + Duration::from_secs(15));
        for action in self.engine.step(self.now) {
            match action {
                Action::Start { ticket, update, .. } => self.in_flight.push((update.0, ticket)),
                Action::Settle(batch) => {
                    self.settled
                        .extend(batch.endings.iter().map(|ending| ending.update.0));
                    let endings = batch.endings.iter();
                    self.endings
                        .extend(endings.map(|ending| (ending.update.0, ending.end)));
                    self.engine.settled(batch.id, self.now);
                }
                Action::Fetch { epoch, offsets, .. } => self.fetches.push((epoch, offsets)),
                Action::Pause => self.paused = true,
                Action::Resume => self.paused = false,
                Action::Released(_) => self.released = true,
                Action::Cancel(_) => {}
                Action::OrderViolation => panic!("the order is violated"),
            }
        }
    }

    /// Time enough for what has ended to be settled.
    fn settle(&mut self) {
        self.now += Duration::from_millis(300);
        self.step();
    }

    /// Whose calls are in flight, in the order of their users.
    fn users_in_flight(&self) -> Vec<u64> {
        let mut users: Vec<u64> = self.in_flight.iter().map(|(user, _)| *user).collect();
        users.sort_unstable();
        users
    }

    fn arrive(&mut self, user: u64) {
        self.arrive_as(
            user,
            Work::Call {
                user: UserKey(user),
                expires_at: None,
            },
        );
    }

    fn arrive_as(&mut self, user: u64, work: Work) {
        self.engine
            .arrived(0, self.offset, 1, Arc::new(Update(user)), work);
        self.offset += 1;
        self.step();
    }

    /// The user's call in flight is answered so, a millisecond later. Returns the failures that
    /// count.
    fn answer(&mut self, user: u64, verdict: Verdict) -> Option<u32> {
        self.now += Duration::from_millis(1);
        let index = self
            .in_flight
            .iter()
            .position(|(of, _)| *of == user)
            .expect("a call of this user is in flight");
        let (_, ticket) = self.in_flight.remove(index);
        let counted = self.engine.finished(
            ticket,
            Finding {
                verdict,
                calls: 1,
                of_all: false,
            },
            (),
            self.now,
        );
        self.step();
        counted
    }

    /// Somebody else's update comes and is delivered.
    fn deliver(&mut self, user: u64) {
        self.now += Duration::from_millis(1);
        self.arrive(user);
        self.answer(user, Verdict::Delivered);
    }

    /// Time goes on until the engine wants to be asked.
    fn wake(&mut self) {
        self.now = self
            .engine
            .wake_at(self.now)
            .expect("something is to come")
            .max(self.now + Duration::from_millis(1));
        self.step();
    }

    /// Time goes on until somebody is called. Returns who.
    fn until_any_is_called(&mut self) -> u64 {
        for _ in 0..100 {
            if let Some((user, _)) = self.in_flight.first() {
                return *user;
            }
            self.wake();
        }
        panic!("nobody is called: {:?}", self.engine);
    }

    /// Time goes on until the user is called again. Calls of others are delivered.
    fn until_called(&mut self, user: u64) {
        loop {
            let called = self.until_any_is_called();
            if called == user {
                return;
            }
            self.answer(called, Verdict::Delivered);
        }
    }

    fn limit(&self) -> usize {
        self.engine.gauges().concurrency_limit
    }
}

#[test]
fn an_odd_update_ends_with_its_last_attempt_while_others_are_delivered() {
    for verdict in [
        ODD,
        Verdict::Unauthorized,
        FAILED,
        Verdict::Throttled { retry_after: None },
    ] {
        let mut played = Played::new(100);
        played.deliver(9);
        played.arrive(1);
        for attempt in 1..=8 {
            let counted = played.answer(1, verdict);
            assert_eq!(counted, (attempt > 1).then_some(attempt), "{verdict:?}");
            if attempt < 8 {
                played.arrive(10);
                played.until_called(1);
            }
        }
        assert_eq!(played.engine.held(), 0, "{verdict:?}: it has ended");
    }
}

#[test]
fn nothing_counts_while_nobody_else_is_delivered_or_by_a_call_that_began_before() {
    let mut played = Played::new(100);
    played.deliver(9);
    played.arrive(8);
    played.now += Duration::from_millis(1);
    played.arrive(1);
    assert_eq!(played.answer(1, ODD), None);
    // It began before the API turned odd, perhaps.
    played.answer(8, Verdict::Delivered);
    for _ in 0..20 {
        played.until_called(1);
        assert_eq!(played.answer(1, ODD), None);
    }
    assert_eq!(
        played.engine.state(),
        State::Flowing,
        "one user is no outage"
    );
}

#[test]
fn an_update_known_to_be_odd_ends_although_the_others_have_nothing_more_to_send() {
    let mut played = Played::new(100);
    played.deliver(9);
    played.arrive(1);
    played.answer(1, ODD);
    played.deliver(9);
    for attempt in 2..=8 {
        played.until_called(1);
        assert_eq!(played.answer(1, ODD), Some(attempt));
    }
    assert_eq!(played.engine.held(), 0);
}

#[test]
fn an_update_that_recovers_shows_an_outage_in_which_nothing_counts() {
    let mut played = Played::new(100);
    played.deliver(9);
    for user in [1, 2] {
        played.arrive(user);
        played.answer(user, FAILED);
    }
    played.until_called(2);
    played.answer(2, Verdict::Delivered);
    played.until_called(1);
    assert_eq!(played.answer(1, FAILED), None);
}

#[test]
fn a_hold_that_a_good_user_refutes_costs_one_call_and_the_limit_stays() {
    let mut played = Played::new(100);
    for user in 10..40 {
        played.deliver(user);
    }
    let limit = played.limit();
    for user in [1, 2] {
        played.arrive(user);
        played.answer(user, ODD);
    }
    assert_ne!(played.engine.state(), State::Flowing);
    played.arrive(50);
    played.arrive(51);
    assert_eq!(played.in_flight.len(), 1, "one probe");
    played.answer(50, Verdict::Delivered);
    assert_eq!(
        (played.engine.state(), played.limit()),
        (State::Flowing, limit)
    );
    played.answer(51, Verdict::Delivered);
    // Both are known to be odd now, and no hold comes of them again.
    for _ in 0..4 {
        let user = played.until_any_is_called();
        assert!(played.answer(user, ODD).is_some());
        assert_eq!(played.engine.state(), State::Flowing);
    }
}

#[test]
fn a_real_outage_counts_nothing_and_the_limit_begins_anew() {
    let mut played = Played::new(100);
    for user in 10..40 {
        played.deliver(user);
    }
    for user in [1, 2, 3] {
        played.arrive(user);
        assert_eq!(played.answer(user, ODD), None);
    }
    let mut probes = Vec::new();
    for _ in 0..6 {
        let user = played.until_any_is_called();
        assert_eq!(played.answer(user, ODD), None);
        probes.push(user);
    }
    assert!(probes.is_sorted_by(|one, next| one != next), "{probes:?}");
    let user = played.until_any_is_called();
    played.answer(user, Verdict::Delivered);
    assert_eq!((played.engine.state(), played.limit()), (State::Flowing, 1));
}

/// Calls of some users never answer, and others come all the time. What the others wait at most.
fn longest_wait_beside_hanging_users(hanging: u64) -> Duration {
    const TICK: Duration = Duration::from_millis(5);
    const LATENCY: Duration = Duration::from_millis(10);
    let mut played = Played::new(10_000);
    let timeout = played.engine.settings.request_timeout;
    let (mut longest, mut began) = (Duration::ZERO, HashMap::new());
    let mut calls: Vec<(Instant, u64, Ticket)> = Vec::new();
    // The others come 40 times a second, and the first of them before anybody hangs.
    for tick in 0..12_000_u64 {
        played.now += TICK;
        if tick % 5 == 0 {
            began.insert(1000 + tick, played.now);
            played.arrive(1000 + tick);
        }
        if tick >= 400 && tick % 10 == 0 && tick / 10 - 40 < hanging {
            played.arrive(1 + tick / 10 - 40);
        }
        played.step();
        for (user, ticket) in std::mem::take(&mut played.in_flight) {
            let takes = if user < 1000 { timeout } else { LATENCY };
            calls.push((played.now + takes, user, ticket));
        }
        while let Some(place) = calls.iter().position(|(at, ..)| *at <= played.now) {
            let (_, user, ticket) = calls.swap_remove(place);
            played.in_flight.push((user, ticket));
            if user < 1000 {
                played.answer(user, FAILED);
            } else {
                longest = longest.max(played.now - began.remove(&user).unwrap());
                played.answer(user, Verdict::Delivered);
            }
            for (user, ticket) in std::mem::take(&mut played.in_flight) {
                let takes = if user < 1000 { timeout } else { LATENCY };
                calls.push((played.now + takes, user, ticket));
            }
        }
    }
    let waits = began.values().map(|began| played.now - *began);
    waits.max().unwrap_or_default().max(longest)
}

#[test]
fn users_whose_calls_hang_cost_the_others_next_to_nothing() {
    for hanging in [3, 8, 12, 20, 50] {
        let longest = longest_wait_beside_hanging_users(hanging);
        assert!(
            longest < Duration::from_millis(1500),
            "{hanging} hang: {longest:?}"
        );
    }
}

#[test]
fn a_delivery_called_after_the_retry_proves_nothing_of_the_failure_before_it() {
    let mut played = Played::new(100);
    played.deliver(9);
    played.arrive(1);
    played.answer(1, FAILED);
    played.until_called(1);
    // The retry may have hung since an outage that was over before this one was called.
    played.deliver(9);
    assert_eq!(played.answer(1, FAILED), None);
    played.deliver(9);
    played.until_called(1);
    assert_eq!(played.answer(1, FAILED), Some(2));
}

#[test]
fn an_update_known_to_fail_is_not_charged_while_others_fail_too() {
    let mut played = Played::new(100);
    played.deliver(9);
    played.arrive(1);
    played.answer(1, FAILED);
    played.deliver(9);
    for failures in [2, 3] {
        played.until_called(1);
        assert_eq!(played.answer(1, FAILED), Some(failures));
    }
    played.arrive(2);
    played.answer(2, FAILED);
    for _ in 0..6 {
        let user = played.until_any_is_called();
        assert_eq!(played.answer(user, FAILED), None);
    }
}
