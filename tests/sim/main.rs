//! The engine against a simulated broker, APIs and clock: random histories with crashes, rebalances, zombies, outages, slow and
//! aborted transactions. Time is virtual, so a history of minutes takes a millisecond, and a failing one shrinks.
//!
//! `SIM_HISTORIES` sets how many histories there are in all, of which each property has its share.

mod plan;
mod world;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use user_courier::engine::checkpoint::MAX_TEXT;

use plan::{Plan, calm_plans, crowded_plans, plans};
use world::World;

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Every core runs its part of the property's share, which is so many of 10,000 histories, and the first failure ends the test.
fn check<S: Strategy<Value = Plan>>(share: u32, strategy: impl Fn() -> S + Sync, property: impl Fn(&Plan) -> Result<(), String> + Sync) {
    let histories = (number("SIM_HISTORIES", 100_000).saturating_mul(share) / 10_000).max(1);
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

/// Every promise of order, pace, loss and duplicates, under everything that can go wrong at once.
#[test]
fn every_history_keeps_the_promises() {
    check(7980, plans, |plan| World::run(plan).map(drop));
}

/// Without crashes and lost partitions nothing is ever called again that was answered well, and every call is counted.
#[test]
fn without_crashes_nothing_is_called_twice() {
    check(2000, calm_plans, |plan| World::run(plan).map(drop));
}

/// Where so many updates wait that the text beside the offset has no room for them, the rest of the promises holds all the same.
#[test]
fn a_text_that_is_full_loses_nothing() {
    let [all, full] = [AtomicU32::new(0), AtomicU32::new(0)];
    check(20, crowded_plans, |plan| {
        let longest = World::run(plan)?;
        all.fetch_add(1, Ordering::Relaxed);
        full.fetch_add(u32::from(longest > MAX_TEXT - 100), Ordering::Relaxed);
        Ok(())
    });
    let [all, full] = [all.into_inner(), full.into_inner()];
    assert!(full * 2 > all, "the text was full in {full} histories of {all} only");
}
