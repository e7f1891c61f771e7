//! A guarded engine with one or more partitions, whose transactions go through at once, or not.

use std::collections::BTreeMap;

use super::*;
use crate::verdict::{Finding, Verdict};
use crate::{Action, Batch, Commit, Settings, State};

const WINDOW: Duration = Duration::from_secs(3600);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Milliseconds since 1970.
const EPOCH: i64 = 1_795_000_000_000;

/// Sets these fields of its user, some of them to nothing.
#[derive(Debug)]
struct Update {
    user: u64,
    sets: u8,
    strips: u8,
}

impl Merge for Update {
    fn may_join(&self, _: &Self) -> bool {
        true
    }
}

fn taking(run: &[&Update]) -> Vec<usize> {
    let stays = |at: usize| {
        let later = run[at + 1..]
            .iter()
            .fold(0, |sets, later| sets | later.sets);
        run[at].strips & !later != 0
    };
    (0..run.len()).filter(|at| stays(*at)).collect()
}

fn guard(max_users: u32) -> Guard<Update> {
    Guard {
        max_users,
        window: WINDOW,
        allow_until: None,
        refuse_until: None,
        taking: Arc::new(taking),
    }
}

struct Played {
    engine: Engine<Update, ()>,
    now: Instant,
    start: Instant,
    /// What the broker has.
    committed: BTreeMap<i32, Commit>,
    next: BTreeMap<i32, i64>,
    in_flight: Vec<(Vec<u64>, Ticket)>,
    /// Transactions are kept back.
    stuck: bool,
    kept: Vec<Batch<Update, ()>>,
    endings: Vec<(u64, End)>,
}

impl Played {
    fn new(partitions: i32, max_users: u32) -> Self {
        let start = Instant::now();
        let committed = (0..partitions).map(|number| (number, Commit::none()));
        let mut played = Played {
            engine: engine(start),
            now: start,
            start,
            committed: committed.collect(),
            next: BTreeMap::new(),
            in_flight: Vec::new(),
            stuck: false,
            kept: Vec::new(),
            endings: Vec::new(),
        };
        played.restart(max_users);
        played
    }

    /// The instance dies, and another one takes all partitions over.
    fn restart(&mut self, max_users: u32) {
        self.engine = engine(self.now);
        let millis = self.now.duration_since(self.start).as_millis() as i64;
        self.engine.clock(self.now, EPOCH + millis);
        self.engine.guard(Some(guard(max_users)));
        self.engine.topic_has(self.committed.len(), self.now);
        self.in_flight.clear();
        self.kept.clear();
        for (number, commit) in &self.committed {
            let (_, unreadable) = self.engine.assigned(*number, commit.clone(), self.now);
            assert!(unreadable.is_none());
            self.next.insert(*number, commit.offset);
        }
        self.step();
    }

    fn step(&mut self) {
        self.engine.lease(self.now + Duration::from_secs(15));
        for action in self.engine.step(self.now) {
            match action {
                Action::Start {
                    ticket,
                    update,
                    merged,
                    ..
                } => {
                    let run = merged.iter().chain([&update]);
                    let users = run.map(|update| update.user).collect();
                    self.in_flight.push((users, ticket));
                }
                Action::Settle(batch) if self.stuck => self.kept.push(batch),
                Action::Settle(batch) => self.commit(batch),
                Action::OrderViolation => panic!("the order is violated"),
                _ => {}
            }
        }
    }

    fn commit(&mut self, batch: Batch<Update, ()>) {
        for commit in batch.commits {
            self.committed.insert(commit.partition, commit.commit);
        }
        let endings = batch.endings.iter();
        self.endings
            .extend(endings.map(|ending| (ending.update.user, ending.end)));
        self.engine.settled(batch.id, self.now);
    }

    /// As long as it takes until everything that can be committed is, and calls have begun.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(100).min(end - self.now);
            self.step();
        }
    }

    fn arrive(&mut self, partition: i32, user: u64, sets: u8, strips: u8) {
        let next = self.next.entry(partition).or_default();
        let offset = *next;
        *next += 1;
        let update = Arc::new(Update { user, sets, strips });
        let work = Work::Call {
            user: UserKey(user),
            expires_at: None,
        };
        self.engine.arrived(partition, offset, 1, update, work);
        self.step();
    }

    fn strip(&mut self, user: u64) {
        let partition = (user % self.committed.len() as u64) as i32;
        self.arrive(partition, user, 1, 1);
    }

    fn answer(&mut self, verdict: Verdict) {
        for (_, ticket) in std::mem::take(&mut self.in_flight) {
            let finding = Finding {
                verdict,
                calls: 1,
                of_all: false,
            };
            self.engine.finished(ticket, finding, (), self.now);
        }
        self.pass(MOMENT);
    }

    fn called(&self) -> Vec<Vec<u64>> {
        let mut called: Vec<_> = self
            .in_flight
            .iter()
            .map(|(users, _)| users.clone())
            .collect();
        called.sort();
        called
    }
}

