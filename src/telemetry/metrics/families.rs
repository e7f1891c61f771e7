//! The table of all metrics: names, help texts and labels.

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry, Result};

use super::process::Process;
use super::register::Register;
use super::settling::SettlingFamilies;

/// Seconds: HTTP calls take between a millisecond and a minute.
const CALL_BUCKETS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Seconds: a delivery may wait out an outage of hours.
const DELIVERY_BUCKETS: [f64; 20] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    900.0, 1800.0, 3600.0, 7200.0,
];

/// Every metric of the process.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) records: RecordFamilies,
    pub(super) calls: CallFamilies,
    pub(super) kafka: KafkaFamilies,
    pub(super) settling: SettlingFamilies,
    pub(super) process: Process,
}

impl Families {
    /// Registers all of them.
    pub(super) fn register() -> Result<Self> {
        let register = Register::default();
        Ok(Families {
            records: RecordFamilies::register(&register)?,
            calls: CallFamilies::register(&register)?,
            kafka: KafkaFamilies::register(&register)?,
            settling: SettlingFamilies::register(&register)?,
            process: Process::register(&register)?,
            registry: register.registry,
        })
    }
}

/// Records, from reading until they are settled.
pub(super) struct RecordFamilies {
    pub(super) consumed: IntCounterVec,
    pub(super) claimed: IntCounterVec,
    pub(super) waiting: IntGaugeVec,
    pub(super) outcomes: IntCounterVec,
    pub(super) delivery_duration: HistogramVec,
    pub(super) consumer_lag: IntGaugeVec,
    pub(super) oldest_unsettled: GaugeVec,
}

impl RecordFamilies {
    fn register(register: &Register) -> Result<Self> {
        Ok(RecordFamilies {
            consumed: register.counter(
                "records_consumed_total",
                "Records read by this subscriber.",
                &["target"],
            )?,
            claimed: register.counter(
                "records_claimed_total",
                "Records read that are this subscriber's own.",
                &["target"],
            )?,
            waiting: register.gauge(
                "waiting",
                "Records in memory that wait for a call.",
                &["target"],
            )?,
            outcomes: register.counter(
                "outcomes_total",
                "Outcomes committed. The reason is empty but for dead letters.",
                &["target", "outcome", "reason"],
            )?,
            delivery_duration: register.histogram(
                "delivery_duration_seconds",
                "From a record's timestamp, as far as it can be believed, until its outcome was committed.",
                &DELIVERY_BUCKETS,
            )?,
            consumer_lag: register.gauge(
                "consumer_lag",
                "Records between the lowest unsettled one and the partition's end.",
                &["target", "topic", "partition"],
            )?,
            oldest_unsettled: register.seconds(
                "oldest_unsettled_seconds",
                "Age of the oldest record in memory that is not settled; 0 where there is none.",
            )?,
        })
    }
}

/// Calls of the API, and what the target does.
pub(super) struct CallFamilies {
    pub(super) target_state: IntGaugeVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) concurrency_limit: IntGaugeVec,
    pub(super) attempts: IntCounterVec,
    pub(super) attempt_duration: HistogramVec,
    pub(super) logins: IntCounterVec,
    pub(super) ambiguous: IntCounterVec,
    pub(super) other_user: IntCounterVec,
    pub(super) differing: IntCounterVec,
    pub(super) order_violations: IntCounterVec,
}

impl CallFamilies {
    fn register(register: &Register) -> Result<Self> {
        Ok(CallFamilies {
            target_state: register.gauge(
                "target_state",
                "1 for what the target does now and why, 0 for all else.",
                &["target", "state", "cause"],
            )?,
            in_flight: register.gauge("in_flight", "Calls of the API under way.", &["target"])?,
            concurrency_limit: register.gauge(
                "concurrency_limit",
                "Calls that may be under way at once, as adapted to the API.",
                &["target"],
            )?,
            attempts: register.counter(
                "attempts_total",
                "Calls of the API, logins apart, by verdict and HTTP status or kind of failure.",
                &["target", "verdict", "status"],
            )?,
            attempt_duration: register.histogram(
                "attempt_duration_seconds",
                "How long a call of the API took, logins apart.",
                &CALL_BUCKETS,
            )?,
            logins: register.counter(
                "logins_total",
                "Logins, by how they ended: ok, refused, failed.",
                &["target", "result"],
            )?,
            ambiguous: register.counter(
                "ambiguous_attempts_total",
                "Calls that may have taken effect although no answer says so; they are made again.",
                &["target"],
            )?,
            other_user: register.counter(
                "other_user_answers_total",
                "Answers that confirmed an update but named another user than the one updated.",
                &["target"],
            )?,
            differing: register.counter(
                "differing_answers_total",
                "Answers that confirmed an update and showed other values than were sent.",
                &["target"],
            )?,
            order_violations: register.counter(
                "order_violations_total",
                "Calls that would have broken the order of a user's updates. Anything but 0 is a fault of this service.",
                &["target"],
            )?,
        })
    }
}

/// The consumer group, transactions, and the brokers.
pub(super) struct KafkaFamilies {
    pub(super) kafka_up: IntGaugeVec,
    pub(super) rebalances: IntCounterVec,
    pub(super) commits: IntCounterVec,
    pub(super) restarts: IntCounterVec,
    pub(super) offsets_reset: IntCounterVec,
    pub(super) kafka_round_trip: GaugeVec,
    pub(super) kafka_fetched: IntGaugeVec,
}

impl KafkaFamilies {
    fn register(register: &Register) -> Result<Self> {
        Ok(KafkaFamilies {
            kafka_up: register.gauge(
                "kafka_up",
                "1 while this subscriber is in its consumer group and the brokers answer, else 0.",
                &["target"],
            )?,
            rebalances: register.counter(
                "rebalances_total",
                "Rebalances of the consumer group as seen here: assigned, revoked, lost.",
                &["target", "kind"],
            )?,
            commits: register.counter(
                "commits_total",
                "Transactions of outcomes, dead letters and offsets, by result: ok, aborted, failed.",
                &["target", "result"],
            )?,
            restarts: register.counter(
                "subscriber_restarts_total",
                "Times that the subscriber broke and began anew.",
                &["target"],
            )?,
            offsets_reset: register.counter(
                "offsets_reset_total",
                "Partitions whose log began anew or was cut under the service.",
                &["target"],
            )?,
            kafka_round_trip: register.seconds(
                "kafka_round_trip_seconds",
                "How long the consumer group's coordinator took to answer lately, on average; while it does not answer: for how long it has not.",
            )?,
            kafka_fetched: register.gauge(
                "kafka_fetched_records",
                "Records fetched by the Kafka client that wait to be read.",
                &["target"],
            )?,
        })
    }
}
