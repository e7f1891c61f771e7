//! Instances: they come, freeze, die and leave, and carry out what their engine decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::UserKey;
use engine::verdict::Reason;
use engine::{Action, Engine, Refetched, Settings, Ticket, Work};

use super::super::plan::Kind;
use super::pace::{INITIAL_BACKOFF, MAX_BACKOFF, Pace};
use super::{
    Call, Checked, Commiting, Fetching, HEARTBEAT, Instance, REQUEST_TIMEOUT, Record, SESSION,
    TRANSACTION, World,
};

impl World<'_> {
    pub(super) fn crash(&mut self, index: usize, back_at: Instant) -> Checked {
        if self.instances[index].engine.take().is_none() {
            return Ok(());
        }
        let calls = std::mem::take(&mut self.instances[index].calls);
        for call in calls {
            // Whether the API took it nobody will know.
            if !call.applied && self.rng.bool() {
                self.apply(&call.run, call.finding.verdict);
            }
        }
        if let Some(committing) = self.instances[index].committing.take()
            && !committing.late
            && !committing
                .batch
                .endings
                .iter()
                .any(|ending| self.is_refused(ending))
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

    pub(super) fn settings(&self) -> Settings {
        Settings {
            max_concurrency: self.max_concurrency,
            rate_limit: self.plan.rate_limit,
            max_waiting: self.max_waiting,
            // More than all updates of a history take: records are what fills the memory.
            max_bytes: usize::MAX,
            request_timeout: REQUEST_TIMEOUT,
            initial_backoff: INITIAL_BACKOFF,
            max_backoff: MAX_BACKOFF,
            max_attempts: self.plan.max_attempts,
            merge: self.merge,
        }
    }

    pub(super) fn join(&mut self, index: usize) {
        let settings = self.settings();
        let seed = self.rng.u64(..);
        // What the dead instance of that name still owned, its successor takes over at once, as a
        // static member does.
        let inherited: Vec<i32> = self.owned_by(index);
        let instance = &mut self.instances[index];
        let mut engine = Engine::new(settings, seed, self.now);
        engine.lease(self.now + SESSION);
        *instance = Instance {
            engine: Some(engine),
            member: true,
            ..Instance::new(self.now)
        };
        for partition in inherited {
            self.assign(partition, index);
        }
    }

    /// Comes back, thaws, hears from its calls and transactions.
    pub(super) fn live(&mut self, index: usize) -> Checked {
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
            // News only to an engine whose lease was too short for calls.
            instance.told |= instance.heartbeat + SESSION < now + REQUEST_TIMEOUT;
            instance.heartbeat = now;
        }
        if let (Some(engine), true) = (&mut instance.engine, instance.member) {
            engine.lease(instance.heartbeat + SESSION);
        }
        self.answer(index)?;
        self.finish_fetch(index);
        self.finish_commit(index)
    }

    pub(super) fn thaw(&mut self, index: usize) -> Checked {
        self.instances[index].frozen_until = None;
        if self.instances[index].member {
            return Ok(());
        }
        // It does not know yet that its session ended: the engine steps once as if nothing had
        // happened.
        self.instances[index].told = true;
        self.step(index)?;
        let now = self.now;
        let instance = &mut self.instances[index];
        let owned = std::mem::take(&mut instance.owned);
        // Answers that come in this very moment are nobody's any more.
        instance
            .calls
            .iter_mut()
            .for_each(|call| call.cancelled = true);
        if let Some(engine) = &mut instance.engine {
            for partition in owned.keys() {
                engine.lost(*partition, now);
                instance.pace.forget(*partition);
            }
        }
        instance.member = true;
        instance.heartbeat = now;
        instance.told = true;
        Ok(())
    }

    pub(super) fn answer(&mut self, index: usize) -> Checked {
        let now = self.now;
        let instance = &mut self.instances[index];
        let mut done: Vec<Call> = instance
            .calls
            .extract_if(.., |call| call.done_at <= now)
            .collect();
        instance.told |= !done.is_empty();
        done.sort_by_key(|call| call.done_at);
        for call in done {
            let Instance {
                engine: Some(engine),
                pace,
                ..
            } = &mut self.instances[index]
            else {
                continue;
            };
            engine.finished(call.ticket, call.finding, (), now);
            if !call.cancelled {
                pace.hear(&call, engine.state(), now)?;
                self.hear(&call);
            }
        }
        Ok(())
    }

    /// Records were read again: all of them, or the first ones, or none.
    fn finish_fetch(&mut self, index: usize) {
        let now = self.now;
        let Some(fetching) = self.instances[index]
            .fetching
            .take_if(|fetching| fetching.done_at <= now)
        else {
            return;
        };
        let Fetching {
            partition,
            epoch,
            mut offsets,
            ..
        } = fetching;
        if self.rng.u8(..4) == 0 {
            offsets.truncate(self.rng.usize(..=offsets.len()));
        }
        let read = |offset: i64| {
            let record = self
                .log_from(partition, offset)
                .next()
                .filter(|record| record.offset == offset)?;
            Some(Refetched {
                size: record.size,
                update: Arc::new(*record),
                work: work(record)?,
            })
        };
        let found = offsets
            .into_iter()
            .map(|offset| (offset, read(offset)))
            .collect();
        let Instance {
            engine: Some(engine),
            told,
            ..
        } = &mut self.instances[index]
        else {
            return;
        };
        engine.fetched(partition, epoch, found);
        *told = true;
    }

    /// Reads what is due, a record of each partition in turn, until memory is full. The settings of
    /// now decide, as in the service, where no more than a few batches are on their way when it
    /// pauses.
    pub(super) fn consume(&mut self, index: usize) -> Checked {
        let now = self.now;
        let instance = &mut self.instances[index];
        let (Some(engine), None, false) =
            (&mut instance.engine, instance.frozen_until, instance.paused)
        else {
            return Ok(());
        };
        let mut due: Vec<i32> = instance.owned.keys().copied().collect();
        // As many again as users who fail may have in memory, and some more that are on their way
        // when it pauses.
        while !due.is_empty() && engine.held() <= self.max_waiting + (self.max_waiting / 2).max(1) {
            due.retain(|partition| {
                let Some(owned) = instance.owned.get_mut(partition) else {
                    return false;
                };
                let record = self.log[*partition as usize]
                    .get(owned.next)
                    .filter(|record| record.at <= now);
                if let Some(record) = record {
                    owned.next += 1;
                    instance.told = true;
                    arrive(engine, record);
                }
                record.is_some()
            });
        }
        // Half as many again of users who fail, one each.
        if engine.held()
            > self.most_waiting + (self.most_waiting / 2).max(1) + self.plan.partitions as usize
        {
            return Err(format!("{} records held", engine.held()));
        }
        Ok(())
    }

    /// A call is cut off. Whether the API took it nobody will know; in a calm history it did not.
    fn cancel(&mut self, index: usize, ticket: Ticket) {
        let instance = &mut self.instances[index];
        instance.pace.cancelled(ticket, self.now);
        if let Some(call) = instance.calls.iter_mut().find(|call| call.ticket == ticket) {
            let (run, verdict) = (call.run.clone(), call.finding.verdict);
            let takes = !self.calm && !call.applied && self.rng.bool();
            (call.cancelled, call.applied) = (true, true);
            // Nobody will know either whether the call was made at all.
            if call.finding.calls == 0 {
                for record in &run {
                    self.tries
                        .entry((record.partition, record.offset))
                        .or_default()
                        .calls += 1;
                }
            }
            if takes {
                self.apply(&run, verdict);
            }
        }
    }

    /// The engine is asked what to do, and that is done. It is asked at moments too when nothing
    /// happened and it did not want to be, as in the service it would not be: what it does then it
    /// has forgotten to say.
    pub(super) fn step(&mut self, index: usize) -> Checked {
        let now = self.now;
        let instance = &mut self.instances[index];
        if instance.frozen_until.is_some() {
            return Ok(());
        }
        let Some(engine) = &mut instance.engine else {
            return Ok(());
        };
        let actions = engine.step(now);
        let asked_for = instance.told || instance.wake_at.is_some_and(|at| at <= now);
        if !asked_for && !actions.is_empty() {
            return Err(format!(
                "nothing happened, it wanted to be woken at {:?}, and does at {now:?}: {actions:?}",
                instance.wake_at
            ));
        }
        instance.told = false;
        instance.wake_at = engine.wake_at(now);
        for action in actions {
            match action {
                Action::Start {
                    ticket,
                    update,
                    merged,
                    timeout,
                } => {
                    let run = merged
                        .iter()
                        .chain([&update])
                        .map(|record| **record)
                        .collect();
                    self.start(index, ticket, run, timeout)?;
                }
                Action::Cancel(ticket) => self.cancel(index, ticket),
                Action::Settle(batch) => {
                    let late = self.is_late(&batch);
                    let done_at = self.now
                        + if late {
                            TRANSACTION
                        } else {
                            self.commit_time()
                        };
                    let before = self.instances[index].committing.replace(Commiting {
                        batch,
                        done_at,
                        late,
                    });
                    if before.is_some() {
                        return Err("two transactions at once".into());
                    }
                }
                Action::Fetch {
                    partition,
                    epoch,
                    offsets,
                } => {
                    let done_at = self.now + Duration::from_millis(self.rng.u64(1..50));
                    let before = self.instances[index].fetching.replace(Fetching {
                        partition,
                        epoch,
                        offsets,
                        done_at,
                    });
                    if before.is_some() {
                        return Err("records are read again twice at once".into());
                    }
                }
                Action::Pause => self.instances[index].paused = true,
                Action::Resume => {
                    let instance = &mut self.instances[index];
                    instance.paused = false;
                    instance.held_at_resume = instance.engine.as_ref().map_or(0, Engine::held);
                }
                Action::Released(partition) => {
                    self.instances[index].owned.remove(&partition);
                    self.instances[index].pace.forget(partition);
                    if self.owner[partition as usize].is_some_and(|(owner, _)| owner == index) {
                        self.owner[partition as usize] = None;
                    }
                }
                Action::OrderViolation => {
                    return Err("the sentinel saw a violation of order".into());
                }
            }
        }
        self.check_pause(index)?;
        let instance = &mut self.instances[index];
        if instance.leaving && instance.owned.is_empty() && instance.committing.is_none() {
            instance.engine = None;
            instance.member = false;
            instance.leaving = false;
        }
        Ok(())
    }
}

/// Hands a record to the engine.
fn arrive(engine: &mut Engine<Record, ()>, record: &Record) {
    match work(record) {
        Some(work) => drop(engine.arrived(
            record.partition,
            record.offset,
            record.size,
            Arc::new(*record),
            work,
        )),
        None => engine.passed(record.partition, record.offset + 1),
    }
}

/// What is to be done with a record, if it is this target's.
fn work(record: &Record) -> Option<Work> {
    let user = UserKey(record.user);
    let expires_at = match record.kind {
        Kind::Expiring(millis) => Some(record.at + Duration::from_millis(millis)),
        _ => None,
    };
    match record.kind {
        Kind::Foreign => None,
        Kind::Invalid => Some(Work::Dead {
            user: Some(user),
            reason: Reason::InvalidChanges,
        }),
        _ => Some(Work::Call { user, expires_at }),
    }
}

impl Instance {
    pub(super) fn new(now: Instant) -> Self {
        Instance {
            engine: None,
            owned: BTreeMap::new(),
            calls: Vec::new(),
            committing: None,
            fetching: None,
            aborts: 0,
            pace: Pace::default(),
            paused: false,
            held_at_resume: 0,
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
