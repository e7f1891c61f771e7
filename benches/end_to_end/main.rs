//! The service beside a bare HTTP client loop and a plain consumer, against one stand-in server and
//! a real Kafka, in one run.
//!
//! `scripts/bench` builds and starts it. What the figures mean stands in `docs/performance.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on ends by panicking"
)]

mod bare;
mod process;
mod rig;

use std::time::Duration;

use rig::{Load, Rig, Run};

const HELP: &str = "measurements: start, throughput, log, latency, hanging, foreign, catch-up, memory, growth, instances (all of them, unless named); rounds by BENCH_ROUNDS (3)";

fn main() {
    // cargo adds --bench.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let [role, rest @ ..] = arguments.as_slice() {
        match role.as_str() {
            "--bare-loop" => return bare::calls(rest),
            "--bare-consumer" => return bare::consumer(rest),
            "--bare-latency" => return bare::latency(rest),
            "--help" => return println!("{HELP}"),
            _ => {}
        }
    }
    let rounds: usize = std::env::var("BENCH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let rig = Rig::new(runtime.handle().clone());
    let all = [
        ("start", start as fn(&Rig, usize)),
        ("throughput", throughput),
        ("log", log),
        ("latency", latency),
        ("hanging", hanging),
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

/// The value below which that share of the values lies.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (values.len() as f64 * share) as usize;
    values[index.min(values.len() - 1)]
}

/// Calls a second and CPU time, beside the bare loop's, with the API answering at once and late.
fn throughput(rig: &Rig, rounds: usize) {
    println!(
        "API      calls/s                CPU s per 1000 calls                                     peak memory, MiB"
    );
    println!(
        "latency  service   bare  ratio  service   bare  ratio  consumer  stand-in  broker        service  bare  consumer"
    );
    for (latency, concurrency, events) in [
        (0, 256, 200_000),
        (10, 64, 100_000),
        (10, 256, 200_000),
        (100, 1024, 300_000),
    ] {
        let load = Load {
            events,
            ..Load::default()
        };
        let (mut rates, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let server = rig.server(Duration::from_millis(latency));
            let topic = rig.filled(&load);
            let service = rig.run(
                &topic,
                &server,
                &Run {
                    concurrency,
                    ..Run::default()
                },
                load.events,
            );
            let bare = rig.bare_loop(&server, load.events, concurrency);
            let reader = rig.bare_consumer(&topic, load.events);
            let (rate, cpu) = (
                service.rate() / bare.rate(),
                service.cpu_per_thousand() / bare.cpu_per_thousand(),
            );
            println!(
                "{latency:>4} ms {:>8.0} {:>6.0} {rate:>6.2} {:>8.3} {:>6.3} {cpu:>6.2} {:>9.4} {:>9.3} {:>7.3} {:>14.0} {:>5.0} {:>9.0}",
                service.rate(),
                bare.rate(),
                service.cpu_per_thousand(),
                bare.cpu_per_thousand(),
                reader.cpu_per_thousand(),
                service.per_thousand(service.server_cpu),
                service.per_thousand(service.broker_cpu),
                service.peak_memory,
                bare.peak_memory,
                reader.peak_memory,
            );
            rates.push(rate);
            cpus.push(cpu);
        }
        println!(
            "{latency:>4} ms    median: {:.2} of the bare loop's calls a second, {:.2} of its CPU time a call",
            median(rates),
            median(cpus)
        );
    }
}

/// What a line in the log for each ending costs.
fn log(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let load = Load {
        events: 100_000,
        ..Load::default()
    };
    let cost = |log| {
        let costs = (0..rounds).map(|_| {
            rig.run(
                &rig.filled(&load),
                &server,
                &Run {
                    log,
                    ..Run::default()
                },
                load.events,
            )
            .cpu_per_thousand()
        });
        median(costs.collect())
    };
    let [with, without] = [
        cost("info"),
        cost("info,user_courier::subscriber::ending=warn"),
    ];
    println!(
        "median: {with:.3} CPU s per 1000 calls with a line for each ending, {without:.3} without: {:.1} us a line",
        (with - without) * 1000.0
    );
}

/// From a record's sending to its call's arrival, beside a plain consumer of the same records at
/// the same time.
fn latency(rig: &Rig, rounds: usize) {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let server = rig.remembering_server(Duration::ZERO, 100_000);
        let (called, read) = rig.live(&server, 1_000, 10);
        let of = |values: &[f64]| [0.5, 0.99].map(|share| quantile(values, share));
        let ([call50, call99], [read50, read99]) = (of(&called), of(&read));
        println!(
            "sent to called: p50 {call50:.2} ms, p99 {call99:.2} ms; sent to read by a plain consumer: p50 {read50:.2} ms, p99 {read99:.2} ms"
        );
        p50.push(call50 - read50);
        p99.push(call99 - read99);
    }
    println!(
        "median above the plain consumer: p50 {:.2} ms, p99 {:.2} ms",
        median(p50),
        median(p99)
    );
}

