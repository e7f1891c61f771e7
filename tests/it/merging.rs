//! Updates of one user that wait are sent in one call, where that comes to the same as sending them
//! one by one.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use stand_in::{Rule, StandIn};
use uuid::Uuid;

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::kafka::Place;
use crate::harness::outcome::Outcome;
use crate::harness::update::Update;

/// What must hold of merged updates: each names the later update in which it was delivered.
fn check(outcomes: &[Outcome]) {
    for outcome in outcomes
        .iter()
        .filter(|outcome| outcome.ending() == "merged")
    {
        let into = outcome
            .data
            .into
            .as_ref()
            .expect("a merged update says into which");
        let later = outcomes
            .iter()
            .find(|other| other.data.record == *into)
            .unwrap();
        assert!(
            later.ending() == "delivered"
                && into.offset > outcome.data.record.offset
                && later.user() == outcome.user()
        );
        assert_eq!(
            (outcome.data.attempts, outcome.data.http_status),
            (later.data.attempts, Some(200))
        );
    }
}

/// The `Idempotency-Key` of each call that delivered something: the `ce_id` of its record's
/// outcome, or, of several in one call, the UUIDv5 of their `ce_id`s in their order.
fn keys(outcomes: &[Outcome]) -> HashSet<String> {
    let delivered = outcomes
        .iter()
        .filter(|outcome| outcome.ending() == "delivered");
    let keys = delivered.map(|outcome| {
        let merged = outcomes
            .iter()
            .filter(|other| other.data.into.as_ref() == Some(&outcome.data.record));
        let mut all: Vec<_> = merged.chain([outcome]).collect();
        all.sort_by_key(|outcome| outcome.data.record.offset);
        match &*all
            .iter()
            .map(|outcome| outcome.id.to_string())
            .collect::<Vec<_>>()
        {
            [single] => single.clone(),
            several => Uuid::new_v5(&Uuid::NAMESPACE_URL, several.join(",").as_bytes()).to_string(),
        }
    });
    keys.collect()
}

