//! Spans of partitions, and which of them to read for some single records.

use std::collections::{BTreeMap, HashSet};

/// Records between two wanted ones at most this far apart are read too: that is faster than to
/// seek.
const NEAR: i64 = 2_000;

/// A record's position within a topic: partition and offset.
pub type Spot = (i32, i64);

/// A stretch of a partition: the offsets from `from` on, below `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
}

/// The spans to read for the wanted records of a topic with `partitions` partitions, in order, by
/// partition.
pub(super) fn runs(wanted: &HashSet<Spot>, partitions: i32) -> BTreeMap<i32, Vec<Span>> {
    let mut sorted: Vec<_> = wanted
        .iter()
        .copied()
        .filter(|(partition, _)| (0..partitions).contains(partition))
        .collect();
    sorted.sort_unstable();
    let mut runs: BTreeMap<i32, Vec<Span>> = BTreeMap::new();
    for (partition, offset) in sorted {
        let runs = runs.entry(partition).or_default();
        match runs.last_mut() {
            Some(run) if offset - run.to < NEAR => run.to = offset + 1,
            _ => runs.push(Span {
                partition,
                from: offset,
                to: offset + 1,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_are_near_each_other_are_read_in_one_run() {
        let wanted = [
            (0, 5),
            (0, 5 + NEAR),
            (0, 6 + 2 * NEAR),
            (2, 1),
            (1, 9),
            (3, 0),
            (-1, 4),
        ];
        let found = runs(&wanted.into(), 3);
        let spans = |partition: i32| {
            let runs = found.get(&partition).map(Vec::as_slice).unwrap_or_default();
            runs.iter()
                .map(|run| (run.from, run.to))
                .collect::<Vec<_>>()
        };
        let far = 6 + 2 * NEAR;
        assert_eq!(spans(0), [(5, 6 + NEAR), (far, far + 1)]);
        assert_eq!((spans(1), spans(2)), (vec![(9, 10)], vec![(1, 2)]));
        assert_eq!(found.len(), 3, "the topic has no other partitions");
    }
}
