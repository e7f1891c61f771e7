//! Settlement: what has ended goes into one transaction with the offsets, one transaction at a time.

use std::collections::{BTreeMap, BTreeSet};
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

/// The batch that is being committed.
#[derive(Debug)]
pub struct Settling {
    id: u64,
    tickets: Vec<Ticket>,
    commits: Vec<PartitionCommit>,
}

impl<U, F> Engine<U, F> {
    /// Starts a transaction if none is under way and there is something to commit.
    pub(super) fn settle(&mut self, now: Instant) {
        let going = self.partitions.values().any(Partition::is_going);
        let ended = !self.ended.is_empty() && (now >= self.settle_not_before || going);
        let periodic = now >= self.commit_at;
        if self.settling.is_some() || !(ended || periodic || going) {
            return;
        }
        if periodic {
            self.commit_at = now + COMMIT_INTERVAL;
        }
        let wanted = self.choose();
        let mut chosen = wanted.clone();
        let commits = self.commits(&mut chosen, periodic);
        self.leave_to_next_owner(&wanted, &chosen);
        // Where nothing fits, only the end of the lowest offset changes that: no hurry.
        let pause = if commits.is_empty() { NOTHING_FITS_PAUSE } else { SETTLE_INTERVAL };
        self.settle_not_before = now + pause;
        if commits.is_empty() {
            return;
        }
        let settled: BTreeSet<Ticket> = chosen.values().flatten().map(|(_, ticket)| *ticket).collect();
        // Those that did not fit into their partition's text stay for a later transaction.
        let (tickets, left): (Vec<_>, Vec<_>) = self.ended.drain(..).partition(|ticket| settled.contains(ticket));
        self.ended = left.into();
        let batch = self.batch(tickets, commits);
        self.actions.push(Action::Settle(batch));
    }

    /// Endings of a partition that goes, for which its last commit has no room: the next owner calls those again.
    fn leave_to_next_owner(&mut self, wanted: &BTreeMap<i32, BTreeSet<(i64, Ticket)>>, chosen: &BTreeMap<i32, BTreeSet<(i64, Ticket)>>) {
        for (number, wanted) in wanted {
            let going = self.partitions.get(number).is_some_and(Partition::is_going);
            if let Some(chosen) = chosen.get(number).filter(|_| going) {
                for (_, ticket) in wanted.difference(chosen) {
                    self.abandon(*ticket);
                    self.ended.retain(|ended| ended != ticket);
                }
            }
        }
    }

    /// The endings for one transaction, by partition: the first that ended, as many as one transaction takes.
    fn choose(&self) -> BTreeMap<i32, BTreeSet<(i64, Ticket)>> {
        let mut chosen: BTreeMap<i32, BTreeSet<(i64, Ticket)>> = BTreeMap::new();
        let mut bytes = 0;
        for ticket in self.ended.iter().take(MAX_ENDINGS) {
            let Some(entry) = self.entries.get(ticket) else { continue };
            bytes += entry.size;
            if bytes > MAX_BYTES && !chosen.is_empty() {
                break;
            }
            chosen.entry(entry.partition).or_default().insert((entry.offset, *ticket));
        }
        chosen
    }

    /// What to commit for each partition. Endings whose offsets do not fit into the text are taken out of `chosen`.
    fn commits(&self, chosen: &mut BTreeMap<i32, BTreeSet<(i64, Ticket)>>, periodic: bool) -> Vec<PartitionCommit> {
        let mut commits = Vec::new();
        for (number, partition) in &self.partitions {
            let endings = chosen.get_mut(number);
            if endings.is_none() && !periodic && !partition.is_going() {
                continue;
            }
            let commit = match endings {
                Some(endings) => self.fit(partition, endings),
                None => self.commit(partition, &BTreeSet::new()),
            };
            let Some(commit) = commit else { continue };
            if partition.ledger.is_news(&commit) {
                let commit = PartitionCommit { partition: *number, epoch: partition.epoch, commit };
                commits.push(commit);
            }
        }
        commits
    }

    /// Narrows the endings to the lowest offsets, as many as the commit's text has room for.
    fn fit(&self, partition: &Partition, endings: &mut BTreeSet<(i64, Ticket)>) -> Option<Commit> {
        if let Some(commit) = self.commit(partition, endings) {
            return Some(commit);
        }
        let all: Vec<(i64, Ticket)> = endings.iter().copied().collect();
        let (mut fits, mut too_many) = (0, all.len());
        let mut best = None;
        while fits + 1 < too_many {
            let middle = fits.midpoint(too_many);
            *endings = all[..middle].iter().copied().collect();
            match self.commit(partition, endings) {
                Some(commit) => (fits, best) = (middle, Some(commit)),
                None => too_many = middle,
            }
        }
        *endings = all[..fits].iter().copied().collect();
        // Even where none of them fits, other things may be new: attempts, or what was passed over.
        best.or_else(|| self.commit(partition, endings))
    }

    fn commit(&self, partition: &Partition, endings: &BTreeSet<(i64, Ticket)>) -> Option<Commit> {
        let offsets: BTreeSet<i64> = endings.iter().map(|(offset, _)| *offset).collect();
        partition
            .ledger
            .commit(|offset| offsets.contains(&offset), |ticket| self.entries.get(&ticket).map(|entry| entry.spent).unwrap_or_default())
    }

    /// Whether a commit would say anything new of this partition.
    pub(super) fn has_news(&self, partition: &Partition) -> bool {
        self.commit(partition, &BTreeSet::new()).is_some_and(|commit| partition.ledger.is_news(&commit))
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
