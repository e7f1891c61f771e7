//! Settling: what ended goes to the publisher, and is told of when it is committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::http::attempt::Attempt;
use crate::kafka::Settled;
use crate::model::outcome::Kind;
use crate::subscriber::Subscriber;
use crate::subscriber::ending;
use crate::subscriber::update::Update;
use engine::Batch;

impl Subscriber {
    /// Hands what ended over to the publisher.
    pub(super) fn settle(&mut self, batch: Batch<Update, Attempt>) {
        let (batch, settler) = (Arc::new(batch), self.settler.clone());
        self.settling = Some(batch.clone());
        self.publisher.settle(move || settler.settlement(&batch));
    }

    /// A transaction has gone through: only now is it counted, logged and told to traces what
    /// ended. Or it has not.
    pub(super) fn settled(&mut self, settled: Settled) {
        let Some(batch) = self.settling.take() else {
            return;
        };
        let id = match settled {
            Settled::Done(id) => id,
            Settled::Not(id, why) => return self.engine.not_settled(id, &why, Instant::now()),
        };
        let epochs: HashMap<i32, u64> = batch
            .commits
            .iter()
            .map(|commit| (commit.partition, commit.epoch))
            .collect();
        let now_ms = Timestamp::now().as_millisecond();
        for ending in &batch.endings {
            let record = &ending.update.record;
            let epoch = epochs
                .get(&record.place.partition)
                .copied()
                .unwrap_or_default();
            if self.ownership.holds(record.place.partition, epoch) {
                let since_written = Duration::from_millis(
                    u64::try_from(now_ms - ending.update.written_ms()).unwrap_or(0),
                );
                let (kind, reason) = Kind::of(ending.end);
                self.metrics.settled(kind, reason, since_written);
                ending::log(&self.name, ending);
                if let Some(span) = ending.update.span.get() {
                    span.settled(ending.end, ending.spent.calls);
                }
            }
        }
        for commit in &batch.commits {
            if !self.ownership.holds(commit.partition, commit.epoch) {
                self.engine.not_committed(commit.partition);
            }
        }
        self.engine.settled(id, Instant::now());
    }
}
