//! The sender: transactions of the one producer that may replay. Whoever makes a sender, ends every other one of the same group.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::Failure;
use super::topic::{Spot, unreachable};
use crate::config::Kafka;
use crate::kafka::{client, headers};
use crate::record::Header;

/// One transaction call waits this long before it is made again.
const CALL: Duration = Duration::from_secs(2);
/// For so long a call is made again before the broker is given up.
const LONGEST: Duration = Duration::from_secs(60);

/// A message of a transaction.
pub(super) struct Outgoing {
    /// The topic it goes to.
    pub(super) topic: String,
    /// The partition; `None` leaves that to the key.
    pub(super) partition: Option<i32>,
    /// The key.
    pub(super) key: Option<Vec<u8>>,
    /// The value.
    pub(super) value: Option<Vec<u8>>,
    /// The headers.
    pub(super) headers: Vec<Header>,
}

/// Why messages were not sent.
pub(super) enum Trouble {
    /// The transaction must be aborted and may be made again.
    Again(String),
    /// The topic never takes this one of them.
    Refused(usize, String),
    /// There is no going on.
    Over(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Over(failure)
    }
}

/// The producer's callbacks: where each message stands, or why it does not.
#[derive(Default)]
struct Deliveries(Mutex<Vec<(usize, Result<Spot, KafkaError>)>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        if let Ok(mut delivered) = self.0.lock() {
            delivered.push((number, result));
        }
    }
}

/// A producer that holds the right to replay until another one takes it.
pub(super) struct Sender {
    producer: BaseProducer<Deliveries>,
    servers: String,
}

impl Sender {
    /// Takes the right to replay: another replay that is under way ends, and what it had not committed is undone.
    pub(super) fn take_over(kafka: &Kafka) -> Result<Self, Failure> {
        let settings = client::replayer(kafka)?;
        let made = settings.create_with_context(Deliveries::default());
        let producer: BaseProducer<Deliveries> = made.map_err(|error| Failure::Other(anyhow::anyhow!(client::words(&error))))?;
        let began = Instant::now();
        loop {
            match producer.init_transactions(CALL) {
                Ok(()) => return Ok(Sender { producer, servers: kafka.bootstrap_servers.clone() }),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && began.elapsed() < LONGEST => {}
                Err(error) => return Err(unreachable(kafka, &error)),
            }
        }
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<(), Trouble> {
        self.producer.begin_transaction().map_err(|error| self.judge(error))
    }

    /// Sends messages, and says where each stands once all do.
    pub(super) fn send(&self, messages: &[Outgoing]) -> Result<Vec<Spot>, Trouble> {
        if let Ok(mut delivered) = self.producer.context().0.lock() {
            delivered.clear();
        }
        for (number, message) in messages.iter().enumerate() {
            self.queue(number, message)?;
        }
        client::deliver(&self.producer);
        let mut delivered = self.producer.context().0.lock().map(|mut delivered| std::mem::take(&mut *delivered)).unwrap_or_default();
        delivered.sort_unstable_by_key(|(number, _)| *number);
        let mut places = Vec::with_capacity(delivered.len());
        for (number, result) in delivered {
            match result {
                Ok(place) => places.push(place),
                Err(error) => return Err(self.judge_message(number, error)),
            }
        }
        if places.len() < messages.len() {
            return Err(Trouble::Again("a message was not confirmed".to_owned()));
        }
        Ok(places)
    }

    fn queue(&self, number: usize, message: &Outgoing) -> Result<(), Trouble> {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&message.topic, number);
        record.headers = Some(headers::to_send(&message.headers, None));
        record.partition = message.partition;
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(5));
                    record = back;
                }
                Err((error, _)) => return Err(self.judge_message(number, error)),
            }
        }
    }

    fn judge_message(&self, number: usize, error: KafkaError) -> Trouble {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Trouble::Refused(number, "it is larger than the topic takes: raise max.message.bytes there".to_owned())
            }
            _ => self.judge(error),
        }
    }

    /// Commits the transaction.
    pub(super) fn commit(&self) -> Result<(), Trouble> {
        self.again(|| self.producer.commit_transaction(CALL))
    }

    /// Undoes the transaction.
    pub(super) fn abort(&self) -> Result<(), Failure> {
        self.again(|| self.producer.abort_transaction(CALL)).map_err(|trouble| match trouble {
            Trouble::Over(failure) => failure,
            Trouble::Again(words) | Trouble::Refused(_, words) => self.lost(&words),
        })
    }

    fn again(&self, call: impl Fn() -> KafkaResult<()>) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            match call() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.txn_requires_abort() && !error.is_fatal() => {
                    if began.elapsed() > LONGEST {
                        return Err(Trouble::Over(self.lost(&error.to_string())));
                    }
                }
                Err(error) => return Err(self.judge(error)),
            }
        }
    }

    fn judge(&self, error: KafkaError) -> Trouble {
        if let Some((code, words)) = self.producer.client().fatal_error() {
            return Trouble::Over(match code {
                RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch | RDKafkaErrorCode::ProducerFenced => Failure::Fenced(
                    "another replay has taken over (or a transaction took longer than 5 s): what this one had sent and not yet recorded is \
                     undone, nothing was sent twice. When the other one has ended, run this command again if anything is left"
                        .to_owned(),
                ),
                _ => self.lost(&words),
            });
        }
        Trouble::Again(client::words(&error))
    }

    fn lost(&self, words: &str) -> Failure {
        Failure::Unreachable(format!(
            "Kafka at {} does not go along ({words}). What was recorded stays so: run the command again, it goes on where this one ended",
            self.servers
        ))
    }
}