/// Writes the first of these updates, waits until it is being called, and writes the others, which
/// so queue up behind it.
async fn queue_up(bench: &Bench, api: &StandIn, updates: &[Update]) -> Vec<Place> {
    api.fault(Rule::delay(Duration::from_secs(1)).times(1));
    let before = api.stats().updates;
    let mut places = bench.send(&updates[..1]);
    wait_for_updates(api, before + 1).await;
    places.extend(bench.send(&updates[1..]));
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_updates_leave_the_user_as_single_ones_would() {
    let mut bench = Bench::new().await;
    let updates = [
        Update::valt(52, "first"),
        Update::new(
            "valt",
            52,
            json!({ "display_name": "second", "rooms": [1] }),
        ),
        Update::new("valt", 52, json!({ "rooms": [2, 3] })),
        Update::valt(52, "last"),
    ];
    let _service = bench.start();
    let places = queue_up(&bench, &bench.valt, &updates).await;
    let outcomes = bench.outcomes_of(&places);

    let fields = bench.valt.fields(52).unwrap();
    assert_eq!(
        (&fields["display_name"], &fields["rooms"]),
        (&json!("last"), &json!([2, 3]))
    );
    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    assert_eq!(endings.last().unwrap(), "delivered");
    assert_eq!(endings, ["delivered", "merged", "merged", "delivered"]);
    check(&outcomes);
    let delivered = endings
        .iter()
        .filter(|ending| *ending == "delivered")
        .count();
    assert_eq!(
        bench.valt.stats().applied,
        delivered as u64,
        "each call is one delivered update"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_the_calls_come_near_the_number_of_users() {
    const USERS: u64 = 50;
    const ROUNDS: u64 = 20;
    let mut bench = Bench::new().await;
    bench.valt.close_port().await;
    let mut service = bench.start();
    let updates: Vec<_> = (0..ROUNDS)
        .flat_map(|round| (1..=USERS).map(move |user| (round, user)))
        .map(|(round, user)| match (round + user) % 3 {
            0 => Update::valt(user, &format!("round {round}")),
            1 => Update::new("valt", user, json!({ "rooms": [round] })),
            _ => Update::new(
                "valt",
                user,
                json!({ "rooms": [round, user], "user_group": round }),
            ),
        })
        .collect();
    let places = bench.send(&updates);
    service.wait_until("all of them wait", |service| {
        service.status()["targets"]["valt"]["waiting"] == USERS * ROUNDS
    });
    bench.valt.open_port().await;
    let outcomes = bench.outcomes_of(&places);
    check(&outcomes);
    assert!(
        outcomes
            .iter()
            .all(|outcome| ["delivered", "merged"].contains(&outcome.ending().as_str()))
    );
    let calls = calls_by_user(&bench.valt);
    let count: usize = calls.values().map(Vec::len).sum();
    println!(
        "{count} calls for {} updates of {USERS} users",
        places.len()
    );
    assert!(count <= 55, "{count} calls");
    let keys = keys(&outcomes);
    assert!(
        calls
            .values()
            .flatten()
            .filter(|call| call.applied)
            .all(|call| keys.contains(call.idempotency_key.as_ref().unwrap()))
    );
    // The API shows what the updates come to, one after the other.
    let mut fold: BTreeMap<u64, BTreeMap<String, Value>> = BTreeMap::new();
    for update in &updates {
        let user = update.data["user"].as_u64().unwrap();
        let changes = update.data["changes"].as_object().unwrap();
        fold.entry(user).or_default().extend(
            changes
                .iter()
                .map(|(field, value)| (field.clone(), value.clone())),
        );
    }
    for (user, fields) in fold {
        let shown = bench.valt.fields(user).unwrap();
        assert!(
            fields.iter().all(|(field, value)| shown[field] == *value),
            "user {user}: {fields:?}, {shown:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_call_that_is_rejected_is_taken_apart_and_only_the_guilty_update_is_dead_lettered()
{
    let mut bench = Bench::new().await;
    bench
        .aipix
        .set(|settings| settings.permissions = Some([1, 2, 3].into()));
    let _service = bench.start();
    let updates = [&[1], &[2], &[3], &[99][..]].map(|permissions| Update::aipix(52, permissions));
    let places = queue_up(&bench, &bench.aipix, &updates).await;
    let outcomes = bench.outcomes_of(&places);
    let endings: Vec<_> = outcomes
        .iter()
        .map(|outcome| (outcome.ending(), outcome.data.attempts))
        .collect();
    // All but the first were in the call that was rejected.
    let single = |ending: &str, attempts| (ending.to_owned(), attempts);
    assert_eq!(
        endings,
        [
            single("delivered", 1),
            single("delivered", 2),
            single("delivered", 2),
            single("dead_lettered rejected", 2)
        ]
    );
    assert_eq!(bench.aipix.fields(52).unwrap()["permissions"], json!([3]));
    assert_eq!(bench.dead_letters(1).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_parts_of_video_access_and_replays_are_sent_one_by_one() {
    let mut bench = Bench::new().await;
    let access = |access: Value| Update::new("valt", 52, json!({ "video_access": access }));
    let updates = [
        Update::valt(52, "first"),
        Update::new("valt", 52, json!({ "password": "one-Canary-1" })),
        Update::new("valt", 52, json!({ "password": "two-Canary-2" })),
        access(json!({ "users": [1] })),
        access(json!({ "user_groups": [2] })),
        access(json!({ "users": [3], "user_groups": [4] })),
        Update::valt(52, "replayed").header("replay-of", "dead-letters/0/1"),
        Update::valt(52, "last"),
    ];
    let _service = bench.start();
    let places = queue_up(&bench, &bench.valt, &updates).await;
    let outcomes = bench.outcomes_of(&places);
    check(&outcomes);
    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    assert_eq!(
        endings,
        [
            "delivered",
            "delivered",
            "merged",
            "delivered",
            "merged",
            "delivered",
            "delivered",
            "delivered"
        ]
    );
    let bodies: Vec<_> = bench
        .valt
        .calls()
        .into_iter()
        .skip(1)
        .map(|call| call.body)
        .collect();
    assert_eq!(
        bodies,
        [
            json!({ "password": "one-Canary-1" }),
            json!({ "password": "two-Canary-2", "video_access": { "users": [1] } }),
            json!({ "video_access": { "users": [3], "user_groups": [4] } }),
            json!({ "display_name": "replayed" }),
            json!({ "display_name": "last" }),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_heeds_idempotency_keys_sees_one_body_for_each() {
    let mut bench = Bench::new().await;
    bench.valt.set(|settings| {
        settings.password_history = true;
        settings.idempotency_keys = true;
    });
    let _service = bench.start();
    let password = || Update::new("valt", 52, json!({ "password": "one-Canary-1" }));
    let mut places = bench.send(&[password()]);
    bench.outcomes_of(&places);
    // The guilty one stands in the middle: the last one's own call comes after that of all of them
    // was rejected.
    let updates = [
        Update::valt(52, "first"),
        Update::valt(52, "second"),
        password(),
        Update::valt(52, "last"),
    ];
    places.extend(queue_up(&bench, &bench.valt, &updates).await);
    let outcomes = bench.outcomes_of(&places);
    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    assert_eq!(
        endings,
        [
            "delivered",
            "delivered",
            "delivered",
            "dead_lettered rejected",
            "delivered"
        ]
    );
    assert_eq!(bench.valt.fields(52).unwrap()["display_name"], "last");
    let mut bodies: BTreeMap<String, Value> = BTreeMap::new();
    for call in bench.valt.calls() {
        let known = bodies
            .entry(call.idempotency_key.unwrap())
            .or_insert(call.body.clone());
        assert_eq!(*known, call.body, "one key, one body");
    }
    assert_eq!(
        bodies.len(),
        6,
        "one of each update, and one of those that were merged"
    );
    assert!(keys(&outcomes).iter().all(|key| bodies.contains_key(key)));
}
