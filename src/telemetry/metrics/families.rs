//! The table of all metrics: names, help texts and labels.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::process::Process;
use super::settling::Settling;

/// Seconds: HTTP calls take between a millisecond and a minute.
const CALL_BUCKETS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Seconds: a delivery may wait out an outage of hours.
const DELIVERY_BUCKETS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
];
/// Every metric of the process.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) consumed: IntCounterVec,
    pub(super) claimed: IntCounterVec,
    pub(super) outcomes: IntCounterVec,
    pub(super) logins: IntCounterVec,
    pub(super) attempts: IntCounterVec,
    pub(super) attempt_duration: HistogramVec,
    pub(super) delivery_duration: HistogramVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) waiting: IntGaugeVec,
    pub(super) concurrency_limit: IntGaugeVec,
    pub(super) target_state: IntGaugeVec,
    pub(super) consumer_lag: IntGaugeVec,
    pub(super) oldest_unsettled: GaugeVec,
    pub(super) commits: IntCounterVec,
    pub(super) rebalances: IntCounterVec,
    pub(super) kafka_up: IntGaugeVec,
    pub(super) restarts: IntCounterVec,
    pub(super) offsets_reset: IntCounterVec,
    pub(super) order_violations: IntCounterVec,
    pub(super) settling: Settling,
    pub(super) ambiguous: IntCounterVec,
    pub(super) other_user: IntCounterVec,
    pub(super) differing: IntCounterVec,
    pub(super) kafka_round_trip: GaugeVec,
    pub(super) kafka_fetched: IntGaugeVec,
    pub(super) process: Process,
}

impl Families {
    /// Registers all of them.
    #[expect(clippy::too_many_lines, reason = "a table: an entry for each metric")]
    pub(super) fn register() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric =
                IntCounterVec::new(Opts::new(format!("user_courier_{name}"), help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(format!("user_courier_{name}"), help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options =
                HistogramOpts::new(format!("user_courier_{name}"), help).buckets(buckets.to_vec());
            let metric = HistogramVec::new(options, &["target"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let seconds = |name: &str, help: &str| {
            let metric =
                GaugeVec::new(Opts::new(format!("user_courier_{name}"), help), &["target"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        Ok(Families {
            process: Process::register(&registry)?,
            settling: Settling::register(&registry)?,
            consumed: counter(
                "records_consumed_total",
                "Records read by this subscriber.",
                &["target"],
            )?,
            claimed: counter(
                "records_claimed_total",
                "Records read that are this subscriber's own.",
                &["target"],
            )?,
            outcomes: counter(
                "outcomes_total",
                "Outcomes committed. The reason is empty but for dead letters.",
                &["target", "outcome", "reason"],
            )?,
            logins: counter(
                "logins_total",
                "Logins, by how they ended: ok, refused, failed.",
                &["target", "result"],
            )?,
            attempts: counter(
                "attempts_total",
                "Calls of the API, logins apart, by verdict and HTTP status or kind of failure.",
                &["target", "verdict", "status"],
            )?,
            attempt_duration: histogram(
                "attempt_duration_seconds",
                "How long a call of the API took, logins apart.",
                &CALL_BUCKETS,
            )?,
            delivery_duration: histogram(
                "delivery_duration_seconds",
                "From a record's timestamp, as far as it can be believed, until its outcome was committed.",
                &DELIVERY_BUCKETS,
            )?,
            in_flight: gauge("in_flight", "Calls of the API under way.", &["target"])?,
            waiting: gauge(
                "waiting",
                "Records in memory that wait for a call.",
                &["target"],
            )?,
            concurrency_limit: gauge(
                "concurrency_limit",
                "Calls that may be under way at once, as adapted to the API.",
                &["target"],
            )?,
            target_state: gauge(
                "target_state",
                "1 for what the target does now and why, 0 for all else.",
                &["target", "state", "cause"],
            )?,
            consumer_lag: gauge(
                "consumer_lag",
                "Records between the lowest unsettled one and the partition's end.",
                &["target", "topic", "partition"],
            )?,
            oldest_unsettled: seconds(
                "oldest_unsettled_seconds",
                "Age of the oldest record in memory that is not settled; 0 where there is none.",
            )?,
            commits: counter(
                "commits_total",
                "Transactions of outcomes, dead letters and offsets, by result: ok, aborted, failed.",
                &["target", "result"],
            )?,
            rebalances: counter(
                "rebalances_total",
                "Rebalances of the consumer group as seen here: assigned, revoked, lost.",
                &["target", "kind"],
            )?,
            kafka_up: gauge(
                "kafka_up",
                "1 while this subscriber is in its consumer group and the brokers answer, else 0.",
                &["target"],
            )?,
            restarts: counter(
                "subscriber_restarts_total",
                "Times that the subscriber broke and began anew.",
                &["target"],
            )?,
            offsets_reset: counter(
                "offsets_reset_total",
                "Partitions whose log began anew or was cut under the service.",
                &["target"],
            )?,
            order_violations: counter(
                "order_violations_total",
                "Calls that would have broken the order of a user's updates. Anything but 0 is a fault of this service.",
                &["target"],
            )?,
            ambiguous: counter(
                "ambiguous_attempts_total",
                "Calls that may have taken effect although no answer says so; they are made again.",
                &["target"],
            )?,
            other_user: counter(
                "other_user_answers_total",
                "Answers that confirmed an update but named another user than the one updated.",
                &["target"],
            )?,
            differing: counter(
                "differing_answers_total",
                "Answers that confirmed an update and showed other values than were sent.",
                &["target"],
            )?,
            kafka_round_trip: seconds(
                "kafka_round_trip_seconds",
                "How long the consumer group's coordinator took to answer lately, on average; while it does not answer: for how long it has not.",
            )?,
            kafka_fetched: gauge(
                "kafka_fetched_records",
                "Records fetched by the Kafka client that wait to be read.",
                &["target"],
            )?,
            registry,
        })
    }
}
