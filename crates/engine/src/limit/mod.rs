//! The concurrency limit of one target: how many calls may be in flight, adapted to how the API
//! bears them.

mod trial;
mod window;

use std::time::{Duration, Instant};

use trial::{Ceiling, Kind, Trial};
pub use window::Heard;
use window::Window;

/// Where a fresh limit begins, so that a start does not rush in.
const START: f64 = 32.0;
/// All instances of a group together begin with so many calls, each with its share.
const GROUP_START: f64 = 64.0;
/// In the start, each good answer allows for so many more calls: four times as many in a round.
const START_GROWTH: f64 = 3.0;
/// What is left of the limit if the start went too far.
const AFTER_START: f64 = 0.25;
/// Fewer answers than this say nothing of how slow an API is…
const MIN_ANSWERS: f64 = 24.0;
/// …and fewer than this nothing of how often it fails.
const MIN_CALLS: f64 = 32.0;
/// The limit grows so in a round…
const GROWTH: f64 = 1.25;
/// …while answers take no longer than this many times what they take without load…
const FAST: f64 = 1.08;
/// …and so…
const SLOW_GROWTH: f64 = 1.08;
/// …while they take no longer than this many times…
const FAIR: f64 = 1.2;
/// …and is doubted if they take longer than this many times…
const SLOW: f64 = 1.5;
/// …and this much longer, in seconds: what takes a millisecond doubles by chance.
const MARGIN: f64 = 0.003;
/// A limit is used if so much of it is.
const USED: f64 = 0.7;
/// What a trial leaves of the limit.
const TRIAL: f64 = 0.75;
/// What a trial leaves of it for which nothing speaks.
const PROBE_TRIAL: f64 = 0.85;
/// The least that is left if the trial before has shown that load is the cause.
const STEEP: f64 = 0.25;
/// So often a lower limit is tried though nothing speaks for it, since what answers take without
/// load may have become less.
const PROBE: Duration = Duration::from_secs(15);
/// Failures above what is usual by this share of calls, and by half of what is usual, are too many.
const TOLERATED: f64 = 0.02;
/// So many calls are lately.
const LATELY: f64 = 100.0;
/// So close to it the limit stays meanwhile.
const BELOW: f64 = 0.95;
/// Failures that come by chance no more often than this are an outage.
const CHANCE: f64 = 0.0001;

/// Grows while that makes calls end faster, and shrinks if load is what makes them slow or fail.
///
/// Slow answers and failures alone prove nothing: an API may be slow, or fail for one call in ten,
/// whatever it is asked. So a cut is a *trial*. If answers come faster with it, or fewer calls fail,
/// it is kept; if not, it is taken back, and what was seen is taken for the API's own from then on.
#[derive(Debug)]
pub struct Limit {
    max: f64,
    current: f64,
    /// Nothing was heard yet.
    is_fresh: bool,
    /// What it grows to, by and by: many more calls in one moment might all be refused.
    target: f64,
    phase: Phase,
    window: Window,
    /// What answers take without load, the logarithm of seconds.
    base: Option<f64>,
    /// What share of calls fails whatever the load.
    failing: f64,
    /// What share failed of about the last hundred.
    lately: f64,
    /// How much speaks for more failures than that.
    doubt: f64,
    /// The last trial showed that load was the cause.
    proven: bool,
    probe_at: Instant,
    ceiling: Option<Ceiling>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Grows with each answer, up to a limit. `slow` is how many of the last answers were slow.
    Start {
        until: f64,
        slow: f64,
    },
    Steady,
    /// Whether the lower limit is better.
    Trial(Trial),
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls in flight")]
const fn float(count: usize) -> f64 {
    count as f64
}

impl Limit {
    /// A limit that never passes `max` calls.
    pub fn new(max: usize, now: Instant) -> Self {
        let max = float(max);
        Limit {
            max,
            current: max.min(START),
            is_fresh: true,
            target: 0.0,
            phase: Phase::Start {
                until: max,
                slow: 0.0,
            },
            window: Window::new(now),
            base: None,
            failing: 0.0,
            lately: 0.0,
            doubt: 0.0,
            proven: false,
            probe_at: now + PROBE,
            ceiling: None,
        }
    }

