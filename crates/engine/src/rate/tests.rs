use super::learned::FORGET;
use super::*;

/// Starts calls as soon as they may until `end`; returns how many.
fn calls(rate: &mut Rate, now: &mut Instant, end: Instant) -> u32 {
    let mut calls = 0;
    while *now < end {
        match rate.wait_until(*now) {
            Some(at) => *now = at,
            None => {
                rate.started(*now);
                calls += 1;
                *now += Duration::from_micros(100);
            }
        }
    }
    calls
}

#[test]
fn it_spaces_calls_and_catches_up_only_a_little() {
    let start = Instant::now();
    let mut rate = Rate::new(100, start);
    rate.owns(1.0, start);
    assert_eq!(rate.wait_until(start), None);
    rate.started(start);
    assert_eq!(
        rate.wait_until(start),
        Some(start + Duration::from_millis(10))
    );
    // A second of silence earns no burst: at most what 10 ms are worth.
    let later = start + Duration::from_secs(1);
    let mut at_once = 0;
    while rate.wait_until(later).is_none() {
        rate.started(later);
        at_once += 1;
    }
    assert!(at_once <= 2, "{at_once}");
}

#[test]
fn a_configured_rate_is_shared_by_the_partitions() {
    let start = Instant::now();
    let second = |rate: &mut Rate, from| {
        let from = start + Duration::from_secs(from);
        calls(rate, &mut from.clone(), from + Duration::from_secs(1))
    };
    let mut rate = Rate::new(100, start);
    assert!(second(&mut rate, 0) <= 1, "it knows no share yet");
    rate.owns(1.0, start + Duration::from_secs(1));
    assert!((98..=102).contains(&second(&mut rate, 1)));
    rate.owns(0.25, start + Duration::from_secs(2));
    assert!((24..=26).contains(&second(&mut rate, 2)));
    rate.configure(200, start + Duration::from_secs(3));
    assert!((49..=51).contains(&second(&mut rate, 3)));
}

#[test]
fn what_was_learned_goes_with_the_partitions() {
    let start = Instant::now();
    let mut rate = Rate::new(0, start);
    rate.owns(1.0, start);
    (0..100).for_each(|_| rate.started(start));
    rate.throttled(start, Duration::from_secs(1));
    assert!((79.0..81.0).contains(&rate.per_second().unwrap()));
    rate.owns(0.25, start);
    assert!((19.0..21.0).contains(&rate.per_second().unwrap()));
}

#[test]
fn without_a_limit_nothing_waits() {
    let now = Instant::now();
    let mut rate = Rate::new(0, now);
    (0..1000).for_each(|_| rate.started(now));
    assert_eq!(rate.wait_until(now), None);
}

#[test]
fn a_throttled_call_teaches_the_rate_that_the_api_bears() {
    let start = Instant::now();
    let (mut now, mut rate) = (start, Rate::new(0, start));
    // An API that takes 100 calls a second, all of them at once.
    for _ in 0..100 {
        rate.started(now);
    }
    rate.throttled(now, Duration::from_secs(1));
    now += Duration::from_secs(1);
    let next_second = calls(&mut rate, &mut now, start + Duration::from_secs(2));
    assert!((75..=90).contains(&next_second), "{next_second}");
    // It tries for more, slowly.
    let more = (0..10)
        .map(|second| calls(&mut rate, &mut now, start + Duration::from_secs(3 + second)))
        .last()
        .unwrap();
    assert!((140..=400).contains(&more), "{more}");
}

#[test]
fn a_rate_that_was_configured_is_never_passed() {
    let start = Instant::now();
    let (mut now, mut rate) = (start, Rate::new(50, start));
    rate.owns(1.0, start);
    rate.throttled(now, Duration::from_secs(1));
    let all = calls(&mut rate, &mut now, start + Duration::from_secs(200));
    assert!(all <= 200 * 50 + 1, "{all}");
}

#[test]
fn a_long_pause_is_no_rate_and_what_was_learned_is_forgotten() {
    let start = Instant::now();
    let mut rate = Rate::new(0, start);
    rate.started(start);
    rate.throttled(start, Duration::from_secs(60));
    rate.started(start);
    assert_eq!(rate.wait_until(start), None);
    rate.throttled(start, Duration::ZERO);
    rate.started(start);
    assert!(rate.wait_until(start).is_some());
    rate.started(start + FORGET);
    assert_eq!(rate.wait_until(start + FORGET), None);
}

#[test]
fn instances_that_know_nothing_of_each_other_come_to_equal_shares() {
    // Three of them at one API that takes 300 calls a second; one begins with nearly all of it.
    let start = Instant::now();
    let mut rates: Vec<Rate> = [280, 15, 5].map(|_| Rate::new(0, start)).into();
    for (rate, calls) in rates.iter_mut().zip([280, 15, 5]) {
        (0..calls).for_each(|_| rate.started(start));
        rate.throttled(start, Duration::from_secs(1));
    }
    let mut shares = [0; 3];
    for second in 1..600 {
        let from = start + Duration::from_secs(second);
        let counts: Vec<u32> = rates
            .iter_mut()
            .map(|rate| calls(rate, &mut from.clone(), from + Duration::from_secs(1)))
            .collect();
        if counts.iter().sum::<u32>() > 300 {
            rates.iter_mut().for_each(|rate| {
                rate.throttled(from + Duration::from_secs(1), Duration::from_secs(1))
            });
        }
        if second > 500 {
            shares
                .iter_mut()
                .zip(&counts)
                .for_each(|(share, calls)| *share += calls);
        }
    }
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(*most < least * 3 / 2, "{shares:?}");
}
