//! A target that an operator pauses.

use std::time::Duration;

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::kafka::Place;
use crate::harness::outcome::Outcome;
use crate::harness::service::Service;
use crate::harness::update::Update;

/// Updates of one user each.
const USERS: u64 = 100;

fn round(number: u64) -> Vec<Update> {
    (1..=USERS)
        .map(|user| Update::valt(user, &number.to_string()))
        .collect()
}

fn pause(bench: &mut Bench, paused: bool) {
    bench.set("targets.valt.paused", paused);
    bench.config_file();
}

fn is_paused(service: &Service) -> bool {
    let status = service.status()["targets"]["valt"].clone();
    let labels = [("target", "valt"), ("cause", "paused")];
    let told = status["state"] == "holding" && status["cause"] == "paused";
    assert!(
        !told || status["next_probe_at"].is_null(),
        "nothing probes: {status}"
    );
    told && service.metrics().sum("target_state", &labels) == 1.0
}

fn flows(service: &Service) -> bool {
    service.status()["targets"]["valt"]["state"] == "flowing"
}

/// Whatever is called or settled at the other target meanwhile, nothing is at this one.
fn nothing_is_called(bench: &Bench, service: &mut Service) -> Vec<Place> {
    service.wait_until("calls in flight have ended", |service| {
        service.status()["targets"]["valt"]["in_flight"] == 0
    });
    let called = bench.valt.stats().updates;
    let others: Vec<_> = (1..=50).map(|user| Update::aipix(user, &[1])).collect();
    let delivered = |service: &Service| {
        let labels = [("target", "aipix"), ("outcome", "delivered")];
        service.metrics().sum("outcomes_total", &labels)
    };
    let before = delivered(service);
    let places = bench.send(&others);
    service.wait_until("the other target delivers", |service| {
        delivered(service) == before + 50.0
    });
    assert_eq!(bench.valt.stats().updates, called);
    assert_eq!(service.get("/readyz").0, 200);
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_target_makes_no_call_and_flows_on_where_it_stopped() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_concurrency", 2);
    bench.set("targets.valt.delivery.merge", false);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(100));
    pause(&mut bench, true);
    let mut service = bench.start();
    let mut places = bench.send(&round(0));
    service.wait_until("its updates wait", |service| {
        is_paused(service) && service.status()["targets"]["valt"]["waiting"] == USERS
    });
    let mut others = nothing_is_called(&bench, &mut service);
    assert_eq!(bench.valt.stats().updates, 0);
    // An update that needs no call ends all the same.
    others.extend(bench.send(&[Update::new("valt", 1000, serde_json::json!({}))]));
    bench.dead_letters(1);

    pause(&mut bench, false);
    service.signal("HUP");
    service.wait_until("it flows", flows);
    wait_for_updates(&bench.valt, 10).await;

    // The file alone, in the middle of the work; then a crash, and it is paused still.
    pause(&mut bench, true);
    service.wait_until("it is paused again", is_paused);
    others.extend(nothing_is_called(&bench, &mut service));
    let called = bench.valt.stats().updates;
    assert!(called < USERS, "the pause came too late: {called}");
    places.extend(bench.send(&round(1)));
    drop(service);
    let mut service = bench.start();
    service.wait_until("it begins paused", is_paused);
    others.extend(nothing_is_called(&bench, &mut service));
    assert_eq!(bench.valt.stats().updates, called);

    pause(&mut bench, false);
    let of_valt = places.len();
    places.extend(others);
    let outcomes = bench.outcomes_of(&places);
    let once = |one: &Outcome| one.ending() == "delivered" && one.data.attempts == 1;
    assert!(outcomes[..of_valt].iter().all(once));
    for (user, calls) in calls_by_user(&bench.valt) {
        let names: Vec<_> = calls
            .iter()
            .map(|call| call.body["display_name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["0", "1"], "the calls of user {user}");
    }
    assert_eq!(service.terminate().code, Some(0));
}
