//! The main path: every update reaches its API once, in order per user, and comes out as one
//! outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use stand_in::{Fault, Rule, StandIn, User};

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::kafka::Place;
use crate::harness::outcome::Outcome;
use crate::harness::schema;
use crate::harness::update::Update;

/// The calls for these updates, by `Idempotency-Key`, agree with their outcomes.
fn check_delivered(api: &StandIn, updates: &[Update], outcomes: &[Outcome]) {
    let calls = calls_by_user(api);
    let calls: BTreeMap<_, _> = calls
        .values()
        .flatten()
        .map(|call| (call.idempotency_key.clone(), call))
        .collect();
    assert_eq!(calls.len(), updates.len(), "one call for each update");
    for (update, outcome) in updates.iter().zip(outcomes) {
        schema::check_update(&update.event());
        let call = calls[&Some(outcome.id.to_string())];
        assert!(call.applied);
        assert_eq!(
            (
                outcome.ending().as_str(),
                outcome.data.attempts,
                outcome.data.http_status
            ),
            ("delivered", 1, Some(200))
        );
        assert_eq!(outcome.key.as_deref(), Some(update.key.as_bytes()));
        assert_eq!(outcome.user().map(User::from), call.user);
        assert_eq!((&outcome.data.into, &outcome.data.error), (&None, &None));
        let event = &outcome.data.event;
        let attribute = |name: &str| update.attributes[name].as_str();
        assert_eq!(
            [
                event.id.as_deref(),
                event.source.as_deref(),
                event.event_type.as_deref()
            ],
            ["id", "source", "type"].map(attribute)
        );
        let changes = update.data["changes"].as_object().unwrap();
        assert_eq!(outcome.data.fields, Some(changes.keys().cloned().collect()));
        for (field, value) in changes {
            assert_eq!(&call.body[field], value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_update_is_delivered_once_in_both_modes_to_both_apis() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    let valt = [
        Update::valt(52, "Anna"),
        Update::valt(53, "Björn").binary(),
        Update::new(
            "valt",
            54,
            json!({ "rooms": [37, 39], "video_access": { "users": [1], "user_groups": [] } }),
        ),
        Update::valt(52, "Anna again").binary(),
    ];
    let aipix = [Update::aipix(52, &[9, 12]), Update::aipix(7, &[]).binary()];
    // As text, the user is the same one.
    let mut as_text = Update::valt(55, "Cleo");
    as_text.data["user"] = json!("55");
    let valt: Vec<_> = valt.into_iter().chain([as_text]).collect();

    let service = bench.start();
    let valt_places = bench.send(&valt);
    let aipix_places = bench.send(&aipix);
    let places: Vec<Place> = valt_places.into_iter().chain(aipix_places).collect();
    let outcomes = bench.outcomes_of(&places);

    let (of_valt, of_aipix) = outcomes.split_at(valt.len());
    check_delivered(&bench.valt, &valt, of_valt);
    check_delivered(&bench.aipix, &aipix, of_aipix);
    assert!(bench.dead_letters(0).is_empty());
    let metrics = service.metrics();
    assert_eq!(
        metrics.sum(
            "outcomes_total",
            &[("target", "valt"), ("outcome", "delivered")]
        ),
        5.0
    );
    assert_eq!(
        metrics.sum(
            "outcomes_total",
            &[("target", "aipix"), ("outcome", "delivered")]
        ),
        2.0
    );
    assert_eq!(
        metrics.sum("records_consumed_total", &[("target", "aipix")]),
        7.0
    );
    assert_eq!(
        metrics.sum("records_claimed_total", &[("target", "aipix")]),
        2.0
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_one_user_are_applied_in_the_order_of_the_topic() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    bench.set("targets.valt.retry.max_attempts", 100);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(2));
    bench.valt.fault(Rule::status(503).probability(0.2));
    let updates: Vec<_> = (0..400)
        .map(|number| Update::valt(1 + number % 10, &number.to_string()))
        .collect();
    let service = bench.start();
    let places = bench.send(&updates);
    let outcomes = bench.outcomes_of(&places);

    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    for (user, calls) in calls_by_user(&bench.valt) {
        let applied: Vec<u64> = calls
            .iter()
            .filter(|call| call.applied)
            .map(|call| call.body["display_name"].as_str().unwrap().parse().unwrap())
            .collect();
        let sent: Vec<u64> = (0..400).filter(|number| 1 + number % 10 == user).collect();
        assert_eq!(applied, sent, "of user {user}");
    }
    assert_eq!(service.metrics().sum("order_violations_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_waits_holds_up_no_other() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.request_timeout", "1s");
    let stuck = bench.valt.fault(Rule::fault(Fault::Hang).user(1));
    let updates: Vec<_> = (1..=100).map(|user| Update::valt(user, "Anna")).collect();
    let _service = bench.start();
    let places = bench.send(&updates);
    let others = bench.outcomes(99);
    assert!(
        others
            .iter()
            .all(|outcome| outcome.user() != Some(1) && outcome.ending() == "delivered")
    );

    bench.valt.remove_fault(stuck);
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(outcomes[0].ending(), "delivered");
    assert!(outcomes[0].data.attempts > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_down_delays_only_its_own_updates_and_dead_letters_none() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 2);
    bench.valt.close_port().await;
    let mut service = bench.start();
    let down: Vec<_> = (1..=50).map(|user| Update::valt(user, "Anna")).collect();
    let up: Vec<_> = (1..=50).map(|user| Update::aipix(user, &[9])).collect();
    let down_places = bench.send(&down);
    let up_places = bench.send(&up);
    let outcomes = bench.outcomes_of(&up_places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    service.wait_until("valt holds", |service| {
        let target = &service.status()["targets"]["valt"];
        target["state"] != "flowing" && target["cause"] == "unreachable"
    });
    assert_eq!(
        service.get("/readyz").0,
        200,
        "a target that holds does not make the service unready"
    );
    assert_eq!(service.status()["targets"]["aipix"]["state"], "flowing");

    bench.valt.open_port().await;
    let places: Vec<_> = up_places.into_iter().chain(down_places).collect();
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    service.wait_until("valt flows", |service| {
        service
            .metrics()
            .sum("target_state", &[("target", "valt"), ("state", "flowing")])
            == 1.0
    });
    wait_for_updates(&bench.valt, 50).await;
}
