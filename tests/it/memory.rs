//! Memory: what waits for an API that is away is bounded, counted as it lies in memory.

use serde_json::{Value, json};

use crate::harness::bench::Bench;
use crate::harness::kafka::Message;
use crate::harness::service::Service;
use crate::harness::update::Update;

const MIB: f64 = (1 << 20) as f64;

/// Resident memory of the process, in MiB.
fn resident(service: &Service) -> f64 {
    let (_, text) = service.get("/metrics");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
        .unwrap();
    line.parse::<f64>().unwrap() / MIB
}

/// Waits until as many wait as is bearable, or all of them, and returns what the process holds the
/// most meanwhile and afterwards.
fn most(service: &mut Service, target: &str, all: usize) -> f64 {
    let most = std::cell::Cell::new(0_f64);
    let before = std::cell::Cell::new((0, 0));
    service.wait_until("no more of them are taken", |service| {
        most.set(most.get().max(resident(service)));
        let waiting = service.status()["targets"][target]["waiting"]
            .as_u64()
            .unwrap();
        let (last, times) = before.get();
        before.set((waiting, if waiting == last { times + 1 } else { 0 }));
        waiting == all as u64 || waiting > 0 && times > 100
    });
    most.get().max(resident(service))
}

/// An event in structured mode whose changes are written as they are.
fn written(target: &str, user: u64, changes: &str) -> Message {
    let mut message = Update::new(target, user, json!("CHANGES")).message();
    let value = String::from_utf8(message.value.take().unwrap()).unwrap();
    message.value = Some(value.replace("\"CHANGES\"", changes).into_bytes());
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn large_lists_that_wait_take_no_more_than_their_text() {
    const RECORDS: u64 = 120;
    let mut bench = Bench::new().await;
    bench.valt.close_port().await;
    let mut service = bench.start();
    let idle = resident(&service);
    let rooms = format!(r#"{{"rooms":[{}1]}}"#, "1,".repeat(400_000));
    let messages: Vec<_> = (1..=RECORDS)
        .map(|user| written("valt", user, &rooms))
        .collect();
    let places = bench.writer.write(&messages);
    let most = most(&mut service, "valt", RECORDS as usize);
    println!(
        "{RECORDS} records of 800 kB: {idle:.0} MiB idle, {most:.0} MiB at most while they wait"
    );
    // 64 MiB that are counted, and as much again: each of three clients holds 8 MiB that it has
    // fetched ahead, and an answer with a large record from each of four partitions.
    assert!(
        most < idle + 64.0 + 64.0,
        "{idle:.0} MiB idle, {most:.0} MiB"
    );
    bench.valt.open_port().await;
    // In steps, since each is waited for with patience.
    (0..RECORDS as usize)
        .step_by(10)
        .for_each(|count| drop(bench.outcomes(count)));
    assert!(
        bench
            .outcomes_of(&places)
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    let sent = bench
        .valt
        .calls()
        .into_iter()
        .rev()
        .find(|call| call.applied)
        .unwrap()
        .body;
    assert_eq!(sent["rooms"].as_array().map(Vec::len), Some(400_001));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_lists_of_permissions_that_wait_take_what_is_reckoned() {
    const RECORDS: u64 = 10_000;
    let mut bench = Bench::new().await;
    bench.set("targets.aipix.delivery.max_waiting", 20_000);
    bench.aipix.set(|settings| settings.journal_size = 0);
    bench.aipix.close_port().await;
    let mut service = bench.start();
    let idle = resident(&service);
    let permissions: Vec<u64> = (100..400).collect();
    let permissions = Value::from(permissions).to_string();
    let messages: Vec<_> = (1..=RECORDS)
        .map(|user| {
            written(
                "aipix",
                user,
                &format!(r#"{{"permissions":{permissions}}}"#),
            )
        })
        .collect();
    let places = bench.writer.write(&messages);
    let most = most(&mut service, "aipix", RECORDS as usize);
    println!(
        "{RECORDS} updates of 300 permissions: {idle:.0} MiB idle, {most:.0} MiB at most while they wait"
    );
    assert!(
        most < idle + 64.0 + 45.0,
        "{idle:.0} MiB idle, {most:.0} MiB"
    );
    bench.aipix.open_port().await;
    assert!(
        bench
            .outcomes_of(&places)
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
}
