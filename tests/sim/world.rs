//! The world around the engines: a broker that assigns and fences, an API with moods, instances that die and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use user_courier::engine::checkpoint::{Checkpoint, MAX_TEXT};
use user_courier::engine::{Action, Batch, Commit, End, Engine, Settings, State, Ticket, Work};
use user_courier::event::UserId;
use user_courier::verdict::{Reason, Verdict};

use super::plan::{Fault, Kind, Mood, Plan, SMALL_MEMORY};

/// After this long without a heartbeat an instance's partitions are given away.
const SESSION: Duration = Duration::from_secs(6);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(4);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A history that is not settled by then makes no progress.
const PATIENCE: Duration = Duration::from_secs(600);
/// The shortest time that passes.
const MOMENT: Duration = Duration::from_micros(1);
/// From here on, a user in each partition whose updates come for ever, so that every instance always delivers somebody.
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
    at: Instant,
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
    record: Record,
    done_at: Instant,
    verdict: Verdict,
    /// The API did its part, whether the instance has heard of it or not.
    applied: bool,
    /// It was given up, too late: its answer comes all the same.
    cancelled: bool,
}

struct Commiting {
    batch: Batch<Record, ()>,
    done_at: Instant,
}

struct Instance {
    engine: Option<Engine<Record, ()>>,
    owned: BTreeMap<i32, Owned>,
    calls: Vec<Call>,
    committing: Option<Commiting>,
    aborts: u32,
    /// Users whose calls failed since the last good answer, as this instance heard it.
    failing: BTreeSet<u64>,
    /// The API asked for a pause until then.
    asked_until: Option<Instant>,
    paused: bool,
    leaving: bool,
    member: bool,
    frozen_until: Option<Instant>,
    back_at: Option<Instant>,
    heartbeat: Instant,
    /// The engine was told something and has not been asked since what to do. Else it is asked only when it wanted to be, as in the
    /// service: an engine that forgets to say when makes no progress.
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
    slow_commits: Option<(Duration, Instant)>,
    /// Beside `log`: how each record ended.
    outcomes: Vec<Vec<Option<End>>>,
    /// Beside `log`: whether the API took it.
    taken: Vec<Vec<bool>>,
    /// Nothing in the plan makes a call's answer unheard, or an instance lose its partitions.
    calm: bool,
    /// What the API applied last, by user of the plan.
    applied: BTreeMap<u64, Record>,
    /// When a record of the plan was first called, and how many of its failures may count against it.
    failures: BTreeMap<(i32, i64), (Instant, u32)>,
    last_delivered: Vec<(Instant, u64)>,
    faults: Vec<(Instant, Fault)>,
    quiet_at: Instant,
    next_background: Instant,
    planned: usize,
    settled: usize,
    turns: usize,
    start: Instant,
    /// When planned records come, the last first.
    upcoming: Vec<Instant>,
}

type Checked<T = ()> = Result<T, String>;

