//! A guarded target, and users who are protected: what a wrong upstream takes away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use toml::Table;

use crate::dead_letters::replay;
use crate::harness::api::calls_by_user;
use crate::harness::bench::Bench;
use crate::harness::outcome::Outcome;
use crate::harness::service::Service;
use crate::harness::update::Update;

const MAX_USERS: usize = 12;
const HELD_BACK: &str = "dead_lettered held_back";

fn strip(user: u64) -> Update {
    Update::new("valt", user, json!({ "rooms": [] })).with("source", "/hr/nightly")
}

/// Whose rooms were all taken away.
fn stripped(bench: &Bench) -> BTreeSet<u64> {
    let calls = calls_by_user(&bench.valt).into_iter();
    let is_stripped = |call: &stand_in::Call| call.body["rooms"] == json!([]);
    calls
        .filter(|(_, calls)| calls.iter().any(is_stripped))
        .map(|(user, _)| user)
        .collect()
}

fn valt(service: &Service) -> Value {
    service.status()["targets"]["valt"].clone()
}

fn is_guarded(service: &Service) -> bool {
    let status = valt(service);
    let labels = [("target", "valt"), ("state", "holding"), ("cause", "guard")];
    let told = status["state"] == "holding" && status["cause"] == "guard";
    assert!(!told || status["next_probe_at"].is_null(), "{status}");
    told && service.metrics().sum("target_state", &labels) == 1.0
}

fn guarded(max_users: usize) -> impl Fn(&mut Bench) {
    move |bench| {
        let max_users = i64::try_from(max_users).unwrap();
        bench.set("targets.valt.guard.max_users", max_users);
        for target in ["aipix", "valt"] {
            bench.set(&format!("targets.{target}.delivery.request_timeout"), "3s");
        }
        bench.set(
            "kafka.consumer_properties",
            Table::from_iter([("session.timeout.ms".to_owned(), 6000.into())]),
        );
    }
}

/// Until an hour from now.
fn decide(bench: &mut Bench, key: &str) {
    for other in ["allow_until", "refuse_until"] {
        bench.unset(&format!("targets.valt.guard.{other}"));
    }
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    bench.set(&format!("targets.valt.guard.{key}"), until.to_string());
    bench.config_file();
}

