//! The alerts, each with the metrics of a running service that is in the very trouble. What rings
//! without Kafka stands in `kafka_gone.rs`.

use stand_in::Rule;

use crate::harness::bench::Bench;
use crate::harness::kafka::{Message, Writer};
use crate::harness::recording::Recording;
use crate::harness::service::Service;
use crate::harness::update::Update;

fn state(service: &Service, target: &str) -> String {
    service.status()["targets"][target]["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_a_throttling_api_and_dead_letters_ring() {
    let mut bench = Bench::new().await;
    let mut service = bench.start();
    let mut recording = Recording::default();
    recording.hold(&[&service], 10);
    bench.valt.close_port().await;
    bench.aipix.fault(Rule::status(429).retry_after(300));
    bench.send(&[Update::valt(1, "Anna"), Update::aipix(1, &[1])]);
    let garbage: Vec<_> = (0..30)
        .map(|_| Message {
            value: Some(b"garbage".to_vec()),
            ..Message::default()
        })
        .collect();
    bench.writer.write(&garbage);
    bench.outcomes(30);
    service.wait_until("both hold", |service| {
        state(service, "valt") != "flowing" && state(service, "aipix") == "holding"
    });
    recording.hold(&[&service], 40);
    recording.rings(9 * 60, &[]);
    recording.rings(11 * 60, &["UserCourierDeadLetters"]);
    recording.rings(
        recording.seconds(),
        &["UserCourierTargetHolds", "UserCourierTargetThrottled"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_grows_old_and_lag_that_grows_ring() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 1000);
    bench.set("targets.aipix.delivery.rate_limit", 1);
    bench.set("targets.aipix.delivery.merge", false);
    let mut service = bench.start();
    bench.valt.fault(Rule::status(500).user(1));
    let old = jiff::Timestamp::now().as_millisecond() - 3600 * 1000;
    bench.writer.write(&[Message {
        timestamp: Some(old),
        ..Update::valt(1, "Anna").message()
    }]);
    bench.send(&[Update::valt(2, "Anna")]);
    let send = |count: u64| {
        bench.send(
            &(1..=count)
                .map(|user| Update::aipix(user, &[1]))
                .collect::<Vec<_>>(),
        )
    };
    send(11_000);
    let lag = |service: &Service| {
        service
            .metrics()
            .sum("consumer_lag", &[("target", "aipix")])
    };
    service.wait_until("they wait", |service| lag(service) > 10_900.0);
    service.wait_until("the other one was tried", |service| {
        service
            .metrics()
            .sum("attempts_total", &[("target", "valt"), ("status", "500")])
            > 2.0
            && state(service, "valt") == "flowing"
    });
    let mut recording = Recording::default();
    recording.hold(&[&service], 15);
    send(2_000);
    service.wait_until("more wait", |service| lag(service) > 12_500.0);
    recording.hold(&[&service], 14);
    send(2_000);
    service.wait_until("more wait", |service| lag(service) > 14_500.0);
    recording.hold(&[&service], 14);
    recording.rings(14 * 60, &["UserCourierUpdateTooOld"]);
    recording.rings(
        recording.seconds(),
        &["UserCourierLagGrows", "UserCourierUpdateTooOld"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standstill_transactions_that_fail_and_a_restless_group_ring() {
    let mut bench = Bench::new().await;
    let mut service = bench.start_as("one");
    // Somebody else's transaction on the update topic hides what comes after it.
    let stranger = Writer::transactional(&bench.servers, &bench.topic(0));
    stranger.begin(&[Update::valt(1, "Anna").message()]);
    service.wait_until("it waits", |service| {
        service.metrics().sum("consumer_lag", &[("target", "valt")]) > 0.0
    });
    let mut recording = Recording::default();
    recording.hold(&[&service], 20);
    recording.rings(recording.seconds(), &["UserCourierNoProgress"]);
    stranger.commit();
    bench.outcomes(1);

    // One that takes the name of its transactions, again and again.
    let mut recording = Recording::default();
    recording.hold(&[&service], 10);
    for round in 1..=6 {
        let name = format!("{}.valt.one", bench.id);
        drop(Writer::transactional(&bench.servers, &name));
        bench.send(&[Update::valt(round, "Berta")]);
        bench.outcomes(usize::try_from(round).unwrap() + 1);
    }
    recording.hold(&[&service], 9);
    recording.rings(recording.seconds() - 60, &["UserCourierCommitsFail"]);

    // Every other second another instance comes or goes.
    let mut recording = Recording::default();
    recording.hold(&[&service], 10);
    let assigned = |service: &Service| {
        service.metrics().sum(
            "rebalances_total",
            &[("target", "valt"), ("kind", "assigned")],
        )
    };
    while assigned(&service) < 22.0 {
        let before = assigned(&service);
        let other = bench.start_as("two");
        other.terminate();
        service.wait_until("it has all again", |service| {
            assigned(service) >= before + 2.0
        });
    }
    recording.hold(&[&service], 15);
    recording.rings(recording.seconds(), &["UserCourierRebalanceChurn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_nobody_serves_and_a_service_that_nobody_runs_ring() {
    let bench = Bench::new().await;
    let config = bench.config_file();
    let run = |target: &str| Service::run_only(&config, target);
    let (mut valt, mut aipix) = (run("valt"), run("aipix"));
    for service in [&mut valt, &mut aipix] {
        service.wait_until("it tells its lag", |service| {
            service
                .get("/metrics")
                .1
                .contains("user_courier_consumer_lag{")
        });
    }
    let mut recording = Recording::default();
    recording.hold(&[&aipix, &valt], 10);
    drop(valt);
    recording.hold(&[&aipix], 8);
    recording.rings(9 * 60, &[]);
    recording.rings(recording.seconds(), &["UserCourierNobodyReads"]);
    drop(aipix);
    recording.hold(&[], 8);
    recording.rings(recording.seconds(), &["UserCourierAbsent"]);
}
