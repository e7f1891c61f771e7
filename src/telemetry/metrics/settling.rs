//! Metrics of what topics do not take, and do not keep.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Result};

use super::register::Register;
use crate::model::altered::{AlteredParts, Part};

/// The topics that the service writes, as metrics name them.
const TOPICS: [&str; 2] = ["outcomes", "dead_letters"];

/// Metrics of altered messages, refused ones, and updates near the end of their retention.
pub(super) struct SettlingFamilies {
    altered: IntCounterVec,
    pub(super) refused: IntGaugeVec,
    pub(super) near_retention: IntGauge,
}

impl SettlingFamilies {
    pub(super) fn register(register: &Register) -> Result<Self> {
        Ok(SettlingFamilies {
            altered: register.counter(
                "altered_messages_total",
                "Parts of messages that were changed, since their topic refused the message as it was.",
                &["target", "topic", "what"],
            )?,
            refused: register.gauge(
                "refused_endings",
                "Endings that wait to be settled, since a topic refuses what is written of them or the link is too slow for it.",
                &["target"],
            )?,
            near_retention: register.process_gauge(
                "dead_letters_near_retention",
                "Offsets of the dead-letter topic, open or not, in the last tenth of its retention.",
            )?,
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
    pub(super) fn altered(&self, target: &str, is_dead_letter: bool, parts: AlteredParts) {
        for part in parts.iter() {
            self.altered
                .with_label_values(&[target, TOPICS[usize::from(is_dead_letter)], part.as_str()])
                .inc();
        }
    }
}
