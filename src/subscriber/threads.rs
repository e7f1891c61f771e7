//! The threads of a subscriber that wait for Kafka, and what they say.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};

use crate::config::{Config, Target, UNCLAIMED};
use crate::kafka::{
    BATCHES, Consumer, ConsumerShared, Fetched, Fetcher, Input, Publisher, Settled,
};
use crate::model::route::Router;
use crate::subscriber::update::{Claims, Update};

/// They run until the subscriber ends them.
pub(super) struct Threads {
    /// The one that polls.
    pub(super) consumer: Consumer<Update>,
    pub(super) inputs: Receiver<Input<Update>>,
    /// The one that reads deferred records again: a target's only.
    pub(super) fetcher: Option<Fetcher>,
    pub(super) fetched: UnboundedReceiver<Fetched<Update>>,
    /// The one that publishes.
    pub(super) publisher: Publisher,
    pub(super) settled: UnboundedReceiver<Settled>,
}

impl Threads {
    /// Joins the group of the target, or of the unclaimed records.
    pub(super) fn spawn(
        config: &Config,
        target: Option<&Target>,
        router: &Arc<Router>,
        shared: ConsumerShared,
    ) -> anyhow::Result<Self> {
        let Config {
            kafka, shutdown, ..
        } = config;
        let name = target.map_or(UNCLAIMED, |target| &target.name);
        // Each thread that reads decides for itself which records are ours.
        let claims = || {
            Claims::new(
                kafka.group_id.clone(),
                name.to_owned(),
                target.map(|target| target.api),
                router.clone(),
            )
        };
        let (ownership, metrics) = (shared.ownership.clone(), shared.metrics.clone());
        let (sender, inputs) = channel(BATCHES);
        let consumer = Consumer::spawn(
            kafka,
            name,
            shutdown.drain_timeout,
            shared,
            sender,
            claims(),
        )?;
        let (sender, fetched) = unbounded_channel();
        let fetcher = target
            .map(|_| Fetcher::spawn(kafka, name, claims(), sender))
            .transpose()?;
        let (sender, settled) = unbounded_channel();
        let publisher =
            Publisher::spawn(kafka, name, consumer.client(), ownership, metrics, sender)?;
        Ok(Threads {
            consumer,
            inputs,
            fetcher,
            fetched,
            publisher,
            settled,
        })
    }
}
