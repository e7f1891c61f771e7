//! The update topic cut, gone or grown, and a group whose offsets expired: what is lost is told,
//! and the rest goes on.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use stand_in::Rule;

use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{self, OwnBrokers, Writer};
use crate::harness::service::Service;
use crate::harness::update::Update;
use crate::topic_anew::{
    in_order, one_outcome_each, outcomes_by_event, resets, rounds, told, used,
};

const DELETED: &str = "were deleted from the update topic before they were read";

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_deleted_before_they_are_read_are_told_with_their_range_and_the_rest_goes_on()
 {
    const COUNT: usize = 6000;
    let mut bench = Bench::new().await;
    let mut service = bench.start();
    let first = bench.send(&[Update::valt(1, "first")]);
    bench.outcomes_of(&first);
    // While it does not read: one answer of the broker is on its way, and the rest of what is
    // written is not in it.
    service.signal("STOP");
    let long = "x".repeat(1000);
    let updates: Vec<_> = (0..COUNT)
        .map(|number| Update::valt(1, &format!("{long}{number}")))
        .collect();
    let places = bench.send(&updates);
    let start = &places[COUNT - 1000];
    kafka::delete_below(&bench.servers, &start.topic, start.partition, start.offset).await;
    service.signal("CONT");
    service.wait_until("it is told", |service| !told(service, DELETED).is_empty());
    let [(partition, from, to)] = told(&service, DELETED)[..] else {
        panic!("told once:\n{}", service.log())
    };
    assert_eq!((partition, to), (start.partition, start.offset));
    let read: Vec<_> = places
        .iter()
        .filter(|place| !(from..to).contains(&place.offset))
        .cloned()
        .collect();
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
        assert_eq!(
            told(&service, DELETED),
            [(end.partition, lost[0].offset, end.offset + 1)]
        );
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
    for result in admin
        .delete_groups(&[&group], &AdminOptions::new())
        .await
        .unwrap()
    {
        result.unwrap();
    }
    let mut service = bench.start();
    service.wait_until("it is told", |service| resets(service) >= used);
    bench.outcomes(2 * updates.len());
    assert_eq!(resets(&service), used);
    assert_eq!(
        service.metrics().sum("offsets_reset_total", &[]),
        used,
        "the other groups still have their offsets"
    );
    let told = told(
        &service,
        "no offset is committed, though there are outcomes",
    );
    assert!(
        told.iter().all(|(_, from, to)| *from == 0 && *to > 0),
        "{told:?}"
    );
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
    let error = |service: &Service| {
        service.status()["targets"]["valt"]["last_error"]
            .as_str()
            .map(str::to_owned)
    };
    service.wait_until("its status tells", |service| {
        error(service).is_some_and(|error| error.contains("does not exist"))
    });
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
    kafka::add_partitions(
        &bench.servers,
        &bench.topic(0),
        usize::try_from(2 * PARTITIONS).unwrap(),
    )
    .await;
    bench.writer = Writer::new(&bench.servers, &bench.topic(0));
    let new = rounds(1..=40, 1, "new");
    let places = bench.send(&new);
    assert!(
        places.iter().any(|place| place.partition >= PARTITIONS),
        "some are in partitions that nobody has read yet"
    );
    one_outcome_each(&mut bench, &new, old.len());
    assert_eq!(resets(&service), 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

/// The partition's leader is lost before another broker has its last records, and that one is made
/// leader all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_read_on_from_the_cut_and_what_was_settled_below_it_stays_settled() {
    let brokers = OwnBrokers::start("it-cut", 3);
    let mut bench = Bench::on(&brokers.servers).await;
    bench.set("targets.valt.delivery.merge", false);
    bench.set("targets.valt.retry.max_attempts", 10_000);
    kafka::delete_topic(&brokers.servers, &bench.topic(0)).await;
    let settings = [
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "true"),
    ];
    kafka::create_topic_on(&brokers.servers, &bench.topic(0), &[1, 2], &settings).await;
    bench.writer = Writer::new(&brokers.servers, &bench.topic(0));
    let mut service = bench.start();
    // One that stays unsettled below the cut, and others beside it.
    bench.valt.fault(Rule::status(500).user(1));
    let below: Vec<_> = [Update::valt(1, "below 000")]
        .into_iter()
        .chain(rounds(2..=5, 3, "below"))
        .collect();
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
    assert_eq!(
        new_places[0].offset,
        places.last().unwrap().offset + 1,
        "the offsets are used anew"
    );
    one_outcome_each(&mut bench, &new, below.len() - 1 + above.len());
    in_order(&bench.valt, "new");
    bench.valt.clear_faults();
    bench.outcomes(below.len() + above.len() + new.len());
    let all: Vec<_> = below.iter().chain(&above).chain(&new).cloned().collect();
    assert!(
        outcomes_by_event(&mut bench, &all)
            .values()
            .all(|count| *count == 1),
        "below the cut nothing was settled twice"
    );
    service.wait_until("it is told", |service| {
        !told(service, "the log of the update topic was cut").is_empty()
    });
    let range = (
        0,
        new_places[0].offset,
        new_places[0].offset + above.len() as i64,
    );
    assert_eq!(
        told(&service, "the log of the update topic was cut"),
        [range]
    );
    assert_eq!(resets(&service), 1.0);
    assert_eq!(service.terminate().code, Some(0));
}
