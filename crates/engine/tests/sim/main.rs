//! The engine against a simulated broker, APIs and clock: random histories with crashes,
//! rebalances, zombies, outages, slow and aborted transactions. Time is virtual, so a history of
//! minutes takes a millisecond, and a failing one shrinks.
//!
//! `SIM_HISTORIES` sets how many histories there are in all, of which each property has its share,
//! and `SIM_SEED` which ones: they are the same in every run unless it is set.
#![expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]

mod plan;
mod world;

use std::cell::Cell;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use engine::checkpoint::MAX_TEXT;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use plan::{
    Plan, broken_upstream, calm_plans, crowded_plans, guarded_plans,
    memory_made_small_in_an_outage, plans, retry_that_hangs_since_an_outage,
};
use world::World;

/// Histories that one seed makes. A failure names the seed of its block, which is the first one of
/// a run with that `SIM_SEED`.
const BLOCK: u32 = 250;

fn number<N: FromStr>(variable: &str, default: N) -> N {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Every core takes block after block of the property's share, which is so many of 10,000
/// histories, and the first failure ends the test.
fn check<S: Strategy<Value = Plan>>(
    share: u32,
    strategy: impl Fn() -> S + Sync,
    property: impl Fn(&Plan) -> Result<(), String> + Sync,
) {
    let histories = (number("SIM_HISTORIES", 100_000u32).saturating_mul(share) / 10_000).max(1);
    let first_seed = number("SIM_SEED", 0u64);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, failed) = (AtomicU32::new(0), AtomicBool::new(false));
    let run_block = |block: u32| {
        let seed = first_seed.wrapping_add(u64::from(block));
        let cases = BLOCK.min(histories - block * BLOCK);
        let rng_seed = RngSeed::Fixed(seed);
        let config = Config {
            cases,
            rng_seed,
            max_shrink_iters: number("SIM_SHRINKS", 400),
            failure_persistence: None,
            ..Config::default()
        };
        let mine = Cell::new(false);
        let outcome = TestRunner::new(config).run(&strategy(), |plan| {
            // The thread that failed goes on to shrink, the others stop.
            if failed.load(Ordering::Relaxed) && !mine.get() {
                return Ok(());
            }
            property(&plan).map_err(|why| {
                mine.set(true);
                failed.store(true, Ordering::Relaxed);
                TestCaseError::fail(why)
            })
        });
        outcome.map_err(|failure| {
            format!("{failure}\nRepeat it with SIM_SEED={seed} and the name of this test.")
        })
    };
    let work = || {
        let blocks = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        blocks
            .take_while(|block| block * BLOCK < histories && !failed.load(Ordering::Relaxed))
            .try_for_each(run_block)
    };
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("the simulation itself panicked".into()))
            })
            .collect()
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

/// Without crashes and lost partitions nothing is ever called again that was answered well, and
/// every call is counted.
#[test]
fn without_crashes_nothing_is_called_twice() {
    check(2000, calm_plans, |plan| World::run(plan).map(drop));
}

/// If so many updates wait that the text beside the offset has no room for them, the rest of the
/// promises holds all the same.
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
    assert!(
        full * 2 > all,
        "the text was full in {full} histories of {all} only"
    );
}

/// A guarded target takes something away from so many users at most, whatever goes wrong; in the
/// end it is allowed, and everything flows.
#[test]
fn a_guard_keeps_its_count_whatever_goes_wrong() {
    check(1000, guarded_plans, |plan| World::run(plan).map(drop));
}

/// The same of a thousand users whom a bulk job strips.
#[test]
fn a_broken_upstream_strips_no_more_users_than_the_guard_lets_through() {
    for instances in 1..=4 {
        for seed in 0..5 {
            let plan = broken_upstream(instances, seed);
            if let Err(why) = World::run(&plan) {
                panic!("{instances} instances, seed {seed}: {why}");
            }
        }
    }
}

#[test]
fn a_backlog_is_worked_off_after_memory_was_made_small() {
    World::run(&memory_made_small_in_an_outage()).unwrap();
}

#[test]
fn a_retry_that_hangs_since_an_outage_is_no_fault_of_its_update() {
    World::run(&retry_that_hangs_since_an_outage()).unwrap();
}
