//! Instructions, counted by valgrind's callgrind: this program runs itself under it, once for each
//! load.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::Mutex;

use crate::loads::{self, Load, Round};

/// Callgrind counts only inside this function, so that what builds and warms a load does not count.
#[inline(never)]
pub fn counted_rounds(round: &mut Round, rounds: u32) {
    for _ in 0..rounds {
        round();
    }
}

/// The instructions of one round of every load, in the table's order.
pub fn instructions() -> Vec<f64> {
    let left: Mutex<VecDeque<(usize, &Load)>> = Mutex::new(loads::all().enumerate().collect());
    let counted: Mutex<Vec<(usize, f64)>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop_front();
                    let Some((index, load)) = next else { return };
                    let count = total(load) as f64 / f64::from(load.rounds);
                    counted.lock().unwrap().push((index, count));
                }
            });
        }
    });
    let mut counted = counted.into_inner().unwrap();
    counted.sort_by_key(|(index, _)| *index);
    counted.into_iter().map(|(_, count)| count).collect()
}

fn total(load: &Load) -> u64 {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*counted_rounds*",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["rounds", load.name])
        .output()
        .expect("valgrind is missing: on Debian, apt-get install valgrind");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "valgrind failed on `{}`:\n{said}",
        load.name
    );
    let count = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    count
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind told no count:\n{said}"))
}
