//! Others' limits, written from what their documents say, each with a plain client around it: the
//! updates of a user in order, a failed one again after the same backoff, and no call of an update
//! before the pause is over that was asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::api::Answer;
use super::ours::{Feed, Load};
use super::world::Instance;

/// What a limit hears, and says.
pub trait Limit {
    fn answered(&mut self, heard: Heard);
    fn limit(&self) -> usize;
}

/// A call was answered.
pub struct Heard {
    pub good: bool,
    pub latency: f64,
    /// With so many in flight, itself among them.
    pub in_flight: usize,
    pub now: Duration,
}

/// Adaptive request concurrency as Vector documents it: once in a mean latency, one more if the
/// limit was used and nothing spoke against it; nine tenths after an error that asks for less, or
/// if the latency of the time is above its moving average by more than 2.5 deviations.
pub struct VectorAimd {
    limit: usize,
    max: usize,
    mean: f64,
    variance: f64,
    sum: f64,
    count: f64,
    reached: bool,
    pushed_back: bool,
    next: Duration,
}

impl VectorAimd {
    pub fn new(max: usize) -> Self {
        VectorAimd {
            limit: 1,
            max,
            mean: 0.0,
            variance: 0.0,
            sum: 0.0,
            count: 0.0,
            reached: false,
            pushed_back: false,
            next: Duration::ZERO,
        }
    }
}

impl Limit for VectorAimd {
    fn answered(&mut self, heard: Heard) {
        self.reached |= heard.in_flight >= self.limit;
        if heard.good {
            self.sum += heard.latency;
            self.count += 1.0;
        } else {
            self.pushed_back = true;
        }
        if self.mean == 0.0 && self.count > 0.0 {
            self.mean = heard.latency;
        }
        if heard.now < self.next {
            return;
        }
        let current = if self.count > 0.0 {
            self.sum / self.count
        } else {
            self.mean
        };
        let threshold = 2.5 * self.variance.sqrt();
        if self.pushed_back || current > self.mean + threshold.max(1e-4) && self.variance > 0.0 {
            self.limit = ((self.limit as f64 * 0.9) as usize).max(1);
        } else if self.reached && current <= self.mean + threshold.max(1e-4) {
            self.limit = (self.limit + 1).min(self.max);
        }
        let off = current - self.mean;
        self.mean += 0.4 * off;
        self.variance = 0.6 * (self.variance + 0.4 * off * off);
        (self.sum, self.count) = (0.0, 0.0);
        (self.reached, self.pushed_back) = (false, false);
        self.next = heard.now + Duration::from_secs_f64(self.mean);
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

/// Gradient2 as Netflix documents it: the limit times what a long average of the latency is of a
/// short one (tolerance 1.5, from a half to one), and 4 more, smoothed by a fifth. Its windows last
/// for a second or 10 answers at least, as its builder has it.
pub struct Gradient2 {
    limit: f64,
    max: usize,
    long: f64,
    samples: f64,
    sum: f64,
    count: f64,
    most: usize,
    next: Duration,
}

impl Gradient2 {
    pub fn new(max: usize) -> Self {
        Gradient2 {
            limit: 20.0,
            max,
            long: 0.0,
            samples: 0.0,
            sum: 0.0,
            count: 0.0,
            most: 0,
            next: Duration::ZERO,
        }
    }
}

impl Limit for Gradient2 {
    fn answered(&mut self, heard: Heard) {
        self.sum += heard.latency;
        self.count += 1.0;
        self.most = self.most.max(heard.in_flight);
        if heard.now < self.next || self.count < 10.0 {
            return;
        }
        let short = self.sum / self.count;
        let most = std::mem::take(&mut self.most);
        (self.sum, self.count) = (0.0, 0.0);
        let window = Duration::from_secs_f64((short * 2.0).clamp(0.1, 1.0));
        self.next = heard.now + window;
        self.samples += 1.0;
        let weight = if self.samples < 10.0 {
            1.0 / self.samples
        } else {
            2.0 / 601.0
        };
        self.long += (short - self.long) * weight;
        if self.long / short > 2.0 {
            self.long *= 0.95;
        }
        if (most as f64) < self.limit / 2.0 {
            return;
        }
        let gradient = (1.5 * self.long / short).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + 4.0;
        let limit = self.limit * 0.8 + wanted * 0.2;
        self.limit = limit.clamp(20.0, self.max as f64);
    }

    fn limit(&self) -> usize {
        self.limit as usize
    }
}

struct Lane {
    waiting: usize,
    failures: u32,
    began: Option<Duration>,
}

pub struct Peer {
    limit: Box<dyn Limit>,
    feed: Feed,
    max_attempts: u32,
    lanes: BTreeMap<u64, Lane>,
    ready: VecDeque<u64>,
    backoff: BTreeSet<(Duration, u64)>,
    in_flight: usize,
    unsettled: usize,
    rng: fastrand::Rng,
}

impl Peer {
    pub fn new(limit: Box<dyn Limit>, load: Load, seed: u64) -> Self {
        Peer {
            limit,
            feed: Feed::new(load, seed ^ 0x5eed),
            max_attempts: 8,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            backoff: BTreeSet::new(),
            in_flight: 0,
            unsettled: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }
}

impl Instance for Peer {
    fn start(&mut self, now: Duration) -> Vec<(u64, u64)> {
        while let Some(user) = self.feed.next(self.unsettled, now) {
            self.unsettled += 1;
            let lane = self.lanes.entry(user).or_insert(Lane {
                waiting: 0,
                failures: 0,
                began: None,
            });
            lane.waiting += 1;
            if lane.waiting == 1 {
                self.ready.push_back(user);
            }
        }
        while let Some((at, user)) = self.backoff.first().copied()
            && at <= now
        {
            self.backoff.pop_first();
            self.ready.push_back(user);
        }
        let mut started = Vec::new();
        while self.in_flight < self.limit.limit()
            && let Some(user) = self.ready.pop_front()
        {
            self.in_flight += 1;
            if let Some(lane) = self.lanes.get_mut(&user) {
                lane.began = Some(now);
            }
            started.push((user, user));
        }
        started
    }

    fn answered(&mut self, user: u64, answer: Answer, now: Duration) {
        let Some(lane) = self.lanes.get_mut(&user) else {
            return;
        };
        let Some(began) = lane.began.take() else {
            return;
        };
        self.limit.answered(Heard {
            good: answer == Answer::Good,
            latency: (now - began).as_secs_f64(),
            in_flight: self.in_flight,
            now,
        });
        self.in_flight -= 1;
        lane.failures += 1;
        if answer == Answer::Good || lane.failures >= self.max_attempts {
            (lane.failures, lane.waiting) = (0, lane.waiting - 1);
            self.unsettled -= 1;
            if lane.waiting > 0 {
                self.ready.push_back(user);
            }
            return;
        }
        let bound = Duration::from_millis(200 << lane.failures.min(7)) / 2;
        let asked = match answer {
            Answer::Throttled(Some(asked)) => asked,
            _ => Duration::ZERO,
        };
        let wait = bound.mul_f64(self.rng.f64()).max(asked);
        self.backoff.insert((now + wait, user));
    }

    fn wake_at(&self, _: Duration) -> Option<Duration> {
        let backoff = self.backoff.first().map(|(at, _)| *at);
        backoff.into_iter().chain(self.feed.wake_at()).min()
    }

    fn limit(&self) -> usize {
        self.limit.limit()
    }
}