const MOMENT: Duration = Duration::from_millis(600);

fn engine(now: Instant) -> Engine<Update, ()> {
    let settings = Settings {
        max_concurrency: 64,
        rate_limit: 0,
        max_waiting: 1000,
        max_bytes: usize::MAX,
        request_timeout: TIMEOUT,
        initial_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(30),
        max_attempts: 8,
        merge: true,
    };
    Engine::new(settings, 1, now)
}

#[test]
fn one_user_more_holds_the_target_and_whoever_loses_nothing_waits_with_it() {
    let mut played = Played::new(3, 4);
    for user in 1..=5 {
        played.strip(user);
    }
    played.pass(MOMENT);
    assert_eq!(played.called(), [[1], [2], [3], [4]]);
    let guarded = played.engine.guarded().unwrap();
    assert_eq!((guarded.slots, guarded.taken), (4, 4));
    assert_eq!(played.engine.waiting().count(), 1);
    // Neither an update that takes nothing away, nor one that takes something from one of the four.
    played.arrive(0, 9, 1, 0);
    played.answer(Verdict::Delivered);
    played.strip(4);
    played.pass(MOMENT);
    assert!(played.called().is_empty());
    assert_eq!(played.engine.state(), State::Flowing, "its API is well");
}

#[test]
fn no_call_begins_before_its_slot_is_committed() {
    let mut played = Played::new(1, 4);
    played.stuck = true;
    played.pass(MOMENT);
    played.strip(1);
    played.arrive(0, 2, 1, 0);
    played.pass(MOMENT);
    assert_eq!(played.called(), [[2]], "only that takes nothing away");
    assert!(played.engine.guarded().is_none());
    // The first one was begun before the slot was asked for.
    while let Some(batch) = played.kept.pop() {
        assert_eq!(played.called(), [[2]]);
        played.commit(batch);
        played.pass(MOMENT);
    }
    assert_eq!(played.called(), [[1], [2]]);
}

#[test]
fn a_batch_that_was_not_committed_or_of_which_nobody_knows_gives_no_slot() {
    for unknown in [false, true] {
        let mut played = Played::new(1, 4);
        played.pass(MOMENT);
        played.stuck = true;
        played.strip(1);
        played.pass(MOMENT);
        let batch = played.kept.pop().unwrap();
        if unknown {
            played.engine.not_committed(0);
            played.engine.settled(batch.id, played.now);
        } else {
            let why = crate::Unsettled::default();
            played.engine.not_settled(batch.id, &why, played.now);
        }
        played.pass(MOMENT);
        assert!(played.called().is_empty());
        let again = played.kept.pop().unwrap();
        played.commit(again);
        played.pass(MOMENT);
        assert_eq!(played.called(), [[1]]);
    }
}

#[test]
fn a_crash_makes_the_count_no_smaller() {
    let mut played = Played::new(2, 3);
    let mut called = std::collections::BTreeSet::new();
    for round in 0..5 {
        for user in 1..=9 {
            played.strip(round * 10 + user);
        }
        played.pass(MOMENT);
        called.extend(played.called().into_iter().flatten());
        // The next ones are others, since nothing of these waits any more.
        played.answer(Verdict::Delivered);
        assert!(played.engine.guarded().is_some());
        let told = Guard {
            refuse_until: Some(i64::MAX),
            ..guard(3)
        };
        played.engine.guard(Some(told));
        played.pass(MOMENT);
        played.restart(3);
    }
    assert_eq!(called.len(), 3, "{called:?}");
}

#[test]
fn a_slot_is_free_again_after_a_window_and_not_before() {
    let mut played = Played::new(1, 2);
    played.strip(1);
    played.strip(2);
    played.pass(MOMENT);
    played.answer(Verdict::Delivered);
    let began = played.now;
    played.strip(3);
    while played.called().is_empty() {
        played.pass(Duration::from_secs(10));
        assert!(played.now < began + WINDOW * 2);
    }
    let waited = played.now - began;
    assert!(
        waited >= WINDOW && waited <= WINDOW * 10 / 8 + TIMEOUT * 3,
        "{waited:?}"
    );
}

