//! Metrics: what Prometheus reads at `/metrics`. Each is defined once, here, and its help text is
//! its documentation.

mod families;
mod process;
mod register;
mod settling;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::{Encoder, Histogram, IntCounter, IntGauge, TextEncoder};

#[cfg(feature = "demo")]
use prometheus::proto::Metric;

use self::families::Families;
use crate::model::altered::AlteredParts;
use crate::model::outcome::Kind;
use engine::verdict::{Reason, Verdict};
use engine::{Cause, State};

/// A target's state and its reason, as metrics and `/status` name them.
pub type StateNames = (&'static str, &'static str);

/// Calls are made as they come.
pub const FLOWING: StateNames = ("flowing", "none");
/// An operator has paused it.
pub const PAUSED: StateNames = ("holding", "paused");
/// More users would lose something than its guard lets through.
pub const GUARDED: StateNames = ("holding", "guard");

/// Every cause for which a target does not flow.
pub fn causes() -> impl Iterator<Item = &'static str> {
    let of_its_api = [
        Cause::Unreachable,
        Cause::Unauthorized,
        Cause::Fault,
        Cause::Throttled,
    ];
    of_its_api
        .into_iter()
        .map(Cause::as_str)
        .chain([PAUSED.1, GUARDED.1])
}

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// If a name is registered twice.
    pub fn new() -> prometheus::Result<Self> {
        Ok(Metrics(Arc::new(Families::register()?)))
    }

    /// `log_lines_left_out_total`.
    pub fn log_lines_left_out(&self) -> IntCounter {
        self.0.process.log_lines_left_out.clone()
    }

    /// `dead_letters_near_retention`.
    pub fn near_retention(&self) -> &IntGauge {
        &self.0.settling.near_retention
    }

    /// `spans_left_out_total`.
    pub fn spans_left_out(&self) -> IntCounter {
        self.0.process.spans_left_out.clone()
    }

    /// The configuration was read again: `taken`, `refused` or `unchanged`.
    pub fn reloaded(&self, result: &str) {
        self.0.process.reloads.with_label_values(&[result]).inc();
    }

    /// The metrics of one target, all of them present from the start.
    pub fn target(&self, target: &str) -> TargetMetrics {
        let families = &self.0;
        let label = &[target];
        // A counter that appears with its first event hides that event from `rate` and `increase`.
        for result in ["ok", "aborted", "failed"] {
            families.kafka.commits.with_label_values(&[target, result]);
        }
        for result in ["ok", "refused", "failed"] {
            families.calls.logins.with_label_values(&[target, result]);
        }
        for kind in ["assigned", "revoked", "lost"] {
            families.kafka.rebalances.with_label_values(&[target, kind]);
        }
        for kind in [Kind::Delivered, Kind::Merged] {
            families
                .records
                .outcomes
                .with_label_values(&[target, kind.as_str(), ""]);
        }
        for reason in Reason::ALL {
            families.records.outcomes.with_label_values(&[
                target,
                Kind::DeadLettered.as_str(),
                reason.as_str(),
            ]);
        }
        families.kafka.restarts.with_label_values(label);
        families.kafka.offsets_reset.with_label_values(label);
        families.settling.begin(target);
        families.calls.ambiguous.with_label_values(label);
        families.calls.other_user.with_label_values(label);
        families.calls.differing.with_label_values(label);
        let metrics = TargetMetrics {
            families: families.clone(),
            target: target.into(),
            consumed: families.records.consumed.with_label_values(label),
            claimed: families.records.claimed.with_label_values(label),
            in_flight: families.calls.in_flight.with_label_values(label),
            waiting: families.records.waiting.with_label_values(label),
            concurrency_limit: families.calls.concurrency_limit.with_label_values(label),
            order_violations: families.calls.order_violations.with_label_values(label),
            refused: families.settling.refused.with_label_values(label),
            delivered: families.records.outcomes.with_label_values(&[
                target,
                Kind::Delivered.as_str(),
                "",
            ]),
            attempt_duration: families.calls.attempt_duration.with_label_values(label),
            delivery_duration: families.records.delivery_duration.with_label_values(label),
            lags: Arc::default(),
        };
        families
            .records
            .oldest_unsettled
            .with_label_values(label)
            .set(0.0);
        families.kafka.kafka_up.with_label_values(label).set(0);
        families.kafka.kafka_round_trip.with_label_values(label);
        families.kafka.kafka_fetched.with_label_values(label);
        metrics.state(FLOWING);
        metrics
    }

    /// The sum of a counter or gauge over the series that have these labels; 0 if there is none.
    #[cfg(feature = "demo")]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        let families = self.0.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name().strip_prefix("user_courier_") == Some(name));
        let series = family.iter().flat_map(|family| family.get_metric());
        let has = |metric: &Metric, (name, value)| {
            metric
                .get_label()
                .iter()
                .any(|label| label.name() == name && label.value() == value)
        };
        let wanted = series.filter(|metric| labels.iter().all(|label| has(metric, *label)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts, which fit"
        )]
        wanted
            .map(|metric| {
                (metric.get_counter().get_value() + metric.get_gauge().get_value()) as usize
            })
            .sum()
    }

    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// If a metric cannot be written as text.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The metrics of one target.
#[derive(Clone)]
pub struct TargetMetrics {
    families: Arc<Families>,
    target: Arc<str>,
    /// `records_consumed_total`.
    pub consumed: IntCounter,
    /// `records_claimed_total`.
    pub claimed: IntCounter,
    /// `in_flight`.
    pub in_flight: IntGauge,
    /// `waiting`.
    pub waiting: IntGauge,
    /// `concurrency_limit`.
    pub concurrency_limit: IntGauge,
    /// `order_violations_total`.
    pub order_violations: IntCounter,
    /// `refused_endings`.
    pub refused: IntGauge,
    delivered: IntCounter,
    attempt_duration: Histogram,
    delivery_duration: Histogram,
    lags: Arc<Mutex<HashMap<i32, i64>>>,
}

