//! Portions: how much one transaction takes. A portion that does not get through in time is halved,
//! and grows again with each that is quick: what a link carries within a transaction's time is
//! found out, and never stands still.

use std::time::Duration;

use crate::aside::Apart;

/// Endings in one transaction at the most…
const MAX_ENDINGS: usize = 10_000;
/// …and bytes of their records, since dead letters carry them along.
const MAX_BYTES: usize = 32 << 20;
/// The first transaction takes less, as nothing is known of the link yet.
const FIRST: Portion = Portion {
    endings: 1000,
    bytes: 4 << 20,
};
/// Twice as much would be done well within the time that a transaction has (5 s).
const QUICK: Duration = Duration::from_secs(1);

/// What one transaction takes at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portion {
    pub(super) endings: usize,
    pub(super) bytes: usize,
}

impl Portion {
    /// Whether another ending of that size fits. The first one always does.
    pub(super) fn takes(&self, endings: usize, bytes: &mut usize, size: usize) -> bool {
        let fits = endings == 0 || endings < self.endings && *bytes + size <= self.bytes;
        *bytes += if fits { size } else { 0 };
        fits
    }

    /// That much did not get through in time.
    pub(super) fn halve(&mut self, endings: usize, bytes: usize) {
        self.endings = (endings / 2).max(1);
        self.bytes = (bytes / 2).max(1);
    }

    /// That much got through in such a time.
    pub(super) fn got_through(&mut self, endings: usize, bytes: usize, took: Duration) {
        // Less than half a portion says nothing of a larger one.
        if took < QUICK && (endings * 2 > self.endings || bytes * 2 > self.bytes) {
            self.endings = (self.endings * 2).min(MAX_ENDINGS);
            self.bytes = (self.bytes * 2).min(MAX_BYTES);
        }
    }
}

/// A portion for each kind of transaction: the usual ones, and those of endings that are settled
/// apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portions([Portion; 3]);

impl Default for Portions {
    fn default() -> Self {
        // An ending that was too large by itself is not tried together with another.
        Portions([
            FIRST,
            FIRST,
            Portion {
                endings: 1,
                bytes: 1,
            },
        ])
    }
}

impl Portions {
    pub(super) fn of(&mut self, apart: Option<Apart>) -> &mut Portion {
        &mut self.0[apart.map_or(0, |apart| 1 + apart as usize)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_shrinks_to_what_gets_through_and_grows_when_full_ones_are_quick() {
        let mut portion = FIRST;
        for _ in 0..30 {
            portion.halve(portion.endings, portion.bytes);
        }
        assert_eq!(
            portion,
            Portion {
                endings: 1,
                bytes: 1
            }
        );
        portion.got_through(1, 900, Duration::from_secs(2));
        assert_eq!(portion.endings, 1, "it was slow");
        for _ in 0..20 {
            portion.got_through(portion.endings, portion.bytes, Duration::from_millis(20));
        }
        assert_eq!(portion.endings, MAX_ENDINGS);
        portion.halve(300, 6000);
        portion.got_through(20, 400, Duration::from_millis(20));
        assert_eq!(
            portion,
            Portion {
                endings: 150,
                bytes: 3000
            },
            "so little proves nothing"
        );
        portion.got_through(20, 2900, Duration::from_millis(20));
        assert_eq!(
            portion,
            Portion {
                endings: 300,
                bytes: 6000
            }
        );
    }
}
