//! The ledger of a partition and its text beside the offset.

use std::collections::BTreeMap;
use std::hint::black_box;

use engine::checkpoint::Checkpoint;
use engine::ledger::Ledger;
use engine::{Commit, Spent, Ticket, TopicId};

use super::{FEW, Load, ROUNDS, Round};

/// Offsets that one commit settles.
const TOGETHER: i64 = 50;

pub const LOADS: &[Load] = &[
    Load {
        name: "ledger, 50 offsets in order",
        make: || rounds(0),
        rounds: ROUNDS,
    },
    Load {
        name: "ledger, 50 offsets below 10,000 that wait",
        make: || rounds(10_000),
        rounds: ROUNDS,
    },
    Load {
        name: "ledger, a commit above 10,000 holes",
        make: above_holes,
        rounds: FEW,
    },
    Load {
        name: "checkpoint, 10,000 holes written",
        make: written,
        rounds: FEW,
    },
    Load {
        name: "checkpoint, 10,000 holes read",
        make: read,
        rounds: FEW,
    },
];

fn empty() -> Ledger {
    Ledger::new(
        Commit {
            offset: 0,
            metadata: String::new(),
        },
        Checkpoint::at(0),
    )
}

fn arrive(ledger: &mut Ledger, offset: i64) {
    ledger.arrive(offset);
    ledger.open(offset, Ticket(offset.unsigned_abs()));
}

/// All below `to` is settled that was not.
fn settle(ledger: &mut Ledger, to: i64) {
    let from = ledger.lowest_unsettled();
    let settling: Vec<i64> = (from..to).collect();
    let commit = ledger.commit(&settling, |_| Spent::default(), 0).unwrap();
    assert!(ledger.is_news(&commit));
    ledger.committed(commit, settling);
}

/// Fifty come and fifty are settled, while `open` more wait above them.
fn rounds(open: i64) -> Round {
    let mut ledger = empty();
    (0..open).for_each(|offset| arrive(&mut ledger, offset));
    let mut next = open;
    Box::new(move || {
        (next..next + TOGETHER).for_each(|offset| arrive(&mut ledger, offset));
        next += TOGETHER;
        settle(&mut ledger, next - open);
    })
}

/// One more is settled above ten thousand that are not, with as many between them that are.
fn above_holes() -> Round {
    let mut ledger = empty();
    (0..20_001).for_each(|offset| arrive(&mut ledger, offset));
    let settling: Vec<i64> = (1..20_000).step_by(2).collect();
    let commit = ledger.commit(&settling, |_| Spent::default(), 0).unwrap();
    ledger.committed(commit, settling);
    Box::new(move || {
        black_box(ledger.commit(&[20_000], |_| Spent::default(), 0)).unwrap();
    })
}

fn holes() -> Checkpoint {
    let open: BTreeMap<i64, Spent> = (0..20_000)
        .step_by(2)
        .map(|hole| (hole, Spent::default()))
        .collect();
    Checkpoint {
        topic: TopicId([7; 16]),
        horizon: 20_000,
        open,
        ..Checkpoint::at(0)
    }
}

fn written() -> Round {
    let checkpoint = holes();
    Box::new(move || drop(black_box(checkpoint.write(0).unwrap())))
}

fn read() -> Round {
    let commit = holes().write(0).unwrap();
    Box::new(move || drop(black_box(Checkpoint::read(black_box(&commit)).unwrap())))
}
