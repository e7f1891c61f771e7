//! The world around the engines: a broker that assigns and fences, an API with moods, instances
//! that die and come back.

mod api;
mod broker;
mod faults;
mod guard;
mod instance;
mod oracle;
mod pace;
mod subscriber;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use engine::verdict::Finding;
use engine::{Batch, Commit, End, Engine, Merge, Ticket};

use self::faults::{faults_of, is_wild};
use self::guard::Guarded;
use self::pace::Pace;
use super::plan::{Fault, Kind, Mood, ONCE, Plan};

/// After this long without a heartbeat an instance's partitions are given away.
const SESSION: Duration = Duration::from_secs(6);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a transaction may take.
const TRANSACTION: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A history that is not settled by then makes no progress.
const PATIENCE: Duration = Duration::from_secs(600);
/// So many updates of somebody else's may wait on each partition. An API that takes a call a second
/// bears no more, or the planned ones would wait behind them for ever.
const BACKLOG: usize = 30;
/// Longer than any history.
const NEVER: Duration = Duration::from_secs(365 * 86_400);
/// The shortest time that passes.
const MOMENT: Duration = Duration::from_micros(1);
/// From here on, a user in each partition whose updates come for ever, so that every instance
/// always delivers somebody.
const BACKGROUND: u64 = 1000;

/// One record of the topic, and at the same time the update that the engine carries.
#[derive(Clone, Copy, Debug)]
struct Record {
    partition: i32,
    offset: i64,
    /// Its place in the partition's log: offsets have gaps.
    index: usize,
    user: u64,
    kind: Kind,
    fields: u8,
    strips: u8,
    size: usize,
    at: Instant,
}

impl Merge for Record {
    fn may_join(&self, earlier: &Self) -> bool {
        self.fields & earlier.fields & ONCE == 0
    }
}

/// A partition as one instance has it.
struct Owned {
    /// The broker's number of the assignment.
    assignment: u64,
    /// The engine's.
    epoch: u64,
    /// The next record, as an index into the log.
    next: usize,
    /// It was asked to let go.
    revoked: bool,
}

struct Call {
    ticket: Ticket,
    /// The updates in it, all of one user.
    run: Vec<Record>,
    done_at: Instant,
    finding: Finding,
    /// The API did its part, whether the instance has heard of it or not.
    applied: bool,
    /// It was given up, too late: its answer comes all the same.
    cancelled: bool,
    /// It takes something away, and the guard counts that.
    counts: bool,
}

impl Call {
    fn user(&self) -> u64 {
        self.run[0].user
    }
}

/// The calls for one record, whoever made them.
#[derive(Clone, Debug, Default)]
struct Tries {
    calls: u32,
    /// Those that failed in a way that may be the update's own fault,
    failures: u32,
    /// the first and the last of them,
    failed: Option<(Instant, Instant)>,
    /// and the outages in which they did.
    outages: BTreeSet<usize>,
}

struct Commiting {
    batch: Batch<Record, ()>,
    done_at: Instant,
    /// It does not get through in time.
    late: bool,
}

/// Records that an engine has put out of memory and wants again.
struct Fetching {
    partition: i32,
    epoch: u64,
    offsets: Vec<i64>,
    done_at: Instant,
}

struct Instance {
    engine: Option<Engine<Record, ()>>,
    owned: BTreeMap<i32, Owned>,
    calls: Vec<Call>,
    committing: Option<Commiting>,
    fetching: Option<Fetching>,
    aborts: u32,
    pace: Pace,
    paused: bool,
    /// The records that were held when it last began to consume again.
    held_at_resume: usize,
    leaving: bool,
    member: bool,
    frozen_until: Option<Instant>,
    back_at: Option<Instant>,
    heartbeat: Instant,
    /// The engine was told something and has not been asked since what to do.
    told: bool,
    wake_at: Option<Instant>,
}

pub struct World<'p> {
    plan: &'p Plan,
    now: Instant,
    rng: fastrand::Rng,
    log: Vec<Vec<Record>>,
    committed: Vec<Commit>,
    owner: Vec<Option<(usize, u64)>>,
    assignments: u64,
    instances: Vec<Instance>,
    mood: Option<(Mood, Instant)>,
    /// How many outages began.
    outages: usize,
    /// Whose updates were delivered when.
    deliveries: Vec<(Instant, u64)>,
    slow_commits: Option<(Duration, Instant)>,
    /// Until when topics refuse what is to be written of a user.
    refused: BTreeMap<u64, Instant>,
    /// The bytes that get through in time.
    link: Option<(usize, Instant)>,
    /// What every instance is set to now.
    max_concurrency: usize,
    max_waiting: usize,
    merge: bool,
    /// What was so at some time.
    most_waiting: usize,
    ever_merged: bool,
    /// Beside `log`: how each record ended.
    outcomes: Vec<Vec<Option<End>>>,
    /// Beside `log`: whether the API took it.
    taken: Vec<Vec<bool>>,
    /// Nothing in the plan makes a call's answer unheard, or an instance lose its partitions or
    /// leave something to the next one.
    calm: bool,
    /// What the API applied last, by user of the plan and field.
    applied: BTreeMap<(u64, u8), Record>,
    /// The records of the plan that were called.
    tries: BTreeMap<(i32, i64), Tries>,
    /// The longest text beside an offset, in bytes.
    longest_text: usize,
    faults: Vec<(Instant, Fault)>,
    quiet_at: Instant,
    next_background: Instant,
    planned: usize,
    settled: usize,
    turns: usize,
    start: Instant,
    /// When planned records come, the last first.
    upcoming: Vec<Instant>,
    guarded: Guarded,
}

type Checked<T = ()> = Result<T, String>;

