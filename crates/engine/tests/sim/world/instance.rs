//! Instances: they come, freeze, die and leave, and carry out what their engine decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use engine::{Engine, Refetched, Settings};

use super::guard::millis;
use super::pace::{INITIAL_BACKOFF, MAX_BACKOFF, Pace};
use super::subscriber::work;
use super::{Call, Checked, Fetching, HEARTBEAT, Instance, REQUEST_TIMEOUT, SESSION, World};

impl World<'_> {
    pub(super) fn crash(&mut self, index: usize, back_at: Instant) -> Checked {
        if self.instances[index].engine.take().is_none() {
            return Ok(());
        }
        let calls = std::mem::take(&mut self.instances[index].calls);
        for call in calls {
            // Whether the API took it nobody will know.
            if !call.applied && self.rng.bool() {
                self.apply(&call.run, call.finding.verdict, call.counts)?;
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
        let (settings, guard) = (self.settings(), self.guard());
        let seed = self.rng.u64(..);
        // What the dead instance of that name still owned, its successor takes over at once, as a
        // static member does.
        let inherited: Vec<i32> = self.owned_by(index);
        let instance = &mut self.instances[index];
        let mut engine = Engine::new(settings, seed, self.now);
        engine.lease(self.now + SESSION);
        engine.clock(self.now, millis(self.now - self.start));
        engine.guard(guard);
        engine.topic_has(self.plan.partitions as usize, self.now);
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
