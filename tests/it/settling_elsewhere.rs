//! Settling where a whole topic, or the link to the brokers, does not take what is sent: the rest
//! goes on, and it heals by itself.

use crate::dead_letters::{lines, replay, replays};
use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{self, Message, OwnBrokers, REPLICAS, Writer};
use crate::harness::update::Update;
use crate::link::Link;
use crate::secured_kafka::{Way, come_by};
use crate::settling::{HOUR, garbage, good, key_of, now};

#[tokio::test(flavor = "multi_thread")]
async fn partitions_without_a_leader_hold_up_what_needs_them_alone() {
    let brokers = OwnBrokers::start("settling-three", 3);
    let [some, all]: [&[_]; 2] = [&[(REPLICAS, "1 1 3 2")], &[(REPLICAS, "2 2 2 2")]];
    let mut bench = Bench::with_settings(&brokers.servers, [&[], some, all]).await;
    let mut service = bench.start();
    let mut places = bench.send(&good(5));
    bench.outcomes_of(&places);
    brokers.command("stop", 2);
    // Without outcomes in the partition that is gone, and of one user a good one behind a dead one.
    let stays = |update: &Update| partition_of(update.key.as_bytes()) != 3;
    let [one, other] =
        [7, 8].map(|user| Update::new("valt", user, serde_json::json!({ "colour": 1 })));
    let dead = bench
        .writer
        .write([&one.message(), &other.message(), &garbage(None, 10)]);
    let behind = bench.send(&[Update::valt(7, "Anna")]);
    let gone = bench.send(
        &(100..140)
            .map(|user| Update::valt(user, "Anna"))
            .filter(|update| !stays(update))
            .collect::<Vec<_>>(),
    );
    service.wait_until("it is known what waits", |service| {
        service.metrics().sum("refused_endings", &[]) >= 3.0
    });
    for round in 0..3 {
        let users = 200 + 40 * round..240 + 40 * round;
        let updates = users.map(|user| Update::valt(user, "Berta")).filter(stays);
        deliver(&mut bench, &mut places, updates.collect());
    }
    service.wait_for_log("took nothing in time");
    brokers.command("start", 2);
    places.extend(dead.into_iter().chain(behind).chain(gone));
    bench.outcomes_of(&places);
    bench.dead_letters(3);
    service.wait_until("nothing waits", |service| {
        service.metrics().sum("refused_endings", &[]) == 0.0
    });
    assert_eq!(service.metrics().sum("altered_messages_total", &[]), 0.0);
    assert_eq!(service.terminate().code, Some(0));
}

/// Sends updates, and waits until they and those that stand at `places` have been delivered.
fn deliver(bench: &mut Bench, places: &mut Vec<kafka::Place>, updates: Vec<Update>) {
    places.extend(bench.send(&updates));
    let outcomes = bench.outcomes(places.len());
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
}

/// The broker's side of a transaction with a message for such a topic ends only when a replica is
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_few_replicas_in_sync_holds_up_what_needs_it_alone() {
    let brokers = OwnBrokers::start("settling-in-sync", 3);
    let letters: &[_] = &[
        (REPLICAS, "1,2,3 2,1,3 1,2,3 2,1,3"),
        ("min.insync.replicas", "3"),
    ];
    let mut bench = Bench::with_settings(&brokers.servers, [&[], &[], letters]).await;
    let mut service = bench.start();
    let mut places = bench.send(&good(5));
    bench.outcomes_of(&places);
    brokers.command("kill", 3);
    // One that is on its way to all three, and one that the two take no more.
    let wrong = |user| Update::new("valt", user, serde_json::json!({ "colour": 1 }));
    let mut dead = bench.send(&[wrong(7)]);
    kafka::wait_in_sync(&brokers.servers, &bench.topic(2), 2);
    dead.extend(bench.send(&[wrong(8)]));
    dead.extend(bench.writer.write([&garbage(None, 10)]));
    service.wait_until("it is known what waits", |service| {
        service.metrics().sum("refused_endings", &[]) >= 3.0
    });
    service.wait_for_log("until more replicas are in sync");
    let mut rounds = |bench: &mut Bench, first: u64| {
        for round in 0..3 {
            let users = first + 40 * round..first + 40 + 40 * round;
            let updates = users.map(|user| Update::valt(user, "Berta"));
            deliver(bench, &mut places, updates.collect());
        }
    };
    rounds(&mut bench, 200);
    service.signal("KILL");
    service = bench.start();
    rounds(&mut bench, 400);
    brokers.command("start", 3);
    places.extend(dead);
    bench.outcomes_of(&places);
    bench.dead_letters(3);
    service.wait_until("nothing waits", |service| {
        service.metrics().sum("refused_endings", &[]) == 0.0
    });
    assert_eq!(service.terminate().code, Some(0));
}

