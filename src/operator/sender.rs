//! The sender: transactions of the one producer that may replay. Whoever makes a sender, ends every
//! other one of the same group.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaError};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::config::Kafka;
use crate::kafka::reader::{Spot, unreachable};
use crate::kafka::{Findings, Kind, Message, Refusal, Transactions, client};
use crate::operator::Failure;

/// For so long a call is made again before the broker is given up.
const LONGEST: Duration = Duration::from_secs(60);
/// Messages time out before: this is for those of which nothing is heard at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// librdkafka's own bound of a batch.
const BATCH_BYTES: usize = 1_000_000;

/// Why a transaction was undone.
pub(super) enum Trouble {
    /// It may be made again.
    Again,
    /// Their topic refuses these of the messages of that kind for themselves.
    Refused(Kind, Vec<(usize, Refusal)>),
    /// It is too large: for its topic, or for the time.
    TooLarge,
    /// There is no going on.
    Over(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Over(failure)
    }
}

/// A producer that holds the right to replay until another one takes it.
pub(super) struct Sender {
    transactions: Transactions,
    servers: String,
}

impl Sender {
    /// Takes the right to replay: another replay that is under way ends, and what it had not
    /// committed is undone.
    pub(super) fn take_over(kafka: &Kafka) -> Result<Self, Failure> {
        let settings = client::replayer(kafka)?;
        let transactions =
            Transactions::open(&settings, "replay", &patience()).map_err(|error| match error {
                KafkaError::Transaction(_) => unreachable(kafka, &error),
                _ => Failure::Other(anyhow::anyhow!(client::words(&error))),
            })?;
        Ok(Sender {
            transactions,
            servers: kafka.bootstrap_servers.clone(),
        })
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<(), Trouble> {
        self.transactions
            .begin()
            .map_err(|error| self.judge(&error))
    }

    /// Sends messages, all of one kind, and says where each stands once all do. On failure the
    /// transaction is undone.
    pub(super) fn send(&self, messages: &mut [Message]) -> Result<Vec<Spot>, Trouble> {
        let sent = messages
            .iter_mut()
            .enumerate()
            .try_for_each(|(number, message)| self.queue(number, message));
        let delivered = sent.and_then(|()| self.transactions.deliver(PATIENCE));
        let Err(error) = delivered else {
            let mut reports = self.transactions.reports();
            reports.sort_unstable_by_key(|report| report.number);
            return Ok(reports
                .into_iter()
                .filter_map(|report| Some((report.partition, report.result.ok()?)))
                .collect());
        };
        let trouble = self.judge(&error);
        if matches!(trouble, Trouble::Over(_)) {
            return Err(trouble);
        }
        self.abort()?;
        let is_late = error.rdkafka_error_code() == Some(Code::MessageTimedOut);
        let findings = Findings::of(messages, &self.transactions.reports(), BATCH_BYTES, is_late);
        if let Some((topic, code)) = findings.topics.into_iter().next() {
            return Err(self
                .lost(&format!("the topic {topic} takes no messages: {code}"))
                .into());
        }
        if let (false, Some(message)) = (findings.guilty.is_empty(), messages.first()) {
            return Err(Trouble::Refused(message.kind, findings.guilty));
        }
        let too_large = findings.late || !findings.stuck.is_empty() || findings.narrow.is_some();
        Err(if too_large {
            Trouble::TooLarge
        } else {
            trouble
        })
    }

    /// Queues a message. Of an outcome that the client itself does not send for its size, as little
    /// is changed as helps.
    fn queue(&self, number: usize, message: &mut Message) -> Result<(), KafkaError> {
        loop {
            match self.transactions.send(number, message) {
                Ok(()) => return Ok(()),
                Err(Code::MessageSizeTooLarge | Code::QueueFull)
                    if message.alter(Refusal::Size) => {}
                Err(code) => return Err(self.transactions.refused(number, code)),
            }
        }
    }

    /// Commits the transaction, or undoes it.
    pub(super) fn commit(&self) -> Result<(), Trouble> {
        let Err(error) = self.transactions.commit(&patience()) else {
            return Ok(());
        };
        let trouble = match &error {
            KafkaError::Transaction(inner)
                if inner.is_retriable() && !inner.txn_requires_abort() =>
            {
                self.lost(&error.to_string()).into()
            }
            _ => self.judge(&error),
        };
        if !matches!(trouble, Trouble::Over(_)) {
            self.abort()?;
        }
        Err(trouble)
    }

    /// Undoes the transaction.
    pub(super) fn abort(&self) -> Result<(), Failure> {
        self.transactions
            .abort(&patience())
            .map_err(|error| match self.judge(&error) {
                Trouble::Over(failure) => failure,
                _ => self.lost(&client::words(&error)),
            })
    }

    fn judge(&self, error: &KafkaError) -> Trouble {
        if let Some((code, words)) = self.transactions.fatal_error() {
            return Trouble::Over(match code {
                Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced => Failure::Fenced(
                    "another replay has taken over (or a transaction took longer than 5 s): what this one had sent and not yet recorded is \
                     undone, nothing was sent twice. When the other one has ended, run this command again if anything is left"
                        .to_owned(),
                ),
                _ => self.lost(&words),
            });
        }
        match client::refusal_advice(error, "") {
            Some(advice) => self
                .lost(&format!("{}: {advice}", client::words(error)))
                .into(),
            None => Trouble::Again,
        }
    }

    fn lost(&self, words: &str) -> Failure {
        Failure::Unreachable(format!(
            "Kafka at {} does not go along ({words}). What was recorded stays so: run the command again, it goes on where this one ended",
            self.servers
        ))
    }
}

/// Waits for the broker, but not for ever.
fn patience() -> impl Fn(&RDKafkaError) -> bool {
    let began = Instant::now();
    move |_| began.elapsed() < LONGEST
}
