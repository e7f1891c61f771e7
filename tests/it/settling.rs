//! Settling: a message that its topic refuses is sent with as little changed as the topic takes,
//! and everything else settles meanwhile.

use stand_in::Rule;

use crate::dead_letters::lines;
use crate::harness::bench::{Bench, dead_letter_of};
use crate::harness::kafka::{self, Message, Place};
use crate::harness::outcome::Outcome;
use crate::harness::update::Update;

/// A record that is no event.
pub(crate) fn garbage(key: Option<&[u8]>, size: usize) -> Message {
    Message {
        key: key.map(<[u8]>::to_vec),
        value: Some(vec![b'x'; size]),
        ..Message::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_a_message_is_what_its_topic_measures() {
    use user_courier::kafka::{Message as Sent, MessageKind};
    let headers = vec![
        ("x".to_owned(), None),
        ("y".to_owned(), Some(vec![b'h'; 70])),
    ];
    let sent = |key: Option<&[u8]>, value: usize| Message {
        headers: headers.clone(),
        ..garbage(key, value)
    };
    for message in [
        sent(None, 30),
        sent(Some(b"key"), 200),
        sent(Some(&[b'k'; 9000]), 20_000),
    ] {
        let own = headers
            .iter()
            .map(|(name, value)| user_courier::model::record::Header {
                name: name.clone().into(),
                value: value.clone(),
            });
        let size = Sent {
            key: message.key.clone(),
            value: message.value.clone(),
            headers: own.collect(),
            ..Sent::new(
                MessageKind::Update,
                "updates/0/0".parse().unwrap(),
                String::new(),
            )
        }
        .size();
        for (limit, takes) in [(size, true), (size - 1, false)] {
            let topic = format!("it-{}", uuid::Uuid::new_v4());
            kafka::create_topic(
                kafka::bootstrap(),
                &topic,
                1,
                &[("max.message.bytes", &limit.to_string())],
            )
            .await;
            let writer = kafka::Writer::new(kafka::bootstrap(), &topic);
            assert_eq!(
                writer.try_write(&message),
                takes,
                "{size} bytes, and a limit of {limit}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lingers_is_waited_for() {
    let mut bench = Bench::new().await;
    bench.set("kafka.producer_properties.linger.ms", 3000);
    let service = bench.start();
    let places = bench.send(&good(5));
    bench.outcomes_of(&places);
    assert_eq!(
        service
            .metrics()
            .sum("commits_total", &[("result", "aborted")]),
        0.0
    );
    assert_eq!(service.terminate().code, Some(0));
}

/// Updates of so many users, one each.
pub(crate) fn good(count: u64) -> Vec<Update> {
    (1..=count).map(|user| Update::valt(user, "Anna")).collect()
}

/// What stands at a record's place, as a key.
pub(crate) fn key_of(place: &Place) -> Vec<u8> {
    format!("{}/{}/{}", place.topic, place.partition, place.offset).into_bytes()
}

pub(crate) fn endings(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(Outcome::ending).collect()
}

pub(crate) const HOUR: i64 = 3_600_000;

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_older_than_the_dead_letter_topic_takes_is_a_dead_letter_of_now() {
    let bounds: &[_] = &[("message.timestamp.before.max.ms", "3600000")];
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[], bounds]).await;
    let service = bench.start();
    let old = Message {
        timestamp: Some(now() - 24 * HOUR),
        ..garbage(Some(b"7"), 10)
    };
    let mut places = bench.writer.write([&old]);
    places.extend(bench.send(&good(200)));
    assert_eq!(
        endings(&bench.outcomes_of(&places))[..2],
        ["dead_lettered undecodable", "delivered"]
    );
    let letters = bench.dead_letters(1);
    let failed_at: jiff::Timestamp = letters[0].header("dlq.failed_at").unwrap().parse().unwrap();
    assert_eq!(letters[0].timestamp, Some(failed_at.as_millisecond()));
    assert_eq!(
        letters[0].header("dlq.timestamp"),
        Some(old.timestamp.unwrap().to_string().as_str())
    );
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 0.0);
    // By when it was given up, and not by its record's time.
    assert_eq!(
        lines(&bench, &["list", "--json", "--since", "1h"], 0).len(),
        1
    );
    assert_eq!(
        lines(&bench, &["list", "--json", "--until", "1h"], 0).len(),
        0
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_in_an_outage_is_dead_lettered_whatever_age_the_topics_take() {
    let bounds: &[_] = &[("message.timestamp.before.max.ms", "1000")];
    let mut bench = Bench::with_settings(kafka::bootstrap(), [bounds; 3]).await;
    bench.valt.fault(Rule::status(503));
    let service = bench.start();
    let expires = jiff::Timestamp::from_millisecond(now() + 3000)
        .unwrap()
        .to_string();
    let mut places = bench.send(&[Update::valt(7, "Anna").with("expirytime", expires)]);
    places.extend(
        bench.send(
            &(1..=200)
                .map(|user| Update::aipix(user, &[9]))
                .collect::<Vec<_>>(),
        ),
    );
    assert_eq!(
        endings(&bench.outcomes_of(&places))[..2],
        ["dead_lettered expired", "delivered"]
    );
    bench.dead_letters(1);
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_without_a_key_on_a_compacted_topic_takes_its_place_for_one() {
    let mut bench = Bench::with_settings(
        kafka::bootstrap(),
        [&[], &[("cleanup.policy", "compact")], &[]],
    )
    .await;
    let service = bench.start();
    let keyless = Message {
        key: None,
        ..Update::valt(900, "Anna").message()
    };
    let mut places = bench.writer.write([&keyless, &garbage(None, 10)]);
    places.extend(bench.send(&good(200)));
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(
        endings(&outcomes)[..3],
        ["delivered", "dead_lettered undecodable", "delivered"]
    );
    for number in [0, 1] {
        assert_eq!(outcomes[number].key, Some(key_of(&places[number])));
    }
    assert_eq!(outcomes[2].key.as_deref(), Some(&b"1"[..]));
    assert_eq!(bench.dead_letters(1)[0].key, None);
    assert_eq!(
        service.metrics().sum(
            "altered_messages_total",
            &[("topic", "outcomes"), ("what", "key")]
        ),
        2.0
    );
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 2.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_without_a_key_on_a_compacted_topic_take_their_places_for_one() {
    let mut bench = Bench::with_settings(
        kafka::bootstrap(),
        [&[], &[], &[("cleanup.policy", "compact")]],
    )
    .await;
    let service = bench.start();
    let mut places = Vec::new();
    for part in good(500).chunks(50) {
        places.extend(
            bench
                .writer
                .write([&garbage(None, 10), &garbage(Some(b"5"), 10)]),
        );
        places.extend(bench.send(part));
    }
    bench.outcomes_of(&places);
    let letters = bench.dead_letters(20);
    for (number, place) in places
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 52 < 2)
    {
        let letter = dead_letter_of(&letters, place);
        let key = if number % 52 == 0 {
            key_of(place)
        } else {
            b"5".to_vec()
        };
        assert_eq!(
            (letter.key.as_ref(), letter.value.as_deref()),
            (Some(&key), Some(&b"xxxxxxxxxx"[..]))
        );
        assert_eq!(
            letter.header("dlq.altered"),
            (number % 52 == 0).then_some("key")
        );
    }
    assert_eq!(
        service.metrics().sum(
            "altered_messages_total",
            &[("topic", "dead_letters"), ("what", "key")]
        ),
        10.0
    );
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 10.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_only_small_batches_gets_every_outcome_whole() {
    let mut bench = Bench::with_settings(
        kafka::bootstrap(),
        [&[], &[("max.message.bytes", "5000")], &[]],
    )
    .await;
    let service = bench.start();
    let places = bench.send(&good(500));
    // Each is read strictly, with its data.
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered" && outcome.key.is_some())
    );
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_own_client_does_not_send_is_shortened_too() {
    let mut bench = Bench::new().await;
    bench.set("kafka.producer_properties.message.max.bytes", 20_000);
    let service = bench.start();
    let mut places = bench.send(&good(20));
    places.extend(bench.writer.write([&garbage(Some(b"7"), 50_000)]));
    places.extend(bench.send(&good(20)));
    bench.outcomes_of(&places);
    let letter = &bench.dead_letters(1)[0];
    assert_eq!(
        (letter.key.as_deref(), &letter.value),
        (Some(&b"7"[..]), &None)
    );
    assert_eq!(letter.header("dlq.omitted_bytes"), Some("50000"));
    assert_eq!(
        service.metrics().sum(
            "altered_messages_total",
            &[("topic", "dead_letters"), ("what", "value")]
        ),
        1.0
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_too_large_for_its_topic_loses_its_key_and_never_its_data() {
    let mut bench = Bench::with_settings(
        kafka::bootstrap(),
        [&[], &[("max.message.bytes", "100000")], &[]],
    )
    .await;
    let service = bench.start();
    let large = Message {
        key: Some(vec![b'k'; 900_000]),
        ..Update::valt(900, "Anna").message()
    };
    let fits = Message {
        key: Some(vec![b'k'; 90_000]),
        ..Update::valt(901, "Anna").message()
    };
    let mut places = bench.writer.write([&large, &fits]);
    places.extend(bench.send(&good(20)));
    let outcomes = bench.outcomes_of(&places);
    assert_eq!((&outcomes[0].key, &outcomes[1].key), (&None, &fits.key));
    assert_eq!(
        service.metrics().sum(
            "altered_messages_total",
            &[("topic", "outcomes"), ("what", "key")]
        ),
        1.0
    );
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 1.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_whose_headers_are_too_large_keeps_the_added_ones() {
    let mut bench = Bench::with_settings(
        kafka::bootstrap(),
        [&[], &[], &[("max.message.bytes", "5000")]],
    )
    .await;
    let service = bench.start();
    let headers = (0..20)
        .map(|number| (format!("x-{number}"), Some(vec![b'h'; 900])))
        .collect();
    let mut places = bench.writer.write([&Message {
        headers,
        ..garbage(Some(b"7"), 100)
    }]);
    places.extend(bench.writer.write([&Message {
        key: Some(vec![b'k'; 9000]),
        ..garbage(None, 9000)
    }]));
    places.extend(bench.send(&good(20)));
    bench.outcomes_of(&places);
    let letters = bench.dead_letters(2);
    let [headers, key] = [0, 1].map(|number| dead_letter_of(&letters, &places[number]));
    assert_eq!(
        (headers.key.as_deref(), &headers.value),
        (Some(&b"7"[..]), &None)
    );
    assert_eq!(
        (
            headers.header("dlq.omitted_bytes"),
            headers.header("dlq.altered")
        ),
        (Some("100"), Some("value,headers"))
    );
    assert!(
        headers
            .headers
            .iter()
            .all(|(name, _)| name.starts_with("dlq.") || name.starts_with("__connect.errors."))
    );
    // A key of such a size has no step of its own in the order: it is the last thing that can give
    // way.
    assert_eq!(
        (key.key.as_ref(), &key.value),
        (Some(&key_of(&places[1])), &None)
    );
    assert_eq!(
        (key.header("dlq.omitted_bytes"), key.header("dlq.altered")),
        (Some("9000"), Some("key,value"))
    );
    let count = |what| {
        service.metrics().sum(
            "altered_messages_total",
            &[("topic", "dead_letters"), ("what", what)],
        )
    };
    assert_eq!(
        [count("value"), count("headers"), count("key")],
        [2.0, 1.0, 1.0]
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn guilty_ones_of_every_sort_in_every_batch_hold_up_nobody() {
    let small: &[_] = &[("max.message.bytes", "5000"), ("cleanup.policy", "compact")];
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], small, small]).await;
    let mut service = bench.start();
    let guilty = [
        garbage(None, 10),
        garbage(None, 50_000),
        Message {
            key: Some(vec![b'k'; 20_000]),
            ..garbage(None, 20_000)
        },
        Message {
            headers: vec![("x".to_owned(), Some(vec![b'h'; 9000]))],
            ..garbage(None, 10)
        },
        // Of a target, without a call and with one.
        Message {
            key: None,
            ..Update::new("valt", 5, serde_json::json!({ "x".repeat(6000): 1 })).message()
        },
        Message {
            key: None,
            ..Update::valt(6, &"n".repeat(9000)).message()
        },
    ];
    let mut places = Vec::new();
    for round in 0..20 {
        places.extend(bench.writer.write(guilty.iter().chain(&guilty)));
        places.extend(bench.send(&good(40)));
        // Not one after the other: settling goes on meanwhile.
        service.wait_until("some are settled", |service| {
            service.metrics().sum("outcomes_total", &[]) >= f64::from(round) * 52.0 * 0.5
        });
    }
    // Each is read strictly, with its data.
    let outcomes = bench.outcomes_of(&places);
    assert!(outcomes.iter().all(|outcome| outcome.key.is_some()));
    let letters = bench.dead_letters(20 * 2 * 5);
    let mut keys: Vec<_> = letters
        .iter()
        .map(|letter| letter.key.clone().unwrap())
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(
        keys.len(),
        letters.len(),
        "each has the key of its own place"
    );
    assert!(letters.iter().all(|letter| {
        letter
            .header("dlq.altered")
            .is_some_and(|altered| altered.starts_with("key"))
    }));
    assert_eq!(service.terminate().code, Some(0));
}