/// The partition of a key, of four: as Java's clients reckon it.
fn partition_of(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(key.len()).unwrap();
    let mut parts = key.chunks_exact(4);
    for part in &mut parts {
        let mut part = u32::from_le_bytes(part.try_into().unwrap()).wrapping_mul(M);
        part ^= part >> 24;
        hash = hash.wrapping_mul(M) ^ part.wrapping_mul(M);
    }
    let rest = parts.remainder();
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    ((hash ^ hash >> 15) & 0x7fff_ffff) % 4
}

/// Takes a right of `stranger` on a topic away, or gives it.
fn right(brokers: &OwnBrokers, what: &str, operation: &str, resource: &[&str]) {
    let arguments = [
        "org.apache.kafka.tools.AclCommand",
        what,
        "--force",
        "--allow-principal",
        "User:stranger",
        "--operation",
        operation,
    ];
    brokers.tool(&[&arguments[..], resource].concat());
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn a_topic_that_may_not_be_written_or_is_gone_holds_up_what_needs_it_alone_and_is_not_created()
 {
    let brokers = OwnBrokers::secured("settling");
    let mut bench = Bench::on(&brokers.servers).await;
    come_by(
        &mut bench,
        &brokers,
        Way::Login("stranger", "SCRAM-SHA-512"),
    );
    let [updates, outcomes, letters] = [0, 1, 2].map(|number| bench.topic(number));
    let prefix = format!("{}.", bench.id);
    let group = ["--group", &prefix, "--resource-pattern-type", "prefixed"];
    let transactions = [
        "--transactional-id",
        &prefix,
        "--resource-pattern-type",
        "prefixed",
    ];
    for (operation, resource) in [
        ("Read", &["--topic", &updates][..]),
        (
            "Describe",
            &[
                "--topic", &updates, "--topic", &outcomes, "--topic", &letters,
            ],
        ),
        ("Write", &["--topic", &outcomes, "--topic", &letters]),
        ("Read", &group),
        ("Describe", &group),
        ("Write", &transactions),
        ("Describe", &transactions),
        // And one that it needs for nothing: it would use it.
        ("Create", &["--topic", &letters]),
    ] {
        right(&brokers, "--add", operation, resource);
    }
    let mut service = bench.start();
    let mut places = bench.send(&good(5));
    let mut dead = vec![];
    bench.outcomes_of(&places);
    let mut goes_on = async |bench: &mut Bench,
                             user: u64,
                             word: &str,
                             service: &crate::harness::service::Service| {
        dead.extend(
            bench
                .writer
                .write([&garbage(Some(b"7"), 10), &garbage(None, 10)]),
        );
        service.wait_for_log(word);
        for round in 0..2 {
            places.extend(
                bench.send(
                    &(0..20)
                        .map(|more| Update::valt(user + more + 20 * round, "Berta"))
                        .collect::<Vec<_>>(),
                ),
            );
            bench.outcomes_of(&places);
        }
        (places.clone(), dead.clone())
    };
    right(&brokers, "--remove", "Write", &["--topic", &letters]);
    let (fine, refused) = goes_on(&mut bench, 100, "Topic authorization failed", &service).await;
    right(&brokers, "--add", "Write", &["--topic", &letters]);
    bench.outcomes_of(&[fine, refused].concat());
    bench.dead_letters(2);

    kafka::delete_topic(&brokers.servers, &letters).await;
    places.extend(std::mem::take(&mut dead));
    let gone = bench
        .writer
        .write([&garbage(Some(b"7"), 10), &garbage(None, 10)]);
    service.wait_for_log("this service creates none");
    for round in 0..2 {
        places.extend(
            bench.send(
                &(0..20)
                    .map(|more| Update::valt(200 + more + 20 * round, "Carla"))
                    .collect::<Vec<_>>(),
            ),
        );
        bench.outcomes_of(&places);
    }
    assert!(
        !kafka::exists(&brokers.servers, &letters),
        "a producer has created it"
    );
    kafka::create_topic(&brokers.servers, &letters, PARTITIONS, &[]).await;
    places.extend(gone);
    bench.outcomes_of(&places);
    service.wait_until("nothing waits", |service| {
        service.metrics().sum("refused_endings", &[]) == 0.0
    });
    let lines = service
        .log()
        .lines()
        .filter(|line| line.contains("takes no messages") || line.contains("transaction"))
        .count();
    assert!(lines < 40, "{lines} lines of it");

    // A right that it cannot go on without at all.
    right(&brokers, "--remove", "Write", &transactions);
    let waits = bench.send(&[Update::valt(300, "Dora")]);
    service.wait_for_log("the transactional producer is");
    right(&brokers, "--add", "Write", &transactions);
    places.extend(waits);
    bench.outcomes_of(&places);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_link_does_not_carry_in_time_is_carried_in_smaller_portions() {
    const RATE: u32 = 300_000;
    let mut bench = Bench::new().await;
    let link = Link::to(kafka::bootstrap(), RATE);
    bench.set("kafka.bootstrap_servers", link.servers.clone());
    let service = bench.start();
    let records: Vec<Message> = (0..2500)
        .map(|number: u32| garbage(Some(&number.to_be_bytes()), 1000))
        .collect();
    let places = bench.writer.write(&records);
    // More than a transaction's 5 s carry, in all; each part comes in time.
    for part in 1..=10 {
        bench.outcomes(places.len() * part / 10);
    }
    bench.outcomes_of(&places);
    bench.dead_letters(places.len());
    let carried = link.carried();
    assert!(
        carried > 10 * u64::from(RATE),
        "{carried} bytes are no test"
    );
    assert!(
        carried < 4 * 3000 * places.len() as u64,
        "{carried} bytes: most of it was sent again and again"
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_its_topic_does_not_take_back_holds_up_no_other_replay() {
    let mut bench = Bench::new().await;
    bench.set("kafka.producer_properties.message.max.bytes", 900_000);
    let service = bench.start();
    let keyless = Message {
        key: None,
        ..Update::new("nowhere", 8, serde_json::json!({ "x": 1 })).message()
    };
    let large = Update::new("nowhere", 9, serde_json::json!({ "x": "x".repeat(20_000) })).message();
    let mut places = bench.writer.write([&keyless, &large]);
    places.extend(
        bench.send(
            &(1..=60)
                .map(|user| Update::new("nowhere", user, serde_json::json!({ "x": "y" })))
                .collect::<Vec<_>>(),
        ),
    );
    bench.outcomes_of(&places);
    let servers = kafka::bootstrap();
    // Batches of some records are too large as well.
    kafka::configure(servers, &bench.topic(0), "max.message.bytes", "5000").await;
    kafka::configure(servers, &bench.topic(0), "cleanup.policy", "compact").await;
    let said = replay(&bench, &["--force"], 1);
    assert!(
        said.contains("raise max.message.bytes")
            && said.contains("a compacted one takes none without a key"),
        "{said}"
    );
    assert_eq!(replays(&bench).len(), 60);
    // Those that came back are dead again, and open.
    bench.outcomes(places.len() + 2 * 60);
    kafka::configure(servers, &bench.topic(0), "max.message.bytes", "1048588").await;
    kafka::configure(servers, &bench.topic(0), "cleanup.policy", "delete").await;
    assert_eq!(service.terminate().code, Some(0));
    // Now nothing refuses them.
    assert_eq!(lines(&bench, &["list", "--json"], 0).len(), 62);
    replay(&bench, &["--force"], 0);
    let all = replays(&bench);
    assert_eq!(all.len(), 60 + 62);
    assert!(all.iter().any(|(.., message)| message.key.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_changed_for_its_topic_is_replayed_as_its_record_was() {
    let small: &[_] = &[("max.message.bytes", "5000"), ("cleanup.policy", "compact")];
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], small, small]).await;
    let service = bench.start();
    let nowhere =
        |value: &str| Update::new("nowhere", 9, serde_json::json!({ "x": value })).binary();
    let sent = [
        Message {
            key: None,
            ..nowhere("small").message()
        },
        nowhere(&"x".repeat(20_000)).message(),
        nowhere("headers")
            .header("x-large", vec![b'h'; 9000])
            .message(),
        Message {
            key: Some(vec![b'k'; 9000]),
            ..nowhere("key").message()
        },
    ];
    let places = bench.writer.write(&sent);
    bench.outcomes_of(&places);
    assert_eq!(service.terminate().code, Some(0));
    replay(&bench, &["--force"], 0);
    let mut replayed = replays(&bench);
    replayed.sort_by_key(|(_, place, _)| place.offset);
    assert_eq!(replayed.len(), sent.len());
    for message in &sent {
        let is_it = |replayed: &Message| {
            let own = replayed
                .headers
                .iter()
                .filter(|(name, _)| !name.starts_with("replay-"))
                .cloned()
                .collect::<Vec<_>>();
            (&replayed.key, &replayed.value, own)
                == (&message.key, &message.value, message.headers.clone())
        };
        assert!(
            replayed.iter().any(|(.., replayed)| is_it(replayed)),
            "{:?}",
            message.key
        );
    }
    // What records them was refused in its first form too: without a key, or with one of 9 kB.
    let outcomes = bench.outcomes_now();
    let recorded: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.data.outcome == "replayed")
        .collect();
    assert_eq!(recorded.len(), sent.len());
    assert!(
        recorded
            .iter()
            .any(|outcome| outcome.key == Some(key_of(&outcome.data.record)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_go_well_together_are_told_of_by_check_and_at_the_start() {
    let mut bench = Bench::with_settings(
        kafka::bootstrap(),
        [&[], &[("cleanup.policy", "compact")], &[]],
    )
    .await;
    bench.set("kafka.producer_properties.message.max.bytes", 20_000);
    let letters = format!("{}-few", bench.id);
    kafka::create_topic(
        kafka::bootstrap(),
        &letters,
        PARTITIONS - 1,
        &[
            ("max.message.bytes", "5000"),
            ("message.timestamp.before.max.ms", "1000"),
            ("retention.bytes", "1000000000"),
        ],
    )
    .await;
    bench.set("kafka.topics.dead_letters", letters);
    let told = [
        "cleanup.policy of",
        "the topics should have equally many partitions",
        "retention.bytes of",
        "max.message.bytes of",
        "message.timestamp.before.max.ms of",
        "message.max.bytes of this service",
    ];
    let (code, said) = bench.command(&["check"]);
    assert!(
        code == Some(3) && told.iter().all(|words| said.contains(words)),
        "{said}"
    );
    let service = bench.start();
    for words in told {
        service.wait_for_log(words);
    }
    assert_eq!(service.terminate().code, Some(0));
    let mut fine = Bench::new().await;
    let (code, said) = fine.command(&["check"]);
    assert!(
        code == Some(0) && said.contains("go well together") && !said.contains('!'),
        "{said}"
    );
    // The defaults of a broker are no mistake.
    let letters = format!("{}-default", fine.id);
    kafka::create_topic(kafka::bootstrap(), &letters, PARTITIONS, &[]).await;
    fine.set("kafka.topics.dead_letters", letters);
    let (code, said) = fine.command(&["check"]);
    assert!(
        code == Some(0) && said.contains("! max.message.bytes of"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn open_dead_letters_near_the_end_of_their_retention_are_told_of() {
    let retention: &[_] = &[("retention.ms", "7200000")];
    let mut bench = Bench::with_settings(kafka::bootstrap(), [&[], &[], retention]).await;
    let service = bench.start();
    let places = bench.writer.write([&garbage(Some(b"7"), 10)]);
    bench.outcomes_of(&places);
    // As it will look in 119 minutes.
    let mut letter = bench.dead_letters(1).remove(0);
    let failed_at = now() - 119 * HOUR / 60;
    letter.timestamp = Some(failed_at);
    for (name, value) in &mut letter.headers {
        if name == "dlq.failed_at" {
            *value = Some(
                jiff::Timestamp::from_millisecond(failed_at)
                    .unwrap()
                    .to_string()
                    .into_bytes(),
            );
        }
    }
    let (_, said) = bench.command(&["check"]);
    assert!(!said.contains("will soon be gone"), "{said}");
    assert_eq!(service.terminate().code, Some(0));
    // In every partition, also where no younger one stands before it.
    let letters: Vec<_> = (0..20_u8)
        .map(|key| Message {
            key: Some(vec![key]),
            ..letter.clone()
        })
        .collect();
    Writer::new(kafka::bootstrap(), &bench.topic(2)).write(&letters);
    let (code, said) = bench.command(&["check"]);
    assert!(
        code == Some(0) && said.contains("open dead letter(s) will soon be gone"),
        "{said}"
    );
    let mut service = bench.start();
    service.wait_until("it is counted", |service| {
        service.metrics().sum("dead_letters_near_retention", &[]) >= 1.0
    });
    assert_eq!(service.terminate().code, Some(0));
}
