//! Settlement: what has ended goes into one transaction with the offsets, one transaction at a
//! time. Endings that their topics refuse go into transactions of their own, so that they hold up
//! no others.

mod commits;
mod taken;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::aside::{Apart, Who};
use crate::engine::{COMMIT_INTERVAL, Engine, SETTLE_INTERVAL};
use crate::{Action, Batch, Ending, PartitionCommit, Ticket};
use taken::Taken;

/// How long to wait before trying again where no ending fits into its partition's text.
const NOTHING_FITS_PAUSE: Duration = Duration::from_millis(250);
/// An ending that its topics refuse is tried again after this time.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// One that is too large for the link holds up the others for as long as a transaction may take. It
/// is tried again after this time.
const SLOW_PAUSE: Duration = Duration::from_secs(60);
/// An ending that is smaller cannot be too large for the link.
const LARGE: usize = 64 << 10;

/// The batch that is being committed.
#[derive(Debug)]
pub struct Settling {
    id: u64,
    tickets: Vec<Ticket>,
    commits: Vec<PartitionCommit>,
    /// Its endings are settled apart.
    apart: Option<Apart>,
    bytes: usize,
    began: Instant,
}

impl Settling {
    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }
}

/// Why a batch was not committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// The places, within the batch, of endings whose topics refuse them for now.
    pub refused: Vec<usize>,
    /// It did not get through in time.
    pub late: bool,
}

impl<U, F> Engine<U, F> {
    /// Starts a transaction if none is under way and there is something to commit.
    pub(super) fn settle(&mut self, now: Instant) {
        let going = self.partitions.any_going();
        self.hurry(now);
        let aside = self.aside.next_at().is_some_and(|at| at <= now);
        let ended = !self.ended.is_empty() && (now >= self.settle_not_before || going);
        let periodic = now >= self.commit_at;
        let slots = self.guarding.is_on()
            && now >= self.settle_not_before
            && self.partitions.any_slots_news();
        if self.settling.is_some() || !(ended || aside || periodic || going || slots) {
            return;
        }
        if periodic {
            self.commit_at = now + COMMIT_INTERVAL;
        }
        // They take turns, so that neither waits for the other for ever.
        self.was_apart = aside && !(ended && self.was_apart);
        let Taken {
            apart,
            tickets,
            left,
            skipped,
            commits,
            bytes,
        } = self.portion(now, periodic);
        // If nothing fits, only the end of the lowest offset changes that: no hurry.
        let pause = if commits.is_empty() {
            NOTHING_FITS_PAUSE
        } else {
            SETTLE_INTERVAL
        };
        self.put_back(left, apart, now + pause);
        self.put_back(skipped, None, now);
        self.choked = ended && tickets.is_empty() && !self.ended.is_empty();
        self.settle_not_before = now + pause;
        if commits.is_empty() {
            return;
        }
        for commit in &commits {
            self.partitions[commit.partition].slots.offer();
        }
        let id = self.next_batch;
        self.next_batch += 1;
        let endings = self.endings(&tickets);
        self.settling = Some(Settling {
            id,
            tickets,
            commits: commits.clone(),
            apart,
            bytes,
            began: now,
        });
        self.actions.push(Action::Settle(Batch {
            id,
            endings,
            commits,
        }));
    }

    fn endings(&mut self, tickets: &[Ticket]) -> Vec<Ending<U, F>> {
        let ending = |ticket: &Ticket| {
            let entry = &mut self.entries[*ticket];
            Ending {
                end: entry.settle(),
                update: entry.update.clone(),
                spent: entry.spent,
                facts: entry.facts.clone(),
            }
        };
        tickets.iter().map(ending).collect()
    }

    /// The batch that is being committed, to which an answer has come.
    fn taken(&mut self, batch: u64) -> Option<Settling> {
        let settling = self.settling.take_if(|settling| settling.id == batch);
        debug_assert!(settling.is_some(), "batch {batch} is not being committed");
        settling
    }

    /// The batch was committed, except for partitions that were lost meanwhile.
    pub fn settled(&mut self, batch: u64, now: Instant) {
        let Some(settling) = self.taken(batch) else {
            return;
        };
        let took = now.saturating_duration_since(settling.began);
        self.portions
            .of(settling.apart)
            .got_through(settling.tickets.len(), settling.bytes, took);
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for ticket in settling.tickets {
            // Nothing is left of those whose partition was lost meanwhile.
            if let Some(entry) = self.entries.remove(ticket) {
                let settled = offsets.entry(entry.partition).or_default();
                settled.push(entry.offset);
            }
        }
        for PartitionCommit {
            partition,
            epoch,
            commit,
        } in settling.commits
        {
            // A partition that was lost, and perhaps came back, knows nothing of this batch.
            if let Some(assigned) = self
                .partitions
                .get_mut(partition)
                .filter(|assigned| assigned.epoch == epoch)
            {
                assigned.slots.committed();
                assigned
                    .ledger
                    .committed(commit, offsets.remove(&partition).unwrap_or_default());
            }
        }
    }

    /// The batch was certainly not committed. What its topics refuse, and what does not get through
    /// in time by itself, is settled apart from now on; the rest at once, in a smaller portion if
    /// it was late.
    pub fn not_settled(&mut self, batch: u64, why: &Unsettled, now: Instant) {
        let Some(Settling {
            tickets,
            apart,
            bytes,
            commits,
            ..
        }) = self.taken(batch)
        else {
            return;
        };
        for PartitionCommit {
            partition, epoch, ..
        } in commits
        {
            let assigned = self.partitions.get_mut(partition);
            if let Some(assigned) = assigned.filter(|assigned| assigned.epoch == epoch) {
                assigned.slots.not_committed();
            }
        }
        let alone = tickets.len() == 1;
        if why.late && !tickets.is_empty() {
            self.portions.of(apart).halve(tickets.len(), bytes);
        }
        let slow = why.late && alone && bytes >= LARGE;
        let places = if why.late && alone {
            &[0][..]
        } else {
            &why.refused[..]
        };
        let refused: HashSet<Who> = places
            .iter()
            .filter_map(|place| tickets.get(*place))
            .filter(|ticket| self.entries.get(**ticket).is_some())
            .map(|ticket| self.who(*ticket))
            .collect();
        let (kind, later) = if slow {
            (Apart::Slow, now + SLOW_PAUSE)
        } else {
            (Apart::Refused, now + REFUSED_PAUSE)
        };
        for ticket in tickets.into_iter().rev() {
            // Nothing is left of those whose partition was lost meanwhile.
            if self.entries.get(ticket).is_none() {
                continue;
            }
            let who = self.who(ticket);
            let is_refused = refused.contains(&who);
            let entry = &mut self.entries[ticket];
            entry.not_settled(is_refused && self.partitions.is_going(entry.partition));
            match apart {
                _ if is_refused => self.aside.put_front(who, ticket, kind, later),
                Some(apart) => self.aside.put_front(who, ticket, apart, now),
                None => self.ended.push_front(ticket),
            }
        }
        self.settle_not_before = now;
    }
}

#[cfg(test)]
mod tests;
