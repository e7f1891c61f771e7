//! A set of spots that takes little room: a bit for each.

use std::collections::HashMap;

use crate::kafka::reader::Spot;

/// Partitions and offsets, a million of them in some hundred kilobytes if they lie close together.
#[derive(Clone, Debug, Default)]
pub struct Spots(HashMap<(i32, i64), u64>);

impl Spots {
    /// Adds a spot.
    pub fn insert(&mut self, (partition, offset): Spot) {
        *self.0.entry((partition, offset >> 6)).or_default() |= 1 << (offset & 63);
    }

    /// Whether it was added.
    pub fn contains(&self, (partition, offset): Spot) -> bool {
        self.0
            .get(&(partition, offset >> 6))
            .is_some_and(|word| word >> (offset & 63) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_nothing_else() {
        let mut spots = Spots::default();
        let added = [(0, 0), (0, 63), (0, 64), (1, 63), (1, i64::MAX)];
        added.into_iter().for_each(|spot| spots.insert(spot));
        assert!(added.into_iter().all(|spot| spots.contains(spot)));
        assert!(
            [(0, 1), (0, 62), (0, 65), (1, 0), (2, 0), (1, i64::MAX - 1)]
                .into_iter()
                .all(|spot| !spots.contains(spot))
        );
    }
}
