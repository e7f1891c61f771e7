//! An instance of ours: the real engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::verdict::{Finding, Verdict};
use engine::{Action, Commit, Engine, Merge, Settings, Ticket, UserKey, Work};

use super::api::Answer;
use super::world::{Instance, TIMEOUT};

/// What an instance has to deliver.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its users, in number; they take turns by chance.
    pub users: u64,
    /// Updates that come in a second; none: as many as it can take.
    pub per_second: Option<f64>,
    pub max_concurrency: usize,
    /// Partitions that it owns, of how many.
    pub owned: (i32, i32),
}

impl Load {
    pub const USUAL: Load = Load {
        users: 400,
        per_second: None,
        max_concurrency: 256,
        owned: (4, 4),
    };
}

/// Updates in memory that have no ending yet, if there are always more.
pub const BACKLOG: usize = 3000;

/// The users of the updates that come, and when.
pub struct Feed {
    load: Load,
    rng: fastrand::Rng,
    next_at: Duration,
}

impl Feed {
    pub fn new(load: Load, seed: u64) -> Self {
        Feed {
            load,
            rng: fastrand::Rng::with_seed(seed),
            next_at: Duration::ZERO,
        }
    }

    /// The next update's user, if it is there now, while so many have no ending.
    pub fn next(&mut self, unsettled: usize, now: Duration) -> Option<u64> {
        match self.load.per_second {
            None if unsettled >= BACKLOG => return None,
            None => {}
            Some(_) if self.next_at > now || unsettled >= 8 * BACKLOG => return None,
            Some(rate) => {
                self.next_at += Duration::from_secs_f64(-(1.0 - self.rng.f64()).ln() / rate);
            }
        }
        Some(self.rng.u64(..self.load.users))
    }

    pub fn wake_at(&self) -> Option<Duration> {
        self.load.per_second.map(|_| self.next_at)
    }
}

#[derive(Debug)]
pub struct Update {
    user: u64,
}

impl Merge for Update {
    fn may_join(&self, _: &Self) -> bool {
        false
    }
}

pub struct Ours {
    engine: Engine<Update, ()>,
    start: Instant,
    feed: Feed,
    owned: i32,
    offsets: Vec<i64>,
    unsettled: usize,
}

impl Ours {
    pub fn new(load: Load, seed: u64) -> Self {
        let start = Instant::now();
        let settings = Settings {
            max_concurrency: load.max_concurrency,
            rate_limit: 0,
            max_waiting: usize::MAX,
            max_bytes: usize::MAX,
            request_timeout: TIMEOUT,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            max_attempts: 8,
            merge: true,
        };
        let mut engine = Engine::new(settings, seed, start);
        let (owned, of) = load.owned;
        engine.topic_has(of as usize, start);
        for partition in 0..owned {
            let nothing = Commit {
                offset: 0,
                metadata: String::new(),
            };
            engine.assigned(partition, nothing, start);
        }
        Ours {
            engine,
            start,
            feed: Feed::new(load, seed ^ 0x5eed),
            owned,
            offsets: vec![0; owned as usize],
            unsettled: 0,
        }
    }
}

impl Instance for Ours {
    fn start(&mut self, now: Duration) -> Vec<(u64, u64)> {
        let at = self.start + now;
        while let Some(user) = self.feed.next(self.unsettled, now) {
            let partition = (user % self.owned as u64) as usize;
            let work = Work::Call {
                user: UserKey(user),
                expires_at: None,
            };
            let update = Arc::new(Update { user });
            let offset = self.offsets[partition];
            self.engine
                .arrived(partition as i32, offset, 500, update, work);
            self.offsets[partition] += 1;
            self.unsettled += 1;
        }
        self.engine.lease(at + Duration::from_secs(15));
        let mut started = Vec::new();
        for action in self.engine.step(at) {
            match action {
                Action::Start { ticket, update, .. } => {
                    started.push((ticket.0, update.user));
                }
                Action::Settle(batch) => {
                    self.unsettled -= batch.endings.len();
                    self.engine.settled(batch.id, at);
                }
                Action::OrderViolation => panic!("the order is violated"),
                Action::Fetch { .. } | Action::Pause => panic!("memory is full"),
                Action::Cancel(_) | Action::Resume | Action::Released(_) => {}
            }
        }
        started
    }

    fn answered(&mut self, id: u64, answer: Answer, now: Duration) {
        let verdict = match answer {
            Answer::Good => Verdict::Delivered,
            Answer::Failed | Answer::Refused | Answer::TimedOut => {
                Verdict::Retry { unreachable: false }
            }
            Answer::Throttled(retry_after) => Verdict::Throttled { retry_after },
        };
        let finding = Finding {
            verdict,
            calls: 1,
            of_all: false,
        };
        self.engine
            .finished(Ticket(id), finding, (), self.start + now);
    }

    fn wake_at(&self, now: Duration) -> Option<Duration> {
        let at = self.engine.wake_at(self.start + now);
        let at = at.map(|at| at.saturating_duration_since(self.start));
        at.into_iter().chain(self.feed.wake_at()).min()
    }

    fn limit(&self) -> usize {
        self.engine.gauges().concurrency_limit
    }
}
