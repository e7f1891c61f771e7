//! How long each load takes: `cargo bench --bench micro`, about a minute and a half in all; with a
//! name, those whose names contain it.

#[expect(
    dead_code,
    reason = "how many rounds are counted, and what the other program looks at by itself"
)]
mod loads;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Short: there are many, and the counts of instructions tell small differences better.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(50)
        .configure_from_args();
    for load in loads::all() {
        let mut round = None;
        criterion.bench_function(load.name, |bencher| {
            // Here, so that a load that was not asked for is not built.
            let round = round.get_or_insert_with(load.make);
            bencher.iter(round);
        });
    }
    criterion.final_summary();
}
