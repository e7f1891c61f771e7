//! Batches: how much the client puts into one batch of messages. A batch that is too large for its
//! topic says nothing of its messages.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;

/// How much the client puts into one batch of messages.
pub(super) struct Batches {
    usual: usize,
    /// Less, and since when.
    pub(super) narrow: Option<(usize, Instant)>,
    pub(super) compressed: bool,
    /// How long the client waits for more before it sends a batch.
    pub(super) linger: Duration,
}

impl Batches {
    pub(super) fn of(settings: &ClientConfig) -> Self {
        // librdkafka's own default.
        let usual = settings
            .get("batch.size")
            .and_then(|size| size.parse().ok())
            .unwrap_or(1_000_000);
        let is_set = |name| settings.get(name).is_some_and(|codec| codec != "none");
        let linger =
            ["linger.ms", "queue.buffering.max.ms"].map(|name| settings.get(name)?.parse().ok());
        let longest = linger.into_iter().flatten().fold(0.0, f64::max);
        Batches {
            usual,
            narrow: None,
            compressed: is_set("compression.type") || is_set("compression.codec"),
            linger: Duration::try_from_secs_f64(longest / 1000.0).unwrap_or_default(),
        }
    }

    /// At the most.
    pub(super) fn bytes(&self) -> usize {
        self.narrow.map_or(self.usual, |(bytes, _)| bytes)
    }
}
