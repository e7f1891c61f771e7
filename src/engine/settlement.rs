//! Settlement: what has ended goes into one transaction with the offsets, one transaction at a time.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::assignment::Partition;
use super::checkpoint::Commit;
use super::core::{COMMIT_INTERVAL, Engine, Phase, SETTLE_INTERVAL};
use super::{Action, Batch, Ending, PartitionCommit, Ticket};

/// Endings in one transaction at the most…
const MAX_ENDINGS: usize = 10_000;
/// …and bytes of their records, since dead letters carry them along.
const MAX_BYTES: usize = 32 << 20;

/// How long to wait before trying again where no ending fits into its partition's text.
const NOTHING_FITS_PAUSE: Duration = Duration::from_millis(250);

/// The endings for one transaction: by partition their offsets, lowest first, with their tickets.
type Chosen = BTreeMap<i32, Vec<(i64, Ticket)>>;

/// The batch that is being committed.
#[derive(Debug)]
pub struct Settling {
    id: u64,
    tickets: Vec<Ticket>,
    commits: Vec<PartitionCommit>,
}

impl Settling {
    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }
}

impl<U, F> Engine<U, F> {
    /// Starts a transaction if none is under way and there is something to commit.
    pub(super) fn settle(&mut self, now: Instant) {
        let going = !self.going.is_empty();
        let ended = !self.ended.is_empty() && (now >= self.settle_not_before || going);
        let periodic = now >= self.commit_at;
        if self.settling.is_some() || !(ended || periodic || going) {
            return;
        }
        if periodic {
            self.commit_at = now + COMMIT_INTERVAL;
        }
        let (chosen, looked_at) = self.choose();
        let (commits, unfit) = self.commits(chosen, periodic);
        self.leave_to_next_owner(&unfit);
        // Those that did not fit into their partition's text stay for a later transaction.
        let stays = |ticket: &Ticket| commits.is_empty() || unfit.contains(ticket);
        let (left, tickets): (Vec<Ticket>, Vec<Ticket>) = self.ended.drain(..looked_at).partition(stays);
        for ticket in left.into_iter().rev() {
            if self.entries.get(&ticket).is_some_and(|entry| matches!(entry.phase, Phase::Ended(_))) {
                self.ended.push_front(ticket);
            }
        }
        // Where nothing fits, only the end of the lowest offset changes that: no hurry.
        let pause = if commits.is_empty() { NOTHING_FITS_PAUSE } else { SETTLE_INTERVAL };
        self.settle_not_before = now + pause;
        if commits.is_empty() {
            return;
        }
        let batch = self.batch(tickets, commits);
        self.actions.push(Action::Settle(batch));
    }

    /// Endings of a partition that goes, for which its last commit has no room: the next owner calls those again.
    fn leave_to_next_owner(&mut self, unfit: &HashSet<Ticket>) {
        for ticket in unfit {
            let partition = self.entries.get(ticket).map(|entry| entry.partition);
            if partition.is_some_and(|partition| self.going.contains(&partition)) {
                self.abandon(*ticket);
            }
        }
    }

    /// The endings for one transaction: the first that ended, as many as one transaction takes; and how many were looked at.
    fn choose(&self) -> (Chosen, usize) {
        let mut chosen = Chosen::new();
        let (mut bytes, mut looked_at) = (0, 0);
        for ticket in self.ended.iter().take(MAX_ENDINGS) {
            if let Some(entry) = self.entries.get(ticket) {
                bytes += entry.size;
                if bytes > MAX_BYTES && !chosen.is_empty() {
                    break;
                }
                chosen.entry(entry.partition).or_default().push((entry.offset, *ticket));
            }
            looked_at += 1;
        }
        chosen.values_mut().for_each(|endings| endings.sort_unstable());
        (chosen, looked_at)
    }

    /// What to commit for each partition, and the endings whose offsets do not fit into its text.
    fn commits(&self, mut chosen: Chosen, periodic: bool) -> (Vec<PartitionCommit>, HashSet<Ticket>) {
        let (mut commits, mut unfit) = (Vec::new(), HashSet::new());
        for (number, partition) in &self.partitions {
            let endings = chosen.remove(number);
            if endings.is_none() && !periodic && !partition.is_going() {
                continue;
            }
            let endings = endings.unwrap_or_default();
            let offsets: Vec<i64> = endings.iter().map(|(offset, _)| *offset).collect();
            let (commit, fitting) = self.fit(partition, &offsets);
            unfit.extend(endings[fitting..].iter().map(|(_, ticket)| *ticket));
            let Some(commit) = commit else { continue };
            if partition.ledger.is_news(&commit) {
                let commit = PartitionCommit { partition: *number, epoch: partition.epoch, commit };
                commits.push(commit);
            }
        }
        (commits, unfit)
    }

    /// The commit with as many of the endings as its text has room for, lowest first, and how many those are.
    fn fit(&self, partition: &Partition, offsets: &[i64]) -> (Option<Commit>, usize) {
        if let Some(commit) = self.commit(partition, offsets) {
            return (Some(commit), offsets.len());
        }
        let (mut fits, mut too_many) = (0, offsets.len());
        let mut best = None;
        while fits + 1 < too_many {
            let middle = fits.midpoint(too_many);
            match self.commit(partition, &offsets[..middle]) {
                Some(commit) => (fits, best) = (middle, Some(commit)),
                None => too_many = middle,
            }
        }
        // Even where none of them fits, other things may be new: attempts, or what was passed over.
        (best.or_else(|| self.commit(partition, &[])), fits)
    }

    fn commit(&self, partition: &Partition, settling: &[i64]) -> Option<Commit> {
        partition.ledger.commit(settling, |ticket| self.entries.get(&ticket).map(|entry| entry.spent).unwrap_or_default())
    }

    /// Whether a commit would say anything new of this partition.
    pub(super) fn has_news(&self, partition: &Partition) -> bool {
        self.commit(partition, &[]).is_some_and(|commit| partition.ledger.is_news(&commit))
    }

    fn batch(&mut self, tickets: Vec<Ticket>, commits: Vec<PartitionCommit>) -> Batch<U, F> {
        let mut endings = Vec::with_capacity(tickets.len());
        for ticket in &tickets {
            if let Some(entry) = self.entries.get_mut(ticket)
                && let Phase::Ended(end) = entry.phase
            {
                entry.phase = Phase::Settling;
                let (update, facts) = (entry.update.clone(), entry.facts.clone());
                endings.push(Ending { update, end, spent: entry.spent, facts });
            }
        }
        let id = self.next_batch;
        self.next_batch += 1;
        self.settling = Some(Settling { id, tickets, commits: commits.clone() });
        Batch { id, endings, commits }
    }

    /// The batch was committed, except for partitions that were lost meanwhile.
    pub fn settled(&mut self, batch: u64) {
        let Some(settling) = self.settling.take_if(|settling| settling.id == batch) else { return };
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for ticket in settling.tickets {
            if let Some(entry) = self.entries.get(&ticket) {
                offsets.entry(entry.partition).or_default().push(entry.offset);
            }
            self.forget(ticket);
        }
        for PartitionCommit { partition, epoch, commit } in settling.commits {
            if let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.epoch == epoch) {
                assigned.ledger.committed(commit, offsets.remove(&partition).unwrap_or_default());
            }
        }
    }
}
