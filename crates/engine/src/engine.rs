//! The engine's state, and what happens when a record arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::UserKey;
use crate::aside::Aside;
use crate::assignment::Partition;
use crate::backoff::Backoff;
use crate::calls::Calls;
use crate::checkpoint::Spent;
use crate::defer::Deferred;
use crate::health::{Health, State};
use crate::lane::Lanes;
use crate::ledger::Arrival;
use crate::limit::Limit;
use crate::portion::Portions;
use crate::proof::{Failure, Proof};
use crate::rate::Rate;
use crate::verdict::Reason;
use crate::{Action, End, Merge, Settings, Ticket, TopicId, Work};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In its lane.
    Waiting,
    /// Being called.
    InFlight,
    /// Ended, not yet in a batch.
    Ended(End),
    /// In the batch that is being committed.
    Settling(End),
    /// Its partition goes, and it was not finished: the next owner's.
    Abandoned,
}

/// One record of ours, from arrival until it is settled.
#[derive(Debug)]
pub(super) struct Entry<U, F> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) user: Option<UserKey>,
    pub(super) update: Arc<U>,
    pub(super) size: usize,
    pub(super) dead: Option<Reason>,
    /// It is not sent together with others.
    pub(super) alone: bool,
    /// Failures of merged calls that began with it.
    pub(super) merged_failures: u32,
    pub(super) expires_at: Option<Instant>,
    pub(super) spent: Spent,
    /// Failures in a row, for the backoff.
    pub(super) failures: u32,
    /// When it was first called.
    pub(super) first_started: Option<Instant>,
    /// When it was last called.
    pub(super) started: Option<Instant>,
    /// Its last call, if that failed and the fault may be its own.
    pub(super) failure: Option<Failure>,
    pub(super) facts: Option<Arc<F>>,
    /// It was tried to be settled while its partition had to be let go, and its topics refused it.
    pub(super) in_vain: bool,
    /// Changed by [`Entry::enter`] alone.
    pub(super) phase: Phase,
}

impl<U, F> Entry<U, F> {
    /// Changes the phase, and keeps count of those that wait.
    pub(super) fn enter(&mut self, phase: Phase, waiting: &mut usize) {
        *waiting -= usize::from(self.phase == Phase::Waiting);
        *waiting += usize::from(phase == Phase::Waiting);
        self.phase = phase;
    }
}

/// The engine of one target. `U` is an update, `F` what an attempt leaves for people to read; it
/// looks into neither.
#[derive(Debug)]
pub struct Engine<U, F> {
    pub(super) settings: Settings,
    pub(super) backoff: Backoff,
    pub(super) rng: fastrand::Rng,
    pub(super) entries: HashMap<Ticket, Entry<U, F>>,
    /// How many of them wait.
    pub(super) waiting: usize,
    pub(super) lanes: Lanes,
    pub(super) partitions: BTreeMap<i32, Partition>,
    /// Those of them that must be let go: mostly none, of perhaps a thousand.
    pub(super) going: BTreeSet<i32>,
    pub(super) expiries: BTreeSet<(Instant, Ticket)>,
    pub(super) ended: VecDeque<Ticket>,
    pub(super) aside: Aside,
    /// The last transaction was one of those.
    pub(super) was_apart: bool,
    pub(super) portions: Portions,
    pub(super) health: Health,
    pub(super) limit: Limit,
    pub(super) rate: Rate,
    pub(super) calls: Calls,
    /// By the ticket of a call in flight, the earlier updates that are sent in it.
    pub(super) merged: HashMap<Ticket, Vec<Ticket>>,
    pub(super) sentinel: HashMap<UserKey, Ticket>,
    pub(super) proof: Proof,
    pub(super) deferred: Deferred,
    pub(super) bytes: usize,
    pub(super) paused: bool,
    /// What has ended does not fit into the text of its partition.
    pub(super) choked: bool,
    /// So many updates may be in memory, though it is full: see [`Engine::breathe`].
    breath: Option<usize>,
    pub(super) lease_until: Option<Instant>,
    pub(super) settling: Option<crate::settlement::Settling>,
    pub(super) settle_not_before: Instant,
    pub(super) commit_at: Instant,
    pub(super) actions: Vec<Action<U, F>>,
    pub(super) next_ticket: u64,
    pub(super) next_batch: u64,
    pub(super) next_epoch: u64,
    pub(super) topic: TopicId,
}

impl<U: Merge, F> Engine<U, F> {
    /// Decides what to do now.
    pub fn step(&mut self, now: Instant) -> Vec<Action<U, F>> {
        self.expire(now);
        // Before the dispatch, which can use what this sets free.
        self.give_up(now);
        self.lanes.wake(now);
        self.dispatch(now);
        self.settle(now);
        self.release(now);
        self.pause_or_resume();
        self.refill();
        std::mem::take(&mut self.actions)
    }
}

