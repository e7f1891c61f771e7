//! A world: one API, and one or more instances that call it, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::api::{Answer, Api, Server, Taken};

/// The bound of one attempt.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// One instance: it has updates to deliver, and decides which calls start.
pub trait Instance {
    /// Calls that start now, by their users.
    fn start(&mut self, now: Duration) -> Vec<(u64, u64)>;
    /// A call is answered.
    fn answered(&mut self, id: u64, answer: Answer, now: Duration);
    /// When it wants to be asked though nothing happens.
    fn wake_at(&self, now: Duration) -> Option<Duration>;
    /// How many calls it makes at once at the most, now.
    fn limit(&self) -> usize;
}

/// A call that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub instance: usize,
    pub began: Duration,
    pub ended: Duration,
    pub answer: Answer,
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    pub calls: Vec<Ended>,
    /// The limit of the first instance, each 50 ms.
    pub limits: Vec<(Duration, usize)>,
}

struct Call {
    instance: usize,
    id: u64,
    user: u64,
    began: Duration,
    told: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done(usize),
    Told(usize, u8),
    Wake(usize),
    Change(usize),
    Look,
}

pub struct World {
    server: Server,
    changes: Vec<(Duration, Api)>,
    instances: Vec<Box<dyn Instance>>,
    calls: Vec<Call>,
    answers: Vec<Answer>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    next: u64,
    woken: Vec<Option<Duration>>,
    seen: Seen,
}

const LOOK: Duration = Duration::from_millis(50);

impl World {
    /// The API is as `changes` say, each from its time on; the first from the start.
    pub fn new(
        changes: Vec<(Duration, Api)>,
        instances: Vec<Box<dyn Instance>>,
        seed: u64,
    ) -> Self {
        World {
            server: Server::new(changes[0].1, seed),
            changes,
            woken: vec![None; instances.len()],
            instances,
            calls: Vec::new(),
            answers: Vec::new(),
            events: BinaryHeap::new(),
            next: 0,
            seen: Seen::default(),
        }
    }

    /// Runs until then.
    pub fn run(mut self, until: Duration) -> Seen {
        for change in 1..self.changes.len() {
            self.at(self.changes[change].0, Event::Change(change));
        }
        self.at(Duration::ZERO, Event::Look);
        for instance in 0..self.instances.len() {
            self.turn(instance, Duration::ZERO);
        }
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now > until {
                break;
            }
            match event {
                Event::Done(call) => {
                    self.answers[call] = self.server.done(self.calls[call].user);
                    self.begin(now);
                    self.tell(call, now);
                }
                Event::Told(call, timed_out) => {
                    if timed_out == 1 && !self.calls[call].told {
                        self.answers[call] = Answer::TimedOut;
                    }
                    self.tell(call, now);
                }
                Event::Wake(instance) => {
                    if self.woken[instance] == Some(now) {
                        self.woken[instance] = None;
                        self.turn(instance, now);
                    }
                }
                Event::Change(change) => {
                    self.server.api = self.changes[change].1;
                    self.begin(now);
                }
                Event::Look => {
                    let limit = self.instances[0].limit();
                    self.seen.limits.push((now, limit));
                    self.at(now + LOOK, Event::Look);
                }
            }
        }
        self.seen
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next, event)));
    }

    fn begin(&mut self, now: Duration) {
        while let Some((call, work)) = self.server.begin() {
            self.at(now + work, Event::Done(call));
        }
    }

    /// An instance hears of an answer; one that it gave up waiting for is nobody's.
    fn tell(&mut self, call: usize, now: Duration) {
        let answer = self.answers[call];
        let call = &mut self.calls[call];
        if std::mem::replace(&mut call.told, true) {
            return;
        }
        self.seen.calls.push(Ended {
            instance: call.instance,
            began: call.began,
            ended: now,
            answer,
        });
        let (instance, id) = (call.instance, call.id);
        self.instances[instance].answered(id, answer, now);
        self.turn(instance, now);
    }

    fn turn(&mut self, instance: usize, now: Duration) {
        for (id, user) in self.instances[instance].start(now) {
            let call = self.calls.len();
            self.calls.push(Call {
                instance,
                id,
                user,
                began: now,
                told: false,
            });
            self.answers.push(Answer::Good);
            match self.server.take(call, user, now) {
                Taken::Answers(after, answer) => {
                    self.answers[call] = answer;
                    self.at(now + after, Event::Told(call, 0));
                }
                Taken::Queued => self.at(now + TIMEOUT, Event::Told(call, 1)),
                Taken::Hangs => self.at(now + TIMEOUT, Event::Told(call, 1)),
            }
        }
        self.begin(now);
        let wake = self.instances[instance].wake_at(now);
        if let Some(at) = wake
            && self.woken[instance].is_none_or(|woken| at < woken || woken <= now)
        {
            let at = at.max(now + Duration::from_micros(1));
            self.woken[instance] = Some(at);
            self.at(at, Event::Wake(instance));
        }
    }
}
