use std::time::Duration;

use super::*;

fn user(number: u64) -> UserKey {
    UserKey(number)
}

#[test]
fn one_user_is_called_in_order_and_one_at_a_time() {
    let mut lanes = Lanes::new(Spread::of(7));
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
    let mut lanes = Lanes::new(Spread::of(7));
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
    let mut lanes = Lanes::new(Spread::of(7));
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
    let mut lanes = Lanes::new(Spread::of(7));
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
    let mut lanes = Lanes::new(Spread::of(7));
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
    let mut lanes = Lanes::new(Spread::of(7));
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
