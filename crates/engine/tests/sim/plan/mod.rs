//! A plan: what a history consists of. Everything random is in it, so that it can be repeated and
//! shrunk.

mod fixed;
mod guarded;

use std::time::Duration;

use proptest::prelude::*;

pub use guarded::{broken_upstream, guarded_plans};

pub use fixed::{memory_made_small_in_an_outage, retry_that_hangs_since_an_outage};

/// Memory so small that one or two users fill it.
const SMALL_MEMORY: usize = 4;

/// Bytes of most updates.
pub const SMALL: usize = 100;
/// A few updates of this many bytes still fit into one call,
const MEDIUM: usize = 40 << 10;
/// and this many leave room in a transaction for just one of them: so transactions are cut between
/// any two endings.
const HUGE: usize = (32 << 20) - (64 << 10);

/// All fields of a user.
pub const ALL_FIELDS: u8 = 0b111;
/// The field that must not be set twice in one call.
pub const ONCE: u8 = 0b100;

/// What one record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An update that the API takes.
    Good,
    /// An update that the API rejects.
    Rejected,
    /// An update that the API always answers like this, though it is well.
    Odd(Mood),
    /// No update of this target.
    Foreign,
    /// Invalid: ends without a call.
    Invalid,
    /// Expires this many milliseconds after it was written.
    Expiring(u64),
}

/// One record of the topic.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Milliseconds after the one before.
    pub after: u64,
    pub user: u64,
    pub kind: Kind,
    /// Offsets left out before it, as compaction and transaction markers do.
    pub gap: i64,
    /// The fields that it sets, a bit each. The lowest is the one that the API rejects, if it
    /// rejects it.
    pub fields: u8,
    /// Those of them that it sets to nothing.
    pub strips: u8,
    /// Bytes that it is said to take.
    pub size: usize,
}

/// How the API misbehaves, for everybody or for one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Refuses,
    Fails,
    Hangs,
    Throttles,
    /// Refuses the token, or the login.
    Unauthorized,
    /// Answers 403.
    Forbids,
    /// Answers something that it is not known to answer.
    Lies,
    /// Answers with no HTTP.
    Garbles,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// An instance dies at once, and comes back after so many milliseconds.
    Crash { instance: usize, back_after: u64 },
    /// An instance leaves in order, and comes back.
    Leave { instance: usize, back_after: u64 },
    /// An instance does nothing for a while, perhaps longer than its session.
    Freeze { instance: usize, millis: u64 },
    /// The API misbehaves.
    Outage { mood: Mood, millis: u64 },
    /// The next transactions of an instance are aborted and settled again.
    Abort { instance: usize, times: u32 },
    /// The configuration changes, on every instance at once.
    Settings {
        max_concurrency: usize,
        max_waiting: usize,
        merge: bool,
    },
    /// Transactions take this long for a while.
    SlowCommits { commit_millis: u64, millis: u64 },
    /// For a while topics refuse what is to be written of a user.
    Refuse { user: u64, millis: u64 },
    /// For a while a transaction of more bytes does not get through in time.
    Link { bytes: usize, millis: u64 },
    /// For a while what takes something away is allowed.
    Allow { millis: u64 },
    /// For a while it is refused.
    Refusal { millis: u64 },
}

/// The guard of the target.
#[derive(Clone, Copy, Debug)]
pub struct GuardPlan {
    pub max_users: u32,
    pub window: Duration,
}

/// A whole history.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub partitions: i32,
    pub instances: usize,
    pub max_waiting: usize,
    pub max_attempts: u32,
    pub max_concurrency: usize,
    pub rate_limit: u32,
    /// The longest an answer takes, in milliseconds.
    pub latency: u64,
    /// How long calls may go on when their partition has to go, in milliseconds.
    pub drain: u64,
    /// Somebody else's updates come all the time. Without them nobody's failures are ever their
    /// own, and so nothing is odd.
    pub background: bool,
    /// More updates wait than the text beside the offset has room for.
    pub crowded: bool,
    /// Updates that wait are sent in one call.
    pub merge: bool,
    pub guard: Option<GuardPlan>,
    pub records: Vec<Planned>,
    /// Each at so many milliseconds after the one before.
    pub faults: Vec<(u64, Fault)>,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        10 => Just(Kind::Good),
        1 => Just(Kind::Rejected),
        1 => odd_moods().prop_map(Kind::Odd),
        3 => Just(Kind::Foreign),
        1 => Just(Kind::Invalid),
        1 => (1u64..5000).prop_map(Kind::Expiring),
    ]
}

fn records(users: u64) -> impl Strategy<Value = Vec<Planned>> {
    let gaps = prop_oneof![9 => Just(0i64), 1 => 1i64..50];
    let sizes = prop_oneof![12 => Just(SMALL), 6 => Just(MEDIUM), 1 => Just(HUGE)];
    let record = (0u64..200, 1..=users, kinds(), gaps, 1..=ALL_FIELDS, sizes);
    let record = record.prop_map(|(after, user, kind, gap, fields, size)| {
        // Somebody is left whose updates are delivered.
        let kind = if matches!(kind, Kind::Odd(_)) && user > 4 {
            Kind::Good
        } else {
            kind
        };
        Planned {
            after,
            user,
            kind,
            gap,
            fields,
            strips: 0,
            size,
        }
    });
    prop::collection::vec(record, 1..60)
}

fn moods() -> impl Strategy<Value = Mood> {
    prop_oneof![1 => Just(Mood::Refuses), 7 => odd_moods()]
}

