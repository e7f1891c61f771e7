//! The update topic deleted and made anew, cut, gone or grown: no record is taken for done because its offset was used before.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use user_courier::stand_in::{Rule, StandIn};

use crate::api::{calls_by_user, wait_for_updates};
use crate::bench::{Bench, PARTITIONS};
use crate::kafka::{self, OwnBrokers, PATIENCE, Writer};
use crate::service::Service;
use crate::update::Update;

/// So many updates of each of these users, numbered in their order.
fn rounds(users: std::ops::RangeInclusive<u64>, count: u64, label: &str) -> Vec<Update> {
    (1..=count).flat_map(|number| users.clone().map(move |user| Update::valt(user, &format!("{label} {number:03}")))).collect()
}

/// Deletes and creates the update topic. What is sent from now on is the new one's.
async fn remake(bench: &mut Bench) {
    kafka::remake_topic(&bench.servers, &bench.topic(0), PARTITIONS).await;
    bench.writer = Writer::new(&bench.servers, &bench.topic(0));
}

/// How often each of these updates has an outcome, by its event's id.
fn outcomes_by_event(bench: &mut Bench, updates: &[Update]) -> HashMap<String, usize> {
    let mut counts: HashMap<String, usize> = updates.iter().map(|update| (id(update), 0)).collect();
    for outcome in bench.outcomes_now() {
        if let Some(count) = outcome.data.event.id.and_then(|id| counts.get_mut(&id)) {
            *count += 1;
        }
    }
    counts
}

fn id(update: &Update) -> String {
    update.attributes["id"].as_str().unwrap().to_owned()
}

/// Waits until each of these updates has its outcome, and fails if one has another.
#[track_caller]
fn one_outcome_each(bench: &mut Bench, updates: &[Update], others: usize) {
    bench.outcomes(others + updates.len());
    let counts = outcomes_by_event(bench, updates);
    assert!(counts.values().all(|count| *count == 1), "each update has exactly one outcome: {counts:?}");
}

/// The names that each user was given by updates with this label, in the order of the calls, without those that were called again.
fn names(api: &StandIn, label: &str) -> BTreeMap<u64, Vec<String>> {
    let name = |call: &user_courier::stand_in::Call| call.body["display_name"].as_str().map(str::to_owned);
    let all = calls_by_user(api).into_iter();
    all.map(|(user, calls)| (user, calls.iter().filter_map(name).filter(|name| name.starts_with(label)).collect())).collect()
}

/// The calls of these updates came in the order of the topic.
#[track_caller]
fn in_order(api: &StandIn, label: &str) {
    for (user, names) in names(api, label) {
        assert!(names.is_sorted(), "user {user} was called in this order: {names:?}");
    }
}

fn resets(service: &Service) -> f64 {
    service.metrics().sum("offsets_reset_total", &[("target", "valt")])
}

