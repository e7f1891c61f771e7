//! Faults that befall instances and their APIs, and updates of others that come all the time.

use std::time::{Duration, Instant};

use super::super::plan::{Fault, Kind, Plan, SMALL};
use super::{BACKGROUND, BACKLOG, Checked, Record, World};

/// Whether it can leave something that was called to the next owner of its partition.
pub(super) fn is_wild(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Crash { .. } | Fault::Freeze { .. } | Fault::Refuse { .. } | Fault::Link { .. }
    )
}

/// When the faults come, the last first, and when there is neither a fault nor a new record any
/// more.
pub(super) fn faults_of(plan: &Plan, start: Instant) -> (Vec<(Instant, Fault)>, Instant) {
    let mut faults = Vec::new();
    let after: u64 = plan.records.iter().map(|planned| planned.after).sum();
    let (mut fault_at, mut quiet_at) = (start, start + Duration::from_millis(after));
    for (after, fault) in &plan.faults {
        fault_at += Duration::from_millis(*after);
        let lasts = match fault {
            Fault::Crash { back_after, .. } | Fault::Leave { back_after, .. } => *back_after,
            Fault::Freeze { millis, .. }
            | Fault::Outage { millis, .. }
            | Fault::SlowCommits { millis, .. }
            | Fault::Refuse { millis, .. }
            | Fault::Link { millis, .. }
            | Fault::Allow { millis }
            | Fault::Refusal { millis } => *millis,
            Fault::Abort { .. } | Fault::Settings { .. } => 0,
        };
        quiet_at = quiet_at.max(fault_at + Duration::from_millis(lasts));
        faults.push((fault_at, *fault));
    }
    if plan.guard.is_some() {
        // Somebody has looked at it.
        let millis = u64::from(u32::MAX);
        faults.push((quiet_at, Fault::Allow { millis }));
    }
    faults.reverse();
    (faults, quiet_at)
}

impl World<'_> {
    /// Somebody is always delivered, so that an odd update comes to its end.
    pub(super) fn background(&mut self) {
        if self.now >= self.next_background {
            for (partition, log) in (0..).zip(&mut self.log) {
                let offset = log.last().map_or(0, |record| record.offset + 1);
                // In a crowded history it is the text beside the offset that has no room, and only
                // a delivery helps.
                let waits = |place: usize| {
                    log[place].user >= BACKGROUND
                        && self.outcomes[partition as usize][place].is_none()
                };
                let behind =
                    !self.plan.crowded && log.len().checked_sub(BACKLOG).is_some_and(waits);
                // Not before the planned records of that partition, whose places are fixed.
                if log.last().is_none_or(|record| record.at <= self.now) && !behind {
                    let user = BACKGROUND + partition as u64;
                    log.push(Record {
                        partition,
                        offset,
                        index: log.len(),
                        user,
                        kind: Kind::Good,
                        fields: 1,
                        strips: 0,
                        size: SMALL,
                        at: self.now,
                    });
                    self.outcomes[partition as usize].push(None);
                    self.taken[partition as usize].push(false);
                }
            }
            self.next_background = self.now + Duration::from_millis(700);
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Checked {
        let now = self.now;
        let count = self.instances.len();
        match fault {
            Fault::Crash {
                instance,
                back_after,
            } => self.crash(instance % count, now + Duration::from_millis(back_after))?,
            Fault::Leave {
                instance,
                back_after,
            } => {
                let instance = &mut self.instances[instance % count];
                if instance.engine.is_some() && instance.frozen_until.is_none() && !instance.leaving
                {
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
            Fault::Outage { mood, millis } => {
                self.mood = Some((mood, now + Duration::from_millis(millis)));
                self.outages += 1;
            }
            Fault::Abort { instance, times } => self.instances[instance % count].aborts += times,
            // Crowded histories are about a text that is full, and other settings would empty it.
            Fault::Settings {
                max_concurrency,
                max_waiting,
                merge,
            } if !self.plan.crowded => {
                (self.max_concurrency, self.max_waiting, self.merge) =
                    (max_concurrency, max_waiting, merge);
                self.most_waiting = self.most_waiting.max(max_waiting);
                self.ever_merged |= merge;
                let settings = self.settings();
                for instance in &mut self.instances {
                    if let Some(engine) = &mut instance.engine {
                        engine.settings(settings, now);
                        instance.told = true;
                    }
                }
            }
            Fault::Settings { .. } => {}
            Fault::SlowCommits {
                commit_millis,
                millis,
            } => {
                self.slow_commits = Some((
                    Duration::from_millis(commit_millis),
                    now + Duration::from_millis(millis),
                ));
            }
            Fault::Refuse { user, millis } => {
                self.refused
                    .insert(user, now + Duration::from_millis(millis));
            }
            Fault::Allow { millis } => self.decide(Some(millis), None),
            Fault::Refusal { millis } => self.decide(None, Some(millis)),
            Fault::Link { bytes, millis } => {
                self.link = Some((bytes, now + Duration::from_millis(millis)))
            }
        }
        Ok(())
    }
}
