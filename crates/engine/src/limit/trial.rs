//! Trials: whether a lower limit is better.

use std::time::{Duration, Instant};

use super::window::{Latency, Window};
use super::{BELOW, Limit, MIN_ANSWERS, MIN_CALLS, PROBE, Phase, TRIAL};

/// Calls are waited for no longer than this many for each that failed.
const MAX_CALLS: f64 = 400.0;
/// So many failures show how many there are.
const MIN_FAILED: f64 = 8.0;
/// If still so many fail above what is usual, a lower limit is tried at once.
const MANY: f64 = 0.06;
/// A limit that was too high is tried again after this time, doubling…
const PATIENCE: Duration = Duration::from_secs(4);
/// …up to this.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// What the limit was before, and comes back to if the trial is lost.
    pub(super) before: f64,
    /// From what it was cut.
    pub(super) from: f64,
    pub(super) level: f64,
    pub(super) failing: f64,
    /// The calls that are needed to tell.
    pub(super) calls: f64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Over slow answers, or for none.
    Slow(Latency),
    /// Over failures.
    Failing { until: Option<f64> },
}

/// A limit at which more calls failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    pub(super) level: f64,
    pub(super) until: Instant,
    pub(super) patience: Duration,
}

/// How many calls fail for each that does not.
fn odds(failing: f64) -> f64 {
    failing / (1.0 - failing).max(0.001)
}

impl Limit {
    pub(super) fn begin_trial(&mut self, factor: f64, kind: Kind, now: Instant) {
        let level = self.window.level();
        let calls = match kind {
            Kind::Slow(_) => MIN_ANSWERS,
            Kind::Failing { .. } => (16.0 / self.lately).min(MAX_CALLS),
        };
        let before = self.current;
        self.phase = Phase::Trial(Trial {
            before,
            from: before,
            level,
            failing: self.lately,
            calls,
            kind,
        });
        self.set(before * factor, now);
    }

    pub(super) fn try_over_failures(&mut self, until: Option<f64>, now: Instant) {
        // Few failures tell nothing of how much too high the limit is.
        let factor = if self.window.failed < MIN_FAILED {
            TRIAL
        } else {
            (self.window.borne() * BELOW).clamp(0.5, 0.9)
        };
        self.begin_trial(factor, Kind::Failing { until }, now);
    }

    pub(super) fn end_trial(&mut self, trial: Trial, now: Instant) {
        let calls = trial.calls.max(MIN_CALLS).max(self.current);
        if self.window.all() < calls {
            return;
        }
        match trial.kind {
            Kind::Slow(before) => {
                let Some(latency) = self.window.latency(MIN_ANSWERS) else {
                    return;
                };
                self.end_slow(trial, before, latency, now);
            }
            Kind::Failing { until } => {
                let latency = self.base.map_or(0.0, |base| 1.2 * base.exp());
                let passed = now.saturating_duration_since(self.window.since);
                if passed.as_secs_f64() >= latency {
                    self.end_failing(trial, until, now);
                }
            }
        }
    }

    pub(super) fn end_slow(
        &mut self,
        trial: Trial,
        before: Latency,
        latency: Latency,
        now: Instant,
    ) {
        // By Little's law, if the rate stays the same, answers come faster by as much as the level
        // is lower.
        let lower = (self.window.level() / trial.level).ln();
        let faster = latency.log - before.log;
        if latency.error > lower.abs() / 6.0
            && self.window.all() < MAX_CALLS.max(4.0 * self.current)
        {
            return;
        }
        self.phase = Phase::Steady;
        if lower < -0.05 && faster < lower / 2.0 {
            self.proven = true;
            self.learn(latency.log);
            self.probe_at = now;
            self.window = Window::new(now);
        } else {
            self.proven = false;
            self.base = Some(latency.log);
            self.probe_at = now + PROBE;
            self.set(trial.before, now);
        }
    }

    /// More calls failed at that limit: it is not tried again soon.
    pub(super) fn hit(&mut self, level: f64, now: Instant) {
        let again = self
            .ceiling
            .filter(|ceiling| (ceiling.level / level).ln().abs() < 0.25);
        let patience = again.map_or(PATIENCE, |ceiling| (ceiling.patience * 2).min(MAX_PATIENCE));
        self.ceiling = Some(Ceiling {
            level,
            until: now + patience,
            patience,
        });
    }

    pub(super) fn end_failing(&mut self, trial: Trial, until: Option<f64>, now: Instant) {
        self.phase = Phase::Steady;
        self.doubt = 0.0;
        let (before, after) = (odds(trial.failing), odds(self.window.failing()));
        if after < before / 2.0 {
            self.hit(trial.from, now);
            let failing = self.window.failing();
            if failing > self.failing * 1.5 + MANY && self.current > 1.0 {
                self.lately = failing;
                return self.try_over_failures(None, now);
            }
            self.window = Window::new(now);
            return;
        }
        let had_only_begun = after > before * 4.0 && self.window.failed >= MIN_FAILED;
        if had_only_begun && trial.from >= trial.before && self.current > 1.0 {
            // They had only begun to fail, so it is not known yet whether this is better.
            self.lately = self.window.failing();
            self.try_over_failures(until, now);
            if let Phase::Trial(again) = &mut self.phase {
                again.before = trial.before;
            }
            return;
        }
        self.failing = self.failing.max(self.window.failing());
        self.set(trial.before, now);
        if let Some(until) = until {
            self.phase = Phase::Start { until, slow: 0.0 };
        }
    }
}