/// The partitions of the update topic that have records.
fn used(bench: &Bench) -> f64 {
    let mut partitions: Vec<_> = bench.updates().into_iter().map(|(place, _)| place.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    f64::from(u32::try_from(partitions.len()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_it_runs_is_read_from_its_start() {
    // Shorter than what was read of the old one, and longer: only then do its offsets go on where those ended.
    for (before, after) in [(6, 2), (3, 15)] {
        let mut bench = Bench::new().await;
        bench.set("targets.valt.delivery.merge", false);
        let mut service = bench.start();
        let old = rounds(1..=8, before, "old");
        bench.send(&old);
        one_outcome_each(&mut bench, &old, 0);
        let used = used(&bench);
        remake(&mut bench).await;
        let new = rounds(1..=8, after, "new");
        bench.send(&new);
        one_outcome_each(&mut bench, &new, old.len());
        in_order(&bench.valt, "new");
        assert_eq!(bench.valt.stats().updates, (old.len() + new.len()) as u64, "nothing was called twice");
        service.wait_until("the resets are counted", |service| resets(service) >= used);
        assert_eq!(resets(&service), used, "once for each partition that was read");
        service.wait_for_log("the update topic was deleted and made anew");
        service.wait_until("it is ready", |service| service.get("/readyz").0 == 200);
        let more = rounds(1..=8, 2, "more");
        bench.send(&more);
        one_outcome_each(&mut bench, &more, old.len() + new.len());
        assert_eq!(service.terminate().code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_it_is_stopped_is_read_from_its_start() {
    for (before, after) in [(6, 2), (3, 15)] {
        let mut bench = Bench::new().await;
        bench.set("targets.valt.delivery.merge", false);
        bench.set("targets.valt.retry.max_attempts", 10_000);
        // The first record of its partition stays unsettled, so the text beside the offset is full of holes.
        bench.valt.fault(Rule::status(500).user(10));
        let service = bench.start();
        bench.send(&[Update::valt(10, "stuck")]);
        wait_for_updates(&bench.valt, 1).await;
        let old = rounds(1..=9, before, "old");
        bench.send(&old);
        one_outcome_each(&mut bench, &old, 0);
        let used = used(&bench);
        assert_eq!(service.terminate().code, Some(0));
        bench.valt.clear_faults();
        remake(&mut bench).await;
        let new = rounds(1..=9, after, "new");
        bench.send(&new);
        let mut service = bench.start();
        one_outcome_each(&mut bench, &new, old.len());
        in_order(&bench.valt, "new");
        service.wait_until("the resets are counted", |service| resets(service) >= used);
        assert_eq!(resets(&service), used, "once for each partition that was read");
        assert_eq!(service.terminate().code, Some(0));
        // Once is enough: another start finds nothing odd.
        let service = bench.start();
        let more = rounds(1..=9, 1, "more");
        bench.send(&more);
        one_outcome_each(&mut bench, &more, old.len() + new.len());
        assert_eq!(resets(&service), 0.0);
        assert_eq!(service.terminate().code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_updates_wait_for_an_api_that_is_away_loses_nothing_of_the_new_one() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_waiting", 20);
    bench.set("targets.valt.delivery.request_timeout", "1s");
    bench.valt.fault(Rule::status(503));
    let mut service = bench.start();
    // More than the memory holds, so that consumption is paused.
    bench.send(&rounds(1..=8, 10, "old"));
    service.wait_until("it holds", |service| service.status()["targets"]["valt"]["state"] == "holding");
    remake(&mut bench).await;
    let new = rounds(1..=8, 12, "new");
    bench.send(&new);
    service.wait_for_log("deleted and made anew: updates of the old one");
    bench.valt.clear_faults();
    bench.outcomes(new.len());
    let counts = outcomes_by_event(&mut bench, &new);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    in_order(&bench.valt, "new");
    for user in 1..=8 {
        assert_eq!(bench.valt.fields(user).unwrap()["display_name"], "new 012");
    }
    assert_eq!(service.terminate().code, Some(0));
}

/// The offsets that the log tells of in the line with these words: partition, from, to.
fn told(service: &Service, words: &str) -> Vec<(i32, i64, i64)> {
    let log = service.log();
    let lines = log.lines().filter(|line| line.contains(words) && line.contains("\"valt\""));
    let number = |line: &Value, name: &str| line.get("fields").unwrap_or(line)[name].as_i64().unwrap();
    lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (i32::try_from(number(&line, "partition")).unwrap(), number(&line, "from"), number(&line, "to")))
        .collect()
}

const DELETED: &str = "were deleted from the update topic before they were read";

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_deleted_before_they_are_read_are_told_with_their_range_and_the_rest_goes_on() {
    const COUNT: usize = 6000;
    let mut bench = Bench::new().await;
    let mut service = bench.start();
    let first = bench.send(&[Update::valt(1, "first")]);
    bench.outcomes_of(&first);
    // While it does not read: one answer of the broker is on its way, and the rest of what is written is not in it.
    service.signal("STOP");
    let long = "x".repeat(1000);
    let updates: Vec<_> = (0..COUNT).map(|number| Update::valt(1, &format!("{long}{number}"))).collect();
    let places = bench.send(&updates);
    let start = &places[COUNT - 1000];
    kafka::delete_below(&bench.servers, &start.topic, start.partition, start.offset).await;
    service.signal("CONT");
    service.wait_until("it is told", |service| !told(service, DELETED).is_empty());
    let [(partition, from, to)] = told(&service, DELETED)[..] else { panic!("told once:\n{}", service.log()) };
    assert_eq!((partition, to), (start.partition, start.offset));
    let read: Vec<_> = places.iter().filter(|place| !(from..to).contains(&place.offset)).cloned().collect();
    assert!(read.len() >= 1000 && from < to, "{from} to {to}");
    bench.outcomes_of(&[first, read].concat());
    assert_eq!(resets(&service), 1.0);
    let lag = |service: &Service| service.metrics().sum("consumer_lag", &[("target", "valt")]);
    service.wait_until("the lag is gone", |service| lag(service) == 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_deleted_while_it_is_stopped_are_told_whether_others_came_or_not() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let mut places = bench.send(&rounds(1..=1, 5, "read"));
    bench.outcomes_of(&places);
    assert_eq!(service.terminate().code, Some(0));
    for more in [0, 3] {
        let lost = bench.send(&rounds(1..=1, 4, "lost"));
        let end = &lost[3];
        kafka::delete_below(&bench.servers, &end.topic, end.partition, end.offset + 1).await;
        places.extend(bench.send(&rounds(1..=1, more, "more")));
        let mut service = bench.start();
        service.wait_until("it is told", |service| !told(service, DELETED).is_empty());
        assert_eq!(told(&service, DELETED), [(end.partition, lost[0].offset, end.offset + 1)]);
        bench.outcomes_of(&places);
        assert_eq!(resets(&service), 1.0);
        assert_eq!(service.terminate().code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_offsets_expired_is_told_and_a_new_one_is_not() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let updates = rounds(1..=8, 2, "old");
    bench.send(&updates);
    one_outcome_each(&mut bench, &updates, 0);
    let used = used(&bench);
    assert_eq!(resets(&service), 0.0);
    assert_eq!(service.terminate().code, Some(0));
    let group = format!("{}.valt", bench.id);
    let admin: AdminClient<DefaultClientContext> = kafka::client(&bench.servers).create().unwrap();
    for result in admin.delete_groups(&[&group], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    let mut service = bench.start();
    service.wait_until("it is told", |service| resets(service) >= used);
    bench.outcomes(2 * updates.len());
    assert_eq!(resets(&service), used);
    assert_eq!(service.metrics().sum("offsets_reset_total", &[]), used, "the other groups still have their offsets");
    let told = told(&service, "no offset is committed, though there are outcomes");
    assert!(told.iter().all(|(_, from, to)| *from == 0 && *to > 0), "{told:?}");
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_is_told_and_once_it_is_back_it_goes_on_without_a_restart() {
    let mut bench = Bench::new().await;
    let mut service = bench.start();
    let old = rounds(1..=8, 2, "old");
    bench.send(&old);
    one_outcome_each(&mut bench, &old, 0);
    kafka::delete_topic(&bench.servers, &bench.topic(0)).await;
    service.wait_for_log("the update topic does not exist");
    service.wait_until("it is not ready", |service| service.get("/readyz").0 == 503);
    let error = |service: &Service| service.status()["targets"]["valt"]["last_error"].as_str().map(str::to_owned);
    service.wait_until("its status tells", |service| error(service).is_some_and(|error| error.contains("does not exist")));
    assert_eq!(service.get("/livez").0, 200);
    kafka::create_topic(&bench.servers, &bench.topic(0), PARTITIONS, &[]).await;
    bench.writer = Writer::new(&bench.servers, &bench.topic(0));
    let new = rounds(1..=8, 2, "new");
    bench.send(&new);
    one_outcome_each(&mut bench, &new, old.len());
    service.wait_until("it is ready", |service| service.get("/readyz").0 == 200);
    assert_eq!(error(&service), None);
    assert!(resets(&service) > 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_while_it_runs_are_read_from_their_start() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let old = rounds(1..=8, 1, "old");
    bench.send(&old);
    one_outcome_each(&mut bench, &old, 0);
    kafka::add_partitions(&bench.servers, &bench.topic(0), usize::try_from(2 * PARTITIONS).unwrap()).await;
    bench.writer = Writer::new(&bench.servers, &bench.topic(0));
    let new = rounds(1..=40, 1, "new");
    let places = bench.send(&new);
    assert!(places.iter().any(|place| place.partition >= PARTITIONS), "some are in partitions that nobody has read yet");
    one_outcome_each(&mut bench, &new, old.len());
    assert_eq!(resets(&service), 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

/// The partition's leader is lost before another broker has its last records, and that one is made leader all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_read_on_from_the_cut_and_what_was_settled_below_it_stays_settled() {
    let brokers = OwnBrokers::start("it-cut", 3);
    let mut bench = Bench::on(&brokers.servers).await;
    bench.set("targets.valt.delivery.merge", false);
    bench.set("targets.valt.retry.max_attempts", 10_000);
    kafka::delete_topic(&brokers.servers, &bench.topic(0)).await;
    let settings = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    kafka::create_topic_on(&brokers.servers, &bench.topic(0), &[1, 2], &settings).await;
    bench.writer = Writer::new(&brokers.servers, &bench.topic(0));
    let mut service = bench.start();
    // One that stays unsettled below the cut, and others beside it.
    bench.valt.fault(Rule::status(500).user(1));
    let below: Vec<_> = [Update::valt(1, "below 000")].into_iter().chain(rounds(2..=5, 3, "below")).collect();
    let places = bench.send(&below);
    one_outcome_each(&mut bench, &below[1..], 0);
    assert_eq!(kafka::leader(&brokers.servers, &bench.topic(0), 0), 1);
    brokers.command("kill", 2);
    let above = rounds(2..=5, 4, "above");
    bench.send(&above);
    one_outcome_each(&mut bench, &above, below.len() - 1);
    brokers.command("kill", 1);
    brokers.command("start", 2);
    let new = rounds(2..=5, 2, "new");
    bench.writer = Writer::new(&brokers.servers, &bench.topic(0));
    let new_places = bench.send(&new);
    assert_eq!(new_places[0].offset, places.last().unwrap().offset + 1, "the offsets are used anew");
    one_outcome_each(&mut bench, &new, below.len() - 1 + above.len());
    in_order(&bench.valt, "new");
    bench.valt.clear_faults();
    bench.outcomes(below.len() + above.len() + new.len());
    let all: Vec<_> = below.iter().chain(&above).chain(&new).cloned().collect();
    assert!(outcomes_by_event(&mut bench, &all).values().all(|count| *count == 1), "below the cut nothing was settled twice");
    service.wait_until("it is told", |service| !told(service, "the log of the update topic was cut").is_empty());
    let range = (0, new_places[0].offset, new_places[0].offset + above.len() as i64);
    assert_eq!(told(&service, "the log of the update topic was cut"), [range]);
    assert_eq!(resets(&service), 1.0);
    assert_eq!(service.terminate().code, Some(0));
}

/// Two instances, and a topic that is made anew at any moment, with as many records or more or fewer, while updates wait, are called and are settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_again_and_again_under_two_instances_loses_and_doubles_nothing_of_the_last_one() {
    const USERS: u64 = 12;
    let seed = std::env::var("TOPIC_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("TOPIC_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    bench.valt.set(|settings| settings.latency = Duration::from_millis(5));
    let services = ["one", "two"].map(|name| bench.start_as(name));
    let mut all: Vec<Update> = Vec::new();
    let mut last = Vec::new();
    for round in 0..8 {
        if round > 0 {
            remake(&mut bench).await;
        }
        let label = format!("topic {round},");
        last = rounds(1..=USERS, random.u64(1..=30), &label);
        // In pieces, so that some of them meet a client that still has the old topic.
        for piece in last.chunks(random.usize(1..=last.len())) {
            bench.send(piece);
        }
        all.extend(last.iter().cloned());
        let wanted = if random.bool() { random.usize(1..=last.len()) } else { 0 };
        let called = |bench: &Bench| names(&bench.valt, &label).values().map(Vec::len).sum::<usize>();
        let deadline = Instant::now() + PATIENCE;
        while called(&bench) < wanted {
            assert!(Instant::now() < deadline, "{} of {wanted} calls of {label}", called(&bench));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while outcomes_by_event(&mut bench, &last).values().any(|count| *count == 0) {
        assert!(Instant::now() < deadline, "something of the last topic has no outcome");
    }
    let several: Vec<_> = outcomes_by_event(&mut bench, &all).into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(several.is_empty(), "{several:?}");
    in_order(&bench.valt, "topic 7,");
    for service in services {
        assert_eq!(service.terminate().code, Some(0));
    }
}
