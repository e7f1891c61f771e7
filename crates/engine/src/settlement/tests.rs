use std::sync::Arc;

use super::*;
use crate::UserKey;
use crate::verdict::Reason;
use crate::{Action, Merge, Settings, Work};

#[derive(Debug)]
struct Nothing;

impl Merge for Nothing {
    fn may_join(&self, _: &Self) -> bool {
        false
    }
}

struct Played {
    engine: Engine<Nothing, ()>,
    now: Instant,
}

impl Played {
    /// An engine in which a record of each of these users has ended, of so many bytes each.
    fn new(users: &[u64], size: usize) -> Self {
        let second = Duration::from_secs(1);
        let settings = Settings {
            max_concurrency: 1,
            rate_limit: 0,
            max_waiting: 10_000,
            max_bytes: usize::MAX,
            request_timeout: second,
            initial_backoff: second,
            max_backoff: second,
            max_attempts: 1,
            merge: false,
        };
        let now = Instant::now();
        let mut played = Played {
            engine: Engine::new(settings, 7, now),
            now,
        };
        played.engine.assigned(
            0,
            Commit {
                offset: 0,
                metadata: String::new(),
            },
            now,
        );
        played.end(0, users, size);
        played
    }

    fn end(&mut self, first: i64, users: &[u64], size: usize) {
        for (offset, user) in (first..).zip(users) {
            let work = Work::Dead {
                user: Some(UserKey(*user)),
                reason: Reason::InvalidChanges,
            };
            self.engine
                .arrived(0, offset, size, Arc::new(Nothing), work);
        }
    }

    /// The next transaction: its batch, and what it leaves unsettled below its horizon.
    fn next(&mut self) -> (u64, usize, String) {
        for _ in 0..100 {
            for action in self.engine.step(self.now) {
                if let Action::Settle(batch) = action {
                    return (
                        batch.id,
                        batch.endings.len(),
                        format!(
                            "{}{}",
                            batch.commits[0].commit.offset, batch.commits[0].commit.metadata
                        ),
                    );
                }
            }
            self.now = self.engine.wake_at(self.now).unwrap();
        }
        panic!("nothing is settled");
    }
}

fn refused(places: &[usize]) -> Unsettled {
    Unsettled {
        refused: places.to_vec(),
        late: false,
    }
}

const LATE: Unsettled = Unsettled {
    refused: Vec::new(),
    late: true,
};

#[test]
fn what_is_refused_waits_with_its_users_later_ones_and_all_else_settles_at_once() {
    let mut played = Played::new(&[1, 2, 1, 3], 100);
    let (batch, count, _) = played.next();
    assert_eq!(count, 4);
    played.engine.not_settled(batch, &refused(&[0]), played.now);
    let began = played.now;
    let (batch, count, _) = played.next();
    assert_eq!((count, played.now), (2, began), "users 2 and 3, at once");
    played.engine.settled(batch, played.now);
    assert_eq!(played.engine.gauges().aside, 2);
    // What ends later of user 1 waits as well.
    played.end(4, &[1, 2], 100);
    let (batch, count, _) = played.next();
    assert_eq!(count, 1);
    played.engine.settled(batch, played.now);
    let (batch, count, _) = loop {
        let next = played.next();
        if next.1 > 0 {
            break next;
        }
        played.engine.settled(next.0, played.now);
    };
    assert_eq!((count, played.now), (3, began + REFUSED_PAUSE));
    played.engine.settled(batch, played.now);
    assert_eq!((played.engine.unsettled(), played.engine.held()), (0, 0));
}

#[test]
fn what_is_late_is_halved_until_the_one_that_is_too_large_stands_alone() {
    let mut played = Played::new(&[1, 2, 3, 4], LARGE);
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let (batch, count, _) = played.next();
        sizes.push(count);
        played.engine.not_settled(batch, &LATE, played.now);
    }
    assert_eq!(sizes, [4, 2, 1]);
    // That one is tried seldom from now on, and the others are settled.
    let began = played.now;
    while played.engine.unsettled() > 1 {
        let (batch, ..) = played.next();
        played.engine.settled(batch, played.now);
    }
    assert!(played.now < began + REFUSED_PAUSE);
    assert_eq!(played.engine.aside.next_at(), Some(began + SLOW_PAUSE));
}

#[test]
fn a_partition_that_must_go_is_not_kept_by_what_is_refused() {
    let mut played = Played::new(&[1, 2], 100);
    let (batch, ..) = played.next();
    played.engine.not_settled(batch, &refused(&[0]), played.now);
    let (batch, ..) = played.next();
    played.engine.settled(batch, played.now);
    played
        .engine
        .revoked(0, played.now + Duration::from_secs(20));
    // Once more, at once.
    let began = played.now;
    let (batch, count, _) = played.next();
    assert_eq!((count, played.now), (1, began));
    played.engine.not_settled(batch, &refused(&[0]), played.now);
    let actions = played.engine.step(played.now);
    assert!(matches!(actions[..], [Action::Released(0)]), "{actions:?}");
}
