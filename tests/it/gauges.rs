//! Gauges tell the truth, also while an API is away, and whatever senders write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use user_courier::kafka::{
    ClaimFilter, ClientFailure, Consumer, ConsumerShared, Input, Lease, Membership, Ownership,
};
use user_courier::model::record::Record;
use user_courier::telemetry::metrics::Metrics;

use crate::harness::bench::Bench;
use crate::harness::kafka::{Message, PATIENCE};
use crate::harness::service::Service;
use crate::harness::update::Update;

/// Within this time lag is true.
const TRUE: Duration = Duration::from_secs(15);

fn lag(service: &Service) -> f64 {
    service.metrics().sum("consumer_lag", &[("target", "valt")])
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_true_while_the_api_is_away_and_consumption_is_paused() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_waiting", 10);
    bench.valt.close_port().await;
    let mut service = bench.start();
    let updates: Vec<_> = (1..=1050).map(|user| Update::valt(user, "Anna")).collect();
    let mut places = bench.send(&updates[..50]);
    service.wait_until("consumption is paused", |service| {
        service.metrics().sum("waiting", &[("target", "valt")]) >= 10.0 && lag(service) == 50.0
    });
    places.extend(bench.send(&updates[50..]));
    let sent = Instant::now();
    service.wait_until("it tells of all", |service| lag(service) == 1050.0);
    println!("true after {:?}", sent.elapsed());
    assert!(sent.elapsed() < TRUE, "{:?}", sent.elapsed());
    service.wait_until("the status does too", |service| {
        service.status()["targets"]["valt"]["lag"] == 1050
    });
    assert!(sent.elapsed() < TRUE, "{:?}", sent.elapsed());
    bench.valt.open_port().await;
    bench.outcomes_of(&places);
    service.wait_until("nothing is left", |service| lag(service) == 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_cannot_be_spoils_no_metric() {
    let mut bench = Bench::new().await;
    bench.valt.close_port().await;
    let mut service = bench.start();
    let day = 24 * 3600 * 1000;
    let now = jiff::Timestamp::now().as_millisecond();
    // 1970, a year ago, and as far in the future as a broker takes by default.
    let stamps = [1, now - 365 * day, now + 3_500_000];
    let messages: Vec<_> = (1..)
        .zip(stamps)
        .map(|(user, stamp)| Message {
            timestamp: Some(stamp),
            ..Update::valt(user, "Anna").message()
        })
        .collect();
    let began = Instant::now();
    let places = bench.writer.write(&messages);
    service.wait_until("they wait", |service| {
        service.metrics().sum("waiting", &[("target", "valt")]) == 3.0
    });
    service.wait_until("they grow older", |service| {
        service
            .metrics()
            .sum("oldest_unsettled_seconds", &[("target", "valt")])
            > 1.0
    });
    let oldest = service
        .metrics()
        .sum("oldest_unsettled_seconds", &[("target", "valt")]);
    assert!(oldest <= began.elapsed().as_secs_f64() + 1.0, "{oldest}");
    bench.valt.open_port().await;
    bench.outcomes_of(&places);
    let settled = |service: &Service| {
        service
            .metrics()
            .sum("delivery_duration_seconds_count", &[("target", "valt")])
    };
    service.wait_until("all are counted", |service| settled(service) == 3.0);
    let sum = service
        .metrics()
        .sum("delivery_duration_seconds_sum", &[("target", "valt")]);
    assert!(
        (3.0..3.0 * began.elapsed().as_secs_f64()).contains(&sum),
        "each waited for more than a second: {sum}"
    );
    assert_eq!(service.terminate().code, Some(0));
}

/// Panics at the first record.
struct Panics;

impl ClaimFilter<()> for Panics {
    fn may_claim(&self, _: Option<&[u8]>) -> bool {
        true
    }

    fn claim(&self, _: Record) -> Option<Box<()>> {
        panic!("a planted panic")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_thread_that_panics_ends_its_subscriber() {
    let bench = Bench::new().await;
    bench.send(&[Update::valt(1, "Anna")]);
    let config =
        user_courier::config::Config::load(&bench.config_file(), std::iter::empty(), &[]).unwrap();
    let drain = Duration::from_secs(20);
    let shared = ConsumerShared {
        offsets: Arc::default(),
        lease: Arc::new(Lease::new(config.kafka.session_timeout)),
        ownership: Arc::new(Ownership::default()),
        membership: Arc::new(Membership::new(drain, None)),
        metrics: Metrics::new().unwrap().target("valt"),
    };
    let (inputs, mut received) = tokio::sync::mpsc::channel(2);
    let consumer = Consumer::spawn(&config.kafka, "valt", drain, shared, inputs, Panics).unwrap();
    let failure = async {
        loop {
            if let Input::Failed(failure) = received.recv().await.expect("the consumer lives") {
                return failure;
            }
        }
    };
    let failure = tokio::time::timeout(PATIENCE, failure).await;
    drop(received);
    // Its client calls back when it goes, which must not be on a thread of this runtime.
    tokio::task::spawn_blocking(move || consumer.join())
        .await
        .unwrap()
        .unwrap_err();
    let failure = failure.expect("the panic is reported");
    assert!(
        matches!(&failure, ClientFailure::Other(why) if why.contains("polling thread") && why.contains("panicked")),
        "{failure:?}"
    );
}
