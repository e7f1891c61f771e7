//! Records gathered by the polling thread before it hands them over together.

use crate::kafka::Read;
use crate::kafka::offsets::{OffsetStep, Reset};

/// Records read and handed over at once, at the most: few, since what is on its way is held besides
/// what the engine counts.
pub(super) const BATCH: usize = 256;
/// Bytes of claimed records after which a batch is handed over as it is.
const BATCH_BYTES: usize = 256 << 10;

/// Steps in the partitions, in their order.
pub(super) struct Gathered<C> {
    pub(super) steps: Vec<Read<C>>,
    /// Partitions whose log was cut.
    pub(super) cuts: Vec<Reset>,
    bytes: usize,
}

impl<C> Default for Gathered<C> {
    fn default() -> Self {
        Gathered {
            steps: Vec::new(),
            cuts: Vec::new(),
            bytes: 0,
        }
    }
}

impl<C> Gathered<C> {
    /// A record of ours, of so many bytes.
    pub(super) fn claimed(&mut self, claimed: Box<C>, size: usize) {
        self.steps.push(Read::Claimed(claimed));
        self.bytes += size;
    }

    /// A record that is not ours, before `next`. A run of them is one step.
    pub(super) fn passed(&mut self, number: i32, next: i64) {
        match self.steps.last_mut() {
            Some(Read::Passed {
                partition,
                position,
                records,
            }) if *partition == number => {
                *position = next;
                *records += 1;
            }
            _ => self.steps.push(Read::Passed {
                partition: number,
                position: next,
                records: 1,
            }),
        }
    }

    /// Adds the result of the last poll. Returns a reset to report at once.
    pub(super) fn step(&mut self, step: OffsetStep) -> Option<Reset> {
        match step {
            OffsetStep::ReadAfter(reset) => {
                self.steps.push(Read::Passed {
                    partition: reset.partition,
                    position: reset.to,
                    records: 0,
                });
                Some(reset)
            }
            OffsetStep::Cut(reset) => {
                self.cuts.push(reset);
                None
            }
            OffsetStep::Read | OffsetStep::Leave => None,
        }
    }

    /// Whether it is enough for now, however many records it is.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ResetCause;

    /// Each step: of a claimed record its name, of others partition, position and how many.
    fn steps(gathered: &Gathered<&str>) -> Vec<String> {
        let step = |step: &Read<&str>| match step {
            Read::Claimed(name) => (**name).to_owned(),
            Read::Passed {
                partition,
                position,
                records,
            } => format!("{partition}/{position} {records}"),
        };
        gathered.steps.iter().map(step).collect()
    }

    #[test]
    fn records_that_are_not_ours_are_one_step_until_another_partition_or_one_of_ours_comes() {
        let mut gathered = Gathered::default();
        gathered.passed(0, 5);
        gathered.passed(0, 9);
        gathered.passed(1, 3);
        gathered.passed(0, 10);
        gathered.claimed(Box::new("ours"), 7);
        gathered.passed(0, 12);
        let expected = ["0/9 2", "1/3 1", "0/10 1", "ours", "0/12 1"];
        assert_eq!(steps(&gathered), expected);
    }

    #[test]
    fn a_batch_is_full_by_the_bytes_of_our_records_alone() {
        let mut gathered = Gathered::default();
        for next in 1..=10_000 {
            gathered.passed(0, next);
        }
        gathered.claimed(Box::new("large"), BATCH_BYTES - 1);
        assert!(!gathered.is_full());
        gathered.claimed(Box::new("small"), 1);
        assert!(gathered.is_full());
    }

    #[test]
    fn a_gap_is_passed_over_and_told_of_and_a_cut_waits_until_all_before_it_is_handed_over() {
        let reset = |cause| Reset {
            partition: 2,
            from: 10,
            to: 40,
            cause,
        };
        let mut gathered = Gathered::default();
        gathered.claimed(Box::new("before"), 1);
        let told = gathered.step(OffsetStep::ReadAfter(reset(ResetCause::Forgotten)));
        assert_eq!(told.map(|reset| reset.to), Some(40));
        assert!(
            gathered
                .step(OffsetStep::Cut(reset(ResetCause::Forgotten)))
                .is_none()
        );
        assert!(
            gathered.step(OffsetStep::Read).is_none() && gathered.step(OffsetStep::Leave).is_none()
        );
        assert_eq!(steps(&gathered), ["before", "2/40 0"]);
        assert_eq!(gathered.cuts.len(), 1);
    }
}
