//! A million dead letters: how long it takes to list them and to replay a thousand of them, and how
//! much memory. Not a test of every run: `cargo test --release --test it -- --ignored --nocapture
//! a_million`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{Message, Writer};
use crate::harness::update::Update;

const LETTERS: u64 = 1_000_000;
const CHUNK: u64 = 50_000;
/// Every thousandth letter has another reason than the rest.
const EVERY: u64 = 1_000;

/// Runs `user-courier dead-letters`, and says how long it took, and how much memory at most, in
/// MiB.
fn measure(bench: &Bench, arguments: &[&str]) -> (Duration, u64) {
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_user-courier"))
        .arg("dead-letters")
        .args(arguments)
        .arg("--config")
        .arg(bench.config_file())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut peak, mut cpu) = (0, 0.0_f64);
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0) / 1024);
        // In hundredths of a second, of user and system.
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        let ticks = stat.rsplit_once(')').map(|(_, rest)| {
            rest.split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|ticks| ticks.parse::<f64>().ok())
                .sum()
        });
        cpu = ticks.map_or(cpu, |ticks: f64| cpu.max(ticks / 100.0));
        // A sample now and then is enough for what only grows.
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = began.elapsed();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
    println!(
        "{arguments:?}: {:.1} s, {cpu:.1} s of CPU time, {peak} MiB",
        took.as_secs_f64()
    );
    (took, peak)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and a gigabyte of disk; it measures rather than tests"]
async fn a_million_dead_letters_are_listed_and_a_thousand_of_them_replayed() {
    let bench = Bench::new().await;
    let [outcomes, letters] = [1, 2].map(|topic| Writer::new(&bench.servers, &bench.topic(topic)));
    let began = Instant::now();
    let now = jiff::Timestamp::now();
    for chunk in 0..LETTERS / CHUNK {
        let numbers = chunk * CHUNK..(chunk + 1) * CHUNK;
        let updates: Vec<_> = numbers
            .clone()
            .map(|number| Update::valt(1 + number % 100_000, "Anna").message())
            .collect();
        let places = bench.writer.write(&updates);
        // Given up one after the other within a day, the last of them now.
        let age = |number: u64| {
            jiff::SignedDuration::from_millis(86 * i64::try_from(LETTERS - number).unwrap())
        };
        let failed_at = |number: u64| (now - age(number)).to_string();
        let reason = |number: u64| {
            if number.is_multiple_of(EVERY) {
                "user_not_found"
            } else {
                "rejected"
            }
        };
        let user = |number: u64| (1 + number % 100_000).to_string();
        let dead = numbers
            .clone()
            .zip(updates)
            .zip(&places)
            .map(|((number, update), place)| {
                let added = [
                    ("__connect.errors.topic", place.topic.clone()),
                    ("__connect.errors.partition", place.partition.to_string()),
                    ("__connect.errors.offset", place.offset.to_string()),
                    ("__connect.errors.stage", "TASK_PUT".to_owned()),
                    (
                        "__connect.errors.exception.message",
                        "The given data was invalid.".to_owned(),
                    ),
                    ("dlq.reason", reason(number).to_owned()),
                    ("dlq.target", "valt".to_owned()),
                    ("dlq.user", user(number)),
                    ("dlq.attempts", "1".to_owned()),
                    ("dlq.http_status", "422".to_owned()),
                    ("dlq.failed_at", failed_at(number)),
                    ("dlq.replays", "0".to_owned()),
                ];
                let added = added.map(|(name, value)| (name.to_owned(), Some(value.into_bytes())));
                Message {
                    headers: update.headers.into_iter().chain(added).collect(),
                    ..update
                }
            });
        let dead: Vec<_> = dead.collect();
        letters.write(&dead);
        let ended = numbers.zip(&places).map(|(number, place)| {
            let data = json!({
                "outcome": "dead_lettered", "reason": reason(number), "target": "valt", "user": 1 + number % 100_000, "fields": ["display_name"],
                "event": { "id": "1", "source": "/s", "type": "t" },
                "record": { "topic": place.topic, "partition": place.partition, "offset": place.offset },
                "attempts": 1, "http_status": 422, "into": null, "error": { "message": "The given data was invalid.", "fields": {} },
                "received_at": failed_at(number), "finished_at": failed_at(number),
            });
            let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
            let headers = vec![
                header("ce_type", "user-courier.update.dead_lettered".to_owned()),
                header("ce_subject", format!("valt/users/{}", user(number))),
            ];
            let timestamp = Some((now - age(number)).as_millisecond());
            Message { key: Some(user(number).into_bytes()), value: Some(data.to_string().into_bytes()), headers, timestamp }
        });
        outcomes.write(&ended.collect::<Vec<_>>());
    }
    println!(
        "{LETTERS} dead letters on {PARTITIONS} partitions, written in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    let (_, peak) = measure(&bench, &["list"]);
    assert!(peak < 200, "the memory is bounded");
    measure(&bench, &["list", "--json"]);
    measure(&bench, &["list", "--since", "1h"]);
    let chosen = ["replay", "--reason", "user_not_found"];
    measure(&bench, &[&chosen[..], &["--dry-run"]].concat());
    measure(&bench, &[&chosen[..], &["--yes"]].concat());
    measure(&bench, &["replay", "--dry-run"]);
}
