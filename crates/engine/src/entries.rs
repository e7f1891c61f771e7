//! Entries: all records of ours in memory, from arrival until settled. An entry owns its update and
//! says how far it has come; everything else knows it by its ticket.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::Spent;
use crate::numbers::{NumberMap, Spread};
use crate::proof::Failure;
use crate::verdict::Reason;
use crate::{End, Ticket, UserKey, Work};

/// How far an update has come. Only the methods below lead from one phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In its lane, not called here yet.
    Waiting,
    /// Being called.
    InFlight(Attempts),
    /// In its lane, to be called again.
    WaitingRetry(Attempts),
    /// Ended, not yet in a batch. `in_vain`: its topics refused it while its partition had to be
    /// let go.
    Ended { end: End, in_vain: bool },
    /// In the batch that is being committed.
    Settling(End),
    /// Its partition goes, and it was not finished: the next owner's.
    Abandoned,
}

impl Phase {
    fn attempts(&self) -> Option<&Attempts> {
        match self {
            Phase::InFlight(attempts) | Phase::WaitingRetry(attempts) => Some(attempts),
            Phase::Waiting | Phase::Ended { .. } | Phase::Settling(_) | Phase::Abandoned => None,
        }
    }
}

/// The calls of an update in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempts {
    /// When the first one began.
    pub(super) first_started: Instant,
    /// When the last one began.
    pub(super) started: Instant,
    /// Failures in a row, for the backoff.
    pub(super) in_a_row: u32,
    /// Failures of merged calls that began with this update.
    pub(super) merged_failures: u32,
    /// The last failure that may be the update's own fault.
    pub(super) failure: Option<Failure>,
}

impl Attempts {
    fn first(now: Instant) -> Self {
        Attempts {
            first_started: now,
            started: now,
            in_a_row: 0,
            merged_failures: 0,
            failure: None,
        }
    }
}

/// One record of ours.
#[derive(Debug)]
pub(super) struct Entry<U, F> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) update: Arc<U>,
    pub(super) work: Work,
    pub(super) size: usize,
    /// It is not sent together with others.
    pub(super) alone: bool,
    pub(super) spent: Spent,
    pub(super) facts: Option<Arc<F>>,
    phase: Phase,
}

impl<U, F> Entry<U, F> {
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn user(&self) -> Option<UserKey> {
        match self.work {
            Work::Call { user, .. } => Some(user),
            Work::Dead { user, .. } => user,
        }
    }

    pub(super) fn is_in_lane(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::WaitingRetry(_))
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    fn expires_at(&self) -> Option<Instant> {
        match self.work {
            Work::Call { expires_at, .. } => expires_at,
            Work::Dead { .. } => None,
        }
    }

    /// Its ending goes into a batch.
    pub(super) fn settle(&mut self) -> End {
        let Phase::Ended { end, .. } = self.phase else {
            unreachable!("what has not ended is settled: {:?}", self.phase)
        };
        self.phase = Phase::Settling(end);
        end
    }

    /// Its batch was not committed.
    pub(super) fn not_settled(&mut self, in_vain: bool) {
        let Phase::Settling(end) = self.phase else {
            unreachable!("what was in no batch is not settled: {:?}", self.phase)
        };
        self.phase = Phase::Ended { end, in_vain };
    }

    /// It has ended, and its partition's last commit has no room for it.
    pub(super) fn leave_to_next_owner(&mut self) {
        debug_assert!(matches!(self.phase, Phase::Ended { .. }));
        self.phase = Phase::Abandoned;
    }
}

/// An update leaves its lane: whose it was, and what its calls came to.
pub(super) struct Left {
    pub(super) partition: i32,
    pub(super) user: Option<UserKey>,
    pub(super) attempts: Option<Attempts>,
}

/// All entries, by their tickets, which count up in the order of arrival.
#[derive(Debug)]
pub(super) struct Entries<U, F> {
    by_ticket: NumberMap<Ticket, Entry<U, F>>,
    /// How many are in their lanes and not being called.
    waiting: usize,
    bytes: usize,
    /// Those in their lanes, being called or not, whose time will come.
    expiries: BTreeSet<(Instant, Ticket)>,
    next: u64,
}

impl<U, F> Entries<U, F> {
    /// There are none yet.
    pub(super) fn new(spread: Spread) -> Self {
        Entries {
            by_ticket: NumberMap::with_hasher(spread),
            waiting: 0,
            bytes: 0,
            expiries: BTreeSet::new(),
            next: 0,
        }
    }
}

/// For tickets that the engine itself keeps: they have entries.
impl<U, F> Index<Ticket> for Entries<U, F> {
    type Output = Entry<U, F>;

    fn index(&self, ticket: Ticket) -> &Entry<U, F> {
        self.by_ticket
            .get(&ticket)
            .unwrap_or_else(|| missing(ticket))
    }
}

impl<U, F> IndexMut<Ticket> for Entries<U, F> {
    fn index_mut(&mut self, ticket: Ticket) -> &mut Entry<U, F> {
        self.by_ticket
            .get_mut(&ticket)
            .unwrap_or_else(|| missing(ticket))
    }
}

#[cold]
fn missing(ticket: Ticket) -> ! {
    unreachable!("{ticket:?} has no entry")
}

impl<U, F> Entries<U, F> {
    pub(super) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<U, F>> {
        self.by_ticket.values()
    }

