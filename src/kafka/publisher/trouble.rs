//! Trouble: the consequences of an aborted transaction, and how they are reported.

use std::collections::BTreeSet;
use std::time::Instant;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::{debug, error, info, warn};

use crate::kafka::client;
use crate::kafka::findings::{Findings, Report};
use crate::kafka::message::{Message, MessageKind, MessageRefusal};
use crate::kafka::publisher::{Settlement, Work};
use engine::{PartitionCommit, Unsettled};

/// A rebalance, or a broker that moves, aborts a transaction so often.
const SOME_TRIES: u32 = 3;

/// When to try an aborted transaction again.
pub(super) enum Next {
    /// Something was changed that may help.
    AtOnce,
    /// It may go through the next time.
    Later,
    /// Not all of it can be settled now.
    Leave(Unsettled),
}

impl<C: Send + 'static> Work<C> {
    /// Decides how to go on after an aborted transaction.
    pub(super) fn next(
        &mut self,
        settlement: &mut Settlement,
        reports: &[Report],
        error: &KafkaError,
        is_outage: bool,
    ) -> Next {
        let late = error.rdkafka_error_code() == Some(Code::MessageTimedOut);
        let findings = Findings::of(&settlement.messages, reports, self.batches.bytes(), late);
        debug!(
            ?findings,
            taken = reports
                .iter()
                .filter(|report| report.result.is_ok())
                .count(),
            of = reports.len(),
            "a transaction was aborted"
        );
        let mut refused = self.alter(settlement, &findings);
        if let Some(bytes) = findings.narrow {
            debug!(
                bytes,
                "a batch of messages was refused: smaller ones tell which of them it was"
            );
            self.batches.narrow = Some((bytes, Instant::now()));
            self.producer = None;
        }
        refused.extend(self.suspend_all(&settlement.messages, &findings, error));
        // Nothing was taken at all: perhaps the transaction before does not end, which only a new
        // session tells.
        if findings.late && reports.iter().all(|report| report.result.is_err()) {
            self.producer = None;
        }
        let late = findings.late && !is_outage;
        if late {
            self.tell_aborted(error, 1);
        } else if !is_outage && !findings.stuck.is_empty() {
            self.tell_stuck(settlement, reports, &findings.stuck);
            self.standing
                .doubt(&settlement.messages[findings.stuck[0]], Instant::now());
        }
        if !is_outage {
            refused.extend(
                findings
                    .stuck
                    .iter()
                    .map(|number| settlement.messages[*number].ending),
            );
        }
        if late || !refused.is_empty() {
            Next::Leave(Unsettled {
                refused: refused.into_iter().collect(),
                late,
            })
        } else if !findings.guilty.is_empty() || findings.narrow.is_some() {
            Next::AtOnce
        } else {
            Next::Later
        }
    }

    /// Changes the messages that were refused for themselves. Returns the endings of those that
    /// cannot be changed any further.
    fn alter(&mut self, settlement: &mut Settlement, findings: &Findings) -> BTreeSet<usize> {
        let mut refused = BTreeSet::new();
        for (number, refusal) in &findings.guilty {
            let message = &mut settlement.messages[*number];
            self.standing
                .refused(message, *refusal, self.batches.compressed, Instant::now());
            if !message.alter(*refusal) {
                refused.insert(message.ending);
                self.tell_refused(&settlement.messages[*number], *refusal);
            }
        }
        refused
    }

    /// Suspends the topics that take nothing. Returns the endings that need one of them.
    fn suspend_all(
        &mut self,
        messages: &[Message],
        findings: &Findings,
        error: &KafkaError,
    ) -> Vec<usize> {
        let mut topics = findings.topics.clone();
        if let (true, Some(Code::TopicAuthorizationFailed)) =
            (topics.is_empty(), error.rdkafka_error_code())
        {
            topics.extend(suspect(messages).map(|topic| (topic, Code::TopicAuthorizationFailed)));
        }
        let mut refused = Vec::new();
        for (topic, code) in &topics {
            self.suspend(topic, *code);
            let of_topic = messages.iter().filter(|message| message.topic == *topic);
            refused.extend(of_topic.map(|message| message.ending));
        }
        refused
    }

    /// A topic takes nothing: what needs it waits, and nothing else does.
    fn suspend(&mut self, topic: &str, code: Code) {
        let pause = self.standing.suspend(topic, Instant::now());
        if let Some(left_out) = self.tell(topic) {
            let error = KafkaError::MessageProduction(code);
            let advice = match code {
                Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
                    "create the topic again: this service creates none"
                }
                Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
                    "compare its replicas in sync with min.insync.replicas"
                }
                _ => client::advice(&error, ""),
            };
            let target = self.metrics.name();
            error!(target, topic, %error, advice, retry_in_ms = pause.as_millis() as u64, left_out, "a topic takes no messages: what ends with one for it waits to be settled");
        }
    }

    fn tell_stuck(&self, settlement: &Settlement, reports: &[Report], stuck: &[usize]) {
        let Some(report) = reports
            .iter()
            .find(|report| stuck.first() == Some(&report.number))
        else {
            return;
        };
        let Some(left_out) = self.tell("stuck") else {
            return;
        };
        let (target, topic) = (
            self.metrics.name(),
            &settlement.messages[report.number].topic,
        );
        error!(
            target,
            topic,
            partition = report.partition,
            messages = stuck.len(),
            left_out,
            "a partition took nothing in time: what ends with a message for it waits to be settled. Look at its leader, and at min.insync.replicas \
             of its topic"
        );
    }

    fn tell_refused(&self, message: &Message, refusal: MessageRefusal) {
        if let Some(left_out) = self.tell("refused") {
            let (target, record, topic, advice) = (
                self.metrics.name(),
                &message.origin,
                &message.topic,
                refusal.advice(),
            );
            error!(target, %record, topic, advice, left_out, "a topic refuses a message however it is changed: its record waits to be settled");
        }
    }

    /// Logs and counts the messages that were settled with a change.
    pub(super) fn told(&mut self, settlement: &Settlement, commits: &[PartitionCommit]) {
        let is_settled = |message: &&Message| {
            commits
                .iter()
                .any(|commit| commit.partition == message.origin.partition)
        };
        let settled = || settlement.messages.iter().filter(is_settled);
        self.standing.went_through(settled());
        for message in settled().filter(|message| !message.altered.is_empty()) {
            let (target, record, topic, altered) = (
                self.metrics.name(),
                &message.origin,
                &message.topic,
                message.altered,
            );
            let advice = message.refusal.map(MessageRefusal::advice);
            error!(target, %record, topic, %altered, advice, "a topic refused a message as it was: it was sent with these parts changed");
            self.metrics
                .altered(message.kind == MessageKind::DeadLetter, altered);
        }
    }

    /// Tells of a producer that cannot be made, or does not get the right to its name.
    pub(super) fn tell_not_ready(&self, error: &KafkaError, tries: u32) {
        let Some(left_out) = self.tell("ready") else {
            return;
        };
        let (target, advice) = (self.metrics.name(), client::refusal_advice(error, ""));
        let error = client::words(error);
        if tries > SOME_TRIES {
            error!(
                target,
                error,
                advice,
                tries,
                left_out,
                "the transactional producer is still not ready: nothing can be settled"
            );
        } else {
            warn!(
                target,
                error,
                advice,
                left_out,
                "the transactional producer is not ready yet; trying again"
            );
        }
    }

    /// Tells of a transaction that was aborted, for the first time or again.
    pub(super) fn tell_aborted(&self, error: &KafkaError, tries: u32) {
        let Some(left_out) = self.tell("aborted") else {
            return debug!(%error, "a transaction was aborted; it is made again");
        };
        let (target, advice) = (self.metrics.name(), client::refusal_advice(error, ""));
        if tries > SOME_TRIES {
            error!(target, %error, advice, tries, left_out, "a transaction is aborted again and again: what has ended is not settled");
        } else if advice.is_some() {
            warn!(target, %error, advice, left_out, "a transaction was refused; it is made again");
        } else {
            info!(target, %error, left_out, "a transaction was aborted; it is made again");
        }
    }
}

/// The topic that is likely meant if the coordinator refuses one of them and does not say which: if
/// it is the other one, the next transaction tells, which has no message for this one.
fn suspect(messages: &[Message]) -> Option<String> {
    let of_letter = messages
        .iter()
        .find(|message| message.kind == MessageKind::DeadLetter);
    of_letter
        .or(messages.first())
        .map(|message| message.topic.clone())
}
