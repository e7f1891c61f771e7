//! Prometheus' text format, as far as the page needs it: the counters and histograms of each
//! target.

use std::collections::BTreeMap;

use crate::model::outcome::Kind;

/// One instance's counts for one target since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Updates delivered, or merged into one that was.
    pub(super) delivered: f64,
    /// Updates dead-lettered.
    pub(super) dead: f64,
    /// How long calls took.
    pub(super) calls: Histogram,
    /// How long it took from a record's timestamp to its outcome.
    pub(super) deliveries: Histogram,
    /// Partitions of the update topic that it owns now.
    pub(super) partitions: u32,
    /// The age, in seconds, of the oldest update in memory that is not settled.
    pub(super) oldest: f64,
    /// It is not in its group, or the brokers do not answer.
    pub(super) without_kafka: bool,
}

/// Cumulative counts by upper bound, in microseconds; the last bound is the largest number there
/// is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram(BTreeMap<u64, f64>);

impl Counts {
    /// The counts since `before`. If a number is smaller than it was, the instance has restarted.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        let counters = |of: &Counts| {
            [
                of.delivered,
                of.dead,
                of.calls.count(),
                of.deliveries.count(),
            ]
        };
        if counters(self)
            .iter()
            .zip(counters(before))
            .any(|(now, before)| *now < before)
        {
            return self.clone();
        }
        Counts {
            delivered: self.delivered - before.delivered,
            dead: self.dead - before.dead,
            calls: self.calls.since(&before.calls),
            deliveries: self.deliveries.since(&before.deliveries),
            partitions: self.partitions,
            oldest: self.oldest,
            without_kafka: self.without_kafka,
        }
    }
}

impl Histogram {
    fn count(&self) -> f64 {
        self.0.values().next_back().copied().unwrap_or(0.0)
    }

    fn since(&self, before: &Histogram) -> Histogram {
        Histogram(
            self.0
                .iter()
                .map(|(bound, count)| (*bound, count - before.0.get(bound).copied().unwrap_or(0.0)))
                .collect(),
        )
    }

    /// Adds what another instance, or another moment, counted.
    pub(super) fn add(&mut self, other: &Histogram) {
        for (bound, count) in &other.0 {
            *self.0.entry(*bound).or_default() += count;
        }
    }

    /// The time, in seconds, below which this share of all was; within a bucket an even spread is
    /// assumed. `None` if nothing was counted.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count();
        let (mut below, mut lower) = (0.0, 0);
        for (bound, count) in &self.0 {
            if *count >= rank && *count > below {
                // Beyond the last bound, the bound itself is all that is known.
                let upper = if *bound == u64::MAX { lower } else { *bound };
                #[expect(clippy::cast_precision_loss, reason = "microseconds of a plot")]
                let (lower, upper) = (lower as f64, upper as f64);
                return Some((lower + (upper - lower) * (rank - below) / (count - below)) / 1e6);
            }
            (below, lower) = (*count, if *bound == u64::MAX { lower } else { *bound });
        }
        None
    }
}

/// Reads the counts of every target.
pub(super) fn read(text: &str) -> BTreeMap<String, Counts> {
    let mut found: BTreeMap<String, Counts> = BTreeMap::new();
    for line in text
        .lines()
        .filter_map(|line| line.strip_prefix("user_courier_"))
    {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Some((name, labels)) = series.split_once('{') else {
            continue;
        };
        let (Ok(value), Some(target)) = (value.parse::<f64>(), label(labels, "target")) else {
            continue;
        };
        let counts = match found.get_mut(target) {
            Some(counts) => counts,
            None => found.entry(target.to_owned()).or_default(),
        };
        match name {
            "outcomes_total" => match label(labels, "outcome") {
                Some(kind) if kind == Kind::DeadLettered.as_str() => counts.dead += value,
                Some(kind) if kind == Kind::Delivered.as_str() || kind == Kind::Merged.as_str() => {
                    counts.delivered += value
                }
                _ => {}
            },
            "consumer_lag" => counts.partitions += 1,
            "oldest_unsettled_seconds" => counts.oldest = value,
            "kafka_up" => counts.without_kafka = value == 0.0,
            "attempt_duration_seconds_bucket" => counts.calls.bucket(labels, value),
            "delivery_duration_seconds_bucket" => counts.deliveries.bucket(labels, value),
            _ => {}
        }
    }
    found
}

