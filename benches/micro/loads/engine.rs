//! The engine, with broker and API played to it: one round is one event from its arrival until it
//! is settled.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::verdict::{Finding, Verdict};
use engine::{Action, Commit, Engine, Merge, Settings, Ticket, UserKey, Work};

use super::{Load, ROUNDS, Round};

/// Calls in flight at the most.
const CONCURRENCY: usize = 64;
/// Between two events: 5,000 a second, so that 50 are settled together.
const PACE: Duration = Duration::from_micros(200);
/// How long a transaction takes.
const TRANSACTION: Duration = Duration::from_millis(5);

pub const LOADS: &[Load] = &[
    Load {
        name: "engine, 10 users",
        make: || {
            rounds(Shape {
                users: 10,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 10,000 users",
        make: || rounds(Shape::USUAL),
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 1,000,000 users",
        make: || {
            rounds(Shape {
                users: 1_000_000,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 64 partitions",
        make: || {
            rounds(Shape {
                partitions: 64,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 1,000 partitions",
        make: || {
            rounds(Shape {
                partitions: 1000,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, out of order",
        make: || {
            rounds(Shape {
                out_of_order: true,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 20 of a user merged",
        make: || {
            rounds(Shape {
                users: 64,
                unsettled: 64 * 21,
                merges: true,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 1,000 waiting",
        make: || {
            rounds(Shape {
                unsettled: 1000,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 10,000 waiting",
        make: || {
            rounds(Shape {
                unsettled: 10_000,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 100,000 waiting",
        make: || {
            rounds(Shape {
                users: 100_000,
                unsettled: 100_000,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, 10,000 of one user waiting",
        make: || {
            rounds(Shape {
                users: 1,
                unsettled: 10_000,
                ..Shape::USUAL
            })
        },
        rounds: ROUNDS,
    },
    Load {
        name: "engine, a look while 10,000 are held",
        make: held,
        rounds: ROUNDS,
    },
];

/// What kind of traffic there is.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Users, one after the other.
    pub users: u64,
    /// Partitions, on which the users are spread.
    pub partitions: i32,
    /// Updates in the engine that have no ending yet.
    pub unsettled: usize,
    /// Calls finish in any order, not in that of their start.
    pub out_of_order: bool,
    /// Updates may be sent together.
    pub merges: bool,
}

impl Shape {
    /// As many in flight as there may be, and none that waits.
    pub const USUAL: Shape = Shape {
        users: 10_000,
        partitions: 1,
        unsettled: CONCURRENCY,
        out_of_order: false,
        merges: false,
    };
}

/// An update of which only is known whether it may be sent together with others.
#[derive(Debug)]
pub struct Light {
    merges: bool,
}

impl Merge for Light {
    fn may_join(&self, _: &Self) -> bool {
        self.merges
    }
}

/// An engine, its time, and what is under way outside of it.
pub struct Played {
    pub engine: Engine<Light, ()>,
    pub now: Instant,
    shape: Shape,
    offsets: Vec<i64>,
    arrived: u64,
    unsettled: usize,
    calls: VecDeque<(Ticket, usize)>,
    transaction: Option<(u64, Instant)>,
    rng: fastrand::Rng,
}

impl Played {
    /// An engine that owns its partitions and has nothing to do.
    pub fn new(shape: Shape) -> Self {
        let now = Instant::now();
        let settings = Settings {
            max_concurrency: CONCURRENCY,
            rate_limit: 0,
            max_waiting: usize::MAX,
            max_bytes: usize::MAX,
            request_timeout: Duration::from_secs(10),
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            max_attempts: 8,
            merge: true,
        };
        let mut engine = Engine::new(settings, 1, now);
        for partition in 0..shape.partitions {
            engine.assigned(
                partition,
                Commit {
                    offset: 0,
                    metadata: String::new(),
                },
                now,
            );
        }
        let offsets = vec![0; usize::try_from(shape.partitions).unwrap()];
        let rng = fastrand::Rng::with_seed(1);
        Played {
            engine,
            now,
            shape,
            offsets,
            arrived: 0,
            unsettled: 0,
            calls: VecDeque::new(),
            transaction: None,
            rng,
        }
    }

    /// One update arrives.
    pub fn arrive(&mut self) {
        // A stride without a common factor, so that neighbours are not neighbours in any table.
        let user = 1 + (self.arrived * 7919) % self.shape.users;
        let index = usize::try_from(user % self.offsets.len() as u64).unwrap();
        let offset = self.offsets[index];
        self.offsets[index] += 1;
        self.arrived += 1;
        self.unsettled += 1;
        let update = Arc::new(Light {
            merges: self.shape.merges,
        });
        let work = Work::Call {
            user: UserKey(user),
            expires_at: None,
        };
        self.engine
            .arrived(i32::try_from(index).unwrap(), offset, 500, update, work);
    }

    /// What the loop does after each input.
    pub fn turn(&mut self) {
        self.engine.lease(self.now + Duration::from_secs(15));
        for action in self.engine.step(self.now) {
            match action {
                Action::Start { ticket, merged, .. } => {
                    self.calls.push_back((ticket, 1 + merged.len()))
                }
                Action::Settle(batch) => {
                    self.transaction = Some((batch.id, self.now + TRANSACTION))
                }
                Action::OrderViolation => panic!("the order is violated"),
                Action::Fetch { .. } => panic!("nothing was put out of memory"),
                Action::Cancel(_) | Action::Pause | Action::Resume | Action::Released(_) => {}
            }
        }
        black_box(self.engine.gauges());
        black_box(self.engine.wake_at(self.now));
    }

    /// One call finishes. Returns whether there was one.
    pub fn finish(&mut self, verdict: Verdict) -> bool {
        let which = if self.shape.out_of_order && !self.calls.is_empty() {
            self.rng.usize(..self.calls.len())
        } else {
            0
        };
        let Some((ticket, updates)) = self.calls.swap_remove_front(which) else {
            return false;
        };
        self.engine.finished(
            ticket,
            Finding {
                verdict,
                calls: 1,
                of_all: false,
            },
            (),
            self.now,
        );
        if verdict == Verdict::Delivered {
            self.unsettled -= updates;
        }
        self.turn();
        true
    }

    /// Time goes on, and a transaction ends with it.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        if let Some((batch, _)) = self.transaction.take_if(|(_, ends)| *ends <= self.now) {
            self.engine.settled(batch, self.now);
            self.turn();
        }
    }

    /// An update arrives, and as many end as there are too many.
    pub fn round(&mut self) {
        self.wait(PACE);
        self.arrive();
        self.turn();
        while self.unsettled > self.shape.unsettled && self.finish(Verdict::Delivered) {}
    }
}

fn rounds(shape: Shape) -> Round {
    let mut played = Played::new(shape);
    for _ in 0..shape.unsettled {
        played.arrive();
    }
    // Until the limit has grown and every table has its size.
    (0..5000).for_each(|_| played.round());
    Box::new(move || played.round())
}

/// Ten thousand updates wait for a target that holds.
pub fn holding(shape: Shape) -> Played {
    let mut played = Played::new(shape);
    (0..shape.unsettled).for_each(|_| played.arrive());
    played.turn();
    while played.finish(Verdict::Throttled {
        retry_after: Some(Duration::from_secs(300)),
    }) {}
    played
}

fn held() -> Round {
    let mut played = holding(Shape {
        unsettled: 10_000,
        ..Shape::USUAL
    });
    Box::new(move || {
        played.wait(PACE);
        played.turn();
    })
}
