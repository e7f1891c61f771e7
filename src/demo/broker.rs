//! The broker: an embedded one on a loopback port, with what the demo itself sends to it and reads
//! from it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::config::Topics;
use crate::demo::samples::Sample;
use crate::kafka::headers;
use crate::model::record::Record;

/// The partitions of each topic.
const PARTITIONS: i32 = 4;
/// How long the broker, which is in this process, may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sample's position: partition and offset.
pub(super) type Spot = (i32, i64);

/// The embedded broker. It ends with the process.
#[derive(Clone)]
pub(super) struct Broker {
    address: String,
}

impl Broker {
    /// Starts one, and makes the topics.
    pub(super) async fn start(topics: &Topics) -> anyhow::Result<Self> {
        let address = noida::kafka::spawn("127.0.0.1:0")
            .context("the embedded broker found no free port on 127.0.0.1")?;
        let broker = Broker {
            address: address.to_string(),
        };
        let admin: AdminClient<DefaultClientContext> = broker.client().create()?;
        let new = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        let made = [&topics.updates, &topics.outcomes, &topics.dead_letters].map(|name| new(name));
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        for topic in admin.create_topics(&made, &options).await? {
            topic.map_err(|(name, code)| {
                anyhow::anyhow!("the embedded broker did not make the topic {name}: {code}")
            })?;
        }
        Ok(broker)
    }

    /// Its address, as `bootstrap_servers` takes it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// Sends the samples evenly over `span`. Returns the position of each.
    pub(super) fn send(
        &self,
        topic: &str,
        samples: &[Sample],
        span: Duration,
    ) -> anyhow::Result<Vec<Spot>> {
        let spots = SampleSpots(Mutex::new(vec![None; samples.len()]));
        let mut config = self.client();
        // An idempotent producer would take a second to begin.
        config
            .set("partitioner", "murmur2_random")
            .set("retries", "0")
            .set("linger.ms", "0");
        let producer: BaseProducer<SampleSpots> = config.create_with_context(spots)?;
        // Known before the first event, which would wait for it.
        producer.client().fetch_metadata(Some(topic), PATIENCE)?;
        let interval = span / u32::try_from(samples.len()).unwrap_or(u32::MAX).max(1);
        let mut due = Instant::now();
        for (number, sample) in samples.iter().enumerate() {
            due += interval;
            // Serves the deliveries meanwhile.
            producer.poll(due.saturating_duration_since(Instant::now()));
            let mut record = BaseRecord::with_opaque_to(topic, number)
                .key(sample.key.as_bytes())
                .payload(sample.value.as_slice())
                .headers(headers::to_send(&sample.headers, None));
            while let Err((error, back)) = producer.send(record) {
                anyhow::ensure!(
                    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull),
                    "{error}"
                );
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(PATIENCE)?;
        let spots = producer
            .context()
            .0
            .lock()
            .map(|spots| spots.clone())
            .unwrap_or_default();
        spots
            .into_iter()
            .map(|spot| spot.context("the embedded broker did not take an event"))
            .collect()
    }

    /// Reads a topic from its beginning to its end, as a consumer with
    /// `isolation.level=read_committed` sees it.
    pub(super) fn read(&self, topic: &str) -> anyhow::Result<Vec<Record>> {
        let mut config = self.client();
        config
            .set("group.id", "demo-reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "20");
        let consumer: BaseConsumer = config.create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let name = topic.into();
        let (mut records, mut open, deadline) = (
            Vec::new(),
            BTreeSet::from_iter(0..PARTITIONS),
            Instant::now() + PATIENCE,
        );
        while !open.is_empty() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the end of {topic} was not reached within {PATIENCE:?}"
            );
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(headers::record(&name, &message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
        }
        Ok(records)
    }
}

/// The positions of the samples, by their number.
struct SampleSpots(Mutex<Vec<Option<Spot>>>);

impl ClientContext for SampleSpots {}

impl ProducerContext for SampleSpots {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let (Ok(message), Ok(mut spots)) = (result, self.0.lock())
            && let Some(spot) = spots.get_mut(number)
        {
            *spot = Some((message.partition(), message.offset()));
        }
    }
}
