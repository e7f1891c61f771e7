//! The worlds, and what is wanted in each.

use std::time::Duration;

use super::api::{Answer, Api};
use super::figure::Figure;
use super::ours::{Load, Ours};
use super::peers::{Gradient2, Peer, VectorAimd};
use super::world::{Ended, Instance, Seen, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Ours,
    Vector,
    Gradient,
}

/// A world.
pub struct Row {
    pub name: &'static str,
    pub run: fn(Who, u64) -> Vec<Figure>,
}

pub const ROWS: [Row; 15] = [
    Row {
        name: "20 servers of 50 ms behind a queue",
        run: clean,
    },
    Row {
        name: "the same, one answer in ten a 500",
        run: failing,
    },
    Row {
        name: "the same, one user in 20 always fails or hangs",
        run: odd,
    },
    Row {
        name: "503 above 64 at once",
        run: refusing,
    },
    Row {
        name: "100 calls a second, 429, one instance",
        run: |who, seed| throttling(who, seed, false, 1),
    },
    Row {
        name: "the same with Retry-After",
        run: |who, seed| throttling(who, seed, true, 1),
    },
    Row {
        name: "100 calls a second, 429, three instances",
        run: |who, seed| throttling(who, seed, false, 3),
    },
    Row {
        name: "the same with Retry-After, three",
        run: |who, seed| throttling(who, seed, true, 3),
    },
    Row {
        name: "latency x 10 for a minute, behind a queue",
        run: |who, seed| slower(who, seed, 20),
    },
    Row {
        name: "latency x 10 for a minute, no queue",
        run: |who, seed| slower(who, seed, usize::MAX),
    },
    Row {
        name: "latency with a tail, behind a queue",
        run: |who, seed| tail(who, seed, 20),
    },
    Row {
        name: "latency with a tail, no queue",
        run: |who, seed| tail(who, seed, usize::MAX),
    },
    Row {
        name: "capacity falls to a tenth, and comes back",
        run: falling,
    },
    Row {
        name: "100 ms, no limit, 1,024 allowed",
        run: ramp,
    },
    Row {
        name: "local API of 1 ms, 20 servers",
        run: local,
    },
];

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn instance(who: Who, load: Load, seed: u64) -> Box<dyn Instance> {
    match who {
        Who::Ours => Box::new(Ours::new(load, seed)),
        Who::Vector => {
            let limit = VectorAimd::new(load.max_concurrency);
            Box::new(Peer::new(Box::new(limit), load, seed))
        }
        Who::Gradient => {
            let limit = Gradient2::new(load.max_concurrency);
            Box::new(Peer::new(Box::new(limit), load, seed))
        }
    }
}

fn run(who: Who, changes: Vec<(Duration, Api)>, load: Load, seed: u64, until: Duration) -> Seen {
    World::new(changes, vec![instance(who, load, seed)], seed).run(until)
}

fn always(api: Api) -> Vec<(Duration, Api)> {
    vec![(Duration::ZERO, api)]
}

/// How many calls of a kind ended in a second, from one time to another.
fn rate(seen: &Seen, from: Duration, to: Duration, which: impl Fn(&Ended) -> bool) -> f64 {
    let calls = seen.calls.iter();
    let within = calls.filter(|call| call.ended >= from && call.ended < to && which(call));
    within.count() as f64 / (to - from).as_secs_f64()
}

fn good(call: &Ended) -> bool {
    call.answer == Answer::Good
}

/// What share of the calls that ended then were turned away, or not answered in time.
fn refused(seen: &Seen, from: Duration, to: Duration) -> f64 {
    let turned_away = |call: &Ended| {
        matches!(
            call.answer,
            Answer::Refused | Answer::Throttled(_) | Answer::TimedOut
        )
    };
    rate(seen, from, to, turned_away) / rate(seen, from, to, |_| true).max(1.0)
}

fn p99(seen: &Seen, from: Duration) -> f64 {
    let calls = seen.calls.iter().filter(|call| call.began >= from);
    let mut latencies: Vec<Duration> = calls.map(|call| call.ended - call.began).collect();
    latencies.sort_unstable();
    let at = latencies.len() * 99 / 100;
    latencies
        .get(at)
        .map_or(f64::INFINITY, Duration::as_secs_f64)
}

const QUEUE: Api = Api {
    servers: 20,
    ..Api::WELL
};

fn clean(who: Who, seed: u64) -> Vec<Figure> {
    let seen = run(who, always(QUEUE), Load::USUAL, seed, secs(20));
    let share = rate(&seen, secs(3), secs(20), good) / QUEUE.capacity(256);
    let p99 = p99(&seen, secs(3)) / QUEUE.latency.as_secs_f64();
    vec![
        Figure::least("used", share, 0.95),
        Figure::most("p99/base", p99, 2.0),
    ]
}

fn failing(who: Who, seed: u64) -> Vec<Figure> {
    let api = Api {
        failing: 0.1,
        ..QUEUE
    };
    let seen = run(who, always(api), Load::USUAL, seed, secs(40));
    let clean = run(who, always(QUEUE), Load::USUAL, seed, secs(20));
    let limits = |seen: &Seen| -> Vec<usize> {
        let later = seen.limits.iter().filter(|(at, _)| *at >= secs(3));
        later.map(|(_, limit)| *limit).collect()
    };
    let share = rate(&seen, secs(3), secs(40), |_| true) / api.capacity(256);
    let least = limits(&seen).into_iter().min().unwrap_or_default();
    let clean = limits(&clean);
    let usual = clean.iter().sum::<usize>() as f64 / clean.len() as f64;
    vec![
        Figure::least("used", share, 0.95),
        Figure::least("least limit/clean", least as f64 / usual, 0.5),
    ]
}