impl<'p> World<'p> {
    /// Returns the length of the longest text that was committed, in bytes.
    pub fn run(plan: &'p Plan) -> Checked<usize> {
        let mut world = World::new(plan);
        for index in 0..plan.instances {
            world.join(index);
        }
        let end = world.quiet_at + PATIENCE;
        while !world.is_settled() {
            if world.now > end {
                let states: Vec<_> = world
                    .instances
                    .iter()
                    .map(|instance| {
                        instance
                            .engine
                            .as_ref()
                            .map(|engine| (engine.gauges(), engine.held(), instance.paused))
                    })
                    .collect();
                return Err(format!(
                    "no progress: {} of {} records settled; {states:?}",
                    world.settled, world.planned
                ));
            }
            world.turn()?;
            world.turns += 1;
            if world.turns > 100_000 {
                return Err(format!(
                    "it spins at {:?} after the start",
                    world.now - world.start
                ));
            }
        }
        world.judge()?;
        Ok(world.longest_text)
    }

    fn new(plan: &'p Plan) -> Self {
        let start = Instant::now();
        let log = logs(plan, start);
        let (faults, quiet_at) = faults_of(plan, start);
        let mut upcoming: Vec<Instant> = log
            .iter()
            .flatten()
            .map(|record: &Record| record.at)
            .collect();
        upcoming.sort_by(|one, other| other.cmp(one));
        let outcomes = log.iter().map(|log| vec![None; log.len()]).collect();
        let taken = log.iter().map(|log| vec![false; log.len()]).collect();
        let calm = !plan.crowded && !plan.faults.iter().any(|(_, fault)| is_wild(fault));
        World {
            plan,
            now: start,
            rng: fastrand::Rng::with_seed(plan.seed),
            planned: plan
                .records
                .iter()
                .filter(|planned| planned.kind != Kind::Foreign)
                .count(),
            upcoming,
            settled: 0,
            turns: 0,
            start,
            log,
            committed: vec![
                Commit {
                    offset: 0,
                    metadata: String::new()
                };
                plan.partitions as usize
            ],
            owner: vec![None; plan.partitions as usize],
            assignments: 0,
            instances: (0..plan.instances).map(|_| Instance::new(start)).collect(),
            mood: None,
            outages: 0,
            deliveries: Vec::new(),
            slow_commits: None,
            refused: BTreeMap::new(),
            link: None,
            max_concurrency: plan.max_concurrency,
            max_waiting: plan.max_waiting,
            merge: plan.merge,
            most_waiting: plan.max_waiting,
            ever_merged: plan.merge,
            outcomes,
            taken,
            calm,
            applied: BTreeMap::new(),
            tries: BTreeMap::new(),
            longest_text: 0,
            faults,
            quiet_at,
            next_background: if plan.background {
                start
            } else {
                start + NEVER
            },
            guarded: Guarded::default(),
        }
    }

    fn is_settled(&self) -> bool {
        self.now >= self.quiet_at && self.settled == self.planned
    }

    fn outcome(&self, record: &Record) -> Option<End> {
        self.outcomes[record.partition as usize][record.index]
    }

    /// Everything that happens at this moment, then on to the next.
    fn turn(&mut self) -> Checked {
        self.background();
        self.apply_due()?;
        while self.faults.last().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, fault)) = self.faults.pop() {
                self.strike(fault)?;
            }
        }
        for index in 0..self.instances.len() {
            self.live(index)?;
        }
        self.expire_sessions();
        self.rebalance();
        for index in 0..self.instances.len() {
            self.consume(index)?;
            self.step(index)?;
        }
        let next = self.next_moment();
        self.now = next.max(self.now + MOMENT);
        Ok(())
    }

    fn next_moment(&mut self) -> Instant {
        let now = self.now;
        let mut next = self.next_background;
        let mut consider =
            |at: Option<Instant>| next = at.filter(|at| *at > now).map_or(next, |at| at.min(next));
        consider(self.faults.last().map(|(at, _)| *at));
        while self.upcoming.pop_if(|at| *at <= now).is_some() {}
        consider(self.upcoming.last().copied());
        for instance in &self.instances {
            consider(instance.back_at);
            consider(instance.frozen_until);
            consider(
                instance
                    .calls
                    .iter()
                    .map(|call| call.done_at)
                    .filter(|at| *at > now)
                    .min(),
            );
            if instance.frozen_until.is_some() || instance.engine.is_none() {
                consider(Some(instance.heartbeat + SESSION));
            } else {
                consider(Some(instance.heartbeat + HEARTBEAT));
                consider(
                    instance
                        .committing
                        .as_ref()
                        .map(|committing| committing.done_at),
                );
                consider(instance.fetching.as_ref().map(|fetching| fetching.done_at));
                // One that wants to be asked again at once is asked again at once.
                consider(instance.wake_at.map(|at| at.max(now + MOMENT)));
            }
        }
        next
    }
}

/// The log of each partition, with the records of the plan.
fn logs(plan: &Plan, start: Instant) -> Vec<Vec<Record>> {
    let mut log = vec![Vec::new(); plan.partitions as usize];
    let mut at = start;
    let mut next = vec![0i64; plan.partitions as usize];
    for planned in &plan.records {
        at += Duration::from_millis(planned.after);
        let partition = (planned.user % plan.partitions as u64) as i32;
        let offset = next[partition as usize] + planned.gap;
        next[partition as usize] = offset + 1;
        let index = log[partition as usize].len();
        log[partition as usize].push(Record {
            partition,
            offset,
            index,
            user: planned.user,
            kind: planned.kind,
            fields: planned.fields,
            strips: planned.strips,
            size: planned.size,
            at,
        });
    }
    log
}
