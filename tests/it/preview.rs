//! `user-courier preview`: its words about events, and that it leaves no trace.

use std::collections::{BTreeMap, HashMap};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};

use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{Message, PATIENCE, Place, Writer, client, committed_and_end};
use crate::harness::update::Update;

/// One event of each kind that can be told before a call, and what it would be.
fn events() -> Vec<(Update, &'static str)> {
    let secret = json!({ "display_name": "Anna", "password": "one-Canary-1", "card_number": "Canary2", "rooms": [1, 2] });
    let misspelt = json!({ "display_name": "Anna", "pasword": "one-Canary-1" });
    let routed = Update::of_data(
        "7",
        json!({ "user": "7", "changes": { "permissions": [3] } }),
    );
    let unroutable = Update::of_data("8", json!({ "user": 8, "changes": { "permissions": [3] } }));
    let late = Update::valt(9, "late").with("expirytime", "2020-01-01T00:00:00Z");
    let nameless = Update::valt(10, "x").with("id", Value::Null);
    vec![
        (Update::new("valt", 52, secret), "called"),
        (Update::new("valt", 53, misspelt), "invalid_changes"),
        (
            Update::new("valt", 54, json!({ "rooms": [1, "two"] })),
            "invalid_changes",
        ),
        (routed.with("source", "/billing/eu"), "called"),
        (unroutable.with("source", "/crm"), "unroutable"),
        (
            Update::new("vlat", 55, json!({ "rooms": [1] })),
            "unroutable",
        ),
        (late, "expired"),
        (nameless, "undecodable"),
    ]
}

fn as_lines<'a>(events: impl IntoIterator<Item = &'a Update>) -> String {
    let lines = events
        .into_iter()
        .map(|update| format!("{}\n", update.event()));
    lines.collect()
}

fn objects(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).expect("one object a line");
    text.lines().map(parse).collect()
}

