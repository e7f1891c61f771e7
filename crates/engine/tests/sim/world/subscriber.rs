//! An instance and its engine: it hands it records, and carries out its decisions.

use std::sync::Arc;
use std::time::Duration;

use engine::verdict::Reason;
use engine::{Action, Engine, Ticket, UserKey, Work};

use super::super::plan::Kind;
use super::{Checked, Commiting, Fetching, Record, TRANSACTION, World};

impl World<'_> {
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
    fn cancel(&mut self, index: usize, ticket: Ticket) -> Checked {
        let instance = &mut self.instances[index];
        instance.pace.cancelled(ticket, self.now);
        if let Some(call) = instance.calls.iter_mut().find(|call| call.ticket == ticket) {
            let (run, verdict, counts) = (call.run.clone(), call.finding.verdict, call.counts);
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
                self.apply(&run, verdict, counts)?;
            }
        }
        Ok(())
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
            self.carry_out(index, action)?;
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

    fn carry_out(&mut self, index: usize, action: Action<Record, ()>) -> Checked {
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
            Action::Cancel(ticket) => self.cancel(index, ticket)?,
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

/// The work with a record, if it is this target's.
pub(super) fn work(record: &Record) -> Option<Work> {
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
