//! A Kafka that is gone is told of, everywhere, and so is its return.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;

use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{OwnBrokers, PATIENCE, Writer, client, create_topic};
use crate::harness::recording::Recording;
use crate::harness::service::Service;
use crate::harness::update::Update;

/// Within this time `kafka_up` is 0.
const NOTICED: Duration = Duration::from_secs(30);
/// What a look at the admin endpoint and a loaded machine may add.
const SLACK: Duration = Duration::from_secs(3);
const SUBSCRIBERS: f64 = 3.0;

fn up(service: &Service) -> f64 {
    service.metrics().sum("kafka_up", &[])
}

/// The lag series of a target: how many there are, and their sum.
fn lag(service: &Service, target: &str) -> (usize, f64) {
    let (_, text) = service.get("/metrics");
    let ours = format!("target=\"{target}\"");
    let values = text
        .lines()
        .filter(|line| line.starts_with("user_courier_consumer_lag{") && line.contains(&ours));
    let values: Vec<f64> = values
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    (values.len(), values.iter().sum())
}

/// Records until all of Kafka is gone or there again, and says how long that took.
fn record_until(service: &Service, recording: &mut Recording, wanted: f64) -> Duration {
    let began = Instant::now();
    let mut next = began;
    while up(service) != wanted {
        assert!(began.elapsed() < PATIENCE, "kafka_up was never {wanted}");
        if Instant::now() >= next {
            recording.scrape(&[service]);
            next += Duration::from_secs(15);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_stopped_is_told_of_and_rings_within_two_minutes_and_no_series_vanishes() {
    const UPDATES: u64 = 40;
    let brokers = OwnBrokers::start("gone-stopped", 1);
    let mut bench = Bench::on(&brokers.servers).await;
    let mut service = bench.start();
    let status = service.status();
    assert_eq!(status["kafka"]["state"], "up", "{status}");
    bench.aipix.close_port().await;
    let updates: Vec<_> = (1..=UPDATES)
        .map(|user| Update::aipix(user, &[1]))
        .collect();
    let places = bench.send(&updates);
    let all = (usize::try_from(PARTITIONS).unwrap(), UPDATES as f64);
    service.wait_until("it knows what waits", |service| {
        lag(service, "aipix") == all
    });
    let mut recording = Recording::default();
    recording.hold(&[&service], 10);

    brokers.command("stop", 1);
    let stopped_at = recording.seconds();
    let noticed = record_until(&service, &mut recording, 0.0);
    println!("kafka_up was 0 after {noticed:?}");
    assert!(noticed < NOTICED + SLACK, "{noticed:?}");
    assert_eq!(service.get("/livez").0, 200);
    let status = service.status();
    assert_eq!(status["kafka"]["state"], "down", "{status}");
    assert!(
        status["kafka"]["last_error"]
            .as_str()
            .is_some_and(|words| words.contains("onnect")),
        "{status}"
    );
    let ready_until = Instant::now();
    service.wait_until("it is not ready any more", |service| {
        service.get("/readyz").0 == 503
    });
    assert!(
        noticed + ready_until.elapsed() < NOTICED + 2 * SLACK,
        "{noticed:?}, then {:?}",
        ready_until.elapsed()
    );

    // By now the client itself has given the partitions up, since nobody has heard of it for the
    // session timeout.
    service.wait_until("its session is over", |service| {
        service
            .metrics()
            .sum("rebalances_total", &[("kind", "lost")])
            == SUBSCRIBERS
    });
    assert_eq!(lag(&service, "aipix"), all, "the last that was known");
    assert_eq!(service.status()["targets"]["aipix"]["lag"], UPDATES);
    assert!(
        service
            .metrics()
            .sum("oldest_unsettled_seconds", &[("target", "aipix")])
            > noticed.as_secs_f64(),
        "it grows"
    );
    assert!(
        service
            .metrics()
            .sum("kafka_round_trip_seconds", &[("target", "aipix")])
            > 15.0,
        "no old good value"
    );
    recording.hold(&[&service], 30);
    // It holds since before, and is told of as well.
    recording.rings(stopped_at - 60, &["UserCourierTargetHolds"]);
    recording.rings(
        stopped_at + 120,
        &["UserCourierKafkaGone", "UserCourierTargetHolds"],
    );
    recording.rings(
        recording.seconds(),
        &["UserCourierKafkaGone", "UserCourierTargetHolds"],
    );

    brokers.command("start", 1);
    service.wait_until("Kafka is there again", |service| up(service) == SUBSCRIBERS);
    service.wait_until_ready();
    assert_eq!(service.status()["kafka"]["state"], "up");
    bench.aipix.open_port().await;
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_told_of_as_a_stopped_one_and_an_idle_service_rings_as_well() {
    let brokers = OwnBrokers::start("gone-frozen", 1);
    let bench = Bench::on(&brokers.servers).await;
    let mut service = bench.start();
    let mut recording = Recording::default();
    recording.hold(&[&service], 5);
    brokers.command("freeze", 1);
    let frozen_at = recording.seconds();
    let noticed = record_until(&service, &mut recording, 0.0);
    println!("kafka_up was 0 after {noticed:?}");
    assert!(noticed < NOTICED + SLACK, "{noticed:?}");
    let status = service.status();
    assert_eq!(
        (&status["kafka"]["state"], service.get("/livez").0),
        (&"down".into(), 200),
        "{status}"
    );
    assert!(status["kafka"]["last_error"].is_string(), "{status}");
    service.wait_until("it is not ready any more", |service| {
        service.get("/readyz").0 == 503
    });
    recording.hold(&[&service], 10);
    recording.rings(frozen_at, &[]);
    recording.rings(frozen_at + 120, &["UserCourierKafkaGone"]);
    recording.rings(recording.seconds(), &["UserCourierKafkaGone"]);
    brokers.command("thaw", 1);
    service.wait_until("Kafka is there again", |service| up(service) == SUBSCRIBERS);
    service.wait_until_ready();
    // Frozen again, it is no hindrance to an end in order.
    brokers.command("freeze", 1);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_brokers_is_not_missed_even_the_coordinator_and_two_are() {
    let brokers = OwnBrokers::start("gone-three", 3);
    let mut bench = Bench::on(&brokers.servers).await;
    let mut service = bench.start();
    // Which brokers the groups' coordinators are is not asked: each of the three is away in turn.
    for broker in 1..=3 {
        brokers.command("kill", broker);
        let began = Instant::now();
        while began.elapsed() < NOTICED {
            assert_eq!(
                up(&service),
                SUBSCRIBERS,
                "without broker {broker} after {:?}: {}",
                began.elapsed(),
                service.status()
            );
            std::thread::sleep(Duration::from_millis(250));
        }
        brokers.command("start", broker);
        bench.send(&[Update::valt(u64::try_from(broker).unwrap(), "Anna")]);
        bench.outcomes(usize::try_from(broker).unwrap());
    }
    // What is left of a cluster without its majority answers and coordinates nothing.
    brokers.command("freeze", 1);
    brokers.command("freeze", 2);
    service.wait_until("two of three are missed", |service| up(service) == 0.0);
    brokers.command("thaw", 1);
    brokers.command("thaw", 2);
    service.wait_until("they are there again", |service| up(service) == SUBSCRIBERS);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_frozen_for_about_a_session_ends_nobody() {
    let brokers = OwnBrokers::start("gone-thawed", 1);
    let mut bench = Bench::on(&brokers.servers).await;
    short_session(&mut bench);
    // Asked so often, the broker also answers while it has no place in the cluster yet; then it
    // names no broker at all, and some clients forget the one that they know.
    let often = [(
        "topic.metadata.refresh.interval.ms".to_owned(),
        toml::Value::Integer(50),
    )];
    bench.set("kafka.properties", toml::Table::from_iter(often));
    let mut service = bench.start();
    for round in 1..=4_u32 {
        brokers.command("freeze", 1);
        let lost = f64::from(round) * SUBSCRIBERS;
        service.wait_until("the sessions are over", |service| {
            service
                .metrics()
                .sum("rebalances_total", &[("kind", "lost")])
                >= lost
        });
        // Requests to join are on their way, and wait.
        let more = Duration::from_millis(fastrand::u64(0..2500));
        println!("round {round}: thawed after {more:?} more");
        std::thread::sleep(more);
        brokers.command("thaw", 1);
        bench.send(&[
            Update::valt(u64::from(round), "Anna"),
            Update::aipix(u64::from(round), &[1]),
        ]);
        bench.outcomes(2 * usize::try_from(round).unwrap());
        service.wait_until("Kafka is there again", |service| up(service) == SUBSCRIBERS);
        service.wait_until_ready();
    }
    assert_eq!(service.terminate().code, Some(0));
}

/// The shortest session that a broker takes by default.
fn short_session(bench: &mut Bench) {
    let session = [("session.timeout.ms".to_owned(), toml::Value::Integer(6000))];
    bench.set("kafka.consumer_properties", toml::Table::from_iter(session));
    bench.set("targets.valt.delivery.request_timeout", "3s");
    bench.set("targets.aipix.delivery.request_timeout", "3s");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_thrown_out_of_its_group_tells_of_its_own_partitions_alone() {
    let mut bench = Bench::new().await;
    short_session(&mut bench);
    let mut service = bench.start();
    service.signal("STOP");
    // The group has given it up when another one has what it had.
    let other = bench.start_as("two");
    let has_all = |other: &Service| lag(other, "valt").0 == usize::try_from(PARTITIONS).unwrap();
    let began = Instant::now();
    while !has_all(&other) {
        assert!(
            began.elapsed() < PATIENCE,
            "the other one never got the partitions"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    service.signal("CONT");
    service.wait_until("it is back", |service| up(service) == SUBSCRIBERS);
    service.wait_until_ready();
    let lags = |of: &Service| lag(of, "valt").0;
    let mut shared = other;
    shared.wait_until(
        "they share the partitions, and each tells of its own",
        |other| lags(other) + lags(&service) == usize::try_from(PARTITIONS).unwrap(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_topic_that_is_deleted_rings_and_is_read_again_once_it_is_there() {
    let brokers = OwnBrokers::start("gone-topic", 1);
    let mut bench = Bench::on(&brokers.servers).await;
    let refresh = [(
        "topic.metadata.refresh.interval.ms".to_owned(),
        toml::Value::Integer(2000),
    )];
    bench.set("kafka.properties", toml::Table::from_iter(refresh));
    let mut service = bench.start();
    service.wait_until("it tells its lag", |service| {
        lag(service, "valt").0 == usize::try_from(PARTITIONS).unwrap()
    });
    let mut recording = Recording::default();
    recording.hold(&[&service], 5);
    let admin: AdminClient<DefaultClientContext> = client(&brokers.servers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for result in admin
        .delete_topics(&[&bench.topic(0)], &options)
        .await
        .expect("the broker answers")
    {
        result.expect("the topic is deleted");
    }
    // The client leaves the group, or stays in it without partitions, whichever way it learns of
    // it.
    service.wait_until(
        "its partitions are gone, or it is out of its group",
        |service| lag(service, "valt").0 == 0 || up(service) == 0.0,
    );
    assert_eq!(service.get("/livez").0, 200);
    let status = service.status();
    assert!(
        status["kafka"]["last_error"]
            .as_str()
            .is_some_and(|words| words.contains(&bench.topic(0))),
        "{status}"
    );
    let alert = if up(&service) == 0.0 {
        "UserCourierKafkaGone"
    } else {
        "UserCourierNobodyReads"
    };
    recording.hold(&[&service], 15);
    recording.rings(4 * 60, &[]);
    recording.rings(recording.seconds(), &[alert]);

    create_topic(&brokers.servers, &bench.topic(0), PARTITIONS, &[]).await;
    service.wait_until("it has partitions again", |service| {
        lag(service, "valt").0 == usize::try_from(PARTITIONS).unwrap()
    });
    bench.send(&[Update::valt(7, "Anna")]);
    bench.outcomes(1);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_that_cannot_be_read_for_long_are_no_reason_to_be_killed() {
    let mut bench = Bench::new().await;
    let group = format!("{}.valt", bench.id);
    // Offsets in a transaction that stays open: until it ends, nobody is told what is committed.
    let consumer: BaseConsumer = client(&bench.servers)
        .set("group.id", &group)
        .create()
        .unwrap();
    let writer = Writer::hanging(&bench.servers, &bench.topic(0), &consumer);
    let mut service = Service::run_unready(&bench.config_file());
    let began = Instant::now();
    // For longer than a sign of life may take.
    while began.elapsed() < Duration::from_secs(70) {
        assert_eq!(
            service.get("/livez"),
            (200, "ok\n".to_owned()),
            "after {:?}",
            began.elapsed()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(service.get("/readyz").0, 503);
    let status = service.status();
    assert_eq!(status["kafka"]["state"], "down");
    assert!(
        status["kafka"]["last_error"]
            .as_str()
            .is_some_and(|words| words.contains("committed") || words.contains("offsets")),
        "{status}"
    );
    writer.abort();
    service.wait_until_ready();
    bench.send(&[Update::valt(7, "Anna")]);
    bench.outcomes(1);
    assert_eq!(service.terminate().code, Some(0));
}
