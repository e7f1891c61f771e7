//! The keeper: runs one target's subscriber and restarts it if its client breaks or a secret that
//! its clients use has changed.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{Config, Target};
use crate::kafka::client::try_out;
use crate::service::ServiceFailure;
use crate::service::renewal::Files;
use crate::subscriber::stop::{self, Stop};
use crate::subscriber::{Context, Ended, Subscriber, try_out_tls};

/// The pause before a broken subscriber restarts, doubled each time it breaks again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A subscriber that has run for this long counts as recovered.
const MENDED: Duration = Duration::from_secs(300);

/// Why a subscriber restarts after it was fenced out of its group.
const OUTRUN: &str = "it was fenced out of its group under its own name after it had not been heard for its session: likely by a request of its own \
                      that was answered late";

/// Keeps a subscriber running.
pub(super) struct Keeper {
    /// The target, or `unclaimed`.
    pub(super) name: String,
    pub(super) configs: watch::Receiver<Arc<Config>>,
    pub(super) context: Context,
    /// Asked to stop, the subscriber drains and leaves its group.
    pub(super) stop: Stop,
}

impl Keeper {
    /// Runs the subscriber until it is asked to stop.
    ///
    /// # Errors
    /// If it cannot start the first time, or cannot or must not restart.
    pub(super) async fn run(mut self) -> Result<(), ServiceFailure> {
        let (mut breaks, mut first) = (Breaks::default(), true);
        while !self.stop.is_asked() {
            let began = Instant::now();
            let ended = self.once().await;
            let outrun = matches!(ended, Ok(Ended::Outrun));
            let why = match ended {
                // Asked to stop, or to restart with other secrets.
                Ok(Ended::Left) => {
                    first = false;
                    continue;
                }
                Ok(Ended::InstanceTaken) => {
                    return Err(ServiceFailure::InstanceTaken(
                        self.configs.borrow().kafka.instance_id.clone(),
                    ));
                }
                Ok(Ended::Panicked) => return Err(ServiceFailure::Panicked(self.name)),
                Ok(Ended::Stuck) => return Err(ServiceFailure::Stuck(self.name)),
                Ok(Ended::Outrun) => OUTRUN.to_owned(),
                Ok(Ended::Broken(why)) => why,
                Err(error) if first => {
                    return Err(ServiceFailure::Setup(error.context(format!(
                        "the subscriber of `{}` cannot begin",
                        self.name
                    ))));
                }
                Err(error) => format!("{error:#}"),
            };
            first = false;
            if self.stop.is_asked() {
                warn!(
                    target = self.name,
                    error = why,
                    "the subscriber broke before it had drained"
                );
                return Ok(());
            }
            self.context.outrun = outrun.then(Instant::now);
            let (times, pause) = breaks.next(began.elapsed(), outrun);
            self.context.metrics.restarted();
            let next_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            error!(
                target = self.name,
                error = why,
                times,
                next_in_ms,
                "the subscriber broke; it begins anew after a pause"
            );
            let mut stop = self.stop.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.asked() => {}
            }
        }
        Ok(())
    }

    /// One life of the subscriber.
    async fn once(&self) -> anyhow::Result<Ended> {
        let mut configs = self.configs.clone();
        let config = configs.borrow_and_update().clone();
        let target = config
            .targets
            .iter()
            .find(|target| target.name == self.name);
        let mut files = Files::of(&config.kafka, target);
        let subscriber = Subscriber::start(&config, target, self.context.clone())?;
        info!(target = self.name, "subscriber started");
        let (leave, left) = stop::channel();
        let mut run = pin!(subscriber.run(configs, left));
        let mut stop = self.stop.clone();
        let reason = async {
            tokio::select! {
                () = renewed(&mut files, &config, target) => {
                    info!(target = self.name, "a secret or certificate has changed: the clients are made anew");
                }
                () = stop.asked() => {}
            }
        };
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = reason => {
                leave.stop();
                run.await
            }
        };
        self.context.board.left(&self.name);
        Ok(ended)
    }
}

/// How often a subscriber has broken lately.
#[derive(Debug, Default)]
struct Breaks {
    times: u32,
    pause: Duration,
}

impl Breaks {
    /// It broke after it had run for `ran`: returns how often that was in a row, and the pause
    /// before the restart. An outrun subscriber does not count: each time, a whole session without
    /// contact precedes it, so it cannot recur in quick succession, and a restart is as likely to
    /// work as any.
    fn next(&mut self, ran: Duration, outrun: bool) -> (u32, Duration) {
        if outrun {
            return (1, FIRST_PAUSE);
        }
        if ran >= MENDED {
            *self = Breaks::default();
        }
        self.times = self.times.saturating_add(1);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        (self.times, self.pause)
    }
}

/// Waits until a secret or certificate has changed of which the clients are made, and new ones can
/// be made of it.
async fn renewed(files: &mut Files, config: &Arc<Config>, target: Option<&Target>) {
    loop {
        files.changed().await;
        let (config, target) = (config.clone(), target.cloned());
        let usable = tokio::task::spawn_blocking(move || {
            try_out(&config.kafka)?;
            target.map_or(Ok(()), |target| try_out_tls(&target))
        });
        match usable.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let error = format!("{error:#}");
                warn!(
                    error,
                    "a secret or certificate has changed and cannot be used: the clients stay as they are until it is mended"
                );
            }
            Err(error) => {
                warn!(%error, "whether a changed secret or certificate can be used could not be told")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_while_it_breaks_again_and_again_and_is_short_again_after_a_long_life() {
        let mut breaks = Breaks::default();
        let short = Duration::from_secs(3);
        let pauses: Vec<_> = (0..8)
            .map(|_| breaks.next(short, false).1.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(breaks.next(short, true), (1, FIRST_PAUSE));
        assert_eq!(breaks.next(short, false), (9, LONGEST_PAUSE));
        assert_eq!(breaks.next(MENDED, false), (1, FIRST_PAUSE));
    }
}
