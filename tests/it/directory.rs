//! SCIM: updates of users with ids of text, against a server that none of us wrote and against the
//! stand-in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use stand_in::{Rule, StandIn, Users};

use crate::harness::bench::Bench;
use crate::harness::directory::Directory;
use crate::harness::outcome::Outcome;
use crate::harness::schema;
use crate::harness::update::Update;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn update(user: &str, changes: Value) -> Update {
    let data = json!({ "target": "directory", "user": user, "changes": changes });
    Update::of_data(user, data)
}

/// What the user has after these changes: attributes as a whole, those of `name` and of the
/// enterprise user one by one.
fn apply(changes: &Value, user: &mut Map<String, Value>) {
    for (name, value) in changes.as_object().unwrap() {
        let by_member = name == "name" || name == ENTERPRISE;
        match value {
            Value::Null => drop(user.remove(name)),
            Value::Object(members) if by_member => {
                let held = user.entry(name).or_insert_with(|| json!({}));
                let held = held.as_object_mut().unwrap();
                for (member, value) in members {
                    match value {
                        Value::Null => drop(held.remove(member)),
                        value => drop(held.insert(member.clone(), value.clone())),
                    }
                }
                if held.is_empty() {
                    user.remove(name);
                }
            }
            Value::Array(items) if items.is_empty() => drop(user.remove(name)),
            value => drop(user.insert(name.clone(), value.clone())),
        }
    }
    // It is taken, and never shown.
    user.remove("password");
}

