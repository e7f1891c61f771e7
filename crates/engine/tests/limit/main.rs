//! How many calls one API is asked at once, and how many a second: the real engine in worlds that
//! others were found wanting in, in virtual time, beside two limits of the field.
//!
//! `cargo test -p engine --test limit -- --nocapture` prints the table. `LIMIT_SEEDS` sets how many
//! seeds each world is run with; shown is the worst of them.
#![expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "small counts and figures for people"
)]

mod api;
mod figure;
mod ours;
mod peers;
mod rows;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use figure::Figure;
use rows::{ROWS, Who};

const ALL: [Who; 3] = [Who::Ours, Who::Vector, Who::Gradient];

#[test]
fn every_world_gets_what_it_bears_and_no_more() {
    let seeds = std::env::var("LIMIT_SEEDS").ok();
    let seeds: usize = seeds.and_then(|text| text.parse().ok()).unwrap_or(2);
    let only = std::env::var("LIMIT_ROW").ok();
    let jobs: Vec<(usize, Who, u64)> = (0..ROWS.len())
        .filter(|row| {
            only.as_ref()
                .is_none_or(|only| ROWS[*row].name.contains(only.as_str()))
        })
        .flat_map(|row| ALL.map(|who| (row, who)))
        .flat_map(|(row, who)| (0..seeds as u64).map(move |seed| (row, who, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let mut done = Vec::new();
        while let Some((row, who, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*row, *who, (ROWS[*row].run)(*who, *seed)));
        }
        done
    };
    let done: Vec<(usize, Who, Vec<Figure>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    let worst = |row: usize, who: Who| -> Vec<Figure> {
        let mut of = done
            .iter()
            .filter(|one| one.0 == row && one.1 == who)
            .map(|one| one.2.clone());
        let first = of.next().unwrap();
        of.fold(first, |worst, figures| {
            worst
                .into_iter()
                .zip(figures)
                .map(|(one, other)| one.worse(other))
                .collect()
        })
    };
    let mut failed = Vec::new();
    println!(
        "| world | wanted | ours | Vector's AIMD | Gradient2 |\n| --- | --- | --- | --- | --- |"
    );
    for (row, world) in ROWS.iter().enumerate() {
        if !jobs.iter().any(|job| job.0 == row) {
            continue;
        }
        let figures = ALL.map(|who| worst(row, who));
        let show = |figures: &[Figure]| {
            let all: Vec<String> = figures.iter().map(Figure::show).collect();
            all.join(", ")
        };
        let wanted: Vec<String> = figures[0].iter().map(Figure::wanted).collect();
        let [ours, vector, gradient] = &figures;
        println!(
            "| {} | {} | {} | {} | {} |",
            world.name,
            wanted.join(", "),
            show(ours),
            show(vector),
            show(gradient)
        );
        if !ours.iter().all(Figure::is_met) {
            failed.push(format!("{}: {}", world.name, show(ours)));
        }
    }
    assert!(failed.is_empty(), "not met: {failed:#?}");
}
