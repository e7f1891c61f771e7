//! Settling: what ended goes to the publisher, and is told of when it is committed.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Subscriber;
use crate::ending;
use crate::engine::{Batch, Ending};
use crate::kafka::Settled;
use crate::settle::{Facts, kind};
use crate::update::Update;

/// What is being committed.
pub(super) struct Settling {
    ending: Ending<Update, Facts>,
    epoch: u64,
}

impl Subscriber {
    /// Hands what ended over to the publisher.
    pub(super) fn settle(&mut self, batch: Batch<Update, Facts>) {
        let epochs: HashMap<i32, u64> = batch.commits.iter().map(|commit| (commit.partition, commit.epoch)).collect();
        self.publisher.settle(self.settler.settlement(&batch));
        self.settling.extend(batch.endings.into_iter().map(|ending| {
            let epoch = epochs.get(&ending.update.record.place.partition).copied().unwrap_or_default();
            Settling { ending, epoch }
        }));
    }

    /// A transaction has gone through: only now is it counted, logged and told to traces what ended.
    pub(super) fn committed(&mut self, Settled(batch): Settled) {
        let now_ms = Timestamp::now().as_millisecond();
        for Settling { ending, epoch } in self.settling.drain(..) {
            let record = &ending.update.record;
            if self.ownership.holds(record.place.partition, epoch) {
                let since_written = record.timestamp_ms.map(|written| Duration::from_millis(u64::try_from(now_ms - written).unwrap_or(0)));
                let (kind, reason) = kind(ending.end);
                self.metrics.settled(kind, reason, since_written);
                ending::log(&self.name, &ending);
                if let Some(span) = ending.update.span.get() {
                    span.settled(ending.end, ending.spent.calls);
                }
            }
        }
        self.engine.settled(batch);
    }
}