impl<'p> World<'p> {
    pub fn run(plan: &'p Plan) -> Checked {
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
                    .map(|instance| instance.engine.as_ref().map(|engine| (engine.gauges(), engine.held(), instance.paused)))
                    .collect();
                return Err(format!("no progress: {} of {} records settled; {states:?}", world.settled, world.planned));
            }
            world.turn()?;
            world.turns += 1;
            if world.turns > 100_000 {
                return Err(format!("it spins at {:?} after the start", world.now - world.start));
            }
        }
        world.judge()
    }

    fn new(plan: &'p Plan) -> Self {
        let start = Instant::now();
        let mut log = vec![Vec::new(); plan.partitions as usize];
        let mut at = start;
        let mut next = vec![0i64; plan.partitions as usize];
        for planned in &plan.records {
            at += Duration::from_millis(planned.after);
            let partition = (planned.user % plan.partitions as u64) as i32;
            let offset = next[partition as usize] + planned.gap;
            next[partition as usize] = offset + 1;
            let index = log[partition as usize].len();
            log[partition as usize].push(Record { partition, offset, index, user: planned.user, kind: planned.kind, at });
        }
        let mut faults = Vec::new();
        let (mut fault_at, mut quiet_at) = (start, at);
        for (after, fault) in &plan.faults {
            fault_at += Duration::from_millis(*after);
            let lasts = match fault {
                Fault::Crash { back_after, .. } | Fault::Leave { back_after, .. } => *back_after,
                Fault::Freeze { millis, .. } | Fault::Outage { millis, .. } | Fault::SlowCommits { millis, .. } => *millis,
                Fault::Abort { .. } => 0,
            };
            quiet_at = quiet_at.max(fault_at + Duration::from_millis(lasts));
            faults.push((fault_at, *fault));
        }
        faults.reverse();
        let mut upcoming: Vec<Instant> = log.iter().flatten().map(|record: &Record| record.at).collect();
        upcoming.sort_by(|one, other| other.cmp(one));
        let outcomes = log.iter().map(|log| vec![None; log.len()]).collect();
        let taken = log.iter().map(|log| vec![false; log.len()]).collect();
        let calm = !plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::Crash { .. } | Fault::Freeze { .. }));
        World {
            plan,
            now: start,
            rng: fastrand::Rng::with_seed(plan.seed),
            planned: plan.records.iter().filter(|planned| planned.kind != Kind::Foreign).count(),
            upcoming,
            settled: 0,
            turns: 0,
            start,
            log,
            committed: vec![Commit { offset: 0, metadata: String::new() }; plan.partitions as usize],
            owner: vec![None; plan.partitions as usize],
            assignments: 0,
            instances: (0..plan.instances).map(|_| Instance::new(start)).collect(),
            mood: None,
            slow_commits: None,
            outcomes,
            taken,
            calm,
            applied: BTreeMap::new(),
            failures: BTreeMap::new(),
            last_delivered: Vec::new(),
            faults,
            quiet_at,
            next_background: start,
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
        self.apply_due();
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
        let mut consider = |at: Option<Instant>| next = at.filter(|at| *at > now).map_or(next, |at| at.min(next));
        consider(self.faults.last().map(|(at, _)| *at));
        while self.upcoming.pop_if(|at| *at <= now).is_some() {}
        consider(self.upcoming.last().copied());
        for instance in &self.instances {
            consider(instance.back_at);
            consider(instance.frozen_until);
            consider(instance.calls.iter().map(|call| call.done_at).filter(|at| *at > now).min());
            if instance.frozen_until.is_some() || instance.engine.is_none() {
                consider(Some(instance.heartbeat + SESSION));
            } else {
                consider(Some(instance.heartbeat + HEARTBEAT));
                consider(instance.committing.as_ref().map(|committing| committing.done_at));
                // One that wants to be asked again at once is asked again at once.
                consider(instance.wake_at.map(|at| at.max(now + MOMENT)));
            }
        }
        next
    }

    /// Somebody is always delivered, so that a poisonous update comes to its end.
    fn background(&mut self) {
        if self.now >= self.next_background {
            for (partition, log) in (0..).zip(&mut self.log) {
                let offset = log.last().map_or(0, |record| record.offset + 1);
                // Not before the planned records of that partition, whose places are fixed.
                if log.last().is_none_or(|record| record.at <= self.now) {
                    let user = BACKGROUND + partition as u64;
                    log.push(Record { partition, offset, index: log.len(), user, kind: Kind::Good, at: self.now });
                    self.outcomes[partition as usize].push(None);
                    self.taken[partition as usize].push(false);
                }
            }
            self.next_background = self.now + Duration::from_millis(700);
        }
    }

    fn strike(&mut self, fault: Fault) -> Checked {
        let now = self.now;
        let count = self.instances.len();
        match fault {
            Fault::Crash { instance, back_after } => self.crash(instance % count, now + Duration::from_millis(back_after))?,
            Fault::Leave { instance, back_after } => {
                let instance = &mut self.instances[instance % count];
                if instance.engine.is_some() && instance.frozen_until.is_none() && !instance.leaving {
                    instance.leaving = true;
                    instance.told = true;
                    instance.back_at = Some(now + Duration::from_millis(back_after));
                }
            }
            Fault::Freeze { instance, millis } => {
                let instance = &mut self.instances[instance % count];
                if instance.engine.is_some() {
                    instance.frozen_until = Some(now + Duration::from_millis(millis));
                }
            }
            Fault::Outage { mood, millis } => self.mood = Some((mood, now + Duration::from_millis(millis))),
            Fault::Abort { instance, times } => self.instances[instance % count].aborts += times,
            Fault::SlowCommits { commit_millis, millis } => {
                self.slow_commits = Some((Duration::from_millis(commit_millis), now + Duration::from_millis(millis)));
            }
        }
        Ok(())
    }

    fn crash(&mut self, index: usize, back_at: Instant) -> Checked {
        if self.instances[index].engine.take().is_none() {
            return Ok(());
        }
        let calls = std::mem::take(&mut self.instances[index].calls);
        for call in calls {
            // Whether the API took it nobody will know.
            if !call.applied && self.rng.bool() {
                self.apply(&call.record, call.verdict);
            }
        }
        if let Some(committing) = self.instances[index].committing.take()
            && self.rng.bool()
        {
            self.commit(index, &committing.batch)?;
        }
        let instance = &mut self.instances[index];
        instance.frozen_until = None;
        instance.leaving = false;
        instance.back_at = Some(back_at);
        Ok(())
    }

    fn join(&mut self, index: usize) {
        let settings = Settings {
            max_concurrency: self.plan.max_concurrency,
            rate_limit: self.plan.rate_limit,
            max_waiting: self.plan.max_waiting,
            max_bytes: 1 << 20,
            request_timeout: REQUEST_TIMEOUT,
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            max_attempts: self.plan.max_attempts,
        };
        let seed = self.rng.u64(..);
        // What the dead instance of that name still owned, its successor takes over at once, as a static member does.
        let inherited: Vec<i32> = self.owned_by(index);
        let instance = &mut self.instances[index];
        *instance = Instance { engine: Some(Engine::new(settings, seed, self.now)), member: true, ..Instance::new(self.now) };
        for partition in inherited {
            self.assign(partition, index);
        }
    }

    fn owned_by(&self, index: usize) -> Vec<i32> {
        let owns = |owner: &Option<(usize, u64)>| owner.is_some_and(|(owner, _)| owner == index);
        (0..self.plan.partitions).filter(|partition| owns(&self.owner[*partition as usize])).collect()
    }

    fn assign(&mut self, partition: i32, index: usize) {
        self.assignments += 1;
        let commit = self.committed[partition as usize].clone();
        let instance = &mut self.instances[index];
        if let Some(engine) = &mut instance.engine {
            let (epoch, unreadable) = engine.assigned(partition, commit.clone(), self.now);
            assert_eq!(unreadable, None, "a commit of ours is readable");
            let next = self.log[partition as usize].partition_point(|record| record.offset < commit.offset);
            instance.owned.insert(partition, Owned { assignment: self.assignments, epoch, next, revoked: false });
            instance.told = true;
            self.owner[partition as usize] = Some((index, self.assignments));
        }
    }

    /// Comes back, thaws, hears from its calls and transactions.
    fn live(&mut self, index: usize) -> Checked {
        let now = self.now;
        if self.instances[index].engine.is_none() {
            if self.instances[index].back_at.is_some_and(|at| at <= now) {
                self.join(index);
            }
            return Ok(());
        }
        if let Some(until) = self.instances[index].frozen_until {
            if until > now {
                return Ok(());
            }
            self.thaw(index)?;
        }
        let instance = &mut self.instances[index];
        if instance.heartbeat + HEARTBEAT <= now {
            instance.heartbeat = now;
            instance.told = true;
        }
        if let (Some(engine), true) = (&mut instance.engine, instance.member) {
            engine.lease(instance.heartbeat + SESSION);
        }
        self.answer(index);
        self.finish_commit(index)
    }

    fn thaw(&mut self, index: usize) -> Checked {
        self.instances[index].frozen_until = None;
        if self.instances[index].member {
            return Ok(());
        }
        // It does not know yet that its session ended: the engine steps once as if nothing had happened.
        self.instances[index].told = true;
        self.step(index)?;
        let now = self.now;
        let instance = &mut self.instances[index];
        let owned = std::mem::take(&mut instance.owned);
        // Answers that come in this very moment are nobody's any more.
        instance.calls.iter_mut().for_each(|call| call.cancelled = true);
        if let Some(engine) = &mut instance.engine {
            for partition in owned.keys() {
                engine.lost(*partition, now);
            }
        }
        instance.member = true;
        instance.heartbeat = now;
        instance.told = true;
        Ok(())
    }

    fn answer(&mut self, index: usize) {
        let now = self.now;
        let instance = &mut self.instances[index];
        let mut done: Vec<Call> = instance.calls.extract_if(.., |call| call.done_at <= now).collect();
        instance.told |= !done.is_empty();
        done.sort_by_key(|call| call.done_at);
        for call in done {
            if !call.cancelled {
                self.hear(index, &call);
            }
            if let Some(engine) = &mut self.instances[index].engine {
                engine.finished(call.ticket, call.verdict, 1, (), now);
            }
        }
    }

    /// What an answer must lead to, and may.
    fn hear(&mut self, index: usize, call: &Call) {
        let Instance { engine: Some(engine), failing, asked_until, .. } = &mut self.instances[index] else { return };
        let user = call.record.user;
        match call.verdict {
            Verdict::Delivered | Verdict::Rejected { .. } => failing.clear(),
            Verdict::Retry { unreachable: false } => {
                failing.insert(user);
                // Where others fail as well, it is not the update's fault.
                let own = failing.len() == 1 || self.plan.max_waiting == SMALL_MEMORY;
                if let Some((_, failures)) = self.failures.get_mut(&(call.record.partition, call.record.offset)).filter(|_| own) {
                    *failures += 1;
                }
            }
            // While a probe is under way, only the probe's answer is listened to.
            Verdict::Throttled { retry_after: Some(asked) } if !matches!(engine.gauges().state, State::Probing { probe, .. } if probe != call.ticket) =>
            {
                *asked_until = (*asked_until).max(Some(self.now + asked));
            }
            _ => {}
        }
        if call.verdict == Verdict::Delivered {
            self.last_delivered.push((self.now, user));
        }
    }

    /// The API does its part of the calls whose time has come, also of those whose instance is frozen.
    fn apply_due(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        for call in self.instances.iter_mut().flat_map(|instance| &mut instance.calls) {
            if call.done_at <= now && !call.applied {
                call.applied = true;
                due.push((call.done_at, call.record, call.verdict));
            }
        }
        due.sort_by_key(|(done_at, ..)| *done_at);
        for (_, record, verdict) in due {
            self.apply(&record, verdict);
        }
    }

    fn apply(&mut self, record: &Record, verdict: Verdict) {
        if verdict == Verdict::Delivered {
            self.taken[record.partition as usize][record.index] = true;
            if record.user < BACKGROUND {
                self.applied.insert(record.user, *record);
            }
        }
    }

    fn finish_commit(&mut self, index: usize) -> Checked {
        let now = self.now;
        let Some(committing) = self.instances[index].committing.take_if(|committing| committing.done_at <= now) else {
            return Ok(());
        };
        if self.instances[index].aborts > 0 {
            self.instances[index].aborts -= 1;
            let done_at = now + self.commit_time();
            self.instances[index].committing = Some(Commiting { done_at, ..committing });
            return Ok(());
        }
        self.commit(index, &committing.batch)?;
        if let Some(engine) = &mut self.instances[index].engine {
            engine.settled(committing.batch.id);
        }
        self.instances[index].told = true;
        Ok(())
    }

    fn commit_time(&mut self) -> Duration {
        let slow = self.slow_commits.filter(|(_, until)| *until > self.now);
        slow.map_or(Duration::from_millis(self.rng.u64(1..20)), |(time, _)| time)
    }

    /// The broker takes a transaction, but for partitions whose assignment is not this one any more.
    fn commit(&mut self, index: usize, batch: &Batch<Record, ()>) -> Checked {
        let owns = |owner: &Option<(usize, u64)>, partition: i32, epoch: u64| {
            let assigned = self.instances[index].owned.get(&partition);
            assigned.is_some_and(|owned| owned.epoch == epoch && *owner == Some((index, owned.assignment)))
        };
        let valid: Vec<_> = batch
            .commits
            .iter()
            .filter(|commit| owns(&self.owner[commit.partition as usize], commit.partition, commit.epoch))
            .cloned()
            .collect();
        for ending in &batch.endings {
            if valid.iter().any(|commit| commit.partition == ending.update.partition) {
                let outcome = &mut self.outcomes[ending.update.partition as usize][ending.update.index];
                if outcome.replace(ending.end).is_some() {
                    return Err(format!("{:?} has two outcomes", ending.update));
                }
                if ending.update.user < BACKGROUND {
                    self.settled += 1;
                }
            }
        }
        for commit in valid {
            self.check_commit(commit.partition, &commit.commit)?;
            self.committed[commit.partition as usize] = commit.commit;
        }
        Ok(())
    }

    /// The records of a partition from that offset on.
    fn log_from(&self, partition: i32, offset: i64) -> impl Iterator<Item = &Record> {
        let log = &self.log[partition as usize];
        log[log.partition_point(|record| record.offset < offset)..].iter()
    }

    fn check_commit(&self, partition: i32, commit: &Commit) -> Checked {
        if commit.metadata.len() > MAX_TEXT {
            return Err(format!("a text of {} bytes", commit.metadata.len()));
        }
        let checkpoint = Checkpoint::read(commit).map_err(|unreadable| unreadable.to_string())?;
        // What is below the last commit was looked at then, and an outcome stays.
        let known = commit.offset.min(self.committed[partition as usize].offset);
        for record in self.log_from(partition, known).filter(|record| record.kind != Kind::Foreign) {
            let open =
                record.offset >= commit.offset && (record.offset >= checkpoint.horizon || checkpoint.open.contains_key(&record.offset));
            if open == self.outcome(record).is_some() {
                let said = if open { "unsettled" } else { "settled" };
                return Err(format!("{partition}/{} is called {said} by {commit:?}, and is not", record.offset));
            }
        }
        Ok(())
    }

    fn expire_sessions(&mut self) {
        for index in 0..self.instances.len() {
            let instance = &mut self.instances[index];
            if instance.member && instance.heartbeat + SESSION <= self.now && (instance.engine.is_none() || instance.frozen_until.is_some())
            {
                instance.member = false;
                for partition in self.owned_by(index) {
                    self.owner[partition as usize] = None;
                }
            }
        }
    }

    fn rebalance(&mut self) {
        let members: Vec<usize> =
            (0..self.instances.len()).filter(|index| self.instances[*index].member && !self.instances[*index].leaving).collect();
        for partition in 0..self.plan.partitions {
            let wanted = members.get(partition as usize % members.len().max(1)).copied();
            match self.owner[partition as usize] {
                None => {
                    if let Some(wanted) = wanted.filter(|wanted| self.instances[*wanted].frozen_until.is_none()) {
                        self.assign(partition, wanted);
                    }
                }
                Some((owner, _)) if Some(owner) != wanted && self.instances[owner].frozen_until.is_none() => {
                    let Instance { engine: Some(engine), owned, told, .. } = &mut self.instances[owner] else { continue };
                    if let Some(owned) = owned.get_mut(&partition).filter(|owned| !owned.revoked) {
                        owned.revoked = true;
                        *told = true;
                        engine.revoked(partition, self.now + DRAIN);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn consume(&mut self, index: usize) -> Checked {
        let instance = &mut self.instances[index];
        let (Some(engine), None, false) = (&mut instance.engine, instance.frozen_until, instance.paused) else { return Ok(()) };
        for (partition, owned) in &mut instance.owned {
            while let Some(record) = self.log[*partition as usize].get(owned.next)
                && record.at <= self.now
            {
                owned.next += 1;
                instance.told = true;
                let Some(user) = UserId::new(record.user) else { continue };
                let expires_at = match record.kind {
                    Kind::Expiring(millis) => Some(record.at + Duration::from_millis(millis)),
                    _ => None,
                };
                let work = match record.kind {
                    Kind::Foreign => {
                        engine.passed(*partition, record.offset + 1);
                        continue;
                    }
                    Kind::Invalid => Work::Dead { user: Some(user), reason: Reason::InvalidChanges },
                    _ => Work::Call { user, expires_at },
                };
                engine.arrived(*partition, record.offset, 100, Arc::new(*record), work);
                if engine.held() > self.plan.max_waiting {
                    break;
                }
            }
        }
        if engine.held() > self.plan.max_waiting + self.plan.partitions as usize {
            return Err(format!("{} records held", engine.held()));
        }
        Ok(())
    }

    fn step(&mut self, index: usize) -> Checked {
        let now = self.now;
        let instance = &mut self.instances[index];
        if instance.frozen_until.is_some() || !(instance.told || instance.wake_at.is_some_and(|at| at <= now)) {
            return Ok(());
        }
        let Some(engine) = &mut instance.engine else { return Ok(()) };
        let actions = engine.step(now);
        instance.told = false;
        instance.wake_at = engine.wake_at(now);
        for action in actions {
            match action {
                Action::Start { ticket, update, timeout } => self.start(index, ticket, *update, timeout)?,
                Action::Cancel(ticket) => {
                    for call in self.instances[index].calls.iter_mut().filter(|call| call.ticket == ticket) {
                        // A call that was cut off, and that the API did not take.
                        (call.cancelled, call.applied) = (true, true);
                    }
                }
                Action::Settle(batch) => {
                    let done_at = self.now + self.commit_time();
                    let before = self.instances[index].committing.replace(Commiting { batch, done_at });
                    if before.is_some() {
                        return Err("two transactions at once".into());
                    }
                }
                Action::Pause => self.instances[index].paused = true,
                Action::Resume => self.instances[index].paused = false,
                Action::Released(partition) => {
                    self.instances[index].owned.remove(&partition);
                    if self.owner[partition as usize].is_some_and(|(owner, _)| owner == index) {
                        self.owner[partition as usize] = None;
                    }
                }
                Action::OrderViolation => return Err("the sentinel saw a violation of order".into()),
            }
        }
        let instance = &mut self.instances[index];
        if instance.leaving && instance.owned.is_empty() && instance.committing.is_none() {
            instance.engine = None;
            instance.member = false;
            instance.leaving = false;
        }
        Ok(())
    }

    fn start(&mut self, index: usize, ticket: Ticket, record: Record, timeout: Duration) -> Checked {
        let now = self.now;
        if self.outcome(&record).is_some() {
            return Err(format!("{record:?} is called again though it is settled"));
        }
        if self.owner[record.partition as usize].is_none_or(|(owner, _)| owner != index) {
            return Err(format!("{record:?} is called by instance {index}, which does not own it"));
        }
        if self.calm && self.taken[record.partition as usize][record.index] {
            return Err(format!("{record:?} is called again though the API took it, and nothing was lost"));
        }
        let in_flight = |call: &&Call| call.done_at > now && !call.cancelled;
        let instance = &self.instances[index];
        if instance.calls.iter().filter(in_flight).count() >= self.plan.max_concurrency {
            return Err(format!("more than {} calls at once", self.plan.max_concurrency));
        }
        if instance.asked_until.is_some_and(|until| until > now) {
            return Err(format!("{record:?} is called though the API asked for a pause"));
        }
        if self.instances.iter().flat_map(|instance| &instance.calls).filter(in_flight).any(|call| call.record.user == record.user) {
            return Err(format!("two calls at once for user {}", record.user));
        }
        let unsettled = self.log_from(record.partition, self.committed[record.partition as usize].offset);
        let earlier = unsettled
            .take_while(|earlier| earlier.offset < record.offset)
            .find(|earlier| earlier.user == record.user && self.needs_call(earlier) && !self.was_answered(index, earlier));
        if let Some(earlier) = earlier {
            return Err(format!("{record:?} overtakes {earlier:?}"));
        }
        if record.user < BACKGROUND {
            self.failures.entry((record.partition, record.offset)).or_insert((now, 0));
        }
        let latency = Duration::from_millis(self.rng.u64(1..=self.plan.latency));
        let mood = self.mood.filter(|(_, until)| *until > now).map(|(mood, _)| mood);
        let verdict = match (mood, record.kind) {
            (Some(Mood::Refuses), _) => Verdict::Retry { unreachable: true },
            (Some(Mood::Fails | Mood::Hangs), _) | (None, Kind::Poison) => Verdict::Retry { unreachable: false },
            (Some(Mood::Throttles), _) => Verdict::Throttled { retry_after: self.rng.bool().then_some(Duration::from_secs(3)) },
            (Some(Mood::Unauthorized), _) => Verdict::Unauthorized,
            (Some(Mood::Lies), _) => Verdict::Fault,
            (None, Kind::Rejected) => Verdict::Rejected { user_not_found: false },
            (None, _) => Verdict::Delivered,
        };
        let takes = if mood == Some(Mood::Hangs) { timeout } else { latency.min(timeout) };
        let done_at = now + takes;
        self.instances[index].calls.push(Call { ticket, record, done_at, verdict, applied: false, cancelled: false });
        Ok(())
    }

    fn needs_call(&self, record: &Record) -> bool {
        !matches!(record.kind, Kind::Foreign | Kind::Invalid | Kind::Expiring(_)) && self.outcome(record).is_none()
    }

    /// Whether this instance has an ending for that record that is not committed yet.
    fn was_answered(&self, index: usize, record: &Record) -> bool {
        let engine = self.instances[index].engine.as_ref();
        engine.is_some_and(|engine| engine.has_ended(record.partition, record.offset))
    }

    /// What must be true in the end.
    fn judge(&self) -> Checked {
        for record in self.log.iter().flatten().filter(|record| record.user < BACKGROUND) {
            let end = self.outcome(record);
            let right = match (record.kind, end) {
                (Kind::Foreign, None)
                | (Kind::Rejected, Some(End::Dead(Reason::Rejected)))
                | (Kind::Invalid, Some(End::Dead(Reason::InvalidChanges)))
                | (Kind::Expiring(_), Some(End::Dead(Reason::Expired))) => true,
                (Kind::Good | Kind::Expiring(_), Some(End::Delivered)) => self.taken[record.partition as usize][record.index],
                (Kind::Good | Kind::Rejected | Kind::Poison | Kind::Expiring(_), Some(End::Dead(Reason::AttemptsExhausted))) => {
                    self.earned(record)
                }
                _ => false,
            };
            if !right {
                let failures = self.failures.get(&(record.partition, record.offset));
                return Err(format!("{record:?} ended as {end:?} after {failures:?}"));
            }
        }
        self.compare_states()
    }

    /// An update is given up only after its failures, and with another one delivered since its first call.
    fn earned(&self, record: &Record) -> bool {
        let failed = self.failures.get(&(record.partition, record.offset));
        failed.is_some_and(|(first, count)| {
            let others = self.last_delivered.iter().any(|(at, user)| at >= first && *user != record.user);
            *count >= self.plan.max_attempts && (others || self.plan.max_waiting == SMALL_MEMORY)
        })
    }

    /// The API shows what the delivered updates, applied in the order of the topic, come to.
    fn compare_states(&self) -> Checked {
        for (user, shown) in &self.applied {
            let delivered = |record: &&Record| record.user == *user && self.outcome(record) == Some(End::Delivered);
            // All updates of one user are in one partition.
            let last = self.log[shown.partition as usize].iter().filter(delivered).map(|record| record.offset).max();
            // A call whose answer was lost may have been made, and its update have been given up since: the API shows it all the same.
            let given_up = matches!(self.outcome(shown), Some(End::Dead(Reason::Expired | Reason::AttemptsExhausted)));
            if last.is_some_and(|last| last != shown.offset && !(given_up && shown.offset > last)) {
                return Err(format!("user {user} shows {shown:?}, though {last:?} was delivered last"));
            }
        }
        Ok(())
    }
}

impl Instance {
    fn new(now: Instant) -> Self {
        Instance {
            engine: None,
            owned: BTreeMap::new(),
            calls: Vec::new(),
            committing: None,
            aborts: 0,
            failing: BTreeSet::new(),
            asked_until: None,
            paused: false,
            leaving: false,
            member: false,
            frozen_until: None,
            back_at: None,
            heartbeat: now,
            told: true,
            wake_at: None,
        }
    }
}
