//! The update topic deleted and made anew, cut, gone or grown: no record is taken for done because
//! its offset was used before.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use stand_in::{Rule, StandIn};

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{self, PATIENCE, Writer};
use crate::harness::service::Service;
use crate::harness::update::Update;

/// So many updates of each of these users, numbered in their order.
pub(crate) fn rounds(users: std::ops::RangeInclusive<u64>, count: u64, label: &str) -> Vec<Update> {
    (1..=count)
        .flat_map(|number| {
            users
                .clone()
                .map(move |user| Update::valt(user, &format!("{label} {number:03}")))
        })
        .collect()
}

/// Deletes and creates the update topic. What is sent from now on is the new one's.
async fn remake(bench: &mut Bench) {
    kafka::remake_topic(&bench.servers, &bench.topic(0), PARTITIONS).await;
    bench.writer = Writer::new(&bench.servers, &bench.topic(0));
}

/// How often each of these updates has an outcome, by its event's id.
pub(crate) fn outcomes_by_event(bench: &mut Bench, updates: &[Update]) -> HashMap<String, usize> {
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
pub(crate) fn one_outcome_each(bench: &mut Bench, updates: &[Update], others: usize) {
    bench.outcomes(others + updates.len());
    let counts = outcomes_by_event(bench, updates);
    assert!(
        counts.values().all(|count| *count == 1),
        "each update has exactly one outcome: {counts:?}"
    );
}

/// The names that each user was given by updates with this label, in the order of the calls,
/// without those that were called again.
fn names(api: &StandIn, label: &str) -> BTreeMap<u64, Vec<String>> {
    let name = |call: &stand_in::Call| call.body["display_name"].as_str().map(str::to_owned);
    let all = calls_by_user(api).into_iter();
    all.map(|(user, calls)| {
        (
            user,
            calls
                .iter()
                .filter_map(name)
                .filter(|name| name.starts_with(label))
                .collect(),
        )
    })
    .collect()
}

/// The calls of these updates came in the order of the topic.
#[track_caller]
pub(crate) fn in_order(api: &StandIn, label: &str) {
    for (user, names) in names(api, label) {
        assert!(
            names.is_sorted(),
            "user {user} was called in this order: {names:?}"
        );
    }
}

pub(crate) fn resets(service: &Service) -> f64 {
    service
        .metrics()
        .sum("offsets_reset_total", &[("target", "valt")])
}

/// The partitions of the update topic that have records.
pub(crate) fn used(bench: &Bench) -> f64 {
    let mut partitions: Vec<_> = bench
        .updates()
        .into_iter()
        .map(|(place, _)| place.partition)
        .collect();
    partitions.sort_unstable();
    partitions.dedup();
    f64::from(u32::try_from(partitions.len()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_it_runs_is_read_from_its_start() {
    // Shorter than what was read of the old one, and longer: only then do its offsets go on where
    // those ended. That is found out at once or within 2 s, so several times.
    for (before, after) in [(6, 2), (3, 15), (2, 20), (1, 20)] {
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
        assert_eq!(
            bench.valt.stats().updates,
            (old.len() + new.len()) as u64,
            "nothing was called twice"
        );
        service.wait_until("the resets are counted", |service| resets(service) >= used);
        assert_eq!(
            resets(&service),
            used,
            "once for each partition that was read"
        );
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
    // Kafka deletes the group's offsets with the topic. An instance that is still at work then
    // commits them again.
    for (before, after, again) in [(6, 2, false), (3, 15, false), (6, 2, true), (3, 15, true)] {
        let mut bench = Bench::new().await;
        bench.set("targets.valt.delivery.merge", false);
        bench.set("targets.valt.retry.max_attempts", 10_000);
        // The first record of its partition stays unsettled, so the text beside the offset is full
        // of holes.
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
        let group = Group::of(&bench, "valt");
        let committed = group.committed();
        let texts: Vec<_> = committed
            .elements()
            .iter()
            .map(|partition| partition.metadata().len())
            .collect();
        assert!(
            texts.iter().max() > texts.iter().min(),
            "one of them tells of holes"
        );
        remake(&mut bench).await;
        group.await_deletion();
        if again {
            group.commit(&committed);
        }
        let new = rounds(1..=9, after, "new");
        bench.send(&new);
        let mut service = bench.start();
        one_outcome_each(&mut bench, &new, old.len());
        in_order(&bench.valt, "new");
        service.wait_until("the resets are counted", |service| resets(service) >= used);
        assert_eq!(
            resets(&service),
            used,
            "once for each partition that was read"
        );
        let words = if again {
            "the update topic was deleted and made anew: these"
        } else {
            "no offset is committed"
        };
        service.wait_until("it is told", |service| {
            told(service, words).len() == used as usize
        });
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

/// The consumer group of a target, asked and used by somebody who is no member.
struct Group {
    consumer: BaseConsumer,
    topic: String,
}

impl Group {
    fn of(bench: &Bench, target: &str) -> Self {
        let mut config = kafka::client(&bench.servers);
        let consumer = config
            .set("group.id", format!("{}.{target}", bench.id))
            .create()
            .unwrap();
        Group {
            consumer,
            topic: bench.topic(0),
        }
    }

    fn committed(&self) -> TopicPartitionList {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        self.consumer
            .committed_offsets(asked, PATIENCE)
            .expect("the broker answers")
    }

    /// Kafka takes its time to delete the offsets of a topic that was deleted.
    fn await_deletion(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self
            .committed()
            .elements()
            .iter()
            .any(|partition| partition.offset() != Offset::Invalid)
        {
            assert!(
                Instant::now() < deadline,
                "the offsets of the old topic stay"
            );
        }
    }

    fn commit(&self, offsets: &TopicPartitionList) {
        self.consumer.commit(offsets, CommitMode::Sync).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_updates_wait_for_an_api_that_is_away_loses_nothing_of_the_new_one()
{
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_waiting", 20);
    bench.set("targets.valt.delivery.request_timeout", "1s");
    bench.valt.fault(Rule::status(503));
    let mut service = bench.start();
    // More than the memory holds, so that consumption is paused.
    bench.send(&rounds(1..=8, 10, "old"));
    service.wait_until("it holds", |service| {
        service.status()["targets"]["valt"]["state"] == "holding"
    });
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
pub(crate) fn told(service: &Service, words: &str) -> Vec<(i32, i64, i64)> {
    let log = service.log();
    let lines = log
        .lines()
        .filter(|line| line.contains(words) && line.contains("\"valt\""));
    let number =
        |line: &Value, name: &str| line.get("fields").unwrap_or(line)[name].as_i64().unwrap();
    lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| {
            (
                i32::try_from(number(&line, "partition")).unwrap(),
                number(&line, "from"),
                number(&line, "to"),
            )
        })
        .collect()
}

/// Two instances, and a topic that is made anew at any moment, with as many records or more or
/// fewer, while updates wait, are called and are settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_again_and_again_under_two_instances_loses_and_doubles_nothing_of_the_last_one()
 {
    const USERS: u64 = 12;
    let seed = std::env::var("TOPIC_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("TOPIC_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(5));
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
        let wanted = if random.bool() {
            random.usize(1..=last.len())
        } else {
            0
        };
        let called = |bench: &Bench| {
            names(&bench.valt, &label)
                .values()
                .map(Vec::len)
                .sum::<usize>()
        };
        let deadline = Instant::now() + PATIENCE;
        while called(&bench) < wanted {
            assert!(
                Instant::now() < deadline,
                "{} of {wanted} calls of {label}",
                called(&bench)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while outcomes_by_event(&mut bench, &last)
        .values()
        .any(|count| *count == 0)
    {
        assert!(
            Instant::now() < deadline,
            "something of the last topic has no outcome"
        );
    }
    let several: Vec<_> = outcomes_by_event(&mut bench, &all)
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .collect();
    assert!(several.is_empty(), "{several:?}");
    in_order(&bench.valt, "topic 7,");
    for service in services {
        assert_eq!(service.terminate().code, Some(0));
    }
}