fn odd_moods() -> impl Strategy<Value = Mood> {
    prop_oneof![
        Just(Mood::Fails),
        Just(Mood::Hangs),
        Just(Mood::Throttles),
        Just(Mood::Unauthorized),
        Just(Mood::Forbids),
        Just(Mood::Lies),
        Just(Mood::Garbles),
    ]
}

fn leaves() -> impl Strategy<Value = Fault> {
    (0usize..3, 0u64..20_000).prop_map(|(instance, back_after)| Fault::Leave {
        instance,
        back_after,
    })
}

fn calm_faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        leaves(),
        (
            1usize..9,
            prop_oneof![Just(SMALL_MEMORY), Just(1000)],
            any::<bool>()
        )
            .prop_map(|(max_concurrency, max_waiting, merge)| Fault::Settings {
                max_concurrency,
                max_waiting,
                merge
            }),
        (
            moods(),
            prop_oneof![30 => 1u64..60_000, 1 => 60_000u64..900_000]
        )
            .prop_map(|(mood, millis)| Fault::Outage { mood, millis }),
        (0usize..3, 1u32..4).prop_map(|(instance, times)| Fault::Abort { instance, times }),
        (
            prop_oneof![3 => 1u64..3000, 1 => 3000u64..20_000],
            1u64..10_000
        )
            .prop_map(|(commit_millis, millis)| Fault::SlowCommits {
                commit_millis,
                millis
            }),
    ]
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (0usize..3, 0u64..40_000).prop_map(|(instance, back_after)| Fault::Crash { instance, back_after }),
        2 => (0usize..3, 1u64..40_000).prop_map(|(instance, millis)| Fault::Freeze { instance, millis }),
        2 => (1u64..10, 1u64..60_000).prop_map(|(user, millis)| Fault::Refuse { user, millis }),
        1 => (prop_oneof![Just(SMALL), Just(1000usize), Just(3 * MEDIUM)], 1u64..60_000)
            .prop_map(|(bytes, millis)| Fault::Link { bytes, millis }),
        5 => calm_faults(),
    ]
}

fn with_faults(
    fault: impl Strategy<Value = Fault> + Clone + 'static,
) -> impl Strategy<Value = Plan> {
    let shape = (
        1i32..5,
        1usize..4,
        1u64..10,
        prop_oneof![Just(SMALL_MEMORY), Just(1000)],
        1u32..5,
    );
    let pace = (
        1usize..9,
        prop_oneof![3 => Just(0u32), 1 => 5u32..100],
        prop_oneof![Just(5u64), Just(300), Just(1900)],
    );
    let rest = (
        prop_oneof![Just(4000u64), 0u64..2000],
        prop::bool::weighted(0.7),
        any::<bool>(),
    );
    (any::<u64>(), shape, pace, rest).prop_flat_map(
        move |(seed, shape, pace, (drain, background, merge))| {
            let (partitions, instances, users, max_waiting, max_attempts) = shape;
            let (max_concurrency, rate_limit, latency) = pace;
            let faults = prop::collection::vec((0u64..10_000, fault.clone()), 0..6);
            (records(users), faults).prop_map(move |(mut records, faults)| {
                for record in records
                    .iter_mut()
                    .filter(|record| matches!(record.kind, Kind::Odd(_)) && !background)
                {
                    record.kind = Kind::Good;
                }
                Plan {
                    seed,
                    partitions,
                    instances,
                    max_waiting,
                    max_attempts,
                    max_concurrency,
                    rate_limit,
                    latency,
                    drain,
                    background,
                    crowded: false,
                    merge,
                    guard: None,
                    records,
                    faults,
                }
            })
        },
    )
}

/// Histories in which anything may go wrong.
pub fn plans() -> impl Strategy<Value = Plan> {
    with_faults(faults().boxed())
}

/// Histories in which two users' updates keep failing and pile up, far apart in the partition,
/// while everybody else's are delivered. The records come from a seed, since so many choices one by
/// one would take longer than the history.
pub fn crowded_plans() -> impl Strategy<Value = Plan> {
    // Partitions are handed over while the text is full.
    let faults = prop::collection::vec((0u64..3000, prop_oneof![leaves(), faults()]), 0..5);
    let shape = (
        1usize..3,
        prop_oneof![Just(700usize), Just(3000)],
        3u32..6,
        2usize..9,
    );
    (any::<u64>(), 750usize..900, shape, faults).prop_map(|(seed, count, shape, faults)| {
        let (instances, max_waiting, max_attempts, max_concurrency) = shape;
        let mut rng = fastrand::Rng::with_seed(seed);
        let records = (0..count).map(|_| {
            let user = if rng.f64() < 0.75 {
                rng.u64(1..=2)
            } else {
                rng.u64(3..=40)
            };
            let kind = if user <= 2 && rng.f64() < 0.05 {
                Kind::Odd(Mood::Fails)
            } else {
                Kind::Good
            };
            // So far apart that a run of holes takes six bytes.
            Planned {
                after: 0,
                user,
                kind,
                gap: rng.i64(1 << 28..1 << 29),
                fields: 1,
                strips: 0,
                size: SMALL,
            }
        });
        Plan {
            seed,
            partitions: 1,
            instances,
            max_waiting,
            max_attempts,
            max_concurrency,
            rate_limit: 0,
            latency: 5,
            drain: 4000,
            background: true,
            crowded: true,
            merge: false,
            guard: None,
            records: records.collect(),
            faults,
        }
    })
}

/// Histories without crashes and frozen instances.
pub fn calm_plans() -> impl Strategy<Value = Plan> {
    with_faults(calm_faults().boxed())
}