    /// For a ticket that may be gone: one from outside, or of a partition that may be lost.
    pub(super) fn get(&self, ticket: Ticket) -> Option<&Entry<U, F>> {
        self.by_ticket.get(&ticket)
    }

    /// A record arrived. It counts as waiting until it leaves.
    pub(super) fn add(
        &mut self,
        (partition, offset): (i32, i64),
        size: usize,
        update: Arc<U>,
        work: Work,
        spent: Spent,
    ) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.bytes += size;
        self.waiting += 1;
        let entry = Entry {
            partition,
            offset,
            update,
            work,
            size,
            alone: false,
            spent,
            facts: None,
            phase: Phase::Waiting,
        };
        if let Some(expires_at) = entry.expires_at() {
            self.expiries.insert((expires_at, ticket));
        }
        self.by_ticket.insert(ticket, entry);
        ticket
    }

    /// Its call begins. Returns its attempts before.
    pub(super) fn start(&mut self, ticket: Ticket, now: Instant) -> Option<Attempts> {
        self.waiting -= 1;
        let phase = &mut self[ticket].phase;
        let (before, attempts) = match *phase {
            Phase::Waiting => (None, Attempts::first(now)),
            Phase::WaitingRetry(before) => {
                let started = now;
                (Some(before), Attempts { started, ..before })
            }
            other => unreachable!("{ticket:?} is called though it is {other:?}"),
        };
        *phase = Phase::InFlight(attempts);
        before
    }

    /// Those that stand in their lanes, are not being called, and would be: in the order of
    /// arrival.
    pub(super) fn in_lanes(&self, is_meant: impl Fn(&U) -> bool) -> Vec<Ticket> {
        let is_meant = |entry: &Entry<U, F>| {
            let is_call = matches!(entry.work, Work::Call { .. });
            entry.is_in_lane() && is_call && is_meant(&entry.update)
        };
        let all = self.by_ticket.iter();
        let mut tickets: Vec<Ticket> = all
            .filter(|(_, entry)| is_meant(entry))
            .map(|(ticket, _)| *ticket)
            .collect();
        tickets.sort_unstable();
        tickets
    }

    /// It is not called any more: it ends as dead when its turn comes.
    pub(super) fn give_up(&mut self, ticket: Ticket, reason: Reason) {
        let entry = &mut self[ticket];
        let expires_at = entry.expires_at();
        entry.work = Work::Dead {
            user: entry.user(),
            reason,
        };
        if let Some(expires_at) = expires_at {
            self.expiries.remove(&(expires_at, ticket));
        }
    }

    /// The attempts of an update that is being called.
    pub(super) fn in_flight(&mut self, ticket: Ticket) -> &mut Attempts {
        match &mut self[ticket].phase {
            Phase::InFlight(attempts) => attempts,
            other => unreachable!("{ticket:?} is not being called, but {other:?}"),
        }
    }

    /// Its call failed, and it waits for another one. Returns how many have failed in a row.
    pub(super) fn again(&mut self, ticket: Ticket) -> u32 {
        let attempts = self.in_flight(ticket);
        attempts.in_a_row = attempts.in_a_row.saturating_add(1);
        let attempts = *attempts;
        self[ticket].phase = Phase::WaitingRetry(attempts);
        self.waiting += 1;
        attempts.in_a_row
    }

    /// The attempts of an update that was called and has not ended.
    pub(super) fn attempts(&mut self, ticket: Ticket) -> &mut Attempts {
        match &mut self[ticket].phase {
            Phase::InFlight(attempts) | Phase::WaitingRetry(attempts) => attempts,
            other => unreachable!("{ticket:?} has no attempts, but is {other:?}"),
        }
    }

    /// It has ended.
    pub(super) fn end(&mut self, ticket: Ticket, end: End) -> Left {
        let in_vain = false;
        self.leave(ticket, Phase::Ended { end, in_vain })
    }

    /// It is left to the next owner of its partition.
    pub(super) fn abandon(&mut self, ticket: Ticket) -> Left {
        self.leave(ticket, Phase::Abandoned)
    }

    fn leave(&mut self, ticket: Ticket, phase: Phase) -> Left {
        let entry = &mut self[ticket];
        let before = std::mem::replace(&mut entry.phase, phase);
        let left = Left {
            partition: entry.partition,
            user: entry.user(),
            attempts: before.attempts().copied(),
        };
        if let Some(expires_at) = entry.expires_at() {
            self.expiries.remove(&(expires_at, ticket));
        }
        match before {
            Phase::Waiting | Phase::WaitingRetry(_) => self.waiting -= 1,
            Phase::InFlight(_) => {}
            Phase::Ended { .. } | Phase::Settling(_) | Phase::Abandoned => {
                unreachable!("{ticket:?} leaves its lane twice: it is {before:?}")
            }
        }
        left
    }

    /// Forgets an update that has left its lane: it is settled, or its partition went.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Entry<U, F>> {
        let entry = self.by_ticket.remove(&ticket)?;
        debug_assert!(
            !entry.is_in_lane() && !matches!(entry.phase, Phase::InFlight(_)),
            "{ticket:?} is forgotten though it is {:?}",
            entry.phase
        );
        self.bytes -= entry.size;
        Some(entry)
    }

    /// When the time of the next one comes.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// One whose time has come. Each is told once.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<Ticket> {
        self.next_expiry().filter(|at| *at <= now)?;
        self.expiries.pop_first().map(|(_, ticket)| ticket)
    }
}