impl TargetMetrics {
    /// The target's name, or `unclaimed`.
    pub fn name(&self) -> &str {
        &self.target
    }

    /// A call of the API ended.
    pub fn attempted(&self, verdict: Verdict, status: &str, took: Duration) {
        self.families
            .calls
            .attempts
            .with_label_values(&[&*self.target, verdict.as_str(), status])
            .inc();
        self.attempt_duration.observe(took.as_secs_f64());
    }

    /// A call may have taken effect although no answer says so.
    pub fn ambiguous(&self) {
        self.families
            .calls
            .ambiguous
            .with_label_values(&[&*self.target])
            .inc();
    }

    /// An answer named another user.
    pub fn other_user(&self) {
        self.families
            .calls
            .other_user
            .with_label_values(&[&*self.target])
            .inc();
    }

    /// An answer showed other values than were sent.
    pub fn differing_answer(&self) {
        self.families
            .calls
            .differing
            .with_label_values(&[&*self.target])
            .inc();
    }

    /// Parts of an outcome or a dead letter were changed.
    pub fn altered(&self, is_dead_letter: bool, parts: AlteredParts) {
        self.families
            .settling
            .altered(&self.target, is_dead_letter, parts);
    }

    /// A login ended.
    pub fn login(&self, result: &str) {
        self.families
            .calls
            .logins
            .with_label_values(&[&*self.target, result])
            .inc();
    }

    /// An outcome was committed, so long after the record was written.
    pub fn settled(&self, kind: Kind, reason: Option<Reason>, since_written: Duration) {
        match (kind, reason) {
            (Kind::Delivered, None) => self.delivered.inc(),
            _ => self
                .families
                .records
                .outcomes
                .with_label_values(&[
                    &*self.target,
                    kind.as_str(),
                    reason.map_or("", Reason::as_str),
                ])
                .inc(),
        }
        self.delivery_duration.observe(since_written.as_secs_f64());
    }

    /// A transaction ended.
    pub fn committed(&self, result: &str) {
        self.families
            .kafka
            .commits
            .with_label_values(&[&*self.target, result])
            .inc();
    }

    /// The group rebalanced.
    pub fn rebalanced(&self, kind: &str) {
        self.families
            .kafka
            .rebalances
            .with_label_values(&[&*self.target, kind])
            .inc();
    }

    /// The subscriber failed and starts over.
    pub fn restarted(&self) {
        self.families
            .kafka
            .restarts
            .with_label_values(&[&*self.target])
            .inc();
    }

    /// A partition's offsets do not mean what they meant.
    pub fn offsets_reset(&self) {
        self.families
            .kafka
            .offsets_reset
            .with_label_values(&[&*self.target])
            .inc();
    }

    /// The target does this now.
    pub fn state(&self, (now, why): StateNames) {
        let gauge = |state: &str, cause: &str| {
            self.families
                .calls
                .target_state
                .with_label_values(&[&*self.target, state, cause])
        };
        gauge(FLOWING.0, FLOWING.1).set(i64::from(now == FLOWING.0));
        for cause in causes() {
            for state in ["holding", "probing"] {
                gauge(state, cause).set(i64::from((state, cause) == (now, why)));
            }
        }
    }

    /// The lag of each owned partition; partitions that went are taken out.
    pub fn lag(&self, topic: &str, lags: HashMap<i32, i64>) {
        let Ok(mut shown) = self.lags.lock() else {
            return;
        };
        for (partition, lag) in &lags {
            self.families
                .records
                .consumer_lag
                .with_label_values(&[&*self.target, topic, &partition.to_string()])
                .set(*lag);
        }
        for gone in shown
            .keys()
            .filter(|partition| !lags.contains_key(partition))
        {
            // It was set above at an earlier time, so it is there.
            let _ = self.families.records.consumer_lag.remove_label_values(&[
                &*self.target,
                topic,
                &gone.to_string(),
            ]);
        }
        *shown = lags;
    }

    /// The lag of all owned partitions together.
    pub fn total_lag(&self) -> i64 {
        self.lags
            .lock()
            .map(|lags| lags.values().sum())
            .unwrap_or(0)
    }

    /// Whether the subscriber is in its group and the brokers answer.
    pub fn kafka_up(&self, up: bool) {
        self.families
            .kafka
            .kafka_up
            .with_label_values(&[&*self.target])
            .set(i64::from(up));
    }

    /// How long the group's coordinator took to answer lately, or has not answered for.
    pub fn kafka_round_trip(&self, mean: Duration) {
        self.families
            .kafka
            .kafka_round_trip
            .with_label_values(&[&*self.target])
            .set(mean.as_secs_f64());
    }

    /// Records fetched by the Kafka client that wait to be read.
    pub fn kafka_fetched(&self, records: i64) {
        self.families
            .kafka
            .kafka_fetched
            .with_label_values(&[&*self.target])
            .set(records);
    }

    /// The age of the oldest unsettled record.
    pub fn oldest_unsettled(&self, age: Duration) {
        self.families
            .records
            .oldest_unsettled
            .with_label_values(&[&*self.target])
            .set(age.as_secs_f64());
    }
}

/// A state and its cause as metrics and `/status` name them.
pub fn names(state: State) -> StateNames {
    match state {
        State::Flowing => FLOWING,
        State::Holding { cause, .. } => ("holding", cause.as_str()),
        State::Probing { cause, .. } => ("probing", cause.as_str()),
    }
}

#[cfg(test)]
mod tests;