fn changes_of(round: usize, user: usize) -> Value {
    match round % 7 {
        0 => {
            json!({ "displayName": format!("Zoë {round} 😀 \""), "active": user.is_multiple_of(2) })
        }
        1 => json!({ "name": { "givenName": "Zoë", "familyName": format!("Ж{round}") } }),
        2 => json!({ ENTERPRISE: { "department": "R&D", "employeeNumber": round.to_string() } }),
        3 => json!({ "name": { "givenName": null }, "title": format!("日本 {round}") }),
        4 => json!({
            "emails": [{ "value": format!("u{user}@example.com"), "type": "work", "primary": true }],
            "password": "a-Canary-1",
        }),
        5 => json!({ "displayName": null, ENTERPRISE: { "department": null } }),
        _ => json!({ "emails": [], "nickName": "n", "name": { "middleName": "Q" } }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_directory_holds_what_was_delivered() {
    let directory = Directory::start().await;
    let mut bench = Bench::new().await;
    let token = bench.file("scim-token", directory.token());
    bench.set("targets.directory.api", "scim");
    bench.set("targets.directory.base_url", directory.base_url.clone());
    bench.set("targets.directory.token_file", token);
    let (code, said) = bench.command(&["check"]);
    assert!(
        code == Some(0) && said.contains("PATCH is supported"),
        "{said}"
    );

    let mut users = Vec::new();
    for number in 0..5 {
        users.push(directory.create(&format!("user-{number}")).await);
    }
    let mut updates = Vec::new();
    for round in 0..14 {
        for (number, user) in users.iter().enumerate() {
            updates.push(update(user, changes_of(round, number)));
        }
    }
    let good = updates.len();
    let wrong = [
        update("nobody/../x?", json!({ "title": "x" })),
        update(&users[0], json!({ "userName": null })),
        update(&users[1], json!({ "name": { "initials": "x" } })),
        update(&users[2], json!({ "profileUrl": "no URL" })),
        update("..", json!({ "title": "x" })),
    ];
    updates.extend(wrong);
    updates[..good]
        .iter()
        .for_each(|update| schema::check_update(&update.event()));

    let service = bench.start();
    let places = bench.send(&updates);
    let outcomes = bench.outcomes_of(&places);
    check_endings(&outcomes, good, &users);
    let mut held: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (update, outcome) in updates[..good].iter().zip(&outcomes) {
        assert!(["delivered", "merged"].contains(&&*outcome.ending()));
        let user = update.data["user"].as_str().unwrap();
        apply(&update.data["changes"], held.entry(user).or_default());
    }
    for (number, user) in users.iter().enumerate() {
        let mut wanted = held[&**user].clone();
        wanted.insert("userName".to_owned(), format!("user-{number}").into());
        assert_eq!(directory.user(user).await, Value::Object(wanted));
    }
    let letters = bench.dead_letters(5);
    let unknown = letters
        .iter()
        .find(|letter| letter.header("dlq.reason") == Some("user_not_found"));
    assert_eq!(unknown.unwrap().header("dlq.user"), Some("nobody/../x?"));
    let metrics = service.metrics();
    assert_eq!(metrics.sum("order_violations_total", &[]), 0.0);
    let (code, said) = bench.command(&["dead-letters", "list", "--user", "nobody/../x?", "--json"]);
    let listed: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!((code, &listed["user"]), (Some(0), &json!("nobody/../x?")));
    let (code, said) = bench.command(&["explain", "directory", &users[0], "--json"]);
    let told: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!((code, &told["user"]), (Some(0), &json!(users[0])), "{said}");
    assert!(!said.contains("Canary"));
}

fn check_endings(outcomes: &[Outcome], good: usize, users: &[String]) {
    let endings: Vec<_> = outcomes[good..]
        .iter()
        .map(|outcome| {
            (
                outcome.data.reason.as_deref().unwrap(),
                outcome.data.http_status,
            )
        })
        .collect();
    let wanted = [
        ("user_not_found", Some(404)),
        ("rejected", Some(400)),
        ("invalid_changes", None),
        ("rejected", Some(400)),
        ("invalid_changes", None),
    ];
    assert_eq!(endings, wanted);
    let message = |index: usize| &outcomes[good + index].data.error.as_ref().unwrap().message;
    assert!(message(1).starts_with("mutability: "), "{}", message(1));
    assert!(
        message(2).starts_with("data.changes.name.initials: "),
        "{}",
        message(2)
    );
    let subject = outcomes[good].subject.as_deref();
    assert_eq!(subject, Some("directory/users/nobody%2F..%2Fx%3F"));
    let subject = format!("directory/users/{}", users[0]);
    assert_eq!(outcomes[0].subject, Some(subject));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_new_token_when_the_old_one_ends_or_is_refused() {
    let scim = StandIn::on_loopback("scim").await.unwrap();
    scim.set(|settings| {
        settings.token_lifetime = Duration::from_secs(3);
        settings.users = Users::except(["nobody"]);
    });
    scim.fault(Rule::status(503).user("u1").times(2));
    let mut bench = Bench::new().await;
    let secret = bench.file("scim-secret", "courier\n");
    bench.set("targets.directory.api", "scim");
    bench.set(
        "targets.directory.base_url",
        format!("{}/scim/v2", scim.base_url()),
    );
    bench.set(
        "targets.directory.token_url",
        format!("{}/oauth/token", scim.base_url()),
    );
    bench.set("targets.directory.client_id", "courier");
    bench.set("targets.directory.client_secret_file", secret);
    bench.set("targets.directory.delivery.merge", false);
    let service = bench.start();
    let send = |round: usize| {
        let user = format!("u{}", round % 10);
        update(&user, json!({ "title": round.to_string() }))
    };
    let mut places = bench.send(&(0..50).map(send).collect::<Vec<_>>());
    bench.outcomes_of(&places);
    assert_eq!(scim.stats().logins, 1, "one token serves all");
    scim.expire_tokens();
    places.extend(bench.send(&(50..100).map(send).collect::<Vec<_>>()));
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    for user in 0..10 {
        let held = scim.fields(&*format!("u{user}")).unwrap();
        assert_eq!(held["title"], (90 + user).to_string());
    }
    assert!((2..=4).contains(&scim.stats().logins), "{:?}", scim.stats());
    assert_eq!(scim.stats().overlaps, 0);
    assert_eq!(service.metrics().sum("order_violations_total", &[]), 0.0);
    drop(service);
    let (code, said) = bench.command(&["check"]);
    assert!(
        code == Some(0) && said.contains("PATCH is supported"),
        "{said}"
    );
}