    /// This instance owns that share of the topic's partitions: it takes its share in a start.
    pub fn owns(&mut self, share: f64) {
        if self.is_fresh {
            self.current = (GROUP_START * share).clamp(1.0, self.max.max(1.0));
        }
    }

    /// From now on it never passes `max` calls. Calls above it that are in flight end by
    /// themselves.
    pub fn bound(&mut self, max: usize) {
        let before = std::mem::replace(&mut self.max, float(max));
        match &mut self.phase {
            // A start that nothing has ended goes on up to the new maximum, and so does one that
            // the old one has ended.
            Phase::Start { until, .. } if *until < before => *until = until.min(self.max),
            Phase::Start { until, .. } => *until = self.max,
            Phase::Steady if self.current >= before => self.start(self.max, self.window.since),
            Phase::Steady | Phase::Trial(_) => {}
        }
        self.current = self.current.min(self.max);
    }

    /// How many calls may be in flight now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive count"
    )]
    pub fn current(&self) -> usize {
        self.current.max(1.0) as usize
    }

    /// The target held and flows again: begin with one call. Unless so many failures in a row are
    /// nothing special for this API.
    pub fn restart(&mut self, failures: Option<u32>, now: Instant) {
        let failures = failures.and_then(|failures| i32::try_from(failures).ok());
        if failures.is_some_and(|failures| self.failing.powi(failures) > CHANCE) {
            return;
        }
        let before = match self.phase {
            Phase::Start { until, .. } if until < self.max => self.current.max(until),
            _ => self.current,
        };
        // Failures that are perhaps those of users may have come of a limit that was too high.
        if failures.is_some() && !matches!(self.phase, Phase::Start { .. }) {
            let level = match self.phase {
                Phase::Trial(trial) => trial.before,
                _ => self.current,
            };
            self.hit(level, now);
        }
        self.is_fresh = false;
        self.start((before / 2.0).max(1.0), now);
        self.current = 1.0;
        self.doubt = 0.0;
    }

    /// A call ended that says something of what the API bears.
    pub fn heard(&mut self, heard: &Heard) {
        self.is_fresh = false;
        // What began under another limit tells nothing of this one.
        if heard.started < self.window.since {
            return;
        }
        self.window.note(heard);
        self.doubt(heard.good);
        if self.is_failing() && !self.is_tried_over_failures() {
            let until = match self.phase {
                Phase::Start { until, .. } => Some(until),
                _ => None,
            };
            return self.try_over_failures(until, heard.now);
        }
        if self.current < self.target {
            return self.grow_on(heard);
        }
        match self.phase {
            Phase::Start { until, slow } => self.grow_fast(heard, until, slow),
            Phase::Steady => self.look(heard.now),
            Phase::Trial(trial) => self.end_trial(trial, heard.now),
        }
    }

    /// Sums up how far failures are above what is usual: a single one is forgotten soon, and many
    /// are noticed at once.
    fn doubt(&mut self, good: bool) {
        let usual = self.failing * 1.5 + TOLERATED;
        let failed = if good { 0.0 } else { 1.0 };
        let off = failed - usual;
        self.lately += (failed - self.lately) / LATELY;
        self.doubt = (self.doubt + off).max(0.0);
    }

    fn is_failing(&self) -> bool {
        self.doubt >= (2.5 + 36.0 * self.failing).min(10.0)
    }

    fn is_tried_over_failures(&self) -> bool {
        matches!(
            self.phase,
            Phase::Trial(Trial {
                kind: Kind::Failing { .. },
                ..
            })
        )
    }

    fn set(&mut self, current: f64, now: Instant) {
        self.current = current.clamp(1.0, self.max.max(1.0));
        self.target = 0.0;
        self.window = Window::new(now);
    }

    fn start(&mut self, until: f64, now: Instant) {
        self.phase = Phase::Start { until, slow: 0.0 };
        self.target = 0.0;
        self.window = Window::new(now);
    }

    /// Whether the limit is used.
    fn is_used(&self) -> bool {
        self.window.level() > self.current.floor() * USED
    }

    fn grow_fast(&mut self, heard: &Heard, until: f64, slow: f64) {
        let reference = self.base.or_else(|| {
            let enough = MIN_ANSWERS.min(self.current / 2.0).max(4.0);
            self.base = self.window.latency(enough).map(|latency| latency.log);
            self.base
        });
        let is_slow = heard.good
            && heard.timed
            && reference.is_some_and(|log| heard.took().as_secs_f64() > log.exp() * SLOW + MARGIN);
        let slow = slow + (f64::from(u8::from(is_slow)) - slow) / 16.0;
        self.phase = Phase::Start { until, slow };
        if slow > 0.5 {
            self.phase = Phase::Steady;
            self.probe_at = heard.now;
            return self.set(
                (self.current * AFTER_START).max(START.min(self.current)),
                heard.now,
            );
        }
        if heard.good && !is_slow && float(heard.slots) * 2.0 > self.current {
            self.current = (self.current + START_GROWTH).min(until);
        }
        if self.current >= until {
            self.phase = Phase::Steady;
            self.probe_at = heard.now + PROBE;
            self.window = Window::new(heard.now);
        }
    }

    /// Looks at a round that is over.
    fn look(&mut self, now: Instant) {
        if self.window.all() < MIN_CALLS.max(self.current) {
            return;
        }
        let Some(latency) = self.window.latency(MIN_ANSWERS) else {
            return;
        };
        if self.lately < self.failing / 2.0 {
            self.failing *= 0.98;
        }
        let base = self.learn(latency.log);
        let (usual, takes) = (base.exp(), latency.log.exp());
        if !self.is_used() {
            self.window = Window::new(now);
            return;
        }
        if takes > usual * SLOW * (2.0 * latency.error).exp() + MARGIN {
            let factor = if self.proven {
                (usual * 1.15 / takes).clamp(STEEP, TRIAL)
            } else {
                TRIAL
            };
            return self.begin_trial(factor, Kind::Slow(latency), now);
        }
        if now >= self.probe_at && self.current > 1.0 {
            return self.begin_trial(PROBE_TRIAL, Kind::Slow(latency), now);
        }
        self.proven = false;
        if self.doubt >= 1.0 || takes > usual * FAIR + MARGIN {
            self.window = Window::new(now);
        } else if takes > usual * FAST + MARGIN {
            self.grow(SLOW_GROWTH, now);
        } else {
            self.grow(GROWTH, now);
        }
    }

    /// What answers take without load is at most what they take now.
    fn learn(&mut self, log: f64) -> f64 {
        let base = self.base.unwrap_or(log);
        // Much better is another API; a little better may be chance.
        let base = if log < base - 0.4 {
            log
        } else {
            base + (log - base).min(0.0) / 2.0
        };
        self.base = Some(base);
        base
    }

    fn grow(&mut self, factor: f64, now: Instant) {
        let slow_step = self.current + 1.0 + self.current / 64.0;
        let fast_step = (self.current * factor).max(self.current + 1.0);
        let next = match self.ceiling {
            None => fast_step,
            Some(ceiling) if self.current > ceiling.level * 1.1 => {
                self.ceiling = None;
                fast_step
            }
            Some(ceiling) if now < ceiling.until => {
                fast_step.min(ceiling.level * BELOW).max(self.current)
            }
            Some(ceiling) if fast_step < ceiling.level * BELOW => fast_step,
            Some(_) => slow_step,
        };
        let next = next.min(self.max);
        self.target = next;
        self.window = Window::new(now);
    }

    fn grow_on(&mut self, heard: &Heard) {
        if heard.good && float(heard.slots) > self.current.floor() * USED {
            let step = ((self.target - self.current) / self.current).max(GROWTH - 1.0);
            self.current = (self.current + step).min(self.target);
        }
        if self.current >= self.target {
            self.window = Window::new(heard.now);
        }
    }
}

#[cfg(test)]
mod tests;
