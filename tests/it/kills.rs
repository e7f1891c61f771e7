//! Kills, freezes, rebalances and broker restarts under load: nothing is lost, nothing comes out of
//! order, and nothing is repeated that was settled.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use toml::{Table, Value};

use crate::harness::api::calls_by_user;
use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{Message, OwnBrokers, Writer, committed_and_end, leader};
use crate::harness::load::{Load, USERS};
use crate::harness::service::Service;
use crate::harness::update::Update;

/// After this time the group gives an instance up that is not heard of. The shortest that a broker
/// takes by default.
const SESSION: Duration = Duration::from_secs(6);
/// How long an open transaction of a killed instance may hold others back.
const HELD_BACK: Duration = Duration::from_secs(15);

fn short_session(bench: &mut Bench) {
    let milliseconds = i64::try_from(SESSION.as_millis()).unwrap();
    bench.set(
        "kafka.consumer_properties",
        Table::from_iter([(
            "session.timeout.ms".to_owned(),
            Value::Integer(milliseconds),
        )]),
    );
}

/// Starts another instance, and waits until it has got records of the target to work on.
#[track_caller]
fn join(bench: &mut Bench, instance: &str) -> Service {
    let mut service = bench.start_as(instance);
    service.wait_until("it has got partitions", |service| partitions(service) > 0);
    service
}

/// How many partitions an instance has now.
fn partitions(service: &Service) -> usize {
    let (status, text) = service.get("/metrics");
    assert_eq!(status, 200);
    text.lines()
        .filter(|line| {
            line.starts_with("user_courier_consumer_lag{") && line.contains("target=\"valt\"")
        })
        .count()
}

