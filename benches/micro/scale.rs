//! What partitions, lanes and updates take of memory, counted by the allocator, and what an event
//! costs as they grow.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::verdict::Verdict;
use user_courier::kafka::ClaimFilter;
use user_courier::model::record::Record;
use user_courier::subscriber::update::Update;

use crate::ALLOCATOR;
use crate::loads::engine::{Played, Shape};
use crate::loads::event::{binary, claims, structured};

/// Prints all of it.
#[expect(clippy::too_many_lines, reason = "a table: an entry for each row")]
pub fn print() {
    println!("One update, as it waits (the engine's part apart):");
    let claims = claims();
    update("structured, 250 bytes", &structured("valt", 0), |record| {
        claims.claim(record).map(Arc::from)
    });
    update("binary", &binary("valt", 0), |record| {
        claims.claim(record).map(Arc::from)
    });
    update(
        "structured, 10 more headers",
        &structured("valt", 10),
        |record| claims.claim(record).map(Arc::from),
    );

    println!("\nThe engine by itself, updates apart:");
    let none = Shape {
        partitions: 0,
        ..Shape::USUAL
    };
    for partitions in [1, 64, 1000] {
        let (_played, bytes) = held(|| Played::new(Shape { partitions, ..none }));
        println!(
            "{partitions:>9} partitions: {:>6} bytes each",
            bytes / i64::from(partitions)
        );
    }
    for (users, what) in [(u64::MAX, "one of each user"), (1, "all of one user")] {
        for waiting in [1_000, 10_000, 100_000, 1_000_000] {
            let shape = Shape {
                users: users.min(waiting as u64),
                unsettled: waiting,
                partitions: 64,
                ..Shape::USUAL
            };
            let (played, bytes) = held(|| waiting_in(shape));
            println!(
                "{waiting:>9} waiting, {what}: {:>6} bytes each",
                bytes / waiting as i64
            );
            drop(played);
        }
    }
    for users in [10_000, 100_000, 1_000_000] {
        let shape = Shape {
            users,
            partitions: 64,
            ..Shape::USUAL
        };
        let (_played, bytes) = held(|| {
            let mut played = Played::new(shape);
            (0..users).for_each(|_| played.round());
            played
        });
        println!(
            "{users:>9} users, all served and idle: {:>6} KiB in all",
            bytes / 1024
        );
    }

    println!("\nTime to hand all partitions over, once the calls in flight are answered:");
    for (partitions, waiting) in [(64, 10_000), (1000, 10_000), (1000, 1_000_000)] {
        let mut played = waiting_in(Shape {
            users: 1_000_000,
            partitions,
            unsettled: waiting,
            ..Shape::USUAL
        });
        played.turn();
        let began = Instant::now();
        let give_up_at = played.now + Duration::from_secs(20);
        (0..partitions).for_each(|partition| played.engine.revoked(partition, give_up_at));
        played.turn();
        while played.finish(Verdict::Delivered) {}
        played.wait(Duration::from_millis(100));
        played.wait(Duration::from_millis(100));
        let took = began.elapsed();
        assert_eq!(played.engine.held(), 0, "something was not let go");
        println!(
            "{partitions:>5} partitions, {waiting:>8} waiting: {:>8.2} ms",
            took.as_secs_f64() * 1e3
        );
    }

    println!("\nTime for one event, from arrival until settled:");
    for (partitions, users, unsettled) in [
        (1, 10, 64),
        (1, 1_000_000, 64),
        (64, 1_000_000, 64),
        (1000, 1_000_000, 64),
        (1000, 1_000_000, 10_000),
        (1000, 1_000_000, 100_000),
        (1000, 1_000_000, 1_000_000),
    ] {
        let mut played = waiting_in(Shape {
            users,
            partitions,
            unsettled,
            ..Shape::USUAL
        });
        (0..20_000).for_each(|_| played.round());
        let each = timed(50_000, || played.round());
        println!(
            "{partitions:>5} partitions, {users:>8} users, {unsettled:>8} waiting or in flight: {:>7.2} µs",
            each.as_secs_f64() * 1e6
        );
    }
}

fn waiting_in(shape: Shape) -> Played {
    let mut played = Played::new(shape);
    (0..shape.unsettled).for_each(|_| played.arrive());
    played
}

fn update(what: &str, record: &Record, claim: impl Fn(Record) -> Option<Arc<Update>>) {
    const MANY: usize = 1000;
    let before = ALLOCATOR.stats().allocations;
    let (updates, bytes) = held(|| {
        let copies = (0..MANY).map(|_| claim(record.clone()));
        copies.collect::<Vec<_>>()
    });
    let allocations = (ALLOCATOR.stats().allocations - before) / MANY;
    let reckoned = updates
        .iter()
        .flatten()
        .next()
        .map_or(0, |update| update.size());
    println!(
        "{what:<28} {:>6} bytes, {reckoned} reckoned, {allocations} allocations made on the way",
        bytes / MANY as i64
    );
    drop(black_box(updates));
}

/// What the thing that is made holds on to, in bytes as asked for.
fn held<T>(make: impl FnOnce() -> T) -> (T, i64) {
    let now = || {
        let stats = ALLOCATOR.stats();
        i64::try_from(stats.bytes_allocated).unwrap()
            - i64::try_from(stats.bytes_deallocated).unwrap()
    };
    let before = now();
    let made = make();
    (made, now() - before)
}

/// The mean of the best of five.
fn timed(rounds: u32, mut round: impl FnMut()) -> Duration {
    let once = |round: &mut dyn FnMut()| {
        let began = Instant::now();
        (0..rounds).for_each(|_| round());
        began.elapsed() / rounds
    };
    (0..5).map(|_| once(&mut round)).min().unwrap_or_default()
}
