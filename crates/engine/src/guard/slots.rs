//! Slots: how many users may still lose something, as one partition keeps count of it.
//!
//! The group has as many slots as `max_users`, and each partition of the topic has a fixed share of
//! them, so that no rebalance changes how many there are. A slot that is taken bears the time until
//! which its user may be called; a whole window after that it is free again. What is taken stands
//! in the metadata of the partition's commits, as a part of its own behind a checkpoint's text:
//! `~g1.` and, in unpadded URL-safe base64, the first time in milliseconds since 1970 and how many
//! slots bear it, then for each later time the milliseconds in between and how many. Numbers are
//! LEB128.

use std::collections::BTreeMap;

use crate::base64;
use crate::checkpoint::{Reader, put};

/// Begins the part of a text that tells of slots. A later version has another number.
const MARK: &str = "~g1.";
/// Begins it in any version.
const ANY_MARK: char = '~';
/// So many different times are kept; what is older is counted with the next later time.
const MAX_TIMES: usize = 12;
/// A text that tells of slots is never longer.
pub(crate) const MAX_SLOTS_TEXT: usize = 160;

/// The slots of one partition that are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many, by the time until which their users may be called.
    until: BTreeMap<i64, u32>,
}

/// The same, and how much of it is committed.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    taken: Taken,
    /// Counts the changes.
    version: u64,
    /// As of which change they stand in the batch that is being committed,
    offered: u64,
    /// and in what is committed.
    durable: u64,
}

impl Taken {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.until
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The parts of a commit's text: that of the checkpoint, and that of the slots, if there is
    /// one.
    pub(crate) fn split(text: &str) -> (&str, Option<&str>) {
        match text.find(ANY_MARK) {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        }
    }

    /// Reads the part of a text; `None` if it cannot be read.
    pub(crate) fn read(part: &str) -> Option<Self> {
        let bytes = base64::decode(part.strip_prefix(MARK)?)?;
        let mut reader = Reader(&bytes);
        let (mut at, mut until) = (0i64, BTreeMap::new());
        while !reader.0.is_empty() {
            let step = i64::try_from(reader.number()?).ok()?;
            at = at.checked_add(step)?;
            let count = u32::try_from(reader.number()?).ok()?;
            if count == 0 || until.insert(at, count).is_some() || until.len() > MAX_TIMES {
                return None;
            }
        }
        Some(Taken { until })
    }

    /// The part of a text; empty if there is nothing to say.
    pub(crate) fn text(&self) -> String {
        if self.until.is_empty() {
            return String::new();
        }
        let (mut bytes, mut before) = (Vec::new(), 0);
        for (at, count) in &self.until {
            put(&mut bytes, (at - before).max(0) as u64);
            put(&mut bytes, (*count).into());
            before = *at;
        }
        let mut text = MARK.to_owned();
        base64::encode(&bytes, &mut text);
        text
    }

    fn add(&mut self, until: i64) {
        let count = self.until.entry(until.max(0)).or_default();
        *count = count.saturating_add(1);
        while self.until.len() > MAX_TIMES {
            if let Some((_, count)) = self.until.pop_first()
                && let Some(mut next) = self.until.first_entry()
            {
                let sum = next.get().saturating_add(count);
                next.insert(sum);
            }
        }
    }

    /// One that bears that time, or the next later one, is there no more.
    fn remove(&mut self, until: i64) -> bool {
        let Some((at, count)) = self.until.range_mut(until..).next() else {
            return false;
        };
        *count -= 1;
        let (at, empty) = (*at, *count == 0);
        if empty {
            self.until.remove(&at);
        }
        true
    }
}