fn odd(who: Who, seed: u64) -> Vec<Figure> {
    let api = Api {
        odd_users: 20,
        ..QUEUE
    };
    let load = Load {
        per_second: Some(300.0),
        ..Load::USUAL
    };
    let seen = run(who, always(api), load, seed, secs(60));
    let share = rate(&seen, secs(3), secs(60), good) / (300.0 * 0.95);
    vec![Figure::least("of the need", share, 0.95)]
}

fn refusing(who: Who, seed: u64) -> Vec<Figure> {
    let api = Api {
        at_once: 64,
        ..Api::WELL
    };
    let seen = run(who, always(api), Load::USUAL, seed, secs(40));
    let share = rate(&seen, secs(5), secs(40), good) / api.capacity(256);
    vec![
        Figure::least("used", share, 0.9),
        Figure::most("refused", refused(&seen, secs(5), secs(40)), 0.03),
    ]
}

fn throttling(who: Who, seed: u64, asks: bool, instances: usize) -> Vec<Figure> {
    let api = Api {
        per_second: Some(100),
        asks_for_pause: asks,
        ..Api::WELL
    };
    let owned = if instances == 1 {
        vec![4]
    } else {
        vec![2, 1, 1]
    };
    let all = owned.iter().enumerate().map(|(index, owned)| {
        let load = Load {
            owned: (*owned, 4),
            ..Load::USUAL
        };
        instance(who, load, seed * 10 + index as u64)
    });
    // The others' come to nothing else with time.
    let (from, to) = match who {
        Who::Ours => (secs(WARM), secs(WARM + 240)),
        _ => (secs(10), secs(30)),
    };
    let seen = World::new(always(api), all.collect(), seed).run(to);
    let share = rate(&seen, from, to, good) / 100.0;
    let per_partition = owned.iter().enumerate().map(|(index, owned)| {
        rate(&seen, from, to, |call| good(call) && call.instance == index) / f64::from(*owned)
    });
    let per_partition: Vec<f64> = per_partition.collect();
    let mean = share * 100.0 / 4.0;
    let off = per_partition
        .iter()
        .map(|one| (one / mean - 1.0).abs())
        .fold(0.0, f64::max);
    vec![
        Figure::least("used", share, 0.9),
        Figure::most("refused", refused(&seen, secs(5), to), 0.03),
        Figure::most("share off", off, 0.2),
    ]
}

/// Instances that know nothing of each other have so long to come to their shares.
const WARM: u64 = 60;

fn slower(who: Who, seed: u64, servers: usize) -> Vec<Figure> {
    let before = Api {
        servers,
        ..Api::WELL
    };
    let during = Api {
        latency: before.latency * 10,
        ..before
    };
    let changes = vec![
        (Duration::ZERO, before),
        (secs(20), during),
        (secs(80), before),
    ];
    let load = Load {
        max_concurrency: 64,
        ..Load::USUAL
    };
    let seen = run(who, changes, load, seed, secs(90));
    let share = |from, to, api: Api| {
        let capacity = api.capacity(64);
        rate(&seen, secs(from), secs(to), good) / capacity
    };
    vec![
        Figure::least("before", share(3, 20, before), 0.9),
        Figure::least("while", share(20, 80, during), 0.9),
        Figure::least("after", share(85, 90, before), 0.9),
    ]
}

fn tail(who: Who, seed: u64, servers: usize) -> Vec<Figure> {
    let (without, load) = (
        Api {
            servers,
            ..Api::WELL
        },
        Load::USUAL,
    );
    let with = Api {
        tail: true,
        ..without
    };
    let used = |api| {
        rate(
            &run(who, always(api), load, seed, secs(20)),
            secs(3),
            secs(20),
            good,
        )
    };
    vec![Figure::least(
        "of without",
        used(with) / used(without),
        0.95,
    )]
}

fn falling(who: Who, seed: u64) -> Vec<Figure> {
    let well = Api {
        at_once: 64,
        ..QUEUE
    };
    let low = Api { servers: 2, ..well };
    let changes = vec![(Duration::ZERO, well), (secs(20), low), (secs(50), well)];
    let seen = run(who, changes, Load::USUAL, seed, secs(70));
    let share = rate(&seen, secs(60), secs(65), good) / well.capacity(256);
    vec![
        Figure::most("refused", refused(&seen, secs(20), secs(25)), 0.05),
        Figure::least("after", share, 0.9),
    ]
}

fn ramp(who: Who, seed: u64) -> Vec<Figure> {
    let api = Api {
        latency: Duration::from_millis(100),
        ..Api::WELL
    };
    let load = Load {
        users: 20_000,
        max_concurrency: 1024,
        ..Load::USUAL
    };
    let seen = run(who, always(api), load, seed, Duration::from_millis(600));
    let (from, to) = (Duration::from_millis(200), Duration::from_millis(300));
    let begun = seen
        .calls
        .iter()
        .filter(|call| call.began >= from && call.began < to);
    vec![Figure::least(
        "of the rate",
        begun.count() as f64 / 1024.0,
        0.9,
    )]
}

fn local(who: Who, seed: u64) -> Vec<Figure> {
    let api = Api {
        latency: Duration::from_millis(1),
        ..QUEUE
    };
    let seen = run(who, always(api), Load::USUAL, seed, secs(2));
    let share = rate(&seen, secs(1), secs(2), good) / api.capacity(256);
    vec![Figure::least("used", share, 0.95)]
}
