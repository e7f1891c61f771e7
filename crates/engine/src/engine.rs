//! The engine's state, its turn, and when it wants the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::aside::Aside;
use crate::backoff::Backoff;
use crate::bar::Bar;
use crate::calls::Calls;
use crate::defer::Deferred;
use crate::entries::Entries;
use crate::guard::Guarding;
use crate::health::{Health, State};
use crate::lanes::Lanes;
use crate::limit::Limit;
use crate::numbers::{NumberMap, Spread};
use crate::partitions::Partitions;
use crate::portion::Portions;
use crate::proof::Proof;
use crate::rate::Rate;
use crate::settlement::Settling;
use crate::verdict::Reason;
use crate::{Action, End, Merge, Settings, Ticket, TopicId, UserKey};

/// The engine of one target. `U` is an update, `F` what an attempt leaves for people to read; it
/// looks into neither.
#[derive(Debug)]
pub struct Engine<U, F> {
    pub(super) settings: Settings,
    pub(super) backoff: Backoff,
    pub(super) rng: fastrand::Rng,
    pub(super) entries: Entries<U, F>,
    pub(super) lanes: Lanes,
    pub(super) partitions: Partitions,
    pub(super) ended: VecDeque<Ticket>,
    pub(super) aside: Aside,
    /// The last transaction was one of those.
    pub(super) was_apart: bool,
    pub(super) portions: Portions,
    pub(super) health: Health,
    pub(super) limit: Limit,
    pub(super) rate: Rate,
    pub(super) calls: Calls,
    pub(super) sentinel: NumberMap<UserKey, Ticket>,
    pub(super) proof: Proof,
    pub(super) deferred: Deferred,
    pub(super) bar: Bar<U>,
    pub(super) guarding: Guarding<U>,
    pub(super) paused: bool,
    /// The endings do not fit into the text of their partitions.
    pub(super) choked: bool,
    /// The bound of updates in memory while it is full: see [`Engine::breathe`].
    pub(super) breath: Option<usize>,
    pub(super) lease_until: Option<Instant>,
    pub(super) settling: Option<Settling>,
    pub(super) settle_not_before: Instant,
    pub(super) commit_at: Instant,
    pub(super) actions: Vec<Action<U, F>>,
    pub(super) next_batch: u64,
    pub(super) next_epoch: u64,
    pub(super) topic: TopicId,
    /// How many partitions that has, if it was told.
    pub(super) topic_partitions: Option<usize>,
}

impl<U: Merge, F> Engine<U, F> {
    /// Decides what to do now.
    pub fn step(&mut self, now: Instant) -> Vec<Action<U, F>> {
        self.expire(now);
        if self.partitions.any_going() {
            // Before the dispatch, which can use what this sets free.
            self.give_up(now);
        }
        self.lanes.wake(now);
        if self.guarding.is_on() {
            self.watch(now);
        }
        self.dispatch(now);
        self.settle(now);
        if self.partitions.any_going() {
            self.release(now);
        }
        self.pause_or_resume();
        self.refill();
        std::mem::take(&mut self.actions)
    }
}

impl<U, F> Engine<U, F> {
    /// An engine without partitions. The same `seed` and inputs give the same actions.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        let backoff = Backoff::new(settings.initial_backoff, settings.max_backoff);
        let spread = Spread::of(seed);
        Engine {
            settings,
            backoff,
            rng: fastrand::Rng::with_seed(seed),
            entries: Entries::new(spread),
            lanes: Lanes::new(spread),
            partitions: Partitions::default(),
            ended: VecDeque::new(),
            aside: Aside::default(),
            was_apart: false,
            portions: Portions::default(),
            health: Health::new(backoff, now),
            limit: Limit::new(settings.max_concurrency, now),
            rate: Rate::new(settings.rate_limit, now),
            calls: Calls::new(spread),
            sentinel: NumberMap::with_hasher(spread),
            proof: Proof::default(),
            deferred: Deferred::default(),
            bar: Bar::default(),
            guarding: Guarding::new(spread, now),
            paused: false,
            choked: false,
            breath: None,
            lease_until: None,
            settling: None,
            settle_not_before: now,
            commit_at: now,
            actions: Vec::new(),
            next_batch: 0,
            next_epoch: 0,
            topic: TopicId::UNKNOWN,
            topic_partitions: None,
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

    /// The lease on all partitions certainly lasts until then.
    pub fn lease(&mut self, until: Instant) {
        self.lease_until = Some(until);
    }

    /// The credentials may have changed: a target that holds over them tries again at once.
    pub fn credentials_changed(&mut self, now: Instant) {
        self.health.probe_now(now);
    }

    /// The target's state now.
    pub fn state(&self) -> State {
        self.health.state()
    }

    /// When `step` has something to do though nothing happened.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        let mut wake = |at: Option<Instant>| {
            if let Some(at) = at
                && earliest.is_none_or(|earliest| at < earliest)
            {
                earliest = Some(at);
            }
        };
        wake(self.entries.next_expiry());
        wake(self.partitions.give_up_at());
        wake(self.lanes.wake_at());
        wake(self.call_at(now));
        let guarded = self.guarding.is_on();
        if guarded {
            wake(self.slot_free_at(now));
        }
        if self.settling.is_none() {
            wake(self.aside.next_at());
            wake((!self.ended.is_empty()).then_some(self.settle_not_before));
            wake((!self.partitions.is_empty()).then_some(self.commit_at));
            if guarded {
                let news = self.partitions.any_slots_news();
                wake(news.then_some(self.settle_not_before));
            }
        }
        earliest
    }

    fn expire(&mut self, now: Instant) {
        while let Some(ticket) = self.entries.next_expired(now) {
            // A call in flight may still deliver it.
            if self.entries[ticket].is_in_lane() {
                self.end(ticket, End::Dead(Reason::Expired));
            }
        }
    }
}

/// How long a transaction is waited with, so that endings gather: a commit costs the broker the
/// same for one as for hundreds.
pub(super) const SETTLE_INTERVAL: Duration = Duration::from_millis(50);
/// How often offsets are committed where no ending carries them along.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_secs(2);
