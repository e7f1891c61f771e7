//! APIs that fail, throttle, slow down or hang for a while: what it costs, and whom.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use stand_in::{Fault, Rule};

use crate::harness::api::wait_for_updates;
use crate::harness::bench::Bench;
use crate::harness::kafka::Place;
use crate::harness::outcome::Outcome;
use crate::harness::service::Service;
use crate::harness::update::Update;

/// The time within which 99 of 100 of these updates had their answer, from when they were read.
fn p99<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Duration {
    let mut times: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| {
            outcome
                .data
                .finished_at
                .duration_since(outcome.data.received_at.unwrap())
                .unsigned_abs()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Writes an update for each of these users at the target every `pace`, waits for their outcomes,
/// and returns them in their order.
async fn flow(bench: &mut Bench, target: &str, users: u64, pace: Duration) -> Vec<Place> {
    let mut places = Vec::new();
    let mut tick = tokio::time::interval(pace);
    for user in 1..=users {
        tick.tick().await;
        let update = if target == "valt" {
            Update::valt(user, "Anna")
        } else {
            Update::aipix(user, &[9])
        };
        places.extend(bench.send(&[update]));
    }
    places
}

fn states(service: &Service, target: &str) -> (String, String) {
    let status = service.status();
    let text = |key: &str| status["targets"][target][key].as_str().unwrap().to_owned();
    (text("state"), text("cause"))
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_of_every_kind_dead_letter_nothing_heal_by_themselves_and_cost_the_other_target_nothing()
 {
    const USERS: u64 = 30;
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 2);
    bench.set("targets.valt.delivery.request_timeout", "1s");
    let mut service = bench.start();
    let pace = Duration::from_millis(5);
    let mut places = flow(&mut bench, "aipix", 4 * USERS, pace).await;
    let quiet = p99(&bench.outcomes_of(&places));
    let mut other = Vec::new();
    let outages = [
        ("unreachable", None),
        ("unreachable", Some(Rule::status(500))),
        ("unreachable", Some(Rule::fault(Fault::Hang))),
        ("fault", Some(Rule::fault(Fault::Html))),
        ("fault", Some(Rule::status(404).body("nothing here"))),
        ("unauthorized", Some(Rule::status(403))),
        ("throttled", Some(Rule::status(429).retry_after(1))),
        ("throttled", Some(Rule::status(503).retry_after(1))),
    ];
    for (cause, rule) in outages {
        match rule.clone() {
            Some(rule) => drop(bench.valt.fault(rule)),
            None => bench.valt.close_port().await,
        }
        let during: Vec<_> = (1..=USERS).map(|user| Update::valt(user, cause)).collect();
        places.extend(bench.send(&during));
        service.wait_until("it holds", |service| {
            let (state, found) = states(service, "valt");
            state != "flowing" && found == cause
        });
        let since = service.status()["targets"]["valt"]["since"].clone();
        let aipix = flow(&mut bench, "aipix", USERS, pace).await;
        places.extend(aipix.iter().cloned());
        other.extend(aipix);
        assert_eq!(
            service.status()["targets"]["valt"]["since"],
            since,
            "one outage, one beginning"
        );
        match rule {
            Some(_) => bench.valt.clear_faults(),
            None => bench.valt.open_port().await,
        }
        bench.outcomes(places.len());
        service.wait_until("it flows", |service| {
            states(service, "valt") == ("flowing".to_owned(), "none".to_owned())
        });
    }
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| ["delivered", "merged"].contains(&outcome.ending().as_str()))
    );
    assert!(bench.dead_letters(0).is_empty());
    let meanwhile = p99(outcomes
        .iter()
        .filter(|outcome| other.contains(&outcome.data.record)));
    println!(
        "aipix, p99 from reading to answer: {quiet:?} while all was well, {meanwhile:?} while valt was away"
    );
    // Both are a few milliseconds; the margin is for a machine that does much else.
    assert!(
        meanwhile < quiet * 2 + Duration::from_millis(100),
        "{quiet:?}, {meanwhile:?}"
    );
    let log = service.terminate().errors;
    let told = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert!(
        told("\"holding\"") <= 60,
        "the log tells changes, not every failure:\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_share_an_api_that_throttles_without_storms() {
    const LIMIT: u32 = 100;
    const UPDATES: u64 = 1500;
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    bench.valt.set(|settings| settings.rate_limit = LIMIT);
    let services: Vec<_> = ["one", "two", "three"]
        .map(|name| bench.start_as(name))
        .into();
    let updates: Vec<_> = (1..=UPDATES)
        .map(|user| Update::valt(user, "Anna"))
        .collect();
    let began = Instant::now();
    let places = bench.send(&updates);
    bench
        .valt
        .wait_for(|stats| stats.applied > UPDATES / 2)
        .await;
    let half = began.elapsed().as_secs_f64();
    let shares: Vec<f64> = services
        .iter()
        .map(|service| {
            service.metrics().sum(
                "outcomes_total",
                &[("target", "valt"), ("outcome", "delivered")],
            )
        })
        .collect();
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    let calls = bench.valt.calls();
    let refused = calls.iter().filter(|call| call.status == Some(429)).count();
    let mut seconds: BTreeMap<i64, u32> = BTreeMap::new();
    calls
        .iter()
        .for_each(|call| *seconds.entry(call.at.as_second()).or_default() += 1);
    let busiest = seconds.values().max().unwrap();
    // As long as all three have something to do: at the end, one has more partitions left than the
    // others.
    let goodput = UPDATES as f64 / 2.0 / half / f64::from(LIMIT);
    println!(
        "{refused} of {} calls were refused; {:.0}% of what the API takes was used; at most {busiest} calls in one second; shares at half-time {shares:?}",
        calls.len(),
        goodput * 100.0
    );
    assert!(
        refused * 5 < calls.len(),
        "{refused} of {} calls were refused",
        calls.len()
    );
    assert!(goodput > 0.4, "{goodput}");
    assert!(shares.iter().all(|share| *share > 0.0), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_whose_calls_queue_gets_fewer_at_once_and_all_of_them_back_when_it_recovers() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    bench.set("targets.valt.delivery.max_concurrency", 64);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(20));
    let servers = |bench: &Bench, count| bench.valt.set(|settings| settings.servers = count);
    let mut service = bench.start();
    let updates: Vec<_> = (1..=30_000)
        .map(|number| Update::valt(number % 10_000 + 1, "Anna"))
        .collect();
    let limit = |service: &Service| {
        service
            .metrics()
            .sum("concurrency_limit", &[("target", "valt")])
    };
    let places = bench.send(&updates);
    service.wait_until("the limit has grown", |service| limit(service) == 64.0);
    // More calls at once wait longer, and no more of them end.
    servers(&bench, 8);
    service.wait_until("the limit has shrunk", |service| limit(service) <= 32.0);
    servers(&bench, 0);
    service.wait_until("the limit has grown again", |service| {
        limit(service) == 64.0
    });
    bench.valt.set(|settings| settings.latency = Duration::ZERO);
    assert!(
        bench
            .outcomes_of(&places)
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    assert!(bench.dead_letters(0).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_calls_always_hang_costs_the_others_nothing() {
    const USERS: u64 = 400;
    const STUCK: u64 = 7;
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.request_timeout", "1s");
    bench.set("targets.valt.retry.max_attempts", 1000);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(20));
    let _service = bench.start();
    let pace = Duration::from_millis(3);
    // By turns, so that a machine that is slow for a while is slow for both.
    let [mut without, mut with] = [Vec::new(), Vec::new()];
    let mut places = Vec::new();
    for _ in 0..2 {
        let sent = flow(&mut bench, "valt", USERS, pace).await;
        places.extend(sent.iter().cloned());
        bench.outcomes(places.len());
        without.extend(sent);
        bench.valt.fault(Rule::fault(Fault::Hang).user(STUCK));
        let sent = flow(&mut bench, "valt", USERS, pace).await;
        bench.outcomes(places.len() + sent.len() - 1);
        places.extend(sent.iter().cloned());
        bench.valt.clear_faults();
        bench.outcomes(places.len());
        with.extend(sent);
    }
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    let others = |places: &[Place]| {
        let of_others = |outcome: &&Outcome| {
            outcome.user() != Some(STUCK) && places.contains(&outcome.data.record)
        };
        p99(outcomes.iter().filter(of_others))
    };
    let (without, with) = (others(&without), others(&with));
    println!(
        "p99 of the others, from reading to answer: {without:?} without, {with:?} with a user whose calls hang"
    );
    assert!(
        with < without * 3 / 2 + Duration::from_millis(20),
        "{without:?}, {with:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_update_among_healthy_ones_ends_in_bounded_time_and_delays_only_its_own_user() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 4);
    bench.valt.fault(Rule::status(500).user(7));
    let _service = bench.start();
    let mut places = bench.send(&[
        Update::valt(7, "poison"),
        Update::new("valt", 7, json!({ "rooms": [1] })),
    ]);
    let mut sent = 0;
    while bench
        .outcomes_now()
        .iter()
        .all(|outcome| outcome.user() != Some(7))
    {
        sent += 1;
        assert!(sent < 400, "it is tried for ever");
        places.extend(flow(&mut bench, "valt", 6, Duration::from_millis(10)).await);
        wait_for_updates(&bench.valt, 6 * sent).await;
    }
    bench.valt.clear_faults();
    let outcomes = bench.outcomes_of(&places);
    let (poison, healthy): (Vec<_>, Vec<_>) = outcomes
        .iter()
        .partition(|outcome| outcome.user() == Some(7));
    assert_eq!(poison[0].ending(), "dead_lettered attempts_exhausted");
    // Failures before others were delivered do not count.
    assert!(
        (4..40).contains(&poison[0].data.attempts),
        "{:?}",
        poison[0].data.attempts
    );
    assert!(
        healthy
            .iter()
            .all(|outcome| ["delivered", "merged"].contains(&outcome.ending().as_str()))
    );
}
