//! The engine against a simulated broker, APIs and clock: random histories with crashes, rebalances, zombies, outages, slow and
//! aborted transactions. Time is virtual, so a history of minutes takes a millisecond, and a failing one shrinks.
//!
//! `SIM_HISTORIES` sets how many histories each property sees.

mod plan;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use plan::{Plan, calm_plans, plans};
use world::World;

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn check(default: u32, strategy: impl Strategy<Value = Plan>, property: impl Fn(&Plan) -> Result<(), String>) {
    let config = Config {
        cases: number("SIM_HISTORIES", default),
        max_shrink_iters: number("SIM_SHRINKS", 400),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&strategy, |plan| property(&plan).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Every promise of order, loss and duplicates, under everything that can go wrong at once.
#[test]
fn every_history_keeps_the_promises() {
    check(30_000, plans(), |plan| World::run(plan));
}

/// Without crashes and lost partitions nothing is ever called again that was answered well.
#[test]
fn without_crashes_nothing_is_called_twice() {
    check(10_000, calm_plans(), |plan| World::run(plan));
}
