//! Settling: a message that its topic refuses is sent with as little changed as the topic takes, and everything else settles meanwhile.

use crate::bench::{Bench, dead_letter_of};
use crate::kafka::{self, Message, Place};
use crate::outcome::Outcome;
use crate::update::Update;

/// A record that is no event.
fn garbage(key: Option<&[u8]>, size: usize) -> Message {
    Message { key: key.map(<[u8]>::to_vec), value: Some(vec![b'x'; size]), ..Message::default() }
}

/// Updates of so many users, one each.
fn good(count: u64) -> Vec<Update> {
    (1..=count).map(|user| Update::valt(user, "Anna")).collect()
}

/// What stands at a record's place, as a key.
fn key_of(place: &Place) -> Vec<u8> {
    format!("{}/{}/{}", place.topic, place.partition, place.offset).into_bytes()
}

fn endings(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(Outcome::ending).collect()
}

const HOUR: i64 = 3_600_000;

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_older_than_the_dead_letter_topic_takes_is_a_dead_letter_of_now() {
    let bounds: &[_] = &[("message.timestamp.before.max.ms", "3600000")];
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[], bounds]).await;
    let service = bench.start();
    let old = Message { timestamp: Some(now() - 24 * HOUR), ..garbage(Some(b"7"), 10) };
    let mut places = bench.writer.write([&old]);
    places.extend(bench.send(&good(200)));
    assert_eq!(endings(&bench.outcomes_of(&places))[..2], ["dead_lettered undecodable", "delivered"]);
    let letters = bench.dead_letters(1);
    let failed_at: jiff::Timestamp = letters[0].header("dlq.failed_at").unwrap().parse().unwrap();
    assert_eq!(letters[0].timestamp, Some(failed_at.as_millisecond()));
    assert_eq!(letters[0].header("dlq.timestamp"), Some(old.timestamp.unwrap().to_string().as_str()));
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_without_a_key_on_a_compacted_topic_takes_its_place_for_one() {
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[("cleanup.policy", "compact")], &[]]).await;
    let service = bench.start();
    let keyless = Message { key: None, ..Update::valt(900, "Anna").message() };
    let mut places = bench.writer.write([&keyless, &garbage(None, 10)]);
    places.extend(bench.send(&good(200)));
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(endings(&outcomes)[..3], ["delivered", "dead_lettered undecodable", "delivered"]);
    for number in [0, 1] {
        assert_eq!(outcomes[number].key, Some(key_of(&places[number])));
    }
    assert_eq!(outcomes[2].key.as_deref(), Some(&b"1"[..]));
    assert_eq!(bench.dead_letters(1)[0].key, None);
    assert_eq!(service.metrics().sum("altered_messages_total", &[("topic", "outcomes"), ("what", "key")]), 2.0);
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 2.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_without_a_key_on_a_compacted_topic_take_their_places_for_one() {
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[], &[("cleanup.policy", "compact")]]).await;
    let service = bench.start();
    let mut places = Vec::new();
    for part in good(500).chunks(50) {
        places.extend(bench.writer.write([&garbage(None, 10), &garbage(Some(b"5"), 10)]));
        places.extend(bench.send(part));
    }
    bench.outcomes_of(&places);
    let letters = bench.dead_letters(20);
    for (number, place) in places.iter().enumerate().filter(|(number, _)| number % 52 < 2) {
        let letter = dead_letter_of(&letters, place);
        let key = if number % 52 == 0 { key_of(place) } else { b"5".to_vec() };
        assert_eq!((letter.key.as_ref(), letter.value.as_deref()), (Some(&key), Some(&b"xxxxxxxxxx"[..])));
        assert_eq!(letter.header("dlq.altered"), (number % 52 == 0).then_some("key"));
    }
    assert_eq!(service.metrics().sum("altered_messages_total", &[("topic", "dead_letters"), ("what", "key")]), 10.0);
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 10.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_only_small_batches_gets_every_outcome_whole() {
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[("max.message.bytes", "5000")], &[]]).await;
    let service = bench.start();
    let places = bench.send(&good(500));
    // Each is read strictly, with its data.
    let outcomes = bench.outcomes_of(&places);
    assert!(outcomes.iter().all(|outcome| outcome.ending() == "delivered" && outcome.key.is_some()));
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
    assert_eq!((letter.key.as_deref(), &letter.value), (Some(&b"7"[..]), &None));
    assert_eq!(letter.header("dlq.omitted_bytes"), Some("50000"));
    assert_eq!(service.metrics().sum("altered_messages_total", &[("topic", "dead_letters"), ("what", "value")]), 1.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_too_large_for_its_topic_loses_its_key_and_never_its_data() {
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[("max.message.bytes", "100000")], &[]]).await;
    let service = bench.start();
    let large = Message { key: Some(vec![b'k'; 900_000]), ..Update::valt(900, "Anna").message() };
    let fits = Message { key: Some(vec![b'k'; 90_000]), ..Update::valt(901, "Anna").message() };
    let mut places = bench.writer.write([&large, &fits]);
    places.extend(bench.send(&good(20)));
    let outcomes = bench.outcomes_of(&places);
    assert_eq!((&outcomes[0].key, &outcomes[1].key), (&None, &fits.key));
    assert_eq!(service.metrics().sum("altered_messages_total", &[("topic", "outcomes"), ("what", "key")]), 1.0);
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 1.0);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_whose_headers_are_too_large_keeps_the_added_ones() {
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[], &[("max.message.bytes", "5000")]]).await;
    let service = bench.start();
    let headers = (0..20).map(|number| (format!("x-{number}"), Some(vec![b'h'; 900]))).collect();
    let mut places = bench.writer.write([&Message { headers, ..garbage(Some(b"7"), 100) }]);
    places.extend(bench.writer.write([&Message { key: Some(vec![b'k'; 9000]), ..garbage(None, 9000) }]));
    places.extend(bench.send(&good(20)));
    bench.outcomes_of(&places);
    let letters = bench.dead_letters(2);
    let [headers, key] = [0, 1].map(|number| dead_letter_of(&letters, &places[number]));
    assert_eq!((headers.key.as_deref(), &headers.value), (Some(&b"7"[..]), &None));
    assert_eq!((headers.header("dlq.omitted_bytes"), headers.header("dlq.altered")), (Some("100"), Some("value,headers")));
    assert!(headers.headers.iter().all(|(name, _)| name.starts_with("dlq.") || name.starts_with("__connect.errors.")));
    // A key of such a size has no step of its own in the order: it is the last thing that can give way.
    assert_eq!((key.key.as_ref(), &key.value), (Some(&key_of(&places[1])), &None));
    assert_eq!((key.header("dlq.omitted_bytes"), key.header("dlq.altered")), (Some("9000"), Some("key,value")));
    let count = |what| service.metrics().sum("altered_messages_total", &[("topic", "dead_letters"), ("what", what)]);
    assert_eq!([count("value"), count("headers"), count("key")], [2.0, 1.0, 1.0]);
    assert_eq!(service.terminate().code, Some(0));
}
