//! Metrics of what topics do not take, and do not keep.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::model::altered::{Part, Parts};

/// The topics that the service writes, as metrics name them.
const TOPICS: [&str; 2] = ["outcomes", "dead_letters"];

/// What is changed, what waits, and what is soon gone.
pub(super) struct Settling {
    altered: IntCounterVec,
    pub(super) refused: IntGaugeVec,
    pub(super) near_retention: IntGauge,
}

impl Settling {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help =
            "Parts of messages that were changed, since their topic refused the message as it was.";
        let altered = IntCounterVec::new(
            Opts::new("user_courier_altered_messages_total", help),
            &["target", "topic", "what"],
        )?;
        registry.register(Box::new(altered.clone()))?;
        let help = "Endings that wait to be settled, since a topic refuses what is written of them or the link is too slow for it.";
        let refused =
            IntGaugeVec::new(Opts::new("user_courier_refused_endings", help), &["target"])?;
        registry.register(Box::new(refused.clone()))?;
        let help =
            "Offsets of the dead-letter topic, open or not, in the last tenth of its retention.";
        let near_retention = IntGauge::new("user_courier_dead_letters_near_retention", help)?;
        registry.register(Box::new(near_retention.clone()))?;
        Ok(Settling {
            altered,
            refused,
            near_retention,
        })
    }

    /// All counters of a target, at 0.
    pub(super) fn begin(&self, target: &str) {
        for (topic, part) in TOPICS
            .into_iter()
            .flat_map(|topic| Part::ALL.map(|part| (topic, part)))
        {
            self.altered
                .with_label_values(&[target, topic, part.as_str()]);
        }
    }

    /// Parts of an outcome or a dead letter were changed.
    pub(super) fn altered(&self, target: &str, is_dead_letter: bool, parts: Parts) {
        for part in parts.iter() {
            self.altered
                .with_label_values(&[target, TOPICS[usize::from(is_dead_letter)], part.as_str()])
                .inc();
        }
    }
}
