//! One message, sent outside of any transaction, and where it stands then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::config::Kafka;
use crate::kafka::reader::{ReadFailure, Spot, unreachable};
use crate::kafka::{client, headers};
use crate::model::record::Record;

/// The report comes when the client gives the message up, at the latest.
const PATIENCE: Duration = Duration::from_secs(client::SINGLE_TIMEOUT_S + 10);

/// The delivery report, once it has come.
#[derive(Default)]
struct SingleReport(Mutex<Option<Result<Spot, KafkaError>>>);

impl ClientContext for SingleReport {}

impl ProducerContext for SingleReport {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let found = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        if let Ok(mut delivery) = self.0.lock() {
            *delivery = Some(found);
        }
    }
}

/// Writes the record to that topic, in the partition that its key leads to, and says where it
/// stands.
///
/// # Errors
/// If the brokers do not answer, or refuse it.
pub fn send(kafka: &Kafka, topic: &str, record: &Record) -> Result<Spot, ReadFailure> {
    let producer: BaseProducer<SingleReport> = client::single(kafka)?
        .create_with_context(SingleReport::default())
        .map_err(|error| ReadFailure::Other(anyhow::anyhow!(client::words(&error))))?;
    let mut message = BaseRecord::<[u8], [u8]>::to(topic).headers(headers::to_send(
        &record.headers,
        record.verbatim_headers.as_ref(),
    ));
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    producer
        .send(message)
        .map_err(|(error, _)| refused(kafka, topic, &error))?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        producer.poll(Duration::from_millis(20));
        let delivery = producer.context().0.lock();
        if let Some(found) = delivery.ok().and_then(|mut delivery| delivery.take()) {
            return found.map_err(|error| refused(kafka, topic, &error));
        }
    }
    Err(refused(
        kafka,
        topic,
        &KafkaError::MessageProduction(Code::MessageTimedOut),
    ))
}

fn refused(kafka: &Kafka, topic: &str, error: &KafkaError) -> ReadFailure {
    match error.rdkafka_error_code() {
        Some(Code::MessageTimedOut | Code::RequestTimedOut | Code::BrokerTransportFailure) => {
            ReadFailure::Unreachable(format!(
                "{}. Whether the event was written is not known: \
                 look with `explain` before it is sent again",
                unreachable(kafka, error)
            ))
        }
        Some(Code::MessageSizeTooLarge) => ReadFailure::Other(anyhow::anyhow!(
            "nothing was sent: the event is larger than the topic {topic} takes (max.message.bytes)"
        )),
        _ => {
            let words = client::words(error);
            match client::refusal_advice(error, "") {
                Some(advice) => ReadFailure::Unreachable(format!(
                    "nothing was sent: the topic {topic} refuses it ({words}): {advice}"
                )),
                None => ReadFailure::Other(anyhow::anyhow!(
                    "nothing was sent: the topic {topic} refuses it ({words})"
                )),
            }
        }
    }
}
