//! Views: what others see of an engine.

use std::time::Instant;

use crate::engine::Engine;
use crate::entries::Phase;
use crate::health::State;

/// What the metrics and `/status` show.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    /// Calls in flight.
    pub in_flight: usize,
    /// Records that wait for a call.
    pub waiting: usize,
    /// Calls that may be in flight.
    pub concurrency_limit: usize,
    /// The target's state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Endings that are settled apart, since their topics refuse them or they are too large for the
    /// link.
    pub aside: usize,
}

impl<U, F> Engine<U, F> {
    /// So many failures that count make an update undeliverable.
    pub fn max_attempts(&self) -> u32 {
        self.settings.max_attempts
    }

    /// What the metrics show.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            in_flight: self.calls.len(),
            waiting: self.entries.waiting(),
            concurrency_limit: self.limit.current(),
            state: self.health.state(),
            since: self.health.since(),
            aside: self.aside.len(),
        }
    }

    /// How many records are held in memory.
    pub fn held(&self) -> usize {
        self.entries.len()
    }

    /// How many records have ended and are not settled.
    pub fn unsettled(&self) -> usize {
        self.ended.len()
            + self.aside.len()
            + self
                .settling
                .as_ref()
                .map_or(0, crate::settlement::Settling::len)
    }

    /// Whether the record at that place is in memory, waiting.
    pub fn is_waiting(&self, partition: i32, offset: i64) -> bool {
        matches!(
            self.phase(partition, offset),
            Some(Phase::Waiting | Phase::WaitingRetry(_))
        )
    }

    /// Whether the record at that place has ended here and is not settled yet.
    pub fn has_ended(&self, partition: i32, offset: i64) -> bool {
        matches!(
            self.phase(partition, offset),
            Some(Phase::Ended { .. } | Phase::Settling(_))
        )
    }

    fn phase(&self, partition: i32, offset: i64) -> Option<Phase> {
        let ticket = self.partitions.get(partition)?.ledger.ticket(offset)?;
        Some(self.entries[ticket].phase())
    }

    /// The lowest unsettled offset of each partition, and the update at it where it is in memory.
    pub fn oldest(&self) -> impl Iterator<Item = (i32, i64, Option<&U>)> {
        self.partitions.iter().map(|(number, partition)| {
            let update = partition
                .ledger
                .tickets()
                .next()
                .map(|ticket| &*self.entries[ticket].update);
            (number, partition.ledger.lowest_unsettled(), update)
        })
    }
}
