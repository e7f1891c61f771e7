//! An API with a clock of its own: servers behind a queue, or as many as are asked, with a limit of
//! calls at once, a limit of calls a second, and faults.

use std::collections::VecDeque;
use std::time::Duration;

/// What a world's API is like, at one time.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// How many calls it works on at once; the others queue.
    pub servers: usize,
    /// A call that comes when so many are there is answered 503.
    pub at_once: usize,
    /// Calls that it takes in a second, counted anew each second; the others are answered 429.
    pub per_second: Option<u32>,
    /// Whether those answers ask for a pause in so many words.
    pub asks_for_pause: bool,
    /// What one call takes, about.
    pub latency: Duration,
    /// Whether one call in fifty takes 20 times as long as the others, the mean being the same.
    pub tail: bool,
    /// What share of the answers is a 500, by chance.
    pub failing: f64,
    /// Users whose number is one of so many always fail, every other one of them by a hang. 0: none.
    pub odd_users: u64,
}

impl Api {
    /// One that takes all calls at once.
    pub const WELL: Api = Api {
        servers: usize::MAX,
        at_once: usize::MAX,
        per_second: None,
        asks_for_pause: false,
        latency: Duration::from_millis(50),
        tail: false,
        failing: 0.0,
        odd_users: 0,
    };

    /// How many calls a second it answers well at the most, if so many are asked at once.
    pub fn capacity(&self, at_once: usize) -> f64 {
        let workers = self.servers.min(self.at_once).min(at_once) as f64;
        let by_work = workers / self.latency.as_secs_f64();
        self.per_second
            .map_or(by_work, |rate| by_work.min(f64::from(rate)))
    }
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    /// 500, by chance or because it is that user's.
    Failed,
    /// 503 without `Retry-After`.
    Refused,
    /// 429.
    Throttled(Option<Duration>),
    /// None came in time.
    TimedOut,
}

/// What it does with a call that comes.
pub enum Taken {
    /// It answers after this time.
    Answers(Duration, Answer),
    /// It works on the call as soon as a server is free.
    Queued,
    /// It never answers.
    Hangs,
}

/// A refusal takes so long.
const REFUSAL: Duration = Duration::from_millis(5);

/// The API at work.
pub struct Server {
    pub api: Api,
    working: usize,
    queue: VecDeque<usize>,
    second: Option<(Duration, u32)>,
    /// Calls worked on, and which of the next fifty takes long.
    worked: u64,
    long: u64,
    rng: fastrand::Rng,
}

impl Server {
    pub fn new(api: Api, seed: u64) -> Self {
        Server {
            api,
            working: 0,
            queue: VecDeque::new(),
            second: None,
            worked: 0,
            long: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// A call comes.
    pub fn take(&mut self, call: usize, user: u64, now: Duration) -> Taken {
        if let Some(wait) = self.throttles(now) {
            let pause = Duration::from_secs(wait.as_secs_f64().ceil().max(1.0) as u64);
            let pause = self.api.asks_for_pause.then_some(pause);
            return Taken::Answers(REFUSAL, Answer::Throttled(pause));
        }
        if self.working + self.queue.len() >= self.api.at_once {
            return Taken::Answers(REFUSAL, Answer::Refused);
        }
        if self.is_odd(user) && (user / self.api.odd_users).is_multiple_of(2) {
            return Taken::Hangs;
        }
        self.queue.push_back(call);
        Taken::Queued
    }

    /// Calls whose work begins now, and what it takes.
    pub fn begin(&mut self) -> Option<(usize, Duration)> {
        if self.working >= self.api.servers {
            return None;
        }
        let call = self.queue.pop_front()?;
        self.working += 1;
        Some((call, self.work()))
    }

    /// The work on a call is done.
    pub fn done(&mut self, user: u64) -> Answer {
        self.working -= 1;
        if self.is_odd(user) || self.rng.f64() < self.api.failing {
            Answer::Failed
        } else {
            Answer::Good
        }
    }

    fn is_odd(&self, user: u64) -> bool {
        self.api.odd_users > 0 && user.is_multiple_of(self.api.odd_users)
    }

    /// What is left of a second in which no more calls are taken.
    fn throttles(&mut self, now: Duration) -> Option<Duration> {
        let most = self.api.per_second?;
        let (began, calls) = self.second.get_or_insert((now, 0));
        if now >= *began + Duration::from_secs(1) {
            (*began, *calls) = (now, 0);
        }
        *calls += 1;
        (*calls > most).then(|| *began + Duration::from_secs(1) - now)
    }

    fn work(&mut self) -> Duration {
        let about = self.api.latency.mul_f64(0.9 + self.rng.f64() / 5.0);
        if !self.api.tail {
            return about;
        }
        // The mean of 98 of 1 and 2 of 20 is 1.38.
        if self.worked.is_multiple_of(50) {
            self.long = self.worked + self.rng.u64(..50);
        }
        let long = self.worked == self.long;
        self.worked += 1;
        about.mul_f64(if long { 20.0 } else { 1.0 } / 1.38)
    }
}
