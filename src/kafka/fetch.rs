//! The fetcher: reads single records again that the engine had put out of memory, on a thread of
//! its own, so that nobody else waits for them. Its client joins no group, and is there only while
//! it is needed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, warn};

use crate::config::Kafka;
use crate::kafka::{ClaimFilter, client, headers};

/// How long the broker may take for the next record. After that, the engine asks again.
const ANSWER: Duration = Duration::from_secs(10);
/// How long is waited after a failure, so that it is not repeated without end in one moment.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of records that are handed over at once: one more record may pass it.
const MAX_BYTES: usize = 2 << 20;
/// Records between two wanted ones at most this far apart are read too: that is faster than to
/// seek.
const NEAR: i64 = 2_000;
/// How long a client that is not needed is kept.
const IDLE: Duration = Duration::from_secs(60);

/// A request to read records again.
#[derive(Debug)]
pub struct FetchRequest {
    /// The partition.
    pub partition: i32,
    /// The engine's number of its assignment.
    pub epoch: u64,
    /// The offsets, the lowest first.
    pub offsets: Vec<i64>,
}

/// The result of a request: the first of the wanted offsets, or none of them if reading failed.
#[derive(Debug)]
pub struct Fetched<C> {
    /// The partition.
    pub partition: i32,
    /// As in the request.
    pub epoch: u64,
    /// The offsets in their order, each with its record, unless that is gone from the topic.
    pub found: Vec<(i64, Option<Box<C>>)>,
}

/// A subscriber's fetcher. Its thread ends when this is dropped.
pub struct Fetcher {
    requests: Sender<FetchRequest>,
}

impl Fetcher {
    /// A fetcher of the update topic for `target`. `claims` makes updates of records, as when they
    /// were first read.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn spawn<C: Send + 'static>(
        kafka: &Kafka,
        target: &str,
        claims: impl ClaimFilter<C>,
        fetched: UnboundedSender<Fetched<C>>,
    ) -> anyhow::Result<Self> {
        let (requests, receiver) = channel();
        let topic = kafka.topics.updates.as_str().into();
        let reading = FetchReading {
            kafka: kafka.clone(),
            target: target.to_owned(),
            topic,
            claims,
            client: None,
        };
        std::thread::Builder::new()
            .name(format!("fetch-{target}"))
            .spawn(move || reading.run(&receiver, &fetched))
            .context("no thread to read records again")?;
        Ok(Fetcher { requests })
    }

    /// Has these records read. Every request is answered.
    pub fn fetch(&self, request: FetchRequest) {
        // The thread ends only after this is dropped.
        if self.requests.send(request).is_err() {
            debug!("the fetching thread has ended");
        }
    }
}

struct FetchReading<F> {
    kafka: Kafka,
    target: String,
    topic: Arc<str>,
    claims: F,
    client: Option<BaseConsumer>,
}

impl<F> FetchReading<F> {
    fn run<C: Send + 'static>(
        mut self,
        requests: &Receiver<FetchRequest>,
        fetched: &UnboundedSender<Fetched<C>>,
    ) where
        F: ClaimFilter<C>,
    {
        loop {
            let request = match requests.recv_timeout(IDLE) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    self.client = None;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let found = self.read(&request).unwrap_or_else(|error| {
                let FetchRequest { partition, offsets, .. } = &request;
                let offset = offsets.first();
                warn!(target = self.target, partition, offset, %error, "records that wait cannot be read again yet; it goes on trying");
                self.client = None;
                std::thread::sleep(PAUSE);
                Vec::new()
            });
            if fetched
                .send(Fetched {
                    partition: request.partition,
                    epoch: request.epoch,
                    found,
                })
                .is_err()
            {
                return;
            }
        }
    }

    fn read<C>(&mut self, request: &FetchRequest) -> anyhow::Result<Vec<(i64, Option<Box<C>>)>>
    where
        F: ClaimFilter<C>,
    {
        let client = match self.client.take() {
            Some(client) => client,
            None => client::reader(&self.kafka)?
                .set("isolation.level", "read_committed")
                .create()?,
        };
        let mut wanted = request.offsets.iter().copied().peekable();
        let mut found = Vec::with_capacity(request.offsets.len());
        self.begin(&client, request.partition, wanted.peek())?;
        let (mut heard, mut bytes) = (Instant::now(), 0);
        while wanted.peek().is_some() {
            let message = match client.poll(Duration::from_millis(100)) {
                None if heard.elapsed() > ANSWER => anyhow::bail!("no answer from Kafka"),
                None => continue,
                Some(Ok(message)) => message,
                // It was read before, so it stood below this end.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    found.extend(wanted.by_ref().map(|gone| (gone, None)));
                    continue;
                }
                Some(Err(error)) if is_passing(&error) && heard.elapsed() < ANSWER => continue,
                Some(Err(error)) => anyhow::bail!(client::words(&error)),
            };
            heard = Instant::now();
            let offset = message.offset();
            while let Some(gone) = wanted.next_if(|wanted| *wanted < offset) {
                found.push((gone, None));
            }
            if wanted.next_if_eq(&offset).is_none() {
                continue;
            }
            let record = headers::record(&self.topic, &message);
            bytes += record.size();
            found.push((offset, self.claims.claim(record)));
            if bytes > MAX_BYTES {
                break;
            }
            if wanted.peek().is_some_and(|next| next - offset > NEAR) {
                self.begin(&client, request.partition, wanted.peek())?;
            }
        }
        // Or the client would go on fetching.
        client.unassign()?;
        self.client = Some(client);
        Ok(found)
    }

    fn begin(
        &self,
        client: &BaseConsumer,
        partition: i32,
        offset: Option<&i64>,
    ) -> anyhow::Result<()> {
        let mut assignment = TopicPartitionList::new();
        if let Some(offset) = offset {
            assignment.add_partition_offset(&self.topic, partition, Offset::Offset(*offset))?;
        }
        Ok(client.assign(&assignment)?)
    }
}

/// Whether the client goes on trying by itself.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(
        error,
        KafkaError::MessageConsumption(BrokerTransportFailure | AllBrokersDown | OperationTimedOut)
    )
}
