//! Maps by tickets and user keys. These are numbers, so one multiplication spreads them; the
//! standard hash takes four times as long, and an update is looked up some twenty times.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// A map by tickets or user keys.
pub(super) type NumberMap<K, V> = HashMap<K, V, Spread>;

/// Makes the hashers of one engine's maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    seed: u64,
}

impl Spread {
    /// `seed` is random in the service, for whoever chooses the users' ids must not choose who
    /// collides. With the same seed an engine does the same, to the byte that it allocates.
    pub(super) fn of(seed: u64) -> Self {
        Spread {
            seed: fastrand::Rng::with_seed(seed).u64(..),
        }
    }
}

impl BuildHasher for Spread {
    type Hasher = Spreader;

    fn build_hasher(&self) -> Spreader {
        Spreader(self.seed)
    }
}

pub(super) struct Spreader(u64);

impl Hasher for Spreader {
    fn write_u64(&mut self, number: u64) {
        // An odd number without a pattern: 2^64 divided by the golden ratio.
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::UserKey;

    #[test]
    fn numbers_in_a_row_or_far_apart_are_spread_over_all_bits() {
        let spread = Spread::of(7);
        for step in [1, 1 << 12, 1 << 40] {
            let keys = (0..4096u64).map(|number| spread.hash_one(UserKey(number * step)));
            let (low, high): (HashSet<u64>, HashSet<u64>) =
                keys.map(|hash| (hash % 4096, hash >> 52)).unzip();
            // By chance 2589 of 4096 places are met: far fewer would be long chains.
            assert!(low.len() > 1500 && high.len() > 1500, "{step}");
        }
    }
}
