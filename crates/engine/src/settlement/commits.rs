//! Commits: one for each partition, with as many endings as its text has room for.

use std::collections::{BTreeMap, HashSet};

use crate::checkpoint::Commit;
use crate::engine::Engine;
use crate::partitions::Partition;
use crate::{PartitionCommit, Ticket};

/// The endings for one transaction: by partition their offsets, lowest first, with their tickets.
pub(super) type Chosen = BTreeMap<i32, Vec<(i64, Ticket)>>;

impl<U, F> Engine<U, F> {
    pub(super) fn by_partition(&self, tickets: &[Ticket]) -> Chosen {
        let mut chosen = Chosen::new();
        for ticket in tickets {
            let entry = &self.entries[*ticket];
            let endings = chosen.entry(entry.partition).or_default();
            endings.push((entry.offset, *ticket));
        }
        chosen
            .values_mut()
            .for_each(|endings| endings.sort_unstable());
        chosen
    }

    /// A commit for each partition, and the endings whose offsets do not fit into its text.
    pub(super) fn commits(
        &self,
        mut chosen: Chosen,
        periodic: bool,
    ) -> (Vec<PartitionCommit>, HashSet<Ticket>) {
        let (mut commits, mut unfit) = (Vec::new(), HashSet::new());
        for (number, partition) in self.partitions.iter() {
            let endings = chosen.remove(&number);
            let is_asked = periodic || partition.is_going() || partition.slots.is_news();
            if endings.is_none() && !is_asked {
                continue;
            }
            let endings = endings.unwrap_or_default();
            let offsets: Vec<i64> = endings.iter().map(|(offset, _)| *offset).collect();
            let (commit, fitting) = self.fit(partition, &offsets[..partition.may_settle(&offsets)]);
            unfit.extend(endings[fitting..].iter().map(|(_, ticket)| *ticket));
            let Some(commit) = commit else { continue };
            if partition.ledger.is_news(&commit) || partition.slots.is_news() {
                let commit = PartitionCommit {
                    partition: number,
                    epoch: partition.epoch,
                    commit,
                };
                commits.push(commit);
            }
        }
        (commits, unfit)
    }

    /// The commit with as many of the endings as its text has room for, lowest first, and how many
    /// those are.
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
        let spent = |ticket: Ticket| self.entries[ticket].spent;
        let room = self.guarding.room();
        let mut commit = partition.ledger.commit(settling, spent, room)?;
        if self.guarding.is_on() {
            commit.metadata.push_str(&partition.slots.taken().text());
        }
        Some(commit)
    }

    /// Whether a commit would say anything new of this partition.
    pub(crate) fn has_news(&self, partition: &Partition) -> bool {
        self.commit(partition, &[])
            .is_some_and(|commit| partition.ledger.is_news(&commit))
    }
}
