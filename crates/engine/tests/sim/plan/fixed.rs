//! Histories that were found once, or written for one fault.

use super::{Fault, Kind, Mood, Plan, Planned, SMALL, SMALL_MEMORY};

/// A history that once ended without progress: memory is made small in an outage, and a backlog of
/// somebody else's updates is worked off one call at a time.
pub fn memory_made_small_in_an_outage() -> Plan {
    let records = [
        (97, 1),
        (185, 1),
        (24, 1),
        (2, 1),
        (104, 1),
        (58, 1),
        (14, 2),
        (0, 2),
        (0, 6),
    ];
    let planned = |(after, user)| Planned {
        after,
        user,
        kind: Kind::Good,
        gap: 0,
        fields: 1,
        strips: 0,
        size: SMALL,
    };
    Plan {
        seed: 7_502_652_732_934_764_960,
        partitions: 4,
        instances: 1,
        max_waiting: 1000,
        max_attempts: 3,
        max_concurrency: 1,
        rate_limit: 0,
        latency: 1900,
        drain: 765,
        background: true,
        crowded: false,
        merge: true,
        guard: None,
        records: records.into_iter().map(planned).collect(),
        faults: vec![
            (
                263,
                Fault::Settings {
                    max_concurrency: 1,
                    max_waiting: SMALL_MEMORY,
                    merge: false,
                },
            ),
            (
                0,
                Fault::Outage {
                    mood: Mood::Throttles,
                    millis: 346_323,
                },
            ),
        ],
    }
}

/// An update is called twice in one outage, and the second call fails after it: another user's is
/// delivered in between.
pub fn retry_that_hangs_since_an_outage() -> Plan {
    let planned = |after, user| Planned {
        after,
        user,
        kind: Kind::Good,
        gap: 0,
        fields: 1,
        strips: 0,
        size: SMALL,
    };
    Plan {
        partitions: 1,
        max_attempts: 2,
        max_concurrency: 8,
        latency: 5,
        background: false,
        records: vec![planned(10, 1), planned(3200, 2)],
        faults: vec![(
            0,
            Fault::Outage {
                mood: Mood::Hangs,
                millis: 3000,
            },
        )],
        ..memory_made_small_in_an_outage()
    }
}
