//! Memory that is full: of lanes that fail, or of what cannot be settled since the text beside the
//! offset is full.

use std::time::Duration;

use super::{FAILED, ODD, Played};
use crate::checkpoint::Checkpoint;
use crate::verdict::{Reason, Verdict};
use crate::{Spent, UserKey, Work};

#[test]
fn a_lane_that_fails_makes_room_and_is_read_again_in_its_order() {
    let mut played = Played::new(20);
    played.deliver(9);
    played.arrive(1);
    played.answer(1, ODD);
    for _ in 0..30 {
        played.arrive(1);
    }
    assert!(
        !played.paused && played.engine.held() <= 20,
        "{}",
        played.engine.held()
    );
    played.deliver(9);
    for user in 100..130 {
        played.deliver(user);
    }
    // What was kept ends, and the rest is asked for from its lowest offset on.
    let mut ended = 0;
    while played.fetches.is_empty() {
        if played.in_flight.is_empty() {
            played.wake();
        } else {
            played.answer(1, Verdict::Delivered);
            ended += 1;
        }
    }
    let (epoch, offsets) = played.fetches.pop().unwrap();
    assert!(offsets.iter().is_sorted() && ended < 31, "{offsets:?}");
    let gone = offsets.iter().map(|offset| (*offset, None)).collect();
    played.engine.fetched(0, epoch, gone);
    played.step();
    let (_, next) = played.fetches.pop().expect("what is left is asked for");
    assert!(
        next[0] > *offsets.last().unwrap(),
        "what is gone from the topic is not asked for again"
    );
}

/// So far apart that each unsettled offset takes six bytes of the text.
const APART: i64 = 1 << 28;

/// The least number of unsettled offsets, so far apart, that do not fit into the text.
fn too_many() -> i64 {
    let fits = |count: &i64| {
        let open = (0..*count)
            .map(|number| (number * APART, Spent::default()))
            .collect();
        Checkpoint {
            horizon: count * APART,
            open,
            ..Checkpoint::default()
        }
        .write(0)
        .is_some()
    };
    (1..).find(|count| !fits(count)).unwrap()
}

#[test]
fn nothing_is_settled_above_what_a_going_partition_leaves_to_its_next_owner() {
    let mut played = Played::new(2000);
    for number in 0..too_many() {
        played.offset = number * APART;
        played.arrive(1);
    }
    // One update of user 2 has ended, for which the text has no room, and another is being called.
    played.deliver(2);
    played.arrive(2);
    played
        .engine
        .revoked(0, played.now + Duration::from_secs(20));
    played.step();
    // Now the text has room: for the other one as well.
    for user in [1, 2] {
        played.answer(user, Verdict::Delivered);
    }
    played.step();
    assert_eq!(
        (played.settled, played.released),
        (vec![1], true),
        "the next owner calls the first one again"
    );
}

/// Memory is full of what has ended, and the text has no room for it before user 1's first update
/// has ended, which fails. The rest of that user's is out of memory.
fn full_of_what_cannot_be_settled() -> Played {
    let mut played = Played::new(20);
    played.deliver(9);
    while played.engine.held() > 0 {
        played.wake();
    }
    played.arrive(1);
    played.answer(1, FAILED);
    for number in 1..=too_many() {
        played.offset = number * APART;
        played.arrive(1);
    }
    while !played.paused {
        played.arrive_as(
            2,
            Work::Dead {
                user: Some(UserKey(2)),
                reason: Reason::InvalidChanges,
            },
        );
    }
    played.settled.clear();
    played
}

#[test]
fn full_of_what_cannot_be_settled_memory_takes_one_more_so_that_somebody_else_is_called() {
    let mut played = full_of_what_cannot_be_settled();
    let (mut counted, mut user) = (None, 100);
    for _ in 0..1000 {
        assert!(
            played.engine.held() < 2 * 20,
            "it takes one for each failure: {}",
            user - 100
        );
        if counted == Some(8) {
            break;
        } else if played.in_flight.iter().any(|(user, _)| *user == 1) {
            counted = played.answer(1, FAILED);
        } else if played.paused {
            played.wake();
        } else {
            user += 1;
            played.deliver(user);
        }
    }
    assert_eq!(counted, Some(8), "{:?}", played.engine.gauges());
}

#[test]
fn full_of_what_cannot_be_settled_memory_takes_so_many_that_nobody_is_called_for_and_no_more() {
    let mut played = full_of_what_cannot_be_settled();
    // Each is a byte long here.
    played.engine.settings.max_bytes = 20;
    for _ in 0..300 {
        if played.in_flight.iter().any(|(user, _)| *user == 1) {
            played.answer(1, FAILED);
        } else if played.paused {
            played.wake();
        } else {
            played.arrive_as(
                2,
                Work::Dead {
                    user: Some(UserKey(2)),
                    reason: Reason::InvalidChanges,
                },
            );
        }
    }
    let held = played.engine.held();
    assert!(played.paused && (2 * 20..3 * 20).contains(&held), "{held}");
}

#[test]
fn what_is_lowest_of_its_partition_is_read_again_though_memory_is_full() {
    let mut played = full_of_what_cannot_be_settled();
    played.until_called(1);
    played.answer(1, Verdict::Delivered);
    for _ in 0..20 {
        played.wake();
    }
    assert_eq!(
        (&played.settled[..], played.engine.held() >= 20),
        (&[1][..], true)
    );
    let fetched: Vec<_> = played
        .fetches
        .into_iter()
        .map(|(_, offsets)| offsets)
        .collect();
    assert_eq!(fetched, [[APART]], "what has ended above it waits for it");
}
