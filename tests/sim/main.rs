//! The engine against a simulated broker, APIs and clock: random histories with crashes, rebalances, zombies, outages, slow and
//! aborted transactions. Time is virtual, so a history of minutes takes a millisecond, and a failing one shrinks.
//!
//! `SIM_HISTORIES` sets how many histories each property sees.

mod plan;
mod world;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use plan::{Plan, calm_plans, plans};
use world::World;

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Every core runs its share, and the first failure ends the test.
fn check<S: Strategy<Value = Plan>>(default: u32, strategy: impl Fn() -> S + Sync, property: impl Fn(&Plan) -> Result<(), String> + Sync) {
    let histories = number("SIM_HISTORIES", default);
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let failed = AtomicBool::new(false);
    let run = &|cases| {
        let config = Config { cases, max_shrink_iters: number("SIM_SHRINKS", 400), failure_persistence: None, ..Config::default() };
        let mine = Cell::new(false);
        let outcome = TestRunner::new(config).run(&strategy(), |plan| {
            // Whoever failed goes on to shrink, the others stop.
            if failed.load(Ordering::Relaxed) && !mine.get() {
                return Ok(());
            }
            property(&plan).map_err(|why| {
                mine.set(true);
                failed.store(true, Ordering::Relaxed);
                TestCaseError::fail(why)
            })
        });
        outcome.map_err(|failure| failure.to_string())
    };
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || run((histories + core) / cores))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("the simulation itself panicked".into()))).collect()
    });
    if let Some(failure) = outcomes.into_iter().find_map(Result::err) {
        panic!("{failure}");
    }
}

/// Every promise of order, loss and duplicates, under everything that can go wrong at once.
#[test]
fn every_history_keeps_the_promises() {
    check(80_000, plans, |plan| World::run(plan));
}

/// Without crashes and lost partitions nothing is ever called again that was answered well.
#[test]
fn without_crashes_nothing_is_called_twice() {
    check(20_000, calm_plans, |plan| World::run(plan));
}
