//! The guard: at most so many users may lose something within a window, for the whole group. One
//! more, and the target holds until somebody has looked at it.
//!
//! A call that takes something away from its user needs a slot, which is committed before the call
//! begins (`slots`): so no crash makes the count smaller. A user has one slot for as long as its
//! calls go on. An instance takes slots of all the partitions that it owns, and a slot stays with
//! its partition: so none is taken twice, whoever owns what, and the shares of all partitions come
//! to `max_users`. Who had a slot is not committed; after a crash or a rebalance the same user may
//! take another one. That errs towards holding.

pub(crate) mod slots;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls::Run;
use crate::engine::Engine;
use crate::numbers::{NumberMap, Spread};
use crate::partitions::Partition;
use crate::verdict::Reason;
use crate::{End, Merge, Ticket, UserKey, Work};
use slots::{Slots, Taken, share};

/// A window is divided into so many parts. The users whose slots were taken in one of them may be
/// called until the end of the next one.
const PARTS: i64 = 8;

/// Tells which of these updates, sent in one call in this order, take something away from their
/// user: by their places, none if the call takes nothing away.
pub type Taking<U> = Arc<dyn Fn(&[&U]) -> Vec<usize> + Send + Sync>;

/// What a target's guard is told. Times are in milliseconds since 1970.
pub struct Guard<U> {
    /// So many users may lose something,
    pub max_users: u32,
    /// within this time.
    pub window: Duration,
    /// Until then calls are not counted.
    pub allow_until: Option<i64>,
    /// Until then updates that take something away end as dead.
    pub refuse_until: Option<i64>,
    /// What takes something away.
    pub taking: Taking<U>,
}

impl<U> fmt::Debug for Guard<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("max_users", &self.max_users)
            .field("window", &self.window)
            .field("allow_until", &self.allow_until)
            .field("refuse_until", &self.refuse_until)
            .finish_non_exhaustive()
    }
}

/// What a target that holds over its guard shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Since when.
    pub since: Instant,
    /// The slots of the partitions owned here,
    pub slots: u32,
    /// and those of them that are taken.
    pub taken: u32,
}

/// A user's slot.
#[derive(Clone, Copy, Debug)]
struct Grant {
    /// Whose it is, in which assignment.
    partition: i32,
    epoch: u64,
    /// The user may be called until then.
    until: i64,
    /// The change of the partition's slots that made it so. `None`: it is committed.
    pending: Option<u64>,
}

/// The guard of a target, and what it knows.
#[derive(Debug)]
pub(super) struct Guarding<U> {
    guard: Option<Guard<U>>,
    /// A point in time, on both clocks.
    clock: (Instant, i64),
    grants: NumberMap<UserKey, Grant>,
    /// One more user would lose something, and there is no slot: since when.
    holding: Option<Instant>,
}

