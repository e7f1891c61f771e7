//! The publisher's session with the transaction coordinator: how it is begun, and how it is given
//! up.

use std::collections::BTreeSet;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaError};
use tracing::{error, warn};

use crate::kafka::consumer::is_fenced;
use crate::kafka::findings::Report;
use crate::kafka::message::Message;
use crate::kafka::publisher::{HEARTBEAT, NARROW, PAUSE, Work};
use crate::kafka::transaction::{Transactions, WaitNotice, too_many_left_behind};

/// As many transactional ids are used in turn.
const MOST: u32 = 16;

/// The transactional ids: its own, and others for the time that a transaction of it does not end
/// because a partition has too few replicas in sync. What keeps another instance from settling the
/// same is the consumer group, which goes with each transaction.
#[derive(Default)]
pub(super) struct TransactionalIds(u32);

impl TransactionalIds {
    fn apply(&self, settings: &mut ClientConfig) {
        if let (1.., Some(own)) = (self.0, settings.get("transactional.id")) {
            let name = format!("{own}~{}", self.0);
            settings.set("transactional.id", name);
        }
    }

    fn next(&mut self) {
        self.0 = (self.0 + 1) % MOST;
    }
}

impl<C: Send + 'static> Work<C> {
    /// Makes the producer and opens its session with the transaction coordinator; waits for the
    /// broker. False when stopped, or when another instance has our name: a new producer would take
    /// it back.
    pub(super) fn ready(&mut self) -> bool {
        let (mut pause, mut tries) = (PAUSE, 0);
        while self.producer.is_none() {
            if self.stopping() || is_fenced(&self.consumer) {
                return false;
            }
            if too_many_left_behind() {
                error!(
                    target = self.metrics.name(),
                    "too many calls of the Kafka client never came back: restart this process"
                );
                return false;
            }
            match self.make() {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => {
                    tries += 1;
                    self.tell_not_ready(&error, tries);
                    self.wait(&mut pause);
                }
            }
        }
        true
    }

    /// Another producer has our name if ours was fenced. If it is another instance's, our consumer
    /// is told so with its next heartbeat.
    pub(super) fn await_fencing(&self) {
        if !self.producer.as_ref().is_some_and(Transactions::is_fenced) {
            return;
        }
        let until = Instant::now() + HEARTBEAT;
        while !self.stopping() && !is_fenced(&self.consumer) && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
    }

    fn make(&mut self) -> KafkaResult<Transactions> {
        if self
            .batches
            .narrow
            .is_some_and(|(_, since)| since.elapsed() >= NARROW)
        {
            self.batches.narrow = None;
        }
        let mut settings = self.settings.clone();
        if let Some((bytes, _)) = self.batches.narrow {
            settings.set("batch.size", bytes.to_string());
        }
        self.names.apply(&mut settings);
        let waiting = WaitNotice::new();
        let made = Transactions::open(&settings, self.metrics.name(), &|error| {
            self.goes_on(&waiting, error) && !waiting.is_vain()
        });
        if waiting.is_vain() && made.is_err() && !self.stopping() {
            self.take_another_name();
        }
        made
    }

    /// Whether a call is made again that the broker has not answered yet.
    pub(super) fn goes_on(&self, waiting: &WaitNotice, error: &RDKafkaError) -> bool {
        waiting.tell(error);
        !self.stopping()
    }

    /// Under this name none can begin, since the one before does not end. What of that one may be
    /// to blame is looked at as soon as there is a session to ask in.
    pub(super) fn take_another_name(&mut self) {
        self.names.next();
        self.does_not_end = true;
    }

    /// The endings that have a message for a topic or a partition which takes nothing now.
    pub(super) fn suspended(&mut self, messages: &[Message]) -> BTreeSet<usize> {
        let now = Instant::now();
        if let Some(producer) = &self.producer {
            let replicas = |topic: &str| producer.replicas(topic);
            self.blocked.look(replicas, now);
            if std::mem::take(&mut self.does_not_end) {
                let partitions = self.blocked.confirm(replicas, now);
                if partitions > 0 {
                    error!(
                        target = self.metrics.name(),
                        partitions,
                        "a transaction does not end for partitions without all their replicas: what ends with a message for one of them waits until more replicas are in sync. Bring the brokers back, or lower min.insync.replicas"
                    );
                }
            }
        }
        let mut suspended = self.standing.suspended(messages, now);
        suspended.extend(
            messages
                .iter()
                .filter(|message| self.blocked.is_for(message))
                .map(|message| message.ending),
        );
        suspended
    }

    /// Aborts the transaction, and returns what became of its messages.
    pub(super) fn abort(&mut self) -> Vec<Report> {
        let Some(producer) = self.producer.take() else {
            return Vec::new();
        };
        let waiting = WaitNotice::new();
        let aborted = producer.abort(&|error| self.goes_on(&waiting, error) && !waiting.is_vain());
        let reports = producer.reports();
        let Err(error) = aborted else {
            // Nothing of it left the client, so the client could end it alone.
            let is_cut_off = reports.iter().all(|report| report.result.is_err())
                && !producer.reaches_a_broker(&self.topic);
            if !is_cut_off {
                self.producer = Some(producer);
            } else if let Some(left_out) = self.tell("cut off") {
                warn!(
                    target = self.metrics.name(),
                    left_out, "the producer has no broker; a new one takes over"
                );
            }
            return reports;
        };
        if let Some(left_out) = self.tell("abort") {
            warn!(target = self.metrics.name(), %error, left_out, "a transaction cannot be aborted; a new producer takes over");
        }
        if waiting.is_vain() {
            self.take_another_name();
        } else {
            self.producer = Some(producer);
            self.await_fencing();
            self.producer = None;
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_name_comes_first_and_comes_again() {
        let mut settings = ClientConfig::new();
        let mut names = TransactionalIds::default();
        let name = |names: &TransactionalIds| {
            settings.set("transactional.id", "courier.valt.one");
            names.apply(&mut settings);
            settings.get("transactional.id").unwrap().to_owned()
        };
        let mut name = name;
        let mut all = Vec::new();
        for _ in 0..=MOST {
            all.push(name(&names));
            names.next();
        }
        assert_eq!(all[..2], ["courier.valt.one", "courier.valt.one~1"]);
        assert_eq!(all[0], all[MOST as usize]);
        all.dedup();
        assert_eq!(all.len(), MOST as usize + 1);
    }
}
