//! The rate of one target: how many calls a second may start, as configured, and as an API that
//! throttles has taught.

use std::time::{Duration, Instant};

/// How far a late start may catch up, so that timers that fire a little late do not lower the rate.
const CATCH_UP: Duration = Duration::from_millis(10);
/// A longer pause than this is no matter of calls a second.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// What is left of the rate after the first throttled call, of which the rate is only measured…
const AFTER_FIRST: f64 = 0.8;
/// …but never less than this many calls a second.
const MIN_LEARNED: f64 = 1.0;
/// Until the second one, what was measured grows by this share of itself, and by this many calls a
/// second, each second, so that it is soon known how much the API takes.
const FIRST_GROWTH: (f64, f64) = (0.03, 0.5);
/// In so many seconds without a throttled call that growth doubles, in twice as many it trebles,
/// and so on: others may have left…
const HASTE: f64 = 3.0;
/// …up to this many times.
const MAX_HASTE: f64 = 10.0;
/// Instances that share an API begin otherwise, for so long…
const LEVELLING: Duration = Duration::from_secs(40);
/// …they fall by this share, all in the same moment if they grow fast…
const LEVELLING_FALL: f64 = 0.4;
/// …once in so long…
const LEVELLING_PAUSE: Duration = Duration::from_secs(1);
/// …and grow by so many calls a second times a root of what the group has, but by no larger share
/// of that than this: who has less for its partitions grows by more of it, so they come to the same.
const LEVELLING_GROWTH: (f64, f64) = (8.0, 0.3);
/// This share of the rates at which they were throttled is what they come to rest at.
const LEVEL: f64 = 0.8;
/// From the second throttled call on, what is left is learned in small steps. What an instance has
/// falls by this share, and grows by this share of itself each second, if it has the API for
/// itself…
const ALONE: Step = Step {
    fall: 0.05,
    growth: 0.002,
};
/// …if it does not; the fall is then one of all that the group has…
const SHARED: Step = Step {
    fall: 0.01,
    growth: 0.0008,
};
/// …and if it knows of no share.
const UNKNOWN: Step = Step {
    fall: 0.1,
    growth: 0.002,
};
/// In that case it also grows by so many calls a second, which makes several equal in the end: they
/// fall by a share of what they have, and all grow alike.
const UNKNOWN_GROWTH: f64 = 0.5;
/// Nothing falls by more than this share at once.
const MAX_FALL: f64 = 0.4;
/// Throttled again so soon, the fall doubles each time.
const HOT: Duration = Duration::from_secs(4);
/// That growth doubles and trebles as well, but after so many seconds.
const CALM: f64 = 45.0;
/// What was learned is forgotten after so long without a throttled call.
const FORGET: Duration = Duration::from_secs(300);
/// Calls are counted over the last one to two of these.
const WINDOW: Duration = Duration::from_secs(5);
/// An instance that does not know its share of the partitions makes no more calls a second of those
/// that are configured for the group.
const UNKNOWN_SHARE: f64 = 1.0;
/// A rate that was not waited for in this time is not used up.
const IDLE: Duration = Duration::from_millis(250);

/// Calls per second, evenly spaced.
#[derive(Debug)]
pub struct Rate {
    /// For the whole group.
    configured: Option<f64>,
    /// What share of the topic's partitions this instance owns, if that is known.
    share: Option<f64>,
    learned: Option<Learned>,
    next: Option<Instant>,
    /// Calls started, in the last window and in this one.
    counted: [Counted; 2],
}

/// How what was learned changes.
struct Step {
    fall: f64,
    growth: f64,
}