impl<U, F> Engine<U, F> {
    /// An engine without partitions. The same `seed` and inputs give the same actions.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        let backoff = Backoff::new(settings.initial_backoff, settings.max_backoff);
        Engine {
            settings,
            backoff,
            rng: fastrand::Rng::with_seed(seed),
            entries: HashMap::new(),
            waiting: 0,
            lanes: Lanes::default(),
            partitions: BTreeMap::new(),
            going: BTreeSet::new(),
            expiries: BTreeSet::new(),
            ended: VecDeque::new(),
            aside: Aside::default(),
            was_apart: false,
            portions: Portions::default(),
            health: Health::new(backoff, now),
            limit: Limit::new(settings.max_concurrency),
            rate: Rate::new(settings.rate_limit, now),
            calls: Calls::default(),
            merged: HashMap::new(),
            sentinel: HashMap::new(),
            proof: Proof::default(),
            deferred: Deferred::default(),
            bytes: 0,
            paused: false,
            choked: false,
            breath: None,
            lease_until: None,
            settling: None,
            settle_not_before: now,
            commit_at: now,
            actions: Vec::new(),
            next_ticket: 0,
            next_batch: 0,
            next_epoch: 0,
            topic: TopicId::UNKNOWN,
        }
    }

    /// These settings hold from now on. What is in flight, waits already begun, attempts spent and
    /// the target's state stay as they are.
    pub fn settings(&mut self, settings: Settings, now: Instant) {
        self.backoff = Backoff::new(settings.initial_backoff, settings.max_backoff);
        self.health.pace(self.backoff);
        self.limit.bound(settings.max_concurrency);
        self.rate.configure(settings.rate_limit, now);
        self.settings = settings;
    }

    /// A record that is not ours, or a gap: everything of the partition below `position` has
    /// arrived.
    pub fn passed(&mut self, partition: i32, position: i64) {
        // What arrives while a partition goes is not taken, and so must not be passed over either.
        if let Some(assigned) = self
            .partitions
            .get_mut(&partition)
            .filter(|assigned| !assigned.is_going())
        {
            assigned.ledger.advance(position);
        }
    }

    /// A record of ours. Returns whether it is to be worked on now (and not settled already, or of
    /// a partition that went, or behind others that are deferred).
    pub fn arrived(
        &mut self,
        partition: i32,
        offset: i64,
        size: usize,
        update: Arc<U>,
        work: Work,
    ) -> bool {
        let Some(assigned) = self
            .partitions
            .get_mut(&partition)
            .filter(|assigned| !assigned.is_going())
        else {
            return false;
        };
        let Some(Arrival::Open(spent)) = assigned.ledger.arrive(offset) else {
            return false;
        };
        if let Work::Call { user, .. }
        | Work::Dead {
            user: Some(user), ..
        } = work
            && self.deferred.has(partition, user)
        {
            assigned.ledger.defer(offset, spent);
            self.deferred.push(partition, user, offset);
            return false;
        }
        self.open(partition, offset, size, update, work, spent);
        true
    }

    /// Takes a record into memory, at the end of its lane.
    pub(super) fn open(
        &mut self,
        partition: i32,
        offset: i64,
        size: usize,
        update: Arc<U>,
        work: Work,
        spent: Spent,
    ) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.ledger.open(offset, ticket);
        }
        let (user, dead, expires_at) = match work {
            Work::Call { user, expires_at } => (Some(user), None, expires_at),
            Work::Dead { user, reason } => (user, Some(reason), None),
        };
        self.bytes += size;
        self.waiting += 1;
        self.entries.insert(
            ticket,
            Entry {
                partition,
                offset,
                user,
                update,
                size,
                dead,
                alone: false,
                merged_failures: 0,
                expires_at,
                spent,
                failures: 0,
                first_started: None,
                started: None,
                failure: None,
                facts: None,
                in_vain: false,
                phase: Phase::Waiting,
            },
        );
        if let Some(expires_at) = expires_at {
            self.expiries.insert((expires_at, ticket));
        }
        match (user, dead) {
            (Some(user), Some(reason)) if self.lanes.is_free(user) => {
                self.end(ticket, End::Dead(reason))
            }
            (Some(user), _) => self.lanes.push(user, ticket),
            (None, Some(reason)) => self.end(ticket, End::Dead(reason)),
            (None, None) => {}
        }
    }

    /// The update has its ending and leaves its lane; what is dead behind it ends as well.
    pub(super) fn end(&mut self, ticket: Ticket, end: End) {
        let mut next = Some((ticket, end));
        while let Some((ticket, end)) = next {
            let Some(entry) = self.entries.get_mut(&ticket) else {
                return;
            };
            entry.enter(Phase::Ended(end), &mut self.waiting);
            self.ended.push_back(ticket);
            next = self.leave_lane(ticket);
        }
    }

    /// The update is left to the next owner of its partition.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(&ticket) else {
            return;
        };
        entry.enter(Phase::Abandoned, &mut self.waiting);
        if let Some((next, end)) = self.leave_lane(ticket) {
            self.end(next, end);
        }
    }

    /// Takes a ticket out of its lane. Returns the new head if it needs no call to end: a lane's
    /// head always needs one.
    pub(super) fn leave_lane(&mut self, ticket: Ticket) -> Option<(Ticket, End)> {
        let entry = self.entries.get(&ticket)?;
        if let Some(expires_at) = entry.expires_at {
            self.expiries.remove(&(expires_at, ticket));
        }
        if let Some(failure) = entry.failure {
            self.proof.forget(failure.started, entry.started, ticket);
        }
        let (partition, user) = (entry.partition, entry.user?);
        let head = self.lanes.remove(user, ticket);
        self.shrank(partition, user);
        if !self.deferred.has(partition, user) {
            self.lanes.forget(user);
        }
        let head = head?;
        let reason = self.entries.get(&head)?.dead?;
        Some((head, End::Dead(reason)))
    }

    /// Forgets a ticket altogether.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.remove(&ticket) {
            self.bytes -= entry.size;
        }
    }

    /// The lease on all partitions certainly lasts until then.
    pub fn lease(&mut self, until: Instant) {
        self.lease_until = Some(until);
    }

    /// The credentials may have changed: a target that holds over them tries again at once.
    pub fn credentials_changed(&mut self, now: Instant) {
        self.health.probe_now(now);
    }

    /// What the target does now.
    pub fn state(&self) -> State {
        self.health.state()
    }

    /// When `step` has something to do though nothing happened.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let going = self
            .going
            .iter()
            .filter_map(|partition| self.partitions.get(partition)?.give_up_at())
            .min();
        let settle =
            (self.settling.is_none() && !self.ended.is_empty()).then_some(self.settle_not_before);
        let aside = self.aside.next_at().filter(|_| self.settling.is_none());
        let commit =
            (self.settling.is_none() && !self.partitions.is_empty()).then_some(self.commit_at);
        let call = self.call_at(now);
        [
            expiry,
            going,
            settle,
            aside,
            commit,
            call,
            self.lanes.wake_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, ticket)) = self.expiries.first().copied()
            && at <= now
        {
            self.expiries.pop_first();
            // A call in flight may still deliver it.
            if self
                .entries
                .get(&ticket)
                .is_some_and(|entry| entry.phase == Phase::Waiting)
            {
                self.end(ticket, End::Dead(Reason::Expired));
            }
        }
    }

    fn pause_or_resume(&mut self) {
        let Settings {
            max_waiting,
            max_bytes,
            ..
        } = self.settings;
        if self.paused || self.counted() >= max_waiting || self.bytes >= max_bytes {
            self.make_room();
        }
        let (counted, bytes, deferred) = (self.counted(), self.bytes, self.deferred.is_full());
        let full = match self.breath {
            Some(most) => self.entries.len() >= most || deferred,
            None => counted >= max_waiting || bytes >= max_bytes || deferred,
        };
        if !self.paused && full {
            self.paused = true;
            self.actions.push(Action::Pause);
        } else if self.paused
            && counted <= max_waiting / 2
            && bytes <= max_bytes / 2
            && self.deferred.has_room()
        {
            self.breath = None;
            self.paused = false;
            self.actions.push(Action::Resume);
        } else if self.paused && self.is_choked() && !self.deferred.is_full() {
            self.breathe();
        }
    }

    /// Memory is full of what cannot be settled before the updates that fail do: nobody else can be
    /// called until then.
    pub(super) fn is_choked(&self) -> bool {
        self.choked
            && self.paused
            && self.health.is_flowing()
            && self.calls.is_empty()
            && !self.lanes.any_ready()
    }

    /// Reads one update past the bound, so that somebody else is called: only a delivery shows that
    /// the updates that fail are themselves at fault, and ends them. Once a failure is proven,
    /// another delivery tells no more of it: so no more are read until the next attempt has failed.
    /// Of updates that are called by nobody there may be any number, so that this has an end too.
    fn breathe(&mut self) {
        let most = self.settings.max_bytes.saturating_mul(2);
        if self.waiting == 0 || !self.proof.is_wanted() || self.bytes >= most {
            return;
        }
        self.breath = Some(self.entries.len() + 1);
        self.paused = false;
        self.actions.push(Action::Resume);
    }
}

/// How long a transaction is waited with, so that endings gather: a commit costs the broker the
/// same for one as for hundreds.
pub(super) const SETTLE_INTERVAL: Duration = Duration::from_millis(50);
/// How often offsets are committed where no ending carries them along.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_secs(2);
