//! The sender: transactions of the one producer that may replay. Whoever makes a sender, ends every
//! other one of the same group.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaError};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::config::Kafka;
use crate::kafka::reader::{Spot, unreachable};
use crate::kafka::{Findings, Message, MessageKind, MessageRefusal, Transactions, client};
use crate::operator::ReadFailure;

/// For so long a call is made again before the broker is given up.
const LONGEST: Duration = Duration::from_secs(60);
/// Messages time out before: this is for those of which nothing is heard at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// librdkafka's own bound of a batch.
const BATCH_BYTES: usize = 1_000_000;

/// Why a transaction was undone.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be made again.
    Again,
    /// Their topic refuses these of the messages of that kind for themselves.
    Refused(MessageKind, Vec<(usize, MessageRefusal)>),
    /// It is too large: for its topic, or for the time.
    TooLarge,
    /// There is no going on.
    Over(ReadFailure),
}

impl From<ReadFailure> for Trouble {
    fn from(failure: ReadFailure) -> Self {
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
    pub(super) fn take_over(kafka: &Kafka) -> Result<Self, ReadFailure> {
        let settings = client::replayer(kafka)?;
        let transactions =
            Transactions::open(&settings, "replay", &patience()).map_err(|error| match error {
                KafkaError::Transaction(_) => unreachable(kafka, &error),
                _ => ReadFailure::Other(anyhow::anyhow!(client::words(&error))),
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

    /// Sends messages, all of one kind, and returns the position of each once all are stored. On
    /// failure the transaction is undone.
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
        let kind = messages.first().map(|message| message.kind);
        Err(follow(findings, kind, trouble, &self.servers))
    }

    /// Queues a message. Of an outcome that the client itself does not send for its size, as little
    /// is changed as helps.
    fn queue(&self, number: usize, message: &mut Message) -> Result<(), KafkaError> {
        loop {
            match self.transactions.send(number, message) {
                Ok(()) => return Ok(()),
                Err(Code::MessageSizeTooLarge | Code::QueueFull)
                    if message.alter(MessageRefusal::Size) => {}
                Err(code) => return Err(self.transactions.refused(number, code)),
            }
        }
    }

    /// Commits the transaction, or undoes it.
    pub(super) fn commit(&self) -> Result<(), Trouble> {
        let Err(error) = self.transactions.commit(&patience()) else {
            return Ok(());
        };
        let trouble = if is_open(&error) {
            lost(&error.to_string(), &self.servers).into()
        } else {
            self.judge(&error)
        };
        if !matches!(trouble, Trouble::Over(_)) {
            self.abort()?;
        }
        Err(trouble)
    }

    /// Undoes the transaction.
    pub(super) fn abort(&self) -> Result<(), ReadFailure> {
        self.transactions
            .abort(&patience())
            .map_err(|error| match self.judge(&error) {
                Trouble::Over(failure) => failure,
                _ => lost(&client::words(&error), &self.servers),
            })
    }

    fn judge(&self, error: &KafkaError) -> Trouble {
        judge(error, self.transactions.fatal_error(), &self.servers)
    }
}

/// Whether the broker was given up while the client would have gone on: nobody knows whether the
/// transaction is committed.
fn is_open(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(inner) if inner.is_retriable() && !inner.txn_requires_abort())
}

/// The consequence of an error. `fatal`: the producer can do nothing more, and why.
fn judge(error: &KafkaError, fatal: Option<(Code, String)>, servers: &str) -> Trouble {
    if let Some((code, words)) = fatal {
        return Trouble::Over(match code {
            Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced => ReadFailure::Fenced(
                "another replay has taken over (or a transaction took longer than 5 s): what this one had sent and not yet recorded is \
                 undone, nothing was sent twice. When the other one has ended, run this command again if anything is left"
                    .to_owned(),
            ),
            _ => lost(&words, servers),
        });
    }
    match client::refusal_advice(error, "") {
        Some(advice) => {
            let words = format!("{}: {advice}", client::words(error));
            lost(&words, servers).into()
        }
        None => Trouble::Again,
    }
}

/// The consequence of the findings about messages of that kind; `otherwise`, if there are none.
fn follow(
    findings: Findings,
    kind: Option<MessageKind>,
    otherwise: Trouble,
    servers: &str,
) -> Trouble {
    let too_large = findings.late || !findings.stuck.is_empty() || findings.narrow.is_some();
    match (findings.topics.into_iter().next(), kind) {
        (Some((topic, code)), _) => {
            let words = format!("the topic {topic} takes no messages: {code}");
            lost(&words, servers).into()
        }
        (None, Some(kind)) if !findings.guilty.is_empty() => {
            Trouble::Refused(kind, findings.guilty)
        }
        _ if too_large => Trouble::TooLarge,
        _ => otherwise,
    }
}

fn lost(words: &str, servers: &str) -> ReadFailure {
    ReadFailure::Unreachable(format!(
        "Kafka at {servers} does not go along ({words}). What was recorded stays so: run the command again, it goes on where this one ended"
    ))
}

/// Waits for the broker, but not for ever.
fn patience() -> impl Fn(&RDKafkaError) -> bool {
    let began = Instant::now();
    move |_| began.elapsed() < LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: Code, fatal: Option<Code>) -> Trouble {
        let fatal = fatal.map(|code| (code, "no more".to_owned()));
        judge(&KafkaError::MessageProduction(code), fatal, "kafka:9092")
    }

    #[test]
    fn a_replay_that_was_taken_over_ends_and_says_so() {
        for fatal in [
            Code::Fenced,
            Code::InvalidProducerEpoch,
            Code::ProducerFenced,
        ] {
            let trouble = judged(Code::Fatal, Some(fatal));
            assert!(
                matches!(trouble, Trouble::Over(ReadFailure::Fenced(_))),
                "{trouble:?}"
            );
        }
        let trouble = judged(Code::Fatal, Some(Code::OutOfOrderSequenceNumber));
        let Trouble::Over(ReadFailure::Unreachable(words)) = trouble else {
            panic!("{trouble:?}");
        };
        assert!(
            words.contains("kafka:9092") && words.contains("no more"),
            "{words}"
        );
    }

    #[test]
    fn a_right_that_is_missing_ends_it_and_what_may_pass_is_tried_again() {
        let trouble = judged(Code::TransactionalIdAuthorizationFailed, None);
        assert!(
            matches!(trouble, Trouble::Over(ReadFailure::Unreachable(_))),
            "{trouble:?}"
        );
        let trouble = judged(Code::RequestTimedOut, None);
        assert!(matches!(trouble, Trouble::Again), "{trouble:?}");
    }

    fn followed(findings: Findings) -> Trouble {
        follow(
            findings,
            Some(MessageKind::Update),
            Trouble::Again,
            "kafka:9092",
        )
    }

    #[test]
    fn what_was_found_out_about_a_transaction_says_how_it_is_made_again() {
        let guilty = || vec![(3, MessageRefusal::Size)];
        let closed = [("updates".to_owned(), Code::TopicAuthorizationFailed)];
        let trouble = followed(Findings {
            guilty: guilty(),
            topics: closed.into(),
            ..Findings::default()
        });
        assert!(
            matches!(trouble, Trouble::Over(ReadFailure::Unreachable(_))),
            "{trouble:?}"
        );
        let trouble = followed(Findings {
            guilty: guilty(),
            late: true,
            ..Findings::default()
        });
        let Trouble::Refused(MessageKind::Update, found) = trouble else {
            panic!("{trouble:?}");
        };
        assert_eq!(found, guilty());
        for findings in [
            Findings {
                late: true,
                ..Findings::default()
            },
            Findings {
                stuck: vec![1],
                ..Findings::default()
            },
            Findings {
                narrow: Some(1000),
                ..Findings::default()
            },
        ] {
            let trouble = followed(findings);
            assert!(matches!(trouble, Trouble::TooLarge), "{trouble:?}");
        }
        let trouble = followed(Findings::default());
        assert!(matches!(trouble, Trouble::Again), "{trouble:?}");
    }
}