impl Histogram {
    fn bucket(&mut self, labels: &str, count: f64) {
        let bound = match label(labels, "le") {
            Some("+Inf") => Some(u64::MAX),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bounds are a few thousand seconds at most"
            )]
            Some(seconds) => seconds
                .parse::<f64>()
                .ok()
                .map(|seconds| (seconds * 1e6).round() as u64),
            None => None,
        };
        if let Some(bound) = bound {
            self.0.insert(bound, count);
        }
    }
}

/// The value of a label. Our own values have nothing in them that would be escaped.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = labels.trim_end_matches('}').split(',');
    parts.find_map(|part| {
        part.strip_prefix(name)?
            .strip_prefix("=\"")?
            .strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::metrics::Metrics;
    use engine::verdict::{Reason, Verdict};

    #[test]
    fn what_the_service_writes_is_read() {
        let metrics = Metrics::new().unwrap();
        let valt = metrics.target("valt");
        metrics
            .target("aipix")
            .lag("user-updates", [(0, 5), (7, 0)].into());
        let aipix = metrics.target("aipix");
        aipix.kafka_up(true);
        aipix.oldest_unsettled(Duration::from_millis(61_500));
        valt.settled(Kind::Delivered, None, Duration::from_millis(30));
        valt.settled(Kind::Merged, None, Duration::from_millis(30));
        valt.settled(
            Kind::DeadLettered,
            Some(Reason::Rejected),
            Duration::from_secs(100_000),
        );
        (0..99).for_each(|_| valt.attempted(Verdict::Delivered, "200", Duration::from_millis(7)));
        let before = read(&metrics.text().unwrap());
        assert_eq!(before.keys().collect::<Vec<_>>(), ["aipix", "valt"]);
        assert_eq!((before["valt"].delivered, before["valt"].dead), (2.0, 1.0));
        assert_eq!(
            (before["aipix"].partitions, before["valt"].partitions),
            (2, 0)
        );
        assert_eq!(
            (before["aipix"].without_kafka, before["valt"].without_kafka),
            (false, true)
        );
        assert_eq!((before["aipix"].oldest, before["valt"].oldest), (61.5, 0.0));
        let p99 = before["valt"].calls.quantile(0.99).unwrap();
        assert!((0.005..=0.01).contains(&p99), "{p99}");
        assert_eq!(
            before["valt"].deliveries.quantile(1.0),
            Some(7200.0),
            "past the last bound nothing is known"
        );
        assert_eq!(before["aipix"].calls.quantile(0.99), None);

        valt.settled(Kind::Delivered, None, Duration::from_millis(30));
        (0..10).for_each(|_| valt.attempted(Verdict::Delivered, "200", Duration::from_millis(700)));
        let now = read(&metrics.text().unwrap());
        let grown = now["valt"].since(&before["valt"]);
        assert_eq!((grown.delivered, grown.dead), (1.0, 0.0));
        let p99 = grown.calls.quantile(0.99).unwrap();
        assert!((0.5..=1.0).contains(&p99), "only what is new: {p99}");
        assert_eq!(
            before["valt"].since(&now["valt"]),
            before["valt"],
            "an instance that started anew counts from 0"
        );
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut histogram = Histogram(BTreeMap::from([
            (1_000_000, 50.0),
            (2_000_000, 100.0),
            (u64::MAX, 100.0),
        ]));
        assert_eq!(
            [0.25, 0.5, 0.75, 1.0].map(|share| histogram.quantile(share)),
            [Some(0.5), Some(1.0), Some(1.5), Some(2.0)]
        );
        histogram.add(&histogram.clone());
        assert_eq!(histogram.count(), 200.0);
    }

    #[test]
    fn anything_is_read_without_harm() {
        for text in [
            "user_courier_",
            "user_courier_x{",
            "user_courier_outcomes_total{target=\"",
            "user_courier_x{target=\"a\"} NaN",
            "\u{0}{} 1",
            "",
        ] {
            read(text);
        }
    }
}
