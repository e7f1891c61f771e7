//! Reload: a changed configuration is taken up while the service runs, or refused as a whole with
//! the reason.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::config::{Config, Mistakes};
use crate::telemetry::logging::Logging;
use crate::telemetry::metrics::Metrics;

/// How often the file is looked at. Its content counts, so links that are swapped are seen, and a
/// mere touch is not.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the running configuration up to date.
pub struct Reload {
    /// The configuration's file.
    pub file: PathBuf,
    /// Reads file, environment and flags, as at the start.
    pub load: Box<dyn Fn() -> Result<Config, Mistakes> + Send + Sync>,
    /// Publishes the configuration in force.
    pub current: watch::Sender<Arc<Config>>,
    /// SIGHUP, caught since the process began.
    pub hangups: Signal,
    /// The log, whose levels may change.
    pub logging: Logging,
    /// Counts reloads by result.
    pub metrics: Metrics,
}

impl Reload {
    /// Reloads on SIGHUP and whenever the file's content changes, for as long as the process lives.
    pub async fn watch(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.content().await;
        loop {
            tokio::select! {
                _ = self.hangups.recv() => seen = self.content().await,
                _ = looks.tick() => {
                    let content = self.content().await;
                    // A file that is away for a moment is being replaced.
                    if content.is_none() || content == seen {
                        continue;
                    }
                    seen = content;
                }
            }
            self.read();
        }
    }

    /// A hash of the file; none if it cannot be read.
    async fn content(&self) -> Option<u64> {
        let file = self.file.clone();
        let bytes = tokio::task::spawn_blocking(move || std::fs::read(file))
            .await
            .ok()?
            .ok()?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// Takes the configuration up, all of it or nothing.
    fn read(&self) {
        let config = match (self.load)() {
            Ok(config) => config,
            Err(mistakes) => {
                self.metrics.reloaded("refused");
                for mistake in &mistakes.0 {
                    error!("{mistake}");
                }
                return error!(
                    mistakes = mistakes.0.len(),
                    "the changed configuration has mistakes: the one before stays in force"
                );
            }
        };
        let change = config.change_since(&self.current.borrow());
        if !change.refused.is_empty() {
            self.metrics.reloaded("refused");
            let keys = change.refused.join(", ");
            return error!(
                keys,
                "these keys are read at the start only: restart to change them. The configuration before stays in force as a whole"
            );
        }
        if change.taken.is_empty() {
            self.metrics.reloaded("unchanged");
            return info!("the configuration was read again: nothing has changed");
        }
        let keys = change.taken.join(", ");
        self.logging.set(&config.log.level);
        self.current.send_replace(Arc::new(config));
        self.metrics.reloaded("taken");
        info!(keys, "the changed configuration is in force");
    }
}
