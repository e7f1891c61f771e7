//! Where the partitions end, asked for every few seconds. The client itself learns that only from what it fetches, so not of partitions
//! that are paused, and these questions wait for their answers: hence a thread of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use super::Input;
use super::assignment::Callbacks;

/// The pause between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one broker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The thread that asks.
pub(super) struct Asking<C: Send + 'static> {
    pub(super) client: Arc<BaseConsumer<Callbacks<C>>>,
    pub(super) topic: Arc<str>,
    /// Its sender is dropped when the thread shall end.
    pub(super) stop: Receiver<()>,
}

impl<C: Send + 'static> Asking<C> {
    pub(super) fn run(self) {
        while self.stop.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            self.ask();
        }
    }

    /// One question to each leader, for all its partitions together: a leader that does not answer spoils no other's answer.
    fn ask(&self) {
        let context = self.client.context();
        let mut partitions = context.ownership.partitions();
        let owned = !partitions.is_empty();
        if !owned {
            // The answer still says that the brokers answer.
            partitions.push(0);
        }
        let leaders = context.leaders.lock().map(|leaders| leaders.clone()).unwrap_or_default();
        let mut groups: HashMap<Option<&i32>, Vec<i32>> = HashMap::new();
        for partition in partitions {
            groups.entry(leaders.get(&partition)).or_default().push(partition);
        }
        for (leader, partitions) in groups {
            match self.ends(&partitions) {
                Ok(ends) => {
                    context.membership.answered(Instant::now());
                    if owned && !ends.is_empty() {
                        context.send(Input::Asked(ends));
                    }
                }
                Err(error) => debug!(target = context.metrics.name(), leader, %error, "where partitions end is not known; asking again"),
            }
        }
    }

    fn ends(&self, partitions: &[i32]) -> KafkaResult<Vec<(i32, i64)>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition_offset(&self.topic, *partition, Offset::End)?;
        }
        let told = self.client.offsets_for_times(asked, ANSWER)?;
        let end = |offset| match offset {
            Offset::Offset(end) => Some(end),
            _ => None,
        };
        Ok(told.elements().iter().filter(|one| one.error().is_ok()).filter_map(|one| Some((one.partition(), end(one.offset())?))).collect())
    }
}
