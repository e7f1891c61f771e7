//! The rate of one target: how many calls a second may start, as configured, and as an API that
//! throttles has taught.

use std::time::{Duration, Instant};

/// How far a late start may catch up, so that timers that fire a little late do not lower the rate.
const CATCH_UP: Duration = Duration::from_millis(10);
/// A longer pause than this is no matter of calls a second.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// What is left of the rate after a throttled call…
const AFTER_THROTTLE: f64 = 0.8;
/// …but never less than this many calls a second.
const MIN_LEARNED: f64 = 1.0;
/// What was learned grows by this share of itself, and by this many calls a second, each second.
/// The second makes several instances equal in the end: they shrink by a share of what they have,
/// and all grow alike.
const GROWTH: (f64, f64) = (0.03, 0.5);
/// In so many seconds without a throttled call that growth doubles, in twice as many it trebles,
/// and so on: others may have left…
const HASTE: f64 = 3.0;
/// …up to this many times.
const MAX_HASTE: f64 = 10.0;
/// What was learned is forgotten after so long without a throttled call.
const FORGET: Duration = Duration::from_secs(300);
/// Calls are counted over the last one to two of these.
const WINDOW: Duration = Duration::from_secs(5);

/// Calls per second, evenly spaced.
#[derive(Debug)]
pub struct Rate {
    configured: Option<f64>,
    learned: Option<Learned>,
    next: Option<Instant>,
    /// Calls started, in the last window and in this one.
    counted: [Counted; 2],
}

/// What an API has taught that throttles.
#[derive(Clone, Copy, Debug)]
struct Learned {
    per_second: f64,
    throttled_at: Instant,
    grown_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    since: Instant,
    calls: u32,
}

impl Rate {
    /// At most `per_second` calls a second; 0 is no limit.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let configured = (per_second > 0).then(|| f64::from(per_second));
        Rate {
            configured,
            learned: None,
            next: None,
            counted: [Counted {
                since: now,
                calls: 0,
            }; 2],
        }
    }

    /// At most `per_second` calls a second from now on; 0 is no limit. What an API has taught
    /// stays.
    pub fn configure(&mut self, per_second: u32, now: Instant) {
        self.configured = (per_second > 0).then(|| f64::from(per_second));
        // A wait begun at a slower rate is cut to one step of the new one.
        self.next = self.per_second().and_then(|per_second| {
            Some(
                self.next?
                    .min(now + Duration::from_secs_f64(1.0 / per_second)),
            )
        });
    }

    /// The lower of what is configured and what was learned.
    fn per_second(&self) -> Option<f64> {
        let learned = self.learned.map(|learned| learned.per_second);
        self.configured.map_or(learned, |configured| {
            Some(configured.min(learned.unwrap_or(configured)))
        })
    }

    /// When the next call may start, if not now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now)
    }

    /// A call starts.
    pub fn started(&mut self, now: Instant) {
        if now.saturating_duration_since(self.counted[1].since) >= WINDOW {
            self.counted = [
                self.counted[1],
                Counted {
                    since: now,
                    calls: 0,
                },
            ];
        }
        self.counted[1].calls += 1;
        self.grow(now);
        self.next = self.per_second().map(|per_second| {
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            self.next.map_or(now, |next| next.max(earliest))
                + Duration::from_secs_f64(1.0 / per_second)
        });
    }

    /// An API that had taken calls asked for a pause: it is called less often from now on.
    pub fn throttled(&mut self, now: Instant, pause: Duration) {
        if pause > MAX_PAUSE {
            return;
        }
        let before = self
            .learned
            .map_or_else(|| self.measured(now, pause), |learned| learned.per_second);
        let per_second = (before * AFTER_THROTTLE).max(MIN_LEARNED);
        self.learned = Some(Learned {
            per_second,
            throttled_at: now,
            grown_at: now,
        });
    }

    /// How many calls a second were made lately, if none are made in the pause to come.
    fn measured(&self, now: Instant, pause: Duration) -> f64 {
        let [last, this] = self.counted;
        let seconds = (now.saturating_duration_since(last.since) + pause).as_secs_f64();
        // The two are the same window until the first is full.
        let calls = if last.since == this.since {
            this.calls
        } else {
            last.calls + this.calls
        };
        f64::from(calls) / seconds.max(0.001)
    }

    /// Grows what was learned, for as long as calls are made: silence teaches nothing.
    fn grow(&mut self, now: Instant) {
        let Some(learned) = &mut self.learned else {
            return;
        };
        if now.saturating_duration_since(learned.throttled_at) >= FORGET {
            self.learned = None;
            return;
        }
        let seconds = now
            .saturating_duration_since(learned.grown_at)
            .as_secs_f64()
            .min(1.0);
        let haste = (1.0
            + now
                .saturating_duration_since(learned.throttled_at)
                .as_secs_f64()
                / HASTE)
            .min(MAX_HASTE);
        learned.per_second += (learned.per_second * GROWTH.0 + GROWTH.1) * haste * seconds;
        learned.grown_at = now;
    }
}

#[cfg(test)]
mod tests {
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
}