/// The calls made so far, by their key.
fn calls_by_key(bench: &Bench) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls_by_user(&bench.valt).into_values().flatten() {
        *counts.entry(call.idempotency_key.unwrap()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_repeat_only_what_was_not_committed() {
    const KILLS: usize = 5;
    let mut bench = Bench::new().await;
    let mut load = Load::new(&mut bench);
    let mut uncommitted: Vec<HashSet<String>> = Vec::new();
    let mut pauses = Vec::new();
    let mut service = bench.start();
    for kill in 0..KILLS {
        load.flow(&bench, 2, fastrand::u64(20..300)).await;
        if kill == 2 {
            // One that is killed while it starts, perhaps within its first calls.
            service.signal("KILL");
            service = Service::run_unready(&bench.config_file());
        }
        service.signal("KILL");
        assert_eq!(service.wait().code, None);
        let calls = bench.valt.stats().updates;
        let called = calls_by_key(&bench).into_keys();
        let committed: HashSet<_> = bench
            .outcomes_now()
            .iter()
            .map(|outcome| outcome.id.to_string())
            .collect();
        uncommitted.push(called.filter(|key| !committed.contains(key)).collect());
        let restarted = Timestamp::now();
        service = bench.start();
        bench.valt.wait_for(|stats| stats.updates > calls).await;
        let first = &bench.valt.calls()[usize::try_from(calls).unwrap()];
        pauses.push(first.at.duration_since(restarted));
    }
    let repeated = load.check(&mut bench, KILLS + 1);
    let sizes: Vec<_> = uncommitted.iter().map(HashSet::len).collect();
    println!(
        "{repeated} calls repeated; at the kills, called and not committed: {sizes:?}; from restart to the first call: {pauses:?}"
    );
    // Under its old name it need not wait until the session of the killed one has ended, which
    // takes 15 s.
    assert!(
        pauses.iter().all(|pause| pause.as_secs() < 10),
        "{pauses:?}"
    );
    for (key, calls) in calls_by_key(&bench) {
        let allowed = uncommitted
            .iter()
            .filter(|keys| keys.contains(&key))
            .count();
        assert!(
            calls <= 1 + allowed,
            "{calls} calls for what was not committed at {allowed} kills"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_instances_partitions_go_to_the_other_after_its_session() {
    let mut bench = Bench::new().await;
    short_session(&mut bench);
    let mut load = Load::new(&mut bench);
    let _stays = bench.start_as("one");
    let killed = join(&mut bench, "two");
    load.flow(&bench, 10, 300).await;
    let since = Timestamp::now();
    killed.signal("KILL");
    assert_eq!(killed.wait().code, None);
    let gone = Timestamp::now();
    // So that there is work for every partition's next owner, however fast all was.
    load.flow(&bench, 1, 0).await;
    let repeated = load.check(&mut bench, 1);
    let takeover = load.takeover(&mut bench, since, gone);
    println!("{repeated} calls repeated; taken over after {takeover:?}");
    assert!(takeover < SESSION + HELD_BACK, "{takeover:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_ends_in_order_hands_over_at_once_and_nothing_is_called_twice() {
    let mut bench = Bench::new().await;
    short_session(&mut bench);
    let mut load = Load::new(&mut bench);
    let _stays = bench.start_as("one");
    let leaves = join(&mut bench, "two");
    load.flow(&bench, 10, 300).await;
    let since = Timestamp::now();
    let ended = leaves.terminate();
    let gone = Timestamp::now();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    // So that there is work for every partition's next owner, however fast all was.
    load.flow(&bench, 1, 0).await;
    let repeated = load.check(&mut bench, 0);
    let takeover = load.takeover(&mut bench, since, gone);
    println!(
        "left after {:?}; taken over after {takeover:?}",
        gone.duration_since(since)
    );
    assert_eq!(repeated, 0);
    assert!(takeover < SESSION, "{takeover:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_joins_and_leaves_under_load_makes_no_call_twice() {
    let mut bench = Bench::new().await;
    let mut load = Load::new(&mut bench);
    let one = bench.start_as("one");
    let two = join(&mut bench, "two");
    load.flow(&bench, 10, 200).await;
    let three = join(&mut bench, "three");
    load.flow(&bench, 5, 400).await;
    let on = [("target", "valt")];
    let [mut claimed, mut assigned] = [Vec::new(), Vec::new()];
    for service in [&one, &two, &three] {
        claimed.push(service.metrics().sum("records_claimed_total", &on));
        assigned.push(
            service
                .metrics()
                .sum("rebalances_total", &[on[0], ("kind", "assigned")]),
        );
    }
    let ended = three.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    load.flow(&bench, 2, USERS).await;
    assert_eq!(load.check(&mut bench, 0), 0, "calls repeated");
    println!("claimed {claimed:?}, assigned {assigned:?}");
    assert!(claimed.iter().all(|records| *records > 0.0), "{claimed:?}");
    assert!(assigned.iter().all(|times| *times > 0.0), "{assigned:?}");
    for service in [&one, &two] {
        let metrics = service.metrics();
        assert_eq!(metrics.sum("order_violations_total", &[]), 0.0);
        assert!(metrics.sum("rebalances_total", &[on[0], ("kind", "lost")]) == 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_wakes_after_its_session_commits_nothing_of_what_went_to_the_other() {
    let mut bench = Bench::new().await;
    short_session(&mut bench);
    let mut load = Load::new(&mut bench);
    let _stays = bench.start_as("one");
    let mut frozen = join(&mut bench, "two");
    load.flow(&bench, 5, 300).await;
    frozen.signal("STOP");
    let calls = bench.valt.stats().updates;
    // Until the other has settled everything, the frozen one's part included.
    let repeated = load.check(&mut bench, 1);
    assert!(repeated > 0, "it was frozen with something in its hands");
    frozen.signal("CONT");
    frozen.wait_until("it has noticed", |service| {
        service
            .metrics()
            .sum("rebalances_total", &[("target", "valt"), ("kind", "lost")])
            > 0.0
    });
    frozen.wait_until("it is back", |service| partitions(service) > 0);
    let claimed = frozen
        .metrics()
        .sum("records_claimed_total", &[("target", "valt")]);
    load.flow(&bench, 3, 2 * USERS).await;
    let again = load.check(&mut bench, 1);
    let metrics = frozen.metrics();
    let commits = ["ok", "aborted", "failed"]
        .map(|result| metrics.sum("commits_total", &[("target", "valt"), ("result", result)]));
    println!(
        "{repeated} calls repeated, later {again}; {calls} calls before; commits ok, aborted, failed: {commits:?}"
    );
    assert_eq!(again, repeated, "nothing was called twice after it woke");
    assert!(
        metrics.sum("records_claimed_total", &[("target", "valt")]) > claimed,
        "it works again"
    );
    assert_eq!(metrics.sum("order_violations_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_that_join_and_leave_and_die_lose_and_misorder_nothing() {
    let mut bench = Bench::new().await;
    short_session(&mut bench);
    let mut load = Load::new(&mut bench);
    let stays = bench.start_as("one");
    let two = join(&mut bench, "two");
    load.flow(&bench, 4, 200).await;
    let three = join(&mut bench, "three");
    load.flow(&bench, 3, 200).await;
    two.signal("KILL");
    assert_eq!(two.wait().code, None);
    load.flow(&bench, 2, 100).await;
    assert_eq!(three.terminate().code, Some(0));
    let two = bench.start_as("two");
    load.flow(&bench, 3, 200).await;
    let three = join(&mut bench, "three");
    load.flow(&bench, 2, 100).await;
    assert_eq!(two.terminate().code, Some(0));
    three.signal("KILL");
    assert_eq!(three.wait().code, None);
    load.flow(&bench, 2, 100).await;
    println!("{} calls repeated", load.check(&mut bench, 2));
    assert_eq!(stays.metrics().sum("order_violations_total", &[]), 0.0);
    assert_eq!(stays.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_calls_nothing_twice_and_leaves_no_long_gap() {
    let mut bench = Bench::new().await;
    let mut load = Load::new(&mut bench);
    let mut services = vec![bench.start_as("one")];
    for name in ["two", "three"] {
        services.push(join(&mut bench, name));
    }
    load.flow(&bench, 20, 200).await;
    let began = Timestamp::now();
    for name in ["one", "two", "three"] {
        let ended = services.remove(0).terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        services.push(bench.start_as(name));
        load.flow(&bench, 5, 100).await;
    }
    let took = Timestamp::now().duration_since(began);
    assert_eq!(load.check(&mut bench, 0), 0, "calls repeated");
    let calls: Vec<_> = bench
        .valt
        .calls()
        .iter()
        .map(|call| call.at)
        .filter(|at| *at > began)
        .collect();
    let gap = calls
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).unsigned_abs())
        .max()
        .unwrap();
    println!("three instances restarted in {took:?}; no call for {gap:?} at the longest");
    assert!(gap < SESSION, "{gap:?}");
}

/// Nothing is called twice, unless the group gave the instance up because its broker was away for
/// longer than a session.
#[track_caller]
fn check_unless_lost(load: &Load, bench: &mut Bench, service: &Service) {
    // Asked last, as the instance hears of it with what it gets next.
    let repeated = load.check(bench, usize::MAX);
    let lost = service
        .metrics()
        .sum("rebalances_total", &[("target", "valt"), ("kind", "lost")]);
    println!("{repeated} calls repeated; partitions lost {lost} times");
    assert!(repeated == 0 || lost > 0.0, "{repeated} calls repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_is_lived_through() {
    let broker = OwnBrokers::start("it-restart", 1);
    let mut bench = Bench::on(&broker.servers).await;
    let mut load = Load::new(&mut bench);
    let service = bench.start();
    for _ in 0..2 {
        load.flow(&bench, 4, 200).await;
        broker.command("stop", 1);
        assert_eq!(service.get("/livez").0, 200);
        broker.command("start", 1);
        // Until all is settled, so that the group has heard from the service again before the
        // broker goes once more.
        check_unless_lost(&load, &mut bench, &service);
    }
    assert_eq!(service.get("/livez").0, 200);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_are_killed_are_lived_through() {
    let brokers = OwnBrokers::start("it-leaders", 3);
    let mut bench = Bench::on(&brokers.servers).await;
    let mut load = Load::new(&mut bench);
    let service = bench.start();
    for topic in [&bench.topic(1), "__transaction_state"] {
        load.flow(&bench, 4, 200).await;
        let broker = leader(&brokers.servers, topic, 0);
        brokers.command("kill", broker);
        load.flow(&bench, 1, 1).await;
        assert_eq!(service.get("/livez").0, 200);
        brokers.command("start", broker);
        check_unless_lost(&load, &mut bench, &service);
    }
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_markers_at_the_end_leave_no_lag() {
    let mut bench = Bench::new().await;
    let writer = Writer::transactional(&bench.servers, &bench.topic(0));
    let messages = |name| {
        (1..=20)
            .map(|user| Update::valt(user, name).message())
            .collect::<Vec<Message>>()
    };
    let mut service = bench.start();
    let places = writer.transaction(&messages("committed"), true);
    // Behind the marker of the first, records that nobody may see, and another marker.
    writer.transaction(&messages("aborted"), false);
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    for target in ["aipix", "valt", "unclaimed"] {
        let group = format!("{}.{target}", bench.id);
        let at_the_end = || committed_and_end(&bench.servers, &group, &bench.topic(0), PARTITIONS);
        service.wait_until("the end is committed", |_| {
            at_the_end().iter().all(|(committed, end)| committed == end)
        });
        service.wait_until("no lag is shown", |service| {
            service.status()["targets"][target]["lag"] == 0
                && service.metrics().sum("consumer_lag", &[("target", target)]) == 0.0
        });
    }
    assert_eq!(calls_by_key(&bench).len(), 20);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(
        !ended.errors.contains("WARN"),
        "reaching an end is nothing to warn of: {}",
        ended.errors
    );
}