impl Slots {
    /// Those that the last owner of the partition has committed. None that it used bears a later
    /// time than `latest`. If what it committed cannot be read, all are taken.
    pub(crate) fn begin(committed: Option<Taken>, latest: i64) -> Self {
        let mut taken = Taken::default();
        match committed {
            Some(committed) => {
                for (until, count) in committed.until {
                    let sum = taken.until.entry(until.min(latest)).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
            None => drop(taken.until.insert(latest, u32::MAX)),
        }
        Slots {
            taken,
            ..Slots::default()
        }
    }

    pub(crate) fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Takes one. Returns as of which change it is taken.
    pub(crate) fn take(&mut self, until: i64) -> u64 {
        self.taken.add(until);
        self.changed()
    }

    /// The user of a slot that bears the time `from` may be called until a later one. Returns as of
    /// which change; `None` if there is no such slot any more.
    pub(crate) fn extend(&mut self, from: i64, until: i64) -> Option<u64> {
        self.taken.remove(from).then(|| self.take(until))
    }

    /// Those are free again that bear an earlier time. That is no news: no call waits for it to be
    /// committed.
    pub(crate) fn free_before(&mut self, time: i64) {
        self.taken.until = self.taken.until.split_off(&time);
    }

    /// The earliest time that one bears.
    pub(crate) fn first(&self) -> Option<i64> {
        self.taken.until.keys().next().copied()
    }

    fn changed(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Whether something is to be committed that nobody has offered yet.
    pub(crate) fn is_news(&self) -> bool {
        self.version > self.offered
    }

    /// They stand in a batch as they are now.
    pub(crate) fn offer(&mut self) {
        self.offered = self.version;
    }

    /// That batch was committed.
    pub(crate) fn committed(&mut self) {
        self.durable = self.offered;
    }

    /// It was not, or nobody knows.
    pub(crate) fn not_committed(&mut self) {
        self.offered = self.durable;
    }

    /// Whether that change is committed.
    pub(crate) fn is_durable(&self, change: u64) -> bool {
        change <= self.durable
    }
}

/// The share of a partition in so many slots of the group. All shares together come to exactly
/// that, and are spread evenly.
pub(crate) fn share(all: u32, partition: i32, partitions: u32) -> u32 {
    let (Ok(partition), all) = (u64::try_from(partition), u64::from(all)) else {
        return 0;
    };
    let partitions = u64::from(partitions);
    if partition >= partitions {
        return 0;
    }
    let share = (partition + 1) * all / partitions - partition * all / partitions;
    u32::try_from(share).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(untils: &[i64]) -> Slots {
        let mut slots = Slots::default();
        untils.iter().for_each(|until| {
            slots.take(*until);
        });
        slots
    }

    #[test]
    fn the_shares_come_to_all_and_each_has_one_if_there_are_enough() {
        for (all, partitions) in [(50, 12), (1, 3), (3, 3), (7, 4), (1_000_000, 1), (2, 1000)] {
            let shares: Vec<u32> = (0..partitions as i32)
                .map(|partition| share(all, partition, partitions))
                .collect();
            assert_eq!(shares.iter().sum::<u32>(), all);
            let (least, most) = (shares.iter().min(), shares.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{all} {partitions}");
        }
        assert_eq!(
            (share(50, 3, 3), share(50, -1, 3), share(50, 0, 0)),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_change_counts_once_its_batch_is_committed() {
        let mut slots = Slots::default();
        let first = slots.take(100);
        assert!(slots.is_news() && !slots.is_durable(first));
        slots.offer();
        let second = slots.take(100);
        slots.committed();
        assert!(slots.is_durable(first) && !slots.is_durable(second) && slots.is_news());
        slots.offer();
        slots.not_committed();
        assert!(!slots.is_durable(second) && slots.is_news());
    }

    #[test]
    fn one_that_is_extended_is_still_one_and_old_ones_are_freed() {
        let mut slots = slots(&[100, 100, 200]);
        assert!(slots.extend(100, 300).is_some());
        assert_eq!((slots.taken().count(), slots.first()), (3, Some(100)));
        slots.free_before(200);
        assert_eq!((slots.taken().count(), slots.first()), (2, Some(200)));
        slots.free_before(1000);
        assert_eq!((slots.taken().count(), slots.extend(300, 400)), (0, None));
    }

    #[test]
    fn what_cannot_be_read_is_taken_and_no_time_lies_too_far_ahead() {
        assert_eq!(Slots::begin(None, 100).taken().count(), u32::MAX);
        let committed = slots(&[50, 150, 1 << 50]).taken;
        let begun = Slots::begin(Some(committed), 100);
        assert_eq!(begun.taken.until, BTreeMap::from([(50, 1), (100, 2)]));
        for damaged in [
            "~g1",
            "~g2.AQE",
            "~g1.!",
            "~g1.gA",
            "~g1.AQEAAQ",
            "~g1.AQA",
            "~",
        ] {
            assert_eq!(Taken::read(damaged), None, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_back_and_bounded(
            untils in prop::collection::vec(0i64..1 << 45, 0..200),
            more in any::<u32>(),
        ) {
            let mut taken = slots(&untils).taken;
            if let Some(mut first) = taken.until.first_entry() {
                first.insert(more.max(1));
            }
            let text = taken.text();
            prop_assert!(text.len() <= MAX_SLOTS_TEXT, "{}", text.len());
            if text.is_empty() {
                prop_assert!(untils.is_empty());
            } else {
                prop_assert_eq!(Taken::read(&text), Some(taken));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(~g1\\.)?[A-Za-z0-9_-]{0,60}") {
            if let Some(taken) = Taken::read(&text) {
                prop_assert!(taken.until.len() <= MAX_TIMES);
            }
        }

        #[test]
        fn counting_an_old_one_with_a_later_one_frees_nothing_early(
            untils in prop::collection::vec(0i64..1000, 1..60),
            time in 0i64..1000,
        ) {
            let mut slots = slots(&untils);
            slots.free_before(time);
            let still = untils.iter().filter(|until| **until >= time).count();
            prop_assert!(slots.taken().count() as usize >= still);
        }
    }
}
