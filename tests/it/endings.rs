//! The endings other than plain delivery: routed, retried, refused, expired; and what a dead letter
//! says.

use std::collections::BTreeSet;

use serde_json::json;
use stand_in::{Rule, Users};

use crate::harness::api::calls_by_user;
use crate::harness::bench::{Bench, dead_letter_of};
use crate::harness::kafka::Message;
use crate::harness::outcome::Outcome;
use crate::harness::update::Update;

#[tokio::test(flavor = "multi_thread")]
async fn routes_decide_where_the_event_names_no_target() {
    let mut bench = Bench::new().await;
    bench.route("/billing/*", "aipix");
    bench.route("/*", "valt");
    let without_target = |source: &str, changes| {
        Update::of_data("52", json!({ "user": 52, "changes": changes })).with("source", source)
    };
    let updates = [
        without_target("/billing/eu", json!({ "permissions": [1] })),
        without_target("/desk", json!({ "display_name": "Anna" })).binary(),
        // The event's own target wins over all routes.
        Update::valt(53, "Anna").with("source", "/billing/eu"),
        without_target("elsewhere", json!({ "display_name": "Anna" })),
        Update::new("unheard-of", 52, json!({ "display_name": "Anna" })),
    ];
    let _service = bench.start();
    let places = bench.send(&updates);
    let outcomes = bench.outcomes_of(&places);
    let endings: Vec<_> = outcomes
        .iter()
        .map(|outcome| (outcome.data.target.as_deref().unwrap(), outcome.ending()))
        .collect();
    let expected = [
        ("aipix", "delivered"),
        ("valt", "delivered"),
        ("valt", "delivered"),
        ("unclaimed", "dead_lettered unroutable"),
        ("unclaimed", "dead_lettered unroutable"),
    ];
    assert_eq!(
        endings,
        expected.map(|(target, ending)| (target, ending.to_owned()))
    );
    for letter in bench.dead_letters(2) {
        assert_eq!(
            (letter.header("dlq.reason"), letter.header("dlq.target")),
            (Some("unroutable"), Some("unclaimed"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_is_repeated_until_it_is_delivered() {
    let mut bench = Bench::new().await;
    bench.valt.fault(Rule::status(503).user(52).times(3));
    let _service = bench.start();
    let places = bench.send(&[Update::valt(52, "Anna")]);
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(
        (
            outcomes[0].ending().as_str(),
            outcomes[0].data.attempts,
            outcomes[0].data.http_status
        ),
        ("delivered", 4, Some(200))
    );
    let calls = &calls_by_user(&bench.valt)[&52];
    let keys: BTreeSet<_> = calls.iter().map(|call| &call.idempotency_key).collect();
    assert_eq!(
        (calls.len(), keys.len()),
        (4, 1),
        "each repetition has the same key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_is_renewed_by_one_login() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let mut places = bench.send(&[Update::aipix(1, &[9])]);
    bench.outcomes_of(&places);
    bench.aipix.expire_tokens();
    places.extend(
        bench.send(
            &(2..=50)
                .map(|user| Update::aipix(user, &[9]))
                .collect::<Vec<_>>(),
        ),
    );
    let outcomes = bench.outcomes_of(&places);
    assert!(outcomes.iter().all(|outcome| outcome.ending() == "delivered" && outcome.data.http_status == Some(200)));
    assert_eq!(bench.aipix.stats().logins, 2);
    assert_eq!(
        service
            .metrics()
            .sum("logins_total", &[("target", "aipix")]),
        2.0
    );
}

/// Updates that are undeliverable where users 404, 422 and 400 are treated as their numbers say:
/// each with its reason, the calls made, and the last answer.
fn undeliverable() -> Vec<(Update, &'static str, u32, Option<u16>)> {
    let no_user = json!({ "target": "valt", "user": 0, "changes": { "display_name": "Anna" } });
    let hostile_header = Update::aipix(422, &[9]).header("x-trace", b"\xff\x00".to_vec());
    vec![
        (hostile_header, "rejected", 1, Some(422)),
        (Update::valt(400, "Anna").binary(), "rejected", 1, Some(400)),
        (Update::aipix(404, &[9]), "user_not_found", 1, Some(404)),
        (Update::valt(404, "Anna"), "user_not_found", 1, Some(404)),
        (
            Update::new("valt", 5, json!({ "rooms": [1, "2"] })),
            "invalid_changes",
            0,
            None,
        ),
        (
            Update::new("valt", 5, json!({ "dispaly_name": "Anna" })),
            "invalid_changes",
            0,
            None,
        ),
        (
            Update::new("aipix", 5, json!({})),
            "invalid_changes",
            0,
            None,
        ),
        (Update::of_data("0", no_user), "invalid_changes", 0, None),
        (
            Update::valt(6, "Anna").with("expirytime", "2020-01-01T00:00:00Z"),
            "expired",
            0,
            None,
        ),
    ]
}

/// A dead letter says what its outcome says, and holds its record byte for byte.
fn check_dead_letter(letter: &Message, record: &Message, outcome: &Outcome) {
    let data = &outcome.data;
    assert_eq!((&letter.key, &letter.value), (&record.key, &record.value));
    assert_eq!(
        letter.headers[..record.headers.len()],
        record.headers,
        "the record's own headers, untouched"
    );
    let [user, status] = [
        data.user.as_ref().map(ToString::to_string),
        data.http_status.map(|status| status.to_string()),
    ];
    assert_eq!(letter.header("dlq.reason"), data.reason.as_deref());
    assert_eq!(letter.header("dlq.target"), data.target.as_deref());
    assert_eq!(letter.header("dlq.user"), user.as_deref());
    assert_eq!(
        letter.header("dlq.attempts"),
        Some(data.attempts.to_string().as_str())
    );
    assert_eq!(letter.header("dlq.http_status"), status.as_deref());
    assert_eq!(
        letter.header("dlq.first_attempt_at").is_some(),
        data.attempts > 0
    );
    assert_eq!(letter.header("dlq.replays"), Some("0"));
    let failed_at: jiff::Timestamp = letter.header("dlq.failed_at").unwrap().parse().unwrap();
    assert_eq!(letter.timestamp, Some(failed_at.as_millisecond()));
    assert_eq!(
        letter.header("dlq.timestamp"),
        record
            .timestamp
            .map(|written| written.to_string())
            .as_deref()
    );
    assert!(letter.header("__connect.errors.stage").is_some());
    assert!(
        letter
            .header("__connect.errors.exception.message")
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_dead_lettered_with_its_reason_and_its_record() {
    let mut bench = Bench::new().await;
    bench
        .aipix
        .set(|settings| settings.users = Users::except([404]));
    bench
        .valt
        .set(|settings| settings.users = Users::except([404]));
    bench.aipix.fault(Rule::status(422).user(422));
    bench.valt.fault(Rule::status(400).user(400));
    let service = bench.start();
    let table = undeliverable();
    let mut places = bench.send(table.iter().map(|(update, ..)| update));
    places.extend(bench.send(&[Update::valt(5, "Anna")]));
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(
        outcomes[table.len()].ending(),
        "delivered",
        "the service goes on"
    );

    let written = bench.updates();
    let letters = bench.dead_letters(table.len());
    for (((_, reason, attempts, status), place), outcome) in
        table.iter().zip(&places).zip(&outcomes)
    {
        assert_eq!(outcome.ending(), format!("dead_lettered {reason}"));
        assert_eq!(
            (outcome.data.attempts, outcome.data.http_status),
            (*attempts, *status)
        );
        let (_, record) = written.iter().find(|(other, _)| other == place).unwrap();
        check_dead_letter(dead_letter_of(&letters, place), record, outcome);
    }
    let error = |number: usize| {
        outcomes[number]
            .data
            .error
            .as_ref()
            .expect("a dead letter says what was wrong")
    };
    assert!(
        error(0).fields.contains_key("permissions"),
        "{:?}",
        error(0)
    );
    assert!(
        error(4).message.contains("data.changes.rooms[1]"),
        "{:?}",
        error(4)
    );
    assert!(
        error(5).message.contains("data.changes.dispaly_name"),
        "{:?}",
        error(5)
    );
    let of_reason = [("outcome", "dead_lettered"), ("reason", "user_not_found")];
    assert_eq!(service.metrics().sum("outcomes_total", &of_reason), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_exhausted_only_while_the_target_delivers_others() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 3);
    bench.valt.fault(Rule::status(500).user(5));
    let _service = bench.start();
    let failing = bench.send(&[Update::valt(5, "Anna")]);
    let mut places = failing;
    for round in 0..100 {
        places.extend(bench.send(&[Update::valt(100 + round, "Björn")]));
        // Of every round one more outcome comes, whether or not the failing update has ended.
        let outcomes = bench.outcomes(places.len() - 1);
        if outcomes.iter().any(|outcome| outcome.user() == Some(5)) {
            break;
        }
    }
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(outcomes[0].ending(), "dead_lettered attempts_exhausted");
    // Failures from before another user was delivered do not count, and are made good for.
    assert!(
        outcomes[0].data.attempts >= 3,
        "{}",
        outcomes[0].data.attempts
    );
    assert!(
        outcomes[1..]
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_out_of_outcomes_logs_and_metrics() {
    const PASSWORD: &str = "correct-horse-battery";
    const CARD: &str = "0004711-canary";
    let mut bench = Bench::new().await;
    bench.set("log.level", "trace");
    // An API that quotes what it refuses.
    let words = json!({ "error": { "code": 400, "message": format!("{PASSWORD} is too weak, and {CARD} is taken") } });
    bench.valt.fault(Rule::status(400).user(5).body(words));
    let changes = json!({ "password": PASSWORD, "card_number": CARD });
    let wrong_type = json!({ "password": [PASSWORD], "card_number": CARD });
    let updates = [
        Update::new("valt", 5, changes.clone()),
        Update::new("valt", 6, changes),
        Update::new("valt", 7, wrong_type),
    ];
    let service = bench.start();
    let places = bench.send(&updates);
    let outcomes = bench.outcomes_of(&places);
    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    assert_eq!(
        endings,
        [
            "dead_lettered rejected",
            "delivered",
            "dead_lettered invalid_changes"
        ]
    );

    let metrics = service.get("/metrics").1;
    let status = service.get("/status").1;
    let headers: Vec<_> = bench
        .dead_letters(2)
        .into_iter()
        .map(|letter| letter.headers)
        .collect();
    let headers: String = headers
        .iter()
        .flatten()
        .flat_map(|(_, value)| value)
        .map(|value| String::from_utf8_lossy(value))
        .collect();
    let log = service.terminate().errors;
    for (place, text) in [
        ("an outcome", format!("{outcomes:?}")),
        ("the metrics", metrics),
        ("the status", status),
        ("a header", headers),
        ("the log", log),
    ] {
        for secret in [PASSWORD, CARD, "access_token=", "correct-horse"] {
            assert!(!text.contains(secret), "{secret} stands in {place}");
        }
    }
}