fn start(bench: &Bench, instance: &str) -> Service {
    let id = format!("kafka.instance_id={instance}");
    Service::run_with(&bench.config_file(), &["--set", &id])
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_users_lose_something_whatever_crashes_and_all_do_once_it_is_allowed() {
    let mut bench = Bench::new().await;
    guarded(MAX_USERS)(&mut bench);
    let mut services: BTreeMap<&str, Service> = ["one", "two", "three"]
        .map(|name| (name, start(&bench, name)))
        .into();
    let mut places = bench.send(&(1..=100).map(strip).collect::<Vec<_>>());
    let mut next = 101;
    for killed in ["one", "two"] {
        let some = services.values().any(is_guarded);
        if !some {
            let any = services.get_mut("three").unwrap();
            any.wait_until("it holds over its guard", is_guarded);
        }
        assert!(
            stripped(&bench).len() <= MAX_USERS,
            "{:?}",
            stripped(&bench)
        );
        drop(services.remove(killed));
        let more: Vec<_> = (next..next + 50).map(strip).collect();
        places.extend(bench.send(&more));
        next += 50;
        services.insert(killed, start(&bench, killed));
    }
    // Updates that take nothing away wait as well, in their order.
    let names: Vec<_> = (1..=5).map(|user| Update::valt(user, "later")).collect();
    places.extend(bench.send(&names));
    for service in services.values_mut() {
        service.wait_until("it holds over its guard, or has nothing", |service| {
            is_guarded(service) || valt(service)["lag"] == 0
        });
    }
    let lost = stripped(&bench);
    assert!((1..=MAX_USERS).contains(&lost.len()), "{lost:?}");
    let holds = services.values().find(|service| is_guarded(service));
    let shown = valt(holds.expect("one of them holds"))["guard"].clone();
    assert_eq!(
        (&shown["fields"], &shown["sources"]),
        (&json!(["rooms"]), &json!(["/hr/nightly"]))
    );
    assert!(
        shown["users"].as_u64() > Some(0) && shown["first"]["offset"].is_u64(),
        "{shown}"
    );

    decide(&mut bench, "allow_until");
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|one| ["delivered", "merged"].contains(&&*one.ending()))
    );
    assert_eq!(stripped(&bench).len(), 200);
    for service in services.values_mut() {
        service.wait_until("it flows", |service| valt(service)["state"] == "flowing");
    }
    for (user, calls) in calls_by_user(&bench.valt).into_iter().take(5) {
        let named = calls
            .iter()
            .position(|call| call.body["display_name"] == "later");
        let stripped = calls
            .iter()
            .position(|call| call.body["rooms"] == json!([]));
        assert!(stripped <= named, "user {user}: {calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_held_back_and_a_replay_is_bound_by_the_guard_too() {
    let mut bench = Bench::new().await;
    guarded(2)(&mut bench);
    let mut service = start(&bench, "one");
    let mut places = bench.send(&(1..=10).map(strip).collect::<Vec<_>>());
    service.wait_until("it holds over its guard", is_guarded);
    service.wait_until("those who have slots are called", |service| {
        valt(service)["in_flight"] == 0 && stripped(&bench).len() == 2
    });
    decide(&mut bench, "refuse_until");
    places.extend(bench.send(&[Update::valt(3, "kept")]));
    let outcomes = bench.outcomes_of(&places);
    let count = |ending: &str| outcomes.iter().filter(|one| one.ending() == ending).count();
    assert_eq!((count("delivered"), count(HELD_BACK)), (3, 8));
    let words = |one: &Outcome| one.data.error.as_ref().map(|error| error.message.clone());
    let held = outcomes
        .iter()
        .find(|one| one.ending() == HELD_BACK)
        .unwrap();
    assert!(
        words(held).unwrap().contains("guard.refuse_until"),
        "{held:?}"
    );
    assert_eq!(held.data.attempts, 0);
    let letters = bench.dead_letters(8);
    assert!(
        letters
            .iter()
            .all(|letter| letter.header("dlq.reason") == Some("held_back"))
    );

    // Refused again, as long as that is so.
    let user = held.user().unwrap().to_string();
    replay(
        &bench,
        &["--reason", "held_back", "--user", &user, "--target", "valt"],
        0,
    );
    bench.dead_letters(9);
    // Then the guard counts them: it has let its two users through.
    bench.unset("targets.valt.guard.refuse_until");
    bench.config_file();
    service.signal("HUP");
    service.wait_until("it is taken up", |service| {
        service.log().contains("is in force")
    });
    replay(&bench, &["--reason", "held_back", "--target", "valt"], 0);
    service.wait_until("it holds over its guard", is_guarded);
    assert_eq!(stripped(&bench).len(), 2);
    decide(&mut bench, "allow_until");
    bench.valt.wait_for(|stats| stats.updates >= 11).await;
    assert_eq!(stripped(&bench).len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_user_is_never_called_and_a_plan_refuses_to() {
    const PROTECTED: &str = "dead_lettered protected";
    let mut bench = Bench::new().await;
    let users = vec![toml::Value::from("1-9"), toml::Value::from(4711)];
    bench.set("targets.valt.protected_users", users);
    let mut service = start(&bench, "one");
    let updates: Vec<_> = [1, 9, 10, 4711]
        .map(|user| Update::valt(user, "new"))
        .into();
    let places = bench.send(&updates);
    let outcomes = bench.outcomes_of(&places);
    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    assert_eq!(endings, [PROTECTED, PROTECTED, "delivered", PROTECTED]);
    assert_eq!(
        calls_by_user(&bench.valt).into_keys().collect::<Vec<_>>(),
        [10]
    );
    bench.dead_letters(3);

    let refused = replay(&bench, &["--reason", "protected"], 1);
    assert!(refused.contains("protected_users"), "{refused}");
    bench.dead_letters(3);
    // Forced, it is a dead letter again.
    replay(
        &bench,
        &[
            "--reason",
            "protected",
            "--user",
            "1",
            "--target",
            "valt",
            "--force",
        ],
        0,
    );
    bench.dead_letters(4);
    // Off the list, it is called.
    bench.set(
        "targets.valt.protected_users",
        vec![toml::Value::from("2-9")],
    );
    bench.config_file();
    service.signal("HUP");
    service.wait_until("it is taken up", |service| {
        service.log().contains("is in force")
    });
    replay(
        &bench,
        &["--reason", "protected", "--user", "1", "--target", "valt"],
        0,
    );
    bench.valt.wait_for(|stats| stats.updates >= 2).await;
    let called: Vec<_> = calls_by_user(&bench.valt).into_keys().collect();
    assert_eq!(called, [1, 10]);
}
