//! The numbers that were accepted, and how far a count may be from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, ExitCode};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/micro/numbers.toml");
const HEAD: &str = "# What each load of benches/micro/loads costs: instructions, allocations and bytes allocated, for each round.\n\
    # Written by `scripts/instructions accept`.\n";

/// Instructions and bytes may grow by this part…
const TOLERANCE: f64 = 0.05;
/// …and allocations by less than one for each round.
const ALLOCATIONS: f64 = 0.5;

/// What one round costs.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub instructions: f64,
    pub allocations: f64,
    pub bytes: f64,
}

/// The file: a table for each kind of machine and build, with a line for each load.
pub struct Numbers(BTreeMap<String, Vec<(String, Counts)>>);

impl Numbers {
    /// The file as it is; empty where there is none.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(FILE).unwrap_or_default();
        let tables: toml::Table = text.parse().unwrap_or_else(|why| panic!("{FILE}: {why}"));
        let tables = tables.into_iter().map(|(machine, loads)| {
            let loads = loads.try_into::<toml::Table>().unwrap();
            (
                machine,
                loads
                    .into_iter()
                    .map(|(load, counts)| (load, read(&counts)))
                    .collect(),
            )
        });
        Numbers(tables.collect())
    }

    /// Writes what was counted in place of what was accepted for this kind of machine and build.
    pub fn accept(mut self, counted: &[(&str, Counts)]) {
        let lines = counted
            .iter()
            .map(|(load, counts)| ((*load).to_owned(), *counts))
            .collect();
        self.0.insert(machine(), lines);
        let mut text = HEAD.to_owned();
        for (machine, loads) in &self.0 {
            writeln!(text, "\n[{machine:?}]").unwrap();
            for (
                load,
                Counts {
                    instructions,
                    allocations,
                    bytes,
                },
            ) in loads
            {
                writeln!(text, "{load:?} = {{ instructions = {instructions:.0}, allocations = {allocations:.2}, bytes = {bytes:.0} }}")
                    .unwrap();
            }
        }
        std::fs::write(FILE, text).unwrap();
        println!("{FILE} is written");
    }
}

fn read(counts: &toml::Value) -> Counts {
    let number = |name| match counts.get(name) {
        Some(toml::Value::Integer(number)) => *number as f64,
        Some(toml::Value::Float(number)) => *number,
        _ => panic!("{FILE}: `{name}` must be a number"),
    };
    Counts {
        instructions: number("instructions"),
        allocations: number("allocations"),
        bytes: number("bytes"),
    }
}

/// What numbers can be compared at all: those of the same architecture, compiler and profile.
fn machine() -> String {
    let rustc = Command::new("rustc")
        .arg("--version")
        .output()
        .expect("rustc is there where cargo is");
    let version = String::from_utf8_lossy(&rustc.stdout)
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let profile = if cfg!(debug_assertions) {
        "test"
    } else {
        "release"
    };
    format!("{} rustc {version} {profile}", std::env::consts::ARCH)
}

/// Prints every count beside the accepted one, and fails where one has grown.
pub fn compare(accepted: &Numbers, counted: &[(&str, Counts)]) -> ExitCode {
    let machine = machine();
    let none = Vec::new();
    let accepted = accepted.0.get(&machine).unwrap_or(&none);
    println!(
        "{:<46} {:>12} {:>8} {:>8} {:>8} {:>9}",
        machine, "instructions", "change", "allocs", "change", "bytes"
    );
    let mut wrong = Vec::new();
    for (load, now) in counted {
        let Some((_, before)) = accepted.iter().find(|(name, _)| name == load) else {
            println!(
                "{load:<46} {:>12.0} {:>8} {:>8.2} {:>8} {:>9.0}",
                now.instructions, "", now.allocations, "", now.bytes
            );
            wrong.push(format!("{load}: no number was accepted for it"));
            continue;
        };
        let part = |now: f64, before: f64| (now - before) / before.max(1.0);
        let (instructions, bytes) = (
            part(now.instructions, before.instructions),
            part(now.bytes, before.bytes),
        );
        let allocations = now.allocations - before.allocations;
        println!(
            "{load:<46} {:>12.0} {:>+7.1}% {:>8.2} {:>+8.2} {:>9.0}",
            now.instructions,
            instructions * 100.0,
            now.allocations,
            allocations,
            now.bytes
        );
        let mut grown = |what: &str, now: f64, before: f64, too_much: bool| {
            if too_much {
                wrong.push(format!(
                    "{load}: {what} went from {before:.2} to {now:.2} for each round ({:+.1} %)",
                    part(now, before) * 100.0
                ));
            }
        };
        grown(
            "instructions",
            now.instructions,
            before.instructions,
            instructions > TOLERANCE,
        );
        grown(
            "allocations",
            now.allocations,
            before.allocations,
            allocations > ALLOCATIONS,
        );
        grown(
            "bytes allocated",
            now.bytes,
            before.bytes,
            bytes > TOLERANCE && now.bytes - before.bytes > 8.0,
        );
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{}", wrong.join("\n"));
    eprintln!(
        "\nWhere that is meant, `scripts/instructions accept` writes the new numbers into benches/micro/numbers.toml: commit them, and say why."
    );
    ExitCode::FAILURE
}