#[test]
fn a_user_whose_calls_go_on_keeps_one_slot_and_it_is_free_a_window_after_the_last() {
    let mut played = Played::new(1, 2);
    played.strip(1);
    let began = played.now;
    while played.now < began + WINDOW * 3 {
        played.pass(Duration::from_secs(120));
        played.answer(Verdict::Retry { unreachable: false });
        assert_eq!(played.engine.partitions[0].slots.taken().count(), 1);
    }
    played.pass(MOMENT);
    played.pass(Duration::from_secs(60));
    assert_eq!(played.called(), [[1]]);
    played.answer(Verdict::Delivered);
    let last = played.now;
    played.strip(2);
    played.strip(3);
    played.pass(MOMENT);
    assert_eq!(played.called(), [[2]]);
    played.answer(Verdict::Delivered);
    while played.called().is_empty() {
        played.pass(Duration::from_secs(60));
    }
    assert!(played.now >= last + WINDOW);
}

#[test]
fn what_counts_is_what_the_call_would_do() {
    let mut played = Played::new(1, 0);
    // Held, as there is no slot at all; then what was taken is given back.
    played.strip(1);
    played.pass(MOMENT);
    assert!(played.engine.guarded().is_some());
    played.arrive(0, 1, 1, 0);
    played.pass(MOMENT);
    assert_eq!(played.called(), [[1, 1]]);
    assert!(played.engine.guarded().is_none());
    // Rejected, the two are sent one by one, and the first one takes something away.
    played.answer(Verdict::Rejected {
        user_not_found: false,
    });
    assert!(played.called().is_empty() && played.engine.guarded().is_some());
}

#[test]
fn what_is_allowed_flows_uncounted_and_what_is_refused_ends() {
    let mut played = Played::new(1, 1);
    let mut told = guard(1);
    told.allow_until = Some(EPOCH + 60_000);
    played.engine.guard(Some(told));
    for user in 1..=3 {
        played.strip(user);
    }
    played.pass(MOMENT);
    assert_eq!(played.called(), [[1], [2], [3]]);
    played.answer(Verdict::Delivered);
    played.pass(Duration::from_secs(60));
    for user in 4..=6 {
        played.strip(user);
    }
    played.pass(MOMENT);
    assert_eq!(
        (played.called(), played.engine.guarded().is_some()),
        (vec![vec![4]], true)
    );
    played.answer(Verdict::Delivered);
    played.endings.clear();

    // What takes nothing away of the same call is sent, also if its user has a slot.
    played.arrive(0, 5, 2, 0);
    played.strip(4);
    let mut told = guard(1);
    told.refuse_until = Some(i64::MAX);
    played.engine.guard(Some(told));
    played.pass(MOMENT);
    assert_eq!(played.called(), [[5]]);
    let dead = End::Dead(Reason::HeldBack);
    let mut endings = played.endings.clone();
    endings.sort_by_key(|(user, _)| *user);
    assert_eq!(endings, [(4, dead), (5, dead), (6, dead)]);
}

#[test]
fn the_slots_of_all_partitions_owned_serve_any_of_their_users() {
    let mut played = Played::new(4, 4);
    for user in [4, 8, 12, 16, 20] {
        played.strip(user);
    }
    played.pass(MOMENT);
    assert_eq!(
        played.called(),
        [[4], [8], [12], [16]],
        "all of partition 0"
    );
    for commit in played.committed.values() {
        let slots = crate::checkpoint::Checkpoint::read(commit).unwrap().slots;
        assert_eq!(slots.unwrap().count(), 1);
    }
}

#[test]
fn a_text_that_cannot_be_read_counts_as_all_and_one_of_an_older_version_as_none() {
    for (metadata, flows) in [
        ("", true),
        ("uc1.AwEBAg", true),
        ("uc1.AwEBAg~g2.AQ", false),
        ("else", false),
    ] {
        let mut played = Played::new(1, 5);
        let commit = Commit {
            offset: 0,
            metadata: metadata.to_owned(),
        };
        played.engine.assigned(0, commit, played.now);
        played.next.insert(0, 100);
        played.strip(1);
        played.pass(MOMENT);
        assert_eq!(played.called().len(), usize::from(flows), "{metadata}");
        assert_eq!(played.engine.guarded().is_none(), flows, "{metadata}");
    }
}

#[test]
fn nothing_is_counted_before_the_number_of_partitions_is_known() {
    let mut played = Played::new(1, 5);
    played.engine.topic_partitions = None;
    played.strip(1);
    played.arrive(0, 2, 1, 0);
    played.pass(MOMENT);
    assert_eq!(played.called(), [[2]]);
    assert!(played.engine.guarded().is_none(), "nothing to look at");
    played.engine.topic_has(1, played.now);
    played.pass(MOMENT);
    assert_eq!(played.called(), [[1], [2]]);
}

#[test]
fn calls_of_one_user_take_one_slot() {
    let mut played = Played::new(1, 2);
    for _ in 0..5 {
        played.strip(1);
        played.pass(MOMENT);
        assert_eq!(played.called(), [[1]]);
        played.answer(Verdict::Delivered);
    }
    played.strip(2);
    played.pass(MOMENT);
    assert_eq!(played.called(), [[2]]);
}
