//! The service's life: start, end, kill and start again, with nothing lost and nothing repeated
//! that need not be.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use stand_in::{Fault, Rule, StandIn};

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::service::Service;
use crate::harness::update::Update;

/// Updates of so many users, one each.
fn one_each(users: u64) -> Vec<Update> {
    (1..=users).map(|user| Update::valt(user, "Anna")).collect()
}

/// How often each update was called, by its `Idempotency-Key`.
fn calls_by_key(api: &StandIn) -> BTreeMap<Option<String>, usize> {
    let mut counts = BTreeMap::new();
    for call in calls_by_user(api).into_values().flatten() {
        *counts.entry(call.idempotency_key).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_finishes_what_is_in_flight_and_a_new_start_repeats_nothing() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_concurrency", 20);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(100));
    let service = bench.start();
    let places = bench.send(&one_each(200));
    wait_for_updates(&bench.valt, 30).await;
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let called = bench.valt.stats().updates;
    assert!(called < 200, "the end came while updates were left");
    assert_eq!(
        bench.valt.stats().in_flight,
        0,
        "calls in flight were finished"
    );
    bench.outcomes(usize::try_from(called).unwrap());

    let service = bench.start();
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered" && outcome.data.attempts == 1)
    );
    assert!(
        calls_by_key(&bench.valt).values().all(|count| *count == 1),
        "no call was repeated"
    );
    assert_eq!(service.terminate().code, Some(0));

    // With nothing left to do, one more start calls nobody.
    let service = bench.start();
    let more = bench.send(&[Update::valt(999, "Anna")]);
    bench.outcomes(places.len() + more.len());
    assert_eq!(bench.valt.stats().updates, 201);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_and_shows_no_outcome_twice() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_concurrency", 20);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(20));
    let places = bench.send(&one_each(400));
    for calls in [50, 150, 250] {
        let service = bench.start();
        wait_for_updates(&bench.valt, calls).await;
        service.signal("KILL");
        assert_eq!(service.wait().code, None);
    }
    let _service = bench.start();
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    assert_eq!(
        calls_by_key(&bench.valt).len(),
        400,
        "every update was called"
    );
    // An update is repeated only by a kill that met it in flight or not yet committed.
    assert!(calls_by_key(&bench.valt).values().all(|count| *count <= 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finished_out_of_order_is_not_called_again_after_a_kill() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.request_timeout", "1s");
    let stuck = bench.valt.fault(Rule::fault(Fault::Hang).user(1));
    let service = bench.start();
    // The first record of its partition is settled last.
    let mut places = bench.send(&[Update::valt(1, "Anna")]);
    wait_for_updates(&bench.valt, 1).await;
    places.extend(bench.send(&one_each(100)[1..]));
    bench.outcomes(99);
    service.signal("KILL");
    assert_eq!(service.wait().code, None);

    bench.valt.remove_fault(stuck);
    let _service = bench.start();
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    let again: Vec<_> = calls_by_user(&bench.valt)
        .into_iter()
        .filter(|(user, calls)| *user != 1 && calls.len() > 1)
        .collect();
    assert!(
        again.is_empty(),
        "called again though it was settled: {again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_ends_it_with_the_command_that_would_create_it() {
    let mut bench = Bench::new().await;
    let missing = format!("{}-missing", bench.id);
    bench.set("kafka.topics.outcomes", missing.clone());
    let ended = Service::spawn(["run", "--config", bench.config_file().to_str().unwrap()]).wait();
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    assert!(
        ended.errors.contains(&missing) && ended.errors.contains("--create"),
        "{}",
        ended.errors
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_ends_it_with_all_mistakes() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.request_timout", "10s");
    bench.set("targets.aipix.retry.max_attempts", "many");
    let ended = Service::spawn(["run", "--config", bench.config_file().to_str().unwrap()]).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    for part in [
        "request_timout",
        "`request_timeout`",
        "targets.aipix.retry.max_attempts",
    ] {
        assert!(ended.errors.contains(part), "{part}: {}", ended.errors);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_reached_is_waited_for() {
    let mut bench = Bench::new().await;
    // The listener is gone again, and nobody else has its port yet.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    bench.set("kafka.bootstrap_servers", closed.to_string());
    let service = Service::run_unready(&bench.config_file());
    assert_eq!(service.get("/livez").0, 200);
    assert_eq!(service.get("/readyz").0, 503);
    let (code, words) = bench.health(&service, &["--ready"]);
    assert!(code == Some(1) && words.contains("not ready: "), "{words}");
    assert_eq!(bench.health(&service, &[]), (Some(0), "ok\n".to_owned()));
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_a_container_engine_how_the_instance_is() {
    let bench = Bench::new().await;
    let service = bench.start();
    for flags in [&[][..], &["--ready"]] {
        assert_eq!(bench.health(&service, flags), (Some(0), "ok\n".to_owned()));
    }
    let address = format!("admin.listen={}", service.address());
    assert_eq!(service.terminate().code, Some(0));
    let (code, words) = bench.command(&["health", "--set", &address]);
    assert!(code == Some(1) && words.contains("no answer at"), "{words}");
}
