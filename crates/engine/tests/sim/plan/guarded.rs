//! Histories of a guarded target: an upstream takes something away from many users, by mistake.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    ALL_FIELDS, Fault, GuardPlan, Kind, Plan, Planned, SMALL, faults,
    memory_made_small_in_an_outage,
};

fn record() -> impl Strategy<Value = Planned> {
    let after = prop_oneof![6 => 0u64..50, 3 => 0u64..3000, 1 => 0u64..40_000];
    let kinds = prop_oneof![
        20 => Just(Kind::Good),
        1 => Just(Kind::Rejected),
        1 => Just(Kind::Invalid),
        1 => (1u64..5000).prop_map(Kind::Expiring),
    ];
    let strips = prop_oneof![4 => Just(ALL_FIELDS), 3 => Just(0), 1 => 0..=ALL_FIELDS];
    let record = (after, 1u64..40, kinds, 1..=ALL_FIELDS, strips);
    record.prop_map(|(after, user, kind, fields, strips)| Planned {
        after,
        user,
        kind,
        gap: 0,
        fields,
        strips: strips & fields,
        size: SMALL,
    })
}

fn decisions() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (1u64..30_000).prop_map(|millis| Fault::Allow { millis }),
        (1u64..30_000).prop_map(|millis| Fault::Refusal { millis }),
    ]
}

/// Histories in which anything may go wrong, on one to four instances.
pub fn guarded_plans() -> impl Strategy<Value = Plan> {
    let fault = prop_oneof![6 => faults().boxed(), 1 => decisions().boxed()];
    let faults = prop::collection::vec((0u64..20_000, fault), 0..8);
    let records = prop::collection::vec(record(), 1..120);
    let shape = (1i32..7, 1usize..5, 0u32..12, 60u64..180);
    let pace = (
        1usize..12,
        prop_oneof![Just(5u64), Just(300), Just(1900)],
        any::<bool>(),
        any::<bool>(),
    );
    (any::<u64>(), shape, pace, records, faults).prop_map(
        |(seed, (partitions, instances, max_users, window), pace, records, faults)| {
            let (max_concurrency, latency, merge, background) = pace;
            Plan {
                seed,
                partitions,
                instances,
                max_waiting: 1000,
                max_attempts: 4,
                max_concurrency,
                rate_limit: 0,
                latency,
                drain: 4000,
                background,
                crowded: false,
                merge,
                guard: Some(GuardPlan {
                    max_users,
                    window: Duration::from_secs(window),
                }),
                records,
                faults,
            }
        },
    )
}

/// A thousand users are stripped by a bulk job, while instances die, freeze and come back.
pub fn broken_upstream(instances: usize, seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed);
    let records = (0..1498u64).map(|number| {
        let strips = u8::from(number % 3 != 2);
        Planned {
            after: rng.u64(0..80),
            user: 1 + number * 2 / 3,
            kind: Kind::Good,
            gap: 0,
            fields: 1,
            strips,
            size: SMALL,
        }
    });
    let records: Vec<_> = records.collect();
    let faults = (0..12).map(|_| {
        let instance = rng.usize(0..instances);
        let fault = match rng.u8(0..4) {
            0 => Fault::Freeze {
                instance,
                millis: rng.u64(1..20_000),
            },
            1 => Fault::Leave {
                instance,
                back_after: rng.u64(0..5000),
            },
            _ => Fault::Crash {
                instance,
                back_after: rng.u64(0..10_000),
            },
        };
        (rng.u64(0..20_000), fault)
    });
    Plan {
        seed,
        partitions: 6,
        instances,
        max_waiting: 4000,
        max_concurrency: 64,
        latency: 300,
        merge: true,
        guard: Some(GuardPlan {
            max_users: 50,
            window: Duration::from_secs(60),
        }),
        faults: faults.collect(),
        records,
        ..memory_made_small_in_an_outage()
    }
}