/// What an API has taught that throttles.
#[derive(Clone, Copy, Debug)]
struct Learned {
    per_second: f64,
    /// How often it throttled, and how often in a row soon again.
    times: u32,
    hot: i32,
    /// It levels until then, and the rates at which it was throttled meanwhile, in the mean.
    levels_until: Option<Instant>,
    peaks: Option<f64>,
    fell_at: Instant,
    throttled_at: Instant,
    grown_at: Instant,
    /// When the last pause was over.
    resumed_at: Instant,
    /// The pause that was asked for lasts.
    pauses: bool,
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
            share: None,
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
        self.cut_wait(now);
    }

    /// This instance owns that share of the topic's partitions from now on. What an API has taught
    /// goes with them: whoever takes them over takes over their calls.
    pub fn owns(&mut self, share: f64, now: Instant) {
        if let (Some(learned), Some(before)) = (&mut self.learned, self.share) {
            let per_second = learned.per_second * share / before;
            learned.per_second = per_second.max(MIN_LEARNED * share);
            learned.peaks = learned.peaks.map(|peaks| peaks * share / before);
        }
        let before = self.share.replace(share);
        if before.is_none_or(|before| before < share) {
            self.cut_wait(now);
        }
    }

    /// A wait begun at a slower rate is cut to one step of the new one.
    fn cut_wait(&mut self, now: Instant) {
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
        // An instance that does not know its share cannot know what the others take: too few calls
        // for a moment do less harm than too many.
        let configured = self.configured.map(|all| {
            self.share
                .map_or(all.min(UNKNOWN_SHARE), |share| all * share)
        });
        configured.map_or(learned, |configured| {
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
        self.end_levelling(now);
        let least = MIN_LEARNED * self.share.unwrap_or(1.0);
        let Some(learned) = self.learned else {
            let measured = self.measured(now, pause);
            self.learned = Some(Learned {
                per_second: (measured * AFTER_FIRST).max(least),
                times: 1,
                hot: 0,
                levels_until: self
                    .share
                    .filter(|share| *share < 1.0)
                    .map(|_| now + LEVELLING),
                peaks: None,
                fell_at: now,
                throttled_at: now,
                grown_at: now,
                resumed_at: now,
                pauses: true,
            });
            if self.share.is_some_and(|share| share < 1.0) {
                self.level_pause(now);
            }
            return;
        };
        let is_soon = now.saturating_duration_since(learned.resumed_at) < HOT;
        let hot = if is_soon && learned.levels_until.is_none() {
            learned.hot + 1
        } else {
            0
        };
        // Which instance is throttled is chance, in which each has its share. So one that owns a
        // third gives up three times what the group must, at a third of the times.
        let (mut fall, mut peaks) = (self.step().fall, learned.peaks);
        fall = fall / self.share.unwrap_or(1.0) * 2_f64.powi(hot);
        if learned.levels_until.is_some() {
            self.level_pause(now);
            let since = now.saturating_duration_since(learned.fell_at);
            fall = 0.0;
            if since >= LEVELLING_PAUSE {
                fall = LEVELLING_FALL;
                let peak = learned.per_second;
                peaks = Some(peaks.map_or(peak, |peaks| peaks + (peak - peaks) / 4.0));
            }
        }
        self.learned = Some(Learned {
            per_second: (learned.per_second * (1.0 - fall.min(MAX_FALL))).max(least),
            times: learned.times + 1,
            hot,
            peaks,
            fell_at: if fall > 0.0 { now } else { learned.fell_at },
            throttled_at: now,
            grown_at: now,
            pauses: true,
            ..learned
        });
    }

    /// All wait alike while they level, so they go on together.
    fn level_pause(&mut self, now: Instant) {
        self.next = Some(now + LEVELLING_PAUSE);
    }

    /// Comes to rest if it has levelled for long enough.
    fn end_levelling(&mut self, now: Instant) {
        if let Some(learned) = &mut self.learned
            && learned
                .levels_until
                .take_if(|until| *until <= now)
                .is_some()
            && let Some(peaks) = learned.peaks
        {
            learned.per_second = peaks * LEVEL;
        }
    }

    fn step(&self) -> Step {
        match self.share {
            None => UNKNOWN,
            Some(share) if share < 1.0 => SHARED,
            Some(_) => ALONE,
        }
    }

    /// The target flows again. If that ends a pause of which a rate was learned, only now it is
    /// known how long it was. Returns whether it does.
    pub fn resumed(&mut self, now: Instant) -> bool {
        let measured = self.measured(now, Duration::ZERO);
        let Some(learned) = &mut self.learned else {
            return false;
        };
        let paused = std::mem::take(&mut learned.pauses);
        if paused {
            learned.resumed_at = now;
        }
        if paused && learned.times == 1 {
            let per_second = learned.per_second.min(measured * AFTER_FIRST);
            learned.per_second = per_second.max(MIN_LEARNED * self.share.unwrap_or(1.0));
        }
        paused
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

    /// Grows what was learned, for as long as it is used up: silence teaches nothing.
    fn grow(&mut self, now: Instant) {
        let (waited_until, step) = (self.next, self.step());
        self.end_levelling(now);
        let share = self.share.unwrap_or(1.0);
        let unknown_growth = if self.share.is_none() {
            UNKNOWN_GROWTH
        } else {
            0.0
        };
        let Some(learned) = &mut self.learned else {
            return;
        };
        let calm = now.saturating_duration_since(learned.throttled_at);
        if calm >= FORGET {
            self.learned = None;
            return;
        }
        let since = now.saturating_duration_since(learned.grown_at);
        learned.grown_at = now;
        let steps = Duration::from_secs_f64(4.0 / learned.per_second);
        if waited_until.is_some_and(|at| now.saturating_duration_since(at) > IDLE.max(steps)) {
            return;
        }
        let calm = calm.as_secs_f64();
        let (growth, haste) = if learned.levels_until.is_some() {
            let group = learned.per_second / share;
            let (by_root, most) = LEVELLING_GROWTH;
            (share * (by_root * group.powf(0.25)).min(most * group), 0.0)
        } else if learned.times == 1 {
            let (by_share, by_calls) = FIRST_GROWTH;
            (
                learned.per_second * by_share + by_calls * share,
                calm / HASTE,
            )
        } else {
            let growth = learned.per_second * step.growth + unknown_growth;
            (growth, (calm - CALM / share).max(0.0) / HASTE)
        };
        let seconds = since.as_secs_f64().min(1.0);
        learned.per_second += growth * (1.0 + haste).min(MAX_HASTE) * seconds;
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
}
