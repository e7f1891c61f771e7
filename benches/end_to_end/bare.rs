//! What the service is compared with: a bare HTTP client loop, and a plain consumer. Each in a
//! process of its own, which prints how long it took and how much CPU time, in seconds, and its
//! peak memory in MiB; the plain consumer of a live topic, how late its records were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

fn report(began: Instant, cpu: f64) {
    println!(
        "{} {} {}",
        began.elapsed().as_secs_f64(),
        own_cpu() - cpu,
        crate::process::memory("self", "VmHWM")
    );
}

fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// `URL CALLS CONCURRENCY`: the same request that the service makes, so many at a time.
pub(crate) fn calls(arguments: &[String]) {
    let [url, calls, concurrency] = arguments else {
        panic!("URL CALLS CONCURRENCY")
    };
    let (calls, concurrency): (u64, u64) = (calls.parse().unwrap(), concurrency.parse().unwrap());
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let client = reqwest::Client::builder()
                .tcp_nodelay(true)
                .http1_only()
                .timeout(Duration::from_secs(10))
                .build()
                .unwrap();
            let (next, url) = (Arc::new(AtomicU64::new(0)), Arc::new(url.clone()));
            let (began, cpu) = (Instant::now(), own_cpu());
            let loops: Vec<_> = (0..concurrency)
                .map(|_| {
                    let (client, next, url) = (client.clone(), Arc::clone(&next), Arc::clone(&url));
                    tokio::spawn(async move {
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= calls {
                                return;
                            }
                            let request = client
                                .post(format!(
                                    "{url}/api/v3/admin/users/{}/edit?access_token=bench",
                                    1 + number % 10_000
                                ))
                                .header("content-type", "application/json")
                                .header("accept", "application/json")
                                .header(
                                    "idempotency-key",
                                    uuid::Uuid::from_u128(number.into()).to_string(),
                                )
                                .body(format!("{{\"display_name\":\"Name {number}\"}}"));
                            let answer = request.send().await.unwrap();
                            assert!(answer.status().is_success(), "{}", answer.status());
                            answer.bytes().await.unwrap();
                        }
                    })
                })
                .collect();
            for done in loops {
                done.await.unwrap();
            }
            report(began, cpu);
        });
}

/// `SERVERS TOPIC RECORDS`: reads so many records, and decodes each as JSON.
pub(crate) fn consumer(arguments: &[String]) {
    let [servers, topic, records] = arguments else {
        panic!("SERVERS TOPIC RECORDS")
    };
    let consumer = whole_topic(servers, topic);
    let (began, cpu) = (Instant::now(), own_cpu());
    let mut read = 0;
    while read < records.parse::<u64>().unwrap() {
        let Ok(message) = consumer
            .poll(Duration::from_secs(20))
            .expect("there are so many records")
        else {
            continue;
        };
        let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        read += 1;
        std::hint::black_box(event);
    }
    report(began, cpu);
}

/// `SERVERS TOPIC RECORDS`: says `ready` once it has come to the end of an empty topic, and in the
/// end how many milliseconds after it was sent each record was read, one a line.
pub(crate) fn latency(arguments: &[String]) {
    let [servers, topic, records] = arguments else {
        panic!("SERVERS TOPIC RECORDS")
    };
    let consumer = whole_topic(servers, topic);
    for _ in 0..consumer.assignment().unwrap().count() {
        let end = consumer
            .poll(Duration::from_secs(20))
            .expect("each partition has an end");
        assert!(
            matches!(end, Err(KafkaError::PartitionEOF(_))),
            "the topic is empty at first"
        );
    }
    println!("ready");
    let mut all = Vec::new();
    while all.len() < records.parse().unwrap() {
        let Ok(message) = consumer
            .poll(Duration::from_secs(60))
            .expect("there are so many records")
        else {
            continue;
        };
        let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let sent: i128 = event["data"]["changes"]["display_name"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
        let late = (jiff::Timestamp::now().as_nanosecond() - sent) as f64 / 1e6;
        all.push(late);
    }
    // Only now: somebody who does not read would hold it up.
    all.iter().for_each(|late| println!("{late}"));
}

fn whole_topic(servers: &str, topic: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(20))
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        all.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    consumer
}
