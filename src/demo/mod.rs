//! The demo: the whole system in one process, with sample traffic, live progress, and a verdict on
//! what the service promises.
//!
//! A broker and the APIs are played by embedded ones; everything between them is the service as it
//! runs anywhere.

mod broker;
mod findings;
mod progress;
mod samples;
mod screen;
mod stage;
mod summary;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{oneshot, watch};

use self::broker::Spot;
use self::progress::WatchEnd;
use self::samples::Sample;
pub use self::screen::Screen;
use self::stage::Environment;
use crate::service;
use crate::subscriber::stop::{self, Stop};
use crate::telemetry::metrics::Metrics;

/// How long anything may take that should be done in a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// The demo's options.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many events are sent.
    pub events: usize,
    /// Whether one API fails for a while and the other asks for a pause.
    pub faults: bool,
}

impl Options {
    /// How long the events take to be sent: long enough to be watched, and with faults long enough
    /// for all of them.
    fn span(self) -> Duration {
        let paced = Duration::from_millis(10)
            .saturating_mul(u32::try_from(self.events).unwrap_or(u32::MAX));
        if self.faults {
            trouble::SPAN
        } else {
            paced.min(Duration::from_secs(5))
        }
    }
}

/// Shows the demo; returns whether every promise was kept. `stop` ends it early.
///
/// # Errors
/// If a part cannot be set up, the service ends by itself, or the screen cannot be written to.
pub async fn run(options: Options, screen: &mut Screen, mut stop: Stop) -> anyhow::Result<bool> {
    screen.say(&opening(options))?;
    let samples: Arc<[_]> = samples::samples(options.events).into();
    let stage = Environment::set().await?;
    let metrics = Metrics::new()?;
    let (end_service, service_ends) = stop::channel();
    let mut service = tokio::spawn(service::run(
        watch::channel(Arc::new(stage.config.clone())).1,
        HashSet::new(),
        metrics.clone(),
        None,
        service_ends,
    ));

    let shown = async {
        tokio::time::timeout(PATIENCE, progress::joined(&metrics))
            .await
            .context("the service did not join its consumer groups in time")?;
        let sending = send(&stage, samples.clone(), options.span());
        let (tell, notes) = unbounded_channel();
        let trouble = async {
            if options.faults {
                // Nobody listens any more only when all is over.
                trouble::play(&stage, |words| drop(tell.send(words))).await;
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = progress::watch(&samples, &metrics, screen, notes) => ended?,
            never = trouble => never,
        };
        let spots = tokio::time::timeout(PATIENCE, sending)
            .await
            .context("the sample events were not all sent in time")??;
        anyhow::Ok((ended, spots.context("the sample events cannot be sent")?))
    };
    let (ended, spots) = tokio::select! {
        shown = shown => shown?,
        ended = &mut service => {
            ended??;
            anyhow::bail!("the service ended before the demo did");
        }
        () = stop.asked() => {
            screen.say("\nStopped before the end: nothing is proven.")?;
            return Ok(false);
        }
    };
    if ended == WatchEnd::Stuck {
        screen.say("\nNothing has moved for a while: what follows is what came through.")?;
    }
    end_service.stop();
    service.await??;
    let findings = stage.findings(&samples, spots).await?;
    screen.say(&summary::table(&findings))?;
    let verdicts = findings.verdicts();
    for verdict in &verdicts {
        screen.verdict(verdict)?;
    }
    let kept = verdicts.iter().all(Result::is_ok);
    screen.say(&summary::closing(options, kept))?;
    Ok(kept)
}

/// Sends the samples from a thread of its own, which ends with the process and holds up nothing.
fn send(
    stage: &Environment,
    samples: Arc<[Sample]>,
    span: Duration,
) -> oneshot::Receiver<anyhow::Result<Vec<Spot>>> {
    let (broker, topic) = (
        stage.broker.clone(),
        stage.config.kafka.topics.updates.clone(),
    );
    let (done, sending) = oneshot::channel();
    // If the demo was stopped, nobody waits for the answer.
    std::thread::spawn(move || drop(done.send(broker.send(&topic, &samples, span))));
    sending
}

fn opening(options: Options) -> String {
    let events = options.events;
    let trouble = if options.faults {
        "\nOn the way VALT goes down for a while, and aipix asks for a pause."
    } else {
        ""
    };
    format!(
        "In this one process: an embedded Kafka broker, stand-ins for aipix VMS, VALT and\n\
         a SCIM directory, and user-courier between them. {events} sample updates of users\n\
         go through it; some are refused, some need several calls, some nobody can read.\n\
         Each must come out as exactly one outcome, in order for each user.{trouble}\n"
    )
}
