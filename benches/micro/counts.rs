//! What each load costs in instructions and allocations, which noise does not move, compared with
//! the numbers in `numbers.toml`.
//!
//! `scripts/instructions` starts it. What the numbers mean stands in `docs/scale.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on ends by panicking"
)]

mod loads;
mod numbers;
mod scale;
mod valgrind;

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use loads::Load;
use numbers::{Counts, Numbers};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HELP: &str = "(nothing)      counts, and compares with benches/micro/numbers.toml
accept         counts, and writes that file
scale          prints what partitions, lanes and updates take of memory, and an event of time
rounds NAME    makes some rounds of a load: what valgrind is asked to run";

fn main() -> ExitCode {
    // cargo adds --bench to a bench, and nothing to a test.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => return numbers::compare(&Numbers::read(), &all()),
        ["accept"] => Numbers::read().accept(&all()),
        ["scale"] => scale::print(),
        ["rounds", name] => {
            let load = loads::all()
                .find(|load| load.name == *name)
                .expect("no load has that name");
            valgrind::counted_rounds(&mut (load.make)(), load.rounds);
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The counts of every load, in the table's order.
fn all() -> Vec<(&'static str, Counts)> {
    let instructions = valgrind::instructions();
    loads::all()
        .zip(instructions)
        .map(|(load, instructions)| (load.name, counts(load, instructions)))
        .collect()
}

fn counts(load: &Load, instructions: f64) -> Counts {
    let mut round = (load.make)();
    let region = Region::new(ALLOCATOR);
    (0..load.rounds).for_each(|_| round());
    let change = region.change();
    let per_round = |count: usize| count as f64 / f64::from(load.rounds);
    Counts {
        instructions,
        allocations: per_round(change.allocations + change.reallocations),
        bytes: per_round(change.bytes_allocated),
    }
}