/// A bench whose secrets are only on the server.
async fn without_secrets() -> Bench {
    let mut bench = Bench::new().await;
    bench.route("/billing/*", "aipix");
    for target in ["aipix", "valt"] {
        bench.set(
            &format!("targets.{target}.password_file"),
            "/nowhere/password",
        );
    }
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_shows_each_call_and_each_reason_without_kafka_secrets_or_apis() {
    let mut bench = without_secrets().await;
    bench.set("kafka.bootstrap_servers", "127.0.0.1:1");
    bench.set("kafka.properties.sasl.password_file", "/nowhere/kafka");
    let events = events();
    let file = bench.file(
        "events.jsonl",
        &as_lines(events.iter().map(|(update, _)| update)),
    );

    let (code, shown, errors) = bench.piped(&["preview", &file], "");
    assert_eq!((code, &*errors), (Some(1), ""), "{shown}");
    let url = format!("POST {}/api/v3/admin/users/52/edit", bench.valt.base_url());
    for wanted in [
        "line 1: valt, user 52",
        &url,
        r#"{"display_name":"Anna","password":"***","card_number":"***","rooms":[1,2]}"#,
        "line 2: a dead letter, invalid_changes (valt, user 53)",
        "data.changes.pasword: there is no such field; the nearest is `password`",
        "data.changes.rooms[1]: must be an integer of 64 bits, not a string",
        "line 4: aipix, user 7",
        "data.target: is missing, and no route matches the event's source and type",
        "data.target: there is no target `vlat`; configured are: aipix, valt",
        "its expirytime passed at 2020-01-01T00:00:00Z",
        "`id` is missing",
        "8 events of",
        "2 called for, 6 dead letters",
        "  /crm ",
    ] {
        assert!(shown.contains(wanted), "{wanted} is missing in\n{shown}");
    }
    assert!(!shown.contains("Canary"), "{shown}");

    let (code, lines, summary) = bench.piped(
        &["preview", "-", "--json"],
        &as_lines(events.iter().map(|(update, _)| update)),
    );
    assert_eq!(code, Some(1));
    assert!(
        summary.contains("2 called for, 6 dead letters"),
        "{summary}"
    );
    assert!(!format!("{lines}{summary}").contains("Canary"), "{lines}");
    let found = objects(&lines);
    for (number, (object, (update, wanted))) in found.iter().zip(&events).enumerate() {
        assert_eq!(object["line"], json!(number + 1));
        assert_eq!(object["event"]["id"], update.attributes["id"]);
        let called = *wanted == "called";
        assert_eq!(object["would_be"] == "called", called, "{object}");
        assert_eq!(object["call"].is_object(), called, "{object}");
        assert_eq!(object["error"]["message"].is_string(), !called, "{object}");
        let reason = object["reason"].as_str().unwrap_or("called");
        assert_eq!(reason, *wanted, "{object}");
    }
    assert_eq!(
        (&found[3]["call"]["method"], &found[3]["call"]["body"]),
        (&json!("PUT"), &json!({ "permissions": [3] }))
    );

    let good = as_lines([&events[0].0, &events[3].0]);
    assert_eq!(bench.piped(&["preview", "-"], &good).0, Some(0));
    let pretty = format!("{:#}\n", events[0].0.event());
    let (code, shown, _) = bench.piped(&["preview", "-"], &pretty);
    assert_eq!(code, Some(0));
    assert!(shown.contains("line 1: valt, user 52"), "{shown}");
    let first = bench.piped(
        &["preview", "-", "--limit", "1"],
        &as_lines(events.iter().map(|(update, _)| update)),
    );
    assert_eq!(first.0, Some(0));
    assert!(first.2.contains("--limit"), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_told_apart_from_dead_letters() {
    let mut bench = without_secrets().await;
    for (input, words) in [("", "holds no event"), ("[{}]", "jq -c '.[]' FILE")] {
        let (code, _, errors) = bench.piped(&["preview", "-"], input);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
    let (code, _, errors) = bench.piped(&["preview", "/nowhere/event.json"], "");
    assert_eq!(code, Some(2), "{errors}");
    let both = bench.piped(&["preview", "-", "--since", "2h"], "");
    assert_eq!(both.0, Some(2), "{both:?}");
    bench.set("kafka.topics.updates", "there-is-no-such-topic");
    let (code, _, errors) = bench.piped(&["preview"], "");
    assert_eq!(code, Some(3), "{errors}");
    assert!(
        errors.contains("there is no topic there-is-no-such-topic"),
        "{errors}"
    );
}

/// The members of any group of this bench, and offsets that one has committed.
fn traces(bench: &Bench) -> (Vec<String>, Vec<i64>) {
    let consumer: BaseConsumer = client(&bench.servers).create().unwrap();
    let groups = consumer
        .fetch_group_list(None, PATIENCE)
        .expect("the broker answers");
    let joined = groups
        .groups()
        .iter()
        .filter(|group| group.name().starts_with(&bench.id) && !group.members().is_empty());
    let committed = ["valt", "aipix", "unclaimed", "dead-letters"].map(|name| {
        let group = format!("{}.{name}", bench.id);
        committed_and_end(&bench.servers, &group, &bench.topic(0), PARTITIONS)
    });
    let offsets = committed.iter().flatten().map(|(offset, _)| *offset);
    (
        joined.map(|group| group.name().to_owned()).collect(),
        offsets.filter(|offset| *offset >= 0).collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_topic_is_tallied_with_the_first_of_each_kind_and_no_group_is_joined() {
    let bench = without_secrets().await;
    let foreign = Message {
        key: None,
        value: Some(b"\xff not ours".to_vec()),
        headers: Vec::new(),
        timestamp: None,
    };
    let places = bench.writer.write([&foreign]);
    let events = events();
    let sent = bench.send(events.iter().map(|(update, _)| update));
    let binary = bench.send([&Update::valt(60, "binary").binary()]);
    // Aborted records are not seen.
    let undone = Writer::transactional(&bench.servers, &bench.topic(0));
    undone.transaction(&[Update::valt(61, "undone").message()], false);

    let (code, shown, errors) = bench.piped(&["preview"], "");
    assert_eq!((code, &*errors), (Some(1), ""), "{shown}");
    let place = |place: &Place| format!("{}/{}/{}", place.topic, place.partition, place.offset);
    for wanted in [
        "10 records of",
        "3 called for, 7 dead letters",
        &format!(
            "{}: data.changes.pasword: there is no such field",
            place(&sent[1])
        ),
        &format!("{}: the record is no CloudEvent", place(&places[0])),
        &format!("{}: valt, user 52", place(&sent[0])),
        "the first call to each target",
    ] {
        assert!(shown.contains(wanted), "{wanted} is missing in\n{shown}");
    }
    assert!(
        !shown.contains("Canary") && !shown.contains("user 61"),
        "{shown}"
    );

    let (_, lines, _) = bench.piped(&["preview", "--json"], "");
    let found: HashMap<Value, Value> = objects(&lines)
        .into_iter()
        .map(|object| (object["record"].clone(), object["call"]["body"].clone()))
        .collect();
    assert_eq!(found.len(), 10);
    let record = json!({ "topic": binary[0].topic, "partition": binary[0].partition, "offset": binary[0].offset });
    assert_eq!(found[&record], json!({ "display_name": "binary" }));

    let (_, limited, words) = bench.piped(&["preview", "--json", "--limit", "4"], "");
    assert_eq!(objects(&limited).len(), 4);
    assert!(words.contains("--limit"), "{words}");
    let (code, later, _) = bench.piped(&["preview", "--since", "2100-01-01"], "");
    assert_eq!(code, Some(0), "{later}");
    assert!(later.contains("0 records of"), "{later}");
    assert_eq!(traces(&bench), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_preview_says_is_what_the_service_does() {
    let mut bench = Bench::new().await;
    bench.route("/billing/*", "aipix");
    let places = bench.send(events().iter().map(|(update, _)| update));
    let (_, lines, _) = bench.piped(&["preview", "--json"], "");
    let said: BTreeMap<String, Value> = objects(&lines)
        .into_iter()
        .map(|object| (object["record"].to_string(), object))
        .collect();
    let _service = bench.start();
    let outcomes = bench.outcomes_of(&places);
    let calls: Vec<_> = [&bench.valt, &bench.aipix]
        .iter()
        .flat_map(|api| api.calls())
        .collect();
    for outcome in &outcomes {
        let Place {
            topic,
            partition,
            offset,
        } = &outcome.data.record;
        let record = json!({ "topic": topic, "partition": partition, "offset": offset });
        let said = &said[&record.to_string()];
        let told = |text: &Option<String>| json!(text);
        assert_eq!(said["reason"], told(&outcome.data.reason));
        assert_eq!(said["user"], json!(outcome.user()), "{said}");
        let error = outcome
            .data
            .error
            .as_ref()
            .map(|error| error.message.clone());
        if outcome.data.reason.as_deref() != Some("expired") {
            assert_eq!(said["error"]["message"], told(&error));
        }
        let Some(call) = said["call"].as_object() else {
            continue;
        };
        let made = calls
            .iter()
            .filter(|made| made.user.as_ref().and_then(stand_in::User::number) == outcome.user());
        let made: Vec<_> = made.collect();
        assert_eq!(made.len(), 1, "{said}");
        let path = made[0].path.split('?').next();
        assert_eq!(call["path"].as_str(), path);
        assert_eq!(call["method"], json!(made[0].method));
        let mut body = made[0].body.clone();
        for secret in ["password", "card_number"] {
            if let Some(value) = body.get_mut(secret) {
                *value = json!("***");
            }
        }
        assert_eq!(call["body"], body);
    }
    assert_eq!(outcomes.len(), 8);
}
