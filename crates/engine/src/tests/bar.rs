//! Updates that are barred: no call is made for them, and they end in their turn.

use super::*;
use crate::verdict::Reason;

const FROM: u64 = 100;

fn barred(played: &mut Played, on: bool) {
    let is_barred: Option<crate::Barred<Update>> =
        on.then(|| Arc::new(|update: &Update| update.0 >= FROM) as _);
    played.engine.bar(is_barred);
    played.step();
}

fn endings(played: &mut Played) -> Vec<(u64, End)> {
    std::mem::take(&mut played.endings)
}

#[test]
fn what_is_barred_ends_without_a_call_and_all_else_is_called() {
    let mut played = Played::new(1000);
    barred(&mut played, true);
    played.arrive(1);
    played.arrive(FROM);
    assert_eq!(played.users_in_flight(), [1]);
    played.settle();
    assert_eq!(endings(&mut played), [(FROM, End::Dead(Reason::Protected))]);
    barred(&mut played, false);
    played.arrive(FROM);
    assert_eq!(played.users_in_flight(), [1, FROM]);
}

#[test]
fn what_waits_already_ends_behind_the_call_in_flight_which_is_not_made_again() {
    let mut played = Played::new(1000);
    // The first is called, two more wait behind it, and one expires later.
    for _ in 0..3 {
        played.arrive(FROM);
    }
    played.arrive(1);
    let expires_at = Some(played.now + Duration::from_secs(5));
    let user = UserKey(FROM);
    played.arrive_as(FROM, Work::Call { user, expires_at });
    barred(&mut played, true);
    played.settle();
    assert_eq!(endings(&mut played), [], "they wait for the call in flight");
    played.answer(FROM, FAILED);
    played.settle();
    let expected = [(FROM, End::Dead(Reason::Protected)); 4];
    assert_eq!(endings(&mut played), expected);
    played.now += Duration::from_secs(10);
    played.settle();
    assert_eq!(played.users_in_flight(), [1]);
}

#[test]
fn a_call_in_flight_is_believed() {
    let mut played = Played::new(1000);
    played.arrive(FROM);
    barred(&mut played, true);
    played.answer(FROM, Verdict::Delivered);
    played.settle();
    assert_eq!(endings(&mut played), [(FROM, End::Delivered)]);
}