/// How late the others' calls come while one user's calls hang.
fn hanging(rig: &Rig, rounds: usize) {
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let [without, with] = [false, true].map(|hangs| {
            let server = rig.remembering_server(Duration::from_millis(10), 100_000);
            if hangs {
                server.fault(&format!(r#"{{"user":{},"fault":"hang"}}"#, rig::HANGING));
            }
            quantile(&rig.live(&server, 1_000, 20).0, 0.99)
        });
        println!(
            "p99 from sending to call: {without:.2} ms; with a user that hangs, the others': {with:.2} ms"
        );
        ratios.push(with / without);
    }
    println!("median: {:.2}", median(ratios));
}

/// Resident memory: with nothing to do, with 10,000 records waiting, and over a backlog of a
/// million.
fn memory(rig: &Rig, _: usize) {
    let server = rig.server(Duration::ZERO);
    let show = |what: &str, (seen, peak): (Vec<f64>, f64)| {
        println!(
            "{what}: {} MiB, at most {peak:.1} MiB",
            seen.iter()
                .map(|seen| format!("{seen:.1}"))
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    let empty = rig.filled(&Load {
        events: 0,
        ..Load::default()
    });
    show(
        "idle",
        rig.memory(
            &empty,
            &server,
            &Run::default(),
            &[&|service| service.sum("waiting", &[]) == 0.0],
        ),
    );
    let waiting = rig.filled(&Load {
        events: 20_000,
        ..Load::default()
    });
    let stuck = rig.server(Duration::from_secs(8));
    let all_wait = |service: &process::Scrape| {
        service.sum("waiting", &[]) + service.sum("in_flight", &[]) >= 10_000.0
    };
    show(
        "10,000 records waiting",
        rig.memory(&waiting, &stuck, &Run::default(), &[&all_wait]),
    );
    let million = rig.filled(&Load {
        events: 1_000_000,
        ..Load::default()
    });
    let done =
        |part: f64| move |service: &process::Scrape| service.sum("outcomes_total", &[]) >= part;
    let parts: [&dyn Fn(&process::Scrape) -> bool; 4] =
        [&done(1e5), &done(4e5), &done(7e5), &done(1e6)];
    show(
        "a million, after 100,000, 400,000, 700,000 and all",
        rig.memory(
            &million,
            &server,
            &Run {
                merge: true,
                ..Run::default()
            },
            &parts,
        ),
    );
}

/// What a record costs that belongs to another target.
fn foreign(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let load = Load {
        events: 1_000_000,
        target: "other",
        ..Load::default()
    };
    let topic = rig.filled(&load);
    for _ in 0..rounds {
        let service = rig.skip(&topic, &server, load.events);
        let reader = rig.bare_consumer(&topic, load.events);
        let [service, reader] =
            [service, reader].map(|measured| measured.cpu_per_thousand() * 1000.0);
        println!(
            "foreign record: {service:.2} us of CPU time; plain consumer that reads and decodes: {reader:.2} us"
        );
    }
}

/// 100,000 waiting updates of 5,000 users at an API that takes 50 ms: without merging, with it, and
/// with it and room for all of them.
fn catch_up(rig: &Rig, rounds: usize) {
    let (mut ratios, mut roomy) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let load = Load {
            events: 100_000,
            users: 5_000,
            ..Load::default()
        };
        let server = rig.server(Duration::from_millis(50));
        let [single, merged, all] =
            [(false, 10_000), (true, 10_000), (true, 100_000)].map(|(merge, max_waiting)| {
                let topic = rig.filled(&load);
                rig.run(
                    &topic,
                    &server,
                    &Run {
                        merge,
                        max_waiting,
                        ..Run::default()
                    },
                    load.events,
                )
            });
        println!(
            "single: {:.1} s and {} calls; merged: {:.1} s and {} calls; with max_waiting = 100000: {:.1} s and {} calls, {:.0} MiB",
            single.seconds,
            single.calls,
            merged.seconds,
            merged.calls,
            all.seconds,
            all.calls,
            all.peak_memory
        );
        ratios.push(single.seconds / merged.seconds);
        roomy.push(single.seconds / all.seconds);
    }
    println!(
        "median: {:.1} times faster, and {:.1} times with room for all",
        median(ratios),
        median(roomy)
    );
}

/// CPU time per event as things grow.
fn growth(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let base = Load {
        events: 100_000,
        ..Load::default()
    };
    let run = Run::default();
    // As many calls at once as there are users at the least, since more connections cost more
    // whoever they serve.
    let ten = Run {
        concurrency: 10,
        ..Run::default()
    };
    let cases = [
        (
            (
                "1 partition",
                Load {
                    partitions: 1,
                    ..base
                },
                &run,
            ),
            (
                "64 partitions",
                Load {
                    partitions: 64,
                    ..base
                },
                &run,
            ),
        ),
        (
            ("10 users", Load { users: 10, ..base }, &ten),
            (
                "1,000,000 users",
                Load {
                    users: 1_000_000,
                    ..base
                },
                &ten,
            ),
        ),
        (
            ("1 target", base, &run),
            (
                "10 targets, all events of one",
                base,
                &Run {
                    targets: 10,
                    ..Run::default()
                },
            ),
        ),
    ];
    for (few, many) in cases {
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for ((_, load, run), costs) in [(&few, &mut of_few), (&many, &mut of_many)] {
                costs.push(
                    rig.run(&rig.filled(load), &server, run, load.events)
                        .cpu_per_thousand()
                        * 1000.0,
                );
            }
        }
        let (one, other) = (median(of_few), median(of_many));
        println!(
            "{}: {one:.0} us of CPU time for an event; {}: {other:.0} us, {:.2} times as much (medians)",
            few.0,
            many.0,
            other / one
        );
    }
}

/// Instances that share 16 partitions, each with 32 calls of 100 ms in flight at the most.
fn instances(rig: &Rig, _: usize) {
    let server = rig.server(Duration::from_millis(100));
    let mut alone = None;
    for count in [1_u32, 2, 4] {
        let load = Load {
            events: u64::from(count) * 6_000,
            partitions: 16,
            ..Load::default()
        };
        let topic = rig.filled(&load);
        let run = rig.run_several(
            &topic,
            &server,
            &Run {
                concurrency: 32,
                ..Run::default()
            },
            load.events,
            count as usize,
        );
        let alone = *alone.get_or_insert(run.rate());
        println!(
            "{count} instances: {:.0} calls a second, {:.2} of one's",
            run.rate(),
            run.rate() / alone
        );
    }
}

/// From the start of the process to its readiness, and to the first outcome.
fn start(rig: &Rig, rounds: usize) {
    let server = rig.server(Duration::ZERO);
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(5) {
        let topic = rig.filled(&Load {
            events: 100,
            ..Load::default()
        });
        let (to_ready, to_first) = rig.start_up(&topic, &server);
        ready.push(to_ready);
        first.push(to_first);
    }
    println!(
        "from the start of the process, medians: ready after {:.0} ms, first call made after {:.0} ms",
        median(ready),
        median(first)
    );
}
