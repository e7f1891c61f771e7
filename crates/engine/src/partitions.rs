//! Partitions: those that this engine owns, each with its ledger, and which of them must be let go.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use std::time::Instant;

use crate::guard::slots::Slots;
use crate::ledger::Ledger;

/// A partition that this engine owns.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) ledger: Ledger,
    /// Counts assignments: what was computed in one must not be committed in another.
    pub(super) epoch: u64,
    /// What its commits tell of the guard.
    pub(super) slots: Slots,
    going: Option<Going>,
}

/// A partition that must be let go.
#[derive(Clone, Copy, Debug)]
struct Going {
    /// Its calls in flight may finish until then. `None`: they were given up.
    give_up_at: Option<Instant>,
    /// From this offset on, endings are left to the next owner.
    left_from: i64,
}

impl Partition {
    pub(super) fn new(ledger: Ledger, epoch: u64, slots: Slots) -> Self {
        Partition {
            ledger,
            epoch,
            slots,
            going: None,
        }
    }

    /// Whether it must be let go.
    pub(super) fn is_going(&self) -> bool {
        self.going.is_some()
    }

    /// When its calls in flight are given up.
    fn give_up_at(&self) -> Option<Instant> {
        self.going.and_then(|going| going.give_up_at)
    }

    /// The ending at that offset is left to the next owner, which calls the update again. So
    /// nothing above it must be settled here: it may be a later update of the same user.
    pub(super) fn leave_from(&mut self, offset: i64) {
        debug_assert!(self.is_going(), "endings are settled where they are");
        if let Some(going) = &mut self.going {
            going.left_from = going.left_from.min(offset);
        }
    }

    /// How many of these endings, lowest first, are not left to the next owner.
    pub(super) fn may_settle(&self, offsets: &[i64]) -> usize {
        self.going.map_or(offsets.len(), |going| {
            offsets.partition_point(|offset| *offset < going.left_from)
        })
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    owned: BTreeMap<i32, Partition>,
    /// Those of them that must be let go: mostly none, of perhaps a thousand.
    going: BTreeSet<i32>,
}

/// For a partition that is certainly owned: there are updates of it in memory.
impl Index<i32> for Partitions {
    type Output = Partition;

    fn index(&self, number: i32) -> &Partition {
        self.owned.get(&number).unwrap_or_else(|| missing(number))
    }
}

impl IndexMut<i32> for Partitions {
    fn index_mut(&mut self, number: i32) -> &mut Partition {
        self.owned
            .get_mut(&number)
            .unwrap_or_else(|| missing(number))
    }
}

#[cold]
fn missing(number: i32) -> ! {
    unreachable!("partition {number} is not owned")
}

impl Partitions {
    pub(super) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// What share they are of the topic's partitions, of which there were so many when they were
    /// assigned. `None`: there are none here.
    pub(super) fn share_of(&self, topic: usize) -> Option<f64> {
        let highest = self.owned.last_key_value()?.0;
        // Partitions may have been added since.
        let all = usize::try_from(*highest).map_or(topic, |highest| topic.max(highest + 1));
        #[expect(clippy::cast_precision_loss, reason = "a count of partitions")]
        let share = self.owned.len() as f64 / all as f64;
        Some(share)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, &Partition)> {
        self.owned.iter().map(|(number, one)| (*number, one))
    }

    /// For a partition that may be lost already.
    pub(super) fn get(&self, number: i32) -> Option<&Partition> {
        self.owned.get(&number)
    }

    /// As [`Partitions::get`].
    pub(super) fn get_mut(&mut self, number: i32) -> Option<&mut Partition> {
        self.owned.get_mut(&number)
    }

    /// The partition, if it is owned and need not be let go.
    pub(super) fn staying(&mut self, number: i32) -> Option<&mut Partition> {
        self.get_mut(number).filter(|one| !one.is_going())
    }

    pub(super) fn add(&mut self, number: i32, partition: Partition) {
        let before = self.owned.insert(number, partition);
        debug_assert!(before.is_none(), "partition {number} is owned already");
    }

    pub(super) fn remove(&mut self, number: i32) -> Option<Partition> {
        self.going.remove(&number);
        self.owned.remove(&number)
    }

    /// Nothing is known of any slots any more.
    pub(super) fn forget_slots(&mut self) {
        for one in self.owned.values_mut() {
            one.slots = Slots::default();
        }
    }

    /// Slots are free again that bear an earlier time. Returns whether there are any.
    pub(super) fn free_slots_before(&mut self, time: i64) -> bool {
        let is_over = |one: &Partition| one.slots.first().is_some_and(|first| first < time);
        let mut any = false;
        for one in self.owned.values_mut().filter(|one| is_over(one)) {
            one.slots.free_before(time);
            any = true;
        }
        any
    }

    /// Whether slots were taken, and no batch tells that yet.
    pub(super) fn any_slots_news(&self) -> bool {
        self.owned.values().any(|one| one.slots.is_news())
    }

    pub(super) fn any_going(&self) -> bool {
        !self.going.is_empty()
    }

    pub(super) fn is_going(&self, number: i32) -> bool {
        self.going.contains(&number)
    }

    /// Those that must be let go.
    pub(super) fn going(&self) -> impl Iterator<Item = (i32, &Partition)> {
        self.going.iter().map(|number| (*number, &self[*number]))
    }

    /// It must be let go; its calls in flight may finish until then.
    pub(super) fn let_go(&mut self, number: i32, give_up_at: Instant) {
        self[number].going = Some(Going {
            give_up_at: Some(give_up_at),
            left_from: i64::MAX,
        });
        self.going.insert(number);
    }

    /// When the next calls in flight are given up.
    pub(super) fn give_up_at(&self) -> Option<Instant> {
        self.going().filter_map(|(_, one)| one.give_up_at()).min()
    }

    /// Those whose calls in flight are to be given up now. Each is told once.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<i32> {
        let is_overdue = |one: &Partition| one.give_up_at().is_some_and(|at| at <= now);
        let overdue: Vec<i32> = self
            .going()
            .filter(|(_, one)| is_overdue(one))
            .map(|(number, _)| number)
            .collect();
        for number in &overdue {
            if let Some(going) = &mut self[*number].going {
                going.give_up_at = None;
            }
        }
        overdue
    }
}
