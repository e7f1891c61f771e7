//! What `scripts/bench` measures the service against: a bare HTTP client loop, and a consumer that only reads and decodes. Also fills topics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Parser};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use user_courier::event;
use user_courier::kafka::headers::record;

/// One part of the measurement. Prints what it measured as a line of JSON.
#[derive(Parser)]
enum Part {
    /// Writes update events to a topic.
    Fill(Fill),
    /// Calls VALT's edit page as fast as it can, with so many calls at once.
    Calls(Calls),
    /// Reads a topic from its beginning and decodes its events.
    Reads(Reads),
}

#[derive(Args)]
struct Fill {
    servers: String,
    topic: String,
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    #[arg(long, default_value_t = 10_000)]
    users: u64,
    /// Events a second; 0 for as fast as possible.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    #[arg(long, default_value = "valt")]
    target: String,
}

#[derive(Args)]
struct Calls {
    base_url: String,
    token: String,
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
}

#[derive(Args)]
struct Reads {
    servers: String,
    topic: String,
    #[arg(long, default_value_t = 100_000)]
    events: u64,
}

fn main() -> anyhow::Result<()> {
    match Part::parse() {
        Part::Fill(fill) => fill.run(),
        Part::Calls(calls) => tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(calls.run()),
        Part::Reads(reads) => reads.run(),
    }
}

impl Fill {
    fn run(&self) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("partitioner", "murmur2_random");
        config.set("linger.ms", if self.rate > 0 { "0" } else { "20" }).set("queue.buffering.max.messages", "1000000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
        let headers = || OwnedHeaders::new().insert(Header { key: "content-type", value: Some("application/cloudevents+json") });
        let began = Instant::now();
        for number in 0..self.events {
            if self.rate > 0 {
                let due = began + Duration::from_secs_f64(number as f64 / f64::from(self.rate));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let user = number % self.users + 1;
            let changes = if self.target == "valt" {
                json!({ "display_name": format!("user {number}") })
            } else {
                json!({ "permissions": [number] })
            };
            let value = json!({
                "specversion": "1.0", "id": number.to_string(), "source": "/bench", "type": "com.example.user.updated",
                "data": { "target": self.target, "user": user, "changes": changes },
            })
            .to_string();
            let key = user.to_string();
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(&value).headers(headers());
            while let Err((_, back)) = producer.send(record) {
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
        }
        producer.flush(Duration::from_secs(60))?;
        report(began, self.events)
    }
}

impl Calls {
    async fn run(self) -> anyhow::Result<()> {
        // The service's is built alike.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(Duration::from_secs(10))
            .tls_certs_only([])
            .no_proxy()
            .build()?;
        let next = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let loops = (0..self.concurrency).map(|_| {
            let (client, next, base_url, token, events) =
                (client.clone(), next.clone(), self.base_url.clone(), self.token.clone(), self.events);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= events {
                        return anyhow::Ok(());
                    }
                    let url = format!("{base_url}/api/v3/admin/users/{}/edit?access_token={token}", number % 10_000 + 1);
                    let body = json!({ "display_name": format!("user {number}") }).to_string();
                    let answer = client.post(url).header("content-type", "application/json").body(body).send().await?;
                    if !answer.status().is_success() {
                        bail!("answered with {}", answer.status());
                    }
                    answer.bytes().await?;
                }
            })
        });
        for done in loops.collect::<Vec<_>>() {
            done.await??;
        }
        report(began, self.events)
    }
}

impl Reads {
    fn run(&self) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("group.id", "bench")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let metadata = consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(10))?;
        let mut assignment = TopicPartitionList::new();
        for partition in metadata.topics().first().context("no such topic")?.partitions() {
            assignment.add_partition_offset(&self.topic, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let (mut read, mut began) = (0, Instant::now());
        let topic: Arc<str> = self.topic.as_str().into();
        let mut users = 0u64;
        while read < self.events {
            let Some(message) = consumer.poll(Duration::from_secs(10)) else { bail!("only {read} records in {}", self.topic) };
            let message = message?;
            if read == 0 {
                began = Instant::now();
            }
            read += 1;
            let decoded = event::decode(&record(&topic, &message)).map_err(|error| anyhow::anyhow!("{}", error.message))?;
            if decoded.user_id().is_ok() {
                users += 1;
            }
        }
        report(began, users)
    }
}

/// How long it took. What the process used, `scripts/bench` asks the system.
fn report(began: Instant, events: u64) -> anyhow::Result<()> {
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", json!({ "events": events, "seconds": seconds }));
    Ok(())
}
