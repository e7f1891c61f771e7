//! Batches: how much the client puts into one batch of messages. A batch that is too large for its
//! topic says nothing of its messages.

use std::time::Instant;

use rdkafka::ClientConfig;

/// How much the client puts into one batch of messages.
pub(super) struct Batches {
    usual: usize,
    /// Less, and since when.
    pub(super) narrow: Option<(usize, Instant)>,
    pub(super) compressed: bool,
}

impl Batches {
    pub(super) fn of(settings: &ClientConfig) -> Self {
        // librdkafka's own default.
        let usual = settings.get("batch.size").and_then(|size| size.parse().ok()).unwrap_or(1_000_000);
        let is_set = |name| settings.get(name).is_some_and(|codec| codec != "none");
        Batches { usual, narrow: None, compressed: is_set("compression.type") || is_set("compression.codec") }
    }

    /// At the most.
    pub(super) fn bytes(&self) -> usize {
        self.narrow.map_or(self.usual, |(bytes, _)| bytes)
    }
}