impl<U> Guarding<U> {
    /// There is no guard.
    pub(super) fn new(spread: Spread, now: Instant) -> Self {
        Guarding {
            guard: None,
            clock: (now, 0),
            grants: NumberMap::with_hasher(spread),
            holding: None,
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.guard.is_some()
    }

    #[inline]
    pub(super) fn is_holding(&self) -> bool {
        self.holding.is_some()
    }

    /// The bytes of a commit's text that are left for slots.
    pub(super) fn room(&self) -> usize {
        if self.is_on() {
            slots::MAX_SLOTS_TEXT
        } else {
            0
        }
    }

    /// Milliseconds since 1970.
    fn at(&self, now: Instant) -> i64 {
        let (then, at) = self.clock;
        let since = now.saturating_duration_since(then).as_millis();
        at.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// The slots with which a partition begins.
    pub(super) fn begin(&self, committed: Option<Taken>, now: Instant) -> Slots {
        match &self.guard {
            Some(guard) => Slots::begin(committed, guard.until(self.at(now))),
            None => Slots::default(),
        }
    }

    /// A partition's share of the slots; none until it is known how many partitions the topic has.
    fn share(&self, partition: i32, topic: Option<usize>) -> u32 {
        let all = self.guard.as_ref().map_or(0, |guard| guard.max_users);
        let count = topic.and_then(|count| u32::try_from(count).ok());
        share(all, partition, count.unwrap_or(0))
    }
}

impl<U> Guard<U> {
    fn part(&self) -> i64 {
        (millis(self.window) / PARTS).max(1)
    }

    /// Until when a user may be called who takes a slot now.
    fn until(&self, now: i64) -> i64 {
        (now.div_euclid(self.part()) + 2) * self.part()
    }

    /// Slots that bear an earlier time are free: the last call of theirs began a window ago, and
    /// has ended since.
    fn free_before(&self, now: i64, request_timeout: Duration) -> i64 {
        now - millis(self.window) - millis(request_timeout)
    }

    fn allows(&self, now: i64) -> bool {
        self.allow_until.is_some_and(|until| now < until)
    }

    fn refuses(&self, now: i64) -> bool {
        self.refuse_until.is_some_and(|until| now < until)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

impl<U, F> Engine<U, F> {
    /// This guard holds from now on; `None`: there is none, and what was counted is forgotten.
    pub fn guard(&mut self, guard: Option<Guard<U>>) {
        if guard.is_none() {
            self.partitions.forget_slots();
            self.guarding.grants.clear();
        }
        self.guarding.guard = guard;
        self.guarding.holding = None;
        self.lanes.unpark_all();
    }

    /// It is so many milliseconds since 1970.
    pub fn clock(&mut self, now: Instant, millis: i64) {
        self.guarding.clock = (now, millis);
    }

    /// What the guard shows while the target holds over it.
    pub fn guarded(&self) -> Option<Guarded> {
        let since = self.guarding.holding?;
        let (mut slots, mut taken) = (0u32, 0u32);
        for (number, partition) in self.partitions.iter() {
            let share = self.guarding.share(number, self.topic_partitions);
            slots = slots.saturating_add(share);
            taken = taken.saturating_add(partition.slots.taken().count().min(share));
        }
        Some(Guarded {
            since,
            slots,
            taken,
        })
    }

    /// The updates in memory for which a call waits.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<U>> {
        let all = self.entries.iter();
        let waits =
            all.filter(|entry| entry.is_in_lane() && matches!(entry.work, Work::Call { .. }));
        waits.map(|entry| &entry.update)
    }

    /// What a batch with this partition tells is not committed: another instance may own it.
    pub fn not_committed(&mut self, partition: i32) {
        if let Some(partition) = self.partitions.get_mut(partition) {
            partition.slots.not_committed();
        }
    }

    /// When a slot is free again, if one is waited for.
    pub(super) fn slot_free_at(&self, now: Instant) -> Option<Instant> {
        let guard = self
            .guarding
            .guard
            .as_ref()
            .filter(|_| self.guarding.is_holding())?;
        let first = self
            .partitions
            .iter()
            .filter_map(|(_, one)| one.slots.first())
            .min()?;
        let at = self.guarding.at(now);
        let left = first - guard.free_before(at, self.settings.request_timeout) + 1;
        Some(now + Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    /// Which updates of a call take something away, by their places in it.
    fn taking(&self, run: &Run) -> Vec<usize> {
        let Some(guard) = &self.guarding.guard else {
            return Vec::new();
        };
        let update = |ticket| &*self.entries[ticket].update;
        let updates: Vec<&U> = run.tickets().map(update).collect();
        (guard.taking)(&updates)
    }

    /// Whether that user may be called now, though that takes something away.
    fn is_granted(&mut self, user: UserKey, at: i64) -> bool {
        let Some(grant) = self.guarding.grants.get_mut(&user) else {
            return false;
        };
        if let Some(change) = grant.pending {
            let owned = self.partitions.get(grant.partition);
            let slots = owned
                .filter(|one| one.epoch == grant.epoch)
                .map(|one| &one.slots);
            if slots.is_some_and(|slots| slots.is_durable(change)) {
                grant.pending = None;
            }
        }
        grant.pending.is_none() && at <= grant.until
    }

    /// Takes a slot for that user, or extends the one that the user has. It counts once it is
    /// committed. False: there is none.
    fn ask_for_slot(&mut self, user: UserKey, at: i64) -> bool {
        let Some(guard) = &self.guarding.guard else {
            return true;
        };
        let until = guard.until(at);
        if let Some(grant) = self.guarding.grants.get_mut(&user) {
            let owned = self.partitions.get_mut(grant.partition);
            if let Some(owned) = owned.filter(|one| one.epoch == grant.epoch && !one.is_going()) {
                if at <= grant.until {
                    return true;
                }
                if let Some(change) = owned.slots.extend(grant.until, until) {
                    (grant.until, grant.pending) = (until, Some(change));
                    return true;
                }
            }
            self.guarding.grants.remove(&user);
        }
        let room = |(number, one): &(i32, &Partition)| {
            let free = self
                .guarding
                .share(*number, self.topic_partitions)
                .saturating_sub(one.slots.taken().count());
            (free, -*number)
        };
        let staying = self.partitions.iter().filter(|(_, one)| !one.is_going());
        let most = staying.max_by_key(room).filter(|one| room(one).0 > 0);
        let Some((partition, epoch)) = most.map(|(number, one)| (number, one.epoch)) else {
            return false;
        };
        let pending = Some(self.partitions[partition].slots.take(until));
        let grant = Grant {
            partition,
            epoch,
            until,
            pending,
        };
        self.guarding.grants.insert(user, grant);
        true
    }

    fn holds_if(&mut self, without: bool, now: Instant) {
        let without = without && self.topic_partitions.is_some();
        self.guarding.holding = without.then(|| self.guarding.holding.unwrap_or(now));
    }
}

impl<U: Merge, F> Engine<U, F> {
    /// Before the dispatch: slots that are free again, and users who wait for one.
    pub(super) fn watch(&mut self, now: Instant) {
        let Some(guard) = &self.guarding.guard else {
            return;
        };
        let at = self.guarding.at(now);
        let free = guard.free_before(at, self.settings.request_timeout);
        if guard.allows(at) || guard.refuses(at) {
            // Each is looked at when its turn comes.
            self.lanes.unpark_all();
        }
        if self.partitions.free_slots_before(free) {
            self.guarding.grants.retain(|_, grant| grant.until >= free);
        }
        if self.lanes.parked_count() == 0 {
            self.guarding.holding = None;
            return;
        }
        if self.lanes.parked_has_changed() {
            self.look_again(now);
        }
        let mut without = false;
        for user in self.lanes.parked() {
            if self.is_granted(user, at) {
                self.lanes.unpark(user, true);
            } else {
                without |= !self.ask_for_slot(user, at);
            }
        }
        self.holds_if(without, now);
    }

    /// Updates came or went in lanes that wait for a slot: some take nothing away any more.
    fn look_again(&mut self, now: Instant) {
        for user in self.lanes.parked() {
            let Some(head) = self.lanes.head(user) else {
                continue;
            };
            if self.taking(&self.run(user, head, now)).is_empty() {
                self.lanes.unpark(user, false);
            }
        }
    }

    /// Whether this call may be made, as far as the guard goes. If not, its user waits for a slot,
    /// or those of its updates have ended that take something away.
    pub(super) fn passes_guard(&mut self, user: UserKey, run: &Run, now: Instant) -> bool {
        let Some(guard) = &self.guarding.guard else {
            return true;
        };
        let at = self.guarding.at(now);
        if guard.allows(at) {
            return true;
        }
        let refuses = guard.refuses(at);
        let taking = self.taking(run);
        if taking.is_empty() || !refuses && self.is_granted(user, at) {
            return true;
        }
        if !refuses {
            self.lanes.park(user);
            let without = !self.ask_for_slot(user, at);
            self.holds_if(without, now);
            return false;
        }
        self.lanes.requeue(user);
        let tickets: Vec<Ticket> = run.tickets().collect();
        for place in taking {
            if let Some(ticket) = tickets.get(place) {
                self.end(*ticket, End::Dead(Reason::HeldBack));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
