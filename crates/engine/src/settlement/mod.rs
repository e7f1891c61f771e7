//! Settlement: what has ended goes into one transaction with the offsets, one transaction at a
//! time. Endings that their topics refuse go into transactions of their own, so that they hold up
//! no others.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use crate::aside::{Apart, Who};
use crate::assignment::Partition;
use crate::checkpoint::Commit;
use crate::engine::{COMMIT_INTERVAL, Engine, SETTLE_INTERVAL};
use crate::entries::Phase;
use crate::{Action, Batch, Ending, PartitionCommit, Ticket};

/// How long to wait before trying again where no ending fits into its partition's text.
const NOTHING_FITS_PAUSE: Duration = Duration::from_millis(250);
/// An ending that its topics refuse is tried again after this time.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// One that is too large for the link holds up the others for as long as a transaction may take. It
/// is tried again after this time.
const SLOW_PAUSE: Duration = Duration::from_secs(60);
/// An ending that is smaller cannot be too large for the link.
const LARGE: usize = 64 << 10;

/// The endings for one transaction: by partition their offsets, lowest first, with their tickets.
type Chosen = BTreeMap<i32, Vec<(i64, Ticket)>>;

/// What was taken for one transaction, and what of it goes back.
struct Portion {
    apart: Option<Apart>,
    tickets: Vec<Ticket>,
    /// They do not fit into the text of their partition.
    left: Vec<Ticket>,
    /// Of partitions whose text is full.
    skipped: Vec<Ticket>,
    commits: Vec<PartitionCommit>,
    bytes: usize,
}

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
        let going = !self.going.is_empty();
        self.hurry(now);
        let aside = self.aside.next_at().is_some_and(|at| at <= now);
        let ended = !self.ended.is_empty() && (now >= self.settle_not_before || going);
        let periodic = now >= self.commit_at;
        if self.settling.is_some() || !(ended || aside || periodic || going) {
            return;
        }
        if periodic {
            self.commit_at = now + COMMIT_INTERVAL;
        }
        // They take turns, so that neither waits for the other for ever.
        self.was_apart = aside && !(ended && self.was_apart);
        let Portion {
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

    /// Takes a portion of what has ended. If nothing of it fits into the text of its partitions,
    /// the next ones are looked at: a portion may be smaller than what does not fit.
    fn portion(&mut self, now: Instant, periodic: bool) -> Portion {
        let (mut sorted, mut full, mut skipped) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        loop {
            let mut bytes = 0;
            let (apart, taken) = match self.was_apart {
                true => self.take_apart_from(now, &mut bytes),
                false => (None, self.take_usual(&mut bytes, &full, &mut skipped)),
            };
            // Some may just have been put behind what is settled apart.
            self.hurry(now);
            let (commits, unfit) = self.commits(self.by_partition(&taken), periodic);
            let partition = |ticket: &Ticket| self.entries[*ticket].partition;
            let unfit_in: BTreeSet<i32> = unfit.iter().map(partition).collect();
            self.leave_to_next_owner(&unfit);
            // Those that did not fit into their partition's text stay for a later transaction.
            let stays = |ticket: &Ticket| commits.is_empty() || unfit.contains(ticket);
            let (left, tickets): (Vec<Ticket>, Vec<Ticket>) = taken.into_iter().partition(stays);
            if !commits.is_empty() || unfit.is_empty() || apart.is_some() {
                return Portion {
                    apart,
                    tickets,
                    left,
                    skipped,
                    commits,
                    bytes,
                };
            }
            self.put_back(left, None, now);
            // Each time one more partition is sorted or full, or updates were left to the next
            // owner: so this ends.
            for partition in unfit_in.difference(&self.going.clone()) {
                if sorted.insert(*partition) {
                    self.lowest_first(*partition);
                } else {
                    full.insert(*partition);
                }
            }
        }
    }

    /// Sorts what has ended of a partition by its offsets, among the places in line that it has.
    fn lowest_first(&mut self, partition: i32) {
        let offset = |ticket: &Ticket| {
            let entry = &self.entries[*ticket];
            (entry.partition == partition).then_some(entry.offset)
        };
        let mut offsets: Vec<(i64, Ticket)> = self
            .ended
            .iter()
            .filter_map(|ticket| Some((offset(ticket)?, *ticket)))
            .collect();
        let places: Vec<usize> = (0..self.ended.len())
            .filter(|place| offset(&self.ended[*place]).is_some())
            .collect();
        offsets.sort_unstable();
        for (place, (_, ticket)) in places.into_iter().zip(offsets) {
            self.ended[place] = ticket;
        }
    }

    /// What is settled apart of a partition that must be let go is tried once more before.
    fn hurry(&mut self, now: Instant) {
        let (entries, going) = (&self.entries, &self.going);
        if !going.is_empty() {
            self.aside.hurry(now, |ticket| {
                let entry = &entries[*ticket];
                let in_vain = matches!(entry.phase(), Phase::Ended { in_vain: true, .. });
                going.contains(&entry.partition) && !in_vain
            });
        }
    }

    fn who(&self, ticket: Ticket) -> Who {
        let user = self.entries[ticket].user();
        user.map_or(Who::Record(ticket), Who::User)
    }

    /// The first that ended, as many as a portion takes. Those of a user of whom something is
    /// settled apart wait behind that; those of a partition whose text is full are skipped.
    fn take_usual(
        &mut self,
        bytes: &mut usize,
        full: &BTreeSet<i32>,
        skipped: &mut Vec<Ticket>,
    ) -> Vec<Ticket> {
        let portion = *self.portions.of(None);
        let mut taken = Vec::new();
        while let Some(ticket) = self.ended.front().copied() {
            let entry = &self.entries[ticket];
            let who = entry.user().map_or(Who::Record(ticket), Who::User);
            if self.aside.holds(who) {
                self.aside.push_back(who, ticket);
            } else if full.contains(&entry.partition) {
                skipped.push(ticket);
            } else if portion.takes(taken.len(), bytes, entry.size) {
                taken.push(ticket);
            } else {
                break;
            }
            self.ended.pop_front();
        }
        taken
    }

    /// Those that are settled apart and whose time has come, as many as a portion takes.
    fn take_apart_from(&mut self, now: Instant, bytes: &mut usize) -> (Option<Apart>, Vec<Ticket>) {
        let (entries, portions, mut count) = (&self.entries, &mut self.portions, 0);
        let taken = self.aside.take(now, |apart, ticket| {
            let size = entries[ticket].size;
            let fits = portions.of(Some(apart)).takes(count, bytes, size);
            count += usize::from(fits);
            fits
        });
        taken.map_or((None, Vec::new()), |(apart, taken)| (Some(apart), taken))
    }

    /// Endings that were taken and not settled go back to where they were, unless they were left to
    /// the next owner.
    fn put_back(&mut self, left: Vec<Ticket>, apart: Option<Apart>, at: Instant) {
        for ticket in left.into_iter().rev() {
            if matches!(self.entries[ticket].phase(), Phase::Ended { .. }) {
                match apart {
                    None => self.ended.push_front(ticket),
                    Some(apart) => self.aside.put_front(self.who(ticket), ticket, apart, at),
                }
            }
        }
    }

    /// Endings of a partition that goes, for which its last commit has no room: the next owner
    /// calls those again.
    fn leave_to_next_owner(&mut self, unfit: &HashSet<Ticket>) {
        for ticket in unfit {
            let entry = &mut self.entries[*ticket];
            if let Some(partition) = self
                .partitions
                .get_mut(&entry.partition)
                .filter(|partition| partition.is_going())
            {
                partition.leave_from(entry.offset);
                entry.leave_to_next_owner();
            }
        }
    }

    fn by_partition(&self, tickets: &[Ticket]) -> Chosen {
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

    /// What to commit for each partition, and the endings whose offsets do not fit into its text.
    fn commits(
        &self,
        mut chosen: Chosen,
        periodic: bool,
    ) -> (Vec<PartitionCommit>, HashSet<Ticket>) {
        let (mut commits, mut unfit) = (Vec::new(), HashSet::new());
        for (number, partition) in &self.partitions {
            let endings = chosen.remove(number);
            if endings.is_none() && !periodic && !partition.is_going() {
                continue;
            }
            let endings = endings.unwrap_or_default();
            let offsets: Vec<i64> = endings.iter().map(|(offset, _)| *offset).collect();
            let (commit, fitting) = self.fit(partition, &offsets[..partition.may_settle(&offsets)]);
            unfit.extend(endings[fitting..].iter().map(|(_, ticket)| *ticket));
            let Some(commit) = commit else { continue };
            if partition.ledger.is_news(&commit) {
                let commit = PartitionCommit {
                    partition: *number,
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
        partition.ledger.commit(settling, spent)
    }

    /// Whether a commit would say anything new of this partition.
    pub(super) fn has_news(&self, partition: &Partition) -> bool {
        self.commit(partition, &[])
            .is_some_and(|commit| partition.ledger.is_news(&commit))
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
            if let Some(assigned) = self
                .partitions
                .get_mut(&partition)
                .filter(|assigned| assigned.epoch == epoch)
            {
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
            ..
        }) = self.taken(batch)
        else {
            return;
        };
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
            entry.not_settled(is_refused && self.going.contains(&entry.partition));
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
