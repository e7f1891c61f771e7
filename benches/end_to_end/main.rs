//! The service beside a bare HTTP client loop and a plain consumer, against one stand-in server and a real Kafka, in one run.
//!
//! `scripts/bench` builds and starts it. What the figures mean stands in `docs/performance.md`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on ends by panicking")]

mod bare;
mod process;
mod rig;

use std::time::Duration;

use rig::{Load, Rig, Run};

const HELP: &str =
    "measurements: throughput, memory, foreign, catch-up, growth, instances, start (all of them, unless named); rounds by BENCH_ROUNDS (3)";

fn main() {
    // cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, rest @ ..] = arguments.as_slice() {
        match role.as_str() {
            "--bare-loop" => return bare::calls(rest),
            "--bare-consumer" => return bare::consumer(rest),
            "--help" => return println!("{HELP}"),
            _ => {}
        }
    }
    let rounds: usize = std::env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let rig = Rig::new(runtime.handle().clone());
    let all = [
        ("start", start as fn(&Rig, usize)),
        ("throughput", throughput),
        ("foreign", foreign),
        ("catch-up", catch_up),
        ("memory", memory),
        ("growth", growth),
        ("instances", instances),
    ];
    for (name, measure) in all {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            println!("\n== {name}");
            measure(&rig, rounds);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Calls a second and CPU time, beside the bare loop's, with the API answering at once and late.
fn throughput(rig: &Rig, rounds: usize) {
    println!("latency  round  service/s  bare/s  ratio  service CPU s/1000  bare CPU s/1000  ratio  plain consumer CPU s/1000");
    for (latency, concurrency, events) in [(0, 256, 60_000), (10, 256, 60_000), (100, 1024, 60_000)] {
        let load = Load { events, ..Load::default() };
        let (mut rates, mut cpus) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            let server = rig.server(Duration::from_millis(latency));
            let topic = rig.filled(&load);
            let service = rig.run(&topic, &server, &Run { concurrency, ..Run::default() }, load.events);
            let bare = rig.bare_loop(&server, load.events, concurrency);
            let reader = rig.bare_consumer(&topic, load.events);
            let (rate, cpu) = (service.rate() / bare.rate(), service.cpu_per_thousand() / bare.cpu_per_thousand());
            println!(
                "{latency:>4} ms {round:>8} {:>10.0} {:>7.0} {rate:>6.2} {:>19.3} {:>16.3} {cpu:>6.2} {:>26.4}",
                service.rate(),
                bare.rate(),
                service.cpu_per_thousand(),
                bare.cpu_per_thousand(),
                reader.cpu_per_thousand(),
            );
            rates.push(rate);
            cpus.push(cpu);
        }
        println!(
            "{latency:>4} ms   median: {:.2} of the bare loop's calls a second, {:.2} of its CPU time a call",
            median(rates),
            median(cpus)
        );
    }
}

/// Resident memory: with nothing to do, with 10,000 records waiting, and over a backlog of a million.
fn memory(rig: &Rig, _: usize) {
    let server = rig.server(Duration::ZERO);
    let empty = rig.filled(&Load { events: 0, ..Load::default() });
    println!("idle: {:.1} MiB", rig.memory(&empty, &server, &Run::default(), |service| service.sum("waiting", &[]) == 0.0));
    let waiting = rig.filled(&Load { events: 20_000, ..Load::default() });
    let stuck = rig.server(Duration::from_secs(8));
    let all_wait = |service: &process::Scrape| service.sum("waiting", &[]) + service.sum("in_flight", &[]) >= 10_000.0;
    println!("10,000 records waiting: {:.1} MiB", rig.memory(&waiting, &stuck, &Run::default(), all_wait));
    let million = rig.filled(&Load { events: 1_000_000, ..Load::default() });
    for part in [100_000.0, 500_000.0, 1_000_000.0] {
        let done = move |service: &process::Scrape| service.sum("outcomes_total", &[]) >= part;
        println!(
            "a million, at most until {part} are done: {:.1} MiB",
            rig.memory(&million, &server, &Run { merge: true, ..Run::default() }, done)
        );
    }
}

/// What a record costs that belongs to another target.
fn foreign(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let load = Load { events: 1_000_000, target: "other", ..Load::default() };
    let topic = rig.filled(&load);
    for _ in 0..rounds {
        let service = rig.skip(&topic, &server, load.events);
        let reader = rig.bare_consumer(&topic, load.events);
        let [service, reader] = [service, reader].map(|measured| measured.cpu_per_thousand() * 1000.0);
        println!("foreign record: {service:.2} us of CPU time; plain consumer that reads and decodes: {reader:.2} us");
    }
}

/// 100,000 waiting updates of 5,000 users, with merging and without.
fn catch_up(rig: &Rig, rounds: usize) {
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let load = Load { events: 100_000, users: 5_000, ..Load::default() };
        let server = rig.server(Duration::from_millis(10));
        let [merged, single] = [true, false].map(|merge| {
            let topic = rig.filled(&load);
            rig.run(&topic, &server, &Run { merge, ..Run::default() }, load.events)
        });
        ratios.push(single.seconds / merged.seconds);
        println!("merged: {:.1} s and {} calls; single: {:.1} s and {} calls", merged.seconds, merged.calls, single.seconds, single.calls);
    }
    println!("median: {:.1} times faster", median(ratios));
}

/// CPU time per event as things grow.
fn growth(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let base = Load { events: 40_000, ..Load::default() };
    let cases = [
        ("1 partition", Load { partitions: 1, ..base }, 1),
        ("64 partitions", Load { partitions: 64, ..base }, 1),
        ("10 users", Load { users: 10, ..base }, 1),
        ("1,000,000 users", Load { users: 1_000_000, ..base }, 1),
        ("1 target", base, 1),
        ("10 targets, all events of one", base, 10),
    ];
    for (name, load, targets) in cases {
        let costs = (0..rounds).map(|_| {
            let topic = rig.filled(&load);
            rig.run(&topic, &server, &Run { targets, ..Run::default() }, load.events).cpu_per_thousand()
        });
        println!("{name}: {:.3} CPU s per 1000 events (median)", median(costs.collect()));
    }
}

/// Instances that share 16 partitions, each with 32 calls of 100 ms in flight at the most.
fn instances(rig: &Rig, _: usize) {
    let server = rig.server(Duration::from_millis(100));
    let mut alone = None;
    for count in [1_u32, 2, 4] {
        let load = Load { events: u64::from(count) * 6_000, partitions: 16, ..Load::default() };
        let topic = rig.filled(&load);
        let run = rig.run_several(&topic, &server, &Run { concurrency: 32, ..Run::default() }, load.events, count as usize);
        let alone = *alone.get_or_insert(run.rate());
        println!("{count} instances: {:.0} calls a second, {:.2} of one's", run.rate(), run.rate() / alone);
    }
}

/// From the start of the process to its readiness, and to the first outcome.
fn start(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(5) {
        let topic = rig.filled(&Load { events: 100, ..Load::default() });
        let (to_ready, to_first) = rig.start_up(&topic, &server);
        ready.push(to_ready);
        first.push(to_first);
    }
    println!("from the start of the process, medians: ready after {:.0} ms, first call made after {:.0} ms", median(ready), median(first));
}
