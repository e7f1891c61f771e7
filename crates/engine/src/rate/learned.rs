//! What an API that throttles teaches of the calls a second that it takes.

use std::time::{Duration, Instant};

use super::Rate;

/// A longer pause than this is no matter of calls a second.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// What is left of the rate after the first throttled call, of which the rate is only measured…
const AFTER_FIRST: f64 = 0.8;
/// …but never less than this many calls a second.
pub(super) const MIN_LEARNED: f64 = 1.0;
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
pub(super) const FORGET: Duration = Duration::from_secs(300);
/// A rate that was not waited for in this time is not used up.
const IDLE: Duration = Duration::from_millis(250);

/// How what was learned changes.
struct Step {
    fall: f64,
    growth: f64,
}

/// What an API has taught that throttles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learned {
    pub(super) per_second: f64,
    /// How often it throttled, and how often in a row soon again.
    pub(super) times: u32,
    pub(super) hot: i32,
    /// It levels until then, and the rates at which it was throttled meanwhile, in the mean.
    pub(super) levels_until: Option<Instant>,
    pub(super) peaks: Option<f64>,
    pub(super) fell_at: Instant,
    pub(super) throttled_at: Instant,
    pub(super) grown_at: Instant,
    /// When the last pause was over.
    pub(super) resumed_at: Instant,
    /// The pause that was asked for lasts.
    pub(super) pauses: bool,
}

impl Rate {
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
    pub(super) fn level_pause(&mut self, now: Instant) {
        self.next = Some(now + LEVELLING_PAUSE);
    }

    /// Comes to rest if it has levelled for long enough.
    pub(super) fn end_levelling(&mut self, now: Instant) {
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
    pub(super) fn measured(&self, now: Instant, pause: Duration) -> f64 {
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
    pub(super) fn grow(&mut self, now: Instant) {
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
