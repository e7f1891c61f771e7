//! What was heard of the calls that began since the limit was last changed.

use std::time::{Duration, Instant};

/// A call that ended and says something of what the API bears.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// When it began.
    pub started: Instant,
    /// It was answered well; if not, it failed in a way that may mean overload.
    pub good: bool,
    /// What it took is the API's own latency.
    pub timed: bool,
    /// So many calls took a slot when it ended, itself among them.
    pub slots: usize,
    /// Now.
    pub now: Instant,
}

impl Heard {
    pub(super) fn took(&self) -> Duration {
        self.now.saturating_duration_since(self.started)
    }
}

/// The counts of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) since: Instant,
    pub(super) good: f64,
    pub(super) failed: f64,
    slots: f64,
    /// What good calls took together, and failed ones, in seconds.
    good_time: f64,
    failed_time: f64,
    timed: f64,
    logs: f64,
    squares: f64,
}

/// How long answers take: the mean of the logarithm, which a few slow answers hardly move, and how
/// far it may be off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) log: f64,
    pub(super) error: f64,
}

impl Window {
    pub(super) fn new(since: Instant) -> Self {
        Window {
            since,
            good: 0.0,
            failed: 0.0,
            slots: 0.0,
            good_time: 0.0,
            failed_time: 0.0,
            timed: 0.0,
            logs: 0.0,
            squares: 0.0,
        }
    }

    pub(super) fn note(&mut self, heard: &Heard) {
        let seconds = heard.took().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of calls in flight")]
        let slots = heard.slots as f64;
        self.slots += slots;
        if !heard.good {
            self.failed += 1.0;
            self.failed_time += seconds;
            return;
        }
        self.good += 1.0;
        self.good_time += seconds;
        if heard.timed {
            // A microsecond is as good as none.
            let log = seconds.max(1e-6).ln();
            self.timed += 1.0;
            self.logs += log;
            self.squares += log * log;
        }
    }

    /// How many calls were heard of.
    pub(super) fn all(&self) -> f64 {
        self.good + self.failed
    }

    /// How many calls took a slot, in the mean.
    pub(super) fn level(&self) -> f64 {
        self.slots / self.all().max(1.0)
    }

    /// What share of the calls failed.
    pub(super) fn failing(&self) -> f64 {
        self.failed / self.all().max(1.0)
    }

    /// What share of the time in slots was spent on calls that were answered well: so much of the
    /// limit is what the API bears, if it refuses what is above.
    pub(super) fn borne(&self) -> f64 {
        let all = self.good_time + self.failed_time;
        if all > 0.0 { self.good_time / all } else { 0.0 }
    }

    /// How long answers take, if enough came.
    pub(super) fn latency(&self, enough: f64) -> Option<Latency> {
        if self.timed < enough {
            return None;
        }
        let log = self.logs / self.timed;
        let variance = (self.squares / self.timed - log * log).max(0.0);
        let error = (variance / self.timed).sqrt();
        Some(Latency { log, error })
    }
}
