//! Bad input: whatever a record holds, it has exactly one outcome, its dead letter is what it was,
//! and the service goes on.

use serde_json::json;

use crate::harness::bench::{Bench, PARTITIONS, dead_letter_of};
use crate::harness::kafka::{self, Message, Place, Reader};
use crate::harness::outcome::Outcome;
use crate::harness::update::{Mode, Update};
use crate::harness::wire::{self, RawRecord};

/// A structured event whose JSON is this text.
fn structured(text: impl Into<Vec<u8>>) -> Message {
    Message {
        value: Some(text.into()),
        ..Update::valt(52, "Anna").message()
    }
}

/// A good event whose `data` is this text.
fn with_data(data: &str) -> Message {
    structured(format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}"#
    ))
}

/// A good binary event with one more header.
fn with_header(name: &str, value: Option<&[u8]>) -> Message {
    let mut message = Update::valt(52, "Anna").binary().message();
    message.headers.retain(|(other, _)| other != name);
    message
        .headers
        .push((name.to_owned(), value.map(<[u8]>::to_vec)));
    message
}

/// Records that are no update events, each with a word about it.
fn undecodable() -> Vec<(&'static str, Message)> {
    let good = Update::valt(52, "Anna");
    let whole = good.message().value.unwrap();
    let mut no_content_type = good.message();
    no_content_type.headers.clear();
    let nested = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        ("no key, no value, no header", Message::default()),
        (
            "null value",
            Message {
                value: None,
                ..good.message()
            },
        ),
        (
            "null value in binary mode",
            Message {
                value: None,
                ..good.clone().binary().message()
            },
        ),
        ("empty value", structured("")),
        ("truncated JSON", structured(&whole[..whole.len() / 2])),
        ("trailing bytes", structured([&whole[..], b"}"].concat())),
        ("not UTF-8", structured(b"{\"id\":\"\xff\"}".to_vec())),
        ("not JSON at all", structured("<html>")),
        ("an array", structured("[]")),
        ("data that is a text", with_data(r#""52""#)),
        (
            "data that is missing",
            structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#),
        ),
        ("nesting", with_data(&nested)),
        (
            "lone surrogate",
            with_data(r#"{"target":"valt","user":52,"changes":{"display_name":"\ud800"}}"#),
        ),
        (
            "duplicate keys",
            with_data(r#"{"target":"valt","user":52,"user":53,"changes":{"display_name":"x"}}"#),
        ),
        (
            "a duplicate attribute",
            structured(
                r#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t","data":{}}"#,
            ),
        ),
        (
            "unknown specversion",
            good.clone().with("specversion", "2.0").message(),
        ),
        (
            "specversion of a wrong type",
            good.clone().with("specversion", 1.0).message(),
        ),
        ("empty id", good.clone().with("id", "").message()),
        (
            "id of a wrong type",
            good.clone().with("id", json!(["1"])).message(),
        ),
        (
            "expirytime that is no time",
            good.clone().with("expirytime", "tomorrow").message(),
        ),
        ("no content type", no_content_type),
        (
            "attribute that is not UTF-8",
            with_header("ce_id", Some(b"\xff\xfe")),
        ),
        ("attribute that is null", with_header("ce_source", None)),
    ]
}

/// Events that are well formed, but ask for what no API takes.
fn invalid() -> Vec<(&'static str, Message)> {
    let changes = |changes: &str| {
        with_data(&format!(
            r#"{{"target":"valt","user":52,"changes":{changes}}}"#
        ))
    };
    let user = |user: &str| {
        with_data(&format!(
            r#"{{"target":"valt","user":{user},"changes":{{"display_name":"x"}}}}"#
        ))
    };
    let big = "x".repeat(900_000);
    vec![
        (
            "a user beyond 64 bits",
            user("99999999999999999999999999999999"),
        ),
        ("a user beyond the range", user("9223372036854775808")),
        ("a user in exponents", user("1e400000")),
        ("a negative user", user("-1")),
        ("a fraction of a user", user("52.5")),
        ("a user that is a list", user("[52]")),
        ("a user in words", user(r#""fifty-two""#)),
        (
            "no user",
            with_data(r#"{"target":"valt","changes":{"display_name":"x"}}"#),
        ),
        ("no changes", with_data(r#"{"target":"valt","user":52}"#)),
        ("changes that are a list", changes("[1]")),
        ("null as a change", changes(r#"{"display_name":null}"#)),
        (
            "900 kB of a wrong type",
            changes(&format!(r#"{{"rooms":"{big}"}}"#)),
        ),
        (
            "900 kB of an unknown name",
            changes(&format!(r#"{{"{big}":1}}"#)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_record_holds_it_has_one_outcome_and_its_dead_letter_is_what_it_was() {
    let mut bench = Bench::new().await;
    let undecodable = undecodable()
        .into_iter()
        .map(|(what, message)| (what, message, "dead_lettered undecodable"));
    let invalid = invalid()
        .into_iter()
        .map(|(what, message)| (what, message, "dead_lettered invalid_changes"));
    let table: Vec<_> = undecodable.chain(invalid).collect();
    let service = bench.start();
    let places = bench
        .writer
        .write(table.iter().map(|(_, message, _)| message));
    let good = [Mode::Structured, Mode::Binary].map(|mode| Update {
        mode,
        ..Update::valt(52, "Anna")
    });
    let all: Vec<_> = places.iter().cloned().chain(bench.send(&good)).collect();
    let outcomes = bench.outcomes_of(&all);

    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    for ((what, message, expected), (outcome, ending)) in
        table.iter().zip(outcomes.iter().zip(&endings))
    {
        assert_eq!(ending, expected, "{what}: {:?}", outcome.data.error);
        assert_eq!(outcome.key, message.key, "{what}");
        let error = outcome
            .data
            .error
            .as_ref()
            .expect("an outcome says what was wrong");
        assert!(
            !error.message.is_empty() && error.message.len() <= 2048,
            "{what}: {}",
            error.message.len()
        );
        assert_eq!(
            (outcome.data.attempts, outcome.data.http_status),
            (0, None),
            "{what}"
        );
    }
    assert!(
        endings[table.len()..]
            .iter()
            .all(|ending| ending == "delivered" || ending == "merged"),
        "{endings:?}"
    );

    let letters = bench.dead_letters(table.len());
    for ((what, message, _), place) in table.iter().zip(&places) {
        let letter = dead_letter_of(&letters, place);
        assert!(
            letter.key == message.key && letter.value == message.value,
            "{what}"
        );
        let added = |name: &str| name.starts_with("dlq.") || name.starts_with("__connect.errors.");
        let kept: Vec<_> = letter
            .headers
            .iter()
            .filter(|(name, _)| !added(name))
            .cloned()
            .collect();
        assert_eq!(kept, message.headers, "{what}");
    }
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_is_one_however_it_is_written_and_is_sent_as_one() {
    let mut bench = Bench::new().await;
    let data = |user: &str, changes: &str| {
        with_data(&format!(
            r#"{{"target":"valt","user":{user},"changes":{changes}}}"#
        ))
    };
    let table = [
        (
            data("52.0", r#"{"rooms":[37.0, 5.2e1,-0]}"#),
            52,
            json!({ "rooms": [37, 52, 0] }),
        ),
        (
            data("5.3e1", r#"{"user_group":4e0}"#),
            53,
            json!({ "user_group": 4 }),
        ),
        (
            data(r#""054""#, r#"{"video_access":{"users":[900e-1]}}"#),
            54,
            json!({ "video_access": { "users": [90] } }),
        ),
        (
            data(
                "55",
                r#"{"rooms":[9007199254740993.0,-9223372036854775808]}"#,
            ),
            55,
            json!({ "rooms": [9_007_199_254_740_993_i64, i64::MIN] }),
        ),
        (
            data("9.223372036854775807E+18", r#"{"name":"5.2e1"}"#),
            i64::MAX as u64,
            json!({ "name": "5.2e1" }),
        ),
    ];
    let refused = [
        "52.5",
        "0",
        "-0",
        "-1",
        "0.5e0",
        "9223372036854775808.0",
        "1e400",
        r#""5.2e1""#,
    ]
    .map(|user| data(user, r#"{"name":"x"}"#));
    let wrong = ["37.5", "1e-1", "1e19", "1e400", r#""37""#]
        .map(|id| data("52", &format!(r#"{{"rooms":[1,{id}]}}"#)));
    let _service = bench.start();
    let good = bench
        .writer
        .write(table.iter().map(|(message, ..)| message));
    let bad = bench.writer.write(refused.iter().chain(&wrong));
    let places: Vec<_> = good.iter().chain(&bad).cloned().collect();
    let outcomes = bench.outcomes_of(&places);
    for ((_, user, body), outcome) in table.iter().zip(&outcomes) {
        assert_eq!(
            (outcome.ending().as_str(), outcome.user()),
            ("delivered", Some(*user))
        );
        let calls = bench.valt.calls();
        let call = calls
            .iter()
            .find(|call| call.user == Some((*user).into()))
            .unwrap();
        assert_eq!(
            (&call.body, call.path.contains(&format!("/{user}/"))),
            (body, true)
        );
    }
    for (number, outcome) in outcomes[table.len()..].iter().enumerate() {
        assert_eq!(outcome.ending(), "dead_lettered invalid_changes");
        let path = if number < refused.len() {
            "data.user: "
        } else {
            "data.changes.rooms[1]: "
        };
        assert!(
            outcome
                .data
                .error
                .as_ref()
                .unwrap()
                .message
                .starts_with(path),
            "{:?}",
            outcome.data.error
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_names_that_are_not_text_are_carried_on_as_they_are() {
    let mut bench = Bench::new().await;
    let raw = |message: Message, timestamp| {
        let headers = message
            .headers
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value));
        let hostile = [
            (b"\xff\xfe".to_vec(), Some(b"\x00\xff".to_vec())),
            (b"\xc3".to_vec(), None),
        ];
        RawRecord {
            timestamp,
            key: message.key,
            value: message.value,
            headers: hostile.into_iter().chain(headers).collect(),
        }
    };
    let good = raw(
        Update::valt(52, "Anna").binary().message(),
        1_700_000_000_001,
    );
    let bad = raw(structured("{"), 1_700_000_000_002);
    let topic = bench.topic(0);
    let places = [&good, &bad].map(|record| Place {
        topic: topic.clone(),
        partition: 0,
        offset: wire::write(&topic, 0, record),
    });
    let service = bench.start();
    let endings: Vec<_> = bench
        .outcomes_of(&places)
        .iter()
        .map(Outcome::ending)
        .collect();
    assert_eq!(endings, ["delivered", "dead_lettered undecodable"]);

    let dead_letters = bench.topic(2);
    let letters: Vec<_> = (0..PARTITIONS)
        .flat_map(|partition| wire::read(&dead_letters, partition))
        .collect();
    let [letter] = &letters[..] else {
        panic!("{} dead letters", letters.len())
    };
    assert_eq!((&letter.key, &letter.value), (&bad.key, &bad.value));
    assert_eq!(letter.headers[..bad.headers.len()], bad.headers);
    let reason = letter
        .headers
        .iter()
        .find(|(name, _)| name == b"dlq.reason")
        .and_then(|(_, value)| value.as_deref());
    assert_eq!(reason, Some(&b"undecodable"[..]));
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_too_large_for_its_topic_stops_nothing() {
    let mut bench = Bench::new().await;
    let small = format!("{}-small", bench.id);
    kafka::create_topic(
        kafka::bootstrap(),
        &small,
        PARTITIONS,
        &[("max.message.bytes", "5000")],
    )
    .await;
    bench.set("kafka.topics.dead_letters", small.clone());
    let service = bench.start();
    let garbage = Message {
        key: Some(b"52".to_vec()),
        value: Some(vec![b'x'; 50_000]),
        headers: Vec::new(),
        timestamp: None,
    };
    let mut places = bench.writer.write([&garbage]);
    places.extend(bench.send(&[Update::valt(52, "Anna")]));
    let endings: Vec<_> = bench
        .outcomes_of(&places)
        .iter()
        .map(Outcome::ending)
        .collect();
    assert_eq!(endings, ["dead_lettered undecodable", "delivered"]);
    let letters = Reader::new(kafka::bootstrap(), &small).wait_for(1).to_vec();
    let letter = &letters[0].1;
    assert_eq!(
        (&letter.value, letter.key.as_deref()),
        (&None, Some(&b"52"[..]))
    );
    assert_eq!(letter.header("dlq.omitted_bytes"), Some("50000"));
    assert_eq!(
        letter.header("__connect.errors.offset"),
        Some(places[0].offset.to_string().as_str())
    );
    assert_eq!(service.terminate().code, Some(0));
}
