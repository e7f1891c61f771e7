//! The broker: it assigns partitions, ends sessions, and takes transactions.

use std::time::Duration;

use engine::{Batch, Ending, Unsettled};

use super::{BACKGROUND, Checked, Commiting, Instance, Owned, Record, SESSION, World};

impl World<'_> {
    pub(super) fn owned_by(&self, index: usize) -> Vec<i32> {
        let owns = |owner: &Option<(usize, u64)>| owner.is_some_and(|(owner, _)| owner == index);
        (0..self.plan.partitions)
            .filter(|partition| owns(&self.owner[*partition as usize]))
            .collect()
    }

    pub(super) fn assign(&mut self, partition: i32, index: usize) {
        self.assignments += 1;
        let commit = self.committed[partition as usize].clone();
        let instance = &mut self.instances[index];
        if let Some(engine) = &mut instance.engine {
            let (epoch, unreadable) = engine.assigned(partition, commit.clone(), self.now);
            assert_eq!(unreadable, None, "a commit of ours is readable");
            let next = self.log[partition as usize]
                .partition_point(|record| record.offset < commit.offset);
            instance.owned.insert(
                partition,
                Owned {
                    assignment: self.assignments,
                    epoch,
                    next,
                    revoked: false,
                },
            );
            instance.told = true;
            self.owner[partition as usize] = Some((index, self.assignments));
            let (rate, now) = (self.rate_of(index), self.now);
            self.instances[index].pace.faster(rate, now);
        }
    }

    pub(super) fn expire_sessions(&mut self) {
        for index in 0..self.instances.len() {
            let instance = &mut self.instances[index];
            if instance.member
                && instance.heartbeat + SESSION <= self.now
                && (instance.engine.is_none() || instance.frozen_until.is_some())
            {
                instance.member = false;
                for partition in self.owned_by(index) {
                    self.owner[partition as usize] = None;
                }
            }
        }
    }

    pub(super) fn rebalance(&mut self) {
        let drain = Duration::from_millis(self.plan.drain);
        let members: Vec<usize> = (0..self.instances.len())
            .filter(|index| self.instances[*index].member && !self.instances[*index].leaving)
            .collect();
        for partition in 0..self.plan.partitions {
            let wanted = members
                .get(partition as usize % members.len().max(1))
                .copied();
            match self.owner[partition as usize] {
                None => {
                    if let Some(wanted) =
                        wanted.filter(|wanted| self.instances[*wanted].frozen_until.is_none())
                    {
                        self.assign(partition, wanted);
                    }
                }
                Some((owner, _))
                    if Some(owner) != wanted && self.instances[owner].frozen_until.is_none() =>
                {
                    let Instance {
                        engine: Some(engine),
                        owned,
                        told,
                        ..
                    } = &mut self.instances[owner]
                    else {
                        continue;
                    };
                    if let Some(owned) = owned.get_mut(&partition).filter(|owned| !owned.revoked) {
                        owned.revoked = true;
                        *told = true;
                        engine.revoked(partition, self.now + drain);
                    }
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn finish_commit(&mut self, index: usize) -> Checked {
        let now = self.now;
        let Some(committing) = self.instances[index]
            .committing
            .take_if(|committing| committing.done_at <= now)
        else {
            return Ok(());
        };
        if self.instances[index].aborts > 0 {
            self.instances[index].aborts -= 1;
            let done_at = now + self.commit_time();
            self.instances[index].committing = Some(Commiting {
                done_at,
                ..committing
            });
            return Ok(());
        }
        self.instances[index].told = true;
        let refused: Vec<usize> = (0..)
            .zip(&committing.batch.endings)
            .filter(|(_, ending)| self.is_refused(ending))
            .map(|(at, _)| at)
            .collect();
        if committing.late || !refused.is_empty() {
            if let Some(engine) = &mut self.instances[index].engine {
                engine.not_settled(
                    committing.batch.id,
                    &Unsettled {
                        refused,
                        late: committing.late,
                    },
                    now,
                );
            }
            return Ok(());
        }
        self.commit(index, &committing.batch)?;
        if let Some(engine) = &mut self.instances[index].engine {
            engine.settled(committing.batch.id, now);
        }
        Ok(())
    }

    pub(super) fn is_refused(&self, ending: &Ending<Record, ()>) -> bool {
        self.refused
            .get(&ending.update.user)
            .is_some_and(|until| *until > self.now)
    }

    /// Whether the batch is too large for the link.
    pub(super) fn is_late(&self, batch: &Batch<Record, ()>) -> bool {
        let bytes: usize = batch.endings.iter().map(|ending| ending.update.size).sum();
        self.link
            .is_some_and(|(most, until)| until > self.now && bytes > most)
    }

    pub(super) fn commit_time(&mut self) -> Duration {
        let slow = self.slow_commits.filter(|(_, until)| *until > self.now);
        slow.map_or(Duration::from_millis(self.rng.u64(1..20)), |(time, _)| time)
    }

    /// The broker takes a transaction, but for partitions whose assignment is not this one any
    /// more.
    pub(super) fn commit(&mut self, index: usize, batch: &Batch<Record, ()>) -> Checked {
        let owns = |owner: &Option<(usize, u64)>, partition: i32, epoch: u64| {
            let assigned = self.instances[index].owned.get(&partition);
            assigned.is_some_and(|owned| {
                owned.epoch == epoch && *owner == Some((index, owned.assignment))
            })
        };
        let valid: Vec<_> = batch
            .commits
            .iter()
            .filter(|commit| {
                owns(
                    &self.owner[commit.partition as usize],
                    commit.partition,
                    commit.epoch,
                )
            })
            .cloned()
            .collect();
        for ending in &batch.endings {
            if valid
                .iter()
                .any(|commit| commit.partition == ending.update.partition)
            {
                self.check_merged(ending, batch)?;
                self.check_first(ending, batch)?;
                self.check_attempts(ending)?;
                let outcome =
                    &mut self.outcomes[ending.update.partition as usize][ending.update.index];
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
            self.longest_text = self.longest_text.max(commit.commit.metadata.len());
            self.committed[commit.partition as usize] = commit.commit;
        }
        Ok(())
    }
}
